//! What came while the store was being asked for a fleet's state: its answer may predate it.
//!
//! Invariant: bounded; beyond the bound nothing is kept, and that something came is still known.

use crate::fleet::Update;

/// Updates that are kept while the store is being asked. When there are more, an asset that changed
/// meanwhile keeps what is known of it, and a field that a partial update brought in a gap waits for its
/// next update.
const SINCE_ASKED_MAX: usize = 16_384;
/// Updates since the store was asked: its answer may predate them.
#[derive(Debug, Default)]
pub(super) struct SinceAsked {
    updates: Vec<(u64, Update)>,
    is_full: bool,
}

impl SinceAsked {
    pub(super) fn push(&mut self, seq: u64, update: &Update) {
        self.is_full |= self.updates.len() >= SINCE_ASKED_MAX;
        if self.is_full {
            self.updates = Vec::new();
        } else {
            self.updates.push((seq, update.clone()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.updates.is_empty() && !self.is_full
    }

    pub(super) fn take(&mut self) -> Vec<(u64, Update)> {
        std::mem::take(self).updates
    }
}
