//! What carries frames between members: the seam at which tests put a bus in memory.
//!
//! Invariants of every bus: frames of one publisher arrive in order and at most once; a message arrives
//! only while its channel is held (or matches the pattern); a loss of connection is told.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};

use super::wire::{Frame, Names, ShardMode};
use crate::feed::subscriptions::{Hold, Unconfirmed};

/// A frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Redis is away or slower than what is published.
    #[error("the queue to redis is full")]
    QueueFull,
    /// The process is going down.
    #[error("the cluster bus is closed")]
    Closed,
}

/// A question to the bus itself was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// There is no connection.
    #[error("redis is not connected")]
    Disconnected,
    /// Redis said no, or nothing.
    #[error("redis: {0}")]
    Redis(String),
    /// Redis has refused channels that every member has.
    #[error("redis refuses the channels of members: may its user hear them?")]
    Forbidden,
}

/// Sends frames and keeps subscriptions.
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Queues a frame. Never waits.
    ///
    /// # Errors
    /// The queue is full, or closed for good.
    fn publish(&self, frame: Frame) -> Result<(), PublishError>;

    /// How many connections are subscribed to exactly this channel, over all servers.
    fn subscribers(&self, channel: &str) -> BoxFuture<'_, Result<usize, BusError>>;

    /// Keeps the channel subscribed until the result is dropped.
    fn hold(&self, channel: String) -> Subscription;

    /// Whether messages arrive and nothing is missed.
    fn is_up(&self) -> bool;

    /// Channels that nobody holds are given up at once from now on.
    fn end_lingering(&self);

    /// Whether the channel may still be subscribed.
    fn knows(&self, channel: &str) -> bool;
}

/// What arrives.
pub trait Events: Send + 'static {
    /// The next event. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Event>;
}

/// What a bus has to tell.
#[derive(Debug)]
pub enum Event {
    /// Messages, in their order.
    Messages(Vec<Message>),
    /// The connection is gone: messages are missed from now on.
    Lost,
    /// Everything held is subscribed, but for what Redis refuses: nothing else is missed from now on.
    Restored,
    /// More channels are subscribed than before, or fewer.
    Changed,
}

/// One message.
#[derive(Debug)]
pub enum Message {
    /// As Redis sent it.
    Redis(redis::Msg),
    /// A frame that never left the process.
    #[cfg(test)]
    Memory(Frame),
}

impl Message {
    /// Where it was published; `?` if that is not UTF-8.
    #[must_use]
    pub fn channel(&self) -> &str {
        match self {
            Self::Redis(message) => message.get_channel_name(),
            #[cfg(test)]
            Self::Memory(frame) => frame.channel(),
        }
    }

    /// What was published.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Redis(message) => message.get_payload_bytes(),
            #[cfg(test)]
            Self::Memory(frame) => frame.payload(),
        }
    }
}

/// Keeps one channel subscribed until it is dropped.
#[derive(Debug)]
pub enum Subscription {
    /// On the connection to Redis.
    Redis(Hold),
    /// In a process's memory.
    #[cfg(test)]
    Memory(super::memory_bus::MemoryHold),
    /// A pattern covers the channel, or there is no cluster.
    Unneeded,
}

impl Subscription {
    /// Whether everything that is published arrives.
    pub(super) fn is_confirmed(&self) -> bool {
        match self {
            Self::Redis(hold) => hold.is_confirmed(),
            #[cfg(test)]
            Self::Memory(_) => true,
            Self::Unneeded => true,
        }
    }

    /// Waits until everything published from then on arrives.
    ///
    /// # Errors
    /// Not within `within`. The subscription stays wanted and will be made.
    pub async fn confirmed(&self, within: Duration) -> Result<(), Unconfirmed> {
        match self {
            Self::Redis(hold) => hold.confirmed(within).await,
            #[cfg(test)]
            Self::Memory(_) => Ok(()),
            Self::Unneeded => Ok(()),
        }
    }
}

/// The bus of a replica that has no cluster: it is the only member, and nobody hears it.
#[derive(Debug)]
pub(super) struct NoBus;

impl Bus for NoBus {
    fn publish(&self, _: Frame) -> Result<(), PublishError> {
        Ok(())
    }

    fn subscribers(&self, _: &str) -> BoxFuture<'_, Result<usize, BusError>> {
        async { Ok(1) }.boxed()
    }

    fn hold(&self, _: String) -> Subscription {
        Subscription::Unneeded
    }

    fn is_up(&self) -> bool {
        true
    }

    fn end_lingering(&self) {}

    fn knows(&self, _: &str) -> bool {
        false
    }
}

/// Which room channels a member subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum SubscribeMode {
    /// Those of rooms with local sockets; with the sharded adapter Node's subscriptionMode "dynamic".
    #[default]
    #[value(alias = "dynamic")]
    Interest,
    /// All, by a pattern: for deployments that join sockets to rooms from other replicas and emit to
    /// the room at once.
    Pattern,
    /// None, since everything goes to everybody: Node's subscriptionMode "static", sharded only.
    Static,
    /// As interest, and a channel for each socket, too: Node's subscriptionMode "dynamic-private", sharded
    /// only.
    DynamicPrivate,
}

impl SubscribeMode {
    /// Whether what is emitted to a room reaches this member although it has subscribed to nothing for it.
    #[must_use]
    pub fn hears_all_rooms(self) -> bool {
        matches!(self, Self::Pattern | Self::Static)
    }

    /// The mode of Node's sharded adapter.
    pub(super) fn of_shards(self) -> ShardMode {
        match self {
            Self::Static => ShardMode::Static,
            Self::Interest | Self::Pattern => ShardMode::Dynamic,
            Self::DynamicPrivate => ShardMode::DynamicPrivate,
        }
    }
}

/// The rooms of this replica, as the bus needs to know them: hold a room while it has local sockets.
///
/// The holder of a room is whoever keeps the table of rooms, so that no room can have sockets and no
/// subscription, or the reverse.
#[derive(Debug, Clone)]
pub struct Rooms(Option<(Arc<dyn Bus>, Arc<Names>)>);

impl Rooms {
    pub(super) fn new(bus: Arc<dyn Bus>, names: Arc<Names>, mode: SubscribeMode) -> Self {
        match mode {
            SubscribeMode::Interest | SubscribeMode::DynamicPrivate => Self(Some((bus, names))),
            SubscribeMode::Pattern | SubscribeMode::Static => Self(None),
        }
    }

    /// For a replica without a cluster.
    #[must_use]
    pub fn unneeded() -> Self {
        Self(None)
    }

    /// Subscribes to what peers emit to `room` — or to the socket whose id it is — until the result is
    /// dropped. Wait for [`Subscription::confirmed`] before telling a dashboard that it is in.
    #[must_use]
    pub fn hold(&self, room: &str) -> Subscription {
        let Some((bus, names)) = &self.0 else { return Subscription::Unneeded };
        match names.room_channel(room) {
            Some(channel) => bus.hold(channel),
            None => Subscription::Unneeded, // It is the namespace's, which every member has.
        }
    }
}
