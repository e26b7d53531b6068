//! Bad inputs that broke other servers: each gets the right answer, is counted, and costs nobody else anything.
//! The rows are those of the table in `docs/RELIABILITY.md`; what other files test is named there.

/// What is asked over HTTP, and upgrades.
mod requests;
/// What is said on an open websocket.
mod said;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::{
    edge::http,
    support::{Gateway, Viewer, eventually},
};

/// A gateway, and somebody who minds his own business beside what is tried.
struct World {
    gateway: Gateway,
    other: Viewer,
}

impl World {
    async fn start() -> Self {
        let gateway = Gateway::builder()
            .env("FLEETCAST_SOURCE", "demo")
            .env("FLEETCAST_DEMO_ASSETS", 10)
            .env("FLEETCAST_DEMO_FLEETS", 1)
            .env("FLEETCAST_CORS_ORIGINS", "https://good.com")
            .start()
            .await;
        let other = Viewer::connect(gateway.addr(), "").await;
        Self { gateway, other }
    }

    fn addr(&self) -> &str {
        self.gateway.addr()
    }

    async fn count(&self, metric: &str) -> f64 {
        self.gateway.metric(metric).await
    }

    /// The bystander is served on, nothing panicked, and nothing of what was tried is left.
    async fn end(mut self) {
        assert_eq!(self.other.request("fleet_unsubscribe", json!({"fleet": "f"})).await["ok"], true);
        assert_eq!(self.count("fleetcast_panics_total").await, 0.0);
        eventually("only the bystander is left", async || self.count("fleetcast_connections").await == 1.0)
            .await;
    }
}

/// A websocket that says whatever it is told to.
struct Raw(WebSocketStream<TcpStream>);

const PROBE: &str = r#"42977["fleet_unsubscribe",{"fleet":"f"}]"#;

impl Raw {
    /// Not in any namespace yet.
    async fn open(addr: &str, query: &str) -> Self {
        let tcp = TcpStream::connect(addr).await.unwrap();
        let url = format!("ws://{addr}/socket.io/?transport=websocket&{query}");
        Self(tokio_tungstenite::client_async(url, tcp).await.unwrap().0)
    }

    async fn connected(addr: &str) -> Self {
        let mut raw = Self::open(addr, "EIO=4").await;
        raw.say(Message::text("40")).await;
        while !raw.next().await.is_some_and(|packet| packet.starts_with("40")) {}
        raw
    }

    async fn say(&mut self, message: Message) {
        self.0.send(message).await.ok(); // It may have been closed already.
    }

    /// The next text; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), self.0.next()).await.expect("an answer");
            match next? {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Whether the session still answers.
    async fn lives(mut self) -> bool {
        self.say(Message::text(PROBE)).await;
        while let Some(packet) = self.next().await {
            if packet.starts_with("43977[") {
                return true;
            }
        }
        false
    }

    /// The code that raw bytes in place of a frame are closed with.
    async fn code_of(addr: &str, bytes: &[u8]) -> Option<u16> {
        let mut tcp = Self::connected(addr).await.0.into_inner();
        tcp.write_all(bytes).await.ok();
        let mut read = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(20), tcp.read_to_end(&mut read)).await;
        reading.expect("an end").ok();
        let close = read.windows(4).rposition(|frame| frame[..2] == [0x88, 2])?;
        Some(u16::from_be_bytes([read[close + 2], read[close + 3]]))
    }
}

/// A masked client frame; the mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Each of these, said by a viewer of its own, ends that viewer's session as a breach of the protocol.
async fn assert_ends(world: &World, cases: &[&[&str]]) {
    let before = world.count("fleetcast_protocol_errors_total").await;
    for said in cases {
        let mut raw = Raw::connected(world.addr()).await;
        for packet in *said {
            raw.say(message(packet)).await;
        }
        assert!(!raw.lives().await, "{said:.100?}");
    }
    let counted = world.count("fleetcast_protocol_errors_total").await - before;
    assert!(counted >= cases.len() as f64, "{counted} of {}", cases.len());
}

/// Each of these is harmless: the session goes on.
async fn assert_lives(world: &World, cases: &[&[&str]]) {
    for said in cases {
        let mut raw = Raw::connected(world.addr()).await;
        for packet in *said {
            raw.say(message(packet)).await;
        }
        assert!(raw.lives().await, "{said:.100?}");
    }
}

/// An attachment is written as `attachment`.
fn message(packet: &str) -> Message {
    if packet == "attachment" { Message::binary(vec![1, 2, 3]) } else { Message::text(packet) }
}

fn target(sid: &str) -> String {
    format!("/socket.io/?EIO=4&transport=polling&sid={sid}")
}

async fn is_gone(addr: &str, sid: &str) -> bool {
    http(addr, "PUT", &target(sid), "", "").await.contains("Session ID unknown")
}
