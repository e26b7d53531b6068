//! The task that owns all regions of this replica.
//!
//! Invariant: a viewer gets, per region, acknowledgement, snapshot, deltas, in this order; whatever does
//! not fit into its queue becomes one delta, or a fresh snapshot, once the queue has drained.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashMapExt};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

use super::{
    CellSource, Located, Update, Watched,
    cells::{Cells, Loaded, Loading},
};
use crate::{
    dispatch::{Viewer, encode, senders::send_later},
    observe::Metrics,
    region::{
        RegionEngine, RegionName, RegionRequest, Subscribed, ViewerKey,
        encode::{SnapshotParts, region_updates},
    },
    transport::{Sent, event_frame},
};

/// Regions that are told their deltas before others get their turn.
const TICK_REGIONS: usize = 32;
/// How often snapshots that wait for their viewers are looked at.
const PUMP: Duration = Duration::from_millis(20);
/// How long to wait before a source that could not say is asked again.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Command {
    Watch { viewer: Arc<Viewer>, request: RegionRequest, reply: oneshot::Sender<Watched> },
    Open { viewer: ViewerKey, region: RegionName },
    Unwatch { viewer: ViewerKey, region: RegionName },
    Forget { viewer: ViewerKey },
    Loaded { number: u64, found: Option<Vec<Located>> },
    LoadAgain { is_reload: bool },
}

/// A viewer with at least one region.
#[derive(Debug)]
struct Watcher {
    viewer: Arc<Viewer>,
    /// Regions that do not simply follow.
    stages: HashMap<RegionName, Stage>,
}

/// What a region waits for.
#[derive(Debug)]
enum Stage {
    /// The load of this number.
    Loading(u64, oneshot::Sender<Watched>),
    /// Its acknowledgement is on the way to the viewer and must arrive before the snapshot.
    Held,
    /// It was moved; that acknowledgement must arrive before the difference.
    Moved,
    /// The viewer must take what it has, before it is told why it gets a fresh snapshot.
    Resync(&'static str),
    /// Parts of a snapshot that are not sent yet.
    Sending(SnapshotParts),
}

pub(super) struct RegionTask {
    engine: RegionEngine,
    cells: Cells,
    watchers: HashMap<ViewerKey, Watcher>,
    /// Viewers with regions to be pumped.
    pumped: BTreeSet<ViewerKey>,
    metrics: Arc<Metrics>,
    commands: mpsc::WeakSender<Command>,
    is_watching: Arc<AtomicBool>,
}

impl RegionTask {
    pub(super) fn new(
        source: Arc<dyn CellSource>,
        metrics: Arc<Metrics>,
        commands: mpsc::WeakSender<Command>,
        is_watching: Arc<AtomicBool>,
    ) -> Self {
        Self {
            engine: RegionEngine::default(),
            cells: Cells::new(source),
            watchers: HashMap::new(),
            pumped: BTreeSet::new(),
            metrics,
            commands,
            is_watching,
        }
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut updates: mpsc::Receiver<Update>,
        stop: CancellationToken,
    ) {
        let mut pump_at = Instant::now();
        loop {
            let pump = (!self.pumped.is_empty()).then_some(pump_at);
            let next = [self.engine.next_due(), self.cells.next_end(), pump].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(command) = commands.recv() => self.command(command),
                () = sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() => {
                    let now = Instant::now();
                    self.tick(now);
                    if pump.is_some_and(|at| at <= now) {
                        self.pump();
                        pump_at = now + PUMP;
                    }
                    // However many regions are due, updates get their turn, or they would be told late.
                    if let Ok(update) = updates.try_recv() {
                        self.update(update);
                    }
                    tokio::task::yield_now().await;
                }
                Some(update) = updates.recv() => self.update(update),
            }
            self.settle();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Watch { viewer, request, reply } => self.watch(viewer, request, reply),
            Command::Open { viewer, region } => {
                let Some(watcher) = self.watchers.get_mut(&viewer) else { return };
                match watcher.stages.get(&region) {
                    Some(Stage::Held) => {
                        begin_snapshot(&mut self.engine, viewer, watcher, region);
                        self.pump_one(viewer);
                    }
                    Some(Stage::Moved) => _ = watcher.stages.remove(&region),
                    _ => {}
                }
            }
            Command::Unwatch { viewer, region } => self.unwatch(viewer, &region),
            Command::Forget { viewer } => {
                self.engine.drop_viewer(viewer);
                self.watchers.remove(&viewer);
            }
            Command::Loaded { number, found } => self.loaded(number, found),
            Command::LoadAgain { is_reload: true } => self.reload(),
            Command::LoadAgain { is_reload: false } => self.load(),
        }
    }

