//! The highest rate at which the 99th percentile stays below 15 ms.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::crowd::{Group, Plan};
use crate::gateway::Peer;
use crate::redis::Stream;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::{Bench, Rig, Window};

const VIEWERS: usize = 5_000;
const FLEETS: u32 = 500;
const P99_MAX_MS: f64 = 15.0;
const START_PER_S: f64 = 12_000.0;
const GROWTH: f64 = 1.3;
/// Where the generator itself would be in doubt.
const LIMIT_PER_S: f64 = 200_000.0;
const BISECTIONS: usize = 3;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "ramp",
    title: "Highest rate at p99 < 15 ms",
    how: "5,000 viewers in 500 fleets. The rate grows by 1.3 until p99 exceeds 15 ms, something is lost or less \
          than 97 % arrives in time, twice in a row; then three bisections (resolution 3 %). Each step: 0.5 s to \
          warm up, 2.5 s measured.",
    peers: &["raw", "fleetcast", "socketioxide", "node-fixed"],
    rounds: 3,
    columns: &[
        Column::compared("highest", "deliveries/s at p99 < 15 ms", 0),
        Column::new("p50_ms", "p50 ms there", 2),
        Column::new("p99_ms", "p99 ms there", 2),
        Column::new("cpu_us", "CPU µs per delivery there", 1),
        Column::new("server_share", "server core there", 2),
        Column::new("load_share", "load core there", 2),
        Column::new("faults", "faults there", 0),
    ],
    measure,
    charts,
};

struct Ramp<'a> {
    bench: &'a Bench,
    rig: Rig,
    per_message: f64,
    sample: Sample,
}

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let rig = Rig::start(bench, peer, FLEETS)?;
    let viewers = bench.viewers(VIEWERS);
    rig.open(Plan::spread(viewers, 0..FLEETS, Group::Steady))?;
    let per_message = viewers as f64 / f64::from(FLEETS);
    let mut ramp = Ramp { bench, rig, per_message, sample: Sample::default() };
    ramp.sample.set("highest", 0.0);

    let mut good = 0.0;
    let mut rate = START_PER_S;
    while rate < LIMIT_PER_S && ramp.holds(rate)? {
        good = rate;
        rate *= GROWTH;
    }
    let mut bad = rate;
    for _ in 0..BISECTIONS {
        if good == 0.0 {
            break;
        }
        let middle = f64::sqrt(good * bad);
        if ramp.holds(middle)? { good = middle } else { bad = middle }
    }
    ramp.sample.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(ramp.sample)
}

impl Ramp<'_> {
    /// A step that fails is tried once more: on a shared machine one pause is not a limit.
    fn holds(&mut self, rate: f64) -> Result<bool> {
        Ok(self.step(rate)? || self.step(rate)?)
    }

    fn step(&mut self, rate: f64) -> Result<bool> {
        let streams = vec![Stream { fleets: 0..FLEETS, messages_per_s: rate / self.per_message }];
        let patience = Duration::from_secs(30);
        let window = self.rig.window(streams, Duration::from_millis(500), self.bench.span(2.5), patience)?;
        anyhow::ensure!(
            window.undelivered == 0,
            "does not catch up after {rate:.0}/s: {}",
            window.doubts().join(", ")
        );
        let holds = is_kept_up(&window, rate);
        self.sample.points.push((rate, window.p99_ms()));
        if holds {
            self.sample.remarks.clear();
            window.describe(&mut self.sample);
            self.sample.set("highest", window.reached_per_s);
        }
        Ok(holds)
    }
}

fn is_kept_up(window: &Window, rate: f64) -> bool {
    window.p99_ms() < P99_MAX_MS && window.reached_per_s > 0.97 * rate && window.tally.faults() == 0
}

fn charts(report: &Report) -> Vec<Chart> {
    let lines = report.peers().iter().map(|peer| report.median_line(peer)).collect();
    let title = "p99 latency in ms against deliveries/s (5,000 viewers in 500 fleets)";
    let ramp = Chart::lines("ramp", title, "deliveries/s", "p99 ms", lines).log_y().threshold(P99_MAX_MS);
    vec![ramp, report.bars("ramp-highest", "Most deliveries/s at p99 < 15 ms", "highest")]
}
