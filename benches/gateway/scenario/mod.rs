//! The scenarios: one file each, all of the same shape.
//!
//! Invariant: a scenario measures one gateway, once, from a fresh process; peers and rounds are interleaved
//! by [`Scenario::run`], so that a machine that slows down slows all of them.

mod churn;
mod conflation;
mod fanout;
mod firehose;
mod idle;
mod joins;
mod pan;
mod ramp;
mod regions;
mod slow;
mod snapshot;
mod storm;

use anyhow::Result;

use crate::gateway::Peer;
use crate::report::{Chart, Column, Report, Sample};
use crate::rig::Bench;

/// What a scenario is made of.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// How it was taken, for the page.
    pub(crate) how: &'static str,
    pub(crate) peers: &'static [&'static str],
    pub(crate) rounds: usize,
    pub(crate) columns: &'static [Column],
    measure: fn(&Bench, &Peer) -> Result<Sample>,
    charts: fn(&Report) -> Vec<Chart>,
}

pub(crate) const ALL: [&Scenario; 12] = [
    &fanout::SCENARIO,
    &ramp::SCENARIO,
    &firehose::SCENARIO,
    &churn::SCENARIO,
    &storm::SCENARIO,
    &joins::SCENARIO,
    &slow::SCENARIO,
    &idle::SCENARIO,
    &regions::SCENARIO,
    &pan::SCENARIO,
    &snapshot::SCENARIO,
    &conflation::SCENARIO,
];

impl Scenario {
    /// Measures every peer in every round and draws the charts.
    pub(crate) fn run(&'static self, bench: &Bench, peers: &[Peer], rounds: usize) -> Report {
        let mut samples = Vec::new();
        for round in 1..=rounds {
            for peer in peers {
                crate::say(&format!("{}: round {round} of {rounds}, {peer} …", self.name));
                let sample = (self.measure)(bench, peer).unwrap_or_else(|error| {
                    let mut sample = Sample::default();
                    sample.remark(format!("failed: {error:#}"));
                    sample
                });
                crate::say(&format!("{}: {peer}: {}", self.name, sample.line(self.columns)));
                samples.push(Sample { peer: peer.name.clone(), round, ..sample });
            }
        }
        let mut report = Report {
            scenario: self,
            is_quick: bench.is_quick,
            machine: bench.machine.clone(),
            samples,
            charts: Vec::new(),
        };
        report.charts = (self.charts)(&report);
        report
    }
}
