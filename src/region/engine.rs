//! The core that ties regions together: updates go in, each viewer's deltas come out at its own pace.
//!
//! One task owns an engine and drives it: `on_update` for every applied update, `tick` at `next_due`.
//!
//! Invariant: a viewer's map, made of its snapshot and every delta since, is what `contains` says of all
//! assets that it may see, once its region is not due any more. A viewer that is not ready to be written to
//! loses nothing: its region waits, and later gets one delta for all the time. Work per update and memory
//! are bounded by the regions that hold the asset, never by how often regions are moved.

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use foldhash::{HashMap, HashSet};

use super::{
    AssetIndex, AssetKey, CellId, RegionIndex, RegionKey, RegionName, Shape, Transition,
    interest::Interest,
    known::KnownAssets,
    view::{Net, RegionView},
};
use crate::fleet::{AssetId, AssetState, FleetId, Position};

/// A panned map is answered at most this often, whatever the number of moves and the interval.
const MOVE_INTERVAL: Duration = Duration::from_millis(50);

/// A viewer that is not ready is asked again after this long, then after twice as long each time, up to
/// [`RETRY_MAX`] or its interval. A viewer that reads takes a piece in milliseconds: one wait of the whole
/// interval per piece would cut what it gets to a piece or two per interval.
const RETRY_MIN: Duration = Duration::from_millis(4);
const RETRY_MAX: Duration = Duration::from_millis(50);

/// A delta holds no more assets once their texts are this long: a viewer that can not take more at once
/// gets the rest later, in the state that is the newest by then.
const DELTA_BYTES_MAX: usize = 128 * 1024;

/// About what an asset that left takes in a delta.
const LEFT_BYTES: usize = 48;

/// A connected dashboard, as the caller names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerKey(pub u64);

/// Which fleets a viewer was granted.
pub type MaySee = Arc<dyn Fn(&FleetId) -> bool + Send + Sync>;

/// What a viewer asks for.
#[derive(Clone)]
pub struct RegionRequest {
    /// The viewer's name for the region; the same name again moves it.
    pub region: RegionName,
    /// Where.
    pub shape: Arc<Shape>,
    /// The least time between two deltas.
    pub interval: Duration,
    /// Only these fleets, if given.
    pub fleets: Option<HashSet<FleetId>>,
    /// The viewer's grants.
    pub may_see: MaySee,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribed {
    /// A new region: [`RegionEngine::snapshot`] says what is in it.
    New,
    /// A region moved: a delta with the difference follows.
    Moved,
}

/// What changed in a region since the last delta, as texts of the contract's `Asset` and `{id, fleet}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionDelta<'a> {
    /// Assets that the viewer does not have.
    pub entered: Vec<&'a Bytes>,
    /// Assets that the viewer has in an older state.
    pub moved: Vec<&'a Bytes>,
    /// Assets that the viewer must drop.
    pub left: Vec<Bytes>,
    /// Own timestamp of the moved asset whose change waited longest to be told.
    pub waited_ts_ms: Option<i64>,
}

/// Sizes, for metrics. All are 0 again when no viewer is left and all assets are forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegionSizes {
    /// Viewers with at least one region.
    pub viewers: usize,
    /// Regions.
    pub regions: usize,
    /// Cells under which regions are listed.
    pub cells: usize,
    /// Assets known, with or without a place.
    pub assets: usize,
    /// Regions that wait for their tick.
    pub due: usize,
}

/// All regions of one replica.
#[derive(Debug, Default)]
pub struct RegionEngine {
    known: KnownAssets,
    places: AssetIndex,
    regions: RegionIndex,
    /// By region key.
    views: Vec<Option<View>>,
    viewers: HashMap<ViewerKey, HashMap<RegionName, RegionKey>>,
    /// Regions with something to tell, by when they may.
    due: BTreeSet<(Instant, RegionKey)>,
    interest: Interest,
    /// Kept for its memory.
    affected: Vec<(RegionKey, Transition)>,
    told: Told,
}

/// What one tick tells, by key.
#[derive(Debug, Default)]
struct Told {
    entered: Vec<AssetKey>,
    moved: Vec<AssetKey>,
    left: Vec<AssetKey>,
    /// Came and went.
    nothing: Vec<AssetKey>,
}

