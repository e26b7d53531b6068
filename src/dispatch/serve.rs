//! What members get that do not simply follow: conflated events that are due, snapshots, and what a viewer
//! missed while its queue was full. In rounds over those members, chunk by chunk.
//!
//! Invariants: a chunk costs at most a [`Budget`], however many members or assets there are; what is queued
//! for one viewer stays within its bound, an asset that exceeds it alone excepted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{
    encode,
    fleet::{Fleet, Work},
    member::{Parts, Stage},
    snapshot::{Listing, Recent},
};
use crate::transport::Sent;

/// Catch-up is sent in pieces of this size.
const CATCH_UP_BYTES: usize = 32 * 1024;
/// What one round may keep of frames that members share.
const SHARED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a chunk may cost: as much as 64 members with a write each, a fraction of a millisecond.
const CHUNK_COST: usize = 1024;
const VISIT_COST: usize = 1;
const SEND_COST: usize = 16;
/// Text that is written for as much as a send.
const ENCODED_BYTES: usize = 4096;
/// Bytes that the kernel copies for as much as a send.
const COPIED_BYTES: usize = 8192;
/// States that are listed for as much as a visit.
const LISTED_STATES: usize = 4;

/// What is left of a chunk.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(CHUNK_COST)
    }
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.0 == 0
    }

    /// Takes what another chunk cost out of this one.
    pub(super) fn take(&mut self, other: &Self) {
        self.spend(CHUNK_COST - other.0);
    }

    fn spend(&mut self, cost: usize) {
        self.0 = self.0.saturating_sub(cost);
    }

    pub(super) fn visit(&mut self) {
        self.spend(VISIT_COST);
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.spend(SEND_COST * (1 + bytes / COPIED_BYTES));
    }

    pub(super) fn encoded(&mut self, bytes: usize) {
        self.spend(SEND_COST * (1 + bytes / ENCODED_BYTES));
    }
}

/// One round over the unsettled members of a fleet.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) next: usize,
    now: Instant,
    shared: HashMap<(Kind, u64), Piece>,
    shared_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// `fleet_updates`.
    Conflated,
    /// A `fleet_update` per asset.
    States,
}

/// What changed after some number, or the beginning of it.
#[derive(Debug, Clone)]
struct Piece {
    frames: Bytes,
    assets: u64,
    /// Whoever has it is complete up to here.
    seq: u64,
    /// Nothing had changed after it.
    is_last: bool,
}

impl Pass {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: 0, now, shared: HashMap::new(), shared_bytes: 0 }
    }
}

impl Fleet {
    /// Serves the next members of the round that is under way.
    pub(super) fn serve(&mut self, work: &mut Work, turns: &mut Budget) {
        let Some(mut pass) = self.pass.take() else { return };
        let mut budget = Budget::default();
        while self.complete && !budget.is_spent() {
            let Some(joining) = self.admitting.pop() else { break };
            budget.sent(0);
            self.admit(joining, pass.now);
        }
        while !budget.is_spent() {
            let Some(&key) = self.unsettled.range(pass.next..).next() else {
                self.recent.take_if(|recent| recent.is_idle());
                return turns.take(&budget);
            };
            budget.visit();
            if self.serve_member(key, &mut pass, &mut budget, work) {
                pass.next = key + 1;
            }
            self.settle(key);
        }
        turns.take(&budget);
        self.pass = Some(pass);
    }

    /// Gives one member what it may get now. False: there was more to do than the budget allows.
    fn serve_member(&mut self, key: usize, pass: &mut Pass, budget: &mut Budget, work: &mut Work) -> bool {
        let member = &mut self.members[key];
        if !member.viewer.session.has_drained() {
            return true;
        }
        match &member.stage {
            Stage::Held => true,
            Stage::Live => {
                let due = member.mode.interval().filter(|_| pass.now >= member.due);
                due.is_none_or(|interval| self.conflated(key, interval, pass, budget, work))
            }
            Stage::CatchingUp => self.catch_up(key, pass, budget, work),
            Stage::Snapshot(_) => self.snapshot(key, budget),
            Stage::Opening => {
                let after = member.mode.since().map(str::to_owned);
                let after = after.and_then(|cursor| self.resume_after(&cursor));
                self.begin_snapshot(key, after, budget);
                self.snapshot(key, budget)
            }
            Stage::Resync(reason) => {
                let resync = encode::resync("fleet", self.id.as_str(), reason.as_str());
                if member.viewer.session.send(&resync) != Sent::Yes {
                    return true;
                }
                work.resyncs += 1;
                self.begin_snapshot(key, None, budget);
                self.snapshot(key, budget)
            }
        }
    }

    /// A snapshot of what changed after `after`, or of everything.
    fn begin_snapshot(&mut self, key: usize, after: Option<u64>, budget: &mut Budget) {
        let (seq, known) = (self.state.seq(), self.members[key].seq);
        let recent = self.recent.as_ref().filter(|recent| after.is_none() && recent.serves(known, seq));
        let listing = recent.map(|recent| recent.listing.clone()).unwrap_or_else(|| {
            let cursor = self.cursor(seq);
            let listing = Arc::new(Listing::new(&self.id, &self.state, cursor, after.unwrap_or(0)));
            budget.spend(listing.parts.iter().map(Vec::len).sum::<usize>() / LISTED_STATES);
            if after.is_none() {
                self.recent = Some(Recent::new(listing.clone()));
            }
            listing
        });
        self.members[key].stage = Stage::Snapshot(Parts { listing, next: 0 });
    }

