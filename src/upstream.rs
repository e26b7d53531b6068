//! Where updates come from in this process: a source with a store, or another gateway's ingestion behind
//! Redis. Owns the choice and the tasks between source and dispatch; dispatch does not know which it is.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Config, SourceKind},
    dispatch::{Dispatcher, Loader},
    feed::{Channels, Feed, FeedEvent, RedisFeed, Settings},
    observe::{Condition, Metrics, Readiness},
    source::demo::Demo,
    store::{MemoryStore, Store, TrackRule},
};

/// What is upstream of dispatch, built and not started.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) feed: Feed,
    pub(crate) store: Option<Store>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Demo(Box<Demo>, MemoryStore),
    Feed(Box<RedisFeed>, mpsc::Receiver<Vec<FeedEvent>>),
}

impl Upstream {
    pub(crate) fn build(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        match config.source {
            SourceKind::Demo => {
                let demo = Demo::new(&config.demo).context("cannot simulate")?;
                let store = MemoryStore::new(TrackRule::default());
                let source = Source::Demo(Box::new(demo), store.clone());
                Ok(Self { feed: Feed::Memory, store: Some(Store::Memory(store)), source })
            }
            SourceKind::Redis | SourceKind::Kafka => {
                let redis = config.redis.as_ref().context("no Redis is configured")?;
                let channels = Channels::Legacy { fields: config.fields.clone(), skew_max: config.skew_max };
                let (feed, task, bursts) = Feed::redis(redis.clone(), channels, Settings::default(), metrics);
                Ok(Self { feed, store: None, source: Source::Feed(Box::new(task), bursts) })
            }
        }
    }

    /// Whether dispatch has no store to ask.
    pub(crate) fn relays_only(&self) -> bool {
        self.store.is_none()
    }

    /// Reads fleets' states for dispatch.
    pub(crate) fn loader(&self) -> Loader {
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

    /// Starts the tasks. Ingestion ends with `stop_sources`, everything with `stop`.
    pub(crate) fn start(
        self,
        dispatcher: Dispatcher,
        readiness: &Readiness,
        tasks: &TaskTracker,
        stop_sources: &CancellationToken,
        stop: &CancellationToken,
    ) {
        match self.source {
            Source::Demo(demo, store) => {
                tasks.spawn(simulate(*demo, store, dispatcher, stop_sources.clone()));
            }
            Source::Feed(task, bursts) => {
                let condition = readiness.condition("redis");
                condition.set_unready("not connected yet");
                tasks.spawn(task.run(stop.clone()));
                tasks.spawn(follow(bursts, dispatcher, condition));
            }
        }
    }
}

async fn simulate(mut demo: Demo, store: MemoryStore, dispatcher: Dispatcher, stop: CancellationToken) {
    while let Some(records) = stop.run_until_cancelled(demo.next_batch()).await {
        let applied = store.apply(records, crate::transport::epoch_ms());
        let epoch = store.epoch();
        for batch in applied.fresh {
            dispatcher.dispatch(batch, Some(epoch)).await;
        }
    }
}

/// Hands the feed's bursts to dispatch and tells readiness how the feed is.
async fn follow(mut bursts: mpsc::Receiver<Vec<FeedEvent>>, dispatcher: Dispatcher, condition: Condition) {
    let mut lost = false;
    while let Some(burst) = bursts.recv().await {
        for event in burst {
            match event {
                FeedEvent::Batch { batch, epoch } => dispatcher.dispatch(batch, epoch).await,
                FeedEvent::Gap { fleet, .. } => dispatcher.gap(fleet).await,
                FeedEvent::Lost => {
                    lost = true;
                    condition.set_unready("the connection for updates is lost");
                }
                FeedEvent::Restored => {
                    condition.set_ready();
                    if std::mem::take(&mut lost) {
                        dispatcher.gap_everywhere().await;
                    }
                }
            }
        }
    }
}
