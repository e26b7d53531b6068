//! The cells under this replica's regions: which are watched, which are loaded, and what happened to
//! assets while a load was on its way.
//!
//! Invariants: a cell is watched before it is loaded, so nothing falls between; at most one load is on
//! its way; a loaded state never brings back what an update has taken away since the load began.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashSet};
use futures_util::future::BoxFuture;

use super::{CellSource, Located};
use crate::{
    fleet::{AssetId, AssetState, FleetId},
    region::{CellId, Cover, RegionEngine},
};

/// How long a cell is kept after its last region, so that panning to and fro loads nothing twice.
const LINGER: Duration = Duration::from_secs(5);

/// Cells and their loads.
#[derive(Debug)]
pub(super) struct Cells {
    source: Arc<dyn CellSource>,
    watched: HashSet<CellId>,
    /// Watched, but under no region any more, since when.
    idle: HashMap<CellId, Instant>,
    /// Idle cells in the order of their ends; may hold cells that are in use again.
    ends: VecDeque<(Instant, CellId)>,
    /// Watched and not loaded, nor being loaded.
    unloaded: HashSet<CellId>,
    /// The load that is on its way.
    load: Option<Load>,
    /// Number of the load that was begun last.
    number: u64,
}

#[derive(Debug, Default)]
struct Load {
    cells: HashSet<CellId>,
    /// Assets heard of since the load began, and their newest version then.
    heard: HashMap<FleetId, HashMap<AssetId, Version>>,
    /// Cells that were let go of since: what is found in them may be old by the time they are watched again.
    ended: HashSet<CellId>,
    /// Updates were missed: what the load does not find is gone.
    reload: Option<Reload>,
}

/// Orders the states of one asset.
type Version = (i64, u64);

/// Why everything is loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reload {
    /// Regions were behind and dropped updates: the differences are told as if nothing had happened.
    Behind,
    /// Updates did not reach this replica: viewers are told so.
    Gap,
}

impl Cells {
    pub(super) fn new(source: Arc<dyn CellSource>) -> Self {
        Self {
            source,
            watched: HashSet::default(),
            idle: HashMap::default(),
            ends: VecDeque::new(),
            unloaded: HashSet::default(),
            load: None,
            number: 0,
        }
    }

    /// Follows the regions: watches the cells that came into use and lets go of those unused for long.
    pub(super) fn follow(&mut self, engine: &mut RegionEngine, now: Instant) {
        let mut begun = Vec::new();
        engine.drain_interest(|cell, is_used| {
            if !is_used {
                self.idle.insert(cell, now);
                self.ends.push_back((now + LINGER, cell));
            } else if self.idle.remove(&cell).is_none() && self.watched.insert(cell) {
                begun.push(cell);
            }
        });
        if !begun.is_empty() {
            self.source.watch(&begun);
            self.unloaded.extend(begun);
        }
        self.let_go(engine, now);
    }

    fn let_go(&mut self, engine: &mut RegionEngine, now: Instant) {
        let mut ended = Vec::new();
        while let Some((_, cell)) = self.ends.pop_front_if(|(at, _)| *at <= now) {
            let is_over = self.idle.get(&cell).is_some_and(|since| *since + LINGER <= now);
            if is_over {
                self.idle.remove(&cell);
                self.watched.remove(&cell);
                self.unloaded.remove(&cell);
                engine.forget_cell(cell);
                if let Some(load) = &mut self.load {
                    load.ended.insert(cell);
                }
                ended.push(cell);
            }
        }
        if !ended.is_empty() {
            self.source.unwatch(&ended);
        }
    }

