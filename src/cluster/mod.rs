//! The bus between replicas: this process as a full member of a Node Socket.IO cluster.
//!
//! Owns the adapter protocol of `@socket.io/redis-adapter` and the local end of it. Rooms are opaque
//! strings here; fleets, dashboards' events and authentication are unknown.
//!
//! ```text
//! LocalSockets (rooms, sockets) ◄── Service ◄── Bus ◄── Redis ◄── Node replicas, emitters
//!        ▲                             │         ▲
//!        └────────── Member ───────────┴─────────┘
//! ```
//!
//! [`Member`] is what this replica does to the cluster, [`Service`] what the cluster does to it, `wire`
//! the words. Who keeps the rooms implements [`LocalSockets`] and holds [`Rooms`] for them.

mod adapter;
mod ask;
mod bus;
mod connection;
mod event;
mod ids;
mod local;
mod member;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod memory_bus;
#[cfg(test)]
#[path = "../../tests/it/cluster/sockets.rs"]
#[expect(unreachable_pub, dead_code, reason = "the integration tests use it, too")]
mod memory_sockets;
mod redis_bus;
mod requests;
mod serve;
pub mod wire;

pub use adapter::{ClusterAdapter, ClusterState};
pub use ask::AskError;
pub use bus::{Bus, BusError, Event, Events, Message, PublishError, Rooms, SubscribeMode, Subscription};
pub use connection::{AdapterKind, BadCluster, ClusterOptions, Connection, Task};
pub use event::EncodedEvent;
pub use local::{Acks, Delivery, LocalSockets, SocketInfo};
pub use member::{Member, Settings};
pub use serve::Service;

/// The Socket.IO server of this process. A single replica uses the same type without a bus, so no
/// handler is generic.
pub type Io = socketioxide::SocketIo<ClusterAdapter>;

/// One dashboard's socket.
pub type Socket = socketioxide::extract::SocketRef<ClusterAdapter>;
