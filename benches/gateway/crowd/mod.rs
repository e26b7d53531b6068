//! The viewers: thousands of connections on one thread, steered by commands.
//!
//! Invariant: the thread that reads is the only one that touches a connection or a tally; the scenario
//! sees counters, and tallies that it takes.

mod event_loop;
mod tally;
mod viewer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::Waker;

pub(crate) use tally::{Tally, self_check};
pub(crate) use viewer::Clock;

/// Commands that may wait; the scenario waits for an answer to nearly each.
const COMMANDS_MAX: usize = 8;

/// Which side of a comparison inside one run a viewer is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Healthy viewers that stay.
    Steady,
    /// Those that something happens to: slow, or lost and back.
    Troubled,
}

impl Group {
    pub(crate) const COUNT: usize = 2;
    pub(crate) const ALL: [Self; Self::COUNT] = [Self::Steady, Self::Troubled];
}

/// One viewer to open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) fleet: u32,
    pub(crate) group: Group,
    /// Reads no faster than this.
    pub(crate) bytes_per_s: Option<u32>,
}

impl Plan {
    /// `count` steady viewers, spread evenly over the fleets.
    pub(crate) fn spread(count: usize, fleets: std::ops::Range<u32>, group: Group) -> Vec<Self> {
        fleets.cycle().take(count).map(|fleet| Self { fleet, group, bytes_per_s: None }).collect()
    }
}

/// How many messages of each fleet have been published: what viewers are measured against.
#[derive(Debug)]
pub(crate) struct Fleets(Vec<AtomicU64>);

impl Fleets {
    pub(crate) fn new(count: u32) -> Arc<Self> {
        Arc::new(Self((0..count).map(|_| AtomicU64::new(0)).collect()))
    }

    pub(crate) fn published(&self, fleet: u32) -> u64 {
        self.0[fleet as usize].load(Ordering::Acquire)
    }

    /// The next position of the fleet. Only the publisher calls it.
    pub(crate) fn advance(&self, fleet: u32) -> u64 {
        self.0[fleet as usize].fetch_add(1, Ordering::AcqRel) + 1
    }
}

/// How an opening went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) seconds: f64,
    /// Attempts that were answered with 503 or broken off, then repeated.
    pub(crate) retries: u64,
    pub(crate) failed: u64,
}

enum Command {
    Open {
        plans: Vec<Plan>,
        in_flight: usize,
        reply: SyncSender<Opened>,
    },
    Leave {
        group: Group,
        reply: SyncSender<()>,
    },
    Arm {
        reply: SyncSender<()>,
    },
    Take {
        reply: SyncSender<[Tally; Group::COUNT]>,
    },
    Behind {
        reply: SyncSender<[u64; Group::COUNT]>,
    },
    /// Slow readers read like everybody else from now on.
    Hurry {
        reply: SyncSender<()>,
    },
    Stop,
}

#[derive(Debug, Default)]
struct Counters {
    live: [AtomicU64; Group::COUNT],
    delivered: [AtomicU64; Group::COUNT],
}

/// A handle to the thread of viewers.
#[derive(Debug)]
pub(crate) struct Crowd {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    pub(crate) fn start(port: u16, fleets: Arc<Fleets>, clock: Clock) -> Result<Self> {
        let (commands, receiver) = sync_channel(COMMANDS_MAX);
        let counters = Arc::new(Counters::default());
        let (looping, waker) =
            event_loop::EventLoop::new(port, fleets, clock, Arc::clone(&counters), receiver)?;
        let thread = std::thread::Builder::new().name("viewers".into()).spawn(move || looping.run())?;
        Ok(Self { commands, waker, counters, thread: Some(thread) })
    }

    /// Opens viewers, so many at a time, and waits until all are live or have given up.
    pub(crate) fn open(&self, plans: Vec<Plan>, in_flight: usize) -> Result<Opened> {
        let asked = plans.len();
        let opened = self.ask(|reply| Command::Open { plans, in_flight, reply })?;
        anyhow::ensure!(opened.failed == 0, "{} of {asked} viewers could not connect", opened.failed);
        Ok(opened)
    }

    /// All viewers of a group leave at once: every other one without a goodbye.
    pub(crate) fn leave(&self, group: Group) -> Result<()> {
        self.ask(|reply| Command::Leave { group, reply })
    }

    /// From now on every viewer expects everything; call it while nothing is published.
    pub(crate) fn arm(&self) -> Result<()> {
        self.ask(|reply| Command::Arm { reply })
    }

    /// The tallies since the last look.
    pub(crate) fn take(&self) -> Result<[Tally; Group::COUNT]> {
        self.ask(|reply| Command::Take { reply })
    }

    pub(crate) fn hurry(&self) -> Result<()> {
        self.ask(|reply| Command::Hurry { reply })
    }

    /// How many deliveries are still to come, by group.
    pub(crate) fn behind(&self) -> Result<[u64; Group::COUNT]> {
        self.ask(|reply| Command::Behind { reply })
    }

    /// Waits until a group has everything that was published; what is missing at the end.
    pub(crate) fn drain(&self, group: Group, patience: Duration) -> Result<u64> {
        let deadline = Instant::now() + patience;
        loop {
            let behind = self.behind()?[group as usize];
            if behind == 0 || Instant::now() > deadline {
                return Ok(behind);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn live(&self, group: Group) -> u64 {
        self.counters.live[group as usize].load(Ordering::Relaxed)
    }

    /// Deliveries so far, since the crowd started.
    pub(crate) fn delivered(&self, group: Group) -> u64 {
        self.counters.delivered[group as usize].load(Ordering::Relaxed)
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T> {
        let (reply, answer): (_, Receiver<T>) = sync_channel(1);
        self.commands.send(command(reply)).ok().context("the viewers' thread is gone")?;
        self.waker.wake()?;
        answer.recv().context("the viewers' thread is gone")
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // A thread that is gone already has nothing left to stop.
        drop(self.commands.send(Command::Stop));
        drop(self.waker.wake());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
