//! Faults between the gateway and everybody else that have no place of their own: a Redis that throws us out,
//! long and lossy networks, suspended dashboards, a log that can not be written.

use std::{process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    ChaosProxy, Gateway, GatewayBuilder, Process, RedisServer, Viewer, eventually, eventually_within,
    free_port, node,
};

fn relay(redis: &RedisServer) -> GatewayBuilder {
    Gateway::builder().redis(redis).env("FLEETCAST_SOURCE", "redis")
}

async fn subscribers(redis: &RedisServer) -> i64 {
    redis.command::<(String, i64)>(&["PUBSUB", "NUMSUB", "updates:f"]).await.1
}

/// Redis holds a bounded backlog for a subscriber, and cuts whoever has more.
#[tokio::test]
async fn a_replica_that_redis_threw_out_for_its_backlog_comes_back_and_serves_on() {
    let redis = RedisServer::start_with(&["--client-output-buffer-limit", "pubsub 256kb 0 0"]).await;
    let mut gateway = relay(&redis).start().await;
    let mut viewer = Viewer::connect(gateway.addr(), "fleetId=f").await;
    assert_eq!(subscribers(&redis).await, 1);
    gateway.pause();
    let mut connection = redis.connect().await;
    let large = format!(r#"{{"assetId":"a","ts":1,"pad":"{:16000}"}}"#, "");
    eventually("it is thrown out", async || {
        let mut burst = redis::pipe();
        for _ in 0..100 {
            burst.cmd("PUBLISH").arg("updates:f").arg(&large).ignore();
        }
        burst.query_async::<()>(&mut connection.clone()).await.unwrap();
        subscribers(&redis).await == 0
    })
    .await;
    gateway.resume();
    eventually("it is back", async || subscribers(&redis).await == 1).await;
    assert!(gateway.metric("fleetcast_feed_connections_lost_total").await >= 1.0);
    // A state, since a viewer that has fallen behind the backlog is told states.
    let after = r#"{"assetId":"after","ts":1}"#;
    redis::cmd("PUBLISH").arg("updates:f").arg(after).query_async::<()>(&mut connection).await.unwrap();
    while viewer.event("fleet_update").await != after {}
    assert_eq!(gateway.metric("fleetcast_viewers").await, 1.0, "nobody is cut off for it");
}

/// TCP hides lost packets behind waiting, so to the gateway a lossy network is one that stands still now and
/// then.
#[tokio::test]
async fn over_two_seconds_of_round_trip_and_losses_everything_arrives_in_order() {
    let redis = RedisServer::start().await;
    let gateway =
        relay(&redis).env("FLEETCAST_PING_INTERVAL", "1s").env("FLEETCAST_PING_TIMEOUT", "5s").start().await;
    let proxy = ChaosProxy::start(gateway.addr());
    proxy.delay(Duration::from_secs(1));
    let mut viewer = Viewer::connect(&proxy.addr().to_string(), "fleetId=f").await;
    for round in 0..10 {
        for number in 0..20 {
            let message = format!("{}", round * 20 + number);
            redis.command::<i64>(&["PUBLISH", "updates:f", &message]).await;
        }
        if round % 2 == 0 {
            proxy.stall();
            tokio::time::sleep(Duration::from_millis(400)).await;
            proxy.delay(Duration::from_secs(1));
        }
    }
    for number in 0..200 {
        assert_eq!(viewer.event("fleet_update").await, number.to_string());
    }
    // Pings came by meanwhile, and their answers in time.
    assert_eq!(gateway.metric("fleetcast_connections").await, 1.0);
    assert_eq!(gateway.metric("fleetcast_disconnects_total").await, 0.0);
}

#[tokio::test]
async fn a_suspended_dashboard_is_given_up_and_is_back_as_soon_as_it_wakes() {
    let redis = RedisServer::start().await;
    let gateway = relay(&redis)
        .env("FLEETCAST_PING_INTERVAL", "500ms")
        .env("FLEETCAST_PING_TIMEOUT", "1s")
        .start()
        .await;
    let mut laptop = node::script("suspended.mjs").arg(gateway.url()).arg("f").spawn();
    eventually("it is there", async || gateway.metric("fleetcast_viewers").await == 1.0).await;
    laptop.signal(Signal::STOP);
    eventually("it is given up", async || gateway.metric("fleetcast_viewers").await == 0.0).await;
    eventually("nothing is left", async || {
        gateway.metric("fleetcast_rooms").await == 0.0 && gateway.metric("fleetcast_connections").await == 0.0
    })
    .await;
    laptop.signal(Signal::CONT);
    eventually("it is back", async || gateway.metric("fleetcast_viewers").await == 1.0).await;
    redis.command::<i64>(&["PUBLISH", "updates:f", "awake"]).await;
    let said = || {
        laptop.lines().iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>()
    };
    eventually("it gets updates", async || said().iter().any(|fact| fact["message"] == "awake")).await;
    assert_eq!(said().iter().filter(|fact| fact["event"] == "connect").count(), 2, "{:?}", said());
}

/// What a full disk is to whoever writes to it.
#[tokio::test]
async fn a_log_that_can_not_be_written_stops_nobody() {
    let (public, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            r#"exec "$0" demo --assets 100 --fleets 2 > /dev/full 2>&1"#,
            env!("CARGO_BIN_EXE_fleetcast"),
        ])
        .envs([("FLEETCAST_LISTEN", &public), ("FLEETCAST_ADMIN_LISTEN", &admin)])
        .env("FLEETCAST_LOG", "debug");
    let mut process = Process::start("fleetcast", command);
    let ask = async |path: &str| {
        let answer = reqwest::get(format!("http://{admin}{path}")).await.ok()?;
        (answer.status() == 200).then_some(answer.text().await.ok()?)
    };
    eventually_within(Duration::from_secs(30), "it is ready", async || ask("/readyz").await.is_some()).await;
    let mut viewer = Viewer::connect(&public, "fleetId=fleet-000").await;
    let refused = Viewer::try_connect(&public, "fleetId=").await;
    assert!(refused.is_err(), "that would be logged");
    viewer.send("42[\"nonsense\"]").await;
    assert!(ask("/readyz").await.is_some());
    assert!(ask("/metrics").await.unwrap().contains("fleetcast_viewers 1"));
    process.signal(Signal::TERM);
    let status = process.wait_exit(Duration::from_secs(45)).await;
    assert!(status.success(), "{status}");
}
