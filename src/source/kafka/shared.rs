//! What the threads of one consumer share, and the callbacks that librdkafka makes on the polling one.
//!
//! The rebalance, as the group sees it: before a partition is given up, what was read from it and not
//! handed over is dropped, what was handed over gets some time to be applied, and its offset is committed.
//! The next owner starts there.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
};
use tokio::sync::Notify;

use super::{
    gathered::Gathered,
    ledger::{Ends, Ledger, Partition},
};
use crate::observe::Metrics;

/// How long a rebalance waits for records in flight. The group allows minutes; other replicas only wait
/// for these partitions.
const REVOKE_WAIT: Duration = Duration::from_secs(10);

/// One life of a consumer.
#[derive(Debug)]
pub(super) struct Shared {
    ledger: Mutex<Ledger>,
    /// Told when the ledger moves or the pipeline has taken a batch.
    moved: Condvar,
    /// Read and not handed over yet. Only the polling thread locks it: in its loop, and in a rebalance
    /// that a poll of that loop calls.
    gathered: Mutex<Gathered>,
    stopping: AtomicBool,
    /// Whether the pipeline has no room, so that standing still is not the consumer's fault.
    pub(super) held: AtomicBool,
    /// What librdkafka complained about last.
    complaint: Mutex<Option<String>>,
    /// Told when this life has to end: it stands still although there is something to read.
    pub(super) stalled: Notify,
    pub(super) metrics: Arc<Metrics>,
}

impl Shared {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            ledger: Mutex::default(),
            moved: Condvar::new(),
            gathered: Mutex::default(),
            stopping: AtomicBool::new(false),
            held: AtomicBool::new(false),
            complaint: Mutex::default(),
            stalled: Notify::new(),
            metrics,
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn applied(&self, batch: u64) {
        self.ledger().applied(batch);
        self.moved.notify_all();
    }

    pub(super) fn letter_written(&self, batch: u64) {
        self.ledger().letter_written(batch);
        self.moved.notify_all();
    }

    pub(super) fn has_room(&self) {
        self.moved.notify_all();
    }

    /// Waits until something moved, at most for `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        drop(self.moved.wait_timeout(self.ledger(), limit));
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.moved.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn complain(&self, complaint: Option<String>) {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = complaint;
    }

    pub(super) fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait_until_settled(&self, partitions: &[Partition]) -> bool {
        let deadline = Instant::now() + REVOKE_WAIT;
        let mut ledger = self.ledger();
        while !ledger.is_settled(partitions) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() {
                return false;
            }
            let waited = self.moved.wait_timeout(ledger, left.min(Duration::from_millis(100)));
            ledger = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn revoke(&self, consumer: &BaseConsumer<Context>, list: &TopicPartitionList) {
        let partitions = partitions(list);
        self.gathered().drop_of(&partitions);
        if consumer.assignment_lost() {
            tracing::warn!(partitions = partitions.len(), "kafka gave our partitions to others");
        } else {
            if !self.wait_until_settled(&partitions) && !self.is_stopping() {
                tracing::warn!("gave up kafka partitions with records in flight, they are delivered again");
            }
            // Also what was committed a moment ago: nobody would hear if that failed.
            self.ledger().commit_failed();
            let ends = self.ledger().take_due(Some(&partitions));
            if let Err(error) = commit(consumer, &ends, CommitMode::Sync) {
                tracing::warn!(%error, "could not commit offsets before giving up partitions");
            }
        }
        self.ledger().revoke(&partitions);
        for Partition { topic, number } in &partitions {
            self.metrics.kafka_lag.remove(&(&**topic, *number).into());
        }
    }
}

/// Commits where partitions ended; nothing to commit is fine.
pub(super) fn commit(consumer: &BaseConsumer<Context>, ends: &Ends, mode: CommitMode) -> KafkaResult<()> {
    if ends.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(ends.len());
    for (Partition { topic, number }, end) in ends {
        list.add_partition_offset(topic, *number, rdkafka::Offset::Offset(*end))?;
    }
    consumer.commit(&list, mode)
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let partition = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| Partition {
        topic: element.topic().into(),
        number: element.partition(),
    };
    list.elements().iter().map(partition).collect()
}

/// Takes librdkafka's callbacks.
#[derive(Debug, Clone)]
pub(super) struct Context(pub(super) Arc<Shared>);

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.0.revoke(consumer, list);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                self.0.ledger().assign(partitions(list), Instant::now());
                tracing::info!(partitions = list.count(), "kafka assigned partitions");
            }
            Rebalance::Revoke(list) => tracing::info!(partitions = list.count(), "gave up kafka partitions"),
            Rebalance::Error(error) => tracing::warn!(%error, "a kafka rebalance failed"),
        }
        self.0.metrics.kafka_rebalances.inc();
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "could not commit kafka offsets, trying again");
            self.0.ledger().commit_failed();
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client error");
        self.0.complain(Some(reason.to_owned()));
    }
}

/// librdkafka's own lines. It repeats itself while brokers are away, and that is in the readiness reason
/// already; so its errors are no louder than warnings, and the rest is for debugging.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Error if facility != "FAIL" && facility != "ERROR" => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning
        | RDKafkaLogLevel::Notice
        | RDKafkaLogLevel::Info
        | RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}
