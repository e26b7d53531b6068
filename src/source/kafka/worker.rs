//! The thread that polls one consumer: gathers what is ready, hands it over, commits what is done.
//!
//! Invariant: it always comes back to `poll`, so the replica stays in its group. When the pipeline has no
//! room for a while the partitions are paused, and polling goes on.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Delivered,
    gathered::{Letter, Reader},
    letters::Posted,
    shared::{Context, Shared, commit},
};
use crate::fleet::Record;

/// A poll without a message returns after this long: how late a commit or a stop may be noticed.
const POLL: Duration = Duration::from_millis(50);
/// A batch that keeps growing is handed over after this long.
const GATHER: Duration = Duration::from_millis(10);
/// Between commits. After a crash this much is delivered again.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// How long the end tries to commit.
const LAST_COMMIT: Duration = Duration::from_secs(3);
/// How long the end waits for the monitor.
const LAST_QUESTION: Duration = Duration::from_secs(2);
/// No room for this long: pause. Before that the consumer's own queue takes up the wait.
const PAUSE_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) shared: Arc<Shared>,
    pub(super) reader: Reader,
    pub(super) batches: mpsc::Sender<Delivered>,
    pub(super) letters: mpsc::Sender<Posted>,
    /// Dropped when the consumer has left its group.
    pub(super) ended: oneshot::Sender<()>,
}

/// Why there is no room, and since when.
struct Held {
    since: Instant,
    paused: bool,
}

impl Worker {
    pub(super) fn run(mut self) {
        let mut next_commit = Instant::now() + COMMIT_INTERVAL;
        let mut held: Option<Held> = None;
        while !self.shared.is_stopping() {
            if Instant::now() >= next_commit {
                next_commit = Instant::now() + COMMIT_INTERVAL;
                self.commit(CommitMode::Async);
            }
            if !self.hand_over() {
                self.hold(held.get_or_insert_with(|| Held { since: Instant::now(), paused: false }));
                continue;
            }
            if let Some(Held { paused, .. }) = held.take() {
                self.shared.held.store(false, Ordering::Relaxed);
                if paused {
                    self.resume();
                }
            }
            if self.gather().is_err() {
                return; // Whoever waits for batches sees the end, and makes another consumer.
            }
        }
        self.commit_finally();
        // Leaves the group; what was gathered and not handed over belongs to the next owner. The monitor
        // may be in the middle of a question, and the last of us closes the consumer.
        let deadline = Instant::now() + LAST_QUESTION;
        while Arc::strong_count(&self.consumer) > 1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.consumer);
        drop(self.ended);
    }

    /// Reads what is ready.
    fn gather(&mut self) -> Result<(), KafkaError> {
        let started = Instant::now();
        let mut wait = POLL;
        while let Some(polled) = self.consumer.poll(wait) {
            match polled {
                Ok(message) => self.shared.gathered().add(&message, &mut self.reader),
                Err(error) => self.complain(error)?,
            }
            if self.shared.gathered().is_full() || started.elapsed() > POLL + GATHER {
                break;
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Gives the pipeline what was gathered. `false` if there is no room for it.
    fn hand_over(&self) -> bool {
        let mut gathered = self.shared.gathered();
        if gathered.is_empty() {
            return true;
        }
        let Ok(batch_permit) = self.batches.try_reserve() else { return false };
        let Ok(letter_permits) = self.letters.try_reserve_many(gathered.letters.len()) else { return false };
        let gathered = std::mem::take(&mut *gathered);
        let number = self.shared.ledger().deliver(gathered.ends, gathered.letters.len(), Instant::now());
        for (permit, letter) in letter_permits.zip(gathered.letters) {
            permit.send(self.posted(letter, number));
        }
        batch_permit.send(self.delivered(gathered.records, gathered.received_ms, number));
        true
    }

    fn posted(&self, letter: Letter, batch: u64) -> Posted {
        Posted { letter, batch, shared: self.shared.clone() }
    }

    fn delivered(&self, records: Vec<Record>, received_ms: i64, batch: u64) -> Delivered {
        Delivered { records, received_ms, batch, shared: self.shared.clone() }
    }

    /// Waits for room.
    fn hold(&mut self, held: &mut Held) {
        self.shared.held.store(true, Ordering::Relaxed);
        self.shared.wait(Duration::from_millis(20));
        if held.since.elapsed() < PAUSE_AFTER {
            return;
        }
        if !held.paused {
            tracing::info!("no room for more records, pausing kafka");
            held.paused = true;
        }
        // Again and again, since partitions may have been assigned meanwhile.
        let paused = self.consumer.assignment().and_then(|partitions| self.consumer.pause(&partitions));
        if let Err(error) = paused {
            tracing::debug!(%error, "could not pause kafka");
        }
        // Callbacks are to be made. A message that slipped through joins what waits.
        if let Some(Ok(message)) = self.consumer.poll(Duration::ZERO) {
            self.shared.gathered().add(&message, &mut self.reader);
        }
    }

    fn resume(&self) {
        tracing::info!("there is room again, resuming kafka");
        let resumed = self.consumer.assignment().and_then(|partitions| self.consumer.resume(&partitions));
        if let Err(error) = resumed {
            tracing::warn!(%error, "could not resume kafka");
        }
    }

    fn commit(&self, mode: CommitMode) {
        let ends = self.shared.ledger().take_due(None);
        if let Err(error) = commit(&self.consumer, &ends, mode) {
            tracing::warn!(%error, "could not commit kafka offsets, trying again");
            self.shared.ledger().commit_failed();
        }
    }

    /// Commits everything, whatever was committed before: how a commit on its way ends is not heard of any
    /// more. While the group changes hands the broker takes none, so it may need some attempts.
    fn commit_finally(&self) {
        let deadline = Instant::now() + LAST_COMMIT;
        loop {
            self.shared.ledger().commit_failed();
            let ends = self.shared.ledger().take_due(None);
            match commit(&self.consumer, &ends, CommitMode::Sync) {
                Ok(()) => return,
                Err(error) if Instant::now() > deadline => {
                    tracing::warn!(%error, "could not commit kafka offsets at the end, records are delivered again");
                    return;
                }
                // The group moves on while we poll; what comes is not ours any more.
                Err(_) => drop(self.consumer.poll(POLL)),
            }
        }
    }

    /// Most errors are librdkafka's to deal with; after a fatal one the consumer is of no use.
    fn complain(&self, error: KafkaError) -> Result<(), KafkaError> {
        match error {
            KafkaError::PartitionEOF(_) => Ok(()),
            KafkaError::MessageConsumptionFatal(_)
            | KafkaError::MessageConsumption(RDKafkaErrorCode::Fatal) => {
                tracing::error!(%error, "the kafka consumer failed for good, making another");
                self.shared.complain(Some(error.to_string()));
                Err(error)
            }
            error => {
                tracing::debug!(%error, "kafka consumer error");
                self.shared.complain(Some(error.to_string()));
                Ok(())
            }
        }
    }
}
