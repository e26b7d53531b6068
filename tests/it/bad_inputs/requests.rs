//! Requests, bodies and upgrades.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use super::{Raw, World, is_gone, target};
use crate::{
    edge::{http, open},
    support::eventually,
};

#[tokio::test]
async fn row_02_ids_that_others_can_see_are_nobodys_session() {
    let world = World::start().await;
    let refused = world.count("fleetcast_requests_refused_total").await;
    let public = world.other.id.clone();
    assert_eq!(public.len(), 20);
    for sid in [&public, &public[..16]] {
        for method in ["GET", "POST"] {
            let answer = http(world.addr(), method, &target(sid), "", "").await;
            assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("Session ID unknown"), "{answer}");
        }
    }
    assert_eq!(world.count("fleetcast_requests_refused_total").await - refused, 4.0);
    world.end().await;
}

#[tokio::test]
async fn row_04_posts_that_overlap_end_the_session() {
    let world = World::start().await;
    let sid = open(world.addr()).await;
    let mut first = TcpStream::connect(world.addr()).await.unwrap();
    let head = format!("POST {} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n4", target(&sid));
    first.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let second = http(world.addr(), "POST", &target(&sid), "", "40").await;
    assert!(second.starts_with("HTTP/1.1 400"), "{second}");
    assert!(is_gone(world.addr(), &sid).await);
    assert_eq!(world.count(r#"fleetcast_disconnects_total{reason="transport error"}"#).await, 1.0);
    world.end().await;
}

#[tokio::test]
async fn row_05_octets_of_protocol_4_end_the_session() {
    let world = World::start().await;
    let sid = open(world.addr()).await;
    let octets = "Content-Type: application/octet-stream\r\n";
    let answer = http(world.addr(), "POST", &target(&sid), octets, "40").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(is_gone(world.addr(), &sid).await);
    assert_eq!(world.count(r#"fleetcast_disconnects_total{reason="transport error"}"#).await, 1.0);
    world.end().await;
}

#[tokio::test]
async fn row_06_bodies_over_the_limit_are_refused_before_they_are_read() {
    let world = World::start().await;
    let sid = open(world.addr()).await;
    let declared = http(world.addr(), "POST", &target(&sid), "", &"4".repeat(65_537)).await;
    assert!(declared.starts_with("HTTP/1.1 413"), "{declared}");
    let rss = world.gateway.rss_bytes();
    let mut chunked = TcpStream::connect(world.addr()).await.unwrap();
    let head = format!("POST {} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", target(&sid));
    chunked.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"4000\r\n".as_slice(), &[b'4'; 0x4000], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 100 << 20 && chunked.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
    }
    let mut answer = Vec::new();
    chunked.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8_lossy(&answer);
    // Cut off while it still talks, the client may see a reset before the answer.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(sent < 50 << 20, "{sent} bytes were taken");
    let grown = world.gateway.rss_bytes().saturating_sub(rss);
    assert!(grown < 16 << 20, "{grown}");
    let posted = http(world.addr(), "POST", &target(&sid), "", "1").await;
    assert!(posted.starts_with("HTTP/1.1 200"), "the session itself lives until it leaves: {posted}");
    world.end().await;
}

#[tokio::test]
async fn row_07_bodies_that_trickle_and_heads_of_many_lines_are_cut_off() {
    let world = World::start().await;
    let many: String = (0..300).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer = http(world.addr(), "GET", "/socket.io/?EIO=4&transport=polling", &many, "").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = format!("X: {}\r\n", "y".repeat(40_000));
    let answer = http(world.addr(), "GET", "/socket.io/?EIO=4&transport=polling", &long, "").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let sid = open(world.addr()).await;
    let mut slow = TcpStream::connect(world.addr()).await.unwrap();
    let head = format!("POST {} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", target(&sid));
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let trickling = async {
        while answer.is_empty() {
            slow.write_all(b"4").await.ok();
            let read = tokio::time::timeout(Duration::from_millis(500), slow.read_buf(&mut answer)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), trickling).await.expect("one deadline, not one per byte");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    http(world.addr(), "POST", &target(&sid), "", "1").await;
    world.end().await;
}

#[tokio::test]
async fn row_09_resets_in_the_middle_of_an_upgrade_end_that_connection_only() {
    let world = World::start().await;
    let sid = open(world.addr()).await;
    let upgrade = |query: &str| {
        format!(
            "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    for round in 0..100 {
        let query = if round % 2 == 0 { String::new() } else { format!("&sid={sid}") };
        let head = upgrade(&query);
        let mut socket = TcpStream::connect(world.addr()).await.unwrap();
        let sent = if round % 4 < 2 { head.len() } else { head.len() / 2 };
        socket.write_all(&head.as_bytes()[..sent]).await.unwrap();
        if round % 3 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        socket.set_zero_linger().unwrap();
    }
    // The session that they were for is untouched.
    let posted = http(world.addr(), "POST", &target(&sid), "", "1").await;
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    eventually("resets are counted as ends", async || {
        world.count("fleetcast_disconnects_total").await >= 2.0
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn row_18_upgrades_that_lie_cost_the_session_nothing() {
    let world = World::start().await;
    let sid = open(world.addr()).await;
    let query = format!("EIO=4&sid={sid}");
    for said in [&["5"][..], &["2wrong"], &["40"], &["2probe", "x"], &["2probe", "2probe", "6"]] {
        let mut raw = Raw::open(world.addr(), &query).await;
        for packet in said {
            raw.say(Message::text(*packet)).await;
        }
        while let Some(packet) = raw.next().await {
            assert_eq!(packet, "3probe", "{said:?}");
        }
    }
    // While one is probed, and never ends, another is turned away, and the session polls on.
    let mut endless = Raw::open(world.addr(), &query).await;
    endless.say(Message::text("2probe")).await;
    assert_eq!(endless.next().await.as_deref(), Some("3probe"));
    assert_eq!(Raw::open(world.addr(), &query).await.next().await, None);
    let posted = http(world.addr(), "POST", &target(&sid), "", "40").await;
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    let fds = world.gateway.open_fds();
    assert_eq!(endless.next().await, None, "closed after the time that an upgrade has");
    eventually("its socket is given back", async || world.gateway.open_fds() < fds).await;
    let polled = http(world.addr(), "GET", &target(&sid), "", "").await;
    assert!(polled.contains("40{\"sid\":\""), "{polled}");
    // A websocket is no polling session.
    let mut raw = Raw::connected(world.addr()).await;
    raw.say(Message::text("2probe")).await;
    assert!(!raw.lives().await);
    http(world.addr(), "POST", &target(&sid), "", "1").await;
    world.end().await;
}

#[tokio::test]
async fn row_20_payloads_of_protocol_3_are_counted_in_utf16_and_nothing_is_a_script() {
    let world = World::start().await;
    let jsonp = http(world.addr(), "GET", "/socket.io/?EIO=3&transport=polling&j=alert(1)", "", "").await;
    assert!(!jsonp.contains("alert") && !jsonp.contains("___eio"), "{jsonp}");
    let sid_of = |opened: &str| opened.split("\"sid\":\"").nth(1).unwrap()[..20].to_owned();
    let target = |sid: &str| format!("/socket.io/?EIO=3&transport=polling&sid={sid}");
    http(world.addr(), "POST", &target(&sid_of(&jsonp)), "", "1:1").await;
    let before = world.count("fleetcast_protocol_errors_total").await;
    let cases = [
        ("7:42[\"x\"]", true),
        ("10:42[\"x😀\"]", false),
        ("9:42[\"x😀\"]", true),
        ("39:451-[\"x\",{\"_placeholder\":true,\"num\":0}]6:b4AQID", true),
        ("99:42[\"x\"]", false),
        ("-1:4", false),
        ("4hello", false),
        ("6:b4!!!!", false),
    ];
    for (body, lives) in cases {
        let opened = http(world.addr(), "GET", "/socket.io/?EIO=3&transport=polling", "", "").await;
        let target = target(&sid_of(&opened));
        // Protocol 3 is connected by itself, but not before it is.
        while !http(world.addr(), "GET", &target, "", "").await.contains("2:40") {}
        let posted = http(world.addr(), "POST", &target, "", body).await;
        assert!(posted.starts_with("HTTP/1.1 200"), "{body}: {posted}");
        let after = http(world.addr(), "POST", &target, "", "1:1").await;
        assert_eq!(after.starts_with("HTTP/1.1 200"), lives, "{body}: {after}");
    }
    assert_eq!(world.count("fleetcast_protocol_errors_total").await - before, 5.0);
    world.end().await;
}

#[tokio::test]
async fn row_25_a_session_id_opens_no_door_to_a_foreign_page() {
    let world = World::start().await;
    let sid = open(world.addr()).await;
    let refused = world.count("fleetcast_origins_refused_total").await;
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let origins =
        ["https://good.com.evil.com", "https://good.com:8443", "http://good.com", "https://evil.com", "null"];
    for origin in origins {
        let headers = format!("Origin: {origin}\r\n{upgrade}");
        for query in [String::new(), format!("&sid={sid}")] {
            let target = format!("/socket.io/?EIO=4&transport=websocket{query}");
            let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", world.addr());
            let mut socket = TcpStream::connect(world.addr()).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = vec![0; 12];
            socket.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, b"HTTP/1.1 403", "{origin} {target}");
        }
        let posted = http(world.addr(), "POST", &target(&sid), &format!("Origin: {origin}\r\n"), "1").await;
        assert!(posted.starts_with("HTTP/1.1 403"), "{origin}: {posted}");
    }
    assert_eq!(world.count("fleetcast_origins_refused_total").await - refused, 15.0);
    let posted = http(world.addr(), "POST", &target(&sid), "Origin: https://good.com\r\n", "1").await;
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    world.end().await;
}