    /// Sends snapshot parts while the viewer takes them.
    fn snapshot(&mut self, key: usize, budget: &mut Budget) -> bool {
        loop {
            let member = &mut self.members[key];
            let Stage::Snapshot(parts) = &mut member.stage else { return true };
            let listing = &parts.listing;
            if parts.next == listing.parts.len() {
                member.seq = listing.seq;
                member.burst = self.burst;
                // What happened while the parts went out follows, newest state per asset.
                let conflates = member.mode.interval().is_some();
                member.stage = if conflates { Stage::Live } else { Stage::CatchingUp };
                return conflates;
            }
            if budget.is_spent() {
                return false;
            }
            let recent = self.recent.as_mut().filter(|recent| Arc::ptr_eq(&recent.listing, listing));
            let (frame, made) = match recent {
                Some(recent) => recent.frame(&self.id, parts.next),
                None => (listing.frame(&self.id, parts.next), true),
            };
            if made {
                budget.encoded(frame.len());
            }
            budget.sent(frame.len());
            if member.viewer.session.send(&frame) != Sent::Yes {
                return true;
            }
            parts.next += 1;
        }
    }

    /// Sends the newest state of what a member missed, in the order of change; then it is live again.
    fn catch_up(&mut self, key: usize, pass: &mut Pass, budget: &mut Budget, work: &mut Work) -> bool {
        while self.members[key].seq < self.state.seq() {
            if budget.is_spent() {
                return false;
            }
            let Some(piece) = self.send_piece(key, Kind::States, pass, budget) else { return true };
            work.deliveries += piece.assets;
        }
        let member = &mut self.members[key];
        member.burst = self.burst;
        member.stage = Stage::Live;
        true
    }

    /// One conflated event, encoded once for all members that are complete up to the same number; more
    /// than one only where it would not fit into the viewer's queue.
    fn conflated(
        &mut self,
        key: usize,
        interval: Duration,
        pass: &mut Pass,
        budget: &mut Budget,
        work: &mut Work,
    ) -> bool {
        while self.members[key].seq < self.state.seq() && self.members[key].viewer.session.has_drained() {
            if budget.is_spent() {
                return false;
            }
            let Some(piece) = self.send_piece(key, Kind::Conflated, pass, budget) else { return true };
            work.deliveries += u64::from(piece.assets > 0);
            if piece.is_last {
                // The same interval falls due together, whenever its members joined.
                let interval_ms = interval.as_millis().max(1);
                let late_ms = pass.now.duration_since(self.started).as_millis() % interval_ms;
                let wait_ms = u64::try_from(interval_ms - late_ms).unwrap_or(u64::MAX);
                self.members[key].due = pass.now + Duration::from_millis(wait_ms);
                return true;
            }
        }
        true
    }

    /// Sends the beginning of what a member misses. `None`: its queue does not take it.
    fn send_piece(&mut self, key: usize, kind: Kind, pass: &mut Pass, budget: &mut Budget) -> Option<Piece> {
        let piece = self.piece(kind, self.members[key].seq, pass, budget);
        budget.sent(piece.frames.len());
        let member = &mut self.members[key];
        if piece.assets > 0 && member.viewer.session.send(&piece.frames) != Sent::Yes {
            return None;
        }
        member.seq = piece.seq;
        Some(piece)
    }

    /// The beginning of what changed after `after`, made once for all members of a round.
    fn piece(&self, kind: Kind, after: u64, pass: &mut Pass, budget: &mut Budget) -> Piece {
        if let Some(piece) = pass.shared.get(&(kind, after)) {
            return piece.clone();
        }
        let piece = match kind {
            Kind::Conflated => self.updates_after(after),
            Kind::States => self.states_after(after),
        };
        budget.encoded(piece.frames.len());
        if pass.shared_bytes > SHARED_BYTES_MAX {
            (pass.shared, pass.shared_bytes) = (HashMap::new(), 0);
        }
        pass.shared_bytes += piece.frames.len();
        pass.shared.insert((kind, after), piece.clone());
        piece
    }

    fn states_after(&self, after: u64) -> Piece {
        let (mut out, mut assets, mut seq) = (BytesMut::new(), 0, after);
        let mut changed = self.state.changed_since(after).peekable();
        while out.len() < CATCH_UP_BYTES
            && let Some(state) = changed.next()
        {
            encode::put_state(&mut out, self.options.payload, state);
            (assets, seq) = (assets + 1, state.seq);
        }
        let is_last = changed.peek().is_none();
        Piece { frames: out.freeze(), assets, seq: if is_last { self.state.seq() } else { seq }, is_last }
    }

    fn updates_after(&self, after: u64) -> Piece {
        let mut changed = self.state.changed_since(after).peekable();
        let (mut states, mut bytes) = (Vec::new(), 0);
        while let Some(state) = changed.peek() {
            bytes += encode::asset_bytes(&self.id, state);
            if bytes > self.options.frame_bytes_max && !states.is_empty() {
                break;
            }
            states.extend(changed.next());
        }
        let is_last = changed.peek().is_none();
        let last = states.last().map_or(after, |state| state.seq);
        let seq = if is_last { self.state.seq() } else { last };
        let assets = states.len() as u64;
        let frames =
            encode::fleet_updates(&self.id, &self.cursor(seq), states.into_iter().map(|state| &**state));
        Piece { frames, assets, seq, is_last }
    }
}
