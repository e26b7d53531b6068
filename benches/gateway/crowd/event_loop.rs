//! The thread that owns all viewers: one epoll loop.
//!
//! Invariant: work per event is bounded by what the socket holds; timers (retries, deadlines, slow
//! readers) run every [`TICK`], whatever the traffic.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::tally::Tally;
use super::viewer::{Clock, Outcome, Tallies, Viewer};
use super::{Command, Counters, Fleets, Group, Opened, Plan};

const WAKE: Token = Token(usize::MAX);
const TICK: Duration = Duration::from_millis(10);
const EVENTS_PER_POLL: usize = 1024;
const READ_BUFFER: usize = 64 * 1024;

/// As socket.io-client: gives up on a handshake after this long, and backs off before the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const BACKOFF_MAX_MS: u64 = 5_000;
const ATTEMPTS_MAX: u32 = 20;

/// Ticks in which every slow reader has its turn once: one second.
const TICKS_PER_ROUND: usize = 100;

/// An opening in progress.
struct Opening {
    started: Instant,
    waiting: VecDeque<(Plan, u32)>,
    retrying: Vec<(Instant, Plan, u32)>,
    connecting: usize,
    in_flight: usize,
    retries: u64,
    failed: u64,
    reply: SyncSender<Opened>,
}

pub(super) struct EventLoop {
    poll: Poll,
    port: u16,
    clock: Clock,
    fleets: Arc<Fleets>,
    counters: Arc<Counters>,
    commands: Receiver<Command>,
    viewers: Slab<Viewer>,
    tallies: Tallies,
    buffer: Vec<u8>,
    opening: Option<Opening>,
    /// Handshakes in the order of their deadlines; entries of finished ones are skipped.
    deadlines: VecDeque<(Instant, usize, u64)>,
    paced: Vec<usize>,
    paced_next: usize,
    serial: u64,
    next_tick: Instant,
}

