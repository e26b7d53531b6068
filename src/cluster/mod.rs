//! The bus between replicas: this process as a full member of a Node Socket.IO cluster.
//!
//! Owns the adapter protocol of `@socket.io/redis-adapter` and the local end of it. Rooms are opaque
//! strings here; fleets, dashboards' events and authentication are unknown.

mod adapter;

pub use adapter::{ClusterAdapter, ClusterState};

/// The Socket.IO server of this process. A single replica uses the same type without a bus, so no
/// handler is generic.
pub type Io = socketioxide::SocketIo<ClusterAdapter>;

/// One dashboard's socket.
pub type Socket = socketioxide::extract::SocketRef<ClusterAdapter>;
