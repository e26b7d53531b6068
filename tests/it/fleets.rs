//! `fleet_subscribe`: acknowledgement, snapshot, updates, resume.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use crate::support::{Gateway, RedisServer, Viewer};

async fn gateway(redis: &RedisServer) -> Gateway {
    Gateway::builder().redis(redis).env("FLEETCAST_SOURCE", "redis").start().await
}

async fn publish(redis: &RedisServer, asset: &str, ts: u64, more: &str) {
    let message = format!(r#"{{"assetId":"{asset}","ts":{ts}{more}}}"#);
    redis.command::<i64>(&["PUBLISH", "updates:f", &message]).await;
}

/// What a dashboard knows after a snapshot: the parts put together.
async fn snapshot(viewer: &mut Viewer) -> (HashMap<String, Value>, String) {
    let mut assets = HashMap::new();
    loop {
        let part = viewer.event("fleet_snapshot").await;
        for asset in part["assets"].as_array().unwrap() {
            assets.insert(asset["id"].as_str().unwrap().to_owned(), asset.clone());
        }
        if part["part"] == part["parts"] {
            return (assets, part["cursor"].as_str().unwrap().to_owned());
        }
    }
}

#[tokio::test]
async fn acknowledgement_then_snapshot_then_conflated_updates_then_resume() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let mut legacy = Viewer::connect(gateway.addr(), "fleetId=f").await;
    publish(&redis, "a", 1, r#","temp":4,"fuel":80,"lat":59.5,"lon":18.1"#).await;
    publish(&redis, "a", 2, r#","temp":5"#).await;
    for _ in 0..2 {
        legacy.event("fleet_update").await;
    }

    let mut viewer = Viewer::connect(gateway.addr(), "").await;
    let ack = viewer.request("fleet_subscribe", json!({"fleet": "f", "interval_ms": 50})).await;
    assert_eq!((&ack["ok"], &ack["resumed"]), (&json!(true), &json!(false)), "{ack}");
    let (assets, _) = snapshot(&mut viewer).await;
    let asset = &assets["a"];
    assert_eq!((&asset["ts"], &asset["lat"], &asset["fleet"]), (&json!(2000), &json!(59.5), &json!("f")));
    assert_eq!(
        asset["data"],
        json!({"assetId": "a", "ts": 2, "temp": 5, "fuel": 80, "lat": 59.5, "lon": 18.1})
    );

    publish(&redis, "a", 3, r#","temp":6"#).await;
    publish(&redis, "b", 1, "").await;
    let mut seen = HashMap::new();
    let mut cursor = String::new();
    while seen.len() < 2 {
        let updates = viewer.event("fleet_updates").await;
        cursor = updates["cursor"].as_str().unwrap().to_owned();
        for asset in updates["assets"].as_array().unwrap() {
            assert!(seen.insert(asset["id"].as_str().unwrap().to_owned(), asset["ts"].clone()).is_none());
        }
    }
    assert_eq!(seen["a"], 3000, "a small ts is epoch seconds");
    viewer.leave().await;

    publish(&redis, "b", 2, "").await;
    legacy.event("fleet_update").await;
    let mut again = Viewer::connect(gateway.addr(), "").await;
    let ack = again.request("fleet_subscribe", json!({"fleet": "f", "since": cursor})).await;
    assert_eq!(ack["resumed"], true, "{ack}");
    let (assets, _) = snapshot(&mut again).await;
    assert_eq!(assets.keys().collect::<Vec<_>>(), ["b"], "only what changed after the cursor");
    again.assert_silent(Duration::from_millis(400)).await;

    let mut forged = Viewer::connect(gateway.addr(), "").await;
    let ack = forged.request("fleet_subscribe", json!({"fleet": "f", "since": "0123456789abcdef.7"})).await;
    assert_eq!(ack["resumed"], false, "{ack}");
    assert_eq!(snapshot(&mut forged).await.0.len(), 2);
}

#[tokio::test]
async fn each_mode_sends_every_message_behind_the_snapshot() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let mut viewer = Viewer::connect(gateway.addr(), "").await;
    viewer.request("fleet_subscribe", json!({"fleet": "f", "mode": "each"})).await;
    assert!(snapshot(&mut viewer).await.0.is_empty());
    for ts in 1..=50 {
        publish(&redis, "a", ts, "").await;
    }
    for ts in 1..=50 {
        let text = viewer.event("fleet_update").await;
        assert_eq!(text, format!(r#"{{"assetId":"a","ts":{ts}}}"#));
    }
    assert_eq!(viewer.request("fleet_unsubscribe", json!({"fleet": "f"})).await, json!({"ok": true}));
    publish(&redis, "a", 51, "").await;
    viewer.assert_silent(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn bad_requests_are_answered_by_name() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_MAX_SUBSCRIPTIONS", "2")
        .start()
        .await;
    let mut viewer = Viewer::connect(gateway.addr(), "fleetId=a").await;
    for (request, code, why) in [
        (json!({}), "bad_request", "fleet"),
        (json!({"fleet": 7}), "bad_request", "fleet"),
        (json!({"fleet": "a#"}), "bad_request", "#"),
        (json!({"fleet": "f", "mode": "all"}), "bad_request", "mode"),
        (json!({"fleet": "f", "interval_ms": 49}), "bad_request", "interval_ms"),
        (json!({"fleet": "f", "interval_ms": "x"}), "bad_request", "interval_ms"),
        (json!({"fleet": "f", "since": 5}), "bad_request", "since"),
        (json!([]), "bad_request", "not an object"),
    ] {
        let ack = viewer.request("fleet_subscribe", request.clone()).await;
        assert_eq!(ack["ok"], false, "{request}");
        assert_eq!(ack["error"]["code"], code, "{request}: {ack}");
        assert!(ack["error"]["message"].as_str().unwrap().contains(why), "{request}: {ack}");
    }
    assert_eq!(viewer.request("fleet_subscribe", json!({"fleet": "b"})).await["ok"], true);
    let ack = viewer.request_quietly("fleet_subscribe", json!({"fleet": "c"})).await;
    assert_eq!(ack["error"]["code"], "too_many", "{ack}");
}
