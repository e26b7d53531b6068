//! State in this process: for one replica alone, with no service beside it.
//!
//! Invariant: a fleet's numbers and states move together under one lock, which is held for one batch of
//! one fleet and never across an await.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use foldhash::{HashMap, HashMapExt};

use super::{Applied, Snapshot, TrackPoint, TrackRule};
use crate::fleet::{self, AssetId, AssetState, Epoch, FleetBatch, FleetId, FleetState, Record};

/// The newest state of every asset, in memory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MemoryStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    epoch: Epoch,
    tracks: TrackRule,
    fleets: RwLock<Fleets>,
}

#[derive(Debug, Default)]
struct Fleets {
    by_id: HashMap<FleetId, Arc<Fleet>>,
    /// Size at which fleets that hold nothing and that nobody holds are dropped, so that viewers who
    /// name fleets that do not exist can not fill the memory.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Fleet {
    state: Arc<Mutex<FleetState>>,
    tracks: Mutex<HashMap<AssetId, VecDeque<TrackPoint>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(tracks: TrackRule) -> Self {
        let fleets = RwLock::new(Fleets { by_id: HashMap::new(), sweep_at: 64 });
        Self(Arc::new(Shared { epoch: Epoch::random(), tracks, fleets }))
    }

    /// The life of all counters of this store: it ends with the process.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// The state of a fleet, shared: what the store applies shows in it.
    #[must_use]
    pub fn fleet(&self, fleet: &FleetId) -> Arc<Mutex<FleetState>> {
        self.entry(fleet).state.clone()
    }

    /// Applies records in their order.
    #[must_use]
    pub fn apply(&self, records: Vec<Record>, received_ms: i64) -> Applied {
        let mut groups: Vec<(FleetId, Vec<Record>)> = Vec::new();
        let mut places = HashMap::new();
        for record in records {
            let place = *places.entry(record.fleet.clone()).or_insert(groups.len());
            if place == groups.len() {
                groups.push((record.fleet.clone(), Vec::new()));
            }
            groups[place].1.push(record);
        }
        let mut applied = Applied::default();
        for (fleet, records) in groups {
            self.apply_to(fleet, records, received_ms, &mut applied);
        }
        applied
    }

    fn apply_to(&self, id: FleetId, records: Vec<Record>, received_ms: i64, applied: &mut Applied) {
        let fleet = self.entry(&id);
        let mut state = fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut updates = Vec::with_capacity(records.len());
        let first_seq = state.seq() + 1;
        for Record { update, origin, .. } in records {
            let known_ts_ms =
                update.asset.as_ref().and_then(|id| state.get(id.as_str())).map(|known| known.ts_ms);
            match state.apply_from(&update, origin.as_ref()) {
                fleet::Applied::Fresh(_) => {
                    if let (Some(asset), Some(position)) = (&update.asset, update.position)
                        && self.0.tracks.adds_point(known_ts_ms, update.ts_ms)
                    {
                        fleet.add_point(asset, TrackPoint { ts_ms: update.ts_ms, position }, self.0.tracks);
                    }
                    updates.push(update);
                }
                fleet::Applied::Stale => applied.stale_count += 1,
                fleet::Applied::Duplicate => applied.duplicate_count += 1,
            }
        }
        drop(state);
        if !updates.is_empty() {
            applied.fresh_count += updates.len() as u64;
            applied.fresh.push(FleetBatch { fleet: id, first_seq: Some(first_seq), updates, received_ms });
        }
    }

