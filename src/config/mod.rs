//! The whole configuration: every part's options composed, then checked once, before any port opens.
//! Invariant: nothing else reads the environment, and what is here fits together.

mod environment;
mod options;

pub use environment::{Environment, prepare};
pub use options::{
    DemoRun, EdgeOptions, OperationOptions, Origins, PortOptions, RedisOptions, ServeRun, SharedOptions,
    SourceKind, StoreKind,
};

use std::{path::PathBuf, time::Duration};

use crate::{
    auth::AuthSettings,
    cluster::ClusterOptions,
    fleet::FieldMap,
    source::{RecordOptions, demo, kafka},
    store::Redis,
};

/// What the gateway runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where updates come from.
    pub source: SourceKind,
    /// Where the newest state lives.
    pub store: StoreKind,
    /// Redis, when there is one.
    pub redis: Option<Redis>,
    /// Before every key and channel of our own.
    pub redis_prefix: String,
    /// Who may connect.
    pub auth: AuthSettings,
    /// How messages are read.
    pub records: RecordOptions,
    /// The consumer, for the source kafka.
    pub kafka: Option<kafka::Settings>,
    /// Whether the Redis store also publishes on the legacy channels.
    pub legacy_publish: bool,
    /// The size of the simulation.
    pub demo: demo::Options,
    /// The cluster with Node replicas; none, unless there is Redis and an adapter.
    pub cluster: Option<ClusterOptions>,
    /// What `serve` and `demo` have in common.
    pub shared: SharedOptions,
    /// Variables named like ours that are none of ours; to be told in the log.
    pub unknown_variables: Vec<String>,
    /// Files that it was read from.
    pub files: Vec<PathBuf>,
}

/// A configuration that cannot work; one line that names the option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

fn bad<T>(message: impl Into<String>) -> Result<T, BadConfig> {
    Err(BadConfig(message.into()))
}

impl Config {
    /// The configuration of `serve`.
    ///
    /// # Errors
    /// A required option is missing, or two do not fit together.
    pub fn serve(run: ServeRun, environment: &Environment) -> Result<Self, BadConfig> {
        let Some(source) = run.source.source else {
            return bad("FLEETCAST_SOURCE (--source) is required: demo, redis or kafka");
        };
        let kafka = (source == SourceKind::Kafka).then(|| kafka::Settings::new(&run.kafka, &run.records));
        let kafka = kafka.transpose().map_err(|error| BadConfig(error.to_string()))?;
        let kafka = match (kafka, &run.shared.canary.canary_topic) {
            (None, Some(_)) => {
                return bad("FLEETCAST_CANARY_TOPIC (--canary-topic) needs the source kafka");
            }
            (Some(kafka), Some(topic)) => Some(kafka.with_own_topic(topic)),
            (kafka, None) => kafka,
        };
        let redis = run.redis.address()?;
        let store = run.source.store.unwrap_or(match redis {
            Some(_) => StoreKind::Redis,
            None => StoreKind::Memory,
        });
        if store == StoreKind::Redis && redis.is_none() {
            return bad("FLEETCAST_REDIS_URL (--redis-url) is required for FLEETCAST_STORE=redis");
        }
        if source == SourceKind::Redis && redis.is_none() {
            return bad("FLEETCAST_REDIS_URL (--redis-url) is required for FLEETCAST_SOURCE=redis");
        }
        let auth = run.auth.settings(|variable| environment.secret_file(variable)).map_err(BadConfig)?;
        check_prefix(&run.redis.redis_prefix)?;
        run.cluster
            .check()
            .map_err(|error| BadConfig(format!("FLEETCAST_ADAPTER_KEY (--adapter-key): {error}")))?;
        options::check_demo(&run.demo)?;
        run.shared.check()?;
        Ok(Self {
            source,
            store,
            redis_prefix: run.redis.redis_prefix,
            auth,
            records: run.records,
            kafka,
            legacy_publish: run.source.legacy_publish,
            demo: run.demo,
            cluster: run.cluster.for_redis(redis.is_some()),
            redis,
            unknown_variables: environment.unknown_variables(),
            files: environment.files().into_iter().chain(run.shared.ports.files()).collect(),
            shared: run.shared,
        })
    }

    /// The configuration of `demo`: no services, no authentication.
    ///
    /// # Errors
    /// Two options do not fit together.
    pub fn demo(run: DemoRun, environment: &Environment) -> Result<Self, BadConfig> {
        options::check_demo(&run.demo)?;
        run.shared.check()?;
        Ok(Self {
            source: SourceKind::Demo,
            store: StoreKind::Memory,
            redis: None,
            redis_prefix: String::new(),
            auth: AuthSettings::None,
            records: RecordOptions { fields: FieldMap::default(), max_skew: Duration::from_secs(300) },
            kafka: None,
            legacy_publish: false,
            demo: run.demo,
            cluster: None,
            unknown_variables: environment.unknown_variables(),
            files: environment.files().into_iter().chain(run.shared.ports.files()).collect(),
            shared: run.shared,
        })
    }
}

/// Braces would move the hash slot of every key, and a pattern character would subscribe to strangers.
fn check_prefix(prefix: &str) -> Result<(), BadConfig> {
    let plain = |c: char| c.is_ascii_graphic() && !"{}*?[]\\".contains(c);
    if prefix.is_empty() || !prefix.chars().all(plain) {
        return bad(format!(
            "FLEETCAST_REDIS_PREFIX (--redis-prefix): `{prefix}` must be printable ASCII without {{ }} * ? [ ] \\"
        ));
    }
    Ok(())
}