struct View {
    viewer: ViewerKey,
    request: RegionRequest,
    members: RegionView,
    /// When it was last told, or answered a move.
    last_tick: Instant,
    /// Its entry in `due`.
    due: Option<Instant>,
    /// How long to wait if the viewer is not ready.
    retry: Duration,
    /// The request changed: membership must be decided anew before anything is told.
    is_moved: bool,
}

impl RegionEngine {
    /// Adds a region, or moves the viewer's region of the same name.
    pub fn subscribe(&mut self, viewer: ViewerKey, request: RegionRequest, now: Instant) -> Subscribed {
        if let Some(key) = self.viewers.get(&viewer).and_then(|regions| regions.get(&request.region)).copied()
        {
            self.change(key, |view| view.request = request);
            return Subscribed::Moved;
        }
        let key = self.regions.insert(Arc::clone(&request.shape));
        self.interest.add(request.shape.cover());
        self.viewers.entry(viewer).or_default().insert(request.region.clone(), key);
        // Who is inside is found when it is told, once.
        let members = RegionView::default();
        let view =
            View { viewer, request, members, last_tick: now, due: None, retry: RETRY_MIN, is_moved: true };
        if self.views.len() <= key.0 as usize {
            self.views.resize_with(key.0 as usize + 1, || None);
        }
        self.views[key.0 as usize] = Some(view);
        Subscribed::New
    }

    /// Removes a region; whether there was one.
    pub fn unsubscribe(&mut self, viewer: ViewerKey, region: &str) -> bool {
        let Some(regions) = self.viewers.get_mut(&viewer) else { return false };
        let Some(key) = regions.remove(region) else { return false };
        if regions.is_empty() {
            self.viewers.remove(&viewer);
        }
        self.remove_view(key);
        true
    }

    /// Removes all regions of a viewer.
    pub fn drop_viewer(&mut self, viewer: ViewerKey) {
        for key in self.viewers.remove(&viewer).unwrap_or_default().into_values() {
            self.remove_view(key);
        }
    }

    /// How many regions a viewer has.
    #[must_use]
    pub fn region_count(&self, viewer: ViewerKey) -> usize {
        self.viewers.get(&viewer).map_or(0, HashMap::len)
    }

    /// The viewer's grants changed. What it may not see any more leaves before anything else is told.
    pub fn set_grants(&mut self, viewer: ViewerKey, may_see: &MaySee) {
        let keys: Vec<RegionKey> =
            self.viewers.get(&viewer).into_iter().flat_map(HashMap::values).copied().collect();
        for key in keys {
            self.change(key, |view| view.request.may_see = Arc::clone(may_see));
        }
    }

    /// A snapshot of a region, for a viewer that has just come or lost count; deltas continue from here.
    pub fn snapshot(&mut self, viewer: ViewerKey, region: &str) -> Option<Vec<Bytes>> {
        let key = *self.viewers.get(&viewer)?.get(region)?;
        self.settle(key);
        let Self { known, views, due, .. } = self;
        let view = view_mut(views, key)?;
        view.members.take(|asset, net| {
            if matches!(net, Net::Left | Net::Nothing) {
                known.release(asset);
            }
            true
        });
        if let Some(at) = view.due.take() {
            due.remove(&(at, key));
        }
        Some(view.members.inside().map(|asset| known.encode(asset).clone()).collect())
    }

    /// An update was applied: `state` is the asset's newest.
    pub fn on_update(&mut self, fleet: &FleetId, state: &Arc<AssetState>) {
        if let Some(asset) = self.known.put(fleet, state) {
            self.place(asset, state.position);
        }
    }

    /// The asset is not known to this replica any more; it leaves all regions.
    pub fn forget_asset(&mut self, fleet: &FleetId, asset: &AssetId) {
        if let Some(asset) = self.known.key(fleet, asset.as_str()) {
            self.forget(asset);
        }
    }

    /// Forgets every asset that is not `there` any more.
    pub fn retain(&mut self, there: impl Fn(&FleetId, &AssetId) -> bool) {
        for asset in self.known.all_but(there) {
            self.forget(asset);
        }
    }

