//! What a scenario found: samples, their medians, tables and charts.
//!
//! Invariant: a ratio is taken within a round and the median over rounds, so that both sides of it saw the
//! same machine; a figure with a doubt carries its remark wherever it is printed.

mod chart;
mod page;
mod table;

use std::collections::BTreeMap;

use serde_json::json;

use crate::scenario::Scenario;

pub(crate) use chart::{Chart, Line};
pub(crate) use page::publish;

/// One figure of a scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
    /// Shown as a ratio to the raw writer and to Node, too.
    pub(crate) is_compared: bool,
}

impl Column {
    pub(crate) const fn new(key: &'static str, title: &'static str, decimals: usize) -> Self {
        Self { key, title, decimals, is_compared: false }
    }

    pub(crate) const fn compared(key: &'static str, title: &'static str, decimals: usize) -> Self {
        Self { key, title, decimals, is_compared: true }
    }
}

/// One gateway, measured once.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sample {
    pub(crate) peer: String,
    pub(crate) round: usize,
    pub(crate) values: BTreeMap<&'static str, f64>,
    pub(crate) remarks: Vec<String>,
    /// For a chart: what it means is the scenario's.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Sample {
    pub(crate) fn set(&mut self, key: &'static str, value: f64) {
        self.values.insert(key, value);
    }

    pub(crate) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// Everything on one line, for the terminal.
    pub(crate) fn line(&self, columns: &[Column]) -> String {
        let figures = columns.iter().filter_map(|column| {
            let value = self.values.get(column.key)?;
            Some(format!("{} {value:.*}", column.title, column.decimals))
        });
        figures.chain(self.remarks.iter().map(|remark| format!("({remark})"))).collect::<Vec<_>>().join(", ")
    }
}

/// A scenario's outcome.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) scenario: &'static Scenario,
    pub(crate) is_quick: bool,
    pub(crate) machine: serde_json::Value,
    pub(crate) samples: Vec<Sample>,
    pub(crate) charts: Vec<Chart>,
}

impl Report {
    /// Peers in the order in which they were measured.
    pub(crate) fn peers(&self) -> Vec<String> {
        let mut peers: Vec<String> = Vec::new();
        for sample in &self.samples {
            if !peers.contains(&sample.peer) {
                peers.push(sample.peer.clone());
            }
        }
        peers
    }

    pub(crate) fn of<'a>(&'a self, peer: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.peer == peer)
    }

    pub(crate) fn median(&self, peer: &str, key: &str) -> Option<f64> {
        median(self.of(peer).filter_map(|sample| sample.values.get(key).copied()).collect())
    }

    /// Median over the rounds of a peer's figure divided by the base's of the same round.
    pub(crate) fn ratio(&self, peer: &str, base: &str, key: &str) -> Option<f64> {
        let ratios = self.of(peer).filter_map(|sample| {
            let other = self.of(base).find(|other| other.round == sample.round)?;
            Some(sample.values.get(key)? / other.values.get(key)?)
        });
        median(ratios.filter(|ratio| ratio.is_finite()).collect())
    }

    /// A bar for each peer's median.
    pub(crate) fn bars(&self, file: &'static str, title: &str, key: &str) -> Chart {
        let bars = self.peers().into_iter().filter_map(|peer| {
            let value = self.median(&peer, key)?;
            Some((peer, value))
        });
        Chart::bars(file, title, bars.collect())
    }

    /// The first round's points of each peer.
    pub(crate) fn first_traces(&self) -> Vec<Line> {
        let first = self.samples.iter().filter(|sample| sample.round == 1);
        first.map(|sample| Line { name: sample.peer.clone(), points: sample.points.clone() }).collect()
    }

    /// All rounds' points of a peer as one line: the median of y at each x.
    pub(crate) fn median_line(&self, peer: &str) -> Line {
        let mut by_x: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (x, y) in self.of(peer).flat_map(|sample| &sample.points) {
            by_x.entry(x.round() as u64).or_default().push(*y);
        }
        let points = by_x.into_iter().filter_map(|(x, ys)| Some((x as f64, median(ys)?))).collect();
        Line { name: peer.to_owned(), points }
    }

    /// Everything, for other programs.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let samples: Vec<_> = self
            .samples
            .iter()
            .map(|s| json!({"peer": s.peer, "round": s.round, "values": s.values, "remarks": s.remarks, "points": s.points}))
            .collect();
        let columns: Vec<_> =
            self.scenario.columns.iter().map(|c| json!({"key": c.key, "title": c.title})).collect();
        json!({
            "scenario": self.scenario.name, "title": self.scenario.title, "how": self.scenario.how,
            "quick": self.is_quick, "machine": self.machine, "columns": columns, "samples": samples,
        })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
