//! A raw Engine.IO 4 viewer over websocket: cheap enough for thousands, and able to leave without a goodbye.

use std::time::Duration;

use fleetcast::protocol;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use super::PATIENCE;

/// One connected viewer.
#[derive(Debug)]
pub struct Viewer {
    socket: WebSocketStream<TcpStream>,
    /// The id that CONNECT named.
    pub id: String,
}

impl Viewer {
    /// Connects and waits for CONNECT. `query` without a leading `&`, such as `fleetId=a`.
    pub async fn connect(addr: &str, query: &str) -> Self {
        Self::try_connect(addr, query).await.unwrap_or_else(|refusal| panic!("refused: {refusal}"))
    }

    /// The text of the `connect_error`, or of the HTTP refusal.
    pub async fn try_connect(addr: &str, query: &str) -> Result<Self, String> {
        let tcp = TcpStream::connect(addr).await.map_err(|error| error.to_string())?;
        let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket&{query}");
        let small = WebSocketConfig::default().read_buffer_size(4096);
        let (socket, _) = tokio_tungstenite::client_async_with_config(url, tcp, Some(small))
            .await
            .map_err(|error| error.to_string())?;
        let mut viewer = Self { socket, id: String::new() };
        viewer.send("40").await;
        loop {
            let packet = viewer.packet().await.ok_or("closed")?;
            if let Some(data) = packet.strip_prefix("40") {
                let data: serde_json::Value =
                    serde_json::from_str(data).map_err(|error| error.to_string())?;
                viewer.id = data["sid"].as_str().unwrap_or_default().to_owned();
                return Ok(viewer);
            }
            if let Some(refusal) = packet.strip_prefix("44") {
                return Err(refusal.to_owned());
            }
        }
    }

    pub async fn send(&mut self, packet: &str) {
        self.socket.send(Message::text(packet)).await.unwrap();
    }

    /// The next packet that is no heartbeat (those are answered); `None` when the connection is over.
    pub async fn packet(&mut self) -> Option<String> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a packet in time");
            match next? {
                Ok(Message::Text(text)) if text == "2" => self.send("3").await,
                Ok(Message::Text(text)) => {
                    check(&text);
                    return Some(text.to_string());
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The close code, once the server closes; packets before it are passed over.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("an end in time");
            match next {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The argument of the next event of that name; other packets are passed over.
    pub async fn event(&mut self, name: &str) -> serde_json::Value {
        let prefix = format!("42[\"{name}\",");
        loop {
            let packet = self.packet().await.expect("the connection lives");
            if let Some(rest) = packet.strip_prefix(&prefix) {
                return serde_json::from_str(rest.strip_suffix(']').unwrap()).unwrap();
            }
        }
    }

    /// Sends an event with an acknowledgement asked for, and waits for it. No snapshot may come before it.
    pub async fn request(&mut self, event: &str, data: serde_json::Value) -> serde_json::Value {
        self.acknowledged(event, data, false).await
    }

    /// The same, where snapshots of earlier requests may still be on their way.
    pub async fn request_quietly(&mut self, event: &str, data: serde_json::Value) -> serde_json::Value {
        self.acknowledged(event, data, true).await
    }

    async fn acknowledged(
        &mut self,
        event: &str,
        data: serde_json::Value,
        quietly: bool,
    ) -> serde_json::Value {
        self.send(&format!("427[\"{event}\",{data}]")).await;
        loop {
            let packet = self.packet().await.expect("the connection lives");
            let early = packet.starts_with("42[\"fleet_snapshot");
            assert!(quietly || !early, "the snapshot came before its acknowledgement");
            if let Some(rest) = packet.strip_prefix("437[") {
                let answer = serde_json::from_str(rest.strip_suffix(']').unwrap()).unwrap();
                protocol::check_answer(event, &answer)
                    .unwrap_or_else(|error| panic!("{event}: {error}: {answer}"));
                return answer;
            }
        }
    }

    /// Nothing arrives for a while.
    pub async fn assert_silent(&mut self, moment: Duration) {
        let next = tokio::time::timeout(moment, self.packet()).await;
        assert!(next.is_err(), "unexpected: {next:?}");
    }

    /// A goodbye that Engine.IO knows.
    pub async fn leave(mut self) {
        self.send("41").await;
        self.socket.close(None).await.ok();
    }

    /// The socket is reset: no goodbye at all.
    pub fn tear_down(self) {
        let tcp = self.socket.into_inner();
        tcp.set_zero_linger().ok();
        drop(tcp);
    }
}

/// Whatever a test is about: what the gateway sends beyond the legacy contract is what its types say.
fn check(packet: &str) {
    let Some(event) = packet.strip_prefix("42") else { return };
    let Ok((name, data)) = serde_json::from_str::<(String, serde_json::Value)>(event) else { return };
    if name.starts_with("fleet_s")
        || name == "fleet_updates"
        || name.starts_with("region_")
        || name == "resync"
    {
        protocol::check_event(&name, &data).unwrap_or_else(|error| panic!("{name}: {error}: {data}"));
    }
}
