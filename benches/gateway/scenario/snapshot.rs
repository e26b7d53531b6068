//! How soon a viewer that comes has all of a large fleet.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::dashboards::{Board, Stage, is_each, median_ms};
use crate::gateway::Peer;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::Bench;
use crate::world::World;

const ASSETS: u32 = 10_000;
const ONE_BY_ONE: usize = 20;
const TOGETHER: usize = 100;
const INTERVAL_MS: u32 = 250;
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "snapshot",
    title: "Snapshot of a large fleet",
    how: "A fleet of 10,000 assets that speak once a second. 20 viewers come one after the other, then 100 at once; \
          measured from the request until a viewer has all assets, the last part of its snapshot. With `each`, and \
          with Node, there is no snapshot: a viewer has an asset when that has spoken, so it takes a second, and \
          for assets that are silent for ever. Checked: all assets, none older than when the viewer asked.",
    peers: &["fleetcast", "fleetcast-each", "node-fixed"],
    rounds: 3,
    columns: &[
        Column::compared("median_ms", "median ms, one by one", 1),
        Column::new("worst_ms", "longest", 1),
        Column::new("together_ms", "ms to the last of 100 at once", 0),
        Column::new("together_cpu_ms", "CPU ms for each of them", 1),
        Column::new("mb_each", "MB each", 2),
        Column::new("faults", "faults", 0),
        Column::new("stale", "older than asked", 0),
    ],
    measure,
    charts,
};

fn measure(bench: &Bench, peer: &Peer) -> Result<Sample> {
    let mut stage = Stage::start(bench, peer, ASSETS, 1)?;
    let is_each = is_each(peer);
    // A relay keeps the state of what is watched.
    stage.open(Some(0))?;
    stage.run_for(Duration::from_millis(700))?;
    stage.speak_once()?;
    // It goes on until the stage is dropped.
    let _publisher = stage.speak(f64::from(ASSETS), Duration::from_secs(120))?;
    stage.run_for(Duration::from_secs(1))?;
    let (mut times, mut bytes, mut stale) = (Vec::new(), 0, 0);
    for _ in 0..if bench.is_quick { ONE_BY_ONE / 4 } else { ONE_BY_ONE } {
        let before = said(&stage.world);
        let first = come(&mut stage, 1, is_each)?;
        stale += older(&stage.boards[first..], &before);
        times.extend(waited(&stage.boards[first]));
        bytes += stage.boards[first].first_bytes;
        stage.run_for(Duration::from_millis(100))?;
    }
    let (before, before_us) = (said(&stage.world), stage.gateway.cpu_us()?);
    let together = if bench.is_quick { TOGETHER / 5 } else { TOGETHER };
    let first = come(&mut stage, together, is_each)?;
    stale += older(&stage.boards[first..], &before);
    let together_us = stage.gateway.cpu_us()? - before_us;
    let asked = stage.boards[first..].iter().map(|board| board.asked_ns).min().unwrap_or(0);
    let last = stage.boards[first..].iter().filter_map(whole_at).max().unwrap_or(asked);

    let mut sample = Sample::default();
    sample.set("worst_ms", times.iter().max().map_or(0.0, |ns| *ns as f64 / 1e6));
    sample.set("mb_each", bytes as f64 / 1e6 / times.len() as f64);
    sample.set("median_ms", median_ms(times));
    sample.set("together_ms", (last - asked) as f64 / 1e6);
    sample.set("together_cpu_ms", together_us / 1e3 / together as f64);
    sample.set("stale", stale as f64);
    stage.remark(&mut sample);
    Ok(sample)
}

/// Viewers come, and are waited for; the place of the first.
fn come(stage: &mut Stage, count: usize, is_each: bool) -> Result<usize> {
    let first = stage.boards.len();
    for _ in 0..count {
        stage.open(is_each.then_some(0))?;
    }
    for index in first..first + count {
        if !is_each {
            stage.subscribe(index, 0, INTERVAL_MS)?;
        }
    }
    let is_whole =
        |boards: &[Board], _: &World| boards[first..].iter().all(|board| whole_at(board).is_some());
    anyhow::ensure!(stage.run_until(PATIENCE, is_whole)?, "not all assets after {PATIENCE:?}");
    Ok(first)
}

/// When a viewer had everything: with a snapshot, at its last part.
fn whole_at(board: &Board) -> Option<u64> {
    board.whole_ns.filter(|_| board.shown.len() == ASSETS as usize)
}

fn waited(board: &Board) -> Option<u64> {
    Some(whole_at(board)?.saturating_sub(board.asked_ns))
}

fn said(world: &World) -> Vec<u32> {
    (0..world.assets()).map(|asset| world.said(asset)).collect()
}

/// States that are older than what had been said by then. Less one: it may have been on its way.
fn older(boards: &[Board], before: &[u32]) -> usize {
    let is_older = |(asset, n): &(&u32, &u32)| **n + 1 < before[**asset as usize];
    boards.iter().map(|board| board.shown.iter().filter(is_older).count()).sum()
}

fn charts(report: &Report) -> Vec<Chart> {
    vec![report.bars("snapshot", "Until a viewer has all 10,000 assets of a fleet, in ms", "median_ms")]
}
