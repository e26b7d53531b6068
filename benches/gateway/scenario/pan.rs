//! A thousand maps are panned at the same moment.

use std::time::Duration;

use anyhow::Result;

use super::{
    Scenario,
    regions::{ASSETS, INTERVAL_MS, SIDE, watched},
};
use crate::dashboards::{Stage, median_ms};
use crate::gateway::Peer;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::Bench;
use crate::world::{Area, place, reach};

/// Half of what a map shows is new.
const SHIFT: i64 = SIDE / 2;
const PATIENCE: Duration = Duration::from_secs(20);
/// How often an asset speaks, at most, while the maps move.
const SAYS: u32 = 5;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "pan",
    title: "A thousand regions moved at once",
    how: "1,000 viewers with a region of about 500 assets each (as above) all ask at once for a region half its width \
          further east: some 250 assets enter, 250 leave. Measured until the last viewer has the last of its \
          difference: when nothing else happens, and then back again while 50,000 assets speak once a second. \
          Everything is checked as above. `each` and Node have no regions, so there is nothing to compare with.",
    peers: &["fleetcast"],
    rounds: 3,
    columns: &[
        Column::new("calm_median_ms", "median ms, nothing else", 1),
        Column::new("calm_ms", "ms to the last, nothing else", 1),
        Column::new("busy_median_ms", "median ms, 50,000 updates/s", 1),
        Column::new("busy_ms", "ms to the last, 50,000 updates/s", 1),
        Column::new("entered", "entered or left, each", 0),
        Column::new("faults", "faults", 0),
        Column::new("wrong_maps", "wrong maps", 0),
    ],
    measure,
    charts,
};

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let (mut stage, areas) = watched(bench, peer)?;
    let mut sample = Sample::default();
    let moved: Vec<Area> = areas.iter().map(|area| area.shifted(SHIFT)).collect();
    drop(stage.seen.take());
    let (median, last) = pan(&mut stage, &moved, 0)?;
    sample.set("calm_median_ms", median);
    sample.set("calm_ms", last);
    let seen = stage.seen.take();
    sample.set("entered", (seen.states + seen.left) as f64 / areas.len() as f64);
    let mut wrong = stage.wrong_maps(&moved)?;

    let publisher = stage.speak(f64::from(ASSETS), Duration::from_secs(5))?;
    stage.run_for(Duration::from_secs(2))?;
    let (median, last) = pan(&mut stage, &areas, reach(SAYS))?;
    sample.set("busy_median_ms", median);
    sample.set("busy_ms", last);
    while !publisher.is_done() {
        stage.run_for(Duration::from_millis(50))?;
    }
    publisher.wait()?;
    wrong += stage.wrong_maps(&areas)?;
    sample.set("wrong_maps", wrong as f64);
    stage.remark(&mut sample);
    Ok(sample)
}

/// Moves everybody; the median and the longest time until a difference was whole. Assets that may cross
/// an edge meanwhile, by this margin, are not waited for.
fn pan(stage: &mut Stage, areas: &[Area], margin: i64) -> Result<(f64, f64)> {
    let places: Vec<_> = (0..ASSETS).map(|asset| (asset, place(asset, stage.world.said(asset)))).collect();
    for (board, area) in stage.boards.iter_mut().zip(areas) {
        let (surely, possibly) = (area.grown(-margin), area.grown(margin));
        let inside = places.iter().filter(|(_, at)| surely.holds(*at)).map(|(asset, _)| *asset);
        board.awaited = inside.filter(|asset| !board.shown.contains_key(asset)).collect();
        let outside = |asset: &&u32| !possibly.holds(places[**asset as usize].1);
        board.leaving = board.shown.keys().filter(outside).copied().collect();
    }
    for (index, area) in areas.iter().enumerate() {
        stage.watch(index, *area, INTERVAL_MS)?;
    }
    let is_done =
        stage.run_until(PATIENCE, |boards, _| boards.iter().all(|board| board.settled_ns.is_some()))?;
    let late = stage.boards.iter().filter(|board| board.settled_ns.is_none()).count();
    anyhow::ensure!(is_done, "{late} regions have not moved after {PATIENCE:?}");
    let took = |board: &crate::dashboards::Board| Some(board.settled_ns?.saturating_sub(board.asked_ns));
    let times: Vec<u64> = stage.boards.iter().filter_map(took).collect();
    // From the first request: they were all sent at once.
    let first = stage.boards.iter().map(|board| board.asked_ns).min().unwrap_or(0);
    let last = stage.boards.iter().filter_map(|board| board.settled_ns).max().unwrap_or(first);
    Ok((median_ms(times), (last - first) as f64 / 1e6))
}

fn charts(report: &Report) -> Vec<Chart> {
    vec![report.bars(
        "pan",
        "1,000 regions moved at once, 50,000 updates/s: ms to the last difference",
        "busy_ms",
    )]
}
