//! Bytes to and from one connection: Engine.IO sessions over HTTP long-polling and websocket.
//!
//! Owns the edge below Socket.IO packets: handshakes, both transports and the upgrade between them,
//! heartbeats, deadlines, and the outgoing queue that all transports share. Knows nothing of fleets,
//! rooms or Socket.IO events; what a Socket.IO packet may look like knows `guard` alone.

mod admission;
mod bridge;
mod client_address;
mod encrypted;
mod engine;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guard;
mod handshake;
mod heartbeat;
mod incoming;
mod listener;
mod outbox;
mod payload;
mod places;
mod polling;
mod receive;
mod session;
mod sessions;
mod shared_frame;
mod short_way;
mod tls;
mod upgrade;
mod wire;

#[cfg(any(test, fuzzing))]
mod test_client;

use std::{fmt, sync::Arc, time::Duration};

pub use bridge::Bridge;
pub use engine::{Engine, Upper};
pub use handshake::{Handshake, Origins};
pub use listener::{Listener, ListenerOptions, PeerAddr};
pub use session::{BARRIER_EVENT, Sent, Session};
pub use shared_frame::{event_frame, packet_frames, put_event_frame};
pub use tls::{BadPair, Pair, Tls, TlsFiles};

use crate::values::Network;

use admission::Rationed;
pub(crate) use sessions::Shared;
#[cfg(any(test, fuzzing))]
pub(crate) use test_client::TestClient;

/// Engine.IO protocol versions: 3 is spoken by `socket.io-client` 2, 4 by 3 and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Engine.IO 3.
    V3,
    /// Engine.IO 4.
    V4,
}

impl Protocol {
    /// The number in the query's `EIO`.
    pub fn number(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }
}

/// Why a session ended. The names in metrics and logs are Node's where Node has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed, or its connection ended.
    TransportClose,
    /// The connection failed or broke the protocol.
    TransportError,
    /// No sign of life in time.
    PingTimeout,
    /// Bytes that are no packets.
    ParseError,
    /// The server closed the session.
    ServerClose,
    /// The process is shutting down.
    Shutdown,
    /// The client took nothing for longer than the slow timeout.
    Slow,
    /// The viewer's token expired.
    Expired,
    /// Its user has as many connections as it may have.
    Busy,
}

impl CloseReason {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ServerClose => "server close",
            Self::Shutdown => "server shutting down",
            Self::Slow => "slow viewer",
            Self::Expired => "token expired",
            Self::Busy => "too many connections",
        }
    }

    /// Close code of the websocket (RFC 6455, section 7.4.1).
    fn websocket_code(self) -> u16 {
        match self {
            Self::Shutdown => 1001,
            Self::Slow | Self::Busy => 1013,
            Self::Expired => 1008,
            _ => 1005,
        }
    }
}

/// A session's name: a secret between one client and this process, never published.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 20]);

impl SessionId {
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII")
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// What the edge may be told anew while it runs.
#[derive(Debug, Clone)]
pub struct Admittance {
    /// How many sessions there may be.
    pub connections_max: usize,
    /// How many handshakes are admitted in a second.
    pub connects_per_second: u32,
    /// How many sessions one client address may have; 0 is no limit.
    pub connections_per_address_max: usize,
    /// How many handshakes of one client address are admitted in a second; 0 is no limit.
    pub connects_per_second_per_address: u32,
    /// Whose pages may connect.
    pub origins: Origins,
    /// Proxies whose word on the client's address counts.
    pub trusted_proxies: Vec<Network>,
}

/// Limits and deadlines of the edge; every one has an option of the command line.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How often a protocol 4 client is pinged.
    pub ping_interval_ms: u64,
    /// How long it may take to answer.
    pub ping_timeout_ms: u64,
    /// The largest message or POST body that a client may send.
    pub message_bytes_max: usize,
    /// How many unwritten bytes a viewer may have before it is lagging.
    pub viewer_queue_bytes: usize,
    /// How long a viewer may take nothing before its transport is closed.
    pub slow_timeout_ms: u64,
    /// How long a websocket probe may take.
    pub upgrade_timeout_ms: u64,
    /// Who is admitted.
    pub admittance: Admittance,
    /// What a session of this process's own says in its query (`own`); it is not counted as a connection.
    pub own_key: Option<Arc<str>>,
    /// Clients speak TLS to this process: a page of its own host came over https.
    pub is_secure: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            message_bytes_max: 65_536,
            viewer_queue_bytes: 1024 * 1024,
            slow_timeout_ms: 30_000,
            upgrade_timeout_ms: 10_000,
            admittance: Admittance {
                connections_max: 100_000,
                connects_per_second: 1000,
                connections_per_address_max: 0,
                connects_per_second_per_address: 0,
                origins: Origins::Same,
                trusted_proxies: Vec::new(),
            },
            own_key: None,
            is_secure: false,
        }
    }
}

/// Deadline of one HTTP request's head or body.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
