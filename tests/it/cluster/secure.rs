//! Redis over TLS, with an authority of one's own and a user of Redis: store, feed and both adapters.

use serde_json::json;

use super::{node::NodeReplica, tools::run};
use crate::support::{Authority, Gateway, RedisServer, eventually, free_port};

/// The rights of docs/OPERATIONS.md.
const RIGHTS: [&str; 8] =
    ["on", ">p@ss", "resetkeys", "~fleetcast:*", "resetchannels", "&fleetcast:*", "&socket.io*", "+@all"];

/// A Redis with a second port for TLS, and its URL there.
async fn redis_with_tls(authority: &Authority) -> (RedisServer, String) {
    let port = free_port();
    let mut args = authority.redis_args(port);
    args.extend(["--user", "fleet"].iter().chain(&RIGHTS).chain(&["&updates:*"]).map(ToString::to_string));
    let redis = RedisServer::start_with(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    (redis, format!("rediss://fleet:p%40ss@127.0.0.1:{port}/"))
}

#[tokio::test]
async fn store_feed_and_adapter_work_over_tls_with_a_private_authority_and_a_user() {
    let authority = Authority::new();
    for adapter in ["classic", "sharded"] {
        let (mut redis, url) = redis_with_tls(&authority).await;
        let gateway = Gateway::builder()
            .env("FLEETCAST_SOURCE", "demo")
            .env("FLEETCAST_DEMO_ASSETS", 20)
            .env("FLEETCAST_DEMO_FLEETS", 1)
            .env("FLEETCAST_REDIS_URL", &url)
            .env("FLEETCAST_REDIS_CA", authority.certificate())
            .env("FLEETCAST_ADAPTER", adapter)
            .start()
            .await;
        gateway.wait_ready().await;
        let node = NodeReplica::builder(&redis.url(), "node-redis").env("ADAPTER", adapter).start().await;
        node.wait_members(2).await;
        node.client_at(&gateway.url(), "r1", &["nordic-01"], None, &json!({})).await;
        let got = async |event: &str| node.received("r1").await.iter().any(|message| message[0] == event);
        eventually("updates come", async || got("fleet_update").await).await;
        node.run("io.to('nordic-01').emit('hello')").await;
        eventually("an event comes", async || got("hello").await).await;
        assert_eq!(node.run("return (await io.fetchSockets()).length").await, 1);
        let users: String = redis.command(&["CLIENT", "LIST"]).await;
        assert!(users.matches("user=fleet").count() >= 4, "{users}");

        redis.restart().await;
        eventually("noticed", async || {
            gateway.metric("fleetcast_adapter_connections_lost_total").await > 0.0
        })
        .await;
        gateway.wait_ready().await;
        node.wait_members(2).await;
        eventually("an event comes again", async || {
            node.run("io.to('nordic-01').emit('again')").await;
            got("again").await
        })
        .await;
        let ca = authority.certificate();
        let check = ["check", "--source", "redis", "--auth", "none", "--redis-url", &url, "--redis-ca", &ca];
        let (code, lines) = run(&check).await;
        assert_eq!(code, 0, "{lines:?}");
        // A look at everything needs a user who may hear everything.
        let url = url.replace("fleet:p%40ss@", "");
        let doctor = ["doctor", "--seconds", "1", "--redis-url", &url, "--redis-ca", &ca];
        let (code, lines) = run(&doctor).await;
        let members = format!("2 members of the {adapter} adapter");
        assert!(code == 0 && lines.iter().any(|line| line.contains(&members)), "{lines:?}");
    }
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_refused_by_name() {
    let authority = Authority::new();
    let (redis, url) = redis_with_tls(&authority).await;
    let check = async |url: &str, ca: Option<&str>| {
        let mut args = vec!["check", "--source", "redis", "--auth", "none", "--redis-url", url];
        args.extend(ca.iter().flat_map(|file| ["--redis-ca", *file]));
        run(&args).await
    };
    let other = Authority::new();
    for ca in [None, Some(other.certificate())] {
        let (code, lines) = check(&url, ca.as_deref()).await;
        assert!(code == 1 && lines.iter().any(|line| line.contains("UnknownIssuer")), "{lines:?}");
    }
    let (plain, ca) = (redis.url(), authority.certificate());
    let empty = tempfile::NamedTempFile::new().unwrap();
    for (url, file, word) in [
        (url.as_str(), "does-not-exist.pem", "FLEETCAST_REDIS_CA"),
        (url.as_str(), empty.path().to_str().unwrap(), "FLEETCAST_REDIS_CA"),
        (plain.as_str(), ca.as_str(), "rediss://"),
    ] {
        let (code, lines) = check(url, Some(file)).await;
        assert!(code == 2 && lines[0].contains(word), "{lines:?}");
        assert!(!lines[0].contains("p%40ss"), "{lines:?}");
    }
}
