//! The task that owns some fleets: applies batches, fans out, keeps joins and leaves short.
//!
//! Invariant: between two chunks of a fan-out, waiting joins and leaves are handled, so none of them
//! waits for more than one chunk; a burst reaches exactly the members that were there before it.

use std::{sync::Arc, time::Duration};

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    DispatchOptions, Joined, Loader, Mode, Viewer, ViewerId,
    fleet::{Fleet, Work},
};
use crate::{
    fleet::{Epoch, FleetBatch, FleetId},
    observe::Metrics,
    store::Snapshot,
};

/// How many members are served before others get their turn.
const CHUNK: usize = 64;
/// How long to wait before a store that did not answer is asked again.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);
/// How often waiting members are looked at.
const TICK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum Data {
    Batch(FleetBatch, Option<Epoch>),
    Gap(FleetId),
    GapEverywhere,
}

#[derive(Debug)]
pub(super) enum Control {
    Join { fleet: FleetId, viewer: Arc<Viewer>, mode: Mode, reply: oneshot::Sender<Joined> },
    Open { fleet: FleetId, viewer: ViewerId },
    Leave { fleet: FleetId, viewer: ViewerId },
    Reload { fleet: FleetId },
    Loaded { fleet: FleetId, snapshot: Option<Snapshot>, missed: bool },
}

pub(super) struct Shard {
    fleets: HashMap<FleetId, Fleet>,
    /// Fleets with members that wait for a tick.
    restless: HashSet<FleetId>,
    options: DispatchOptions,
    loader: Loader,
    metrics: Arc<Metrics>,
    controls: mpsc::WeakSender<Control>,
    epoch: Epoch,
    /// Conflating members of one interval fall due together, counted from here.
    started: Instant,
}

impl Shard {
    pub(super) fn new(
        options: DispatchOptions,
        loader: Loader,
        metrics: Arc<Metrics>,
        controls: mpsc::WeakSender<Control>,
    ) -> Self {
        Self {
            fleets: HashMap::new(),
            restless: HashSet::new(),
            options,
            loader,
            metrics,
            controls,
            epoch: Epoch::random(),
            started: Instant::now(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut data: mpsc::Receiver<Data>,
        mut control: mpsc::Receiver<Control>,
        stop: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let restless = !self.restless.is_empty();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(command) = control.recv() => self.control(command),
                Some(item) = data.recv() => self.data(item, &mut control).await,
                _ = ticks.tick(), if restless => self.tick(),
            }
        }
    }

    fn control(&mut self, command: Control) {
        match command {
            Control::Join { fleet, viewer, mode, reply } => {
                let entry = self
                    .fleets
                    .entry(fleet.clone())
                    .or_insert_with(|| Fleet::new(fleet.clone(), self.epoch, &self.options, self.started));
                entry.join(viewer, mode, reply, Instant::now());
                if entry.wants_state() {
                    self.load(&fleet, false);
                }
                self.note(&fleet);
            }
            Control::Open { fleet, viewer } => {
                if let Some(entry) = self.fleets.get_mut(&fleet) {
                    entry.open(viewer);
                }
                self.tick_fleet(&fleet);
                self.note(&fleet);
            }
            Control::Reload { fleet } => self.load(&fleet, true),
            Control::Leave { fleet, viewer } => {
                if let Some(entry) = self.fleets.get_mut(&fleet) {
                    entry.leave(viewer);
                    if entry.is_empty() {
                        self.fleets.remove(&fleet);
                    }
                }
                self.note(&fleet);
            }
            Control::Loaded { fleet, snapshot, missed } => {
                if let Some(entry) = self.fleets.get_mut(&fleet) {
                    let mut work = Work::default();
                    let again = std::mem::take(&mut entry.reload);
                    match snapshot {
                        Some(snapshot) => {
                            entry.load(snapshot, missed, &mut work);
                            if again {
                                self.load(&fleet, true);
                            }
                        }
                        None => {
                            entry.load_failed();
                            if missed || again {
                                self.load_later(fleet.clone());
                            }
                        }
                    }
                    self.count(work);
                }
                self.tick_fleet(&fleet);
                self.note(&fleet);
            }
        }
    }

