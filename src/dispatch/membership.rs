//! One viewer's membership in one fleet, with everything that hangs on it.
//!
//! Invariant: dropping it ends it, whatever way the viewer went, and ends nothing else: a later membership
//! of the same viewer in the same fleet has another number.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Dispatcher, Joined, Mode, Viewer, member::Joining, shard::Control};
use crate::{feed::Watch, fleet::FleetId};

/// Tells the memberships of one viewer in one fleet apart: what ends or opens an earlier one may arrive
/// after the later one began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Token(u64);

impl Token {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// That a viewer watches a fleet, from [`Membership::join`] until it is dropped.
#[derive(Debug)]
pub struct Membership {
    /// Which fleet.
    pub fleet: FleetId,
    viewer: Viewer,
    token: Token,
    dispatcher: Dispatcher,
    _watch: Watch,
}

impl Membership {
    /// Takes responsibility for ending what [`Self::join`] begins.
    #[must_use]
    pub fn new(fleet: FleetId, viewer: Viewer, dispatcher: Dispatcher, watch: Watch) -> Self {
        Self { fleet, viewer, token: Token::next(), dispatcher, _watch: watch }
    }

    /// Makes the viewer a member of the fleet, instead of an earlier membership. When this returns, every
    /// batch dispatched from now on reaches it.
    ///
    /// `None`: the fleet's state can not be had within `limit`; then an earlier membership goes on.
    pub async fn join(&self, mode: Mode, limit: Duration) -> Option<Joined> {
        let (reply, mut joined) = oneshot::channel();
        let joining = Joining { viewer: self.viewer.clone(), token: self.token, mode, reply };
        let join = Control::Join { fleet: self.fleet.clone(), joining };
        let answered = timeout(limit, async {
            self.dispatcher.control(&self.fleet, join).await;
            (&mut joined).await
        });
        match answered.await {
            Ok(answer) => answer.ok(),
            Err(_) => {
                // Either the shard has answered by now, and the member is one, or it never will.
                joined.close();
                joined.try_recv().ok()
            }
        }
    }

    /// Ends it; when this returns, nothing more of the fleet goes to the viewer by it.
    pub async fn end(self) {
        let leave = Control::Leave { fleet: self.fleet.clone(), viewer: self.viewer.id, token: self.token };
        self.dispatcher.control(&self.fleet, leave).await;
        self.dispatcher.settled(&self.fleet).await;
    }

    /// Lets a member that wanted a snapshot have it: its acknowledgement is on its way.
    pub fn open(&self) -> impl Future<Output = ()> + Send + use<> {
        let (dispatcher, fleet) = (self.dispatcher.clone(), self.fleet.clone());
        let open = Control::Open { fleet: fleet.clone(), viewer: self.viewer.id, token: self.token };
        async move { dispatcher.control(&fleet, open).await }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let leave = Control::Leave { fleet: self.fleet.clone(), viewer: self.viewer.id, token: self.token };
        self.dispatcher.control_soon(&self.fleet, leave);
    }
}
