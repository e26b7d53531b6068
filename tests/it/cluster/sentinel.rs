//! A primary that Sentinel replaces: members of both adapters find the next one, over TLS, too.

use std::process::{Command, Stdio};

use fleetcast::{
    cluster::wire::{Flags, Target},
    store::{Authorities, Redis},
};
use tempfile::TempDir;

use super::{
    node::NodeReplica,
    replica::{Replica, event, room},
};
use crate::support::{Authority, PATIENCE, Process, RedisServer, eventually, free_port};

const R1: &str = "rust-socket-0000001A";
const R2: &str = "rust-socket-0000002B";

/// A primary, its replica, and the one sentinel that watches them.
struct Watched {
    primary: RedisServer,
    replica: RedisServer,
    port: u16,
    _sentinel: Process,
    _dir: TempDir,
}

impl Watched {
    /// With an authority all three speak TLS, to each other as well.
    async fn start(authority: Option<&Authority>) -> Self {
        let tls = |port: u16| {
            let args = authority.map(|authority| authority.redis_args(port)).unwrap_or_default();
            let between = ["--tls-replication".to_owned(), "yes".to_owned()];
            args.into_iter().chain(authority.iter().flat_map(move |_| between.clone())).collect::<Vec<_>>()
        };
        let user =
            ["--user", "fleet", "on", ">secret", "&socket.io*", "+@pubsub", "+ping", "+role", "+hello"];
        let start = async |port: u16, more: &[&str]| {
            let tls = tls(port);
            let args = tls.iter().map(String::as_str).chain(user).chain(more.iter().copied());
            RedisServer::start_with(&args.collect::<Vec<_>>()).await
        };
        let tls_port = free_port();
        let primary = start(tls_port, &[]).await;
        let shown = if authority.is_some() { tls_port } else { primary.port() }.to_string();
        let replica = start(free_port(), &["--replicaof", "127.0.0.1", &shown]).await;
        eventually("replicated", async || {
            replica.command::<String>(&["INFO", "replication"]).await.contains("master_link_status:up")
        })
        .await;

        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut settings = vec![
            format!("sentinel monitor fleet 127.0.0.1 {shown} 1"),
            "sentinel down-after-milliseconds fleet 1000".to_owned(),
            "sentinel failover-timeout fleet 10000".to_owned(),
            format!("port {}", if authority.is_some() { 0 } else { port }),
        ];
        let options = tls(port);
        settings.extend(options.chunks(2).map(|option| format!("{} {}", &option[0][2..], option[1])));
        let file = dir.path().join("sentinel.conf");
        std::fs::write(&file, settings.join("\n")).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null());
        let mut sentinel = Process::start("sentinel", command);
        let knows = sentinel.find_line(PATIENCE, |line| line.contains("+slave slave").then_some(()));
        knows.await.expect("the sentinel knows the replica");
        Self { primary, replica, port, _sentinel: sentinel, _dir: dir }
    }
}

#[tokio::test]
async fn members_of_both_adapters_follow_the_primary() {
    let authority = Authority::new();
    for (adapter, authority) in [("classic", None), ("sharded", Some(&authority))] {
        let mut watched = Watched::start(authority).await;
        let scheme = if authority.is_some() { "rediss" } else { "redis" };
        let url = format!("{scheme}+sentinel://fleet:secret@127.0.0.1:{}/fleet", watched.port);
        let trusted =
            authority.map(|authority| Authorities::from_pem(std::fs::read(authority.certificate()).unwrap()));
        let redis = Redis::new(&url, trusted.transpose().unwrap().as_ref()).unwrap();
        let members = [R1, R2].map(|_| Replica::spawn_on(&redis, &["--adapter", adapter]));
        for (rust, id) in members.iter().zip([R1, R2]) {
            rust.member.ready(PATIENCE).await.unwrap();
            rust.sockets.connect(id, &["fleet-1"]).await;
        }
        let [first, second] = &members;
        // Node's library knows how to ask a sentinel without TLS.
        let node = match authority {
            None => {
                let sentinel = format!("redis://127.0.0.1:{}/", watched.port);
                let node = NodeReplica::builder(&sentinel, "ioredis-sentinel").env("ADAPTER", adapter);
                Some(node.start().await)
            }
            Some(_) => None,
        };
        let count = 2 + usize::from(node.is_some());
        let works = async |text: &str| {
            eventually("all are members", async || first.member.server_count().await == Ok(count)).await;
            let (data, packet) = (format!("[\"{text}\"]"), format!("2[\"{text}\"]"));
            second.sockets.clear();
            first.member.emit(&event(&data), &room("fleet-1"), &Flags::default());
            second.wait_packets(R2, &[&packet]).await;
            assert_eq!(second.member.fetch_sockets(&Target::default()).await.unwrap().len(), 2);
            if let Some(node) = &node {
                second.sockets.clear();
                node.run(&format!("io.to('fleet-1').emit('{text}')")).await;
                second.wait_packets(R2, &[&packet]).await;
                assert_eq!(node.run("return (await io.fetchSockets()).length").await, 2);
            }
        };
        works("before").await;
        watched.primary.stop();
        eventually("noticed", async || !first.member.is_up() && !second.member.is_up()).await;
        for rust in &members {
            rust.member.ready(PATIENCE).await.unwrap();
        }
        let info: String = watched.replica.command(&["INFO", "replication"]).await;
        assert!(info.contains("role:master"), "{info}");
        works("after").await;
    }
}
