//! The last minutes of this replica, sample by sample: what the operations page draws.
//! Invariant: a fixed number of samples, taken at a fixed pace from counters that are kept anyway; however
//! many people look, the parts are not asked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{encoding::text::encode, registry::Registry};
use serde::Serialize;
use tokio::{task::spawn_blocking, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{MemoryClasses, Metrics, seconds::Distribution};

use crate::clock::epoch_ms;

/// From one sample to the next.
pub const STEP: Duration = Duration::from_secs(2);
/// Ten minutes of them.
const SAMPLES_MAX: usize = 300;
/// Parts count their bytes one by one, which takes milliseconds with many thousand viewers: every so many
/// samples is enough for bytes.
const MEMORY_EVERY: usize = 5;

/// One moment; what does not apply is null.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Epoch milliseconds.
    pub ts: i64,
    websocket: i64,
    polling: i64,
    updates_per_s: f64,
    deliveries_per_s: f64,
    bytes_per_s: f64,
    conflated_per_s: f64,
    lagging_per_s: f64,
    resyncs_per_s: f64,
    age_p50_ms: Option<f64>,
    age_p99_ms: Option<f64>,
    region_age_p50_ms: Option<f64>,
    region_age_p99_ms: Option<f64>,
    runtime_lag_p99_ms: Option<f64>,
    kafka_lag: Option<i64>,
    memory: BTreeMap<&'static str, u64>,
}

/// The ring of samples; clones share it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Held for a copy, never across an await.
    samples: Arc<Mutex<VecDeque<Sample>>>,
}

/// Fills a [`History`]. Spawn [`Sampler::run`].
#[derive(Debug)]
pub struct Sampler {
    metrics: Arc<Metrics>,
    classes: MemoryClasses,
    history: History,
    memory: BTreeMap<&'static str, u64>,
    last: Totals,
}

/// What only grows, at one moment.
#[derive(Debug, Clone, Copy)]
struct Totals {
    at: Instant,
    updates: u64,
    deliveries: u64,
    bytes: u64,
    conflated: u64,
    lagging: u64,
    resyncs: u64,
    ages: Distribution,
    region_ages: Distribution,
    runtime_lag: Distribution,
}

impl History {
    /// The samples after `since` (epoch ms), oldest first.
    #[must_use]
    pub fn after(&self, since: i64) -> Vec<Sample> {
        self.samples().iter().filter(|sample| sample.ts > since).cloned().collect()
    }

    fn push(&self, sample: Sample) {
        let mut samples = self.samples();
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sampler {
    /// Samples go to `history`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, classes: MemoryClasses, history: History) -> Self {
        let last = Totals::read(&metrics);
        Self { metrics, classes, history, memory: BTreeMap::new(), last }
    }

    /// Takes samples until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, when there is nothing to tell.
        ticks.tick().await;
        for count in 0_usize.. {
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                return;
            }
            if count.is_multiple_of(MEMORY_EVERY) {
                let classes = self.classes.clone();
                if let Ok(memory) = spawn_blocking(move || bytes_by_class(&classes)).await {
                    self.memory = memory;
                }
            }
            let sample = self.sample();
            self.history.push(sample);
        }
    }

    fn sample(&mut self) -> Sample {
        let now = Totals::read(&self.metrics);
        let last = std::mem::replace(&mut self.last, now);
        let seconds = (now.at - last.at).as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |now: u64, last: u64| (now.saturating_sub(last) as f64 / seconds).round();
        let ms = |seconds: f64| (seconds * 1e5).round() / 100.0;
        let ages = now.ages.since(&last.ages);
        let region_ages = now.region_ages.since(&last.region_ages);
        let (websocket, polling) = self.metrics.open_connections();
        Sample {
            ts: epoch_ms(),
            websocket,
            polling,
            updates_per_s: rate(now.updates, last.updates),
            deliveries_per_s: rate(now.deliveries, last.deliveries),
            bytes_per_s: rate(now.bytes, last.bytes),
            conflated_per_s: rate(now.conflated, last.conflated),
            lagging_per_s: rate(now.lagging, last.lagging),
            resyncs_per_s: rate(now.resyncs, last.resyncs),
            age_p50_ms: ages.quantile(0.5).map(ms),
            age_p99_ms: ages.quantile(0.99).map(ms),
            region_age_p50_ms: region_ages.quantile(0.5).map(ms),
            region_age_p99_ms: region_ages.quantile(0.99).map(ms),
            runtime_lag_p99_ms: now.runtime_lag.since(&last.runtime_lag).quantile(0.99).map(ms),
            kafka_lag: kafka_lag(&self.metrics),
            memory: self.memory.clone(),
        }
    }
}