    /// About how many bytes the states hold, for the accounts of memory.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        // One fleet at a time, so that nobody waits for the sum.
        let fleets = self.all().into_iter();
        fleets.map(|(_, fleet)| fleet.state.lock().unwrap_or_else(PoisonError::into_inner).bytes()).sum()
    }

    /// About how many bytes the tracks hold.
    #[must_use]
    pub fn track_bytes(&self) -> usize {
        let bytes = |(_, fleet): (FleetId, Arc<Fleet>)| {
            let tracks = fleet.tracks.lock().unwrap_or_else(PoisonError::into_inner);
            let points = tracks.values().map(VecDeque::capacity).sum::<usize>() * size_of::<TrackPoint>();
            points + tracks.capacity() * size_of::<(AssetId, VecDeque<TrackPoint>)>()
        };
        self.all().into_iter().map(bytes).sum()
    }

    /// The newest states of the assets that a batch is about.
    #[must_use]
    pub fn states(&self, batch: &FleetBatch) -> Vec<Arc<AssetState>> {
        let Some(fleet) = self.known(&batch.fleet) else { return Vec::new() };
        let state = fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
        let assets = batch.updates.iter().filter_map(|update| update.asset.as_ref());
        assets.filter_map(|asset| state.get(asset.as_str()).cloned()).collect()
    }

    /// The newest states of all assets for which `wanted` holds.
    #[must_use]
    pub fn select(&self, wanted: impl Fn(&AssetState) -> bool) -> Vec<(FleetId, Vec<Arc<AssetState>>)> {
        let select = |(id, fleet): (FleetId, Arc<Fleet>)| {
            let state = fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
            let states: Vec<_> = state.changed_since(0).filter(|state| wanted(state)).cloned().collect();
            (id, states)
        };
        self.all().into_iter().map(select).filter(|(_, states)| !states.is_empty()).collect()
    }

    pub(super) fn fleets(&self) -> Vec<(FleetId, usize)> {
        let size = |(id, fleet): (FleetId, Arc<Fleet>)| {
            let size = fleet.state.lock().unwrap_or_else(PoisonError::into_inner).len();
            (id, size)
        };
        self.all().into_iter().map(size).filter(|(_, size)| *size > 0).collect()
    }

    pub(super) fn fleets_of(&self, asset: &AssetId) -> Vec<FleetId> {
        let has = |fleet: &Fleet| {
            fleet.state.lock().unwrap_or_else(PoisonError::into_inner).get(asset.as_str()).is_some()
        };
        self.all().into_iter().filter(|(_, fleet)| has(fleet)).map(|(id, _)| id).collect()
    }

    fn all(&self) -> Vec<(FleetId, Arc<Fleet>)> {
        let fleets = self.0.fleets.read().unwrap_or_else(PoisonError::into_inner);
        fleets.by_id.iter().map(|(id, fleet)| (id.clone(), fleet.clone())).collect()
    }

    pub(super) fn head(&self, fleet: &FleetId) -> Option<(Epoch, u64)> {
        let fleet = self.known(fleet)?;
        let seq = fleet.state.lock().unwrap_or_else(PoisonError::into_inner).seq();
        (seq > 0).then(|| (self.epoch(), seq))
    }

    pub(super) fn snapshot(&self, fleet: &FleetId) -> Snapshot {
        self.since(fleet, 0)
    }

    pub(super) fn changed_since(&self, fleet: &FleetId, epoch: Epoch, seq: u64) -> Option<Snapshot> {
        let snapshot = self.since(fleet, seq);
        (epoch == snapshot.epoch && seq <= snapshot.seq).then_some(snapshot)
    }

    pub(super) fn history(
        &self,
        fleet: &FleetId,
        asset: &AssetId,
        from_ts_ms: i64,
        limit: usize,
    ) -> Vec<TrackPoint> {
        let Some(fleet) = self.known(fleet) else { return Vec::new() };
        let tracks = fleet.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let points = tracks.get(asset).into_iter().flatten().filter(|point| point.ts_ms >= from_ts_ms);
        let mut newest: Vec<_> = points.rev().take(limit).copied().collect();
        newest.reverse();
        newest
    }

    fn since(&self, fleet: &FleetId, seq: u64) -> Snapshot {
        let epoch = self.epoch();
        let Some(fleet) = self.known(fleet) else { return Snapshot { epoch, seq: 0, assets: Vec::new() } };
        let state = fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot { epoch, seq: state.seq(), assets: state.changed_since(seq).cloned().collect() }
    }

    fn known(&self, fleet: &FleetId) -> Option<Arc<Fleet>> {
        self.0.fleets.read().unwrap_or_else(PoisonError::into_inner).by_id.get(fleet).cloned()
    }

    fn entry(&self, id: &FleetId) -> Arc<Fleet> {
        if let Some(fleet) = self.known(id) {
            return fleet;
        }
        let mut fleets = self.0.fleets.write().unwrap_or_else(PoisonError::into_inner);
        if fleets.by_id.len() >= fleets.sweep_at {
            fleets.by_id.retain(|_, fleet| Arc::strong_count(fleet) > 1 || fleet.is_wanted());
            fleets.sweep_at = fleets.by_id.len().max(32) * 2;
        }
        fleets.by_id.entry(id.clone()).or_default().clone()
    }
}

