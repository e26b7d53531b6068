//! The delivery canary: ready means that updates arrive, and users see nothing of how that is known.

use serde_json::{Value, json};

use crate::support::{Gateway, Kafka, RedisServer, Viewer, eventually};

/// What `/readyz` says of the canary, if anything.
async fn complaint(gateway: &Gateway) -> Option<String> {
    let (_, body) = gateway.admin_get("/readyz").await;
    let report: Value = serde_json::from_str(&body).unwrap();
    report["reasons"]["canary"].as_str().map(str::to_owned)
}

async fn silent(gateway: &Gateway) {
    eventually("nothing is delivered, and readiness says so", async || {
        let told = complaint(gateway).await.is_some_and(|reason| reason.contains("has made its way"));
        told && gateway.admin_get("/readyz").await.0 == 503
    })
    .await;
}

async fn alive(gateway: &Gateway) {
    eventually("canaries arrive again", async || {
        gateway.admin_get("/readyz").await.0 == 200
            && gateway.metric("fleetcast_canary_age_seconds").await < 1.0
    })
    .await;
}

#[tokio::test]
async fn a_canary_flies_without_anything_else_and_nobody_sees_it() {
    let gateway = Gateway::builder()
        .env("FLEETCAST_SOURCE", "demo")
        .env("FLEETCAST_DEMO_ASSETS", "10")
        .env("FLEETCAST_DEMO_FLEETS", "2")
        .env("FLEETCAST_CANARY_INTERVAL", "100ms")
        .start()
        .await;
    alive(&gateway).await;
    for gauge in ["viewers", "connections", "rooms", "memberships", "watched_fleets", "sockets_in_no_room"] {
        assert_eq!(gateway.metric(&format!("fleetcast_{gauge}")).await, 0.0, "{gauge}");
    }
    assert_eq!(gateway.admin_get("/debug/connections").await.1.trim(), "[]");
    let mut viewer = Viewer::connect(gateway.addr(), "").await;
    let ack = viewer.request("fleet_subscribe", json!({"fleet": "fleetcast.canary"})).await;
    assert_eq!(ack["error"]["code"], "forbidden");
    let mut fleets = Value::Null;
    while fleets["fleets"].as_array().is_none_or(|fleets| fleets.len() < 2) {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        fleets = viewer.request("fleets", json!({})).await;
    }
    assert!(!fleets.to_string().contains("canary"), "{fleets}");
    let track = viewer.request("asset_history", json!({"asset": "x", "fleet": "fleetcast.canary"})).await;
    assert_eq!(track["track"], json!([]));
    Viewer::try_connect(gateway.addr(), "fleetId=fleetcast.canary").await.map(drop).unwrap_err();
    // Who guesses at the key is a viewer like any other.
    let _guest = Viewer::connect(gateway.addr(), "own=guess").await;
    assert_eq!(gateway.metric("fleetcast_viewers").await, 2.0);
}

#[tokio::test]
async fn a_redis_that_froze_or_died_makes_a_relay_unready_until_messages_arrive() {
    let mut redis = RedisServer::start().await;
    let gateway = Gateway::builder()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_CANARY_INTERVAL", "100ms")
        .start()
        .await;
    alive(&gateway).await;
    let channels = redis.command::<Vec<String>>(&["PUBSUB", "CHANNELS", "updates:*"]).await;
    assert!(channels.is_empty(), "it is no fleet of the legacy ingestion: {channels:?}");
    redis.pause();
    silent(&gateway).await;
    redis.resume();
    alive(&gateway).await;
    redis.stop();
    silent(&gateway).await;
    redis.start_again().await;
    alive(&gateway).await;
}

#[tokio::test]
async fn with_a_topic_of_its_own_it_goes_through_kafka_and_redis_of_all_replicas() {
    let kafka = Kafka::start().await;
    let mut redis = RedisServer::start().await;
    let topic = kafka.topic("canary", 1).await;
    let fields = "asset=/meta/asset,fleet=/meta/fleet,ts=/time";
    let start = async || {
        Gateway::builder()
            .kafka(kafka.brokers(), &topic)
            .redis(&redis)
            .env("FLEETCAST_FIELDS", fields)
            .env("FLEETCAST_CANARY_INTERVAL", "200ms")
            .env("FLEETCAST_CANARY_TOPIC", format!("{topic}.canary"))
            .start()
            .await
    };
    let (one, two) = (start().await, start().await);
    alive(&one).await;
    alive(&two).await;
    let keys = redis.command::<Vec<String>>(&["KEYS", "*canary*"]).await;
    assert!(!keys.is_empty() && keys.iter().all(|key| key.starts_with("fleetcast:")), "{keys:?}");
    kafka.pause();
    silent(&one).await;
    silent(&two).await;
    kafka.resume();
    alive(&one).await;
    alive(&two).await;
    redis.pause();
    silent(&two).await;
    redis.resume();
    alive(&one).await;
    alive(&two).await;
    assert_eq!(one.metric("fleetcast_updates_dead_lettered_total").await, 0.0);
}
