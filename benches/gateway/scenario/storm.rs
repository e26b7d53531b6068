//! 5,000 viewers are lost and come back at once, beside others that stay.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Scenario;
use crate::crowd::{Group, Plan};
use crate::gateway::{Peer, p99_ms_between};
use crate::redis::Stream;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::{Bench, IN_FLIGHT, Rig};

const LOST: usize = 5_000;
const LOST_FLEETS: u32 = 500;
const STEADY: usize = 500;
const STEADY_FLEETS: u32 = 50;
const STEADY_MESSAGES_PER_S: f64 = 300.0;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "storm",
    title: "Reconnect storm",
    how: "5,000 viewers drop, half of them with a reset, and all come back, 400 handshakes at a time; 500 others \
          of 50 fleets, read by another thread, stay and get 3,000 deliveries/s. CPU is for losing one and taking it back. \
          `fleetcast-paced` admits 1,000 handshakes/s, its default; the others have no limit. \
          Lag is Fleetcast's own measure of its runtime, over the storm: the bucket that holds its p99.",
    peers: &["raw", "fleetcast", "fleetcast-paced", "socketioxide", "node-fixed"],
    rounds: 3,
    columns: &[
        Column::new("seconds", "s until all are back", 2),
        Column::compared("each_us", "CPU µs each", 0),
        Column::new("calm_p99_ms", "p99 ms of the others before", 2),
        Column::new("storm_p99_ms", "p99 ms of the others meanwhile", 2),
        Column::new("lag_p99_ms", "runtime lag p99 ≤ ms", 1),
        Column::new("retries", "refused, then back", 0),
        Column::new("faults", "faults of the others", 0),
    ],
    measure,
    charts,
};

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let rig = Rig::start(bench, peer, STEADY_FLEETS + LOST_FLEETS)?;
    let lost =
        || Plan::spread(bench.viewers(LOST), STEADY_FLEETS..STEADY_FLEETS + LOST_FLEETS, Group::Troubled);
    rig.open(Plan::spread(STEADY, 0..STEADY_FLEETS, Group::Steady))?;
    let crowd = rig.another_crowd()?;
    crowd.open(lost(), IN_FLIGHT)?;
    std::thread::sleep(Duration::from_secs(2));
    let streams = || vec![Stream { fleets: 0..STEADY_FLEETS, messages_per_s: STEADY_MESSAGES_PER_S }];
    let calm = rig.window(streams(), Duration::from_millis(200), bench.span(4.0), Duration::from_secs(5))?;

    // CPU of the deliveries to those that stay, to be taken off below.
    let calm_share = calm.server_share;
    rig.crowd.arm()?;
    let publisher = rig.publish(streams(), Duration::from_secs(30))?;
    std::thread::sleep(Duration::from_millis(500));
    drop(rig.crowd.take()?);
    let lag_before = rig.gateway.runtime_lag();
    let (before_us, started) = (rig.gateway.cpu_us()?, Instant::now());
    crowd.leave(Group::Troubled)?;
    let opened = crowd.open(lost(), IN_FLIGHT)?;
    let seconds = started.elapsed().as_secs_f64();
    // What a gateway put off, such as cleaning up after the lost, is part of the cost.
    std::thread::sleep(Duration::from_millis(500));
    let spent_us = rig.gateway.cpu_us()? - before_us - calm_share * started.elapsed().as_secs_f64() * 1e6;
    let lag_after = rig.gateway.runtime_lag();
    let [steady, _] = rig.crowd.take()?;
    anyhow::ensure!(rig.crowd.live(Group::Steady) == STEADY as u64, "viewers that stay were closed");
    drop((crowd, rig, publisher));

    let mut sample = Sample::default();
    sample.set("seconds", seconds);
    sample.set("each_us", spent_us / bench.viewers(LOST) as f64);
    sample.set("calm_p99_ms", calm.p99_ms());
    sample.set("storm_p99_ms", steady.quantile_ms(0.99));
    if let Some(lag_ms) =
        lag_before.zip(lag_after).and_then(|(before, after)| p99_ms_between(&before, &after))
    {
        sample.set("lag_p99_ms", lag_ms);
    }
    sample.set("retries", opened.retries as f64);
    sample.set("faults", (steady.faults() + calm.tally.faults() + calm.undelivered) as f64);
    if steady.faults() > 0 {
        sample.remark(steady.fault_list());
    }
    Ok(sample)
}

fn charts(report: &Report) -> Vec<Chart> {
    vec![
        report.bars("storm", "CPU per viewer lost and taken back, in µs", "each_us"),
        report.bars("storm-p99", "p99 of the viewers that stay, during the storm, in ms", "storm_p99_ms"),
    ]
}
