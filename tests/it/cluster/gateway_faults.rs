//! What the gateway meets as a member: bursts, churn, killed members, an absent Redis, viewers that do
//! not read.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    gateway::{Pair, gateway, gateway_with},
    node::{LIBRARIES, NodeReplica},
};
use crate::support::{RedisServer, Viewer, eventually};

const BURST: usize = 2000;

/// Of either adapter; the other one has none.
async fn adapter_channels(redis: &RedisServer) -> Vec<String> {
    let mut channels: Vec<String> = redis.command(&["PUBSUB", "CHANNELS", "socket.io*"]).await;
    channels.extend(redis.command::<Vec<String>>(&["PUBSUB", "SHARDCHANNELS", "socket.io*"]).await);
    channels.sort();
    channels
}

async fn node(redis: &RedisServer, library: &str) -> NodeReplica {
    node_with(redis, library, "classic").await
}

async fn node_with(redis: &RedisServer, library: &str, adapter: &str) -> NodeReplica {
    let options = json!({"requestsTimeout": 2000});
    let builder = NodeReplica::builder(&redis.url(), library).env("ADAPTER", adapter);
    builder.env("ADAPTER_OPTIONS", options).start().await
}

#[tokio::test]
async fn a_burst_of_two_thousand_reaches_every_dashboard_once_and_in_order() {
    for library in LIBRARIES {
        let Pair { redis: _redis, node, gateway, .. } = Pair::start(library).await;
        // One room, everyone, two rooms, the emitter: three channels and two publishers, one order.
        let burst = "for (let i = 0; i < input; i++) \
            [io.to('fleet-1'), io, io.to('fleet-1').to('x'), emitter.to('fleet-1')][i % 4].emit('b', i)";
        node.try_run(burst, &json!(BURST)).await.unwrap();
        let expected: Vec<Value> = (0..BURST).map(|number| json!(["b", number])).collect();
        for name in ["r1", "old"] {
            node.wait_received(name, &expected).await;
        }
        let for_all: Vec<Value> = expected.iter().skip(1).step_by(4).cloned().collect();
        node.wait_received("r2", &for_all).await;
        assert_eq!(gateway.metric("fleetcast_adapter_viewers_overrun_total").await, 0.0);
    }
}

#[tokio::test]
async fn churn_of_five_hundred_dashboards_leaves_no_channel() {
    for (adapter, channels) in [("classic", 4), ("sharded", 2)] {
        churn(adapter, channels).await;
    }
}

async fn churn(adapter: &str, channels: usize) {
    let redis = RedisServer::start().await;
    let gateway = gateway_with(&redis, adapter).await;
    let before = adapter_channels(&redis).await;
    assert_eq!(before.len(), channels, "{before:?}");
    for round in 0..5 {
        let connecting = (0..100).map(|number| {
            let query = format!("fleetId=fleet-{}", (round + number) % 17);
            let addr = gateway.addr().to_owned();
            async move {
                match number % 3 {
                    // Gone before its subscriptions are confirmed.
                    0 => {
                        let connecting = Viewer::connect(&addr, &query);
                        tokio::time::timeout(Duration::from_millis(1), connecting).await.ok();
                    }
                    1 => Viewer::connect(&addr, &query).await.leave().await,
                    _ => Viewer::connect(&addr, &query).await.tear_down(),
                }
            }
        });
        futures_util::future::join_all(connecting).await;
    }
    gateway.wait_metric("fleetcast_viewers", 0.0).await;
    gateway.wait_metric("fleetcast_rooms", 0.0).await;
    eventually("only the member's channels are left", async || adapter_channels(&redis).await == before)
        .await;
    let node = node_with(&redis, "ioredis", adapter).await;
    node.wait_members(2).await;
    assert_eq!(node.run("return (await io.fetchSockets()).length").await, 0);
}

#[tokio::test]
async fn a_gateway_killed_in_the_middle_of_a_request_costs_node_one_deadline() {
    for adapter in ["classic", "sharded"] {
        kill_in_the_middle(adapter).await;
    }
}

