//! One viewer's membership in one fleet: how it wants updates, and how far it is complete.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::{Joined, Viewer};
use crate::fleet::AssetState;

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

    pub(super) fn since(&self) -> Option<&str> {
        match self {
            Self::Legacy => None,
            Self::Each { since } | Self::Latest { since, .. } => since.as_deref(),
        }
    }
}

/// What a member is waiting for.
#[derive(Debug)]
pub(super) enum Stage {
    /// Gets what happens.
    Live,
    /// The fleet's state is being loaded; the reply says what it found.
    Loading(oneshot::Sender<Joined>),
    /// Its acknowledgement is on the way to the viewer and must arrive before the snapshot.
    Held,
    /// Its queue was full: gets what changed after its cursor when it has drained.
    Behind,
    /// Gets a snapshot, part by part.
    Snapshot(Parts),
}

/// What is left of a snapshot. Holds references to states, not copies; bounded by the fleet's assets.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) rest: VecDeque<Vec<Arc<AssetState>>>,
    /// The fleet's number when the snapshot was taken: updates follow from here.
    pub(super) seq: u64,
    pub(super) cursor: String,
    pub(super) parts: usize,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) viewer: Arc<Viewer>,
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

    /// Whether this member gets every message as it happens.
    pub(super) fn follows_each(&self) -> bool {
        matches!(self.stage, Stage::Live) && self.mode.interval().is_none()
    }
}
