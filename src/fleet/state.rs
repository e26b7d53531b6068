//! The newest state of every asset of one fleet. Pure: no clock, no I/O.
//!
//! Invariant: an asset never goes back in time. A message whose `ts` is older than the asset's changes
//! nothing; the same message again changes nothing; every change takes the next sequence number, and
//! `changed_since` lists assets by the number of their last change.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use smallvec::SmallVec;

use super::{AssetId, Origin, Position, Update, merge::merge};

/// How many logs are remembered that wrote about an asset at the very same event time.
const ORIGINS_MAX: usize = 8;

/// The newest known values of one asset.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetState {
    /// Which asset.
    pub id: AssetId,
    /// Event time of the newest message, epoch milliseconds.
    pub ts_ms: i64,
    /// The newest known position; it outlives messages that carry none.
    pub position: Option<Position>,
    /// The records of exactly this `ts_ms` that were applied: the newest of each log.
    pub origins: SmallVec<[Origin; 1]>,
    /// Fleet sequence number of the last change.
    pub seq: u64,
    /// The source's own fields as one JSON object, merged over all messages.
    pub data: Bytes,
    /// The newest message as it was published.
    pub raw: Bytes,
}

/// Why an update changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchanged {
    /// The asset has newer state already.
    Stale,
    /// The very same message was applied before.
    Duplicate,
}

impl AssetState {
    /// The state after `update` of `asset`, whose state was `known`. Its `seq` is still the old one.
    ///
    /// An older event time never wins. At the same event time a record wins if its log has not been
    /// applied up to it, so redelivery changes nothing and two logs of one asset do not hide each other;
    /// a message from no log wins if it is not the same text.
    ///
    /// # Errors
    /// The update changes nothing.
    pub fn after(
        known: Option<&Self>,
        asset: &AssetId,
        update: &Update,
        origin: Option<&Origin>,
    ) -> Result<Self, Unchanged> {
        let origins = match known {
            Some(known) if update.ts_ms < known.ts_ms => return Err(Unchanged::Stale),
            Some(known) if update.ts_ms == known.ts_ms => known.origins_with(update, origin)?,
            _ => origin.cloned().into_iter().collect(),
        };
        Ok(Self {
            id: asset.clone(),
            ts_ms: update.ts_ms,
            position: update.position.or_else(|| known.and_then(|known| known.position)),
            origins,
            seq: known.map_or(0, |known| known.seq),
            data: known.map_or_else(|| update.raw.clone(), |known| merge(&known.data, &update.raw)),
            raw: update.raw.clone(),
        })
    }

    fn bytes(&self) -> usize {
        // A complete message is its own state: then both are the same bytes.
        let is_shared = self.data.as_ptr() == self.raw.as_ptr();
        let text = self.data.len() + if is_shared { 0 } else { self.raw.len() };
        // Two counters stand before what an `Arc` holds.
        size_of::<Self>() + 2 * size_of::<usize>() + self.id.as_str().len() + text
    }

    fn origins_with(
        &self,
        update: &Update,
        origin: Option<&Origin>,
    ) -> Result<SmallVec<[Origin; 1]>, Unchanged> {
        let mut origins = self.origins.clone();
        match origin {
            None if update.raw == self.raw => return Err(Unchanged::Duplicate),
            None => {}
            Some(origin) => match origins.iter_mut().find(|known| known.log == origin.log) {
                Some(known) if origin.offset <= known.offset => return Err(Unchanged::Duplicate),
                Some(known) => known.offset = origin.offset,
                None => {
                    if origins.len() == ORIGINS_MAX {
                        origins.remove(0);
                    }
                    origins.push(origin.clone());
                }
            },
        }
        Ok(origins)
    }
}

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is the newest state now, under this sequence number.
    Fresh(u64),
    /// The asset has newer state already.
    Stale,
    /// The very same message was applied before.
    Duplicate,
}

/// The newest state of one fleet.
#[derive(Debug, Default)]
pub struct FleetState {
    seq: u64,
    assets: HashMap<AssetId, Arc<AssetState>>,
    /// Sequence number of the last change → asset.
    order: BTreeMap<u64, AssetId>,
}

