//! Where updates come from in this process: a source with a store, or another gateway's ingestion behind
//! Redis. Owns the choice and the tasks between source and dispatch; dispatch does not know which it is.

mod audit;
mod cells;
mod relayed;

use std::sync::{Arc, Mutex};

use anyhow::Context;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    cells::{MemoryCells, RedisCells},
    relayed::RelayedCells,
};
use crate::{
    canary::Entrance,
    cluster::Connection,
    config::{Config, SourceKind, StoreKind},
    dispatch::{
        Dispatcher, Heads, Loader,
        regions::{CellSource, Regions},
    },
    feed::{Channels, Feed, FeedEvent, RedisFeed, Settings},
    fleet::{FleetBatch, FleetId, Record},
    gateway::{Gateway, Supply},
    observe::{Condition, Metrics, Readiness},
    pipeline::Pipeline,
    source::{
        self,
        demo::Demo,
        kafka::{Kafka, Post},
    },
    store::{MemoryStore, Redis, RedisStore, Store, TrackRule, read_cell_message},
    tasks::Tasks,
};

/// What is upstream of dispatch, built and not started.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) feed: Feed,
    pub(crate) store: Option<Store>,
    /// Of keys and channels in Redis.
    prefix: String,
    source: Source,
    /// Delivery canaries on their way to the pipeline.
    canaries: Option<mpsc::Receiver<Record>>,
}

#[derive(Debug)]
enum Source {
    /// The legacy ingestion publishes; there is no store.
    Relay(Followed, Relayed),
    /// This process ingests into its own memory.
    Memory(source::Source, MemoryStore),
    /// This process ingests into Redis, and follows what all replicas ingest.
    Redis(source::Source, RedisStore, Followed),
}

/// A feed and what it brings.
type Followed = (Box<RedisFeed>, mpsc::Receiver<Vec<FeedEvent>>);

/// What regions are made from where there is no store.
#[derive(Debug)]
struct Relayed {
    cells: RelayedCells,
    redis: Redis,
    channels: Channels,
}

/// Updates between the memory store and dispatch.
const FRESH_MAX: usize = 64;
/// Canaries that wait for the pipeline.
const CANARIES_MAX: usize = 2;

/// The bus to this replica's peers, if it is to have any.
pub(crate) fn cluster(
    config: &Config,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
) -> anyhow::Result<Option<Connection>> {
    let (Some(redis), Some(options)) = (&config.redis, &config.cluster) else { return Ok(None) };
    let condition = readiness.condition("cluster");
    condition.set_unready("not connected yet");
    let connection = Connection::new(redis, options, metrics, Some(condition));
    Ok(Some(connection?))
}

impl Upstream {
    pub(crate) fn build(
        config: &Config,
        metrics: &Arc<Metrics>,
        readiness: &Readiness,
    ) -> anyhow::Result<Self> {
        let ingestion = || -> anyhow::Result<source::Source> {
            let Some(settings) = config.kafka.clone() else {
                let demo = Demo::new(&config.demo).context("cannot simulate")?;
                return Ok(source::Source::Demo(Box::new(demo)));
            };
            let condition = readiness.condition("kafka");
            Ok(source::Source::Kafka(Box::new(Kafka::new(settings, metrics.clone(), condition))))
        };
        let prefix = config.redis_prefix.clone();
        let follow = |channels| -> anyhow::Result<(Feed, Followed)> {
            let redis = config.redis.as_ref().context("no Redis is configured")?;
            let (feed, task, bursts) = Feed::redis(redis.clone(), channels, Settings::default(), metrics);
            Ok((feed, (Box::new(task), bursts)))
        };
        if config.source == SourceKind::Redis {
            let (fields, skew_max) = (config.records.fields.clone(), config.records.max_skew);
            let channels = Channels::Legacy { fields, skew_max };
            let (feed, followed) = follow(channels.clone())?;
            let redis = config.redis.clone().context("no Redis is configured")?;
            let source = Source::Relay(followed, Relayed { cells: RelayedCells::new(), redis, channels });
            return Ok(Self { feed, store: None, prefix, source, canaries: None });
        }
        if config.store == StoreKind::Memory {
            let store = MemoryStore::new(TrackRule::default());
            let source = Source::Memory(ingestion()?, store.clone());
            return Ok(Self {
                feed: Feed::Memory,
                store: Some(Store::Memory(store)),
                prefix,
                source,
                canaries: None,
            });
        }
        let redis = config.redis.as_ref().context("no Redis is configured")?;
        let store = RedisStore::new(redis.clone(), &prefix, config.legacy_publish, TrackRule::default());
        let (feed, followed) = follow(Channels::Sequenced { prefix: prefix.clone() })?;
        let source = Source::Redis(ingestion()?, store.clone(), followed);
        Ok(Self { feed, store: Some(Store::Redis(store)), prefix, source, canaries: None })
    }

    /// Where delivery canaries set out: as far up as there is a way in.
    pub(crate) fn entrance(&mut self, config: &Config) -> anyhow::Result<Entrance> {
        if let (Some(topic), Some(settings)) = (&config.shared.canary.canary_topic, &config.kafka) {
            let post = Post::new(settings, topic).context("FLEETCAST_CANARY_TOPIC (--canary-topic)")?;
            return Ok(Entrance::Topic(Box::new(post), config.records.fields.clone()));
        }
        if let (Source::Relay(..), Some(redis)) = (&self.source, &config.redis) {
            return Ok(Entrance::Channel(redis.clone(), FleetId::canary().to_string()));
        }
        let (records, canaries) = mpsc::channel(CANARIES_MAX);
        self.canaries = Some(canaries);
        Ok(Entrance::Pipeline(records))
    }

