//! What all dashboards together saw since the last look.

use hdrhistogram::Histogram;

/// What breaks the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not what was published, or not an event that was to come.
    Malformed,
    /// Outside the region, or of another fleet.
    Foreign,
    /// An asset went back in time.
    Back,
    Repeat,
    /// A message of `each` was passed over.
    Missing,
    /// Left or moved without being there, or entered twice.
    Unknown,
    Resync,
    Closed,
}

const FAULTS: [(Fault, &str); 8] = [
    (Fault::Malformed, "malformed"),
    (Fault::Foreign, "not to be seen"),
    (Fault::Back, "back in time"),
    (Fault::Repeat, "repeated"),
    (Fault::Missing, "missing"),
    (Fault::Unknown, "of assets that were not there, or were"),
    (Fault::Resync, "resyncs"),
    (Fault::Closed, "connections closed"),
];

/// Counts, and the ages of states when they were shown.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) states: u64,
    pub(crate) left: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    faults: [u64; FAULTS.len()],
    age_us: Histogram<u64>,
}

impl Seen {
    pub(crate) fn new() -> Self {
        let age_us = Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds are valid");
        Self { states: 0, left: 0, events: 0, bytes: 0, faults: [0; FAULTS.len()], age_us }
    }

    /// What was seen so far; counting starts over, but for faults.
    pub(crate) fn take(&mut self) -> Self {
        let fresh = Self { faults: self.faults, ..Self::new() };
        std::mem::replace(self, fresh)
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(super) fn state(&mut self, age_ns: Option<u64>) {
        self.states += 1;
        if let Some(age_ns) = age_ns {
            self.age_us.saturating_record(age_ns / 1000);
        }
    }

    pub(crate) fn age_ms(&self, quantile: f64) -> f64 {
        self.age_us.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.iter().sum()
    }

    pub(crate) fn fault_list(&self) -> String {
        let found = FAULTS.iter().filter(|(fault, _)| self.faults[*fault as usize] > 0);
        let words: Vec<String> =
            found.map(|(fault, name)| format!("{} {name}", self.faults[*fault as usize])).collect();
        words.join(", ")
    }
}
