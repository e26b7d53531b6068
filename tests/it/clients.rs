//! Unchanged dashboards: five generations of `socket.io-client` over polling, websocket and the upgrade.

use serde_json::{Value, json};

use crate::support::{Gateway, RedisServer, Viewer, eventually, node};

async fn gateway(redis: &RedisServer) -> Gateway {
    Gateway::builder().redis(redis).env("FLEETCAST_SOURCE", "redis").start().await
}

#[tokio::test]
async fn every_stock_client_gets_every_message_byte_for_byte() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let messages = [
        r#"{"assetId":"a","ts":1,"lat":59.3,"lon":18.0,"note":"h€llo 😀 \"quoted\" \\ / \n"}"#,
        "not json at all, but a message",
        r#"{"assetId":"a","ts":2}"#,
        " {\"spaces\" : \"kept\" , \"n\":1.50}\n",
        "\u{2028}\u{0}control",
    ];
    let run = node::script("matrix.mjs").arg(gateway.url()).arg("fleet-1").arg(messages.len());
    let mut script = run.spawn();
    eventually("all fifteen clients are connected", async || {
        script.lines().iter().filter(|line| line.contains(r#""event":"ready""#)).count() == 15
    })
    .await;
    for message in messages {
        redis.command::<i64>(&["PUBLISH", "updates:fleet-1", message]).await;
    }
    script.wait_exit(crate::support::PATIENCE).await;
    let facts: Vec<Value> =
        script.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let done: Vec<_> = facts.iter().filter(|fact| fact["event"] == "done").collect();
    assert_eq!(done.len(), 15, "{facts:#?}");
    let expected: Vec<Value> = messages.iter().map(|message| json!([message])).collect();
    for fact in done {
        assert_eq!(fact["messages"], json!(expected), "{} {}", fact["version"], fact["transport"]);
    }
    assert!(facts.iter().all(|fact| fact["event"] != "error"), "{facts:#?}");
}

#[tokio::test]
async fn several_fleets_on_one_socket_and_none_at_all() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let mut both = Viewer::connect(gateway.addr(), "fleetId=a%20b&fleetId=c&fleetId=c").await;
    let mut none = Viewer::connect(gateway.addr(), "").await;
    assert_eq!(both.id.len(), 20, "the length of Node's socket ids");
    for fleet in ["a b", "c", "d"] {
        redis.command::<i64>(&["PUBLISH", &format!("updates:{fleet}"), fleet]).await;
    }
    assert_eq!(both.event("fleet_update").await, "a b");
    assert_eq!(both.event("fleet_update").await, "c");
    both.assert_silent(std::time::Duration::from_millis(100)).await;
    none.assert_silent(std::time::Duration::from_millis(100)).await;
}

#[tokio::test]
async fn invalid_fleet_ids_are_refused_by_name() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let long = "x".repeat(129);
    for (query, why) in [
        ("fleetId=", "empty"),
        ("fleetId=a%23b", "#"),
        ("fleetId=a*", "*"),
        ("fleetId=a%0ab", "control"),
        (&*format!("fleetId={long}"), "128"),
        ("fleetId=good&fleetId=", "empty"),
    ] {
        let refusal = Viewer::try_connect(gateway.addr(), query).await.unwrap_err();
        assert!(refusal.contains("fleetId") && refusal.contains(why), "{query}: {refusal}");
    }
    assert_eq!(gateway.metric("fleetcast_handshakes_refused_total").await, 6.0);
    eventually("no subscription is left", async || {
        redis.command::<Vec<String>>(&["PUBSUB", "CHANNELS", "updates:*"]).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_payload_may_be_an_object() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_PAYLOAD", "object")
        .start()
        .await;
    let mut viewer = Viewer::connect(gateway.addr(), "fleetId=f").await;
    redis.command::<i64>(&["PUBLISH", "updates:f", r#"{"assetId":"a","n":1}"#]).await;
    redis.command::<i64>(&["PUBLISH", "updates:f", "{broken"]).await;
    assert_eq!(viewer.event("fleet_update").await, json!({"assetId": "a", "n": 1}));
    assert_eq!(viewer.event("fleet_update").await, "{broken", "what is no JSON stays a string");
}

#[tokio::test]
async fn a_burst_arrives_complete_and_in_order_at_every_viewer() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let script = node::script("burst.mjs").arg(gateway.url()).arg("fleet-1").arg(2000).spawn();
    eventually("all clients are connected", async || {
        script.lines().iter().filter(|line| line.contains(r#""event":"ready""#)).count() == 6
    })
    .await;
    let mut connection = redis.connect().await;
    let mut burst = redis::pipe();
    for n in 0..2000 {
        let message = format!(r#"{{"assetId":"a{}","ts":{n},"n":{n},"pad":"{:180}"}}"#, n % 7, "");
        burst.cmd("PUBLISH").arg("updates:fleet-1").arg(message).ignore();
    }
    burst.query_async::<()>(&mut connection).await.unwrap();
    eventually("every client has all", async || {
        script.lines().iter().filter(|line| line.contains(r#""event":"done""#)).count() == 6
    })
    .await;
    for line in script.lines().iter().filter(|line| line.contains(r#""event":"done""#)) {
        let fact: Value = serde_json::from_str(line).unwrap();
        assert_eq!(fact["in_order"], true, "{fact}");
    }
}

/// The steps of the migration in README.md, as written there.
#[tokio::test]
async fn a_node_gateway_and_fleetcast_side_by_side_show_the_same() {
    let redis = RedisServer::start().await;
    let readme = [("FLEETCAST_SOURCE", "redis"), ("FLEETCAST_AUTH", "none")];
    let gateway = readme
        .into_iter()
        .fold(Gateway::builder().redis(&redis), |gateway, (name, value)| gateway.env(name, value));
    let gateway = gateway.start().await;
    gateway.wait_ready().await;
    let run = node::script("side-by-side.mjs").arg(gateway.url()).arg(redis.url()).arg(500).run_ok().await;
    let expected =
        ["2.5", "3.1", "4.8"].map(|version| json!({"version": version, "updates": 500, "same": true}));
    assert_eq!(run.facts(), expected);
}
