//! A burst on its way to the members of its fleet, chunk by chunk.
//!
//! Invariant: a member gets a burst once and in order, or knows that it missed it, whatever joins, leaves
//! and moves between two chunks.

use bytes::Bytes;

use super::{
    fleet::{Fleet, Work},
    member::Stage,
    serve::Budget,
};
use crate::{fleet::FleetBatch, transport::Sent};

/// A batch made ready for its members.
#[derive(Debug, Clone)]
pub(super) struct Burst {
    pub(super) frames: Bytes,
    pub(super) updates: usize,
    pub(super) number: u64,
    /// Numbers of the first and the last update; the first only if the store counts.
    pub(super) first: Option<u64>,
    pub(super) seq: u64,
}

/// A burst, and how far it is.
#[derive(Debug)]
pub(super) struct Stream {
    burst: Burst,
    /// The next place to look at.
    pub(super) next: usize,
    deliveries: u64,
    received_ms: i64,
    event_ms: Option<i64>,
}

/// How old the updates of a finished burst are, if anybody got them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    pub(super) received_ms: i64,
    pub(super) event_ms: Option<i64>,
}

impl Stream {
    pub(super) fn new(burst: Burst, batch: &FleetBatch) -> Self {
        let newest = batch.updates.iter().rev().find(|update| update.asset.is_some());
        Self {
            burst,
            next: 0,
            deliveries: 0,
            received_ms: batch.received_ms,
            event_ms: newest.map(|update| update.ts_ms),
        }
    }
}

impl Fleet {
    /// Sends the burst under way to the next members. What it answers is the end of a burst.
    pub(super) fn fan_out(&mut self, work: &mut Work, turns: &mut Budget) -> Option<Ages> {
        let mut stream = self.stream.take()?;
        let mut budget = Budget::default();
        // Places up to here may be taken; the slab grows only by joins, which come after this burst.
        let places = self.members.capacity();
        let before = work.deliveries;
        while stream.next < places && !budget.is_spent() {
            budget.visit();
            if self.members.contains(stream.next) {
                self.deliver(stream.next, &stream.burst, &mut budget, work);
            }
            stream.next += 1;
        }
        stream.deliveries += work.deliveries - before;
        turns.take(&budget);
        if stream.next < places {
            self.stream = Some(stream);
            return None;
        }
        let Stream { received_ms, event_ms, .. } = stream;
        (stream.deliveries > 0).then_some(Ages { received_ms, event_ms })
    }

    fn deliver(&mut self, key: usize, burst: &Burst, budget: &mut Budget, work: &mut Work) {
        let member = &mut self.members[key];
        if matches!(member.stage, Stage::CatchingUp | Stage::Resync(_)) {
            work.conflated += burst.updates as u64;
        }
        if !member.follows_each() || member.burst >= burst.number {
            return;
        }
        if let Some(first) = burst.first
            && member.seq >= first
        {
            // Its snapshot had all of this burst, or a part.
            if member.seq >= burst.seq {
                member.burst = burst.number;
            } else {
                member.stage = Stage::CatchingUp;
                self.settle(key);
            }
            return;
        }
        budget.sent(burst.frames.len());
        match member.viewer.session.send(&burst.frames) {
            Sent::Yes => {
                member.burst = burst.number;
                member.seq = burst.seq;
                work.deliveries += burst.updates as u64;
            }
            Sent::Full => {
                member.fall_behind();
                work.lagging += 1;
                work.conflated += burst.updates as u64;
                self.settle(key);
            }
            Sent::Closed => {}
        }
    }
}