    /// The names of a viewer's regions.
    #[must_use]
    pub fn regions_of(&self, viewer: ViewerKey) -> Vec<RegionName> {
        self.viewers.get(&viewer).into_iter().flat_map(HashMap::keys).cloned().collect()
    }

    /// No updates of the fleet arrive any more; its assets leave all regions.
    pub fn forget_fleet(&mut self, fleet: &FleetId) {
        for asset in self.known.of_fleet(fleet) {
            self.forget(asset);
        }
    }

    /// No updates of the cell arrive any more; its assets leave all regions.
    pub fn forget_cell(&mut self, cell: CellId) {
        let assets: Vec<AssetKey> = self.places.in_cell(cell).collect();
        for asset in assets {
            self.forget(asset);
        }
    }

    /// When `tick` has something to do next.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Tells the deltas of at most `limit` regions that are due; the others stay due. A region whose
    /// viewer is not `ready` for it is asked again later and loses nothing.
    pub fn tick(
        &mut self,
        now: Instant,
        limit: usize,
        mut ready: impl FnMut(ViewerKey, &RegionName) -> bool,
        mut tell: impl FnMut(ViewerKey, &RegionName, &RegionDelta<'_>),
    ) {
        for _ in 0..limit {
            let Some(&(at, key)) = self.due.first().filter(|(at, _)| *at <= now) else { return };
            self.due.remove(&(at, key));
            let Some(view) = view_mut(&mut self.views, key) else { continue };
            view.due = None;
            if !ready(view.viewer, &view.request.region) {
                let retry = now + view.retry;
                view.retry = (view.retry * 2).min(view.request.interval.max(RETRY_MAX));
                view.due = Some(retry);
                self.due.insert((retry, key));
                continue;
            }
            self.settle(key);
            self.tell(key, now, &mut tell);
        }
    }

    /// Tells each cell of the level between replicas that came into or went out of use since the last call.
    pub fn drain_interest(&mut self, tell: impl FnMut(CellId, bool)) {
        self.interest.drain(tell);
    }

    /// Current sizes.
    #[must_use]
    pub fn sizes(&self) -> RegionSizes {
        RegionSizes {
            viewers: self.viewers.len(),
            regions: self.regions.len(),
            cells: self.regions.cell_count(),
            assets: self.known.len(),
            due: self.due.len(),
        }
    }

    fn forget(&mut self, asset: AssetKey) {
        self.place(asset, None);
        self.known.forget(asset);
    }

    fn place(&mut self, asset: AssetKey, position: Option<Position>) {
        let old = self.places.place(asset, position);
        let mut affected = std::mem::take(&mut self.affected);
        self.regions.affected(old, self.places.position(asset), &mut affected);
        for (region, transition) in &affected {
            self.note(*region, asset, *transition);
        }
        self.affected = affected;
    }

    fn note(&mut self, region: RegionKey, asset: AssetKey, transition: Transition) {
        let Some(view) = view_mut(&mut self.views, region) else { return };
        let must_absorb = view.members.note(asset, transition);
        if view.due.is_none() {
            let at = view.last_tick + view.request.interval;
            view.due = Some(at);
            self.due.insert((at, region));
        }
        if must_absorb {
            view.absorb(&mut self.known);
        }
    }

    /// Changes a request and makes the region due soon.
    fn change(&mut self, key: RegionKey, change: impl FnOnce(&mut View)) {
        let Some(view) = view_mut(&mut self.views, key) else { return };
        change(view);
        view.is_moved = true;
        let soon = view.last_tick + view.request.interval.min(MOVE_INTERVAL);
        if let Some(at) = view.due.replace(view.due.map_or(soon, |at| at.min(soon))) {
            self.due.remove(&(at, key));
        }
        self.due.extend(view.due.map(|at| (at, key)));
    }

    /// Absorbs what was noted, and decides membership anew if the request changed. However many changes
    /// there were, this is done once, for the last one.
    fn settle(&mut self, key: RegionKey) {
        let Some(view) = view_mut(&mut self.views, key) else { return };
        view.absorb(&mut self.known);
        if !std::mem::take(&mut view.is_moved) {
            return;
        }
        let shape = &view.request.shape;
        if self.regions.shape(key) != shape {
            self.interest.add(shape.cover());
            self.interest.remove(self.regions.shape(key).cover());
            self.regions.replace(key, shape);
        }
        let (known, places, request) = (&self.known, &self.places, &view.request);
        let left: Vec<AssetKey> = view
            .members
            .inside()
            .filter(|asset| {
                !places.position(*asset).is_some_and(|at| shape.contains(at))
                    || !request.allows_asset(known, *asset)
            })
            .collect();
        let entered: Vec<AssetKey> = places
            .within(shape)
            .filter(|asset| !view.members.holds(*asset) && request.allows_asset(known, *asset))
            .collect();
        for (assets, transition) in [(left, Transition::Left), (entered, Transition::Entered)] {
            for asset in assets {
                view.members.note(asset, transition);
            }
        }
        view.absorb(&mut self.known);
    }

    fn tell(
        &mut self,
        key: RegionKey,
        now: Instant,
        tell: &mut impl FnMut(ViewerKey, &RegionName, &RegionDelta<'_>),
    ) {
        let Self { known, views, told, due, .. } = self;
        let Some(view) = view_mut(views, key) else { return };
        view.last_tick = now;
        view.retry = RETRY_MIN;
        let mut bytes = 0;
        view.members.take(|asset, net| {
            match net {
                Net::Entered => told.entered.push(asset),
                Net::Moved => told.moved.push(asset),
                Net::Left => told.left.push(asset),
                Net::Nothing => told.nothing.push(asset),
            }
            bytes += match net {
                Net::Entered | Net::Moved => known.encode(asset).len(),
                Net::Left | Net::Nothing => LEFT_BYTES,
            };
            bytes < DELTA_BYTES_MAX
        });
        if view.members.has_changed() {
            // The rest follows as soon as the viewer is ready for it.
            view.due = Some(now);
            due.insert((now, key));
        }
        let delta = RegionDelta {
            waited_ts_ms: told.moved.first().and_then(|asset| known.ts_ms(*asset)),
            entered: told.entered.drain(..).filter_map(|asset| known.text(asset)).collect(),
            moved: told.moved.drain(..).filter_map(|asset| known.text(asset)).collect(),
            left: told.left.iter().map(|asset| known.text_left(*asset)).collect(),
        };
        if !delta.is_empty() {
            tell(view.viewer, &view.request.region, &delta);
        }
        for asset in told.left.drain(..).chain(told.nothing.drain(..)) {
            known.release(asset);
        }
    }

    fn remove_view(&mut self, key: RegionKey) {
        let Some(view) = self.views.get_mut(key.0 as usize).and_then(Option::take) else { return };
        if let Some(at) = view.due {
            self.due.remove(&(at, key));
        }
        view.members.keys().for_each(|asset| self.known.release(asset));
        self.interest.remove(self.regions.shape(key).cover());
        self.regions.remove(key);
    }
}

fn view_mut(views: &mut [Option<View>], key: RegionKey) -> Option<&mut View> {
    views.get_mut(key.0 as usize)?.as_mut()
}

impl View {
    fn absorb(&mut self, known: &mut KnownAssets) {
        let mut added = Vec::new();
        self.members.absorb(|asset| self.request.allows_asset(known, asset), &mut added);
        added.into_iter().for_each(|asset| known.refer(asset));
    }
}

impl RegionRequest {
    /// An asset that is forgotten by now is not allowed: it left after what is being asked about.
    fn allows_asset(&self, known: &KnownAssets, asset: AssetKey) -> bool {
        known.fleet(asset).is_some_and(|fleet| {
            self.fleets.as_ref().is_none_or(|fleets| fleets.contains(fleet)) && (self.may_see)(fleet)
        })
    }
}

impl RegionDelta<'_> {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entered.is_empty() && self.moved.is_empty() && self.left.is_empty()
    }
}

impl fmt::Debug for RegionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionRequest")
            .field("region", &self.region)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("viewer", &self.viewer)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
