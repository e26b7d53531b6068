//! The sockets of this replica, as the cluster needs them. The registry behind it is another's.
//!
//! Invariant for implementors: every call sees one consistent table of sockets and rooms, and a socket
//! answers to a room named by its own id although it never joined it.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::stream::BoxStream;

use super::{
    EncodedEvent,
    wire::{Argument, Target},
};

/// What the cluster is told of one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketInfo {
    /// Its public id.
    pub id: String,
    /// How it connected, as JSON object; see the specification of `fetchSockets`.
    pub handshake: Arc<str>,
    /// Its rooms; the one named by its id comes first.
    pub rooms: Vec<String>,
    /// What the application attached to it, as JSON.
    pub data: Arc<str>,
}

/// Acknowledgements of one event. Each is the dashboard's first argument, if it gave one. Ends when all
/// have answered or the deadline is over; dashboards that stay silent are not told.
pub type Acks = BoxStream<'static, Option<Argument>>;

/// The registry of this replica's sockets and rooms. No call may block: all come from the task that
/// reads the cluster's messages.
pub trait LocalSockets: Send + Sync + 'static {
    /// Whether a local socket is in `room` or has it as its id.
    fn has_room(&self, room: &str) -> bool;

    /// All rooms with local sockets, the sockets' own ids included.
    fn rooms(&self) -> Vec<String>;

    /// The sockets that match.
    fn sockets(&self, target: &Target) -> Vec<SocketInfo>;

    /// Sends an event to each socket that matches, once. Returns their number.
    fn deliver(&self, target: &Target, event: &EncodedEvent, delivery: Delivery) -> usize;

    /// Sends an event to each socket that matches, once, and asks for acknowledgement. Returns their
    /// number, and what they answer within `timeout`.
    fn deliver_with_ack(&self, target: &Target, event: &EncodedEvent, timeout: Duration) -> (usize, Acks);

    /// Puts the sockets that match into `rooms`.
    fn join(&self, target: &Target, rooms: &[String]);

    /// Takes the sockets that match out of `rooms`. Their own ids can not be left.
    fn leave(&self, target: &Target, rooms: &[String]);

    /// The public id of the socket that socketioxide knows as `sid`.
    fn public_id(&self, sid: &str) -> Option<String>;

    /// Sends DISCONNECT to the sockets that match; with `close`, their transports are closed, too.
    fn disconnect(&self, target: &Target, close: bool);
}

/// How an event goes to dashboards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Sockets that can not take it at once do without.
    pub volatile: bool,
}

impl fmt::Debug for dyn LocalSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalSockets")
    }
}
