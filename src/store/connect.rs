//! How connections to Redis are made: one server, a cluster, or whoever Sentinel says is the primary.
//!
//! Invariant: this is the only place that reads a Redis address, and no password in one is ever shown.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisFuture, RedisResult, TlsCertificates, Value,
    aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

/// A server that accepts no connection for this long counts as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A command without an answer for this long counts as lost, and its connection with it: a peer that
/// vanished without a goodbye is noticed by nothing else.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A Redis address.
///
/// `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS, several of them separated by commas
/// for Redis Cluster, or `redis+sentinel://[user:password@]host[:port][,host[:port]…]/<primary's name>[/db]`.
#[derive(Clone)]
pub struct Redis {
    shown: Arc<str>,
    topology: Arc<Topology>,
}

enum Topology {
    Single(Client),
    Cluster {
        cluster: ClusterClient,
        nodes: Vec<Client>,
        trusted: Option<Authorities>,
    },
    /// Behind a lock because asking the sentinels remembers which of them answered.
    Sentinel(Mutex<SentinelClient>),
}

/// Why a Redis address was refused. Never holds the address itself, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Redis address: {0}")]
pub struct InvalidRedisUrl(String);

/// Certificates that servers are trusted by, instead of the public ones.
#[derive(Debug, Clone)]
pub struct Authorities(TlsCertificates);

/// Why certificates were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no certificates in PEM: {0}")]
pub struct InvalidAuthorities(String);

impl Authorities {
    /// Reads certificates, one after the other.
    ///
    /// # Errors
    /// There is none, or one is none.
    pub fn from_pem(pem: Vec<u8>) -> Result<Self, InvalidAuthorities> {
        let (begin, anybody) = (b"-----BEGIN CERTIFICATE-----", "rediss://localhost");
        if !pem.windows(begin.len()).any(|window| window == begin) {
            return Err(InvalidAuthorities("nothing begins as one".to_owned()));
        }
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
        match Client::build_with_tls(anybody, certificates.clone()) {
            Ok(_) => Ok(Self(certificates)),
            Err(error) => Err(InvalidAuthorities(error.to_string())),
        }
    }
}

impl Redis {
    /// Reads an address; servers are trusted by the public certificates, or by those of `trusted` alone.
    ///
    /// # Errors
    /// It is none, or does not say that TLS is to be used although there are certificates.
    pub fn new(text: &str, trusted: Option<&Authorities>) -> Result<Self, InvalidRedisUrl> {
        let text = text.trim();
        if trusted.is_some() && !text.starts_with("rediss") {
            return Err(InvalidRedisUrl("certificates are for rediss:// or rediss+sentinel://".to_owned()));
        }
        let topology = if let Some((scheme, rest)) = sentinel_scheme(text) {
            Topology::Sentinel(Mutex::new(sentinel(scheme, rest, trusted)?))
        } else {
            let nodes =
                text.split(',').map(|url| client(url.trim(), trusted)).collect::<Result<Vec<_>, _>>()?;
            match nodes.as_slice() {
                [one] => Topology::Single(one.clone()),
                _ => Topology::Cluster {
                    cluster: cluster_of(&nodes, trusted).build().map_err(|error| invalid(&error))?,
                    nodes,
                    trusted: trusted.cloned(),
                },
            }
        };
        Ok(Self { shown: without_passwords(text).into(), topology: Arc::new(topology) })
    }

    /// A connection for commands, shared by cloning. Its commands fail once the connection is lost;
    /// whoever holds it then makes another.
    ///
    /// # Errors
    /// The server is away, or refuses.
    pub async fn connect(&self) -> RedisResult<Link> {
        if let Topology::Cluster { cluster, .. } = &*self.topology {
            return cluster.get_async_connection().await.map(|link| Link::new(Route::Cluster(link)));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let client = self.client().await?;
        let link = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Link::new(Route::Single(link)))
    }

