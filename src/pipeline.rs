//! The spine of ingestion: next batch, apply, commit. The only place that holds a source and a store.
//!
//! Invariant: a batch is committed after the store has it, never before. Batches overlap in time, but
//! within a fleet they are applied in source order.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::epoch_ms,
    fleet::{FleetBatch, Record},
    observe::{Condition, Metrics},
    source::{Batch, Receipt, Source},
    store::{Step, Writer},
};

/// Batches between the source and the store: enough to keep both busy.
const BATCHES_MAX: usize = 32;
/// How long a stop waits for batches that the store has not confirmed yet. What is not confirmed by then
/// is not committed, so it is delivered again.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Moves updates from one source into one store.
#[derive(Debug)]
pub struct Pipeline {
    source: Source,
    writer: Writer,
    /// Records of our own, as if the source had read them.
    canaries: Option<mpsc::Receiver<Record>>,
    /// Who gets what a memory store has applied; the Redis store publishes by itself.
    fresh: Option<mpsc::Sender<FleetBatch>>,
    metrics: Arc<Metrics>,
    /// Whether the store takes records.
    condition: Condition,
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    batch: u64,
    received_ms: i64,
    receipt: Receipt,
}

impl Pipeline {
    /// A pipeline that has not begun. `fresh` gets the updates that a memory store has applied, in order.
    #[must_use]
    pub fn new(
        source: Source,
        writer: Writer,
        fresh: Option<mpsc::Sender<FleetBatch>>,
        metrics: Arc<Metrics>,
        condition: Condition,
    ) -> Self {
        Self { source, writer, canaries: None, fresh, metrics, condition, open: VecDeque::new() }
    }

    /// Takes delivery canaries too.
    #[must_use]
    pub fn with_canaries(mut self, canaries: Option<mpsc::Receiver<Record>>) -> Self {
        self.canaries = canaries;
        self
    }

    /// Runs until `stop`, then finishes what has begun and commits it.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.tell_readiness();
            let has_room = self.writer.has_room() && self.open.len() < BATCHES_MAX;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                step = self.writer.step() => self.stepped(step).await,
                Some(record) = next(&mut self.canaries), if has_room => self.take(Batch {
                    records: vec![record],
                    received_ms: epoch_ms(),
                    receipt: Receipt::Nothing,
                }),
                batch = self.source.next_batch(), if has_room => self.take(batch),
                // A store that is away says so without a step.
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
        self.finish().await;
    }

    fn take(&mut self, batch: Batch) {
        let Batch { records, received_ms, receipt } = batch;
        self.metrics.updates_received.inc_by(records.len() as u64);
        let batch = self.writer.push(records, received_ms);
        self.open.push_back(Open { batch, received_ms, receipt });
    }

    async fn stepped(&mut self, step: Step) {
        let Step { applied, conflicts, restored, cells_refused, done } = step;
        self.metrics.updates_applied.inc_by(applied.fresh_count);
        self.metrics.updates_stale.inc_by(applied.stale_count);
        self.metrics.updates_duplicate.inc_by(applied.duplicate_count);
        self.metrics.store_conflicts.inc_by(conflicts);
        self.metrics.store_restored.inc_by(restored);
        self.metrics.store_cells_refused.inc_by(cells_refused);
        if let Some(fresh) = &self.fresh {
            for batch in applied.fresh {
                if fresh.send(batch).await.is_err() {
                    break; // Nobody dispatches any more: the process is stopping.
                }
            }
        }
        let Some(done) = done else { return };
        while self.open.front().is_some_and(|open| open.batch <= done) {
            let Some(open) = self.open.pop_front() else { break };
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of one batch")]
            let seconds = (epoch_ms() - open.received_ms).max(0) as f64 / 1000.0;
            self.metrics.store_apply.observe(seconds);
            self.source.commit(open.receipt);
        }
    }

    async fn finish(mut self) {
        let drained = timeout(DRAIN_MAX, async {
            while !self.open.is_empty() {
                let step = self.writer.step().await;
                self.stepped(step).await;
            }
        });
        if drained.await.is_err() {
            let batches = self.open.len();
            tracing::warn!(batches, "the store did not confirm in time, these batches are delivered again");
        }
        self.source.close().await;
    }

    fn tell_readiness(&self) {
        match self.writer.trouble() {
            None => self.condition.set_ready(),
            Some(trouble) => self.condition.set_unready(trouble),
        }
    }
}

/// The next canary, or never.
async fn next(canaries: &mut Option<mpsc::Receiver<Record>>) -> Option<Record> {
    match canaries {
        Some(canaries) => canaries.recv().await,
        None => std::future::pending().await,
    }
}
