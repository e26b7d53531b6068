//! `FLEETCAST_REDIS_URL`: which servers, how to reach them, and how to say so without the password.

use std::fmt;

use redis::{ConnectionInfo, IntoConnectionInfo};

use crate::values::Secret;

/// Addresses more than any cluster needs as seeds; a bound on what a typing error can do.
const URLS_MAX: usize = 100;

/// One server, or the seeds of a cluster. Printing it shows addresses only.
#[derive(Clone)]
pub struct RedisUrls {
    servers: Vec<ConnectionInfo>,
}

/// Why a Redis URL was refused. Never holds the URL: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisUrl {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// More than [`URLS_MAX`].
    #[error("more than {URLS_MAX} addresses")]
    TooMany,
    /// The address at this place, counted from 1, is none.
    #[error("address {0} is not redis://[user:password@]host[:port][/database] or the same with rediss://")]
    Address(usize),
}

impl RedisUrls {
    /// Reads one URL, or several separated by commas.
    ///
    /// # Errors
    /// One of them is no Redis URL.
    pub fn parse(text: &Secret) -> Result<Self, InvalidRedisUrl> {
        let urls: Vec<&str> = text.expose().split(',').map(str::trim).collect();
        match urls.len() {
            _ if urls == [""] => return Err(InvalidRedisUrl::Empty),
            count if count > URLS_MAX => return Err(InvalidRedisUrl::TooMany),
            _ => {}
        }
        let server = |(at, url): (usize, &&str)| {
            // A parser that also takes file paths would call a typing error a unix socket.
            let ours = ["redis://", "rediss://", "redis+unix://", "unix://"].iter().any(|s| url.starts_with(s));
            let info = ours.then(|| url.into_connection_info().ok()).flatten();
            info.ok_or(InvalidRedisUrl::Address(at + 1))
        };
        let servers = urls.iter().enumerate().map(server).collect::<Result<_, _>>()?;
        Ok(Self { servers })
    }

    /// How to connect to each.
    #[must_use]
    pub fn servers(&self) -> &[ConnectionInfo] {
        &self.servers
    }
}

impl fmt::Display for RedisUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, server) in self.servers.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}", server.addr())?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrls({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RedisUrls, InvalidRedisUrl> {
        RedisUrls::parse(&text.parse().unwrap())
    }

    #[test]
    fn one_server_or_the_seeds_of_a_cluster() {
        assert_eq!(parse("redis://127.0.0.1:6380/2").unwrap().to_string(), "127.0.0.1:6380");
        let cluster = parse("redis://a:1, redis://b:2").unwrap();
        assert_eq!((cluster.servers().len(), cluster.to_string()), (2, "a:1, b:2".to_owned()));
    }

    #[test]
    fn a_password_is_never_printed() {
        let urls = parse("rediss://ada:hunter2@cache.example:6380").unwrap();
        let printed = format!("{urls} {urls:?}");
        assert!(printed.contains("cache.example:6380") && !printed.contains("hunter2"), "{printed}");
        let error = parse("http://ada:hunter2@cache.example").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        assert_eq!(parse("").unwrap_err(), InvalidRedisUrl::Empty);
        assert_eq!(parse("localhost:6379").unwrap_err(), InvalidRedisUrl::Address(1));
        assert_eq!(parse("redis://a,/tmp/redis.sock").unwrap_err(), InvalidRedisUrl::Address(2));
        assert_eq!(parse("redis://host:port").unwrap_err(), InvalidRedisUrl::Address(1));
    }
}
