//! One fleet on its shard: its newest state and its members. No task and no clock of its own.
//!
//! Invariants: a member that is `Live` is complete up to the fleet's last burst; a member that is not
//! knows after which number it is missing something, so nothing is ever skipped for good.

use std::{collections::HashMap as Memo, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use foldhash::{HashMap, HashMapExt};
use slab::Slab;
use tokio::{sync::oneshot, time::Instant};

use super::{
    DispatchOptions, Joined, Mode, Payload, Viewer, ViewerId, encode,
    member::{Member, Parts, Stage},
};
use crate::{
    fleet::{Epoch, FleetBatch, FleetId, FleetState},
    store::Snapshot,
    transport::Sent,
};

/// Catch-up is sent in pieces of this size.
const CATCH_UP_BYTES: usize = 32 * 1024;

/// A batch made ready for its members.
#[derive(Debug, Clone)]
pub(super) struct Burst {
    pub(super) frames: Bytes,
    pub(super) updates: usize,
    number: u64,
    /// Numbers of the first and the last update; the first only if the store counts.
    first: Option<u64>,
    seq: u64,
}

/// What a step of work did, for metrics.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Work {
    pub(super) deliveries: u64,
    pub(super) conflated: u64,
    pub(super) lagging: u64,
    pub(super) resyncs: u64,
}

#[derive(Debug)]
pub(super) struct Fleet {
    id: FleetId,
    epoch: Epoch,
    state: FleetState,
    /// Whether `state` holds every asset, not only those that passed by.
    complete: bool,
    /// Whether `epoch` and the numbers are the store's.
    numbered: bool,
    /// Number of the last update that was fanned out. The state may be ahead of it: a store knows of
    /// updates that are still on their way to here.
    streamed: Option<u64>,
    /// Whether the store has been asked for the state.
    pub(super) loading: bool,
    /// Something was missed while the store was being asked: its answer may predate it.
    pub(super) reload: bool,
    members: Slab<Member>,
    by_viewer: HashMap<ViewerId, usize>,
    burst: u64,
    payload: Payload,
    started: Instant,
}

