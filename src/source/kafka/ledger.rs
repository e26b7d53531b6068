//! Which offsets may be committed. Pure: time is an argument.
//!
//! Invariant: an offset is committed only when every record before it is applied or in the dead-letter
//! topic. Partitions carry the generation of their assignment, so that what was in flight when one was
//! taken away can not move its offset after it has come back.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use foldhash::HashMap;

/// A partition of a topic. Cloning is a reference count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// How far a partition has come.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    generation: u64,
    /// The offset after the last record handed to the pipeline.
    pub(super) delivered: Option<i64>,
    /// The offset up to which everything is done.
    pub(super) settled: Option<i64>,
    committed: Option<i64>,
    /// When `delivered` moved last.
    pub(super) moved: Instant,
}

/// Where a batch ends in each of its partitions: the offset after its last record there.
pub(super) type Ends = Vec<(Partition, i64)>;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    generation: u64,
    partitions: HashMap<Partition, Progress>,
    open: VecDeque<Open>,
    first_open: u64,
}

#[derive(Debug)]
struct Open {
    applied: bool,
    letters: usize,
    ends: Vec<(Partition, u64, i64)>,
}

impl Ledger {
    pub(super) fn assign(&mut self, partitions: impl IntoIterator<Item = Partition>, now: Instant) {
        self.generation += 1;
        for partition in partitions {
            let progress = Progress {
                generation: self.generation,
                delivered: None,
                settled: None,
                committed: None,
                moved: now,
            };
            self.partitions.insert(partition, progress);
        }
    }

    pub(super) fn revoke<'p>(&mut self, partitions: impl IntoIterator<Item = &'p Partition>) {
        for partition in partitions {
            self.partitions.remove(partition);
        }
    }

    /// Hands a batch over: its number. Its letters are still to be written.
    pub(super) fn deliver(&mut self, ends: Ends, letters: usize, now: Instant) -> u64 {
        let mut dated = Vec::with_capacity(ends.len());
        for (partition, end) in ends {
            if let Some(progress) = self.partitions.get_mut(&partition) {
                progress.delivered = Some(end);
                progress.moved = now;
                dated.push((partition, progress.generation, end));
            }
        }
        self.open.push_back(Open { applied: false, letters, ends: dated });
        self.first_open + self.open.len() as u64 - 1
    }

    pub(super) fn applied(&mut self, batch: u64) {
        if let Some(open) = self.open_mut(batch) {
            open.applied = true;
        }
        self.close();
    }

    pub(super) fn letter_written(&mut self, batch: u64) {
        if let Some(open) = self.open_mut(batch) {
            open.letters = open.letters.saturating_sub(1);
        }
        self.close();
    }

    fn open_mut(&mut self, batch: u64) -> Option<&mut Open> {
        let place = usize::try_from(batch.checked_sub(self.first_open)?).ok()?;
        self.open.get_mut(place)
    }

    fn close(&mut self) {
        while self.open.front().is_some_and(|open| open.applied && open.letters == 0) {
            self.first_open += 1;
            for (partition, generation, end) in self.open.pop_front().into_iter().flat_map(|open| open.ends) {
                if let Some(progress) = self.partitions.get_mut(&partition)
                    && progress.generation == generation
                {
                    progress.settled = Some(end);
                }
            }
        }
    }

    /// Whether nothing of these partitions is in flight.
    pub(super) fn is_settled(&self, partitions: &[Partition]) -> bool {
        let holds = |open: &Open| open.ends.iter().any(|(partition, ..)| partitions.contains(partition));
        !self.open.iter().any(holds)
    }

    /// Offsets that are settled and not committed yet, of all partitions or of `only` these. They count
    /// as committed until [`Ledger::commit_failed`].
    pub(super) fn take_due(&mut self, only: Option<&[Partition]>) -> Ends {
        let wanted = |partition: &Partition| only.is_none_or(|only| only.contains(partition));
        let mut ends = Vec::new();
        for (partition, progress) in self.partitions.iter_mut().filter(|(partition, _)| wanted(partition)) {
            if let Some(settled) = progress.settled
                && progress.committed != Some(settled)
            {
                progress.committed = Some(settled);
                ends.push((partition.clone(), settled));
            }
        }
        ends
    }

    /// The last commit did not happen: everything settled is to be committed again.
    pub(super) fn commit_failed(&mut self) {
        for progress in self.partitions.values_mut() {
            progress.committed = None;
        }
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = (&Partition, &Progress)> {
        self.partitions.iter()
    }

    /// Batches handed over and not done.
    pub(super) fn open_len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> Partition {
        Partition { topic: "t".into(), number }
    }

    fn ledger(partitions: &[i32]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.assign(partitions.iter().copied().map(partition), Instant::now());
        ledger
    }

    fn deliver(ledger: &mut Ledger, ends: &[(i32, i64)], letters: usize) -> u64 {
        let ends = ends.iter().map(|(number, end)| (partition(*number), *end)).collect();
        ledger.deliver(ends, letters, Instant::now())
    }

    fn take_due(ledger: &mut Ledger) -> Vec<(i32, i64)> {
        let mut ends: Vec<_> =
            ledger.take_due(None).into_iter().map(|(partition, end)| (partition.number, end)).collect();
        ends.sort_unstable();
        ends
    }

    #[test]
    fn offsets_wait_for_all_batches_before_them() {
        let mut ledger = ledger(&[0, 1]);
        let first = deliver(&mut ledger, &[(0, 10)], 0);
        let second = deliver(&mut ledger, &[(0, 20), (1, 5)], 0);
        ledger.applied(second);
        assert_eq!(take_due(&mut ledger), []);
        assert!(!ledger.is_settled(&[partition(1)]));
        ledger.applied(first);
        assert_eq!(take_due(&mut ledger), [(0, 20), (1, 5)]);
        assert_eq!(take_due(&mut ledger), [], "once");
        assert!(ledger.is_settled(&[partition(0), partition(1)]));
        ledger.commit_failed();
        assert_eq!(take_due(&mut ledger), [(0, 20), (1, 5)], "again");
    }

    #[test]
    fn offsets_wait_for_dead_letters() {
        let mut ledger = ledger(&[0]);
        let batch = deliver(&mut ledger, &[(0, 10)], 2);
        ledger.letter_written(batch);
        ledger.applied(batch);
        assert_eq!(take_due(&mut ledger), []);
        ledger.letter_written(batch);
        assert_eq!(take_due(&mut ledger), [(0, 10)]);
    }

    #[test]
    fn what_was_in_flight_when_a_partition_was_taken_away_moves_nothing_later() {
        let mut ledger = ledger(&[0, 1]);
        let batch = deliver(&mut ledger, &[(0, 10), (1, 7)], 0);
        ledger.revoke(&[partition(0)]);
        ledger.assign([partition(0)], Instant::now());
        ledger.applied(batch);
        assert_eq!(take_due(&mut ledger), [(1, 7)]);
        let batch = deliver(&mut ledger, &[(0, 3), (9, 1)], 0);
        ledger.applied(batch);
        assert_eq!(take_due(&mut ledger), [(0, 3)], "and offsets may go back");
    }
}
