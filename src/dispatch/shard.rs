//! The task that owns some fleets: takes joins, leaves and batches, and serves the fleets that have work
//! to do in turns, a chunk at a time.
//!
//! Invariants: no fleet, however many members it has, keeps another one or a join waiting for longer than
//! a chunk; batches of one fleet are fanned out one after the other; what waits is bounded.

use std::{collections::VecDeque, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use futures_util::FutureExt;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    DispatchOptions, Head, Heads, Loader, Seen, ViewerId,
    encode::burst_bytes,
    fan_out::Ages,
    fleet::{Fleet, Work},
    member::Joining,
    membership::Token,
    senders::send_later,
    serve::{Budget, Pass},
};
use crate::{
    clock::since_ms,
    fleet::{Epoch, FleetBatch, FleetId},
    observe::Metrics,
    store::Snapshot,
};

/// How many joins and leaves are handled before a fleet gets its turn.
const CONTROLS_PER_TURN: usize = 64;
/// How many batches are taken over before a fleet gets its turn.
const BATCHES_PER_TURN: usize = 64;
/// Batches that may wait behind bursts that are being fanned out; beyond it, no more are taken.
const LATER_MAX: usize = 256;
/// How long the store may take to answer, waiting for its turn aside.
const LOAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait before a store that did not answer is asked again.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);
/// How long joins and leaves are left to gather after the last ones: in a storm of thousands, each of them
/// alone would wake the shard's thread.
const GATHERING: Duration = Duration::from_millis(1);
/// How often waiting members are looked at.
const TICK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum Data {
    Batch(FleetBatch, Option<Epoch>),
    Gap(FleetId),
    GapEverywhere,
    /// The store had this number some time ago.
    Expect(FleetId, Epoch, u64),
}

#[derive(Debug)]
pub(super) enum Control {
    Join {
        fleet: FleetId,
        joining: Joining,
    },
    Open {
        fleet: FleetId,
        viewer: ViewerId,
        token: Token,
    },
    Leave {
        fleet: FleetId,
        viewer: ViewerId,
        token: Token,
    },
    Reload {
        fleet: FleetId,
    },
    /// The shard's fleets.
    List {
        reply: oneshot::Sender<Vec<Seen>>,
    },
    /// Answered in its turn.
    Settle {
        reply: oneshot::Sender<()>,
    },
    /// How far the store was when nobody knew here.
    Head {
        fleet: FleetId,
        look: u64,
        head: Head,
    },
    Loaded {
        fleet: FleetId,
        load: u64,
        snapshot: Option<Snapshot>,
        missed: bool,
    },
}

/// What all shards share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) options: Arc<DispatchOptions>,
    pub(super) loader: Loader,
    pub(super) heads: Heads,
    /// How many fleets may be read from the store at once, by all shards.
    pub(super) loads: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) struct Shard {
    fleets: HashMap<FleetId, Fleet>,
    /// Fleets with members that wait for a tick.
    restless: HashSet<FleetId>,
    /// Fleets with work to do, in the order of their turns; each once.
    turns: VecDeque<FleetId>,
    /// Batches that wait in their fleets.
    later: usize,
    /// Questions to the store so far: an answer to an earlier life of a fleet is not taken for the present.
    loads: u64,
    common: Common,
    controls: mpsc::WeakSender<Control>,
    epoch: Epoch,
    started: Instant,
}

