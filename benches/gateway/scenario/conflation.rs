//! What a viewer that wants the newest states pays, where assets speak more often than it looks.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::dashboards::{Stage, is_each};
use crate::gateway::Peer;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::Bench;

const ASSETS: u32 = 500;
const FLEETS: u32 = 10;
const VIEWERS: usize = 50;
const INTERVAL_MS: u32 = 250;
/// Four times per interval.
const HZ: f64 = 16.0;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "conflation",
    title: "Conflated updates",
    how: "Ten fleets of 50 assets that speak 16 times a second; 50 viewers, five for each fleet, for 8 s: with \
          `latest` at 250 ms, so that assets speak four times per tick, and beside it with every message (40,000 \
          deliveries/s).",
    peers: &["fleetcast", "fleetcast-each", "node-fixed"],
    rounds: 3,
    columns: &[
        Column::compared("viewer_kb_per_s", "KB/s per viewer", 1),
        Column::new("viewer_events_per_s", "events/s per viewer", 1),
        Column::compared("server_share", "server core", 3),
        Column::new("p50_ms", "p50 age, ms", 1),
        Column::new("p99_ms", "p99 age, ms", 1),
        Column::new("faults", "faults", 0),
        Column::new("wrong_maps", "wrong maps", 0),
    ],
    measure,
    charts,
};

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let mut stage = Stage::start(bench, peer, ASSETS, FLEETS)?;
    let is_each = is_each(peer);
    for (index, fleet) in (0..FLEETS).cycle().take(VIEWERS).enumerate() {
        stage.open(is_each.then_some(fleet))?;
        if !is_each {
            stage.subscribe(index, fleet, INTERVAL_MS)?;
        }
    }
    stage.run_for(Duration::from_millis(700))?;
    let (warm, span) = (Duration::from_secs(1), bench.span(8.0));
    let publisher = stage.speak(HZ * f64::from(ASSETS), warm + span)?;
    stage.run_for(warm)?;
    let window = stage.span(span)?;
    publisher.wait()?;
    let wrong = stage.wrong(|boards, world| {
        let shown = (0..FLEETS).cycle().zip(boards);
        shown.filter(|(fleet, board)| !board.shows(world.newest_of(*fleet))).count()
    })?;
    let mut sample = Sample::default();
    window.describe(&mut sample, VIEWERS);
    sample.set("wrong_maps", wrong as f64);
    stage.remark(&mut sample);
    Ok(sample)
}

fn charts(report: &Report) -> Vec<Chart> {
    vec![report.bars(
        "conflation",
        "KB/s per viewer where assets speak four times per tick",
        "viewer_kb_per_s",
    )]
}
