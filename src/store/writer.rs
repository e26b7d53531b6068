//! The writing end of a store: records go in, and come out as steps once they are in the state.
//!
//! Invariant: batches are done in the order in which they were pushed, whatever order their fleets took.

use std::collections::VecDeque;

use super::{Applied, MemoryStore, RedisWriter};
use crate::fleet::Record;

/// Applies records. There is one per pipeline; several replicas may write to one Redis.
#[derive(Debug)]
pub enum Writer {
    /// To a [`MemoryStore`].
    Memory(MemoryWriter),
    /// To a [`super::RedisStore`].
    Redis(Box<RedisWriter>),
}

/// What a writer has done since its last step.
#[derive(Debug, Default)]
pub struct Step {
    /// What became of records.
    pub applied: Applied,
    /// Batches that another writer of the same assets got ahead of; they were merged again.
    pub conflicts: u64,
    /// States that Redis had lost and that were written again.
    pub restored: u64,
    /// Whether messages of cells were not published.
    pub cells_refused: u64,
    /// Every batch up to this one is in the store, and published.
    pub done: Option<u64>,
}

impl Writer {
    /// Takes records over, in source order. The number names the batch in [`Step::done`]; batches are
    /// numbered from 0.
    pub fn push(&mut self, records: Vec<Record>, received_ms: i64) -> u64 {
        match self {
            Self::Memory(writer) => writer.push(records, received_ms),
            Self::Redis(writer) => writer.push(records, received_ms),
        }
    }

    /// Whether another batch should be pushed now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self {
            Self::Memory(writer) => writer.steps.is_empty(),
            Self::Redis(writer) => writer.has_room(),
        }
    }

    /// What keeps the store from taking records, if something does.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(writer) => writer.trouble(),
        }
    }

    /// The next thing that was done; waits for ever while nothing is to do. Cancel-safe: it may be
    /// dropped at any await and called again, nothing is lost.
    pub async fn step(&mut self) -> Step {
        match self {
            Self::Memory(writer) => writer.step().await,
            Self::Redis(writer) => writer.step().await,
        }
    }

    /// Applies records and waits until they are in the store.
    pub async fn apply(&mut self, records: Vec<Record>, received_ms: i64) -> Applied {
        let batch = self.push(records, received_ms);
        let mut applied = Applied::default();
        loop {
            let step = self.step().await;
            applied.add(step.applied);
            if step.done.is_some_and(|done| done >= batch) {
                return applied;
            }
        }
    }
}

/// Applies at once: steps only wait to be taken.
#[derive(Debug)]
pub struct MemoryWriter {
    store: MemoryStore,
    batches: u64,
    steps: VecDeque<Step>,
}

impl MemoryWriter {
    pub(super) fn new(store: MemoryStore) -> Self {
        Self { store, batches: 0, steps: VecDeque::new() }
    }

    fn push(&mut self, records: Vec<Record>, received_ms: i64) -> u64 {
        let applied = self.store.apply(records, received_ms);
        let batch = self.batches;
        self.batches += 1;
        self.steps.push_back(Step { applied, done: Some(batch), ..Step::default() });
        batch
    }

    async fn step(&mut self) -> Step {
        match self.steps.pop_front() {
            Some(step) => step,
            None => std::future::pending().await,
        }
    }
}
