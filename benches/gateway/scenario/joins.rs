//! Joins and leaves beside fan-outs to a fleet of thousands: who holds what while the others wait.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::Scenario;
use crate::crowd::{Crowd, Group, Plan};
use crate::gateway::Peer;
use crate::redis::Stream;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::{Bench, Rig};

const VIEWERS: usize = 5_000;
const MESSAGES_PER_S: f64 = 5.0;
/// Somebody comes this often, and leaves before the next one comes.
const EVERY: Duration = Duration::from_millis(15);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "joins",
    title: "Joins beside fan-outs",
    how: "One fleet of 5,000 viewers, 5 messages/s, so that each message is one fan-out of 5,000 sends. Another viewer \
          of the same fleet comes and leaves every 15 ms for 8 s, at first without messages, then with them. The time \
          is from opening the TCP connection to the answer of CONNECT, so it holds every wait for the fleet's members.",
    peers: &["raw", "fleetcast", "socketioxide", "node-fixed"],
    rounds: 3,
    columns: &[
        Column::new("calm_p50_ms", "join p50 ms, no messages", 2),
        Column::new("calm_p99_ms", "join p99 ms, no messages", 2),
        Column::new("p50_ms", "join p50 ms beside fan-outs", 2),
        Column::new("p99_ms", "join p99 ms beside fan-outs", 2),
        Column::new("max_ms", "longest join, ms", 1),
        Column::new("delivery_p99_ms", "deliveries p99 ms", 1),
        Column::new("faults", "faults", 0),
    ],
    measure,
    charts,
};

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let rig = Rig::start(bench, peer, 1)?;
    rig.open(Plan::spread(bench.viewers(VIEWERS), 0..1, Group::Steady))?;
    let crowd = rig.another_crowd()?;
    let span = bench.span(8.0);
    let calm = joins(&crowd, span)?;
    rig.crowd.arm()?;
    let streams = vec![Stream { fleets: 0..1, messages_per_s: MESSAGES_PER_S }];
    let publisher = rig.publish(streams, span + Duration::from_millis(500))?;
    let beside = joins(&crowd, span)?;
    publisher.wait()?;
    let undelivered = rig.crowd.drain(Group::Steady, Duration::from_secs(10))?;
    let [steady, _] = rig.crowd.take()?;
    let mut sample = Sample::default();
    let ms = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    sample.set("calm_p50_ms", ms(&calm, 0.5));
    sample.set("calm_p99_ms", ms(&calm, 0.99));
    sample.set("p50_ms", ms(&beside, 0.5));
    sample.set("p99_ms", ms(&beside, 0.99));
    sample.set("max_ms", beside.max() as f64 / 1000.0);
    sample.set("delivery_p99_ms", steady.quantile_ms(0.99));
    sample.set("faults", (steady.faults() + undelivered) as f64);
    Ok(sample)
}

/// One viewer after the other comes and leaves; how long each had to wait, in µs.
fn joins(crowd: &Crowd, span: Duration) -> Result<Histogram<u64>> {
    let mut times = Histogram::new_with_bounds(1, 600_000_000, 3)?;
    let started = Instant::now();
    let mut next = started;
    while started.elapsed() < span {
        let opened = crowd.open(vec![Plan { fleet: 0, group: Group::Troubled, bytes_per_s: None }], 1)?;
        times.saturating_record((opened.seconds * 1e6) as u64);
        crowd.leave(Group::Troubled)?;
        next += EVERY;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(times)
}

fn charts(report: &Report) -> Vec<Chart> {
    vec![report.bars("joins", "p99 of a join beside fan-outs to 5,000 viewers, in ms", "p99_ms")]
}
