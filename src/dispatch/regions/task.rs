//! The task that owns all regions of this replica.
//!
//! Invariants: a viewer gets, per region, acknowledgement, snapshot, deltas, in this order; whatever does
//! not fit into its queue becomes one delta, or a fresh snapshot, once the queue has drained. A viewer has at
//! most one snapshot under way. Whatever the regions ask for, each turn takes the updates that wait, some
//! ticks and one viewer's snapshot; and the source is asked again at most once a second.

use std::{
    collections::{BTreeSet, VecDeque},
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
    CellSource, Located, Missed, UPDATES_MAX, Watched,
    cells::{Cells, Loaded, Loading, Reload},
};
use crate::{
    clock::since_ms,
    dispatch::{Viewer, encode, senders::send_later},
    observe::Metrics,
    region::{
        MaySee, RegionEngine, RegionName, RegionRequest, Subscribed, ViewerKey,
        encode::{SnapshotParts, region_updates},
    },
    transport::{Sent, event_frame},
};

/// Regions that are told their deltas before others get their turn.
const TICK_REGIONS: usize = 32;
/// How often snapshots that wait for their viewers are looked at.
const PUMP: Duration = Duration::from_millis(20);
/// How long to wait before a source that could not say is asked again, and between two reloads.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

pub(super) enum Command {
    Watch {
        viewer: Viewer,
        request: RegionRequest,
        reply: oneshot::Sender<Watched>,
    },
    Open {
        viewer: ViewerKey,
        region: RegionName,
    },
    Unwatch {
        viewer: ViewerKey,
        region: RegionName,
    },
    Grants {
        viewer: ViewerKey,
        may_see: MaySee,
        reply: oneshot::Sender<()>,
    },
    Forget {
        viewer: ViewerKey,
    },
    Loaded {
        number: u64,
        found: Option<Vec<Located>>,
    },
    /// The pause is over.
    LoadAgain,
}

/// A viewer with at least one region.
#[derive(Debug)]
struct Watcher {
    viewer: Viewer,
    /// Regions that do not simply follow.
    stages: HashMap<RegionName, Stage>,
    /// Acknowledgements on their way to the viewer: nothing of the region may arrive before them.
    unacked: HashMap<RegionName, u32>,
}

/// What a region waits for.
#[derive(Debug)]
enum Stage {
    /// The load of this number.
    Loading(u64, oneshot::Sender<Watched>),
    /// Its snapshot is to be begun, when the viewer has taken what it has; with the reason if it is not the
    /// first.
    Due(Option<&'static str>),
    /// Parts of a snapshot that are not sent yet.
    Sending(SnapshotParts),
}

/// What the source is not asked for until [`Command::LoadAgain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pause {
    /// There was a reload just now: no other.
    Reloads,
    /// It could not say: nothing.
    All,
}

