//! Few viewers, far more messages than one send each can carry.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::crowd::{Group, Plan};
use crate::gateway::Peer;
use crate::redis::Stream;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::{Bench, Rig};

const VIEWERS: usize = 200;
const MESSAGES_PER_S: f64 = 1_000.0;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "firehose",
    title: "Firehose",
    how: "200 viewers of one fleet with 1,000 messages/s: 200,000 deliveries/s offered for 8 s, then up to 20 s \
          to deliver the rest. Latency is of every message, also of those that came late.",
    peers: &["raw", "fleetcast", "socketioxide", "node-fixed"],
    rounds: 3,
    columns: &[
        Column::compared("reached", "deliveries/s reached", 0),
        Column::new("p50_ms", "p50 ms", 1),
        Column::new("p99_ms", "p99 ms", 1),
        Column::new("cpu_us", "CPU µs per delivery", 2),
        Column::new("server_share", "server core", 2),
        Column::new("faults", "faults", 0),
        Column::new("undelivered", "undelivered", 0),
        Column::new("load_share", "load core", 2),
    ],
    measure,
    charts,
};

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let rig = Rig::start(bench, peer, 1)?;
    rig.open(Plan::spread(VIEWERS, 0..1, Group::Steady))?;
    let streams = vec![Stream { fleets: 0..1, messages_per_s: MESSAGES_PER_S }];
    let window = rig.window(streams, Duration::from_millis(500), bench.span(8.0), Duration::from_secs(20))?;
    let mut sample = Sample::default();
    window.describe(&mut sample);
    Ok(sample)
}

fn charts(report: &Report) -> Vec<Chart> {
    vec![
        report.bars("firehose-reached", "Firehose of 200,000 deliveries/s: reached per second", "reached"),
        report.bars("firehose-p99", "Firehose of 200,000 deliveries/s: p99 latency in ms", "p99_ms"),
    ]
}
