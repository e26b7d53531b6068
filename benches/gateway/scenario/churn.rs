//! Memory, subscriptions and CPU after viewers came and went, again and again: what killed the old gateway.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::crowd::{Group, Plan};
use crate::gateway::Peer;
use crate::machine;
use crate::redis::Stream;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::{Bench, MemoryTrace, Rig};

const VIEWERS: usize = 5_000;
const FLEETS: u32 = 500;
const CYCLES: usize = 5;
/// After the last viewer: the third heap snapshot is ten seconds later.
const AFTERMATH: Duration = Duration::from_secs(10);
const TRICKLE_PER_S: f64 = 200.0;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "churn",
    title: "Churn",
    how: "5,000 viewers of 500 fleets connect, get 4 messages each and leave, half of them with a reset; five \
          times. A: before the first; B: the most while 5,000 were connected; C: ten seconds after the last left. \
          Then 200 messages/s that nobody watches.",
    peers: &["raw", "fleetcast", "socketioxide", "node-fixed", "node-leaky"],
    rounds: 1,
    columns: &[
        Column::new("a_mb", "A: start, MB", 1),
        Column::new("b_mb", "B: 5,000 viewers, MB", 1),
        Column::new("c_mb", "C: all gone, MB", 1),
        Column::new("kept_percent", "(C-A)/(B-A), %", 1),
        Column::new("channels", "Redis channels left", 0),
        Column::new("descriptors", "descriptors left", 0),
        Column::new("trickle_share", "core for unwatched messages", 3),
        Column::new("connect_s", "s to connect 5,000", 2),
        Column::new("faults", "faults", 0),
    ],
    measure,
    charts,
};

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let rig = Rig::start(bench, peer, FLEETS)?;
    let trace = MemoryTrace::start(rig.gateway.pid());
    std::thread::sleep(Duration::from_secs(2));
    let (a_mb, descriptors) = (rig.gateway.rss_mb()?, machine::descriptors(rig.gateway.pid())?);
    let mut sample = Sample::default();
    let (mut b_mb, mut connect_s, mut faults) = (0.0_f64, Vec::new(), 0);
    for _ in 0..CYCLES {
        let opened = rig.open(Plan::spread(bench.viewers(VIEWERS), 0..FLEETS, Group::Steady))?;
        connect_s.push(opened.seconds);
        let streams = vec![Stream { fleets: 0..FLEETS, messages_per_s: 4.0 * f64::from(FLEETS) }];
        let window = rig.window(streams, Duration::ZERO, Duration::from_secs(1), Duration::from_secs(20))?;
        faults += window.tally.faults() + window.undelivered;
        window.doubts().into_iter().for_each(|doubt| sample.remark(doubt));
        b_mb = b_mb.max(rig.gateway.rss_mb()?);
        rig.crowd.leave(Group::Steady)?;
        std::thread::sleep(Duration::from_secs(1));
    }
    std::thread::sleep(AFTERMATH);
    let c_mb = rig.gateway.rss_mb()?;
    sample.set("a_mb", a_mb);
    sample.set("b_mb", b_mb);
    sample.set("c_mb", c_mb);
    sample.set("kept_percent", 100.0 * (c_mb - a_mb) / (b_mb - a_mb));
    sample.set("channels", rig.redis.watched_channels()? as f64);
    sample.set("descriptors", machine::descriptors(rig.gateway.pid())? as f64 - descriptors as f64);
    sample.set("trickle_share", trickle(&rig, bench.span(5.0))?);
    connect_s.sort_by(f64::total_cmp);
    sample.set("connect_s", connect_s[CYCLES / 2]);
    sample.set("faults", faults as f64);
    sample.points = trace.finish().0;
    Ok(sample)
}

/// Share of a core that messages cost when nobody watches.
fn trickle(rig: &Rig, span: Duration) -> Result<f64> {
    let before = rig.gateway.cpu_us()?;
    let streams = vec![Stream { fleets: 0..FLEETS, messages_per_s: TRICKLE_PER_S }];
    rig.publish(streams, span)?.wait()?;
    Ok((rig.gateway.cpu_us()? - before) / 1e6 / span.as_secs_f64())
}

fn charts(report: &Report) -> Vec<Chart> {
    let title = "Memory in MB while 5,000 viewers come and go five times";
    vec![Chart::lines("churn", title, "seconds", "RSS, MB", report.first_traces())]
}
