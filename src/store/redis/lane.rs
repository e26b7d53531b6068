//! One fleet's way into Redis: its waiting records, what is known of its assets, and one call at a time.
//! Pure: it makes commands and reads answers; the writer sends them.
//!
//! Invariant: a record leaves a lane only when a script has applied it, or when it would change nothing.
//! With one call in flight per fleet, records of a fleet are applied in the order of their arrival.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt};
use redis::{Cmd, Value};

use super::{
    cells::cell_of,
    keys::FleetKeys,
    merged::{Changed, Merged, Queued},
    script::{self, Answer, Counter},
    text::{self, Stored},
};
use crate::{
    fleet::{AssetId, AssetState, Epoch},
    region::CellId,
    store::TrackRule,
};

/// Updates of one call: Redis serves nobody else meanwhile, and a script takes some 5 µs for each.
const UPDATES_MAX: usize = 512;
/// Bytes of one call, unless a single record is larger.
const BYTES_MAX: usize = 1 << 20;
/// States compared or restored in one call.
const RESTORED_MAX: usize = 256;

/// What a lane needs to know of the writer's settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) legacy_publish: bool,
    pub(super) tracks: TrackRule,
}

/// What became of records, for the writer's books.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) fresh: u64,
    pub(super) stale: u64,
    pub(super) duplicate: u64,
    pub(super) conflicts: u64,
    pub(super) restored: u64,
    pub(super) bytes: usize,
    /// Why the message of a cell was not published.
    pub(super) refusal: Option<String>,
    /// The batch of each settled record.
    pub(super) batches: Vec<u64>,
}

/// A state, and the version of it that Redis holds.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) state: AssetState,
    pub(super) stored: Stored,
    /// Where the asset is in the version that Redis holds: whoever watches that cell must see it leave.
    pub(super) cell: Option<CellId>,
}

pub(super) struct Lane {
    keys: FleetKeys,
    /// Enters the fleet into the list of fleets.
    registration: Cmd,
    is_registered: bool,
    legacy_channel: String,
    queue: VecDeque<Queued>,
    in_flight: Option<InFlight>,
    known: HashMap<AssetId, Known>,
    /// The fleet's counter as this lane saw it last.
    counter: Counter,
    /// Assets to be compared with Redis, because it lost data.
    doubtful: Vec<AssetId>,
    /// Whether the counter has to be looked at, because the connection was lost.
    unsure: bool,
    /// Conflicts since the last success. Each halves the next batch, so that two writers of the same
    /// assets can not starve each other.
    conflicts: u32,
}

enum InFlight {
    Register,
    Look,
    Compare(Vec<AssetId>),
    Apply(Merged),
}

/// An answer that no script of ours gives.
#[derive(Debug, thiserror::Error)]
#[error("unexpected answer: {0}")]
pub(super) struct BadAnswer(pub(super) String);

impl Lane {
    pub(super) fn new(keys: FleetKeys, registration: Cmd, legacy_channel: String) -> Self {
        Self {
            keys,
            registration,
            is_registered: false,
            legacy_channel,
            queue: VecDeque::new(),
            in_flight: None,
            known: HashMap::new(),
            counter: Counter::default(),
            doubtful: Vec::new(),
            unsure: false,
            conflicts: 0,
        }
    }

    pub(super) fn push(&mut self, queued: Queued) {
        self.queue.push_back(queued);
    }

