//! Limits of one client address and of one user: refused so that a stock client comes back, counted by why, and
//! nobody else's matter.

use serde_json::json;

use crate::{
    auth::tokens::{SECRET, good, guarded, with_secret},
    edge::http,
    support::{Gateway, GatewayBuilder, Viewer, eventually, node},
};

fn behind_a_proxy() -> GatewayBuilder {
    Gateway::builder()
        .env("FLEETCAST_SOURCE", "demo")
        .env("FLEETCAST_DEMO_ASSETS", 10)
        .env("FLEETCAST_DEMO_FLEETS", 1)
        .env("FLEETCAST_TRUSTED_PROXIES", "127.0.0.1")
}

/// The answer to a polling handshake that a proxy hands on for that address.
async fn ask(gateway: &Gateway, address: &str) -> String {
    let forwarded = format!("X-Forwarded-For: {address}\r\n");
    http(gateway.addr(), "GET", "/socket.io/?EIO=4&transport=polling", &forwarded, "").await
}

fn sid(answer: &str) -> &str {
    &answer.split("\"sid\":\"").nth(1).unwrap_or_else(|| panic!("no session: {answer}"))[..20]
}

async fn leave(gateway: &Gateway, sid: &str) {
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    http(gateway.addr(), "POST", &target, "", "1").await;
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_the_others_have_theirs() {
    let gateway = behind_a_proxy().env("FLEETCAST_MAX_CONNECTIONS_PER_ADDRESS", 2).start().await;
    let first = ask(&gateway, "203.0.113.7").await;
    let second = ask(&gateway, "10.0.0.1, 203.0.113.7").await;
    let third = ask(&gateway, "203.0.113.7").await;
    assert!(third.starts_with("HTTP/1.1 429"), "{third}");
    assert!(third.to_lowercase().contains("retry-after: 5"), "{third}");
    // An upgrade of a session that is here is no connection more; a new websocket is.
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: 203.0.113.7\r\n";
    let websocket = http(gateway.addr(), "GET", "/socket.io/?EIO=4&transport=websocket", upgrade, "").await;
    assert!(websocket.starts_with("HTTP/1.1 429"), "{websocket}");
    let reason = r#"fleetcast_connects_refused_total{reason="connections of the address"}"#;
    assert_eq!(gateway.metric(reason).await, 2.0);

    sid(&ask(&gateway, "203.0.113.8").await);
    // An IPv6 client is its network of 64 bits.
    for address in ["2001:db8:1:1::1", "2001:db8:1:1:ffff::9"] {
        sid(&ask(&gateway, address).await);
    }
    assert!(ask(&gateway, "2001:db8:1:1:1:2:3:4").await.starts_with("HTTP/1.1 429"));
    sid(&ask(&gateway, "2001:db8:1:2::1").await);

    leave(&gateway, sid(&first)).await;
    sid(&ask(&gateway, "203.0.113.7").await);
    assert!(ask(&gateway, "203.0.113.7").await.starts_with("HTTP/1.1 429"));
    leave(&gateway, sid(&second)).await;
}

#[tokio::test]
async fn nobody_is_believed_who_is_no_trusted_proxy() {
    let gateway = behind_a_proxy()
        .env("FLEETCAST_TRUSTED_PROXIES", "192.0.2.1")
        .env("FLEETCAST_MAX_CONNECTIONS_PER_ADDRESS", 2)
        .start()
        .await;
    for n in 0..2 {
        sid(&ask(&gateway, &format!("203.0.113.{n}")).await);
    }
    assert!(ask(&gateway, "203.0.113.9").await.starts_with("HTTP/1.1 429"), "the peer's address counts");
}

#[tokio::test]
async fn one_address_comes_so_often_in_a_second_and_costs_the_others_nothing() {
    let gateway = behind_a_proxy().env("FLEETCAST_CONNECT_RATE_PER_ADDRESS", "5/s").start().await;
    let mut refused = 0;
    for _ in 0..40 {
        let answer = ask(&gateway, "203.0.113.7").await;
        if answer.starts_with("HTTP/1.1 429") {
            assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
            refused += 1;
        } else {
            leave(&gateway, sid(&answer)).await;
        }
        leave(&gateway, sid(&ask(&gateway, &format!("198.51.100.{refused}")).await)).await;
    }
    assert!(refused > 0);
    let reason = r#"fleetcast_connects_refused_total{reason="rate of the address"}"#;
    assert_eq!(gateway.metric(reason).await, f64::from(refused));
    eventually("a second later it is let in", async || {
        ask(&gateway, "203.0.113.7").await.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test]
async fn one_user_has_so_many_connections_and_a_stock_client_waits_for_its_turn() {
    let mut other = good(json!("*"));
    other["sub"] = json!("somebody else");
    let made = with_secret(&[("one", good(json!("*"))), ("other", other)]).await;
    let gateway = guarded()
        .env("FLEETCAST_SOURCE", "demo")
        .env("FLEETCAST_DEMO_ASSETS", 10)
        .env("FLEETCAST_DEMO_FLEETS", 1)
        .env("FLEETCAST_JWT_SECRET", SECRET)
        .env("FLEETCAST_MAX_CONNECTIONS_PER_USER", 1)
        .start()
        .await;
    let mut bystander = Viewer::connect(gateway.addr(), &format!("token={}", made.token("other"))).await;
    let script = node::script("limits.mjs").arg(gateway.url()).arg(made.token("one"));
    let facts = script.arg("2.5").arg("3.1").arg("4.8").run_ok().await.facts();
    let expected = ["2.5", "3.1", "4.8"]
        .map(|version| json!({"version": version, "early": "out", "late": "in", "told": []}));
    assert_eq!(facts, expected);
    let reason = r#"fleetcast_connects_refused_total{reason="connections of the user"}"#;
    assert!(gateway.metric(reason).await >= 3.0);
    // Over a websocket the code says that a place may be free later.
    let mut first = Viewer::connect(gateway.addr(), &format!("token={}", made.token("one"))).await;
    let refused = Viewer::try_connect(gateway.addr(), &format!("token={}", made.token("one"))).await;
    assert_eq!(refused.unwrap_err(), "closed");
    for viewer in [&mut first, &mut bystander] {
        assert_eq!(viewer.request("fleet_unsubscribe", json!({"fleet": "f"})).await["ok"], true);
    }
}

#[tokio::test]
async fn limits_of_addresses_and_users_follow_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.env");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("FLEETCAST_MAX_CONNECTIONS_PER_ADDRESS=1\nFLEETCAST_MAX_CONNECTIONS_PER_USER=1\n");
    let made = with_secret(&[("one", good(json!("*")))]).await;
    let gateway = guarded()
        .env("FLEETCAST_SOURCE", "demo")
        .env("FLEETCAST_DEMO_ASSETS", 10)
        .env("FLEETCAST_DEMO_FLEETS", 1)
        .env("FLEETCAST_JWT_SECRET", SECRET)
        .env("FLEETCAST_SETTINGS_FILE", file.display())
        .start()
        .await;
    let query = format!("token={}", made.token("one"));
    let _first = Viewer::connect(gateway.addr(), &query).await;
    assert!(Viewer::try_connect(gateway.addr(), &query).await.unwrap_err().contains("429"));
    write("FLEETCAST_MAX_CONNECTIONS_PER_ADDRESS=3\nFLEETCAST_MAX_CONNECTIONS_PER_USER=2\n");
    let mut second = None;
    for _ in 0..100 {
        second = Viewer::try_connect(gateway.addr(), &query).await.ok();
        if second.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(second.is_some(), "two are allowed now");
    assert_eq!(Viewer::try_connect(gateway.addr(), &query).await.err().as_deref(), Some("closed"));
    // Its place is free a moment after it was told.
    eventually("a third place", async || {
        let answer = http(gateway.addr(), "GET", "/socket.io/?EIO=4&transport=polling", "", "").await;
        answer.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test]
async fn one_address_has_so_many_silent_sockets_and_no_more() {
    let gateway = Gateway::builder()
        .env("FLEETCAST_SOURCE", "demo")
        .env("FLEETCAST_DEMO_ASSETS", 10)
        .env("FLEETCAST_DEMO_FLEETS", 1)
        .env("FLEETCAST_MAX_CONNECTIONS_PER_ADDRESS", 2)
        .start()
        .await;
    let refused = async || gateway.metric("fleetcast_accepts_refused_total").await;
    let mut silent = Vec::new();
    while refused().await < 1.0 {
        silent.push(tokio::net::TcpStream::connect(gateway.addr()).await.unwrap());
        assert!(silent.len() < 100, "nobody is refused");
    }
    assert!(silent.len() > 20, "{} sockets, and one was refused", silent.len());
    drop(silent);
    gateway.wait_metric("fleetcast_http_connections", 0.0).await;
    let answer = http(gateway.addr(), "GET", "/api/config", "", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
