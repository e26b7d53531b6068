//! How long the runtime keeps ready work waiting: the event-loop lag of this stack.
//!
//! tokio cannot pin a task to a worker, so tasks alone cannot sample *every* worker: a worker that is stuck
//! in one long poll is simply avoided by them. So a thread outside the runtime takes two samples per tick:
//!
//! * **Turn age**, one sample per tick: the oldest of all workers, so that idle ones hide nobody. A worker serves its sockets and timers between *turns* (bursts of
//!   polls, at most 61 of them), and tokio counts its parks and adds up its busy time exactly there. The age
//!   of the current turn is how long an event that is ready now has waited for that worker at least, and over
//!   many ticks it is distributed as that wait is. A parked worker waits for events, so its age is 0.
//! * **Schedule delay**, one sample per tick. A task posted from outside runs after everything queued before
//!   it: this is what a command from another thread waits, whichever worker takes it. While a worker is parked
//!   it would take it at once: then nothing is posted, since waking workers that have nothing to do is what
//!   a sampler should not cost, and the sample is 0.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, RuntimeMetrics};

use super::Metrics;

/// Short enough to see a turn of 15 ms several times, long enough to cost a fraction of a percent of a core.
const TICK: Duration = Duration::from_millis(5);

/// The running sampler; it ends when dropped.
#[derive(Debug)]
pub struct RuntimeLag {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RuntimeLag {
    /// Starts sampling `runtimes`.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(runtimes: &[Handle], metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watched = |handle: &Handle| (handle.clone(), Workers::new(handle.metrics()), Arc::default());
        let mut runtimes: Vec<(Handle, Workers, Arc<AtomicBool>)> = runtimes.iter().map(watched).collect();
        let sample = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                let mut oldest = Duration::ZERO;
                for (handle, workers, waiting) in &mut runtimes {
                    let parked = workers.sample(Instant::now(), |age| oldest = oldest.max(age));
                    if parked {
                        metrics.runtime_schedule_delay.observe(0.0);
                    } else {
                        post(handle, &metrics, waiting);
                    }
                }
                metrics.runtime_lag.observe(oldest.as_secs_f64());
            }
        };
        let thread = std::thread::Builder::new().name("runtime-lag".to_owned()).spawn(sample)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for RuntimeLag {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panics only when the process is beyond saving; then there is nothing to add.
            thread.join().ok();
        }
    }
}

/// Posts one probe, unless the last one still waits: a stuck runtime must not collect them.
fn post(handle: &Handle, metrics: &Arc<Metrics>, waiting: &Arc<AtomicBool>) {
    if waiting.swap(true, Ordering::AcqRel) {
        return;
    }
    let (metrics, waiting, posted) = (Arc::clone(metrics), Arc::clone(waiting), Instant::now());
    handle.spawn(async move {
        metrics.runtime_schedule_delay.observe(posted.elapsed().as_secs_f64());
        waiting.store(false, Ordering::Release);
    });
}

/// What the last tick saw of each worker.
struct Workers {
    runtime: RuntimeMetrics,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    park_unpark_count: u64,
    busy: Duration,
    turn_began: Instant,
}

impl Workers {
    fn new(runtime: RuntimeMetrics) -> Self {
        let never = Seen { park_unpark_count: 0, busy: Duration::ZERO, turn_began: Instant::now() };
        let seen = vec![never; runtime.num_workers()];
        Self { runtime, seen }
    }

    /// Tells the age of every worker's current turn, and whether one is parked.
    fn sample(&mut self, now: Instant, mut age: impl FnMut(Duration)) -> bool {
        let mut any_parked = false;
        for (worker, seen) in self.seen.iter_mut().enumerate() {
            let park_unpark_count = self.runtime.worker_park_unpark_count(worker);
            let busy = self.runtime.worker_total_busy_duration(worker);
            // Counted at each park and at each unpark: odd means parked.
            let is_parked = park_unpark_count % 2 == 1;
            any_parked |= is_parked;
            if is_parked || seen.park_unpark_count != park_unpark_count || seen.busy != busy {
                *seen = Seen { park_unpark_count, busy, turn_began: now };
            }
            age(now - seen.turn_began);
        }
        any_parked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages_while(work: impl FnOnce(&Handle)) -> Vec<Duration> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut workers = Workers::new(runtime.metrics());
        work(runtime.handle());
        let mut ages = Vec::new();
        for _ in 0..60 {
            std::thread::sleep(Duration::from_millis(5));
            workers.sample(Instant::now(), |age| ages.push(age));
        }
        runtime.shutdown_background();
        ages
    }

    #[test]
    fn one_stuck_worker_is_seen_although_the_other_is_free() {
        let ages = ages_while(|handle| {
            handle.spawn(async { std::thread::sleep(Duration::from_millis(250)) });
        });
        let stuck = ages.iter().filter(|age| **age > Duration::from_millis(100)).count();
        assert!(stuck > 5, "{ages:?}");
    }

    #[test]
    fn a_worker_busy_with_short_polls_does_not_lag() {
        let ages = ages_while(|handle| {
            for _ in 0..4 {
                handle.spawn(async {
                    let until = Instant::now() + Duration::from_secs(1);
                    while Instant::now() < until {
                        tokio::task::yield_now().await;
                    }
                });
            }
        });
        let late = ages.iter().filter(|age| **age > Duration::from_millis(50)).count();
        assert!(late < ages.len() / 4, "{ages:?}");
    }

    #[test]
    fn both_histograms_fill() {
        let metrics = Arc::new(Metrics::default());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let lag = RuntimeLag::start(&[runtime.handle().clone()], Arc::clone(&metrics)).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        drop(lag);
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in ["fleetcast_runtime_lag_seconds_count", "fleetcast_runtime_schedule_delay_seconds_count"]
        {
            let count = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            assert!(count.is_some_and(|count| count > 0), "{name}: {text}");
        }
    }
}