async fn kill_in_the_middle(adapter: &str) {
    let Pair { redis, node, mut gateway, .. } = Pair::start_with("node-redis", adapter).await;
    // Frozen: counted, and silent. Then killed while Node waits.
    gateway.pause();
    let asking = node.try_run("return (await io.fetchSockets()).length", &Value::Null);
    let killing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        gateway.kill9();
    };
    let (failed, ()) = tokio::join!(asking, killing);
    let failed = failed.unwrap_err();
    assert!(failed["error"].as_str().unwrap().contains("timeout"), "{failed}");
    node.wait_members(1).await;
    assert_eq!(node.run("return (await io.fetchSockets()).length").await, 1);
    // Nothing of the killed one is left; whatever Node has, it has for itself.
    let left = adapter_channels(&redis).await;
    assert!(!left.iter().any(|channel| channel.contains("fleet-2")), "{left:?}");
    // Its successor is a member at once.
    let successor = gateway_with(&redis, adapter).await;
    node.wait_members(2).await;
    node.client_at(&successor.url(), "r3", &["fleet-1"], None, &json!({})).await;
    node.run("io.to('fleet-1').emit('again')").await;
    node.wait_received("r3", &[json!(["again"])]).await;
}

#[tokio::test]
async fn a_node_replica_that_dies_takes_nothing_of_ours_with_it() {
    let Pair { redis, mut node, gateway, .. } = Pair::start("ioredis").await;
    node.signal(Signal::STOP);
    node.kill9();
    gateway.wait_metric("fleetcast_viewers", 0.0).await; // Its process had the dashboards, too.
    let other = self::node(&redis, "node-redis").await;
    other.wait_members(2).await;
    other.client_at(&gateway.url(), "r4", &["fleet-1"], None, &json!({})).await;
    other.run("io.to('fleet-1').emit('still')").await;
    other.wait_received("r4", &[json!(["still"])]).await;
}

#[tokio::test]
async fn a_gateway_that_is_told_to_stop_is_no_member_any_more() {
    let Pair { redis, node, mut gateway, .. } = Pair::start("node-redis").await;
    gateway.sigterm();
    assert!(gateway.wait_exit(Duration::from_secs(20)).await.success());
    assert_eq!(node.run("return await io.of('/').adapter.serverCount()").await, 1);
    assert_eq!(node.run("return (await io.fetchSockets()).length").await, 1);
    let channels = adapter_channels(&redis).await;
    assert!(channels.iter().all(|channel| channel.contains("-request#") || channel.contains("-response#")));
}

#[tokio::test]
async fn dashboards_outlive_an_absence_of_redis() {
    let Pair { mut redis, node, gateway, .. } = Pair::start("node-redis").await;
    redis.stop();
    eventually("readiness tells", async || {
        gateway.admin_get("/readyz").await.1.contains(r#""cluster":"the bus is lost""#)
    })
    .await;
    gateway.wait_metric("fleetcast_adapter_up", 0.0).await;
    // A dashboard that connects meanwhile is let in, and subscribed when Redis is back.
    node.client_at(&gateway.url(), "late", &["fleet-9"], None, &json!({})).await;
    redis.start_again().await;
    gateway.wait_ready().await;
    gateway.wait_metric("fleetcast_adapter_up", 1.0).await;
    node.wait_members(2).await;
    for (name, room) in [("r1", "fleet-1"), ("old", "fleet-1"), ("late", "fleet-9")] {
        let back = json!([format!("back {room}")]);
        eventually(name, async || {
            node.run(&format!("io.to('{room}').emit('back {room}')")).await;
            node.received(name).await.contains(&back)
        })
        .await;
        assert_eq!(node.run(&format!("return reason('{name}')")).await, Value::Null);
    }
    assert_eq!(node.run("return (await io.fetchSockets()).length").await, 5);
}

#[tokio::test]
async fn a_dashboard_that_does_not_read_is_closed_and_costs_no_more_than_its_queue() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let node = node(&redis, "node-redis").await;
    node.wait_members(2).await;
    let deaf = Viewer::connect(gateway.addr(), "fleetId=fleet-1").await;
    node.client_at(&gateway.url(), "reads", &["fleet-1"], None, &json!({})).await;
    let before = gateway.rss_bytes();
    // The kernel's buffers take some megabytes before the queue fills.
    let flood =
        "for (let i = 0; i < 800; i++) { io.to('fleet-1').emit('f', i, 'x'.repeat(65536)); await sleep(1) }";
    node.run(flood).await;
    gateway.wait_metric("fleetcast_adapter_viewers_overrun_total", 1.0).await;
    eventually("who reads gets all", async || {
        node.run(
            "return received('reads').map(([, i]) => i).every((n, i) => n === i) && received('reads').length",
        )
        .await
            == 800
    })
    .await;
    let grown = gateway.rss_bytes().saturating_sub(before);
    assert!(grown < 40 << 20, "{grown} bytes more");
    drop(deaf);
}
