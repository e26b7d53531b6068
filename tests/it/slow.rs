//! Viewers that do not keep up: bounded, conflated, and complete again as soon as they read.

use std::{collections::HashMap, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Gateway, RedisServer, Viewer, eventually, eventually_within};

async fn gateway(redis: &RedisServer, slow_timeout: &str) -> Gateway {
    Gateway::builder()
        .redis(redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_VIEWER_QUEUE_BYTES", "65536")
        .env("FLEETCAST_SLOW_TIMEOUT", slow_timeout)
        .start()
        .await
}

/// A viewer with a small receive buffer that reads only when told.
async fn reluctant(addr: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(addr.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket&fleetId=f HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'4', b'0']).await.unwrap();
    socket
}

async fn publish(redis: &RedisServer, rounds: std::ops::Range<usize>) {
    let mut connection = redis.connect().await;
    for round in rounds {
        let mut burst = redis::pipe();
        for asset in 0..20 {
            let message = format!(r#"{{"assetId":"a{asset}","ts":{round},"n":{round},"pad":"{:900}"}}"#, "");
            burst.cmd("PUBLISH").arg("updates:f").arg(message).ignore();
        }
        burst.query_async::<()>(&mut connection).await.unwrap();
    }
}

/// The payloads of the text frames in `bytes`; panics on anything that is no whole frame.
fn texts(mut bytes: &[u8]) -> (Vec<String>, usize) {
    let total = bytes.len();
    let mut texts = Vec::new();
    loop {
        let (header, len) = match bytes {
            [0x81 | 0x88, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            [0x81, 127, rest @ ..] if rest.len() >= 8 => {
                (10, usize::try_from(u64::from_be_bytes(rest[..8].try_into().unwrap())).unwrap())
            }
            [0x81 | 0x88, len @ 0..=125, ..] => (2, usize::from(*len)),
            [] | [_] | [0x81, 126 | 127, ..] => break,
            other => panic!("no frame: {:x?}", &other[..other.len().min(16)]),
        };
        let Some(payload) = bytes.get(header..header + len) else { break };
        texts.push(String::from_utf8(payload.to_vec()).unwrap());
        bytes = &bytes[header + len..];
    }
    (texts, total - bytes.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_stops_reading_gets_the_newest_of_each_asset_when_it_reads_again() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis, "60s").await;
    let mut healthy = Viewer::connect(gateway.addr(), "fleetId=f").await;
    let mut slow = reluctant(gateway.addr()).await;
    eventually("both are connected", async || gateway.metric("fleetcast_viewers").await == 2.0).await;

    for round in 0..100 {
        publish(&redis, round..round + 1).await;
        for _ in 0..20 {
            let text = healthy.event("fleet_update").await;
            let message: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            assert_eq!(message["n"], round, "the healthy viewer misses nothing");
        }
    }
    assert!(gateway.metric("fleetcast_lagging_total").await >= 1.0);
    assert!(gateway.metric("fleetcast_conflated_total").await > 100.0);

    let mut newest: HashMap<String, u64> = HashMap::new();
    let (mut pending, mut count, mut buffer) = (Vec::new(), 0, vec![0; 65536]);
    while newest.len() < 20 || newest.values().any(|n| *n < 99) {
        let read =
            tokio::time::timeout(Duration::from_secs(10), slow.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the viewer was not given up");
        pending.extend_from_slice(&buffer[..read]);
        if let Some(end) = pending.starts_with(b"HTTP").then(|| find(&pending, b"\r\n\r\n")).flatten() {
            pending.drain(..end + 4);
        }
        let (frames, used) = texts(&pending);
        pending.drain(..used);
        for text in frames {
            let Some(message) = text.strip_prefix("42[\"fleet_update\",") else { continue };
            let inner: String = serde_json::from_str(message.strip_suffix(']').unwrap()).unwrap();
            let message: Value = serde_json::from_str(&inner).unwrap();
            let (asset, n) =
                (message["assetId"].as_str().unwrap().to_owned(), message["n"].as_u64().unwrap());
            let before = newest.insert(asset, n);
            assert!(before.is_none_or(|before| before < n), "an asset went back in time or was repeated");
            count += 1;
        }
    }
    assert!(count < 1500, "{count} of 2,000 messages: the rest was conflated");
    // And it is live again.
    publish(&redis, 100..101).await;
    let mut live = Vec::new();
    while !String::from_utf8_lossy(&live).contains("\\\"n\\\":100") {
        let read =
            tokio::time::timeout(Duration::from_secs(10), slow.read(&mut buffer)).await.unwrap().unwrap();
        live.extend_from_slice(&buffer[..read]);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_takes_nothing_is_closed_and_frees_everything() {
    let redis = RedisServer::start().await;
    let gateway = gateway(&redis, "1s").await;
    let stuck = reluctant(gateway.addr()).await;
    eventually("it is connected", async || gateway.metric("fleetcast_viewers").await == 1.0).await;
    publish(&redis, 0..200).await;
    eventually_within(Duration::from_secs(15), "it is closed", async || {
        let gone = gateway.metric("fleetcast_viewers").await == 0.0;
        gone && gateway.metric("fleetcast_rooms").await == 0.0
    })
    .await;
    let (_, metrics) = gateway.admin_get("/metrics").await;
    assert!(metrics.contains(r#"fleetcast_disconnects_total{reason="slow viewer"} 1"#), "{metrics}");
    drop(stuck);
}

#[tokio::test]
async fn shutdown_closes_the_transport_so_that_clients_come_back() {
    let redis = RedisServer::start().await;
    let mut gateway = gateway(&redis, "30s").await;
    let mut viewer = Viewer::connect(gateway.addr(), "fleetId=f").await;
    gateway.sigterm();
    assert_eq!(viewer.close_code().await, Some(1001), "a closed transport, not a DISCONNECT packet");
    let status = gateway.wait_exit(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
}
