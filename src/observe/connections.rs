//! The life of a connection in metrics: opened, upgraded, closed.

use prometheus_client::encoding::EncodeLabelSet;

use super::Metrics;

/// Which transport and protocol a connection uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConnectionLabels {
    transport: &'static str,
    eio: u8,
}

/// Why something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    reason: &'static str,
}

fn labels(eio: u8, websocket: bool) -> ConnectionLabels {
    ConnectionLabels { transport: if websocket { "websocket" } else { "polling" }, eio }
}

/// Protocols that there are connections of.
const EIO_VERSIONS: [u8; 2] = [3, 4];

impl Metrics {
    /// Sessions open now: over websockets, and polling.
    #[must_use]
    pub fn open_connections(&self) -> (i64, i64) {
        let open = |websocket| {
            let of = |eio| self.connections.get(&labels(eio, websocket)).map_or(0, |gauge| gauge.get());
            EIO_VERSIONS.into_iter().map(of).sum()
        };
        (open(true), open(false))
    }

    /// A session began.
    pub fn connection_opened(&self, eio: u8, websocket: bool) {
        let labels = labels(eio, websocket);
        self.connects.get_or_create(&labels).inc();
        self.connections.get_or_create(&labels).inc();
    }

    /// A polling session became a websocket.
    pub fn connection_upgraded(&self, eio: u8) {
        self.upgrades.inc();
        self.connections.get_or_create(&labels(eio, false)).dec();
        self.connections.get_or_create(&labels(eio, true)).inc();
    }

    /// A session ended.
    pub fn connection_closed(&self, eio: u8, websocket: bool, reason: &'static str) {
        self.connections.get_or_create(&labels(eio, websocket)).dec();
        self.disconnects.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A handshake was asked to come back later.
    pub fn connect_refused(&self, reason: &'static str) {
        self.connects_refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A token opened nothing.
    pub fn token_denied(&self, reason: &'static str) {
        self.tokens_denied.get_or_create(&ReasonLabels { reason }).inc();
    }
}
