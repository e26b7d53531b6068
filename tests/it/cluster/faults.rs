//! What a cluster meets: nonsense on its channels, killed members, an absent Redis, churn and bursts.

use std::time::{Duration, Instant};

use fleetcast::cluster::{
    AskError,
    wire::{Argument, Flags, Target},
};
use futures_util::StreamExt;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    node::NodeReplica,
    replica::{Replica, event, room},
};
use crate::support::{ChaosProxy, PATIENCE, RedisServer, eventually};

/// Node waits so long for the answers of others.
const REQUESTS_TIMEOUT_MS: u64 = 2000;
const R1: &str = "rust-socket-0000001A";
/// As many as a busy gateway may emit before anybody reads.
const BURST: usize = 2000;

async fn node(redis: &RedisServer, library: &str) -> NodeReplica {
    let options = json!({"requestsTimeout": REQUESTS_TIMEOUT_MS});
    NodeReplica::builder(&redis.url(), library).env("ADAPTER_OPTIONS", options).start().await
}

async fn channels(redis: &RedisServer) -> Vec<String> {
    let mut channels: Vec<String> = redis.command(&["PUBSUB", "CHANNELS"]).await;
    channels.sort();
    channels
}

#[tokio::test]
async fn nonsense_on_every_channel_is_ignored_and_counted() {
    let redis = RedisServer::start().await;
    let rust = Replica::start(&redis.url()).await;
    rust.sockets.connect(R1, &["fleet-1"]).await;
    let own = format!("socket.io-response#/#{}#", rust.member.uid());
    let channels = [
        "socket.io#/#",
        "socket.io#/#fleet-1#",
        "socket.io-request#/#",
        "socket.io-response#/#",
        own.as_str(),
    ];
    // Half of these kill a Node replica, so there is none yet.
    let nonsense: [&[u8]; 7] =
        [b"", b"\"text\"", b"{\"type\":", b"\xc1", b"\xc0", b"\x93\xa1u\xc0\xc0", b"\xdf\xff\xff\xff\xff"];
    let mut connection = redis.connect().await;
    for channel in channels {
        for payload in nonsense {
            let mut publish = redis::cmd("PUBLISH");
            let heard: usize = publish.arg(channel).arg(payload).query_async(&mut connection).await.unwrap();
            assert_eq!(heard, 1, "{channel}");
        }
    }
    // Answers are read only while something is asked, so those of the two last channels are not counted.
    let expected = 3 * nonsense.len() as u64;
    eventually("counted", async || rust.metrics.adapter_malformed.get() == expected).await;
    let node = node(&redis, "node-redis").await;
    node.wait_members(2).await;
    node.run("io.to('fleet-1').emit('still here')").await;
    rust.wait_packets(R1, &[r#"2["still here"]"#]).await;
    assert_eq!(node.run("return (await io.fetchSockets()).length").await, 1);
}

#[tokio::test]
async fn a_node_replica_killed_in_the_middle_of_a_request_costs_one_deadline() {
    let redis = RedisServer::start().await;
    let rust = Replica::start(&redis.url()).await;
    rust.sockets.connect(R1, &["fleet-1"]).await;
    let mut node = node(&redis, "ioredis").await;
    node.wait_members(2).await;
    // Frozen: counted, and silent. Then killed while our question waits.
    node.signal(Signal::STOP);
    let (member, started) = (rust.member.clone(), Instant::now());
    let asking = tokio::spawn(async move { member.fetch_sockets(&Target::default()).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    node.kill9();
    let failed = asking.await.unwrap().unwrap_err();
    assert!(matches!(failed, AskError::TimedOut { missing: 1, .. }), "{failed}");
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
    eventually("alone", async || rust.member.server_count().await == Ok(1)).await;
    assert_eq!(rust.member.fetch_sockets(&Target::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn our_replica_killed_in_the_middle_of_a_request_costs_node_one_deadline() {
    let redis = RedisServer::start().await;
    let proxy = ChaosProxy::start(("127.0.0.1", redis.port()));
    let rust = Replica::start(&format!("redis://{}/", proxy.addr())).await;
    let mut node = node(&redis, "node-redis").await;
    node.wait_members(2).await;
    // Frozen as a killed process is before the kernel tells: counted, and silent.
    proxy.stall();
    let failed = node.try_run("return await io.fetchSockets()", &json!(null)).await.unwrap_err();
    assert!(failed["error"].as_str().unwrap().contains("timeout"), "{failed}");
    rust.kill();
    proxy.cut();
    eventually("alone", async || node.run("return await io.of('/').adapter.serverCount()").await == json!(1))
        .await;
    assert_eq!(node.run("return (await io.fetchSockets()).length").await, 0);
    assert!(node.is_alive());
}

#[tokio::test]
async fn whoever_redis_gave_a_question_answers_it_once_even_while_it_ends() {
    let redis = RedisServer::start().await;
    let mut answers = redis::Client::open(redis.url()).unwrap().get_async_pubsub().await.unwrap();
    answers.subscribe("socket.io-response#/#").await.unwrap();
    let mut asker = redis.connect().await;
    // Questions without a pause, while members come and go. Redis says how many members got each.
    let asking = async {
        let mut asked = Vec::new();
        for number in 0..400 {
            let request = json!({"uid": "asking", "requestId": format!("q{number}"), "type": 1});
            let mut publish = redis::cmd("PUBLISH");
            publish.arg("socket.io-request#/#").arg(request.to_string());
            asked.push(publish.query_async::<usize>(&mut asker).await.unwrap());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        asked
    };
    let churn = async {
        for _ in 0..8 {
            let rust = Replica::start(&redis.url()).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
            rust.stop().await;
        }
    };
    let (asked, ()) = tokio::join!(asking, churn);
    let expected: usize = asked.iter().sum();
    assert!(expected > 100, "members were there: {asked:?}");
    let mut answered = vec![0; asked.len()];
    let mut answers = answers.on_message();
    for _ in 0..expected {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap().unwrap();
        let answer: Value = serde_json::from_slice(answer.get_payload_bytes()).unwrap();
        let number: usize = answer["requestId"].as_str().unwrap()[1..].parse().unwrap();
        answered[number] += 1;
    }
    assert_eq!(answered, asked);
}

#[tokio::test]
async fn the_cluster_heals_after_a_restart_of_redis() {
    let mut redis = RedisServer::start().await;
    let rust = Replica::start(&redis.url()).await;
    rust.sockets.connect(R1, &["fleet-1"]).await;
    let mut node = node(&redis, "node-redis").await;
    node.wait_members(2).await;
    node.client("n1", &["fleet-1"], None).await;

    redis.stop();
    eventually("noticed", async || !rust.member.is_up()).await;
    let started = Instant::now();
    assert!(rust.member.fetch_sockets(&Target::default()).await.is_err());
    assert!(rust.member.emit_with_ack(&event(r#"["ask"]"#), &Target::default(), PATIENCE).await.is_err());
    assert!(started.elapsed() < Duration::from_millis(500), "an error, not a hang");
    rust.member.emit(&event(r#"["local"]"#), &room("fleet-1"), &Flags::default());
    rust.wait_packets(R1, &[r#"2["local"]"#]).await;
    // A socket that connects meanwhile is subscribed when Redis is back.
    let late = "rust-socket-0000002B";
    let sockets = rust.sockets.clone();
    let connecting = tokio::spawn(async move { sockets.connect(late, &["fleet-2"]).await });

    redis.start_again().await;
    rust.member.ready(PATIENCE).await.unwrap();
    connecting.await.unwrap();
    node.wait_members(2).await;
    rust.sockets.clear();
    eventually("from node", async || {
        node.run("io.to('fleet-1').to('fleet-2').emit('back')").await;
        rust.sockets.packets(late).contains(&r#"2["back"]"#.to_owned())
    })
    .await;
    eventually("from here", async || {
        rust.member.emit(&event(r#"["back"]"#), &room("fleet-1"), &Flags::default());
        node.received("n1").await.contains(&json!(["back"]))
    })
    .await;
    assert_eq!(rust.member.fetch_sockets(&Target::default()).await.unwrap().len(), 3);
    assert!(node.is_alive());
}

#[tokio::test]
async fn cut_stalled_and_half_open_links_heal() {
    for adapter in ["classic", "sharded"] {
        links_heal(adapter).await;
    }
}

async fn links_heal(adapter: &str) {
    let redis = RedisServer::start().await;
    let proxy = ChaosProxy::start(("127.0.0.1", redis.port()));
    let url = format!("redis://{}/", proxy.addr());
    let rust = Replica::start_with(&url, &["--adapter", adapter]).await;
    let rooms: Vec<String> = (0..1500).map(|number| format!("room-{number}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
    rust.sockets.connect(R1, &rooms).await;
    let node = NodeReplica::builder(&redis.url(), "node-redis").env("ADAPTER", adapter).start().await;
    for fault in [ChaosProxy::cut, ChaosProxy::half_open, ChaosProxy::stall] {
        fault(&proxy);
        eventually("noticed", async || !rust.member.is_up()).await;
        proxy.pass();
        rust.member.ready(PATIENCE).await.unwrap();
        node.wait_members(2).await;
        rust.sockets.clear();
        node.run("for (let i = 0; i < 1500; i++) io.to('room-' + i).emit('e', i)").await;
        let expected: Vec<String> = (0..1500).map(|number| format!("2[\"e\",{number}]")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        rust.wait_packets(R1, &expected).await;
        // The publishing connection notices later than the subscribing one: it may have nothing to say.
        eventually("two members", async || rust.member.server_count().await == Ok(2)).await;
    }
}

#[tokio::test]
async fn five_hundred_sockets_come_and_go_and_leave_no_channel() {
    let redis = RedisServer::start().await;
    let rust = Replica::start(&redis.url()).await;
    let before = channels(&redis).await;
    assert_eq!(before.len(), 4, "{before:?}");
    for round in 0..5 {
        let ids: Vec<String> = (0..100).map(|number| format!("churn-{round}-{number:08}")).collect();
        for (number, id) in ids.iter().enumerate() {
            let fleet = format!("fleet-{}", number % 17);
            // Every other one leaves before its subscription is confirmed.
            if number % 2 == 0 {
                rust.sockets.connect(id, &[&fleet]).await;
            } else {
                let sockets = rust.sockets.clone();
                let rooms = [fleet.as_str()];
                let connecting = sockets.connect(id, &rooms);
                tokio::time::timeout(Duration::from_micros(50), connecting).await.ok();
                rust.sockets.drop_socket(id);
            }
        }
        let ids: Vec<String> = ids.into_iter().step_by(2).collect();
        assert_eq!(rust.member.fetch_sockets(&Target::default()).await.unwrap().len(), ids.len());
        ids.iter().for_each(|id| rust.sockets.drop_socket(id));
    }
    eventually("only the member's channels are left", async || channels(&redis).await == before).await;
    assert_eq!(rust.metrics.adapter_subscriptions.get(), 4);
    rust.stop().await;
    assert!(channels(&redis).await.is_empty());
}

#[tokio::test]
async fn a_burst_arrives_exactly_once_and_in_order_on_both_sides() {
    let redis = RedisServer::start().await;
    let rust = Replica::start(&redis.url()).await;
    rust.sockets.connect(R1, &["fleet-1"]).await;
    let node = node(&redis, "ioredis").await;
    node.wait_members(2).await;
    node.client("n1", &["fleet-1"], None).await;
    // One room, everyone, two rooms: three channels, one order.
    let burst = "for (let i = 0; i < input; i++) [io.to('fleet-1'), io, io.to('fleet-1').to('x')][i % 3].emit('b', i)";
    node.try_run(burst, &json!(BURST)).await.unwrap();
    let expected: Vec<String> = (0..BURST).map(|number| format!("2[\"b\",{number}]")).collect();
    rust.wait_packets(R1, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;

    node.run("received('n1').length = 0").await;
    for number in 0..BURST {
        let target = [room("fleet-1"), Target::default()][number % 2].clone();
        rust.member.emit(&event(&format!("[\"b\",{number}]")), &target, &Flags::default());
    }
    let expected: Vec<_> = (0..BURST).map(|number| json!(["b", number])).collect();
    node.wait_received("n1", &expected).await;
    assert_eq!(rust.metrics.adapter_frames_dropped.get(), 0);
    let ping = rust.member.server_side_emit_with_ack(Argument::json(r#"["sse"]"#)).await.unwrap();
    assert_eq!(ping.len(), 1);
}
