//! A thousand maps, each of some 500 assets, beside the same load by the old contract.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::dashboards::{Stage, is_each};
use crate::gateway::Peer;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::Bench;
use crate::world::Area;

pub(super) const ASSETS: u32 = 50_000;
pub(super) const FLEETS: u32 = 100;
pub(super) const VIEWERS: usize = 1_000;
/// A hundredth of the country, so 500 of 50,000 assets.
pub(super) const SIDE: i64 = 538_000;
pub(super) const INTERVAL_MS: u32 = 250;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "regions",
    title: "Regions",
    how: "50,000 assets of 100 fleets drive about and speak once a second (50,000 messages/s on Redis); 1,000 viewers \
          watch a region of about 500 assets each at 250 ms, for 8 s. Age is from just before a state is handed to \
          Redis until a viewer has it, so most of it is the interval. Each state is checked: exactly what the asset \
          said, inside the region, newer than the one before, `entered` and `left` in turn. In the end each viewer's \
          map must be the newest state of what is in its region: `wrong maps`. `fleetcast-each` and Node have no \
          regions here: 1,000 viewers, ten for each fleet of 500 assets, get every message as it comes, the same \
          500,000 states a second; what they do not reach in time is their age.",
    peers: &["fleetcast", "fleetcast-each", "node-fixed"],
    rounds: 3,
    columns: &[
        Column::compared("states", "states/s", 0),
        Column::new("p50_ms", "p50 age, ms", 1),
        Column::new("p99_ms", "p99 age, ms", 1),
        Column::compared("cpu_us", "CPU µs per state", 2),
        Column::new("server_share", "server core", 2),
        Column::new("mb_per_s", "MB/s", 1),
        Column::new("faults", "faults", 0),
        Column::new("wrong_maps", "wrong maps", 0),
        Column::new("rss_mb", "MB", 0),
        Column::new("load_share", "load core", 2),
    ],
    measure,
    charts,
};

/// A stage where all assets are known and every viewer has its region.
pub(super) fn watched(bench: &Bench, peer: &Peer) -> Result<(Stage, Vec<Area>)> {
    let mut stage = Stage::start(bench, peer, ASSETS, FLEETS)?;
    let areas: Vec<Area> = (0..bench.viewers(VIEWERS)).map(|n| Area::nth(n, SIDE)).collect();
    // A relay knows what passes by from the first region on.
    stage.open(None)?;
    stage.watch(0, areas[0], INTERVAL_MS)?;
    stage.run_for(Duration::from_millis(700))?;
    stage.speak_once()?;
    for (index, area) in areas.iter().enumerate().skip(1) {
        stage.open(None)?;
        stage.watch(index, *area, INTERVAL_MS)?;
        // They come one by one, so their ticks are spread over the interval.
        stage.run_for(Duration::from_millis(1))?;
    }
    let wrong = stage.wrong_maps(&areas)?;
    let (faults, shown) = (stage.seen.fault_list(), stage.boards.iter().map(|board| board.shown.len()));
    let shown: usize = shown.sum();
    anyhow::ensure!(wrong == 0, "{wrong} of {} maps are wrong, {shown} assets on all; {faults}", areas.len());
    Ok((stage, areas))
}

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let (mut stage, areas) = if is_each(peer) {
        (followed(bench, peer)?, None)
    } else {
        let (stage, areas) = watched(bench, peer)?;
        (stage, Some(areas))
    };
    let (warm, span) = (Duration::from_secs(1), bench.span(8.0));
    let publisher = stage.speak(f64::from(ASSETS), warm + span)?;
    stage.run_for(warm)?;
    let viewers = stage.boards.len();
    let window = stage.span(span)?;
    let published = publisher.wait()?;
    let mut sample = Sample::default();
    window.describe(&mut sample, viewers);
    sample.set("rss_mb", stage.gateway.rss_mb()?);
    if let Some(areas) = areas {
        sample.set("wrong_maps", stage.wrong_maps(&areas)? as f64);
    }
    stage.remark(&mut sample);
    if published.worst_lag_ms > 20.0 {
        sample.remark(format!("the publisher was up to {:.0} ms late", published.worst_lag_ms));
    }
    Ok(sample)
}

/// The old contract: every message of one fleet.
fn followed(bench: &Bench, peer: &Peer) -> Result<Stage> {
    let mut stage = Stage::start(bench, peer, ASSETS, FLEETS)?;
    for fleet in (0..FLEETS).cycle().take(bench.viewers(VIEWERS)) {
        stage.open(Some(fleet))?;
    }
    stage.run_for(Duration::from_millis(700))?;
    Ok(stage)
}

fn charts(report: &Report) -> Vec<Chart> {
    vec![
        report.bars(
            "regions-states",
            "1,000 viewers of 500 assets each at 1 Hz: states/s of 500,000",
            "states",
        ),
        report.bars("regions-age", "1,000 viewers of 500 assets each at 1 Hz: p99 age in ms", "p99_ms"),
    ]
}
