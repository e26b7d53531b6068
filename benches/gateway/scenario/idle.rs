//! What a connected viewer costs when nothing happens.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::crowd::{Group, Plan};
use crate::gateway::Peer;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::{Bench, Rig};

const STEP: usize = 5_000;
const STEPS: usize = 4;
const FLEETS: u32 = 500;
const SETTLE: Duration = Duration::from_secs(3);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "idle",
    title: "Memory per idle viewer",
    how: "Viewers of 500 fleets join in four steps of 5,000 (the last as far as the descriptor limit allows); resident \
          memory is read 3 s after each, and what it was at start is taken off.",
    peers: &["raw", "fleetcast", "socketioxide", "node-fixed"],
    rounds: 1,
    columns: &[
        Column::new("start_mb", "start, MB", 1),
        Column::new("kib_at_5000", "KiB each at 5,000", 2),
        Column::compared("kib_at_most", "KiB each at the most", 2),
        Column::new("most", "the most", 0),
        Column::new("most_mb", "MB at the most", 1),
        Column::new("idle_share", "core while idle", 3),
    ],
    measure,
    charts,
};

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let rig = Rig::start(bench, peer, FLEETS)?;
    std::thread::sleep(Duration::from_secs(2));
    let start_mb = rig.gateway.rss_mb()?;
    let mut sample = Sample::default();
    sample.set("start_mb", start_mb);
    sample.points.push((0.0, start_mb));
    let step = bench.viewers(STEP);
    let mut viewers = 0;
    for _ in 0..STEPS {
        let joining = step.min(bench.viewers_max - viewers);
        rig.open(Plan::spread(joining, 0..FLEETS, Group::Steady))?;
        viewers += joining;
        let before_us = rig.gateway.cpu_us()?;
        std::thread::sleep(SETTLE);
        sample.set("idle_share", (rig.gateway.cpu_us()? - before_us) / SETTLE.as_micros() as f64);
        anyhow::ensure!(rig.crowd.live(Group::Steady) == viewers as u64, "idle viewers were closed");
        let mb = rig.gateway.rss_mb()?;
        sample.points.push((viewers as f64, mb));
        let kib_each = (mb - start_mb) * 1e6 / 1024.0 / viewers as f64;
        if viewers == step {
            sample.set("kib_at_5000", kib_each);
        }
        sample.set("kib_at_most", kib_each);
        sample.set("most_mb", mb);
    }
    sample.set("most", viewers as f64);
    Ok(sample)
}

fn charts(report: &Report) -> Vec<Chart> {
    let title = "Memory in MB against idle viewers";
    vec![Chart::lines("idle", title, "idle viewers", "RSS, MB", report.first_traces())]
}
