//! How the parts of the cluster fit together, and their options.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::{
    LocalSockets, Member, Rooms, Service, SubscribeMode,
    bus::Bus,
    member::Settings,
    redis_bus::{Publisher, RedisBus, RedisEvents},
    wire::{Dialect, InvalidKey, Names},
};
use crate::{
    observe::{Condition, Metrics},
    store::Redis,
};

/// The namespace of dashboards; the gateway has no other.
const NAMESPACE: &str = "/";

/// Which of Node's adapters the cluster uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AdapterKind {
    /// No cluster: this replica's sockets alone.
    None,
    /// `createAdapter` of `@socket.io/redis-adapter`: classic pub/sub.
    #[default]
    Classic,
    /// `createShardedAdapter` of it: shard channels, Redis 7 or later.
    Sharded,
}

/// Options that do not fit together, or a key that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCluster {
    /// The key would make channels ambiguous.
    #[error("FLEETCAST_ADAPTER_KEY (--adapter-key): {0}")]
    Key(#[from] InvalidKey),
    /// Redis has no patterns for shard channels.
    #[error(
        "FLEETCAST_ADAPTER_SUBSCRIBE (--adapter-subscribe): shard channels have no `pattern`; `interest` is what Node's sharded adapter does"
    )]
    Pattern,
    /// Only the sharded adapter has such a mode.
    #[error("FLEETCAST_ADAPTER_SUBSCRIBE (--adapter-subscribe): `{0}` needs FLEETCAST_ADAPTER=sharded")]
    ShardsOnly(&'static str),
}

/// The cluster with Node replicas and emitters.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterOptions {
    /// The adapter that the Node replicas use; without Redis there is none.
    #[arg(long = "adapter", env = "FLEETCAST_ADAPTER", default_value = "classic")]
    pub adapter: AdapterKind,
    /// The adapter's key prefix: the option `key` of Node's adapter.
    #[arg(
        long = "adapter-key",
        env = "FLEETCAST_ADAPTER_KEY",
        default_value = "socket.io",
        value_name = "TEXT"
    )]
    pub adapter_key: String,
    /// Which rooms' channels to subscribe to; with the sharded adapter what Node has as `subscriptionMode`, where
    /// `dynamic` is `interest`.
    #[arg(long = "adapter-subscribe", env = "FLEETCAST_ADAPTER_SUBSCRIBE", default_value = "interest")]
    pub adapter_subscribe: SubscribeMode,
}

impl ClusterOptions {
    /// Whether there is to be a cluster at all.
    #[must_use]
    pub fn for_redis(self, has_redis: bool) -> Option<Self> {
        (has_redis && self.adapter != AdapterKind::None).then_some(self)
    }

    /// Whether the options fit together.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self) -> Result<(), BadCluster> {
        self.names().map(drop)
    }

    fn dialect(&self) -> Dialect {
        match self.adapter {
            AdapterKind::None | AdapterKind::Classic => Dialect::Classic,
            AdapterKind::Sharded => Dialect::Sharded,
        }
    }

    fn names(&self) -> Result<Names, BadCluster> {
        match (self.dialect(), self.adapter_subscribe) {
            (Dialect::Sharded, SubscribeMode::Pattern) => return Err(BadCluster::Pattern),
            (Dialect::Classic, SubscribeMode::Static) => return Err(BadCluster::ShardsOnly("static")),
            (Dialect::Classic, SubscribeMode::DynamicPrivate) => {
                return Err(BadCluster::ShardsOnly("dynamic-private"));
            }
            _ => {}
        }
        let names = Names::new(&self.adapter_key, NAMESPACE)?.of(self.dialect());
        Ok(names.in_shard_mode(self.adapter_subscribe.of_shards()))
    }
}

/// Everything but the sockets: made first, since whoever keeps the rooms needs [`Self::rooms`].
#[derive(Debug)]
pub struct Connection {
    names: Arc<Names>,
    subscribe: SubscribeMode,
    bus: Arc<RedisBus>,
    publisher: Publisher,
    events: RedisEvents,
    metrics: Arc<Metrics>,
    condition: Option<Condition>,
}

/// What has to run for a member. Spawn [`Task::run`].
#[derive(Debug)]
pub struct Task {
    service: Service,
    publisher: Publisher,
}

impl Connection {
    /// Two connections to Redis, dialed when the task runs. `condition` follows the state of the bus.
    ///
    /// # Errors
    /// The options do not fit together.
    pub fn new(
        redis: &Redis,
        options: &ClusterOptions,
        metrics: &Arc<Metrics>,
        condition: Option<Condition>,
    ) -> Result<Self, BadCluster> {
        let names = Arc::new(options.names()?);
        let patterns = match options.adapter_subscribe {
            SubscribeMode::Pattern => vec![names.pattern()],
            SubscribeMode::Interest | SubscribeMode::Static | SubscribeMode::DynamicPrivate => Vec::new(),
        };
        let (bus, publisher, events) = RedisBus::new(redis, names.dialect(), patterns, metrics);
        let subscribe = options.adapter_subscribe;
        let metrics = metrics.clone();
        Ok(Self { names, subscribe, bus: Arc::new(bus), publisher, events, metrics, condition })
    }

    /// For the keeper of the rooms.
    #[must_use]
    pub fn rooms(&self) -> Rooms {
        let bus: Arc<dyn Bus> = self.bus.clone();
        Rooms::new(bus, self.names.clone(), self.subscribe)
    }

    /// Becomes a member, once [`Task::run`] runs.
    #[must_use]
    pub fn join(self, settings: Settings, sockets: Arc<dyn LocalSockets>) -> (Member, Task) {
        let settings = Settings { subscribe: self.subscribe, ..settings };
        let member = Member::new(self.names, settings, self.bus, sockets, self.metrics);
        let service = Service::new(member.clone(), self.events, self.condition);
        (member, Task { service, publisher: self.publisher })
    }
}

impl Task {
    /// Serves the cluster until `stop`; then answers and publishes what is left, and ends.
    pub async fn run(self, stop: CancellationToken) {
        let answered = CancellationToken::new();
        let service = async {
            self.service.run(stop).await;
            answered.cancel();
        };
        tokio::join!(service, self.publisher.run(answered.clone()));
    }
}
