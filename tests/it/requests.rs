//! Requests of one viewer that come all at once: in order, one at a time, with a bound on those that wait.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::support::{Gateway, RedisServer, Viewer, eventually};

async fn gateway(redis: &RedisServer, subscriptions_max: usize) -> Gateway {
    Gateway::builder()
        .redis(redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_MAX_SUBSCRIPTIONS", subscriptions_max)
        .start()
        .await
}

/// Sends all requests before any answer is read; answers them by their number.
async fn all_at_once(viewer: &mut Viewer, requests: &[(&str, Value)]) -> BTreeMap<usize, Value> {
    for (number, (event, data)) in requests.iter().enumerate() {
        viewer.send(&format!("42{number}[\"{event}\",{data}]")).await;
    }
    answers(viewer, requests.len()).await
}

async fn answers(viewer: &mut Viewer, count: usize) -> BTreeMap<usize, Value> {
    let mut answers = BTreeMap::new();
    while answers.len() < count {
        let packet = viewer.packet().await.expect("the connection lives");
        let Some((number, body)) = packet.strip_prefix("43").and_then(|rest| rest.split_once('[')) else {
            continue;
        };
        let body = serde_json::from_str(body.strip_suffix(']').unwrap()).unwrap();
        assert!(answers.insert(number.parse().unwrap(), body).is_none(), "answered once");
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_holds_for_requests_that_come_together_and_they_are_served_in_order() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis, 3).await;
    for _ in 0..5 {
        let mut viewer = Viewer::connect(gateway.addr(), "fleetId=own").await;
        let requests: Vec<_> =
            (0..12).map(|n| ("fleet_subscribe", json!({"fleet": format!("f{n}")}))).collect();
        let answers = all_at_once(&mut viewer, &requests).await;
        let granted: Vec<_> =
            answers.iter().filter(|(_, answer)| answer["ok"] == true).map(|(n, _)| *n).collect();
        assert_eq!(granted, [0, 1], "the first ones, beside the one of the handshake: {answers:?}");
        assert!(answers.values().skip(2).all(|answer| answer["error"]["code"] == "too_many"), "{answers:?}");
        viewer.leave().await;
    }
    eventually("nothing is left", async || gateway.metric("fleetcast_memberships").await == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_many_requests_for_one_fleet_decides() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis, 3).await;
    let (on, off) = (
        ("fleet_subscribe", json!({"fleet": "f", "mode": "each"})),
        ("fleet_unsubscribe", json!({"fleet": "f"})),
    );
    let mut viewer = Viewer::connect(gateway.addr(), "").await;
    for (round, last) in [&on, &off, &on, &off].into_iter().enumerate() {
        let mut requests = vec![on.clone(), off.clone(), on.clone(), on.clone(), off.clone()];
        requests.push(last.clone());
        let answers = all_at_once(&mut viewer, &requests).await;
        assert!(answers.values().all(|answer| answer["ok"] == true), "{answers:?}");
        let members = if last.0 == on.0 { 1.0 } else { 0.0 };
        gateway.wait_metric("fleetcast_memberships", members).await;
        gateway.wait_metric("fleetcast_rooms", members).await;
        assert_eq!(gateway.metric("fleetcast_sockets_in_no_room").await, 1.0 - members);
        if last.0 == on.0 {
            while viewer.event("fleet_snapshot").await["parts"] != 1 {}
            let message = format!(r#"{{"assetId":"a","ts":{round}}}"#);
            redis.command::<i64>(&["PUBLISH", "updates:f", &message]).await;
            assert_eq!(viewer.event("fleet_update").await, message);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_bounded_and_nothing_outlives_its_viewer() {
    let mut redis = RedisServer::start().await;
    let gateway = gateway(&redis, 1000).await;
    let mut viewer = Viewer::connect(gateway.addr(), "").await;
    // Nothing can be confirmed, so the first request waits, and all others behind it.
    redis.pause();
    for number in 0..200 {
        viewer.send(&format!("42{number}[\"fleet_subscribe\",{{\"fleet\":\"f{number}\"}}]")).await;
    }
    let refused = answers(&mut viewer, 200 - 128 - 1).await;
    assert!(refused.keys().all(|number| *number >= 129), "{refused:?}");
    for answer in refused.values() {
        assert_eq!(answer["error"]["code"], "too_many", "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("128 requests wait"), "{answer}");
    }
    viewer.tear_down();
    eventually("it is gone", async || gateway.metric("fleetcast_viewers").await == 0.0).await;
    redis.resume();
    gateway.wait_ready().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(gateway.metric("fleetcast_memberships").await, 0.0);
}