impl Fleet {
    fn is_wanted(&self) -> bool {
        let held = Arc::strong_count(&self.state) > 1;
        held || self.state.lock().unwrap_or_else(PoisonError::into_inner).seq() > 0
    }

    fn add_point(&self, asset: &AssetId, point: TrackPoint, rule: TrackRule) {
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let track = tracks.entry(asset.clone()).or_default();
        if track.len() >= rule.points_max {
            track.pop_front();
        }
        track.push_back(point);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::fleet::FieldMap;

    fn record(fleet: &str, asset: &str, ts: i64) -> Record {
        let text =
            format!(r#"{{"fleetId":"{fleet}","assetId":"{asset}","ts":{ts},"lat":1,"lon":{}}}"#, ts % 180);
        FieldMap::default().parse(Bytes::from(text)).unwrap()
    }

    fn id(fleet: &str) -> FleetId {
        FleetId::parse(fleet).unwrap()
    }

    const T0: i64 = 1_790_000_000_000;

    #[test]
    fn fresh_updates_come_back_by_fleet_with_their_numbers() {
        let store = MemoryStore::new(TrackRule::default());
        let records = [("f", "a", 1), ("g", "x", 1), ("f", "b", 5), ("f", "b", 4), ("f", "a", 2)];
        let applied = store.apply(records.map(|(f, a, ts)| record(f, a, T0 + ts)).into(), 7);
        let seen: Vec<_> = applied
            .fresh
            .iter()
            .map(|batch| (batch.fleet.as_str(), batch.first_seq, batch.updates.len(), batch.received_ms))
            .collect();
        assert_eq!(seen, [("f", Some(1), 3, 7), ("g", Some(1), 1, 7)]);
        assert_eq!((applied.fresh_count, applied.stale_count, applied.duplicate_count), (4, 1, 0));

        let snapshot = store.snapshot(&id("f"));
        assert_eq!(snapshot.assets.iter().map(|state| state.seq).collect::<Vec<_>>(), [2, 3]);
        let since = store.changed_since(&id("f"), snapshot.epoch, 2).unwrap();
        assert_eq!(since.assets.iter().map(|state| state.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(store.changed_since(&id("f"), snapshot.epoch, 4).is_none(), "never been that far");
        assert!(store.changed_since(&id("f"), Epoch::random(), 2).is_none(), "another life");
    }

    #[test]
    fn tracks_are_thinned_and_bounded() {
        let store = MemoryStore::new(TrackRule { points_max: 3, interval_ms: 1000 });
        let records = (0..50).map(|n| record("f", "a", T0 + n * 100)).collect();
        assert_eq!(store.apply(records, 0).fresh_count, 50);
        let asset = AssetId::parse("a").unwrap();
        let track = |from, limit| -> Vec<i64> {
            store.history(&id("f"), &asset, from, limit).iter().map(|point| point.ts_ms - T0).collect()
        };
        assert_eq!(track(0, 10), [2000, 3000, 4000]);
        assert_eq!(track(0, 2), [3000, 4000]);
        assert_eq!(track(T0 + 3500, 10), [4000]);
    }

    #[test]
    fn fleets_that_were_only_asked_for_do_not_stay() {
        let store = MemoryStore::new(TrackRule::default());
        let held = store.fleet(&id("held"));
        for n in 0..10_000 {
            drop(store.fleet(&id(&format!("no such fleet {n}"))));
        }
        assert!(store.0.fleets.read().unwrap().by_id.len() <= 64);
        assert!(Arc::ptr_eq(&held, &store.fleet(&id("held"))));
    }
}
