//! The demo source: a fleet of simulated vehicles on plausible routes between real cities.
//!
//! Invariants: the same seed gives the same vehicles, routes and movements; every asset speaks once per
//! period, spread evenly over it; time that was slept through is skipped, never made up in a burst.

mod atlas;
mod chance;
mod json;
mod network;
mod path;
mod simulation;
mod vehicle;

use std::{ops::RangeInclusive, time::Duration};

use tokio::time::{Instant, sleep_until};

pub use simulation::Simulation;

use crate::{clock::epoch_ms, fleet::Record, values::InvalidValue};

/// The demo's size and speed.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Demo source")]
pub struct Options {
    /// How many simulated assets there are.
    #[arg(long, env = "FLEETCAST_DEMO_ASSETS", value_name = "COUNT", default_value_t = 50_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub assets: u32,
    /// How many fleets they belong to, at most one per asset; the first is `nordic-01`.
    #[arg(long, env = "FLEETCAST_DEMO_FLEETS", value_name = "COUNT", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub fleets: u32,
    /// How often each asset speaks per second, 0.01 to 50.
    #[arg(long, env = "FLEETCAST_DEMO_RATE", value_name = "HERTZ", default_value_t = 1.0,
          value_parser = rate)]
    pub rate: f64,
    /// The same seed gives the same fleet.
    #[arg(long, env = "FLEETCAST_DEMO_SEED", value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

impl Options {
    /// Checks what one option alone can not say.
    ///
    /// # Errors
    /// There are more fleets than assets, or the rate is out of its range.
    pub fn check(&self) -> Result<(), InvalidDemo> {
        let &Self { assets, fleets, rate, .. } = self;
        if !RATES.contains(&rate) {
            return Err(InvalidDemo::Rate(rate));
        }
        if fleets == 0 || fleets > assets {
            return Err(InvalidDemo::Fleets { fleets, assets });
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { assets: 50_000, fleets: 200, rate: 1.0, seed: 1 }
    }
}

/// Why a demo can not be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidDemo {
    /// Some fleets would be empty, or there are none.
    #[error("FLEETCAST_DEMO_FLEETS (--fleets): {fleets} fleets of {assets} assets; each needs one at least")]
    Fleets {
        /// As asked for.
        fleets: u32,
        /// As asked for.
        assets: u32,
    },
    /// Too fast, too slow, or no number.
    #[error("FLEETCAST_DEMO_RATE (--rate): {0} is not between 0.01 and 50 per second")]
    Rate(f64),
}

const RATES: RangeInclusive<f64> = 0.01..=50.0;

fn rate(text: &str) -> Result<f64, InvalidValue> {
    let rate = text.parse().ok().filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| InvalidValue(format!("`{text}` is not a rate between 0.01 and 50 per second")))
}

/// Batches per second at a rate of one: 50,000 updates leave in slices of 1,000.
const SLICES_PER_SECOND: f64 = 50.0;
/// A batch that is later than this is not followed by the ones that were missed.
const LATE_MAX: Duration = Duration::from_millis(200);

/// The simulation in real time.
#[derive(Debug)]
pub struct Demo {
    simulation: Simulation,
    started: Instant,
    /// The next slice, and how many there are until every asset has spoken.
    slice: usize,
    slices: usize,
    tick: Duration,
    due: Instant,
}

impl Demo {
    /// Builds the fleet; its time starts now.
    ///
    /// # Errors
    /// There are more fleets than assets, or the rate is out of its range.
    pub fn new(options: &Options) -> Result<Self, InvalidDemo> {
        let simulation = Simulation::new(options)?;
        let slices = slices(options.rate, options.assets);
        let tick = Duration::from_secs_f64(1.0 / (options.rate * slices as f64));
        let started = Instant::now();
        Ok(Self { simulation, started, slice: 0, slices, tick, due: started })
    }

    /// What is simulated.
    #[must_use]
    pub fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// The updates of the next slice of the period, when they are due. Cancel-safe: a slice is made
    /// after the wait, at once.
    pub async fn next_batch(&mut self) -> Vec<Record> {
        let now = Instant::now();
        if now > self.due + LATE_MAX {
            self.due = now;
        }
        sleep_until(self.due).await;
        let elapsed = self.due - self.started;
        let records = self.simulation.slice(self.slice, self.slices, elapsed, epoch_ms());
        self.slice = (self.slice + 1) % self.slices;
        self.due += self.tick;
        records
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, positive and small")]
fn slices(rate: f64, assets: u32) -> usize {
    let slices = (SLICES_PER_SECOND / rate).round().max(1.0) as usize;
    slices.min(assets as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn demo(assets: u32, rate: f64) -> Demo {
        Demo::new(&Options { assets, fleets: 10, rate, ..Options::default() }).unwrap()
    }

    async fn ids(demo: &mut Demo) -> Vec<String> {
        let records = demo.next_batch().await;
        records.into_iter().map(|record| record.update.asset.unwrap().to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn every_asset_speaks_once_per_period_spread_evenly() {
        let mut demo = demo(1003, 2.0);
        let started = Instant::now();
        let mut seen = HashSet::new();
        for _ in 0..25 {
            let slice = ids(&mut demo).await;
            assert!((40..=41).contains(&slice.len()), "{}", slice.len());
            for id in slice {
                assert!(seen.insert(id), "twice in one period");
            }
        }
        assert_eq!(seen.len(), 1003);
        let took = started.elapsed();
        assert!((450..500).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_skipped_and_no_asset_loses_its_turn() {
        let mut demo = demo(100, 1.0);
        let first = ids(&mut demo).await;
        tokio::time::advance(Duration::from_secs(30)).await;
        let started = Instant::now();
        let mut seen: HashSet<String> = first.into_iter().collect();
        for _ in 0..49 {
            seen.extend(ids(&mut demo).await);
        }
        assert_eq!(seen.len(), 100);
        assert!(started.elapsed() >= Duration::from_millis(940), "a burst: {:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_delay_is_made_up_so_the_rate_holds() {
        let mut demo = demo(100, 1.0);
        let started = Instant::now();
        for _ in 0..500 {
            ids(&mut demo).await;
            tokio::time::advance(Duration::from_millis(7)).await;
        }
        let took = started.elapsed().as_millis();
        assert!((9_900..10_100).contains(&took), "{took} ms for ten periods");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_loses_nothing() {
        let mut demo = demo(100, 1.0);
        let mut seen = HashSet::new();
        for _ in 0..50 {
            let impatient = tokio::time::timeout(Duration::from_millis(3), ids(&mut demo)).await;
            match impatient {
                Ok(slice) => seen.extend(slice),
                Err(_) => seen.extend(ids(&mut demo).await),
            }
        }
        assert_eq!(seen.len(), 100);
    }
}
