//! The newest state of every asset of one fleet. Pure: no clock, no I/O.
//!
//! Invariant: an asset never goes back in time. A message whose `ts` is older than the asset's changes
//! nothing; the same message again changes nothing; every change takes the next sequence number, and
//! `changed_since` lists assets by the number of their last change.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use serde_json::{Map, Value};

use super::{AssetId, Position, Update};

/// The newest known values of one asset.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetState {
    /// Which asset.
    pub id: AssetId,
    /// Event time of the newest message, epoch milliseconds.
    pub ts_ms: i64,
    /// The newest known position; it outlives messages that carry none.
    pub position: Option<Position>,
    /// Fleet sequence number of the last change.
    pub seq: u64,
    /// The source's own fields as one JSON object, merged over all messages.
    pub data: Bytes,
    /// The newest message as it was published.
    pub raw: Bytes,
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

    /// The state of one asset.
    #[must_use]
    pub fn get(&self, asset: &str) -> Option<&Arc<AssetState>> {
        self.assets.get(asset)
    }

    /// Applies a message under the next sequence number. Messages without an asset are no state:
    /// they take a number and change nothing else.
    pub fn apply(&mut self, update: &Update) -> Applied {
        let Some(asset) = &update.asset else {
            self.seq += 1;
            return Applied::Fresh(self.seq);
        };
        if let Some(known) = self.assets.get(asset) {
            if update.ts_ms < known.ts_ms {
                return Applied::Stale;
            }
            if update.ts_ms == known.ts_ms && update.raw == known.raw {
                return Applied::Duplicate;
            }
        }
        self.seq += 1;
        self.put(asset, update, self.seq);
        Applied::Fresh(self.seq)
    }

    /// Applies a message that another replica numbered `seq`; the caller has checked for gaps.
    pub fn apply_numbered(&mut self, update: &Update, seq: u64) {
        self.seq = self.seq.max(seq);
        if let Some(asset) = &update.asset {
            self.put(asset, update, seq);
        }
    }

    /// Takes over what a store knows of one asset, if it is newer than what is here.
    pub fn load(&mut self, state: AssetState) {
        self.seq = self.seq.max(state.seq);
        if self.assets.get(&state.id).is_some_and(|known| known.seq >= state.seq) {
            return;
        }
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
            seq,
            data: known.map_or_else(|| update.raw.clone(), |known| merge(&known.data, &update.raw)),
            raw: update.raw.clone(),
        };
        self.insert(state);
    }

    fn insert(&mut self, state: AssetState) {
        let (id, seq) = (state.id.clone(), state.seq);
        if let Some(old) = self.assets.insert(id.clone(), Arc::new(state)) {
            self.order.remove(&old.seq);
        }
        self.order.insert(seq, id);
    }
}

/// `newer` over `older`: objects are merged member by member at every depth, everything else is
/// replaced. Text that is no JSON object replaces the whole.
fn merge(older: &Bytes, newer: &Bytes) -> Bytes {
    let (Ok(mut base), Ok(change)) = (
        serde_json::from_slice::<Map<String, Value>>(older),
        serde_json::from_slice::<Map<String, Value>>(newer),
    ) else {
        return newer.clone();
    };
    if base.keys().all(|key| change.get(key).is_some_and(|value| !value.is_object())) {
        return newer.clone(); // A complete message: keep the source's own bytes.
    }
    merge_into(&mut base, change);
    serde_json::to_vec(&base).map_or_else(|_| newer.clone(), Bytes::from)
}

fn merge_into(base: &mut Map<String, Value>, change: Map<String, Value>) {
    for (key, value) in change {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(base)), Value::Object(change)) => merge_into(base, change),
            (_, value) => {
                base.insert(key, value);
            }
        }
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
    fn a_partial_update_keeps_the_other_fields() {
        let mut fleet = FleetState::default();
        fleet.apply(&update("a", 1, r#"{"temp":4,"fuel":{"l":80,"pct":50}}"#));
        fleet.apply(&update("a", 2, r#"{"fuel":{"l":79}}"#));
        assert_eq!(fleet.get("a").unwrap().data, r#"{"temp":4,"fuel":{"l":79,"pct":50}}"#);
        assert_eq!(fleet.get("a").unwrap().raw, r#"{"fuel":{"l":79}}"#);
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