    fn watch(&mut self, viewer: Arc<Viewer>, request: RegionRequest, reply: oneshot::Sender<Watched>) {
        let (key, region) = (super::key(viewer.id), request.region.clone());
        let subscribed = self.engine.subscribe(key, request, Instant::now());
        let watcher = self.watchers.entry(key).or_insert_with(|| Watcher { viewer, stages: HashMap::new() });
        if subscribed == Subscribed::Moved {
            // A snapshot that is still to come has whatever is in the region by then.
            watcher.stages.entry(region).or_insert(Stage::Moved);
            reply.send(Watched::Moved).ok();
            return;
        }
        self.cells.follow(&mut self.engine, Instant::now());
        match self.cells.awaited() {
            Some(number) => {
                watcher.stages.insert(region, Stage::Loading(number, reply));
                self.load();
            }
            None => {
                watcher.stages.insert(region, Stage::Held);
                reply.send(Watched::New).ok();
            }
        }
    }

    fn unwatch(&mut self, viewer: ViewerKey, region: &RegionName) {
        self.engine.unsubscribe(viewer, region.as_str());
        if let Some(watcher) = self.watchers.get_mut(&viewer) {
            watcher.stages.remove(region);
            if self.engine.region_count(viewer) == 0 {
                self.watchers.remove(&viewer);
            }
        }
    }

    fn update(&mut self, update: Update) {
        match update {
            Update::States((fleet, states)) => {
                for state in &states {
                    self.cells.update(&mut self.engine, &fleet, state);
                }
            }
            Update::Gap => self.reload(),
        }
    }

    /// After whatever happened: cells follow regions, and what came into use is loaded.
    fn settle(&mut self) {
        self.cells.follow(&mut self.engine, Instant::now());
        self.load();
        let sizes = self.engine.sizes();
        let size = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.regions.set(size(sizes.regions));
        self.metrics.region_assets.set(size(sizes.assets));
    }

    fn load(&mut self) {
        // Whoever delivers updates must know before the source is asked.
        self.is_watching.store(!self.cells.is_empty(), Ordering::SeqCst);
        let loading = self.cells.begin();
        self.ask(loading);
    }

    fn reload(&mut self) {
        let loading = self.cells.begin_again();
        self.ask(loading);
    }

    fn ask(&self, loading: Option<Loading>) {
        let Some(Loading { number, found }) = loading else { return };
        let commands = self.commands.clone();
        tokio::spawn(async move {
            let found = found.await;
            if let Some(commands) = commands.upgrade() {
                commands.send(Command::Loaded { number, found }).await.ok();
            }
        });
    }

    fn loaded(&mut self, number: u64, found: Option<Vec<Located>>) {
        match self.cells.loaded(&mut self.engine, number, found) {
            None => {}
            Some(Loaded::Done { is_reload }) => {
                self.release(number, true);
                if is_reload {
                    self.resync_all();
                }
            }
            Some(Loaded::Failed { is_reload }) => {
                self.release(number, false);
                send_later(self.commands.clone(), RELOAD_PAUSE, Command::LoadAgain { is_reload });
            }
        }
    }