    /// As [`Self::connect`], but a command whose fate is unknown fails instead of being sent again, as
    /// Redis Cluster's connection does otherwise.
    ///
    /// # Errors
    /// The server is away, or refuses.
    pub async fn connect_without_retries(&self) -> RedisResult<Link> {
        let Topology::Cluster { nodes, trusted, .. } = &*self.topology else { return self.connect().await };
        let cluster = cluster_of(nodes, trusted.as_ref()).retries(0).build()?;
        cluster.get_async_connection().await.map(|link| Link::new(Route::Cluster(link)))
    }

    /// As [`Self::connect`], and what the server sends by itself goes to `pushes`: messages, and the loss of
    /// a connection. Needs a server that speaks RESP3 (Redis 6).
    ///
    /// # Errors
    /// The server is away, or refuses.
    pub async fn connect_with_pushes(&self, pushes: impl AsyncPushSender) -> RedisResult<Link> {
        if let Topology::Cluster { nodes, trusted, .. } = &*self.topology {
            let cluster = cluster_of(nodes, trusted.as_ref());
            let cluster = cluster.use_protocol(ProtocolVersion::RESP3).push_sender(pushes).build()?;
            return cluster.get_async_connection().await.map(|link| Link::new(Route::Cluster(link)));
        }
        let info = self.client().await?.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_push_sender(pushes);
        let client = Client::open(info.set_redis_settings(settings))?;
        let link = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Link::new(Route::Single(link)))
    }

    /// A client of one server that takes commands and publishes: the server itself, the primary that
    /// Sentinel knows at this moment, or the first node of a cluster that can be reached.
    ///
    /// # Errors
    /// No sentinel, or no node, answers.
    pub async fn client(&self) -> RedisResult<Client> {
        match &*self.topology {
            Topology::Single(client) => Ok(client.clone()),
            Topology::Sentinel(sentinel) => sentinel.lock().await.async_get_client().await,
            Topology::Cluster { nodes, .. } => first_reachable(nodes).await,
        }
    }

    /// Whether keys are spread over several servers by slot.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(&*self.topology, Topology::Cluster { .. })
    }
}

fn cluster_of(nodes: &[Client], trusted: Option<&Authorities>) -> ClusterClientBuilder {
    let infos: Vec<ConnectionInfo> = nodes.iter().map(|node| node.get_connection_info().clone()).collect();
    let builder =
        ClusterClient::builder(infos).connection_timeout(CONNECT_TIMEOUT).response_timeout(RESPONSE_TIMEOUT);
    match trusted {
        Some(Authorities(certificates)) => builder.certs(certificates.clone()), // For nodes found later, too.
        None => builder,
    }
}

async fn first_reachable(nodes: &[Client]) -> RedisResult<Client> {
    let mut last = None;
    for node in nodes {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        match node.get_multiplexed_async_connection_with_config(&config).await {
            Ok(_) => return Ok(node.clone()),
            Err(error) => last = Some(error),
        }
    }
    Err(last
        .unwrap_or_else(|| (redis::ErrorKind::InvalidClientConfig, "no cluster node is configured").into()))
}

impl FromStr for Redis {
    type Err = InvalidRedisUrl;

    fn from_str(text: &str) -> Result<Self, InvalidRedisUrl> {
        Self::new(text, None)
    }
}

fn invalid(error: &redis::RedisError) -> InvalidRedisUrl {
    InvalidRedisUrl(error.to_string())
}

fn client(url: &str, trusted: Option<&Authorities>) -> Result<Client, InvalidRedisUrl> {
    let info = info(url)?;
    let client = match trusted {
        Some(Authorities(certificates)) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    };
    client.map_err(|error| invalid(&error))
}

fn info(url: &str) -> Result<ConnectionInfo, InvalidRedisUrl> {
    // The error of the URL parser does not repeat the URL.
    url.into_connection_info().map_err(|error| invalid(&error))
}

fn sentinel_scheme(text: &str) -> Option<(&'static str, &str)> {
    let plain = text.strip_prefix("redis+sentinel://").map(|rest| ("redis", rest));
    plain.or_else(|| text.strip_prefix("rediss+sentinel://").map(|rest| ("rediss", rest)))
}

