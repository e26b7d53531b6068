//! How far the store was when the first viewer of a fleet came, where nobody needs the fleet's state.
//!
//! Invariant: what the store has up to there was there before, or is still on its way to here; what it has
//! beyond, the first viewer is owed. It is no number to go on from, and is forgotten with the first that comes.

use super::{Head, fleet::Fleet};
use crate::fleet::Epoch;

#[derive(Debug, Default)]
pub(super) struct Baseline {
    /// The question to the store that is open.
    asked: Option<u64>,
    /// Inner `None`: the fleet had no counter.
    known: Head,
}

impl Baseline {
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether nothing is known, and nobody asks.
    pub(super) fn is_missing(&self) -> bool {
        self.asked.is_none() && self.known.is_none()
    }

    pub(super) fn ask(&mut self, look: u64) {
        self.asked = Some(look);
    }

    /// The answer to a question, if it is the open one.
    pub(super) fn answer(&mut self, look: u64, head: Head) {
        if self.asked == Some(look) {
            (self.asked, self.known) = (None, head);
        }
    }

    pub(super) fn set(&mut self, epoch: Epoch, seq: u64) {
        self.known = Some(Some((epoch, seq)));
    }

    /// Whether the store was not as far then.
    pub(super) fn is_before(&self, epoch: Epoch, seq: u64) -> bool {
        let Some(known) = self.known else { return false };
        known.filter(|(known, _)| *known == epoch).map_or(0, |(_, known)| known) < seq
    }
}

impl Fleet {
    /// Whether nobody knows how far it is, and nobody asks.
    pub(super) fn wants_head(&self) -> bool {
        let is_known = self.numbered || self.loading.is_some() || self.options.relay_only;
        !is_known && self.baseline.is_missing()
    }

    /// Takes a number of the store as that of the first viewer's coming, if nothing is known of it.
    pub(super) fn take_baseline(&mut self, epoch: Epoch, seq: u64) -> bool {
        let is_taken = self.wants_head() && self.later.is_empty();
        if is_taken {
            self.baseline.set(epoch, seq);
        }
        is_taken
    }
}