    /// Answers the requests that waited for a load.
    fn release(&mut self, number: u64, is_there: bool) {
        let mut refused = Vec::new();
        for (key, watcher) in &mut self.watchers {
            for (region, stage) in &mut watcher.stages {
                if !matches!(stage, Stage::Loading(awaited, _) if *awaited <= number) {
                    continue;
                }
                let Stage::Loading(_, reply) = std::mem::replace(stage, Stage::Held) else { continue };
                // Whoever asked may have given up.
                if !is_there || reply.send(Watched::New).is_err() {
                    refused.push((*key, region.clone()));
                }
            }
        }
        for (viewer, region) in refused {
            self.unwatch(viewer, &region);
        }
    }

    /// Everybody who follows a region is told that something was missed, and gets it anew.
    fn resync_all(&mut self) {
        for (key, watcher) in &mut self.watchers {
            for region in self.engine.regions_of(*key) {
                let stage = watcher.stages.entry(region).or_insert(Stage::Resync("gap"));
                if let Stage::Sending(_) | Stage::Moved = stage {
                    *stage = Stage::Resync("gap");
                }
            }
            self.pumped.insert(*key);
        }
    }

    fn tick(&mut self, now: Instant) {
        let Self { engine, watchers, metrics, pumped, .. } = self;
        let mut overflowed = Vec::new();
        let ready = |key: ViewerKey, region: &RegionName| {
            watchers.get(&key).is_some_and(|watcher| {
                !watcher.stages.contains_key(region) && watcher.viewer.session.has_drained()
            })
        };
        engine.tick(now, TICK_REGIONS, ready, |key, region, delta| {
            let Some(watcher) = watchers.get(&key) else { return };
            for object in region_updates(region, delta) {
                let frame = event_frame("region_updates", &object);
                if watcher.viewer.session.send(&frame) == Sent::Full {
                    overflowed.push((key, region.clone()));
                    return;
                }
            }
            metrics.deliveries.inc();
            metrics.region_deltas.inc();
        });
        for (key, region) in overflowed {
            metrics.lagging.inc();
            if let Some(watcher) = watchers.get_mut(&key) {
                watcher.stages.insert(region, Stage::Resync("slow"));
                pumped.insert(key);
            }
        }
    }

    /// Goes on with the snapshots of viewers that take something.
    fn pump(&mut self) {
        for viewer in std::mem::take(&mut self.pumped) {
            self.pump_one(viewer);
        }
    }

    fn pump_one(&mut self, key: ViewerKey) {
        let Some(watcher) = self.watchers.get_mut(&key) else { return };
        let waiting: Vec<RegionName> = watcher.stages.keys().cloned().collect();
        let mut is_waiting = false;
        for region in waiting {
            if !watcher.viewer.session.has_drained() {
                is_waiting = true;
                break;
            }
            if let Some(Stage::Resync(reason)) = watcher.stages.get(&region) {
                let frame = encode::resync("region", region.as_str(), reason);
                watcher.viewer.session.send(&frame);
                self.metrics.resyncs.inc();
                begin_snapshot(&mut self.engine, key, watcher, region.clone());
            }
            let Some(Stage::Sending(parts)) = watcher.stages.get_mut(&region) else { continue };
            let is_done = send_parts(&watcher.viewer, parts);
            if is_done {
                watcher.stages.remove(&region);
            }
            is_waiting |= !is_done;
        }
        if is_waiting {
            self.pumped.insert(key);
        }
    }
}

/// From here on, deltas continue what the parts say.
fn begin_snapshot(engine: &mut RegionEngine, key: ViewerKey, watcher: &mut Watcher, region: RegionName) {
    let Some(assets) = engine.snapshot(key, region.as_str()) else {
        watcher.stages.remove(&region);
        return;
    };
    let parts = SnapshotParts::new(&region, assets);
    watcher.stages.insert(region, Stage::Sending(parts));
}

/// Sends parts while the viewer takes them; whether all are sent.
fn send_parts(viewer: &Viewer, parts: &mut SnapshotParts) -> bool {
    while let Some(object) = parts.peek() {
        let frame = event_frame("region_snapshot", &object);
        if viewer.session.send(&frame) == Sent::Full {
            return false;
        }
        parts.advance();
    }
    true
}
