//! CPU per delivery at one fixed rate, well below every gateway's limit.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::crowd::{Group, Plan};
use crate::gateway::Peer;
use crate::redis::Stream;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::{Bench, Rig};

const VIEWERS: usize = 5_000;
const FLEETS: u32 = 500;
const DELIVERIES_PER_S: f64 = 20_000.0;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "fanout",
    title: "Fan-out at a fixed rate",
    how: "5,000 viewers in 500 fleets, 2,000 messages/s, so 20,000 deliveries/s, for 8 s. CPU is that of the \
          gateway's process, system time included.",
    peers: &["raw", "fleetcast", "socketioxide", "node-fixed"],
    rounds: 3,
    columns: &[
        Column::compared("cpu_us", "CPU µs per delivery", 1),
        Column::new("reached", "deliveries/s", 0),
        Column::new("p50_ms", "p50 ms", 2),
        Column::new("p99_ms", "p99 ms", 2),
        Column::new("faults", "faults", 0),
        Column::new("load_share", "load core", 2),
    ],
    measure,
    charts,
};

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let rig = Rig::start(bench, peer, FLEETS)?;
    let viewers = bench.viewers(VIEWERS);
    rig.open(Plan::spread(viewers, 0..FLEETS, Group::Steady))?;
    let per_message = viewers as f64 / f64::from(FLEETS);
    let streams = vec![Stream { fleets: 0..FLEETS, messages_per_s: DELIVERIES_PER_S / per_message }];
    let window = rig.window(streams, Duration::from_secs(1), bench.span(8.0), Duration::from_secs(20))?;
    let mut sample = Sample::default();
    window.describe(&mut sample);
    Ok(sample)
}

fn charts(report: &Report) -> Vec<Chart> {
    vec![report.bars("fanout", "CPU per delivery at 20,000 deliveries/s, in µs", "cpu_us")]
}