impl Shard {
    pub(super) fn new(common: Common, controls: mpsc::WeakSender<Control>) -> Self {
        Self {
            fleets: HashMap::new(),
            restless: HashSet::new(),
            turns: VecDeque::new(),
            later: 0,
            loads: 0,
            common,
            controls,
            epoch: Epoch::random(),
            started: Instant::now(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut data: mpsc::Receiver<Data>,
        mut controls: mpsc::Receiver<Control>,
        stop: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // While joins and leaves gather, nobody here is told about them.
        let (gathered, mut gathering) = (sleep(GATHERING), false);
        tokio::pin!(gathered);
        loop {
            let (busy, restless) = (!self.turns.is_empty(), !self.restless.is_empty());
            // In no fixed order: a storm of joins must not keep updates waiting, nor the other way round.
            tokio::select! {
                () = stop.cancelled() => return,
                Some(control) = controls.recv(), if !gathering => {
                    self.control(control);
                    for _ in 1..CONTROLS_PER_TURN {
                        let Ok(control) = controls.try_recv() else { break };
                        self.control(control);
                    }
                    if controls.is_empty() {
                        gathering = true;
                        gathered.as_mut().reset(Instant::now() + GATHERING);
                    }
                }
                () = &mut gathered, if gathering => gathering = false,
                Some(item) = data.recv(), if self.later < LATER_MAX => {
                    self.data(item);
                    for _ in 1..BATCHES_PER_TURN {
                        let Ok(item) = data.try_recv() else { break };
                        self.data(item);
                    }
                }
                _ = ticks.tick(), if restless => self.tick(),
                () = tokio::task::yield_now(), if busy => {}
            }
            self.take_turns();
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Join { fleet, joining } => {
                let entry = self.fleets.entry(fleet.clone()).or_insert_with(|| {
                    let Common { options, metrics, .. } = &self.common;
                    Fleet::new(fleet.clone(), self.epoch, options, metrics, self.started)
                });
                entry.join(joining, Instant::now());
                if entry.wants_state() {
                    self.load(&fleet, false);
                } else if entry.wants_head() {
                    self.look(&fleet);
                }
                self.note(&fleet);
            }
            Control::Open { fleet, viewer, token } => {
                if let Some(entry) = self.fleets.get_mut(&fleet) {
                    entry.open(viewer, token);
                    self.begin_pass(&fleet);
                }
            }
            Control::Leave { fleet, viewer, token } => {
                if let Some(entry) = self.fleets.get_mut(&fleet) {
                    entry.leave(viewer, token);
                }
                self.note(&fleet);
            }
            Control::Reload { fleet } => self.load(&fleet, true),
            Control::List { reply } => {
                let seen = |(fleet, entry): (&FleetId, &Fleet)| (fleet.clone(), entry.seen());
                drop(reply.send(self.fleets.iter().map(seen).collect()));
            }
            Control::Settle { reply } => drop(reply.send(())),
            Control::Head { fleet, look, head } => {
                if let Some(entry) = self.fleets.get_mut(&fleet) {
                    entry.baseline.answer(look, head);
                }
            }
            Control::Loaded { fleet, load, snapshot, missed } => self.loaded(&fleet, load, snapshot, missed),
        }
    }

    fn data(&mut self, item: Data) {
        match item {
            Data::Gap(fleet) => self.load(&fleet, true),
            Data::GapEverywhere => {
                let fleets: Vec<FleetId> = self.fleets.keys().cloned().collect();
                fleets.iter().for_each(|fleet| self.load(fleet, true));
            }
            Data::Expect(fleet, epoch, seq) => {
                let Some(entry) = self.fleets.get_mut(&fleet) else { return };
                if !entry.take_baseline(epoch, seq) && entry.is_behind(epoch, seq) {
                    self.common.metrics.feed_silent_losses.inc();
                    self.load(&fleet, true);
                }
            }
            Data::Batch(batch, epoch) => {
                let fleet = batch.fleet.clone();
                if let Some(entry) = self.fleets.get_mut(&fleet) {
                    self.later += usize::from(entry.put_off(batch, epoch));
                    self.queue(&fleet);
                }
            }
        }
    }

    /// Gives a fleet with work to do a place among the turns.
    fn queue(&mut self, fleet: &FleetId) {
        if let Some(entry) = self.fleets.get_mut(fleet)
            && entry.is_busy()
            && !std::mem::replace(&mut entry.queued, true)
        {
            self.turns.push_back(fleet.clone());
        }
    }

    /// Turns that together cost a chunk: between two chunks the runtime looks at its sockets, which costs as much
    /// as a send.
    fn take_turns(&mut self) {
        let mut turns = Budget::default();
        while !turns.is_spent()
            && let Some(fleet) = self.turns.pop_front()
        {
            turns.visit();
            self.take_turn(&fleet, &mut turns);
        }
    }

    fn take_turn(&mut self, fleet: &FleetId, turns: &mut Budget) {
        // It may be gone, and even be another one by now: that one has nothing to do, or does it now.
        let Some(entry) = self.fleets.get_mut(fleet) else { return };
        entry.queued = false;
        let mut gap = false;
        while entry.stream.is_none()
            && let Some((batch, epoch)) = entry.later.pop_front()
        {
            self.later -= 1;
            turns.encoded(burst_bytes(&batch.updates));
            gap |= entry.begin_burst(&batch, epoch);
        }
        let mut work = Work::default();
        let ages = entry.fan_out(&mut work, turns);
        entry.serve(&mut work, turns);
        self.count(work, ages);
        if gap {
            self.load(fleet, true);
        }
        self.queue(fleet);
        self.note(fleet);
    }

    /// Keeps the lists of fleets after something changed in one of them.
    fn note(&mut self, fleet: &FleetId) {
        let Some(entry) = self.fleets.get(fleet) else { return };
        if entry.is_empty() {
            self.later -= entry.later.len();
            self.fleets.remove(fleet);
            self.restless.remove(fleet);
        } else if entry.needs_ticks() {
            self.restless.insert(fleet.clone());
        } else {
            self.restless.remove(fleet);
        }
    }

    fn tick(&mut self) {
        let restless: Vec<FleetId> = self.restless.iter().cloned().collect();
        restless.iter().for_each(|fleet| self.begin_pass(fleet));
    }

    fn begin_pass(&mut self, fleet: &FleetId) {
        if let Some(entry) = self.fleets.get_mut(fleet) {
            entry.pass.get_or_insert_with(|| Pass::new(Instant::now()));
        }
        self.queue(fleet);
        self.note(fleet);
    }

    /// Asks the store how far a fleet is that only those follow who want no state: what is lost before the
    /// first message arrives must be known to be lost.
    fn look(&mut self, fleet: &FleetId) {
        self.loads += 1;
        let look = self.loads;
        let Some(entry) = self.fleets.get_mut(fleet) else { return };
        entry.baseline.ask(look);
        let (heads, fleet) = (self.common.heads.clone(), fleet.clone());
        let answer = {
            let fleet = fleet.clone();
            move |head: Option<Head>| Control::Head { fleet, look, head: head.flatten() }
        };
        self.ask(async move { heads(fleet).await }, answer);
    }

    /// Asks the store, when it is this question's turn.
    fn ask<T: Send + 'static>(
        &self,
        question: impl Future<Output = T> + Send + 'static,
        answer: impl FnOnce(Option<T>) -> Control + Send + 'static,
    ) {
        let (controls, loads) = (self.controls.clone(), self.common.loads.clone());
        tokio::spawn(async move {
            let asking = async {
                let _one_of_few = loads.acquire().await;
                timeout(LOAD_TIMEOUT, question).await.ok()
            };
            // Whatever becomes of it there is an answer, or the fleet would never be asked for again.
            let found = AssertUnwindSafe(asking).catch_unwind().await.ok().flatten();
            if let Some(controls) = controls.upgrade() {
                controls.send(answer(found)).await.ok();
            }
        });
    }

    /// Asks the store for a fleet's state, once at a time.
    fn load(&mut self, fleet: &FleetId, missed: bool) {
        let relays_only = self.common.options.relay_only;
        let Some(entry) = self.fleets.get_mut(fleet).filter(|_| !relays_only) else { return };
        if entry.loading.is_some() {
            entry.reload |= missed;
            return;
        }
        self.loads += 1;
        let load = self.loads;
        entry.asked(load);
        let (loader, fleet) = (self.common.loader.clone(), fleet.clone());
        let answer = {
            let fleet = fleet.clone();
            move |snapshot: Option<_>| Control::Loaded { fleet, load, snapshot: snapshot.flatten(), missed }
        };
        self.ask(async move { loader(fleet).await }, answer);
    }

    fn loaded(&mut self, fleet: &FleetId, load: u64, snapshot: Option<Snapshot>, missed: bool) {
        let Some(entry) = self.fleets.get_mut(fleet).filter(|entry| entry.loading == Some(load)) else {
            return;
        };
        let again = std::mem::take(&mut entry.reload);
        match snapshot.filter(|snapshot| !entry.is_over(snapshot.epoch)) {
            Some(snapshot) if entry.doubts(&snapshot) => {
                entry.loading = None;
                self.load(fleet, missed || again);
            }
            Some(snapshot) => {
                entry.load(snapshot, missed);
                if again {
                    self.load(fleet, true);
                }
                self.begin_pass(fleet);
            }
            None => {
                entry.load_failed();
                if missed || again {
                    // What was missed is not forgotten because the store did not answer.
                    let reload = Control::Reload { fleet: fleet.clone() };
                    send_later(self.controls.clone(), RELOAD_PAUSE, reload);
                }
                self.note(fleet);
            }
        }
    }

    fn count(&self, work: Work, ages: Option<Ages>) {
        let metrics = &self.common.metrics;
        metrics.deliveries.inc_by(work.deliveries);
        metrics.conflated.inc_by(work.conflated);
        metrics.lagging.inc_by(work.lagging);
        metrics.resyncs.inc_by(work.resyncs);
        let Some(ages) = ages else { return };
        metrics.delivery_age.observe(since_ms(ages.received_ms).as_secs_f64());
        if let Some(event_ms) = ages.event_ms {
            metrics.event_age.observe(since_ms(event_ms).as_secs_f64());
        }
    }
}