pub(super) struct RegionTask {
    engine: RegionEngine,
    cells: Cells,
    watchers: HashMap<ViewerKey, Watcher>,
    /// Viewers with snapshots to be begun or gone on with.
    pumped: BTreeSet<ViewerKey>,
    /// Those whose turn it is, and when the next round may begin.
    round: VecDeque<ViewerKey>,
    round_at: Instant,
    pause: Option<Pause>,
    /// A reload that a pause, or the one on its way, holds up.
    owed: Option<Reload>,
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
            round: VecDeque::new(),
            round_at: Instant::now(),
            pause: None,
            owed: None,
            metrics,
            commands,
            is_watching,
        }
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut updates: mpsc::Receiver<Located>,
        missed: Arc<Missed>,
        stop: CancellationToken,
    ) {
        loop {
            let next = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(command) = commands.recv() => self.command(command),
                () = missed.gap.notified() => self.reload(Reload::Gap),
                () = missed.behind.notified() => self.reload(Reload::Behind),
                () = sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() => {
                    tokio::task::yield_now().await;
                }
                Some(update) = updates.recv() => self.update(&update),
            }
            // Whatever it was, everything else gets its turn.
            for _ in 0..UPDATES_MAX {
                let Ok(update) = updates.try_recv() else { break };
                self.update(&update);
            }
            let now = Instant::now();
            self.tick(now);
            self.pump(now);
            self.settle(now);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let pump = (!self.round.is_empty() || !self.pumped.is_empty()).then_some(self.round_at);
        [self.engine.next_due(), self.cells.next_end(), pump].into_iter().flatten().min()
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Watch { viewer, request, reply } => self.watch(viewer, request, reply),
            Command::Open { viewer, region } => {
                let Some(watcher) = self.watchers.get_mut(&viewer) else { return };
                let Some(unacked) = watcher.unacked.get_mut(&region) else { return };
                *unacked -= 1;
                if *unacked == 0 {
                    watcher.unacked.remove(&region);
                    self.pump_one(viewer);
                }
            }
            Command::Unwatch { viewer, region } => self.unwatch(viewer, &region),
            Command::Grants { viewer, may_see, reply } => {
                self.grants(viewer, &may_see);
                reply.send(()).ok(); // The viewer may have left.
            }
            Command::Forget { viewer } => {
                self.engine.drop_viewer(viewer);
                self.watchers.remove(&viewer);
            }
            Command::Loaded { number, found } => self.loaded(number, found),
            Command::LoadAgain => {
                self.pause = None;
                if let Some(reload) = self.owed.take() {
                    self.reload(reload);
                }
            }
        }
    }

    fn watch(&mut self, viewer: Viewer, request: RegionRequest, reply: oneshot::Sender<Watched>) {
        let (key, region, shape) = (super::key(viewer.id), request.region.clone(), request.shape.clone());
        let subscribed = self.engine.subscribe(key, request, Instant::now());
        let watcher = self.watchers.entry(key).or_insert_with(|| Watcher {
            viewer,
            stages: HashMap::new(),
            unacked: HashMap::new(),
        });
        if subscribed == Subscribed::Moved {
            watcher.answer(region, reply, Watched::Moved);
            return;
        }
        self.cells.follow(&mut self.engine, Instant::now());
        match self.cells.awaited(shape.cover()) {
            Some(number) => {
                watcher.stages.insert(region, Stage::Loading(number, reply));
                self.load();
            }
            None => {
                watcher.stages.insert(region.clone(), Stage::Due(None));
                watcher.answer(region, reply, Watched::New);
            }
        }
    }

    fn unwatch(&mut self, viewer: ViewerKey, region: &RegionName) {
        self.engine.unsubscribe(viewer, region.as_str());
        if let Some(watcher) = self.watchers.get_mut(&viewer) {
            watcher.stages.remove(region);
            watcher.unacked.remove(region);
            if self.engine.region_count(viewer) == 0 {
                self.watchers.remove(&viewer);
            }
        }
    }

    fn grants(&mut self, viewer: ViewerKey, may_see: &MaySee) {
        self.engine.set_grants(viewer, may_see);
        let Some(watcher) = self.watchers.get_mut(&viewer) else { return };
        for stage in watcher.stages.values_mut() {
            // Parts that are made already may hold what is not granted any more.
            if matches!(stage, Stage::Sending(_)) {
                *stage = Stage::Due(Some("gap"));
                self.pumped.insert(viewer);
            }
        }
    }

    fn update(&mut self, (fleet, states): &Located) {
        for state in states {
            self.cells.update(&mut self.engine, fleet, state);
        }
    }

    /// After whatever happened: cells follow regions, and what came into use is loaded.
    fn settle(&mut self, now: Instant) {
        self.cells.follow(&mut self.engine, now);
        self.load();
        let sizes = self.engine.sizes();
        let size = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.regions.set(size(sizes.regions));
        self.metrics.region_assets.set(size(sizes.assets));
    }

    fn load(&mut self) {
        // Whoever delivers updates must know before the source is asked.
        self.is_watching.store(!self.cells.is_empty(), Ordering::SeqCst);
        if self.pause == Some(Pause::All) {
            return;
        }
        let loading = self.cells.begin();
        self.ask(loading);
    }

    /// Loads everything again, now or when that is possible: a reload that began before does not have what
    /// was missed since, but must end, or under frequent gaps none would.
    fn reload(&mut self, reload: Reload) {
        if self.pause.is_some() || self.cells.is_reloading() {
            self.owed = self.owed.max(Some(reload));
            return;
        }
        self.metrics.region_reloads.inc();
        let loading = self.cells.begin_again(reload);
        self.ask(loading);
    }

    fn pause(&mut self, pause: Pause) {
        if self.pause.is_none() {
            send_later(self.commands.clone(), RELOAD_PAUSE, Command::LoadAgain);
        }
        self.pause = self.pause.max(Some(pause));
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
            Some(Loaded::Done(reload)) => {
                self.release(number, true);
                if reload == Some(Reload::Gap) {
                    self.resync_all();
                }
                if reload.is_some() {
                    self.pause(Pause::Reloads);
                }
            }
            Some(Loaded::Failed(reload)) => {
                self.release(number, false);
                self.owed = self.owed.max(reload);
                self.pause(Pause::All);
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
                let Stage::Loading(_, reply) = std::mem::replace(stage, Stage::Due(None)) else { continue };
                // Whoever asked may have given up.
                if !is_there || reply.send(Watched::New).is_err() {
                    refused.push((*key, region.clone()));
                } else {
                    *watcher.unacked.entry(region.clone()).or_default() += 1;
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
                let stage = watcher.stages.entry(region).or_insert(Stage::Due(Some("gap")));
                if let Stage::Sending(_) = stage {
                    *stage = Stage::Due(Some("gap"));
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
                !watcher.stages.contains_key(region)
                    && !watcher.unacked.contains_key(region)
                    && watcher.viewer.session.has_drained()
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
            if let Some(ts_ms) = delta.waited_ts_ms {
                metrics.region_age.observe(since_ms(ts_ms).as_secs_f64());
            }
        });
        for (key, region) in overflowed {
            metrics.lagging.inc();
            if let Some(watcher) = watchers.get_mut(&key) {
                watcher.stages.insert(region, Stage::Due(Some("slow")));
                pumped.insert(key);
            }
        }
    }

    /// Goes on with the snapshots of one viewer, of those that wait. One takes some 10 ms if it shows the
    /// world.
    fn pump(&mut self, now: Instant) {
        if self.round.is_empty() && now >= self.round_at {
            self.round.extend(std::mem::take(&mut self.pumped));
            self.round_at = now + PUMP;
        }
        if let Some(viewer) = self.round.pop_front() {
            self.pump_one(viewer);
        }
    }

    fn pump_one(&mut self, key: ViewerKey) {
        let Some(watcher) = self.watchers.get_mut(&key) else { return };
        while let Some(region) = watcher.next_region() {
            if !watcher.viewer.session.has_drained() {
                self.pumped.insert(key);
                return;
            }
            match watcher.stages.get_mut(&region) {
                Some(Stage::Due(reason)) => {
                    if let Some(reason) = reason {
                        let frame = encode::resync("region", region.as_str(), reason);
                        watcher.viewer.session.send(&frame);
                        self.metrics.resyncs.inc();
                    }
                    // From here on, deltas continue what the parts say.
                    let Some(assets) = self.engine.snapshot(key, region.as_str()) else {
                        watcher.stages.remove(&region);
                        continue;
                    };
                    let parts = SnapshotParts::new(&region, assets);
                    watcher.stages.insert(region, Stage::Sending(parts));
                }
                Some(Stage::Sending(parts)) => {
                    if send_parts(&watcher.viewer, parts) {
                        watcher.stages.remove(&region);
                    }
                }
                _ => return,
            }
        }
    }
}

impl Watcher {
    fn answer(&mut self, region: RegionName, reply: oneshot::Sender<Watched>, watched: Watched) {
        // Whoever asked may have given up; then there is no acknowledgement to wait for.
        if reply.send(watched).is_ok() {
            *self.unacked.entry(region).or_default() += 1;
        }
    }

    /// The region whose snapshot is to be gone on with: the one that is under way, or else one to begin.
    fn next_region(&self) -> Option<RegionName> {
        let is_sending = |stage: &Stage| matches!(stage, Stage::Sending(_));
        let sending = self.stages.iter().find(|(_, stage)| is_sending(stage));
        let is_due = |region: &RegionName, stage: &Stage| {
            matches!(stage, Stage::Due(_)) && !self.unacked.contains_key(region)
        };
        let due = || self.stages.iter().find(|(region, stage)| is_due(region, stage));
        sending.or_else(due).map(|(region, _)| region.clone())
    }
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

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
