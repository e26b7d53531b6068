//! One fleet on its shard: its newest state and its members. No task and no clock of its own.
//!
//! Invariants: a member that is `Live` is complete up to the fleet's last burst; a member that is not
//! knows after which number it is missing something, so nothing is ever skipped for good. No step of a
//! join, a leave or a chunk of work looks at all members.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use foldhash::{HashMap, HashMapExt, HashSet};
use prometheus_client::metrics::gauge::Gauge;
use slab::Slab;
use tokio::time::Instant;

use super::{
    DispatchOptions, Joined, Mode, ViewerId, encode,
    fan_out::{Burst, Stream},
    member::{Joining, Member, Reason, Stage},
    membership::Token,
    serve::Pass,
    since_asked::SinceAsked,
    snapshot::Recent,
};
use crate::{
    fleet::{AssetId, Epoch, FleetBatch, FleetId, FleetState},
    observe::Metrics,
    store::Snapshot,
};

/// How long batches and answers of a past life of the counter may be on their way.
const STRAGGLERS_TIME: Duration = Duration::from_secs(30);
/// Up to here, batches that wait are joined: a burst must not fill a viewer's queue by itself.
const BURST_BYTES_MAX: usize = 64 * 1024;
/// Fewer places than this are not worth giving back.
const PLACES_MIN: usize = 256;

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
    pub(super) id: FleetId,
    epoch: Epoch,
    pub(super) state: FleetState,
    /// Whether `state` holds every asset, not only those that passed by.
    pub(super) complete: bool,
    /// Whether `epoch` and the numbers are the store's.
    numbered: bool,
    /// Number of the last update that was fanned out. The state may be ahead of it: a store knows of
    /// updates that are still on their way to here.
    streamed: Option<u64>,
    /// Which question to the store is open.
    pub(super) loading: Option<u64>,
    /// Something was missed while the store was being asked: its answer may predate it.
    pub(super) reload: bool,
    since_asked: SinceAsked,
    /// After which number members may lack what the state has: news of the store for which nobody had missed
    /// anything, as far as was known, or a hole in the stream. The next answer to a gap makes up for it.
    unsent: u64,
    /// The life of the counter before this one, and when it ended.
    over: Option<(Epoch, Instant)>,
    /// Viewers that wait for the state.
    waiting: HashMap<Token, Joining>,
    /// Viewers that waited for it, and become members one by one.
    pub(super) admitting: Vec<Joining>,
    pub(super) members: Slab<Member>,
    by_viewer: HashMap<ViewerId, usize>,
    /// Members that wait for something else than the next message.
    pub(super) unsettled: BTreeSet<usize>,
    /// Number of the last burst.
    pub(super) burst: u64,
    /// The burst that is being fanned out.
    pub(super) stream: Option<Stream>,
    /// Batches that wait for the fleet's turn. Bounded by the shard, for all of its fleets together.
    pub(super) later: VecDeque<(FleetBatch, Option<Epoch>)>,
    /// How long the burst of the last of `later` becomes.
    later_bytes: usize,
    /// The round over unsettled members that is under way.
    pub(super) pass: Option<Pass>,
    pub(super) recent: Option<Recent>,
    /// Whether it has a place among the shard's turns.
    pub(super) queued: bool,
    pub(super) options: Arc<DispatchOptions>,
    /// Conflating members of one interval fall due together, counted from here.
    pub(super) started: Instant,
    memberships: Gauge,
    fleets: Gauge,
}

