//! Snapshots of one fleet, shared: viewers that come or resync at the same number get the same frames.
//!
//! Invariant: at most one listing's frames are kept per fleet, and none when nobody is being sent it.
//! A listing holds references to states, not copies.

use std::sync::Arc;

use bytes::Bytes;

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

/// The complete listing that was asked for last, and its frames.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) listing: Arc<Listing>,
    frames: Vec<Option<Bytes>>,
}

impl Recent {
    pub(super) fn new(listing: Arc<Listing>) -> Self {
        Self { frames: vec![None; listing.parts.len()], listing }
    }

    /// A frame of this listing, and whether it had to be made.
    pub(super) fn frame(&mut self, fleet: &FleetId, part: usize) -> (Bytes, bool) {
        let made = self.frames[part].is_none();
        (self.frames[part].get_or_insert_with(|| self.listing.frame(fleet, part)).clone(), made)
    }

    /// Whether nobody is being sent this listing.
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.listing) == 1
    }
}
