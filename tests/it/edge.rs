//! What the edge answers to requests that Node refuses: statuses, codes and texts of engine.io 6.

use std::time::Duration;

use futures_util::SinkExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Gateway, RedisServer, Viewer, eventually};

async fn gateway(redis: &RedisServer) -> Gateway {
    Gateway::builder()
        .redis(redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_CORS_ORIGINS", "https://good.com")
        .env("FLEETCAST_PING_INTERVAL", "400ms")
        .env("FLEETCAST_PING_TIMEOUT", "300ms")
        .start()
        .await
}

/// Sends one raw request and reads the response to its end (the connection is asked to close).
pub async fn http(addr: &str, method: &str, target: &str, headers: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n{headers}{length}\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut response)).await.unwrap().unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

async fn get(addr: &str, query: &str) -> String {
    http(addr, "GET", &format!("/socket.io/?{query}"), "", "").await
}

/// Opens a polling session and returns its id.
pub async fn open(addr: &str) -> String {
    let response = get(addr, "EIO=4&transport=polling").await;
    let open = response.split_once("\r\n\r\n0").unwrap().1;
    serde_json::from_str::<serde_json::Value>(open).unwrap()["sid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn unknown_things_are_answered_with_nodes_codes() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let addr = gateway.addr();
    let long = "x".repeat(6000);
    for (query, code, message) in [
        ("EIO=4", 0, "Transport unknown"),
        ("EIO=4&transport=__proto__", 0, "Transport unknown"),
        ("EIO=4&transport=constructor", 0, "Transport unknown"),
        ("EIO=4&transport=polling&transport=websocket", 0, "Transport unknown"),
        ("EIO=4&transport=polling&sid=nobody", 1, "Session ID unknown"),
        ("EIO=4&transport=polling&sid=a&sid=b", 1, "Session ID unknown"),
        (&*format!("EIO=4&transport=polling&sid={long}"), 1, "Session ID unknown"),
        ("EIO=4&transport=websocket", 3, "Bad request"),
        ("EIO=2&transport=polling", 5, "Unsupported protocol version"),
        ("transport=polling", 5, "Unsupported protocol version"),
    ] {
        let response = get(addr, query).await;
        assert!(response.starts_with("HTTP/1.1 400"), "{query}: {response}");
        let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        assert!(response.ends_with(&body), "{query}: {response}");
    }
    let post = http(addr, "POST", "/socket.io/?EIO=4&transport=polling", "", "x").await;
    assert!(post.ends_with(r#"{"code":2,"message":"Bad handshake method"}"#), "{post}");
    let elsewhere = http(addr, "GET", "/nowhere", "", "").await;
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
}

#[tokio::test]
async fn origins_are_checked_on_every_request() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let addr = gateway.addr();
    let sid = open(addr).await;
    let ask = async |query: &str, origin: &str| {
        http(addr, "GET", &format!("/socket.io/?{query}"), &format!("Origin: {origin}\r\n"), "").await
    };
    let good = ask("EIO=4&transport=polling", "https://good.com").await;
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    assert!(good.to_lowercase().contains("access-control-allow-origin: https://good.com"), "{good}");
    let with_sid = format!("EIO=4&transport=polling&sid={sid}");
    for query in ["EIO=4&transport=polling", &*with_sid] {
        for origin in ["https://good.com.evil.com", "http://good.com", "null"] {
            let response = ask(query, origin).await;
            assert!(response.starts_with("HTTP/1.1 403"), "{origin} {query}: {response}");
        }
    }
}

#[tokio::test]
async fn a_session_that_overlaps_itself_or_posts_nonsense_is_closed() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let addr = gateway.addr();
    let target = |sid: &str| format!("/socket.io/?EIO=4&transport=polling&sid={sid}");

    let sid = open(addr).await;
    let waiting = tokio::spawn({
        let (addr, target) = (addr.to_owned(), target(&sid));
        async move { http(&addr, "GET", &target, "", "").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = http(addr, "GET", &target(&sid), "", "").await;
    assert!(second.starts_with("HTTP/1.1 400"), "{second}");
    waiting.await.unwrap();
    let after = http(addr, "GET", &target(&sid), "", "").await;
    assert!(after.contains("Session ID unknown"), "{after}");

    let sid = open(addr).await;
    let large = http(addr, "POST", &target(&sid), "", &"4".repeat(70_000)).await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let nonsense = http(addr, "POST", &target(&sid), "", "x").await;
    assert!(nonsense.starts_with("HTTP/1.1 200"), "{nonsense}");
    let after = http(addr, "GET", &target(&sid), "", "").await;
    assert!(after.contains("Session ID unknown"), "{after}");
    eventually("nothing is left", async || gateway.metric("fleetcast_connections").await == 0.0).await;
}

#[tokio::test]
async fn a_failed_upgrade_leaves_the_polling_session_alive() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder().redis(&redis).env("FLEETCAST_SOURCE", "redis").start().await;
    let addr = gateway.addr();
    let sid = open(addr).await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket&sid={sid}");
    for first in [None, Some("2wrong"), Some("5"), Some("2probe")] {
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        if let Some(packet) = first {
            socket.send(Message::text(packet)).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(socket);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let posted = http(addr, "POST", &target, "", "40").await;
    assert!(posted.ends_with("ok"), "{posted}");
    let polled = http(addr, "GET", &target, "", "").await;
    assert!(polled.contains("40{\"sid\":\""), "{polled}");
}

#[tokio::test]
async fn websocket_violations_close_with_their_codes() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder().redis(&redis).env("FLEETCAST_SOURCE", "redis").start().await;
    let mut viewer = Viewer::connect(gateway.addr(), "").await;
    viewer.send(&format!("42[\"x\",\"{}\"]", "y".repeat(70_000))).await;
    assert_eq!(viewer.close_code().await, Some(1009), "too large can be told from a lost network");

    let url = format!("{}/socket.io/?EIO=4&transport=websocket", gateway.ws_url());
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    socket.send(Message::text("9unknown")).await.unwrap();
    eventually("sessions of nonsense end", async || gateway.metric("fleetcast_connections").await == 0.0)
        .await;
}

/// A websocket handshake with CONNECT right behind it, cut at these bytes; what comes back
/// until both are answered.
async fn handshake(addr: &str, cuts: &[usize]) -> (Vec<String>, String) {
    let head = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\n\
         Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nOrigin: https://good.com\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let bytes = [head.as_bytes(), &[0x81, 0x82, 0, 0, 0, 0, b'4', b'0']].concat();
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let mut sent = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        socket.write_all(&bytes[sent..cut]).await.unwrap();
        sent = cut;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut answer = Vec::new();
    let connected = async {
        while !String::from_utf8_lossy(&answer).contains("40{") {
            assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0, "closed early");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), connected).await.expect("CONNECT is answered");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, frames) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<String> = head.lines().map(str::to_lowercase).collect();
    // Only the HTTP server says the date.
    lines.retain(|line| !line.starts_with("date: "));
    lines.sort();
    (lines, frames.to_owned())
}

#[tokio::test]
async fn a_websocket_handshake_is_answered_alike_whole_and_in_pieces() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_CORS_ORIGINS", "https://good.com")
        .start()
        .await;
    let (whole, frames) = handshake(gateway.addr(), &[]).await;
    assert!(frames.contains("0{\"sid\":\""), "OPEN comes first: {frames}");
    assert!(whole.contains(&"access-control-allow-origin: https://good.com".to_owned()), "{whole:?}");
    assert!(whole.contains(&"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=".to_owned()), "{whole:?}");
    for cuts in [&[1][..], &[40, 100]] {
        let (pieces, _) = handshake(gateway.addr(), cuts).await;
        assert_eq!(pieces, whole, "{cuts:?}");
    }
}

#[tokio::test]
async fn silence_is_death_and_an_answered_ping_is_life() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis).await;
    let mut alive = Viewer::connect(gateway.addr(), "fleetId=f").await;
    let silent = Viewer::connect(gateway.addr(), "fleetId=f").await;
    let patient = tokio::spawn(async move {
        alive.assert_silent(Duration::from_millis(2500)).await;
        alive
    });
    eventually("the silent one is gone", async || gateway.metric("fleetcast_viewers").await == 1.0).await;
    let _alive = patient.await.unwrap();
    assert_eq!(gateway.metric("fleetcast_viewers").await, 1.0);
    drop(silent);
}