impl Fleet {
    pub(super) fn new(
        id: FleetId,
        epoch: Epoch,
        options: &Arc<DispatchOptions>,
        metrics: &Metrics,
        started: Instant,
    ) -> Self {
        // Nobody watches the canary's fleet; it is not to be counted.
        let (memberships, fleets) = if id.is_canary() {
            Default::default()
        } else {
            (metrics.memberships.clone(), metrics.watched_fleets.clone())
        };
        fleets.inc();
        Self {
            id,
            epoch,
            state: FleetState::default(),
            complete: options.relay_only,
            numbered: false,
            streamed: None,
            loading: None,
            reload: false,
            since_asked: SinceAsked::default(),
            unsent: u64::MAX,
            over: None,
            waiting: HashMap::new(),
            admitting: Vec::new(),
            members: Slab::new(),
            by_viewer: HashMap::new(),
            unsettled: BTreeSet::new(),
            burst: 0,
            stream: None,
            later: VecDeque::new(),
            later_bytes: 0,
            pass: None,
            recent: None,
            queued: false,
            options: options.clone(),
            started,
            memberships,
            fleets,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.waiting.is_empty() && self.admitting.is_empty()
    }

    /// Whether somebody waits for something else than the next message.
    pub(super) fn needs_ticks(&self) -> bool {
        !self.unsettled.is_empty() || self.recent.is_some() || (self.complete && !self.admitting.is_empty())
    }

    /// Whether somebody waits for the store's state.
    pub(super) fn wants_state(&self) -> bool {
        let nobody_waits = self.waiting.is_empty() && self.admitting.is_empty();
        !self.complete && !nobody_waits
    }

    /// Whether it has work to do now.
    pub(super) fn is_busy(&self) -> bool {
        self.stream.is_some() || self.pass.is_some() || !self.later.is_empty()
    }

    /// Keeps a batch until the fleet's turn, with what waits already if it continues that: the more there is
    /// to do, the fewer writes it takes. Whether it waits as one more.
    pub(super) fn put_off(&mut self, batch: FleetBatch, epoch: Option<Epoch>) -> bool {
        let bytes = encode::burst_bytes(&batch.updates);
        if let Some((last, last_epoch)) = self.later.back_mut()
            && *last_epoch == epoch
            && last.is_continued_by(&batch)
            && self.later_bytes + bytes <= BURST_BYTES_MAX.min(self.options.frame_bytes_max)
        {
            last.updates.extend(batch.updates);
            self.later_bytes += bytes;
            return false;
        }
        self.later.push_back((batch, epoch));
        self.later_bytes = bytes;
        true
    }

    pub(super) fn cursor(&self, seq: u64) -> String {
        format!("{}.{seq}", self.epoch)
    }

    /// The number in a cursor of this fleet's present history.
    pub(super) fn resume_after(&self, cursor: &str) -> Option<u64> {
        let (epoch, seq) = read_cursor(cursor)?;
        (epoch == self.epoch && seq <= self.state.seq()).then_some(seq)
    }

    /// Adds a member, or lets it wait for the fleet's state. One that wants a snapshot is then held
    /// until [`Self::open`]. Until it is a member, an earlier membership of the viewer goes on.
    pub(super) fn join(&mut self, joining: Joining, now: Instant) {
        if joining.mode == Mode::Legacy || self.complete {
            self.admit(joining, now);
        } else if !joining.reply.is_closed() {
            self.waiting.insert(joining.token, joining);
        }
    }

    pub(super) fn admit(&mut self, joining: Joining, now: Instant) {
        let Joining { viewer, token, mode, reply } = joining;
        let (stage, joined) = match &mode {
            Mode::Legacy => (Stage::Live, Joined::default()),
            mode => (Stage::Held, self.joined(mode)),
        };
        if reply.send(joined).is_err() {
            return; // Whoever asked has given up, and keeps what it has.
        }
        if let Some(&earlier) = self.by_viewer.get(&viewer.id) {
            self.remove(earlier);
        }
        let id = viewer.id;
        let seq = self.state.seq();
        let member = Member { viewer, token, mode, stage, seq, burst: self.burst, due: now };
        let key = self.members.insert(member);
        self.by_viewer.insert(id, key);
        self.memberships.inc();
        self.settle(key);
    }

    fn joined(&self, mode: &Mode) -> Joined {
        let after = mode.since().and_then(|cursor| self.resume_after(cursor));
        Joined { cursor: Some(self.cursor(self.state.seq())), resumed: after.is_some() }
    }

    fn member_of(&self, viewer: ViewerId, token: Token) -> Option<usize> {
        let key = *self.by_viewer.get(&viewer)?;
        (self.members[key].token == token).then_some(key)
    }

    /// The viewer has its acknowledgement: its snapshot may go out.
    pub(super) fn open(&mut self, viewer: ViewerId, token: Token) {
        let Some(key) = self.member_of(viewer, token) else { return };
        if matches!(self.members[key].stage, Stage::Held) {
            self.members[key].stage = Stage::Opening;
        }
    }

    /// Ends the membership of this token; an earlier or later one of the viewer goes on.
    pub(super) fn leave(&mut self, viewer: ViewerId, token: Token) {
        self.waiting.remove(&token);
        if let Some(key) = self.member_of(viewer, token) {
            self.remove(key);
            self.compact();
        }
    }

    fn remove(&mut self, key: usize) {
        let member = self.members.remove(key);
        self.by_viewer.remove(&member.viewer.id);
        self.unsettled.remove(&key);
        self.memberships.dec();
    }

    /// Gives the places of a storm of the past back. Members move, so work under way looks at them again;
    /// what a member got is known by the member.
    fn compact(&mut self) {
        if self.members.capacity() < PLACES_MIN || self.members.len() * 4 > self.members.capacity() {
            return;
        }
        let places = Slab::with_capacity(self.members.len());
        let members = std::mem::replace(&mut self.members, places);
        (self.by_viewer, self.unsettled) = (HashMap::with_capacity(members.len()), BTreeSet::new());
        for (_, member) in members {
            let id = member.viewer.id;
            let key = self.members.insert(member);
            self.by_viewer.insert(id, key);
            self.settle(key);
        }
        if let Some(stream) = &mut self.stream {
            stream.next = 0;
        }
        if let Some(pass) = &mut self.pass {
            pass.next = 0;
        }
    }

    /// Keeps the list of those who wait for something, after a member's stage changed.
    pub(super) fn settle(&mut self, key: usize) {
        if self.members[key].follows_each() {
            self.unsettled.remove(&key);
        } else {
            self.unsettled.insert(key);
        }
    }

    /// Applies a batch and begins to fan it out; true if messages are missing before it.
    pub(super) fn begin_burst(&mut self, batch: &FleetBatch, epoch: Option<Epoch>) -> bool {
        let (burst, gap) = self.apply(batch, epoch);
        self.stream = burst.map(|burst| Stream::new(burst, batch));
        gap
    }

    /// Applies a batch and makes its burst. True: messages are missing before it.
    fn apply(&mut self, batch: &FleetBatch, epoch: Option<Epoch>) -> (Option<Burst>, bool) {
        let mut updates = &batch.updates[..];
        let mut gap = false;
        if epoch.is_some_and(|epoch| self.is_over(epoch)) {
            return (None, false);
        }
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
                if first > streamed + 1 || (self.complete && first > self.state.seq() + 1) {
                    gap = true;
                    // A load may have filled the state: members have what was streamed, and no more.
                    self.unsent = self.unsent.min(streamed).min(self.state.seq());
                }
                self.streamed = Some(streamed.max(first + batch.updates.len() as u64 - 1));
                for (seq, update) in (first + seen as u64..).zip(updates) {
                    self.state.apply_numbered(update, seq);
                    if self.loading.is_some() {
                        self.since_asked.push(seq, update);
                    }
                }
            }
        }
        if updates.is_empty() {
            return (None, gap);
        }
        self.burst += 1;
        let burst = Burst {
            frames: encode::burst(self.options.payload, updates),
            updates: updates.len(),
            number: self.burst,
            first: batch.first_seq.map(|first| first + (batch.updates.len() - updates.len()) as u64),
            seq: self.streamed.unwrap_or_else(|| self.state.seq()),
        };
        (Some(burst), gap)
    }

    /// A new life of the fleet's counter.
    fn begin(&mut self, epoch: Epoch, seq: u64) {
        self.over = self.numbered.then(|| (self.epoch, Instant::now()));
        (self.since_asked, self.unsent) = (SinceAsked::default(), u64::MAX);
        (self.epoch, self.numbered, self.complete, self.streamed) = (epoch, true, false, None);
        self.state = FleetState::starting_after(seq);
        self.recent = None;
        for (_, member) in &mut self.members {
            member.seq = seq;
        }
    }

    /// Whether this life of the counter has just ended: what is still on its way from it is old.
    pub(super) fn is_over(&self, epoch: Epoch) -> bool {
        self.over.is_some_and(|(over, since)| over == epoch && since.elapsed() < STRAGGLERS_TIME)
    }

    /// Whether an answer of the store may be of another life of the counter than what came meanwhile, or came
    /// and waits: which of them is the later one, the next answer tells.
    pub(super) fn doubts(&self, answer: &Snapshot) -> bool {
        let known = [Some(answer.epoch), Some(self.epoch), None];
        let waits = self.later.iter().any(|(_, epoch)| !known.contains(epoch));
        answer.epoch != self.epoch && (waits || !self.since_asked.is_empty())
    }

    /// Whether members lack something up to the store's number of some time ago, though nothing told of a
    /// loss. What waits for its turn is none.
    pub(super) fn is_behind(&self, epoch: Epoch, seq: u64) -> bool {
        if self.loading.is_some() || !self.later.is_empty() || self.is_over(epoch) {
            return false;
        }
        let complete_to = self.streamed.unwrap_or_else(|| self.unsent.min(self.state.seq()));
        !self.numbered || epoch != self.epoch || complete_to < seq
    }

    /// The store is being asked.
    pub(super) fn asked(&mut self, load: u64) {
        (self.loading, self.since_asked) = (Some(load), SinceAsked::default());
    }

    /// The store could not be asked: whoever waited is told by the end of its reply.
    pub(super) fn load_failed(&mut self) {
        (self.loading, self.since_asked) = (None, SinceAsked::default());
        (self.waiting, self.admitting) = (HashMap::new(), Vec::new());
    }

    /// Takes the store's state over. Whoever waited for it becomes a member in the next pass; with
    /// `missed`, everyone gets what they missed.
    pub(super) fn load(&mut self, snapshot: Snapshot, missed: bool) {
        let same = self.epoch == snapshot.epoch;
        // A life of the counter that ended unseen took updates with it.
        let missed = missed || (!same && self.numbered);
        let before = if same { self.state.seq() } else { 0 };
        if !same {
            self.begin(snapshot.epoch, 0);
        }
        self.numbered = true;
        let seq = snapshot.seq;
        let behind = self.take_over(snapshot, before);
        (self.complete, self.loading, self.recent) = (true, None, None);
        self.admitting.extend(std::mem::take(&mut self.waiting).into_values());
        // Who followed before there were numbers may have missed what the store knows.
        let unnumbered = !same && !self.members.is_empty();
        if !missed && (behind < before || unnumbered) {
            self.unsent = self.unsent.min(behind);
        }
        if missed {
            let behind = behind.min(std::mem::replace(&mut self.unsent, u64::MAX));
            // Everybody gets what is missing up to here from the state.
            self.streamed = Some(self.streamed.map_or(seq, |streamed| streamed.max(seq)));
            self.all_missed(behind, if same { Reason::Gap } else { Reason::Failover });
        }
    }

    /// The store's states, with what came since it was asked put on top. Members are complete up to
    /// `before`, less what is news to this replica now: that is the answer.
    fn take_over(&mut self, snapshot: Snapshot, before: u64) -> u64 {
        let since = self.since_asked.take();
        let since = since.iter().filter(|(seq, _)| *seq > snapshot.seq);
        let touched: HashSet<&AssetId> =
            since.clone().filter_map(|(_, update)| update.asset.as_ref()).collect();
        let mut known = Vec::with_capacity(snapshot.assets.len());
        for asset in snapshot.assets {
            let now = self.state.get(asset.id.as_str()).cloned();
            known.push((asset.id.clone(), now.clone()));
            // A state put together here may lack what was missed, even under the same number.
            let is_ahead = now.is_some_and(|now| now.seq > snapshot.seq);
            if is_ahead && !touched.contains(&asset.id) {
                self.state.load(asset);
            } else {
                self.state.replace(asset);
            }
        }
        self.state.advance_to(snapshot.seq);
        for (seq, update) in since {
            self.state.apply_numbered(update, *seq);
        }
        let news = known.into_iter().filter_map(|(id, before)| {
            let now = self.state.get(id.as_str())?;
            let is_known = before.is_some_and(|before| before.seq == now.seq && before.data == now.data);
            (!is_known).then(|| now.seq.saturating_sub(1))
        });
        news.fold(before, u64::min)
    }

    fn all_missed(&mut self, behind: u64, reason: Reason) {
        for (key, member) in &mut self.members {
            match member.stage {
                Stage::Held | Stage::Opening => continue, // Their snapshots are still to be taken.
                _ if member.is_legacy() => {
                    member.seq = member.seq.min(behind);
                    member.stage = Stage::CatchingUp;
                }
                _ => member.stage = Stage::Resync(reason),
            }
            self.unsettled.insert(key);
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.memberships.dec_by(i64::try_from(self.members.len()).unwrap_or(i64::MAX));
        self.fleets.dec();
    }
}

/// A cursor's history and number.
pub(super) fn read_cursor(cursor: &str) -> Option<(Epoch, u64)> {
    let (epoch, seq) = cursor.rsplit_once('.')?;
    Some((epoch.parse().ok()?, seq.parse().ok()?))
}
