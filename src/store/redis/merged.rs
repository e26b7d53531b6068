//! A batch of records of one fleet merged into the states that they lead to.
//! Invariant: its updates are numbered from 0 in the order of the records, and each changed asset has the
//! number of its last one.

use bytes::Bytes;
use foldhash::HashMap;

use super::{
    lane::{Known, Settled},
    text::Stored,
};
use crate::{
    fleet::{AssetId, AssetState, Record, Unchanged, Update},
    region::CellId,
    store::{TrackPoint, TrackRule},
};

/// A record that waits for its turn.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) record: Record,
    pub(super) batch: u64,
    pub(super) received_ms: i64,
}

impl Queued {
    pub(super) fn bytes(&self) -> usize {
        self.record.update.raw.len()
    }
}

/// The state that an asset has after the batch.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) state: AssetState,
    /// The version that the state was merged into.
    pub(super) base: Stored,
    /// Place of its last update in the batch.
    pub(super) number: u64,
    pub(super) moved: bool,
    /// Where the asset was in that version.
    pub(super) base_cell: Option<CellId>,
}

#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) records: Vec<Queued>,
    pub(super) changed: Vec<Changed>,
    /// What is published, in the order of its numbers.
    pub(super) updates: Vec<Update>,
    pub(super) points: Vec<(AssetId, TrackPoint)>,
    pub(super) bytes: usize,
    /// States that Redis has lost are written again: no records, and nothing for the legacy channel,
    /// whose readers had it all.
    pub(super) restores: bool,
    places: HashMap<AssetId, usize>,
    stale: u64,
    duplicate: u64,
}

impl Merged {
    pub(super) fn numbers(&self) -> u64 {
        self.updates.len() as u64
    }

    /// When the oldest of the records was received.
    pub(super) fn received_ms(&self) -> i64 {
        self.records.iter().map(|queued| queued.received_ms).min().unwrap_or_default()
    }

    pub(super) fn add(&mut self, known: &HashMap<AssetId, Known>, queued: Queued, tracks: TrackRule) {
        self.bytes += queued.bytes();
        self.merge(known, &queued.record, tracks);
        self.records.push(queued);
    }

    fn merge(&mut self, known: &HashMap<AssetId, Known>, record: &Record, tracks: TrackRule) {
        let update = &record.update;
        let Some(asset) = &update.asset else {
            self.stale += 1; // Sources refuse records without an asset; without one there is no state.
            return;
        };
        let place = self.places.get(asset).copied();
        let known = known.get(asset);
        let before =
            place.map(|place| &self.changed[place].state).or_else(|| known.map(|known| &known.state));
        let state = match AssetState::after(before, asset, update, record.origin.as_ref()) {
            Ok(state) => state,
            Err(Unchanged::Stale) => return self.stale += 1,
            Err(Unchanged::Duplicate) => return self.duplicate += 1,
        };
        if let Some(position) = update.position
            && tracks.adds_point(before.map(|before| before.ts_ms), update.ts_ms)
        {
            self.points.push((asset.clone(), TrackPoint { ts_ms: update.ts_ms, position }));
        }
        let number = self.numbers();
        let moved = update.position.is_some();
        self.updates.push(update.clone());
        if let Some(place) = place {
            let changed = &mut self.changed[place];
            (changed.state, changed.number) = (state, number);
            changed.moved |= moved;
        } else {
            self.places.insert(asset.clone(), self.changed.len());
            let base = known.map_or(Stored::Absent, |known| known.stored.clone());
            let base_cell = known.and_then(|known| known.cell);
            self.changed.push(Changed { state, base, number, moved, base_cell });
        }
    }

    /// Adds a state that Redis has lost. What is published for it is the whole state, since readers may
    /// have lost it too.
    pub(super) fn restore(&mut self, known: &Known) {
        let state = known.state.clone();
        let number = self.numbers();
        self.updates.push(Update {
            asset: Some(state.id.clone()),
            ts_ms: state.ts_ms,
            position: state.position,
            raw: state.data.clone(),
        });
        let moved = state.position.is_some();
        let (base, base_cell) = (known.stored.clone(), known.cell);
        self.changed.push(Changed { state, base, number, moved, base_cell });
    }

    /// Everything here is done with: books it.
    pub(super) fn settle(self, settled: &mut Settled) {
        if self.restores {
            settled.restored += self.numbers();
        } else {
            settled.fresh += self.numbers();
        }
        settled.stale += self.stale;
        settled.duplicate += self.duplicate;
        settled.bytes += self.bytes;
        settled.batches.extend(self.records.iter().map(|queued| queued.batch));
    }
}

impl AssetState {
    /// Stands for text that could not be read: older than everything, so that any record replaces it.
    pub(super) fn unknown(id: AssetId) -> Self {
        Self {
            id,
            ts_ms: i64::MIN,
            position: None,
            origins: Default::default(),
            seq: 0,
            data: Bytes::new(),
            raw: Bytes::new(),
        }
    }
}
