//! What a viewer may see: fleets, regions, tracks; when its token is replaced, and when it ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::tokens::{SECRET, good, guarded, in_seconds, with_secret};
use crate::support::{RedisServer, Viewer, World, eventually};

/// A gateway that wants tokens, with telemetry of the fleets `a`, `b` and `c`, one asset each, side by side.
async fn guarded_world(name: &str) -> World {
    let mut world = World::over(guarded().env("FLEETCAST_JWT_SECRET", SECRET), name, &[]).await;
    for fleet in ["a", "b", "c"] {
        move_all(&mut world, fleet).await;
    }
    world.applied(3.0).await;
    world
}

/// Moves the fleet's asset a little.
async fn move_all(world: &mut World, fleet: &str) {
    let lon = ((world.ts + 1) % 100) as f64 / 1000.0;
    world.place(fleet, &format!("{fleet}1"), lon, 1.0).await;
}

async fn connect(world: &World, token: &str) -> Viewer {
    Viewer::connect(world.gateway.addr(), &format!("token={token}")).await
}

fn ids(assets: &Value) -> Vec<&str> {
    let mut ids: Vec<_> =
        assets.as_array().unwrap().iter().map(|asset| asset["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn world_region() -> Value {
    json!({"region": "all", "bbox": [-10, -10, 10, 10], "interval_ms": 50})
}

#[tokio::test]
async fn what_is_not_granted_is_answered_as_what_does_not_exist() {
    let made = with_secret(&[("one", good(json!(["b", "nowhere"]))), ("all", good(json!("*")))]).await;
    let world = guarded_world("grants").await;
    let mut viewer = connect(&world, made.token("one")).await;
    let mut answers = Vec::new();
    for fleet in ["a", "c", "never-heard-of"] {
        answers.push(viewer.request("fleet_subscribe", json!({"fleet": fleet})).await);
        answers.push(viewer.request("fleet_subscribe", json!({"fleet": fleet, "mode": "each"})).await);
        let track = viewer.request("asset_history", json!({"asset": "a1", "fleet": fleet})).await;
        assert_eq!(track, json!({"ok": true, "track": []}));
        let query = format!("fleetId=b&fleetId={fleet}&token={}", made.token("one"));
        let refusal = Viewer::try_connect(world.gateway.addr(), &query).await.map(drop).unwrap_err();
        assert_eq!(refusal, format!(r#"{{"message":"forbidden: fleetId `{fleet}` is not granted"}}"#));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0]["error"]["code"], "forbidden");
    // Granted is something else than existing.
    let absent = viewer.request("fleet_subscribe", json!({"fleet": "nowhere"})).await;
    assert_eq!(absent["ok"], true, "{absent}");
    assert_eq!(ids(&viewer.event("fleet_snapshot").await["assets"]), [""; 0]);

    let region = viewer.request("region_subscribe", world_region()).await;
    assert_eq!(region["ok"], true, "{region}");
    assert_eq!(ids(&viewer.event("region_snapshot").await["assets"]), ["b1"]);
    let filtered = json!({"region": "f", "bbox": [-10, -10, 10, 10], "fleets": ["a", "c"]});
    viewer.request("region_subscribe", filtered).await;
    assert_eq!(ids(&viewer.event("region_snapshot").await["assets"]), [""; 0]);
    let listed = viewer.request("fleets", json!({})).await;
    assert_eq!(listed["fleets"], json!([{"fleet": "b", "assets": 1}]));
    let track = viewer.request("asset_history", json!({"asset": "c1"})).await;
    assert_eq!(track["track"], json!([]));

    let mut all = connect(&world, made.token("all")).await;
    all.request("region_subscribe", world_region()).await;
    assert_eq!(ids(&all.event("region_snapshot").await["assets"]), ["a1", "b1", "c1"]);
    assert_eq!(all.request("fleets", json!({})).await["fleets"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_new_token_takes_away_and_adds_at_once() {
    let made = with_secret(&[
        ("both", good(json!(["a", "b"]))),
        ("a only", good(json!(["a"]))),
        ("a and c", good(json!(["a", "c"]))),
        ("of another", json!({"sub": "somebody else", "fleets": "*", "exp": in_seconds(3600)})),
        ("over", json!({"sub": "viewer", "fleets": "*", "exp": in_seconds(-3600)})),
    ])
    .await;
    let mut world = guarded_world("refresh").await;
    let mut viewer = connect(&world, made.token("both")).await;
    for fleet in ["a", "b"] {
        let ack = viewer.request("fleet_subscribe", json!({"fleet": fleet, "interval_ms": 50})).await;
        assert_eq!(ack["ok"], true, "{ack}");
        assert_eq!(viewer.event("fleet_snapshot").await["fleet"], fleet);
    }
    viewer.request("region_subscribe", world_region()).await;
    assert_eq!(ids(&viewer.event("region_snapshot").await["assets"]), ["a1", "b1"]);

    for (label, code) in [("of another", "forbidden"), ("over", "forbidden")] {
        let ack = viewer.request("auth_refresh", json!({"token": made.token(label)})).await;
        assert_eq!(ack["error"]["code"], code, "{ack}");
    }
    for token in [json!({}), json!({"token": 7}), json!(null)] {
        assert_eq!(viewer.request("auth_refresh", token).await["error"]["code"], "bad_request");
    }

    let token = made.token("a only");
    viewer.send(&format!(r#"429["auth_refresh",{{"token":"{token}"}}]"#)).await;
    let mut told = Vec::new();
    while told.len() < 3 {
        told.push(viewer.packet().await.unwrap());
    }
    let has = |part: &str| told.iter().filter(|packet| packet.contains(part)).count() == 1;
    assert!(has(r#"439[{"ok":true"#), "{told:?}");
    assert!(has(r#""fleet_snapshot",{"fleet":"b","cursor":"","part":1,"parts":1,"assets":[]}"#), "{told:?}");
    assert!(has(r#""entered":[],"moved":[],"left":[{"id":"b1","fleet":"b"}]"#), "{told:?}");
    for fleet in ["b", "c", "a"] {
        move_all(&mut world, fleet).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let packet = viewer.packet().await.unwrap();
        assert!(!packet.contains(r#""b1""#) && !packet.contains(r#""c1""#), "{packet}");
        seen.extend(packet.contains(r#""a1""#).then_some(packet));
    }
    let refused = viewer.request("fleet_subscribe", json!({"fleet": "b"})).await;
    assert_eq!(refused["error"]["code"], "forbidden");
    assert_eq!(world.gateway.metric("fleetcast_memberships").await, 1.0);

    let token = made.token("a and c");
    viewer.send(&format!(r#"429["auth_refresh",{{"token":"{token}"}}]"#)).await;
    assert_eq!(ids(&viewer.event("region_updates").await["entered"]), ["c1"]);
    let ack = viewer.request("fleet_subscribe", json!({"fleet": "c"})).await;
    assert_eq!(ack["ok"], true, "{ack}");
    assert_eq!(world.gateway.metric("fleetcast_tokens_refreshed_total").await, 2.0);
}

#[tokio::test]
async fn a_fleet_that_is_taken_away_leaves_an_empty_snapshot_behind() {
    let made = with_secret(&[("a", good(json!(["a"]))), ("none", good(json!([])))]).await;
    let world = guarded_world("taken").await;
    let mut viewer = connect(&world, made.token("a")).await;
    viewer.request("fleet_subscribe", json!({"fleet": "a"})).await;
    assert_eq!(ids(&viewer.event("fleet_snapshot").await["assets"]), ["a1"]);
    let token = made.token("none");
    viewer.send(&format!(r#"429["auth_refresh",{{"token":"{token}"}}]"#)).await;
    let empty = viewer.packet().await.unwrap();
    assert!(empty.starts_with(r#"42["fleet_snapshot","#) && empty.contains(r#""assets":[]"#), "{empty}");
    let ack = viewer.packet().await.unwrap();
    assert!(ack.starts_with(r#"439[{"ok":true,"#), "{ack}");
}

#[tokio::test]
async fn whose_token_ends_is_warned_and_then_closed_by_transport_unless_it_brings_another() {
    let redis = RedisServer::start().await;
    // Five seconds of leeway are added.
    let short = |fleets: Value| json!({"sub": "viewer", "fleets": fleets, "exp": in_seconds(1)});
    let made = with_secret(&[("short", short(json!("*"))), ("long", good(json!("*")))]).await;
    let gateway = guarded()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_JWT_SECRET", SECRET)
        .start()
        .await;
    let query = |more: &str| format!("token={}{more}", made.token("short"));
    let mut careful = Viewer::connect(gateway.addr(), &query("")).await;
    let mut careless = Viewer::connect(gateway.addr(), &query("")).await;
    let mut legacy = Viewer::connect(gateway.addr(), &query("&fleetId=f")).await;
    let notice = careful.event("auth_expiring").await;
    assert!((1..1000).contains(&notice["in_ms"].as_i64().unwrap()), "{notice}");
    let warned = Instant::now();
    let ack = careful.request("auth_refresh", json!({"token": made.token("long")})).await;
    assert!(ack["expires_in_ms"].as_i64().unwrap() > 3_500_000, "{ack}");

    // Never a DISCONNECT packet, which would keep stock clients away; and unchanged dashboards are told
    // nothing that they do not know.
    assert!(careless.packet().await.unwrap().starts_with(r#"42["auth_expiring""#));
    assert_eq!(careless.packet().await, None);
    assert!(warned.elapsed() < Duration::from_secs(3), "{:?}", warned.elapsed());
    assert_eq!(legacy.packet().await, None);
    eventually("both are gone", async || gateway.metric("fleetcast_viewers").await == 1.0).await;
    assert_eq!(gateway.metric(r#"fleetcast_disconnects_total{reason="token expired"}"#).await, 2.0);
    let again = Viewer::try_connect(gateway.addr(), &query("")).await.map(drop).unwrap_err();
    assert!(again.contains("the token has expired"), "{again}");
    redis.command::<i64>(&["PUBLISH", "updates:f", "x"]).await;
    assert_eq!(careful.request("fleet_subscribe", json!({"fleet": "f", "mode": "each"})).await["ok"], true);
}