#[tokio::test]
async fn admission_answers_503_and_costs_nobody_else_anything() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_CONNECT_RATE", "5/s")
        .start()
        .await;
    let mut first = Viewer::connect(gateway.addr(), "fleetId=f").await;
    let mut refused = 0;
    for _ in 0..20 {
        let response = get(gateway.addr(), "EIO=4&transport=polling").await;
        if response.starts_with("HTTP/1.1 503") {
            assert!(response.to_lowercase().contains("retry-after: 1"), "{response}");
            refused += 1;
        }
    }
    assert!(refused >= 10, "{refused}");
    redis.command::<i64>(&["PUBLISH", "updates:f", "still here"]).await;
    assert_eq!(first.event("fleet_update").await, "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_new_connections_wait_and_nobody_is_lost() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder().redis(&redis).env("FLEETCAST_SOURCE", "redis").start().await;
    let mut here = Viewer::connect(gateway.addr(), "fleetId=f").await;
    // One client, so that its connection to the admin port is there already.
    let admin = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
    let errors = async || -> f64 {
        let url = format!("http://{}/metrics", gateway.admin_addr());
        let text = admin.get(url).send().await.unwrap().text().await.unwrap();
        let of_accept = |sample: &&crate::support::Sample| sample.name == "fleetcast_accept_errors_total";
        crate::support::parse_metrics(&text).iter().find(of_accept).map_or(0.0, |sample| sample.value)
    };
    assert_eq!(errors().await, 0.0);

    let pid = rustix::process::Pid::from_raw(i32::try_from(gateway.pid()).unwrap());
    let limit = |most| {
        let new = rustix::process::Rlimit { current: most, maximum: Some(4096) };
        rustix::process::prlimit(pid, rustix::process::Resource::Nofile, new).unwrap();
    };
    limit(Some(3));
    let addr = gateway.addr().to_owned();
    let waiting = tokio::spawn(async move { Viewer::connect(&addr, "fleetId=f").await });
    eventually("accepting fails, again and again", async || errors().await >= 5.0).await;
    redis.command::<i64>(&["PUBLISH", "updates:f", "still served"]).await;
    assert_eq!(here.event("fleet_update").await, "still served");
    limit(Some(4096));
    waiting.await.unwrap();
    let complaints = gateway.log();
    let complaints = complaints.iter().filter(|line| line["message"] == "accepting a connection failed");
    assert!((1..3).contains(&complaints.count()), "the log tells it, and is not flooded with it");
}