impl FleetState {
    /// An empty fleet whose history starts after `seq`.
    #[must_use]
    pub fn starting_after(seq: u64) -> Self {
        Self { seq, assets: HashMap::new(), order: BTreeMap::new() }
    }

    /// Number of the newest change.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How many assets are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.assets.len()
    }

    /// Whether no asset is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.assets.is_empty()
    }

    /// About how many bytes this state holds, for the accounts of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // Maps hold spare places; a tree node is seldom full.
        let tables = self.assets.capacity() * (size_of::<AssetId>() + size_of::<usize>() + 1)
            + self.order.len() * (size_of::<u64>() + size_of::<AssetId>()) * 3 / 2;
        tables + self.assets.values().map(|asset| asset.bytes()).sum::<usize>()
    }

    /// The state of one asset.
    #[must_use]
    pub fn get(&self, asset: &str) -> Option<&Arc<AssetState>> {
        self.assets.get(asset)
    }

    /// Applies a message under the next sequence number. Messages without an asset are no state:
    /// they take a number and change nothing else.
    pub fn apply(&mut self, update: &Update) -> Applied {
        self.apply_from(update, None)
    }

    /// Applies a message that comes from a log, under the next sequence number.
    pub fn apply_from(&mut self, update: &Update, origin: Option<&Origin>) -> Applied {
        if let Some(asset) = &update.asset {
            let known = self.assets.get(asset).map(Arc::as_ref);
            match AssetState::after(known, asset, update, origin) {
                Ok(state) => self.insert(Arc::new(AssetState { seq: self.seq + 1, ..state })),
                Err(Unchanged::Stale) => return Applied::Stale,
                Err(Unchanged::Duplicate) => return Applied::Duplicate,
            }
        }
        self.seq += 1;
        Applied::Fresh(self.seq)
    }

    /// Applies a message that another replica numbered `seq`; the caller has checked for gaps.
    pub fn apply_numbered(&mut self, update: &Update, seq: u64) {
        self.seq = self.seq.max(seq);
        if let Some(asset) = &update.asset
            && self.assets.get(asset).is_none_or(|known| known.seq < seq)
        {
            self.put(asset, update, seq);
        }
    }

    /// Takes over what a store knows of one asset. Where this replica has newer state, that may have been
    /// put together from partial updates only: then the store's fields fill what it lacks.
    pub fn load(&mut self, state: Arc<AssetState>) {
        self.seq = self.seq.max(state.seq);
        let Some(known) = self.assets.get(&state.id).filter(|known| known.seq >= state.seq) else {
            return self.insert(state);
        };
        let data = merge(&state.data, &known.data);
        let position = known.position.or(state.position);
        if data != known.data || position != known.position {
            let filled = AssetState { data, position, ..(**known).clone() };
            self.insert(Arc::new(filled));
        }
    }

    /// Takes over what a store knows of one asset, whatever is known here: the caller has what came after.
    pub fn replace(&mut self, state: Arc<AssetState>) {
        self.seq = self.seq.max(state.seq);
        self.insert(state);
    }

    /// Advances the counter without a change, for numbers that the store used and this replica need not see.
    pub fn advance_to(&mut self, seq: u64) {
        self.seq = self.seq.max(seq);
    }

    /// Assets that changed after `seq`, in the order of their last change.
    pub fn changed_since(&self, seq: u64) -> impl Iterator<Item = &Arc<AssetState>> {
        self.order.range(seq.saturating_add(1)..).filter_map(|(_, id)| self.assets.get(id))
    }

    fn put(&mut self, asset: &AssetId, update: &Update, seq: u64) {
        let known = self.assets.get(asset);
        let state = AssetState {
            id: asset.clone(),
            ts_ms: update.ts_ms,
            position: update.position.or_else(|| known.and_then(|known| known.position)),
            origins: SmallVec::new(),
            seq,
            data: known.map_or_else(|| update.raw.clone(), |known| merge(&known.data, &update.raw)),
            raw: update.raw.clone(),
        };
        self.insert(Arc::new(state));
    }

    fn insert(&mut self, state: Arc<AssetState>) {
        let (id, seq) = (state.id.clone(), state.seq);
        if let Some(old) = self.assets.insert(id.clone(), state) {
            self.order.remove(&old.seq);
        }
        self.order.insert(seq, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(asset: &str, ts_ms: i64, raw: &str) -> Update {
        Update {
            asset: Some(AssetId::parse(asset).unwrap()),
            ts_ms,
            position: None,
            raw: Bytes::copy_from_slice(raw.as_bytes()),
        }
    }

    #[test]
    fn an_older_message_never_wins_and_the_same_one_changes_nothing() {
        let mut fleet = FleetState::default();
        assert_eq!(fleet.apply(&update("a", 10, r#"{"t":1}"#)), Applied::Fresh(1));
        assert_eq!(fleet.apply(&update("a", 9, r#"{"t":0}"#)), Applied::Stale);
        assert_eq!(fleet.apply(&update("a", 10, r#"{"t":1}"#)), Applied::Duplicate);
        assert_eq!(fleet.apply(&update("a", 10, r#"{"t":2}"#)), Applied::Fresh(2));
        assert_eq!(fleet.get("a").unwrap().data, r#"{"t":2}"#);
        assert_eq!(fleet.seq(), 2);
    }

    #[test]
    fn a_redelivered_record_changes_nothing_and_logs_do_not_hide_each_other() {
        let mut fleet = FleetState::default();
        let mut apply = |ts, log: &str, offset, raw| {
            fleet.apply_from(&update("a", ts, raw), Some(&Origin { log: log.into(), offset }))
        };
        assert_eq!(apply(10, "t/0", 5, r#"{"t":1}"#), Applied::Fresh(1));
        assert_eq!(apply(10, "t/0", 6, r#"{"t":1}"#), Applied::Fresh(2), "the same text, another record");
        assert_eq!(apply(10, "t/0", 5, r#"{"t":1}"#), Applied::Duplicate);
        assert_eq!(apply(10, "t/0", 6, r#"{"t":1}"#), Applied::Duplicate);
        assert_eq!(apply(10, "u/0", 2, r#"{"u":1}"#), Applied::Fresh(3), "another topic at the same time");
        assert_eq!(apply(10, "t/0", 6, r#"{"t":1}"#), Applied::Duplicate);
        assert_eq!(apply(10, "u/0", 2, r#"{"u":1}"#), Applied::Duplicate);
        assert_eq!(apply(11, "t/0", 0, r#"{"t":2}"#), Applied::Fresh(4), "a topic that was made anew");
        assert_eq!(apply(10, "u/0", 3, r#"{"u":2}"#), Applied::Stale);
        assert_eq!(fleet.get("a").unwrap().data, r#"{"t":2,"u":1}"#);
    }

    #[test]
    fn a_partial_update_keeps_the_other_fields() {
        let mut fleet = FleetState::default();
        fleet.apply(&update("a", 1, r#"{"temp":4,"fuel":{"l":80,"pct":50}}"#));
        fleet.apply(&update("a", 2, r#"{"fuel":{"l":79}}"#));
        assert_eq!(fleet.get("a").unwrap().data, r#"{"temp":4,"fuel":{"l":79,"pct":50}}"#);
        assert_eq!(fleet.get("a").unwrap().raw, r#"{"fuel":{"l":79}}"#);
    }

    #[test]
    fn a_loaded_state_fills_what_partial_updates_lack() {
        let mut store = FleetState::default();
        store.apply(&update("a", 1, r#"{"temp":4,"fuel":80}"#));
        let mut replica = FleetState::starting_after(1);
        replica.apply_numbered(&update("a", 2, r#"{"fuel":79}"#), 2);
        replica.load(store.get("a").unwrap().clone());
        assert_eq!(replica.get("a").unwrap().data, r#"{"temp":4,"fuel":79}"#);
        assert_eq!((replica.get("a").unwrap().seq, replica.seq()), (2, 2));
    }

    #[test]
    fn changes_are_listed_by_their_last_number() {
        let mut fleet = FleetState::default();
        for (asset, ts) in [("a", 1), ("b", 1), ("a", 2)] {
            fleet.apply(&update(asset, ts, "{}"));
        }
        let changed = |seq| fleet.changed_since(seq).map(|state| state.id.to_string()).collect::<Vec<_>>();
        assert_eq!(changed(0), ["b", "a"]);
        assert_eq!(changed(2), ["a"]);
        assert!(changed(3).is_empty());
    }
}
