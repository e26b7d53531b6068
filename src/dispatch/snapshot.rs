//! Snapshots of one fleet, shared: viewers that come or resync at about the same time get the same frames.
//!
//! Invariant: at most one listing's frames are kept per fleet, and none when nobody is being sent it.
//! A listing holds references to states, not copies.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::encode;
use crate::fleet::{AssetState, FleetId, FleetState};

/// What a snapshot holds, in parts of bounded size.
#[derive(Debug)]
pub(super) struct Listing {
    /// The fleet's number when the snapshot was taken: updates follow from here.
    pub(super) seq: u64,
    cursor: String,
    pub(super) parts: Vec<Vec<Arc<AssetState>>>,
}

impl Listing {
    /// What changed after `after`; everything, if that is 0.
    pub(super) fn new(fleet: &FleetId, state: &FleetState, cursor: String, after: u64) -> Self {
        let parts = encode::parts(fleet, state.changed_since(after).cloned());
        Self { seq: state.seq(), cursor, parts }
    }

    pub(super) fn frame(&self, fleet: &FleetId, part: usize) -> Bytes {
        let states = self.parts[part].iter().map(|state| &**state);
        encode::snapshot_part(fleet, &self.cursor, part + 1, self.parts.len(), states)
    }
}

/// How long a listing is of use to others though the fleet went on: what has changed since follows it.
const SHARED_FOR: Duration = Duration::from_millis(500);

/// The complete listing that was asked for last, and its frames.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) listing: Arc<Listing>,
    made: Instant,
    frames: Vec<Option<Bytes>>,
}

impl Recent {
    pub(super) fn new(listing: Arc<Listing>) -> Self {
        Self { frames: vec![None; listing.parts.len()], listing, made: Instant::now() }
    }

    /// A frame of this listing, and whether it had to be made.
    pub(super) fn frame(&mut self, fleet: &FleetId, part: usize) -> (Bytes, bool) {
        let made = self.frames[part].is_none();
        (self.frames[part].get_or_insert_with(|| self.listing.frame(fleet, part)).clone(), made)
    }

    /// Whether a viewer that is complete up to `known` may have this listing while the fleet is at `seq`: it must
    /// not be shown what is older than what it has.
    pub(super) fn serves(&self, known: u64, seq: u64) -> bool {
        self.listing.seq == seq || (self.listing.seq >= known && self.made.elapsed() < SHARED_FOR)
    }

    /// Whether nobody is being sent this listing.
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.listing) == 1
    }
}