    async fn data(&mut self, item: Data, control: &mut mpsc::Receiver<Control>) {
        let (batch, epoch) = match item {
            Data::Gap(fleet) => return self.load(&fleet, true),
            Data::GapEverywhere => {
                let fleets: Vec<FleetId> = self.fleets.keys().cloned().collect();
                return fleets.iter().for_each(|fleet| self.load(fleet, true));
            }
            Data::Batch(batch, epoch) => (batch, epoch),
        };
        let Some(fleet) = self.fleets.get_mut(&batch.fleet) else { return };
        let (burst, gap) = fleet.apply(&batch, epoch);
        if gap {
            self.load(&batch.fleet, true);
        }
        let Some(burst) = burst else { return };
        let mut next = 0;
        let mut work = Work::default();
        while let Some(fleet) = self.fleets.get_mut(&batch.fleet) {
            let slots = fleet.slots();
            if next >= slots {
                break;
            }
            let end = (next + CHUNK).min(slots);
            fleet.fan_out(&burst, next..end, &mut work);
            next = end;
            if next < slots {
                tokio::task::yield_now().await;
                while let Ok(command) = control.try_recv() {
                    self.control(command);
                }
            }
        }
        if work.lagging > 0 {
            self.note(&batch.fleet);
        }
        self.observe_age(&batch, work);
        self.count(work);
    }

    fn observe_age(&self, batch: &FleetBatch, work: Work) {
        if work.deliveries == 0 {
            return;
        }
        let now_ms = crate::transport::epoch_ms();
        let seconds = |since_ms: i64| Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or(0));
        self.metrics.delivery_age.observe(seconds(batch.received_ms).as_secs_f64());
        if let Some(update) = batch.updates.iter().rev().find(|update| update.asset.is_some()) {
            self.metrics.event_age.observe(seconds(update.ts_ms).as_secs_f64());
        }
    }

    /// Asks the store for a fleet's state, once at a time.
    fn load(&mut self, fleet: &FleetId, missed: bool) {
        if self.options.relay_only {
            return;
        }
        let Some(entry) = self.fleets.get_mut(fleet) else { return };
        if std::mem::replace(&mut entry.loading, true) {
            entry.reload |= missed;
            return;
        }
        let (loader, controls, fleet) = (self.loader.clone(), self.controls.clone(), fleet.clone());
        tokio::spawn(async move {
            let snapshot = loader(fleet.clone()).await;
            if let Some(controls) = controls.upgrade() {
                controls.send(Control::Loaded { fleet, snapshot, missed }).await.ok();
            }
        });
    }

    /// What was missed is not forgotten because the store did not answer.
    fn load_later(&self, fleet: FleetId) {
        let controls = self.controls.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RELOAD_PAUSE).await;
            if let Some(controls) = controls.upgrade() {
                controls.send(Control::Reload { fleet }).await.ok();
            }
        });
    }

    fn note(&mut self, fleet: &FleetId) {
        if self.fleets.get(fleet).is_some_and(Fleet::needs_ticks) {
            self.restless.insert(fleet.clone());
        } else {
            self.restless.remove(fleet);
        }
    }

    fn tick(&mut self) {
        let restless: Vec<FleetId> = self.restless.iter().cloned().collect();
        for fleet in restless {
            self.tick_fleet(&fleet);
            self.note(&fleet);
        }
    }

    fn tick_fleet(&mut self, fleet: &FleetId) {
        if let Some(entry) = self.fleets.get_mut(fleet) {
            let mut work = Work::default();
            entry.tick(Instant::now(), &mut work);
            self.count(work);
        }
    }

    fn count(&self, work: Work) {
        self.metrics.deliveries.inc_by(work.deliveries);
        self.metrics.conflated.inc_by(work.conflated);
        self.metrics.lagging.inc_by(work.lagging);
        self.metrics.resyncs.inc_by(work.resyncs);
    }
}
