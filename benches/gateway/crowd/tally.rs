//! Checks of deliveries: order, loss and repetition of each viewer, and the latencies of all.
//!
//! Invariant: a fleet's sequence has no holes when it is published, so every hole, step back or repeat
//! that a viewer sees was made by the gateway. This is stricter than order per asset.

use hdrhistogram::Histogram;

/// Holes that a viewer remembers; beyond, a late delivery would be counted as a repeat.
const HOLES_MAX: usize = 64;

/// What one delivery means for its viewer's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    InOrder,
    /// So many were passed over.
    Gap(u64),
    /// Fills an earlier hole: out of order.
    Late,
    Repeat,
}

/// One viewer's place in its fleet's sequence.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    /// 0: nothing seen yet; the first delivery sets the place.
    next: u64,
    holes: Vec<(u64, u64)>,
}

impl Sequence {
    /// From here on everything after `published` is expected.
    pub(crate) fn arm(&mut self, published: u64) {
        self.next = published + 1;
        self.holes.clear();
    }

    /// How many of the `published` have not arrived, holes not counted.
    pub(crate) fn behind(&self, published: u64) -> u64 {
        if self.next == 0 { 0 } else { (published + 1).saturating_sub(self.next) }
    }

    pub(crate) fn take(&mut self, n: u64) -> Verdict {
        if self.next == n || self.next == 0 {
            self.next = n + 1;
            return Verdict::InOrder;
        }
        if n > self.next {
            let gap = n - self.next;
            if self.holes.len() == HOLES_MAX {
                self.holes.remove(0);
            }
            self.holes.push((self.next, n));
            self.next = n + 1;
            return Verdict::Gap(gap);
        }
        self.fill(n)
    }

    fn fill(&mut self, n: u64) -> Verdict {
        let Some(at) = self.holes.iter().position(|(from, to)| (*from..*to).contains(&n)) else {
            return Verdict::Repeat;
        };
        let (from, to) = self.holes.swap_remove(at);
        self.holes.extend([(from, n), (n + 1, to)].into_iter().filter(|(from, to)| from < to));
        Verdict::Late
    }
}

/// What the viewers of one group saw since the last look.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) deliveries: u64,
    pub(crate) missing: u64,
    pub(crate) late: u64,
    pub(crate) repeats: u64,
    /// Of a fleet that the viewer does not watch.
    pub(crate) foreign: u64,
    pub(crate) malformed: u64,
    /// Live connections that the gateway closed.
    pub(crate) closed: u64,
    latency_us: Histogram<u64>,
    /// Deliveries of earlier looks.
    taken: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let latency_us = Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds are valid");
        Self {
            deliveries: 0,
            missing: 0,
            late: 0,
            repeats: 0,
            foreign: 0,
            malformed: 0,
            closed: 0,
            latency_us,
            taken: 0,
        }
    }

    /// What was counted so far; counting starts over.
    pub(crate) fn take(&mut self) -> Self {
        let mut fresh = Self::new();
        fresh.taken = self.total();
        std::mem::replace(self, fresh)
    }

    /// Deliveries since the start.
    pub(crate) fn total(&self) -> u64 {
        self.taken + self.deliveries
    }

    pub(crate) fn record(&mut self, verdict: Verdict, latency_ns: u64) {
        self.deliveries += 1;
        self.latency_us.saturating_record(latency_ns / 1000);
        match verdict {
            Verdict::InOrder => {}
            Verdict::Gap(skipped) => self.missing += skipped,
            Verdict::Late => {
                self.late += 1;
                self.missing = self.missing.saturating_sub(1);
            }
            Verdict::Repeat => self.repeats += 1,
        }
    }

    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Adds the faults that an earlier look found, not its latencies.
    pub(crate) fn add_faults(&mut self, earlier: &Self) {
        self.missing += earlier.missing;
        self.late += earlier.late;
        self.repeats += earlier.repeats;
        self.foreign += earlier.foreign;
        self.malformed += earlier.malformed;
        self.closed += earlier.closed;
    }

    /// Everything that breaks the contract for a viewer that reads.
    pub(crate) fn faults(&self) -> u64 {
        self.missing + self.late + self.repeats + self.foreign + self.malformed + self.closed
    }

    /// The faults in words, empty when there are none.
    pub(crate) fn fault_list(&self) -> String {
        let kinds = [
            ("missing", self.missing),
            ("out of order", self.late),
            ("repeated", self.repeats),
            ("of another fleet", self.foreign),
            ("malformed", self.malformed),
            ("connections closed", self.closed),
        ];
        let found: Vec<String> =
            kinds.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{n} {kind}")).collect();
        found.join(", ")
    }
}

/// Proves at start that the checks catch what they are there for.
pub(crate) fn self_check() -> anyhow::Result<()> {
    let mut sequence = Sequence::default();
    sequence.arm(4);
    let verdicts: Vec<Verdict> = [5, 6, 9, 7, 7, 10, 8, 6].into_iter().map(|n| sequence.take(n)).collect();
    use Verdict::{Gap, InOrder, Late, Repeat};
    let expected = [InOrder, InOrder, Gap(2), Late, Repeat, InOrder, Late, Repeat];
    anyhow::ensure!(verdicts == expected, "sequence check is broken: {verdicts:?}");
    anyhow::ensure!(sequence.behind(12) == 2, "count of what is behind is broken");
    Ok(())
}
