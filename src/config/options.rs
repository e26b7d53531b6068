//! The options that belong to the process as a whole, and the lists of groups that each command takes.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};

use super::{BadConfig, bad};
use crate::{
    auth::AuthOptions,
    canary::CanaryOptions,
    cluster::ClusterOptions,
    dispatch::Payload,
    http::PageOptions,
    observe::logging::LogOptions,
    region::ShapeLimits,
    source::{RecordOptions, demo, kafka},
    store::Redis,
    transport,
    values::{InvalidValue, Network, Rate, Secret, duration, positive_duration},
};

/// What `serve` takes.
#[derive(Debug, Clone, Args)]
pub struct ServeRun {
    #[command(flatten)]
    pub(super) source: SourceOptions,
    #[command(flatten)]
    pub(super) records: RecordOptions,
    #[command(flatten)]
    pub(super) kafka: kafka::Options,
    #[command(flatten, next_help_heading = "Simulation (source demo)")]
    pub(super) demo: demo::Options,
    #[command(flatten)]
    pub(super) redis: RedisOptions,
    #[command(flatten)]
    pub(super) cluster: ClusterOptions,
    #[command(flatten)]
    pub(super) auth: AuthOptions,
    #[command(flatten)]
    pub(super) shared: SharedOptions,
}

/// What `demo` takes: it brings its own source, store and authentication.
#[derive(Debug, Clone, Args)]
pub struct DemoRun {
    #[command(flatten, next_help_heading = "Simulation")]
    pub(super) demo: demo::Options,
    #[command(flatten)]
    pub(super) shared: SharedOptions,
}

/// What `serve` and `demo` have in common.
#[derive(Debug, Clone, Args)]
pub struct SharedOptions {
    /// The two ports.
    #[command(flatten)]
    pub ports: PortOptions,
    /// Limits and deadlines of the public port.
    #[command(flatten)]
    pub edge: EdgeOptions,
    /// The delivery canary.
    #[command(flatten)]
    pub canary: CanaryOptions,
    /// What a region may cost.
    #[command(flatten, next_help_heading = "Connections")]
    pub shapes: ShapeLimits,
    /// What the page shows.
    #[command(flatten, next_help_heading = "Live map")]
    pub page: PageOptions,
    /// How the process is run.
    #[command(flatten)]
    pub operation: OperationOptions,
    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogOptions,
}

impl SharedOptions {
    pub(super) fn check(&self) -> Result<(), BadConfig> {
        let Self { ports, .. } = self;
        // Port 0 asks for any free port, so two of them do not clash.
        if ports.listen == ports.admin_listen && ports.listen.port() != 0 {
            return bad(format!(
                "FLEETCAST_ADMIN_LISTEN (--admin-listen): {} is the public port; the admin port needs its own",
                ports.admin_listen
            ));
        }
        match (&ports.tls_cert, &ports.tls_key) {
            (Some(_), None) => bad("FLEETCAST_TLS_KEY (--tls-key) is required with FLEETCAST_TLS_CERT"),
            (None, Some(_)) => bad("FLEETCAST_TLS_CERT (--tls-cert) is required with FLEETCAST_TLS_KEY"),
            _ => Ok(()),
        }
    }
}

/// What can be said of a simulation without building it.
pub(super) fn check_demo(options: &demo::Options) -> Result<(), BadConfig> {
    let &demo::Options { assets, fleets, rate, .. } = options;
    if fleets > assets {
        return bad(format!(
            "FLEETCAST_DEMO_FLEETS (--fleets): {fleets} fleets are more than {assets} assets"
        ));
    }
    if !(0.01..=50.0).contains(&rate) {
        return bad(format!("FLEETCAST_DEMO_RATE (--rate): {rate} is not between 0.01 and 50"));
    }
    Ok(())
}

/// Where updates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceKind {
    /// Simulated vehicles; needs nothing.
    Demo,
    /// The channels `updates:<fleetId>` that an existing ingestion publishes.
    Redis,
    /// Kafka topics.
    Kafka,
}

/// Where the newest state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// In this process; serves one replica alone.
    Memory,
    /// In Redis, shared by all replicas.
    Redis,
}