    /// Whether any cell is watched.
    pub(super) fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// When `follow` has something to let go.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.front().map(|(at, _)| *at)
    }

    /// The load that will have everything under a cover; `None`: it is there already. What others wait for, and
    /// may not get, is not this one's concern.
    pub(super) fn awaited(&self, cover: &Cover) -> Option<u64> {
        let is_loading = |cell: &CellId| self.load.as_ref().is_some_and(|load| load.cells.contains(cell));
        let mut awaited = None;
        for cell in cover.between_replicas() {
            if self.unloaded.contains(&cell) {
                return Some(self.number + 1);
            }
            if is_loading(&cell) {
                awaited = Some(self.number);
            }
        }
        awaited
    }

    /// Begins a load if one is needed and none is on its way.
    pub(super) fn begin(&mut self) -> Option<Loading> {
        if self.load.is_some() || self.unloaded.is_empty() {
            return None;
        }
        let cells = self.unloaded.drain().collect();
        Some(self.load(cells, None))
    }

    /// Updates were missed: everything is to be loaded again. What was on its way may be as old.
    pub(super) fn begin_again(&mut self, reload: Reload) -> Option<Loading> {
        self.unloaded.clear();
        let cells: Vec<CellId> = self.watched.iter().copied().collect();
        (!cells.is_empty()).then(|| self.load(cells, Some(reload)))
    }

    /// Whether everything is being loaded again.
    pub(super) fn is_reloading(&self) -> bool {
        self.load.as_ref().is_some_and(|load| load.reload.is_some())
    }

    fn load(&mut self, cells: Vec<CellId>, reload: Option<Reload>) -> Loading {
        self.number += 1;
        self.load = Some(Load { cells: cells.iter().copied().collect(), reload, ..Load::default() });
        let found = self.source.load(cells);
        Loading { number: self.number, found }
    }

    /// An update: the asset's newest state, wherever it is.
    pub(super) fn update(&mut self, engine: &mut RegionEngine, fleet: &FleetId, state: &Arc<AssetState>) {
        if let Some(load) = &mut self.load {
            let version = (state.ts_ms, state.seq);
            let heard =
                load.heard.entry(fleet.clone()).or_default().entry(state.id.clone()).or_insert(version);
            *heard = version.max(*heard);
        }
        if cell_of(state).is_some_and(|cell| self.watched.contains(&cell)) {
            engine.on_update(fleet, state);
        } else {
            engine.forget_asset(fleet, &state.id);
        }
    }

    /// Takes over what the load `number` found. Whether it was the awaited one, and a reload.
    pub(super) fn loaded(
        &mut self,
        engine: &mut RegionEngine,
        number: u64,
        found: Option<Vec<Located>>,
    ) -> Option<Loaded> {
        if number != self.number {
            return None; // Begun before updates were missed.
        }
        let load = self.load.take()?;
        let Some(found) = found else {
            self.unloaded.extend(load.cells.into_iter().filter(|cell| self.watched.contains(cell)));
            return Some(Loaded::Failed(load.reload));
        };
        let heard = |fleet: &FleetId, asset: &AssetId| load.heard.get(fleet)?.get(asset).copied();
        let is_current = |state: &AssetState| {
            cell_of(state).is_some_and(|cell| self.watched.contains(&cell) && !load.ended.contains(&cell))
        };
        if load.reload.is_some() {
            let mut named: HashMap<FleetId, HashSet<AssetId>> = HashMap::default();
            for (fleet, states) in &found {
                let current = states.iter().filter(|state| is_current(state)).map(|state| state.id.clone());
                named.entry(fleet.clone()).or_default().extend(current);
            }
            let is_there = |fleet: &FleetId, asset: &AssetId| {
                heard(fleet, asset).is_some()
                    || named.get(fleet).is_some_and(|assets| assets.contains(asset.as_str()))
            };
            engine.retain(is_there);
        }
        for (fleet, states) in &found {
            for state in states {
                let is_older = heard(fleet, &state.id).is_some_and(|heard| (state.ts_ms, state.seq) <= heard);
                if !is_older && is_current(state) {
                    engine.on_update(fleet, state);
                }
            }
        }
        Some(Loaded::Done(load.reload))
    }
}

/// The cell between replicas that the asset is in.
fn cell_of(state: &AssetState) -> Option<CellId> {
    Some(state.position.and_then(CellId::at)?.between_replicas())
}

/// A load on its way, and what it will find.
pub(super) struct Loading {
    pub(super) number: u64,
    pub(super) found: BoxFuture<'static, Option<Vec<Located>>>,
}

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loaded {
    Done(Option<Reload>),
    Failed(Option<Reload>),
}