impl Fleet {
    pub(super) fn new(id: FleetId, epoch: Epoch, options: &DispatchOptions, started: Instant) -> Self {
        Self {
            id,
            epoch,
            state: FleetState::default(),
            complete: options.relay_only,
            numbered: false,
            streamed: None,
            loading: false,
            reload: false,
            members: Slab::new(),
            by_viewer: HashMap::new(),
            burst: 0,
            payload: options.payload,
            started,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn slots(&self) -> usize {
        self.members.capacity()
    }

    /// Whether some member waits for something else than the next message.
    pub(super) fn needs_ticks(&self) -> bool {
        self.members.iter().any(|(_, member)| !member.follows_each())
    }

    fn cursor(&self, seq: u64) -> String {
        format!("{}.{seq}", self.epoch)
    }

    /// The number in a cursor of this fleet's present history.
    fn resume_after(&self, cursor: &str) -> Option<u64> {
        let (epoch, seq) = cursor.rsplit_once('.')?;
        let seq = seq.parse().ok()?;
        (epoch.parse() == Ok(self.epoch) && seq <= self.state.seq()).then_some(seq)
    }

    /// Adds a member. `reply` is answered when the fleet's state is known; a member that wants a
    /// snapshot is then held until [`Self::open`].
    pub(super) fn join(
        &mut self,
        viewer: Arc<Viewer>,
        mode: Mode,
        reply: oneshot::Sender<Joined>,
        now: Instant,
    ) {
        self.leave(viewer.id);
        let stage = match &mode {
            Mode::Legacy => {
                // A viewer that left meanwhile has no use for the answer.
                reply.send(Joined::default()).ok();
                Stage::Live
            }
            _ if !self.complete => Stage::Loading(reply),
            mode => {
                reply.send(self.joined(mode)).ok();
                Stage::Held
            }
        };
        let seq = self.state.seq();
        let id = viewer.id;
        let member = Member { viewer, mode, stage, seq, burst: self.burst, due: now };
        let key = self.members.insert(member);
        self.by_viewer.insert(id, key);
    }

    fn joined(&self, mode: &Mode) -> Joined {
        let after = mode.since().and_then(|cursor| self.resume_after(cursor));
        Joined { cursor: Some(self.cursor(self.state.seq())), resumed: after.is_some() }
    }

    /// The viewer has its acknowledgement: its snapshot may go out.
    pub(super) fn open(&mut self, viewer: ViewerId) {
        let Some(&key) = self.by_viewer.get(&viewer) else { return };
        if matches!(self.members[key].stage, Stage::Held) {
            let after = self.members[key].mode.since().and_then(|cursor| self.resume_after(cursor));
            self.members[key].stage = self.opening(after);
        }
    }

    /// Whether some member waits for the store's state.
    pub(super) fn wants_state(&self) -> bool {
        self.members.iter().any(|(_, member)| matches!(member.stage, Stage::Loading(_)))
    }

    /// The store could not be asked: whoever waited is told by the end of its reply.
    pub(super) fn load_failed(&mut self) {
        self.loading = false;
        self.members.retain(|_, member| !matches!(member.stage, Stage::Loading(_)));
        self.by_viewer.retain(|_, key| self.members.contains(*key));
    }

    /// A snapshot of what changed after `after`, or of everything.
    fn opening(&self, after: Option<u64>) -> Stage {
        let seq = self.state.seq();
        let rest = encode::parts(&self.id, self.state.changed_since(after.unwrap_or(0)).cloned());
        Stage::Snapshot(Parts { parts: rest.len(), rest, seq, cursor: self.cursor(seq) })
    }

    pub(super) fn leave(&mut self, viewer: ViewerId) {
        if let Some(key) = self.by_viewer.remove(&viewer) {
            self.members.remove(key);
            if self.members.len() * 4 < self.members.capacity() {
                self.by_viewer.shrink_to_fit();
                if self.members.is_empty() {
                    self.members = Slab::new();
                }
            }
        }
    }

    /// Applies a batch and makes its burst. `Err` tells that messages are missing before it.
    pub(super) fn apply(&mut self, batch: &FleetBatch, epoch: Option<Epoch>) -> (Option<Burst>, bool) {
        let mut updates = &batch.updates[..];
        let mut gap = false;
        if let (Some(epoch), Some(first)) = (epoch, batch.first_seq)
            && epoch != self.epoch
        {
            // Before the first number of the store there was nothing to miss; a new life of its counter
            // is a gap.
            gap = self.numbered;
            self.begin(epoch, first.saturating_sub(1));
        }
        match batch.first_seq {
            None => updates.iter().for_each(|update| {
                self.state.apply(update);
            }),
            Some(first) => {
                let streamed = self.streamed.unwrap_or_else(|| first.saturating_sub(1));
                let seen = usize::try_from((streamed + 1).saturating_sub(first)).unwrap_or(usize::MAX);
                updates = updates.get(seen..).unwrap_or_default();
                gap |= first > streamed + 1;
                self.streamed = Some(streamed.max(first + batch.updates.len() as u64 - 1));
                for (seq, update) in (first + seen as u64..).zip(updates) {
                    self.state.apply_numbered(update, seq);
                }
            }
        }
        if updates.is_empty() {
            return (None, gap);
        }
        self.burst += 1;
        let burst = Burst {
            frames: encode::burst(self.payload, updates),
            updates: updates.len(),
            number: self.burst,
            first: batch.first_seq.map(|first| first + (batch.updates.len() - updates.len()) as u64),
            seq: self.streamed.unwrap_or_else(|| self.state.seq()),
        };
        (Some(burst), gap)
    }

    /// A new life of the fleet's counter.
    fn begin(&mut self, epoch: Epoch, seq: u64) {
        (self.epoch, self.numbered, self.complete, self.streamed) = (epoch, true, false, None);
        self.state = FleetState::starting_after(seq);
        for (_, member) in &mut self.members {
            member.seq = seq;
        }
    }

    /// Sends a burst to the members in `slots`.
    pub(super) fn fan_out(&mut self, burst: &Burst, slots: std::ops::Range<usize>, work: &mut Work) {
        for key in slots {
            let Some(member) = self.members.get_mut(key) else { continue };
            if matches!(member.stage, Stage::Behind) {
                work.conflated += burst.updates as u64;
            }
            if !member.follows_each() || member.burst >= burst.number {
                continue;
            }
            if let Some(first) = burst.first
                && member.seq >= first
            {
                // Its snapshot had all of this burst, or a part.
                if member.seq >= burst.seq {
                    member.burst = burst.number;
                } else {
                    member.stage = Stage::Behind;
                    work.lagging += 1;
                }
                continue;
            }
            match member.viewer.session.send(&burst.frames) {
                Sent::Yes => {
                    member.burst = burst.number;
                    member.seq = burst.seq;
                    work.deliveries += burst.updates as u64;
                }
                Sent::Full => {
                    member.stage = Stage::Behind;
                    work.lagging += 1;
                    work.conflated += burst.updates as u64;
                }
                Sent::Closed => {}
            }
        }
    }

    /// Takes the store's state over. Whoever waited for it gets its snapshot; with `missed`, everyone
    /// gets what they missed.
    pub(super) fn load(&mut self, snapshot: Snapshot, missed: bool, work: &mut Work) {
        let same = self.epoch == snapshot.epoch;
        let before = if same { self.state.seq() } else { 0 };
        if !same {
            self.begin(snapshot.epoch, 0);
        }
        self.numbered = true;
        // Members are complete up to `before`, less what is news to this replica now.
        let mut behind = before;
        for asset in snapshot.assets {
            if self.state.get(asset.id.as_str()).is_none_or(|known| known.seq < asset.seq) {
                behind = behind.min(asset.seq.saturating_sub(1));
            }
            self.state.load(asset);
        }
        self.state.advance_to(snapshot.seq);
        if missed {
            // Everybody gets what is missing up to here from the state.
            self.streamed = Some(self.streamed.map_or(snapshot.seq, |streamed| streamed.max(snapshot.seq)));
        }
        self.complete = true;
        self.loading = false;
        let keys: Vec<usize> = self.members.iter().map(|(key, _)| key).collect();
        for key in keys {
            let joined = self.joined(&self.members[key].mode);
            let opening = missed.then(|| self.opening(None));
            let member = &mut self.members[key];
            match std::mem::replace(&mut member.stage, Stage::Held) {
                Stage::Loading(reply) => {
                    reply.send(joined).ok();
                }
                Stage::Held => {}
                _ if missed && member.is_legacy() => {
                    member.seq = member.seq.min(behind);
                    member.stage = Stage::Behind;
                }
                stage => {
                    member.stage = stage;
                    if let Some(opening) = opening {
                        let reason = if same { "gap" } else { "failover" };
                        member.viewer.session.send(&encode::resync(&self.id, reason));
                        member.stage = opening;
                        work.resyncs += 1;
                    }
                }
            }
        }
    }

    /// Serves members that wait for something: conflated events that are due, snapshots, and viewers
    /// whose queue has drained.
    pub(super) fn tick(&mut self, now: Instant, work: &mut Work) {
        let mut shared: Memo<u64, Bytes> = Memo::new();
        let keys: Vec<usize> =
            self.members.iter().filter(|(_, member)| !member.follows_each()).map(|(key, _)| key).collect();
        for key in keys {
            let member = &self.members[key];
            if !member.viewer.session.has_drained() {
                continue;
            }
            match &member.stage {
                Stage::Loading(_) | Stage::Held => {}
                Stage::Snapshot(_) => self.snapshot(key, work),
                Stage::Behind if member.is_legacy() => self.catch_up(key, work),
                Stage::Behind => {
                    let resync = encode::resync(&self.id, "slow");
                    let stage = self.opening(None);
                    let member = &mut self.members[key];
                    member.viewer.session.send(&resync);
                    member.stage = stage;
                    work.resyncs += 1;
                    self.snapshot(key, work);
                }
                Stage::Live => {
                    if let Some(interval) = member.mode.interval()
                        && now >= member.due
                    {
                        self.conflated(key, interval, now, &mut shared, work);
                    }
                }
            }
        }
    }

    /// Sends snapshot parts while the viewer takes them.
    fn snapshot(&mut self, key: usize, work: &mut Work) {
        let member = &mut self.members[key];
        let Stage::Snapshot(parts) = &mut member.stage else { return };
        while let Some(states) = parts.rest.front() {
            let part = parts.parts - parts.rest.len();
            let states = states.iter().map(|state| &**state);
            let frame = encode::snapshot_part(&self.id, &parts.cursor, part, parts.parts, states);
            if member.viewer.session.send(&frame) != Sent::Yes {
                return;
            }
            parts.rest.pop_front();
        }
        member.seq = parts.seq;
        // What happened while the parts went out follows, newest state per asset.
        member.stage = Stage::Behind;
        if member.mode.interval().is_some() {
            member.stage = Stage::Live;
        } else {
            self.catch_up(key, work);
        }
    }

    /// Sends the newest state of what a member missed, in the order of change; then it is live again.
    fn catch_up(&mut self, key: usize, work: &mut Work) {
        let member = &mut self.members[key];
        let mut out = BytesMut::new();
        let mut sent = 0;
        let mut changed = self.state.changed_since(member.seq).peekable();
        while let Some(state) = changed.next() {
            encode::put_state(&mut out, self.payload, state);
            sent += 1;
            if out.len() >= CATCH_UP_BYTES || changed.peek().is_none() {
                if member.viewer.session.send(&out.split().freeze()) != Sent::Yes {
                    return;
                }
                member.seq = state.seq;
                work.deliveries += std::mem::take(&mut sent);
            }
        }
        member.seq = self.state.seq();
        member.burst = self.burst;
        member.stage = Stage::Live;
    }

    /// One conflated event: encoded once for all members that are complete up to the same number.
    fn conflated(
        &mut self,
        key: usize,
        interval: Duration,
        now: Instant,
        shared: &mut Memo<u64, Bytes>,
        work: &mut Work,
    ) {
        let newest = self.state.seq();
        let cursor = self.cursor(newest);
        let member = &mut self.members[key];
        if member.seq == newest {
            return;
        }
        let frame = shared.entry(member.seq).or_insert_with(|| {
            let changed = self.state.changed_since(member.seq).map(|state| &**state);
            encode::fleet_updates(&self.id, &cursor, changed)
        });
        match member.viewer.session.send(frame) {
            Sent::Yes => {
                member.seq = newest;
                work.deliveries += 1;
                // The same interval falls due together, whenever its members joined.
                let interval_ms = interval.as_millis().max(1);
                let late_ms = now.duration_since(self.started).as_millis() % interval_ms;
                let wait_ms = u64::try_from(interval_ms - late_ms).unwrap_or(u64::MAX);
                member.due = now + Duration::from_millis(wait_ms);
            }
            Sent::Full => {
                member.stage = Stage::Behind;
                work.lagging += 1;
            }
            Sent::Closed => {}
        }
    }
}
