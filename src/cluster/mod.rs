//! The bus between replicas.

use socketioxide::{SocketIo, adapter::LocalAdapter};

/// The adapter of this process.
pub type ClusterAdapter = LocalAdapter;
/// socketioxide with our adapter.
pub type Io = SocketIo<ClusterAdapter>;
