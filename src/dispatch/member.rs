//! One viewer's place in one fleet: how it wants updates, and how far it is complete.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::{Joined, Viewer, membership::Token, snapshot::Listing};

/// How a member wants the fleet's updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Named in the handshake: `fleet_update` per message, from now on.
    Legacy,
    /// `fleet_update` per message, behind a snapshot.
    Each {
        /// Resume after this cursor instead of a snapshot.
        since: Option<String>,
    },
    /// Conflated `fleet_updates`, behind a snapshot.
    Latest {
        /// At most one event in this time.
        interval: Duration,
        /// Resume after this cursor instead of a snapshot.
        since: Option<String>,
    },
}

impl Mode {
    pub(super) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Latest { interval, .. } => Some(*interval),
            Self::Legacy | Self::Each { .. } => None,
        }
    }

    pub(super) fn forget_cursor(&mut self) {
        if let Self::Each { since } | Self::Latest { since, .. } = self {
            *since = None;
        }
    }

    pub(super) fn since(&self) -> Option<&str> {
        match self {
            Self::Legacy => None,
            Self::Each { since } | Self::Latest { since, .. } => since.as_deref(),
        }
    }
}

/// Why a member gets a fresh snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Slow,
    Gap,
    Failover,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Gap => "gap",
            Self::Failover => "failover",
        }
    }
}

/// What a member is waiting for.
#[derive(Debug)]
pub(super) enum Stage {
    /// Gets what happens.
    Live,
    /// Its acknowledgement is on the way to the viewer and must arrive before the snapshot.
    Held,
    /// Its snapshot is to begin.
    Opening,
    /// Gets a snapshot, part by part.
    Snapshot(Parts),
    /// Gets what changed after its number, newest state per asset, when its queue has drained.
    CatchingUp,
    /// Is to be told that it missed something, and then gets a snapshot.
    Resync(Reason),
}

/// How much of a snapshot is sent.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) listing: Arc<Listing>,
    pub(super) next: usize,
}

/// A viewer that asks to be a member.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) viewer: Viewer,
    pub(super) token: Token,
    pub(super) mode: Mode,
    /// Closed once nobody waits for the answer any more: then the viewer is no member by it.
    pub(super) reply: oneshot::Sender<Joined>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) viewer: Viewer,
    pub(super) token: Token,
    pub(super) mode: Mode,
    pub(super) stage: Stage,
    /// Complete up to this number of the fleet's history.
    pub(super) seq: u64,
    /// The last burst that it got or that happened before it joined.
    pub(super) burst: u64,
    /// When a conflating member may get its next event.
    pub(super) due: Instant,
}

impl Member {
    pub(super) fn is_legacy(&self) -> bool {
        self.mode == Mode::Legacy
    }

    /// Whether this member gets every message as it happens, and waits for nothing else.
    pub(super) fn follows_each(&self) -> bool {
        matches!(self.stage, Stage::Live) && self.mode.interval().is_none()
    }

    /// What a member gets that did not keep up.
    pub(super) fn fall_behind(&mut self) {
        self.stage = if self.is_legacy() { Stage::CatchingUp } else { Stage::Resync(Reason::Slow) };
    }
}
