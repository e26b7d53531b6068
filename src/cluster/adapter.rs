//! The seam to socketioxide: its adapter trait, so that handlers' own emits reach the cluster.
//!
//! Invariant: socketioxide's own rooms are not the truth. Rooms live in [`super::LocalSockets`];
//! what this adapter answers locally concerns single sockets only.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use socketioxide::adapter::Emitter;
use socketioxide_core::{
    adapter::{BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter},
    packet::Packet,
};

/// What every namespace's adapter shares: nothing for a replica without a cluster.
#[derive(Debug, Default)]
pub struct ClusterState {}

/// The adapter of one namespace.
pub struct ClusterAdapter {
    local: CoreLocalAdapter<Emitter>,
}

impl CoreAdapter<Emitter> for ClusterAdapter {
    type Error = Infallible;
    type State = ClusterState;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(_: &Self::State, local: CoreLocalAdapter<Emitter>) -> Self {
        Self { local }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        // Never waits for Redis: local dashboards are served while it is away.
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Self::Error> {
        Ok(self.local.broadcast_with_ack(packet, opts, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

impl DefinedAdapter for ClusterAdapter {}

impl fmt::Debug for ClusterAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterAdapter").finish_non_exhaustive()
    }
}