    /// Whether dispatch has no store to ask.
    pub(crate) fn relays_only(&self) -> bool {
        self.store.is_none()
    }

    /// What the gateway reads from.
    pub(crate) fn supply(&self) -> Supply {
        let cells: Arc<dyn CellSource> = match &self.source {
            Source::Memory(_, store) => Arc::new(MemoryCells(store.clone())),
            Source::Redis(_, store, _) => Arc::new(RedisCells {
                feed: self.feed.clone(),
                store: store.clone(),
                prefix: self.prefix.clone(),
                holds: Mutex::default(),
            }),
            Source::Relay(_, relayed) => Arc::new(relayed.cells.clone()),
        };
        let (loader, heads) = (self.loader(), self.heads());
        // What connections ask for must not share its way with what updates need.
        let store = self.store.as_ref().map(Store::apart);
        Supply { feed: self.feed.clone(), loader, heads, cells, store }
    }

    /// Reads fleets' states for dispatch.
    fn loader(&self) -> Loader {
        let store = self.store.clone();
        Arc::new(move |fleet| {
            let store = store.clone();
            Box::pin(async move {
                let snapshot = store?.snapshot(&fleet).await;
                snapshot
                    .inspect_err(|error| tracing::warn!(%fleet, %error, "cannot read the fleet's state"))
                    .ok()
            })
        })
    }

    /// Reads fleets' numbers for dispatch.
    fn heads(&self) -> Heads {
        let store = self.store.clone();
        Arc::new(move |fleet| {
            let store = store.clone();
            Box::pin(async move { store?.head(&fleet).await.ok() })
        })
    }

    /// Starts the tasks. Ingestion ends with `stop_sources`, everything with `stop`.
    pub(crate) fn start(
        self,
        gateway: &Gateway,
        metrics: &Arc<Metrics>,
        readiness: &Readiness,
        tasks: &Tasks,
        stop_sources: &CancellationToken,
        stop: &CancellationToken,
    ) {
        let canaries = self.canaries;
        let ingest = |source, writer, fresh| {
            let condition = readiness.condition("store");
            let pipeline = Pipeline::new(source, writer, fresh, metrics.clone(), condition);
            let pipeline = pipeline.with_canaries(canaries);
            tasks.spawn("pipeline", pipeline.run(stop_sources.clone()));
        };
        let dispatcher = gateway.dispatcher.clone();
        let regions = gateway.regions.clone();
        let follow = |(task, bursts): Followed, dispatcher| {
            let condition = readiness.condition("redis");
            condition.set_unready("not connected yet");
            tasks.spawn("feed", task.run(stop.clone()));
            tasks.spawn("feed-consumer", follow(bursts, dispatcher, regions.clone(), condition));
        };
        match self.source {
            Source::Relay(followed, Relayed { cells, redis, channels }) => {
                follow(followed, dispatcher);
                let regions = gateway.regions.clone();
                let passing = cells.run(redis, channels, regions, metrics.clone(), stop.clone());
                tasks.spawn("passing", passing);
            }
            Source::Memory(source, store) => {
                let (fresh, applied) = mpsc::channel(FRESH_MAX);
                ingest(source, Store::Memory(store.clone()).writer(), Some(fresh));
                tasks.spawn("relay", relay(applied, store, dispatcher, gateway.regions.clone()));
            }
            Source::Redis(source, store, followed) => {
                let (fleets, regions) = (dispatcher.clone(), gateway.regions.clone());
                let audit = audit::run(store.clone(), fleets, regions, store.is_cluster(), stop.clone());
                tasks.spawn("audit", audit);
                ingest(source, Store::Redis(store).writer(), None);
                follow(followed, dispatcher);
            }
        }
    }
}

/// Hands what the memory store applied to dispatch and to regions.
async fn relay(
    mut applied: mpsc::Receiver<FleetBatch>,
    store: MemoryStore,
    dispatcher: Dispatcher,
    regions: Regions,
) {
    let epoch = store.epoch();
    while let Some(batch) = applied.recv().await {
        if regions.is_watching() {
            regions.update((batch.fleet.clone(), store.states(&batch)));
        }
        dispatcher.dispatch(batch, Some(epoch)).await;
    }
}

/// Hands the feed's bursts to dispatch and to regions, and tells readiness how the feed is.
async fn follow(
    mut bursts: mpsc::Receiver<Vec<FeedEvent>>,
    dispatcher: Dispatcher,
    regions: Regions,
    condition: Condition,
) {
    let mut lost = false;
    while let Some(burst) = bursts.recv().await {
        for event in burst {
            match event {
                FeedEvent::Batch { batch, epoch } => dispatcher.dispatch(batch, epoch).await,
                FeedEvent::Gap { fleet, .. } => dispatcher.gap(fleet).await,
                FeedEvent::Other(message) => match read_cell_message(&message) {
                    Some(located) => regions.update(located),
                    None => regions.gap(),
                },
                FeedEvent::OtherMissed => regions.gap(),
                FeedEvent::Lost => {
                    lost = true;
                    condition.set_unready("the connection for updates is lost");
                }
                FeedEvent::Restored => {
                    condition.set_ready();
                    if std::mem::take(&mut lost) {
                        dispatcher.gap_everywhere().await;
                        regions.gap();
                    }
                }
            }
        }
    }
}