    pub(super) fn known_len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is lost by dropping the lane.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_none()
    }

    /// The next command to send, if no other is in flight. Records that would change nothing are settled
    /// on the way, without a call.
    pub(super) fn next(&mut self, rules: Rules, settled: &mut Settled) -> Option<Cmd> {
        if self.in_flight.is_some() {
            return None;
        }
        if self.unsure {
            self.unsure = false;
            self.in_flight = Some(InFlight::Look);
            return Some(script::look(&self.keys));
        }
        if !self.doubtful.is_empty() {
            let assets = self.doubtful.split_off(self.doubtful.len().saturating_sub(RESTORED_MAX));
            let command = script::compare(&self.keys, &assets);
            self.in_flight = Some(InFlight::Compare(assets));
            return Some(command);
        }
        if !self.is_registered && !self.queue.is_empty() {
            self.in_flight = Some(InFlight::Register);
            return Some(self.registration.clone());
        }
        while !self.queue.is_empty() {
            let merged = self.merge(rules.tracks);
            if merged.changed.is_empty() {
                merged.settle(settled);
                continue;
            }
            return Some(self.apply(merged, rules));
        }
        None
    }

    /// Takes over the answer to the command in flight.
    pub(super) fn answer(
        &mut self,
        value: Value,
        rules: Rules,
        settled: &mut Settled,
    ) -> Result<Option<Cmd>, BadAnswer> {
        match self.in_flight.take() {
            None => Err(BadAnswer("nothing was asked".to_owned())),
            Some(InFlight::Register) => {
                self.is_registered = true;
                Ok(None)
            }
            Some(InFlight::Look) => {
                let (epoch, seq) = script::read_look(value)?;
                if self.counter.epoch.is_some_and(|known| epoch != Some(known)) || seq < self.counter.seq {
                    self.counter_began_anew(epoch, seq);
                }
                Ok(None)
            }
            Some(InFlight::Compare(assets)) => {
                let texts = script::read_compare(value)?;
                for (id, text) in assets.iter().zip(texts) {
                    self.reconcile(id, text);
                }
                let merged = self.lost(&assets);
                Ok((!merged.changed.is_empty()).then(|| self.apply(merged, rules)))
            }
            Some(InFlight::Apply(merged)) => {
                match script::read_apply(value) {
                    Ok(answer) => self.applied(merged, answer, settled),
                    Err(bad) => {
                        self.give_back(merged);
                        return Err(bad);
                    }
                }
                Ok(None)
            }
        }
    }

    /// The command in flight has no answer: it may or may not have been executed. If it was, the states
    /// are of another version now, and the records will turn out to be applied.
    pub(super) fn failed(&mut self) {
        match self.in_flight.take() {
            None | Some(InFlight::Look | InFlight::Register) => {}
            Some(InFlight::Compare(assets)) => self.doubtful.extend(assets),
            Some(InFlight::Apply(merged)) => self.give_back(merged),
        }
    }

    /// The connection was lost; the server behind the next one may not have everything.
    pub(super) fn reconnected(&mut self) {
        self.unsure = !self.known.is_empty();
    }

    /// Forgets what is known, to bound memory. What is needed again comes back with a conflict.
    pub(super) fn forget(&mut self) {
        if self.in_flight.is_none() {
            self.known = HashMap::new();
            self.doubtful = Vec::new();
            self.counter = Counter::default();
        }
    }

    fn merge(&mut self, tracks: TrackRule) -> Merged {
        let updates_max = UPDATES_MAX >> self.conflicts.saturating_sub(1).min(9);
        let mut merged = Merged::default();
        while let Some(next) = self.queue.front() {
            let full = merged.records.len() >= updates_max || merged.bytes + next.bytes() > BYTES_MAX;
            if full && !merged.records.is_empty() {
                break;
            }
            if let Some(queued) = self.queue.pop_front() {
                merged.add(&self.known, queued, tracks);
            }
        }
        merged
    }

    fn apply(&mut self, merged: Merged, rules: Rules) -> Cmd {
        let legacy = (rules.legacy_publish && !merged.restores).then_some(self.legacy_channel.as_str());
        let command = script::apply(&self.keys, legacy, &self.counter, &merged, rules.tracks);
        self.in_flight = Some(InFlight::Apply(merged));
        command
    }

    fn applied(&mut self, mut merged: Merged, answer: Answer, settled: &mut Settled) {
        match answer {
            Answer::Applied { epoch, first_seq, refusal } => {
                self.conflicts = 0;
                if let Some(refusal) = refusal {
                    settled.refusal = Some(String::from_utf8_lossy(&refusal).into_owned());
                }
                self.counter =
                    Counter { epoch: Some(epoch), seq: first_seq + merged.numbers().saturating_sub(1) };
                for Changed { mut state, number, .. } in merged.changed.drain(..) {
                    state.seq = first_seq + number;
                    let (stored, cell) = (Stored::version_of(&state), cell_of(state.position));
                    self.known.insert(state.id.clone(), Known { state, stored, cell });
                }
                merged.settle(settled);
            }
            Answer::Conflict { states } => {
                settled.conflicts += 1;
                self.conflicts += 1;
                for (place, text) in states {
                    if let Some(changed) = merged.changed.get(place) {
                        let id = changed.state.id.clone();
                        self.reconcile(&id, text);
                    }
                }
                self.give_back(merged);
            }
            Answer::BeganAnew { epoch, seq } => {
                self.give_back(merged);
                self.counter_began_anew(epoch, seq);
            }
        }
    }

    fn give_back(&mut self, merged: Merged) {
        if merged.restores {
            self.doubtful.extend(merged.changed.into_iter().map(|changed| changed.state.id));
        }
        for queued in merged.records.into_iter().rev() {
            self.queue.push_front(queued);
        }
    }

    /// Redis lost data: it was emptied, or a replica that lagged behind took over. What this lane knows
    /// is compared with what is left, and what is newer here is written again.
    fn counter_began_anew(&mut self, epoch: Option<Epoch>, seq: u64) {
        // Under the same epoch the counter went back: then the next script has to make a new epoch, which
        // it does when it is told of the higher number.
        let went_back = epoch.is_none() || epoch == self.counter.epoch;
        let seq = if went_back { seq.max(self.counter.seq) } else { seq };
        self.counter = Counter { epoch: None, seq };
        self.is_registered = false;
        self.doubtful = self.known.keys().cloned().collect();
    }

    /// Takes over which version Redis holds, and its values unless they are older than the known ones.
    fn reconcile(&mut self, id: &AssetId, text: Option<bytes::Bytes>) {
        let Some(text) = text else {
            if let Some(known) = self.known.get_mut(id) {
                (known.stored, known.cell) = (Stored::Absent, None);
            }
            return;
        };
        let theirs = text::read(id.clone(), &text);
        let stored = theirs.as_ref().map_or(Stored::Broken(text), Stored::version_of);
        let cell = theirs.as_ref().and_then(|theirs| cell_of(theirs.position));
        match (self.known.get_mut(id), theirs) {
            (Some(known), Some(theirs)) if is_past(&known.state, &theirs) => {
                (known.stored, known.cell) = (stored, cell);
            }
            (Some(known), None) => (known.stored, known.cell) = (stored, cell),
            (_, Some(theirs)) => _ = self.known.insert(id.clone(), Known { state: theirs, stored, cell }),
            (None, None) => {
                let state = AssetState::unknown(id.clone());
                self.known.insert(id.clone(), Known { state, stored, cell });
            }
        }
    }

    /// The known states of `assets` that Redis does not hold.
    fn lost(&self, assets: &[AssetId]) -> Merged {
        let mut merged = Merged::default();
        merged.restores = true;
        for known in assets.iter().filter_map(|id| self.known.get(id)) {
            if known.stored != Stored::version_of(&known.state) {
                merged.restore(known);
            }
        }
        merged
    }
}

/// Whether `ours` is newer than `theirs`, or as new and from all the records that made `theirs`.
fn is_past(ours: &AssetState, theirs: &AssetState) -> bool {
    let includes = || {
        theirs.origins.iter().all(|theirs| {
            ours.origins.iter().any(|ours| ours.log == theirs.log && ours.offset >= theirs.offset)
        })
    };
    ours.ts_ms > theirs.ts_ms || (ours.ts_ms == theirs.ts_ms && ours.origins != theirs.origins && includes())
}
