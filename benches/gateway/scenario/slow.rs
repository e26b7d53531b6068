//! Readers that are far too slow, beside healthy ones: what they cost, and whether they get right again.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Scenario;
use crate::crowd::{Group, Plan};
use crate::gateway::Peer;
use crate::redis::Stream;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::{Bench, MemoryTrace, Rig};

const SLOW: usize = 1_000;
const SLOW_BYTES_PER_S: u32 = 1_024;
const HEALTHY: usize = 4_000;
/// Fleets that the slow watch, and a tenth as many healthy; the rest of the healthy watch the others.
const HOT_FLEETS: u32 = 10;
const FLEETS: u32 = 400;
const HOT_MESSAGES_PER_S: f64 = 40.0;
const MESSAGES_PER_S: f64 = 2.5;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "slow",
    title: "Slow readers",
    how: "4,000 healthy viewers; 100 of them and 1,000 that read 1 KB/s watch 10 fleets with 40 messages/s each (11 \
          KB/s per viewer), the other 3,900 watch 390 fleets with 2.5 messages/s. 8 s without the slow ones, then \
          25 s with them; then they read at full speed and have 15 s to reach the newest message.",
    peers: &["fleetcast", "socketioxide", "node-fixed"],
    rounds: 1,
    columns: &[
        Column::new("calm_p99_ms", "healthy p99 ms before", 2),
        Column::new("p99_ms", "healthy p99 ms beside them", 2),
        Column::new("calm_mb", "MB before", 1),
        Column::new("peak_mb", "most MB beside them", 1),
        Column::new("growth_kb", "KB per slow reader", 1),
        Column::new("closed", "slow ones closed", 0),
        Column::new("skipped", "messages they missed", 0),
        Column::new("stale", "never reached the newest", 0),
        Column::new("catch_up_s", "s to catch up", 2),
        Column::new("faults", "faults of the healthy", 0),
    ],
    measure,
    charts,
};

fn plans(bench: &Bench) -> (Vec<Plan>, Vec<Plan>) {
    let healthy = bench.viewers(HEALTHY);
    let mut steady = Plan::spread(healthy / 40, 0..HOT_FLEETS, Group::Steady);
    steady.extend(Plan::spread(healthy - steady.len(), HOT_FLEETS..FLEETS, Group::Steady));
    let mut slow = Plan::spread(bench.viewers(SLOW), 0..HOT_FLEETS, Group::Troubled);
    slow.iter_mut().for_each(|plan| plan.bytes_per_s = Some(SLOW_BYTES_PER_S));
    (steady, slow)
}

fn streams() -> Vec<Stream> {
    vec![
        Stream { fleets: 0..HOT_FLEETS, messages_per_s: HOT_MESSAGES_PER_S * f64::from(HOT_FLEETS) },
        Stream {
            fleets: HOT_FLEETS..FLEETS,
            messages_per_s: MESSAGES_PER_S * f64::from(FLEETS - HOT_FLEETS),
        },
    ]
}

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let rig = Rig::start(bench, peer, FLEETS)?;
    let trace = MemoryTrace::start(rig.gateway.pid());
    let (steady, slow) = plans(bench);
    let slow_count = slow.len();
    rig.open(steady)?;
    let (warm, patience) = (Duration::from_millis(500), Duration::from_secs(10));
    let calm = rig.window(streams(), warm, bench.span(8.0), patience)?;
    let calm_mb = rig.gateway.rss_mb()?;
    rig.open(slow)?;
    // What 1,000 more viewers cost while they wait is not the cost of their being slow.
    let joined_mb = rig.gateway.rss_mb()?;
    let beside = rig.window(streams(), warm, bench.span(25.0), patience)?;
    let live = rig.crowd.live(Group::Troubled);

    let started = Instant::now();
    rig.crowd.hurry()?;
    let stale = rig.crowd.drain(Group::Troubled, Duration::from_secs(15))?;
    let catch_up_s = started.elapsed().as_secs_f64();
    let [_, mut late] = rig.crowd.take()?;
    late.add_faults(&beside.troubled);

    let mut sample = Sample::default();
    beside.describe(&mut sample);
    let (points, _) = trace.finish();
    let peak_mb = points.iter().map(|(_, mb)| *mb).fold(0.0, f64::max);
    sample.set("calm_p99_ms", calm.p99_ms());
    sample.set("calm_mb", calm_mb);
    sample.set("peak_mb", peak_mb);
    sample.set("growth_kb", (peak_mb - joined_mb) * 1000.0 / slow_count as f64);
    sample.set("closed", (slow_count as u64 - live) as f64);
    sample.set("skipped", late.missing as f64);
    sample.set("stale", stale as f64);
    sample.set("catch_up_s", catch_up_s);
    if late.late + late.repeats + late.foreign + late.malformed > 0 {
        sample.remark(format!("slow readers saw: {}", late.fault_list()));
    }
    sample.points = points;
    Ok(sample)
}

fn charts(report: &Report) -> Vec<Chart> {
    let title = "Memory in MB while 1,000 slow readers sit beside 4,000 healthy viewers";
    vec![Chart::lines("slow", title, "seconds", "RSS, MB", report.first_traces())]
}
