//! One gateway with its Redis, its viewers and its load, and the measured window that most scenarios share.
//!
//! Invariant: a window's figures are of the same span: deliveries, CPU time and latencies; what came after
//! it counts for latency and faults only, so that a gateway that falls behind cannot look fast.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::crowd::{Clock, Crowd, Fleets, Group, Opened, Plan, Tally};
use crate::gateway::{Gateway, Peer};
use crate::machine::{self, Cores};
use crate::redis::{Publisher, Redis, Stream};
use crate::report::Sample;

/// Handshakes at a time: below every gateway's accept queue, so that no SYN is dropped and resent.
pub(crate) const IN_FLIGHT: usize = 400;

/// How often memory is sampled in the background.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// What holds for the whole run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) cores: Cores,
    /// Smaller and shorter: for a look, not for a record.
    pub(crate) is_quick: bool,
    /// Viewers that the descriptor limit allows.
    pub(crate) viewers_max: usize,
    pub(crate) logs: PathBuf,
    pub(crate) machine: serde_json::Value,
}

impl Bench {
    /// `full`, or a fifth of it in a quick run.
    pub(crate) fn viewers(&self, full: usize) -> usize {
        if self.is_quick { full / 5 } else { full }.min(self.viewers_max)
    }

    /// `full` seconds, or a third of it in a quick run.
    pub(crate) fn span(&self, full_s: f64) -> Duration {
        Duration::from_secs_f64(if self.is_quick { (full_s / 3.0).max(1.0) } else { full_s })
    }
}

/// Everything that one measurement runs.
#[derive(Debug)]
pub(crate) struct Rig {
    // Dropped in this order: viewers, gateway, Redis.
    pub(crate) crowd: Crowd,
    pub(crate) gateway: Gateway,
    pub(crate) redis: Redis,
    pub(crate) fleets: Arc<Fleets>,
    clock: Clock,
}

/// What was seen of the steady viewers in one window.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) reached_per_s: f64,
    pub(crate) cpu_us_per_delivery: f64,
    /// Share of one core.
    pub(crate) server_share: f64,
    pub(crate) tally: Tally,
    /// What the troubled viewers saw.
    pub(crate) troubled: Tally,
    /// Not delivered when patience ended.
    pub(crate) undelivered: u64,
    pub(crate) publisher_lag_ms: f64,
    /// Share of one core that generator and Redis used together.
    pub(crate) load_share: f64,
}

impl Rig {
    pub(crate) fn start(bench: &Bench, peer: &Peer, fleets: u32) -> Result<Self> {
        let (fleets, clock) = (Fleets::new(fleets), Clock::start());
        let redis = Redis::start()?;
        let gateway = Gateway::start(peer, &redis, &bench.cores, &bench.logs)?;
        let crowd = Crowd::start(gateway.port, Arc::clone(&fleets), clock)?;
        Ok(Self { crowd, gateway, redis, fleets, clock })
    }

    /// More viewers, on a thread of their own: what happens to them must not delay the reading of others.
    pub(crate) fn another_crowd(&self) -> Result<Crowd> {
        Crowd::start(self.gateway.port, Arc::clone(&self.fleets), self.clock)
    }

    /// Opens viewers and waits until the gateway had time to subscribe to their fleets.
    pub(crate) fn open(&self, plans: Vec<Plan>) -> Result<Opened> {
        let opened = self.crowd.open(plans, IN_FLIGHT)?;
        std::thread::sleep(Duration::from_millis(700));
        Ok(opened)
    }

    /// A load in the background.
    pub(crate) fn publish(&self, streams: Vec<Stream>, span: Duration) -> Result<Publisher> {
        Publisher::start(&self.redis, &self.fleets, self.clock, streams, span)
    }

    /// Publishes, looks at `span` of it after `warm`, then waits until all is delivered.
    pub(crate) fn window(
        &self,
        streams: Vec<Stream>,
        warm: Duration,
        span: Duration,
        patience: Duration,
    ) -> Result<Window> {
        self.crowd.arm()?;
        let publisher = self.publish(streams, warm + span)?;
        std::thread::sleep(warm);
        let warmed = self.crowd.take()?;
        let before = self.reading()?;
        std::thread::sleep(span);
        let after = self.reading()?;
        let published = publisher.wait()?;
        let undelivered = self.crowd.drain(Group::Steady, patience)?;
        let [mut tally, mut troubled] = self.crowd.take()?;
        tally.add_faults(&warmed[Group::Steady as usize]);
        troubled.add_faults(&warmed[Group::Troubled as usize]);
        let seconds = (after.at - before.at).as_secs_f64();
        let deliveries = (after.delivered - before.delivered) as f64;
        Ok(Window {
            reached_per_s: deliveries / seconds,
            cpu_us_per_delivery: (after.server_us - before.server_us) / deliveries.max(1.0),
            server_share: (after.server_us - before.server_us) / 1e6 / seconds,
            load_share: (after.load_us - before.load_us) / 1e6 / seconds,
            publisher_lag_ms: published.worst_lag_ms,
            tally,
            troubled,
            undelivered,
        })
    }

    fn reading(&self) -> Result<Reading> {
        Ok(Reading {
            at: Instant::now(),
            delivered: self.crowd.delivered(Group::Steady),
            server_us: self.gateway.cpu_us()?,
            load_us: machine::cpu_us(std::process::id())? + machine::cpu_us(self.redis.pid())?,
        })
    }
}

struct Reading {
    at: Instant,
    delivered: u64,
    server_us: f64,
    load_us: f64,
}

impl Window {
    pub(crate) fn p99_ms(&self) -> f64 {
        self.tally.quantile_ms(0.99)
    }

    /// The columns that every scenario with a window has, and a remark for each doubt.
    pub(crate) fn describe(&self, sample: &mut Sample) {
        sample.set("reached", self.reached_per_s);
        sample.set("cpu_us", self.cpu_us_per_delivery);
        sample.set("p50_ms", self.tally.quantile_ms(0.5));
        sample.set("p99_ms", self.p99_ms());
        sample.set("server_share", self.server_share);
        sample.set("load_share", self.load_share);
        sample.set("faults", self.tally.faults() as f64);
        sample.set("undelivered", self.undelivered as f64);
        sample.set("publisher_lag_ms", self.publisher_lag_ms);
        self.doubts().into_iter().for_each(|doubt| sample.remark(doubt));
    }

    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.tally.faults() > 0 {
            doubts.push(self.tally.fault_list());
        }
        if self.undelivered > 0 {
            doubts.push(format!("{} still undelivered", self.undelivered));
        }
        if self.publisher_lag_ms > 10.0 {
            doubts.push(format!("the publisher was up to {:.0} ms late", self.publisher_lag_ms));
        }
        doubts
    }
}

/// Samples the gateway's memory from its start to the end of a scenario.
#[derive(Debug)]
pub(crate) struct MemoryTrace {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(f64, f64)>>,
}

impl MemoryTrace {
    pub(crate) fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (start, mut points) = (Instant::now(), Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let Ok(rss) = machine::rss_bytes(pid) else { break };
                points.push((start.elapsed().as_secs_f64(), rss / 1e6));
                std::thread::sleep(SAMPLE_EVERY);
            }
            points
        });
        Self { stop, thread }
    }

    /// (seconds, MB), and the highest of them.
    pub(crate) fn finish(self) -> (Vec<(f64, f64)>, f64) {
        self.stop.store(true, Ordering::Relaxed);
        let points = self.thread.join().unwrap_or_default();
        let highest = points.iter().map(|(_, mb)| *mb).fold(0.0, f64::max);
        (points, highest)
    }
}