/// Source and store.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Source and store")]
pub(super) struct SourceOptions {
    /// Where updates come from; required.
    #[arg(long, env = "FLEETCAST_SOURCE")]
    pub(super) source: Option<SourceKind>,
    /// Where the newest state lives [default: redis when there is a Redis URL, else memory].
    #[arg(long, env = "FLEETCAST_STORE")]
    pub(super) store: Option<StoreKind>,
    /// Whether the Redis store also publishes each message on `updates:<fleet>`, for Node gateways beside us.
    #[arg(long, env = "FLEETCAST_LEGACY_PUBLISH", value_name = "BOOL", default_value_t = true,
          action = clap::ArgAction::Set)]
    pub(super) legacy_publish: bool,
}

/// Redis.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisOptions {
    /// `redis://` or `rediss://`, with user and password; several, separated by commas, for Redis Cluster;
    /// `redis+sentinel://host:port,host:port/service` for Sentinel.
    #[arg(long, env = "FLEETCAST_REDIS_URL", value_name = "URL")]
    pub redis_url: Option<Secret>,
    /// Before every key and channel of Fleetcast's own.
    #[arg(long, env = "FLEETCAST_REDIS_PREFIX", value_name = "TEXT", default_value = "fleetcast")]
    pub redis_prefix: String,
}

impl RedisOptions {
    pub(super) fn address(&self) -> Result<Option<Redis>, BadConfig> {
        let read = |url: &Secret| url.expose().parse::<Redis>();
        self.redis_url
            .as_ref()
            .map(read)
            .transpose()
            .or_else(|error| bad(format!("FLEETCAST_REDIS_URL (--redis-url): {error}")))
    }
}

/// The two ports.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Ports")]
pub struct PortOptions {
    /// Public address: `/socket.io/`, and the web client at `/`.
    #[arg(long, env = "FLEETCAST_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:3000")]
    pub listen: SocketAddr,
    /// Admin address: `/livez`, `/readyz`, `/metrics`, `/debug/…`. Not for the public.
    #[arg(long, env = "FLEETCAST_ADMIN_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9090")]
    pub admin_listen: SocketAddr,
    /// Certificate of the public port, in PEM: its own first, then the chain. With it the port speaks TLS and
    /// nothing else. Read again when it changes, and on SIGHUP.
    #[arg(long, env = "FLEETCAST_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(long, env = "FLEETCAST_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
}

impl PortOptions {
    /// Where the certificate and its key stand, if the public port is to speak TLS.
    #[must_use]
    pub fn tls(&self) -> Option<transport::TlsFiles> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(transport::TlsFiles { certificate, key })
    }

    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        [&self.tls_cert, &self.tls_key].into_iter().flatten().cloned()
    }
}

/// Whose pages may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Any page.
    Any,
    /// Pages of exactly these origins, such as `https://fleet.example.com`.
    Listed(Vec<String>),
}

impl FromStr for Origins {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let origins = text.split(',').map(str::trim).map(origin).collect::<Result<_, _>>()?;
        Ok(Self::Listed(origins))
    }
}

/// Browsers send an origin as scheme, host and port, in lower case; anything else would never match.
fn origin(text: &str) -> Result<String, InvalidValue> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let valid = |host: &str| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']);
    if host.is_some_and(valid) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(InvalidValue(format!("`{text}` is not an origin such as https://fleet.example.com, nor *")))
}