fn sentinel(
    scheme: &str,
    rest: &str,
    trusted: Option<&Authorities>,
) -> Result<SentinelClient, InvalidRedisUrl> {
    let (credentials, rest) = rest.rsplit_once('@').map_or(("", rest), |(user, rest)| (user, rest));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, db) = path.split_once('/').unwrap_or((path, "0"));
    if name.is_empty() {
        return Err(InvalidRedisUrl(
            "a sentinel address ends with the primary's name: …/mymaster".to_owned(),
        ));
    }
    // One ordinary URL is parsed for what the primary needs: credentials (with their escapes) and database.
    let at = if credentials.is_empty() { "" } else { "@" };
    let primary = info(&format!("redis://{credentials}{at}primary/{db}"))?;
    let sentinels = hosts.split(',').map(|host| {
        let port = if host.contains(':') { "" } else { ":26379" };
        info(&format!("{scheme}://{host}{port}")).map(|info| info.addr().clone())
    });
    let sentinels = sentinels.collect::<Result<Vec<ConnectionAddr>, _>>()?;
    let mut builder = SentinelClientBuilder::new(sentinels, name, SentinelServerType::Master)
        .map_err(|error| invalid(&error))?;
    let settings = primary.redis_settings();
    builder = builder.set_client_to_redis_db(settings.db());
    if let Some(username) = settings.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if scheme == "rediss" {
        builder = builder.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
    }
    if let Some(Authorities(certificates)) = trusted {
        builder = builder.set_client_to_sentinel_certificates(certificates.clone());
        builder = builder.set_client_to_redis_certificates(certificates.clone());
    }
    builder.build().map_err(|error| invalid(&error))
}

/// The address for logs: what stands before an `@` is left out.
fn without_passwords(text: &str) -> String {
    // A comma may be part of a password, and stands between sentinels: then all before the last `@` is left out.
    let is_list = text.split(',').all(|url| url.contains("://") && url.contains('@'));
    let is_of_sentinels = text.split_once("://").is_some_and(|(scheme, _)| scheme.contains("sentinel"));
    if is_list && !is_of_sentinels {
        return text.split(',').map(|url| without_password(url.trim())).collect::<Vec<_>>().join(",");
    }
    without_password(text)
}

fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({})", self.shown)
    }
}

/// A connection for commands; clones share it.
#[derive(Clone)]
pub struct Link {
    route: Route,
    /// Tells connections apart.
    identity: Arc<()>,
}

#[derive(Clone)]
enum Route {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    fn new(route: Route) -> Self {
        Self { route, identity: Arc::new(()) }
    }

    /// Whether the two share a connection.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.identity, &other.identity)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.route {
            Route::Single(_) => "Link to a server",
            Route::Cluster(_) => "Link to a cluster",
        })
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.route {
            Route::Single(link) => link.req_packed_command(cmd),
            Route::Cluster(link) => link.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.route {
            Route::Single(link) => link.req_packed_commands(cmd, offset, count),
            Route::Cluster(link) => link.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.route {
            Route::Single(link) => link.get_db(),
            Route::Cluster(link) => link.get_db(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_kind_are_read_and_shown_without_passwords() {
        let check = |url: &str, shown: &str, is_cluster: bool| {
            let redis: Redis = url.parse().unwrap();
            assert_eq!((redis.to_string().as_str(), redis.is_cluster()), (shown, is_cluster));
            assert_eq!(format!("{redis:?}"), format!("Redis({shown})"));
        };
        check("redis://127.0.0.1:6379/2", "redis://127.0.0.1:6379/2", false);
        check("redis://me:p%40ss@host", "redis://host", false);
        check("rediss://:secret@host:1", "rediss://host:1", false);
        check("redis://:s@a:1, redis://:s@b:2", "redis://a:1,redis://b:2", true);
        check("redis+sentinel://u:s@a,b:7/mymaster/3", "redis+sentinel://a,b:7/mymaster/3", false);
        check("redis+sentinel://u:s,ecret@a,b/mymaster", "redis+sentinel://a,b/mymaster", false);
        check("rediss+sentinel://a/mymaster", "rediss+sentinel://a/mymaster", false);
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for url in
            ["", "http://:secret@host", "redis://:secret@", "redis+sentinel://:secret@a", "redis://h/secret"]
        {
            let error = url.parse::<Redis>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
