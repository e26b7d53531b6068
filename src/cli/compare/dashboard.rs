//! A dashboard as small as it can be: Socket.IO 4 over a websocket, one namespace, text events.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use http::Uri;
use serde_json::{Value, value::RawValue};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

/// How long a gateway may take to let a dashboard in.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// One event as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Since the comparison began.
    pub(super) at: Duration,
    /// The event's name.
    pub(super) name: String,
    /// Its arguments: the text of a single string, otherwise JSON.
    pub(super) body: String,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connected dashboard.
pub(super) struct Dashboard(WebSocketStream<Box<dyn Stream>>);

impl Dashboard {
    /// Connects to the gateway at `base` (`http://host:port`) and waits for CONNECT.
    pub(super) async fn connect(base: &Uri, fleet: &str, auth: Option<&str>) -> Result<Self, String> {
        let connecting = async {
            let stream = open(base).await?;
            let authority = base.authority().map_or("", |authority| authority.as_str());
            let scheme = if is_tls(base) { "wss" } else { "ws" };
            let query: String = form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("EIO", "4"), ("transport", "websocket"), ("fleetId", fleet)])
                .finish();
            let url = format!("{scheme}://{authority}/socket.io/?{query}");
            let (socket, _) = tokio_tungstenite::client_async(url, stream)
                .await
                .map_err(|error| format!("no websocket: {error}"))?;
            let mut dashboard = Self(socket);
            dashboard.send(format!("40{}", auth.unwrap_or_default())).await?;
            loop {
                let packet = dashboard.packet().await?;
                if packet.starts_with("40") {
                    return Ok(dashboard);
                }
                if let Some(refusal) = packet.strip_prefix("44") {
                    return Err(format!("refused: {refusal}"));
                }
            }
        };
        let connected = timeout(CONNECT_MAX, connecting).await;
        connected.unwrap_or_else(|_| Err(format!("no answer within {} s", CONNECT_MAX.as_secs())))
    }

    /// The events that arrive until `end`. Ends early, with an error, when the connection does.
    pub(super) async fn watch(mut self, began: Instant, end: Instant) -> (Vec<Arrival>, Result<(), String>) {
        let mut arrivals = Vec::new();
        let outcome = loop {
            match timeout_at(end, self.packet()).await {
                Err(_) => break Ok(()),
                Ok(Err(error)) => break Err(error),
                Ok(Ok(packet)) => arrivals.extend(arrival(&packet, began.elapsed())),
            }
        };
        self.send("41".to_owned()).await.ok();
        self.0.close(None).await.ok();
        (arrivals, outcome)
    }

    async fn send(&mut self, packet: String) -> Result<(), String> {
        self.0.send(Message::text(packet)).await.map_err(|error| error.to_string())
    }

    /// The next packet that is no heartbeat; those are answered.
    async fn packet(&mut self) -> Result<String, String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) if text == "2" => self.send("3".to_owned()).await?,
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(_))) | None => {
                    return Err("the gateway closed the connection".to_owned());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
    }
}

fn is_tls(base: &Uri) -> bool {
    base.scheme_str() == Some("https")
}

async fn open(base: &Uri) -> Result<Box<dyn Stream>, String> {
    let host = base.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = base.port_u16().unwrap_or_else(|| if is_tls(base) { 443 } else { 80 });
    let tcp = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    if !is_tls(base) {
        return Ok(Box::new(tcp));
    }
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    Ok(Box::new(tls.map_err(|error| format!("tls: {error}"))?))
}

/// An event without attachments; everything else is no part of a fleet's stream.
fn arrival(packet: &str, at: Duration) -> Option<Arrival> {
    let values: Vec<&RawValue> = serde_json::from_str(packet.strip_prefix("42")?).ok()?;
    let (name, arguments) = values.split_first()?;
    let name = serde_json::from_str(name.get()).ok()?;
    let body = match arguments {
        [one] => match serde_json::from_str(one.get()) {
            Ok(Value::String(text)) => text,
            _ => one.get().to_owned(),
        },
        many => many.iter().map(|value| value.get()).collect::<Vec<_>>().join(","),
    };
    Some(Arrival { at, name, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_with_their_only_string_bare() {
        let read = |packet: &str| arrival(packet, Duration::ZERO).map(|arrival| (arrival.name, arrival.body));
        let of = |name: &str, body: &str| Some((name.to_owned(), body.to_owned()));
        assert_eq!(read(r#"42["fleet_update","{\"a\":1}"]"#), of("fleet_update", r#"{"a":1}"#));
        assert_eq!(read(r#"42["fleet_update",{"a":1}]"#), of("fleet_update", r#"{"a":1}"#));
        assert_eq!(read(r#"42["two",1,"b"]"#), of("two", r#"1,"b""#));
        assert_eq!(read(r#"42["none"]"#), of("none", ""));
        for packet in ["2", "40", "43[1]", r#"451-["b",{"_placeholder":true,"num":0}]"#, "42{}"] {
            assert_eq!(read(packet), None, "{packet}");
        }
    }
}