/// Limits and deadlines of the public port.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connections")]
pub struct EdgeOptions {
    /// Origins whose pages may connect, separated by commas, or `*` [default: same origin only].
    #[arg(long, env = "FLEETCAST_CORS_ORIGINS", value_name = "ORIGINS")]
    pub cors_origins: Option<Origins>,
    /// Proxies whose `X-Forwarded-For` counts, separated by commas: addresses, or networks such as
    /// `10.0.0.0/8`.
    #[arg(long, env = "FLEETCAST_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    /// Connections at the same time; beyond, HTTP 503.
    #[arg(long, env = "FLEETCAST_MAX_CONNECTIONS", value_name = "COUNT", default_value = "100000",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// New connections admitted per second; beyond, HTTP 503 with `Retry-After`.
    #[arg(long, env = "FLEETCAST_CONNECT_RATE", value_name = "RATE", default_value = "1000/s")]
    pub connect_rate: Rate,
    /// Largest message or POST body from a client, in bytes; beyond, the connection is closed.
    #[arg(long, env = "FLEETCAST_MAX_MESSAGE_BYTES", value_name = "BYTES", default_value = "65536",
          value_parser = clap::value_parser!(u32).range(1024..=100_000_000))]
    pub max_message_bytes: u32,
    /// Fleets and regions that one connection may watch.
    #[arg(long, env = "FLEETCAST_MAX_SUBSCRIPTIONS", value_name = "COUNT", default_value = "100",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_subscriptions: u32,
    /// How often a client is pinged.
    #[arg(long, env = "FLEETCAST_PING_INTERVAL", value_name = "DURATION", default_value = "25s",
          value_parser = positive_duration)]
    pub ping_interval: Duration,
    /// How long a client may take to answer a ping.
    #[arg(long, env = "FLEETCAST_PING_TIMEOUT", value_name = "DURATION", default_value = "20s",
          value_parser = positive_duration)]
    pub ping_timeout: Duration,
    /// A viewer that takes nothing for this long is closed.
    #[arg(long, env = "FLEETCAST_SLOW_TIMEOUT", value_name = "DURATION", default_value = "30s",
          value_parser = positive_duration)]
    pub slow_timeout: Duration,
    /// Bytes that may wait for one viewer; beyond, it gets the newest state when it reads again
    #[arg(long, env = "FLEETCAST_VIEWER_QUEUE_BYTES", value_name = "BYTES", default_value = "1048576",
          value_parser = clap::value_parser!(u32).range(65_536..))]
    pub viewer_queue_bytes: u32,
    /// What `fleet_update` carries: the source's message as a string, or parsed
    #[arg(long, env = "FLEETCAST_PAYLOAD", value_enum, default_value_t)]
    pub payload: Payload,
    /// Before a fleet's id in the names of rooms
    #[arg(
        long,
        env = "FLEETCAST_ROOM_PREFIX",
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub room_prefix: String,
}

impl EdgeOptions {
    /// Who is admitted, as the edge takes it.
    #[must_use]
    pub fn admittance(&self) -> transport::Admittance {
        transport::Admittance {
            connections_max: self.max_connections as usize,
            connects_per_second: self.connect_rate.per_second,
            origins: self.origins(),
            trusted_proxies: self.trusted_proxies.clone(),
        }
    }

    fn origins(&self) -> transport::Origins {
        match &self.cors_origins {
            None => transport::Origins::Same,
            Some(Origins::Any) => transport::Origins::Any,
            Some(Origins::Listed(origins)) => transport::Origins::Only(origins.clone()),
        }
    }
}

/// How the process is run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operation")]
pub struct OperationOptions {
    /// How long a shutdown may take: unready, viewers closed in waves, offsets committed.
    #[arg(long, env = "FLEETCAST_SHUTDOWN_GRACE", value_name = "DURATION", default_value = "30s",
          value_parser = duration)]
    pub shutdown_grace: Duration,
    /// A file of lines `FLEETCAST_…=value`, which count where neither flag nor variable says otherwise. Origins,
    /// trusted proxies and limits of connections in it are read again when it changes, and on SIGHUP.
    #[arg(long, env = "FLEETCAST_SETTINGS_FILE", value_name = "FILE")]
    pub settings_file: Option<PathBuf>,
    /// This replica's name, as the page and peers show it [default: the host's name]
    #[arg(long, env = "FLEETCAST_REPLICA", value_name = "NAME")]
    pub replica: Option<String>,
}

impl OperationOptions {
    /// This replica's name.
    #[must_use]
    pub fn replica(&self) -> String {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let name = self.replica.clone().or_else(host).unwrap_or_default();
        if name.trim().is_empty() { "replica".to_owned() } else { name.trim().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact_or_any() {
        assert_eq!(" * ".parse(), Ok(Origins::Any));
        let two = Origins::Listed(vec!["https://a.example".to_owned(), "http://b:8080".to_owned()]);
        assert_eq!("https://A.example, http://b:8080".parse(), Ok(two));
        for no in
            ["", "a.example", "https://", "https://a.example/", "https://*.example", "*,https://a", "null"]
        {
            let error = no.parse::<Origins>().unwrap_err().to_string();
            assert!(error.contains("origin"), "{no}: {error}");
        }
    }
}