impl Totals {
    fn read(metrics: &Metrics) -> Self {
        Self {
            at: Instant::now(),
            updates: metrics.updates_received.get(),
            deliveries: metrics.deliveries.get(),
            bytes: metrics.sent_bytes.get(),
            conflated: metrics.conflated.get(),
            lagging: metrics.lagging.get(),
            resyncs: metrics.resyncs.get(),
            ages: metrics.event_age.distribution(),
            region_ages: metrics.region_age.distribution(),
            runtime_lag: metrics.runtime_lag.distribution(),
        }
    }
}

fn bytes_by_class(classes: &MemoryClasses) -> BTreeMap<&'static str, u64> {
    let figures = classes.read();
    let mut bytes = figures.classes;
    bytes.extend(figures.unclassified.map(|other| ("unclassified", other)));
    bytes.extend(figures.resident.map(|resident| ("resident", resident)));
    bytes
}

/// Over all partitions of this replica; nothing without any. A family lists its members in its text only.
fn kafka_lag(metrics: &Metrics) -> Option<i64> {
    let mut registry = Registry::default();
    registry.register("lag", "", metrics.kafka_lag.clone());
    let mut text = String::new();
    encode(&mut text, &registry).ok()?;
    let lines = text.lines().filter(|line| line.starts_with("lag{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).reduce(|sum, lag| sum + lag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler() -> (Arc<Metrics>, Sampler) {
        let metrics = Arc::new(Metrics::default());
        (metrics.clone(), Sampler::new(metrics, MemoryClasses::default(), History::default()))
    }

    #[test]
    fn a_sample_tells_what_happened_since_the_last_one() {
        let (metrics, mut sampler) = sampler();
        metrics.updates_received.inc_by(1_000);
        metrics.connection_opened(4, false);
        metrics.connection_opened(4, true);
        metrics.connection_opened(3, true);
        metrics.event_age.observe(0.2);
        metrics.region_age.observe(0.7);
        sampler.last.at -= Duration::from_secs(2);
        let sample = sampler.sample();
        assert!((490.0..=500.0).contains(&sample.updates_per_s), "{}", sample.updates_per_s);
        assert_eq!((sample.websocket, sample.polling), (2, 1));
        assert!((100.0..=250.0).contains(&sample.age_p50_ms.unwrap()));
        assert!((500.0..=1000.0).contains(&sample.region_age_p50_ms.unwrap()));
        assert_eq!(sample.kafka_lag, None);

        metrics.kafka_lag.get_or_create(&("fleet", 0).into()).set(5);
        metrics.kafka_lag.get_or_create(&("fleet }1", 1).into()).set(7);
        let quiet = sampler.sample();
        assert_eq!((quiet.updates_per_s, quiet.age_p50_ms, quiet.kafka_lag), (0.0, None, Some(12)));
    }

    #[test]
    fn the_ring_is_bounded_and_tells_what_is_new() {
        let (_, mut sampler) = sampler();
        for ts in 0..i64::try_from(SAMPLES_MAX).unwrap() + 50 {
            let sample = Sample { ts, ..sampler.sample() };
            sampler.history.push(sample);
        }
        let all = sampler.history.after(-1);
        assert_eq!((all.len(), all[0].ts), (SAMPLES_MAX, 50));
        let newest: Vec<i64> = sampler.history.after(347).iter().map(|sample| sample.ts).collect();
        assert_eq!(newest, [348, 349]);
    }

    #[tokio::test(start_paused = true)]
    async fn samples_come_at_their_pace_with_the_bytes_of_the_parts() {
        let (_, sampler) = sampler();
        sampler.classes.register("state", || 77);
        let (history, stop) = (sampler.history.clone(), CancellationToken::new());
        let running = tokio::spawn(sampler.run(stop.clone()));
        tokio::time::sleep(STEP * 3 + STEP / 2).await;
        stop.cancel();
        running.await.unwrap();
        let samples = history.after(0);
        assert_eq!(samples.len(), 3);
        assert!(samples.iter().all(|sample| sample.memory["state"] == 77));
    }
}