impl EventLoop {
    pub(super) fn new(
        port: u16,
        fleets: Arc<Fleets>,
        clock: Clock,
        counters: Arc<Counters>,
        commands: Receiver<Command>,
    ) -> Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let looping = Self {
            poll,
            port,
            clock,
            fleets,
            counters,
            commands,
            viewers: Slab::new(),
            tallies: std::array::from_fn(|_| Tally::new()),
            buffer: vec![0; READ_BUFFER],
            opening: None,
            deadlines: VecDeque::new(),
            paced: Vec::new(),
            paced_next: 0,
            serial: 0,
            next_tick: Instant::now(),
        };
        Ok((looping, waker))
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        loop {
            let timeout = self.next_tick.saturating_duration_since(Instant::now());
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                panic!("epoll failed: {error}");
            }
            for event in &events {
                if event.token() != WAKE {
                    self.on_ready(event.token().0);
                }
            }
            self.publish_counts();
            while let Ok(command) = self.commands.try_recv() {
                if matches!(command, Command::Stop) {
                    return;
                }
                self.obey(command);
            }
            self.open_more();
            if Instant::now() >= self.next_tick {
                self.next_tick = Instant::now() + TICK;
                self.tick();
            }
        }
    }

    fn on_ready(&mut self, index: usize) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        if viewer.is_paced() {
            return;
        }
        let tally = &mut self.tallies[viewer.plan.group as usize];
        match viewer.on_ready(self.port, &mut self.buffer, self.clock, tally) {
            Outcome::Waiting => {}
            Outcome::Joined => self.on_joined(index),
            Outcome::Gone => self.on_gone(index),
        }
    }

    fn on_joined(&mut self, index: usize) {
        let plan = self.viewers[index].plan;
        self.counters.live[plan.group as usize].fetch_add(1, Ordering::Relaxed);
        if plan.bytes_per_s.is_some() {
            self.paced.push(index);
        }
        if let Some(opening) = &mut self.opening {
            opening.connecting -= 1;
        }
    }

    fn on_gone(&mut self, index: usize) {
        let viewer = self.viewers.remove(index);
        let Plan { group, .. } = viewer.plan;
        if viewer.is_live() {
            self.counters.live[group as usize].fetch_sub(1, Ordering::Relaxed);
            self.tallies[group as usize].closed += 1;
            self.paced.retain(|paced| *paced != index);
        } else if let Some(opening) = &mut self.opening {
            opening.connecting -= 1;
            opening.retry(viewer.plan, viewer.attempt, viewer.serial);
        }
    }

    /// Counts that the scenario reads while the load runs; `delivered` only grows.
    fn publish_counts(&self) {
        for group in Group::ALL {
            let index = group as usize;
            self.counters.delivered[index].store(self.tallies[index].total(), Ordering::Relaxed);
        }
    }

    fn obey(&mut self, command: Command) {
        // A scenario that stopped waiting for its answer has failed and says so itself.
        match command {
            Command::Open { plans, in_flight, reply } => {
                self.opening = Some(Opening::new(plans, in_flight, reply))
            }
            Command::Leave { group, reply } => {
                self.leave(group);
                reply.send(()).ok();
            }
            Command::Arm { reply } => {
                for (_, viewer) in self.viewers.iter_mut().filter(|(_, v)| v.is_live()) {
                    viewer.sequence.arm(self.fleets.published(viewer.plan.fleet));
                }
                self.tallies.iter_mut().for_each(|tally| drop(tally.take()));
                reply.send(()).ok();
            }
            Command::Take { reply } => drop(reply.send(self.tallies.each_mut().map(Tally::take))),
            Command::Behind { reply } => {
                reply.send(self.behind()).ok();
            }
            Command::Hurry { reply } => {
                self.hurry();
                reply.send(()).ok();
            }
            Command::Stop => {}
        }
    }

    fn leave(&mut self, group: Group) {
        let leaving: Vec<usize> =
            self.viewers.iter().filter(|(_, v)| v.plan.group == group).map(|(i, _)| i).collect();
        for (turn, index) in leaving.into_iter().enumerate() {
            self.viewers.remove(index).leave(turn % 2 == 0);
        }
        self.paced.retain(|index| self.viewers.contains(*index));
        self.counters.live[group as usize].store(0, Ordering::Relaxed);
    }

    fn behind(&self) -> [u64; Group::COUNT] {
        let mut behind = [0; Group::COUNT];
        for (_, viewer) in self.viewers.iter().filter(|(_, v)| v.is_live()) {
            behind[viewer.plan.group as usize] +=
                viewer.sequence.behind(self.fleets.published(viewer.plan.fleet));
        }
        behind
    }

    /// What waits in the sockets of slow readers was announced long ago: read it now.
    fn hurry(&mut self) {
        for index in std::mem::take(&mut self.paced) {
            if let Some(viewer) = self.viewers.get_mut(index) {
                viewer.plan.bytes_per_s = None;
                self.on_ready(index);
            }
        }
    }

    fn open_more(&mut self) {
        loop {
            let Some(opening) = &mut self.opening else { return };
            if opening.is_done() {
                opening.report();
                self.opening = None;
                return;
            }
            if opening.connecting >= opening.in_flight {
                return;
            }
            let Some((plan, attempt)) = opening.waiting.pop_front() else { return };
            self.serial += 1;
            let serial = self.serial;
            match Viewer::connect(self.port, plan, serial, attempt) {
                Ok(viewer) => {
                    opening.connecting += 1;
                    self.admit(viewer, serial);
                }
                Err(_) => opening.retry(plan, attempt, serial),
            }
        }
    }

    fn admit(&mut self, viewer: Viewer, serial: u64) {
        let index = self.viewers.insert(viewer);
        self.deadlines.push_back((Instant::now() + CONNECT_TIMEOUT, index, serial));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut self.viewers[index].stream, Token(index), interest).is_err() {
            self.on_gone(index);
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        while let Some((deadline, index, serial)) = self.deadlines.front().copied() {
            let is_pending = self.viewers.get(index).is_some_and(|v| v.serial == serial && !v.is_live());
            if is_pending && deadline > now {
                break;
            }
            self.deadlines.pop_front();
            if is_pending {
                self.on_gone(index);
            }
        }
        if let Some(opening) = &mut self.opening {
            opening.requeue(now);
        }
        self.read_paced();
    }

    /// Each tick, the next hundredth of the slow readers reads what it is allowed in a second.
    fn read_paced(&mut self) {
        for _ in 0..self.paced.len().div_ceil(TICKS_PER_ROUND) {
            self.paced_next = (self.paced_next + 1) % self.paced.len();
            let index = self.paced[self.paced_next];
            let Some(viewer) = self.viewers.get_mut(index) else { continue };
            let budget = viewer.plan.bytes_per_s.map_or(0, |rate| rate as usize);
            let tally = &mut self.tallies[viewer.plan.group as usize];
            if !matches!(
                viewer.read(&mut self.buffer, budget, self.clock, tally),
                Ok((Outcome::Waiting | Outcome::Joined, _))
            ) {
                self.on_gone(index);
                if self.paced.is_empty() {
                    return;
                }
            }
        }
    }
}

impl Opening {
    fn new(plans: Vec<Plan>, in_flight: usize, reply: SyncSender<Opened>) -> Self {
        let waiting = plans.into_iter().map(|plan| (plan, 0)).collect();
        let started = Instant::now();
        Self {
            started,
            waiting,
            retrying: Vec::new(),
            connecting: 0,
            in_flight,
            retries: 0,
            failed: 0,
            reply,
        }
    }

    /// Back after a pause that doubles and is spread, as socket.io-client does it.
    fn retry(&mut self, plan: Plan, attempt: u32, serial: u64) {
        if attempt >= ATTEMPTS_MAX {
            self.failed += 1;
            return;
        }
        self.retries += 1;
        let pause_ms = (1000 << attempt.min(3)).min(BACKOFF_MAX_MS);
        let spread_ms = serial.wrapping_mul(2_654_435_761) % pause_ms;
        let due = Instant::now() + Duration::from_millis(pause_ms / 2 + spread_ms);
        self.retrying.push((due, plan, attempt + 1));
    }

    fn requeue(&mut self, now: Instant) {
        let waiting = &mut self.waiting;
        self.retrying.retain(|(due, plan, attempt)| {
            if *due <= now {
                waiting.push_back((*plan, *attempt));
            }
            *due > now
        });
    }

    fn is_done(&self) -> bool {
        self.connecting == 0 && self.waiting.is_empty() && self.retrying.is_empty()
    }

    fn report(&self) {
        let Self { retries, failed, .. } = *self;
        // The scenario waits for exactly this; if it is gone, so is the run.
        self.reply.send(Opened { seconds: self.started.elapsed().as_secs_f64(), retries, failed }).ok();
    }
}
