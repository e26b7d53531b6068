//! The newest state of every asset that this replica's regions may show, under small keys.
//!
//! Invariant: a key means the same asset for as long as the asset is known or any view refers to it, so
//! a view can still name an asset that is gone. An older message never replaces a newer one.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap;
use slab::Slab;

use super::AssetKey;
use crate::fleet::{AssetId, AssetState, FleetId, encode};

#[derive(Debug)]
struct Known {
    fleet: FleetId,
    state: Arc<AssetState>,
    /// The state as JSON, made when the first view tells it.
    text: Option<Bytes>,
    /// How many views refer to the key.
    views: u32,
    gone: bool,
}

/// Assets by key and by name.
#[derive(Debug, Default)]
pub(super) struct KnownAssets {
    assets: Slab<Known>,
    keys: HashMap<FleetId, HashMap<Box<str>, AssetKey>>,
}

impl KnownAssets {
    /// Takes a state over; `None` if it is known already, or a newer one is, or was when the asset was forgotten
    /// and some viewer may still show it.
    pub(super) fn put(&mut self, fleet: &FleetId, state: &Arc<AssetState>) -> Option<AssetKey> {
        if let Some(key) = self.key(fleet, state.id.as_str()) {
            let known = &mut self.assets[key.0 as usize];
            let newer = (state.ts_ms, state.seq).cmp(&(known.state.ts_ms, known.state.seq));
            let is_same = || known.state.position == state.position && known.state.data == state.data;
            if newer.is_lt() || newer.is_eq() && !known.gone && is_same() {
                return None;
            }
            known.state = Arc::clone(state);
            known.text = None;
            known.gone = false;
            return Some(key);
        }
        let known =
            Known { fleet: fleet.clone(), state: Arc::clone(state), text: None, views: 0, gone: false };
        #[expect(clippy::cast_possible_truncation, reason = "2^32 assets do not fit in memory")]
        let key = AssetKey(self.assets.insert(known) as u32);
        self.keys.entry(fleet.clone()).or_default().insert(state.id.as_str().into(), key);
        Some(key)
    }

    pub(super) fn key(&self, fleet: &FleetId, asset: &str) -> Option<AssetKey> {
        self.keys.get(fleet)?.get(asset).copied()
    }

    /// All keys of a fleet.
    pub(super) fn of_fleet(&self, fleet: &FleetId) -> Vec<AssetKey> {
        self.keys.get(fleet).into_iter().flat_map(HashMap::values).copied().collect()
    }

    /// Keys of assets that are known and that `there` does not name.
    pub(super) fn all_but(&self, there: impl Fn(&FleetId, &AssetId) -> bool) -> Vec<AssetKey> {
        let gone =
            self.assets.iter().filter(|(_, known)| !known.gone && !there(&known.fleet, &known.state.id));
        #[expect(clippy::cast_possible_truncation, reason = "2^32 assets do not fit in memory")]
        gone.map(|(key, _)| AssetKey(key as u32)).collect()
    }

    /// The asset is not known any more; its key lives on while views refer to it.
    pub(super) fn forget(&mut self, key: AssetKey) {
        self.assets[key.0 as usize].gone = true;
        self.free_if_unused(key);
    }

    /// One more view refers to the key.
    pub(super) fn refer(&mut self, key: AssetKey) {
        self.assets[key.0 as usize].views += 1;
    }

    /// One view less refers to the key.
    pub(super) fn release(&mut self, key: AssetKey) {
        self.assets[key.0 as usize].views -= 1;
        self.free_if_unused(key);
    }

    /// The asset's fleet, if the key is in use.
    pub(super) fn fleet(&self, key: AssetKey) -> Option<&FleetId> {
        self.assets.get(key.0 as usize).map(|known| &known.fleet)
    }

    /// Makes sure that the state's text exists.
    pub(super) fn encode(&mut self, key: AssetKey) -> &Bytes {
        let known = &mut self.assets[key.0 as usize];
        known.text.get_or_insert_with(|| encode::asset(&known.fleet, &known.state))
    }

    /// The state as the contract's `Asset`, once encoded.
    pub(super) fn text(&self, key: AssetKey) -> Option<&Bytes> {
        self.assets.get(key.0 as usize)?.text.as_ref()
    }

    /// The state's own timestamp, if the key is in use.
    pub(super) fn ts_ms(&self, key: AssetKey) -> Option<i64> {
        self.assets.get(key.0 as usize).map(|known| known.state.ts_ms)
    }

    /// `{id, fleet}`.
    pub(super) fn text_left(&self, key: AssetKey) -> Bytes {
        let known = &self.assets[key.0 as usize];
        encode::asset_left(&known.fleet, &known.state.id)
    }

    /// How many keys are in use.
    pub(super) fn len(&self) -> usize {
        self.assets.len()
    }

    fn free_if_unused(&mut self, key: AssetKey) {
        let known = &self.assets[key.0 as usize];
        if !known.gone || known.views > 0 {
            return;
        }
        let known = self.assets.remove(key.0 as usize);
        if let Some(keys) = self.keys.get_mut(&known.fleet) {
            keys.remove(known.state.id.as_str());
            if keys.is_empty() {
                self.keys.remove(&known.fleet);
            }
        }
    }
}
