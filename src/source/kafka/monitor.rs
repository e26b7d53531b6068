//! The thread that watches one consumer from outside: lag, progress, and whether the cluster answers.
//!
//! Invariant: a consumer that could read and does not is ended. Before that the reason is made sure of:
//! another consumer reads at the same place. So an empty tail of transaction markers, a broker that is
//! away, or a store that has no room never costs a consumer its life.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashMapExt};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
};

use super::{
    config::Settings,
    health::{Health, Part},
    ledger::Partition,
    shared::{Context, Shared},
};
use crate::clock::epoch_ms;

/// Between looks.
const INTERVAL_MAX: Duration = Duration::from_secs(5);
/// How long the cluster may take to answer one question.
const ANSWER: Duration = Duration::from_secs(5);

type Watching = BaseConsumer<Context>;

pub(super) struct Monitor {
    /// Not kept alive from here: it is the worker that closes it.
    pub(super) consumer: Weak<Watching>,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) health: Health,
}

/// What is known of a partition between looks.
#[derive(Debug)]
struct Watched {
    /// Where consuming began, when nothing was settled yet.
    start: i64,
    delivered: Option<i64>,
    /// Since when nothing was delivered although something was there.
    since: Instant,
    /// An end that can not be reached, since there is nothing to read before it: transactions leave
    /// markers, and compaction leaves holes.
    hollow_end: Option<i64>,
}

impl Watched {
    fn from(start: i64) -> Self {
        Self { start, delivered: None, since: Instant::now(), hollow_end: None }
    }

    /// Whether the partition has come on, or has nothing to come on to.
    fn moves(&mut self, delivered: Option<i64>, lag: i64, high: i64) -> bool {
        let moved = std::mem::replace(&mut self.delivered, delivered) != delivered;
        moved || lag == 0 || self.hollow_end == Some(high)
    }
}

impl Monitor {
    pub(super) fn run(self) {
        let interval = INTERVAL_MAX.min(self.settings.stall_timeout / 3).max(Duration::from_millis(100));
        let mut watched = HashMap::new();
        while !self.shared.is_stopping() {
            let Some(consumer) = self.consumer.upgrade() else { return };
            let outcome = self.look(&consumer, &mut watched);
            drop(consumer);
            let reason = outcome.err().map(|error| {
                let why = self.shared.complaint().unwrap_or_else(|| error.to_string());
                format!("{}: {why}", self.settings.brokers)
            });
            let is_well = reason.is_none();
            self.health.set(Part::Cluster, reason);
            if is_well {
                self.shared.complain(None);
            }
            let pause = if is_well { interval } else { interval.min(Duration::from_secs(1)) };
            let until = Instant::now() + pause;
            while Instant::now() < until && !self.shared.is_stopping() {
                std::thread::sleep(Duration::from_millis(50).min(pause));
            }
        }
    }

    fn look(&self, consumer: &Watching, watched: &mut HashMap<Partition, Watched>) -> KafkaResult<()> {
        let (assigned, is_busy) = {
            let ledger = self.shared.ledger();
            let assigned =
                ledger.partitions().map(|(partition, progress)| (partition.clone(), progress.clone()));
            (assigned.collect::<HashMap<_, _>>(), ledger.open_len() > 0)
        };
        watched.retain(|partition, _| assigned.contains_key(partition));
        if assigned.is_empty() {
            return self.topics_exist(consumer);
        }
        let is_held = is_busy || self.shared.held.load(Ordering::Relaxed);
        let mut is_stalled = false;
        for (partition, progress) in assigned {
            let (low, high) = consumer.fetch_watermarks(&partition.topic, partition.number, ANSWER)?;
            if !watched.contains_key(&partition) {
                let start = committed(consumer, &partition)?.unwrap_or(low);
                watched.insert(partition.clone(), Watched::from(start));
            }
            let Some(watched) = watched.get_mut(&partition) else { continue };
            let lag = high - progress.settled.unwrap_or(watched.start).clamp(low, high);
            self.tell_lag(&partition, lag);
            if watched.moves(progress.delivered, lag, high) || is_held {
                watched.since = Instant::now();
            } else if watched.since.elapsed() >= self.settings.stall_timeout {
                let from = progress.delivered.unwrap_or(watched.start).max(low);
                if can_read(&self.settings.consumer(), &partition, from) {
                    tracing::error!(%partition, lag, offset = from, "a kafka consumer stands still");
                    let reason = format!("{partition} lags {lag} records behind without progress");
                    self.health.set(Part::Consumer, Some(reason));
                    is_stalled = true;
                } else {
                    watched.hollow_end = Some(high);
                }
            }
        }
        if is_stalled {
            self.shared.stalled.notify_one();
        }
        Ok(())
    }

    fn tell_lag(&self, partition: &Partition, lag: i64) {
        self.shared.metrics.kafka_lag.get_or_create(&(&*partition.topic, partition.number).into()).set(lag);
        if lag == 0 {
            // Nothing to do is as good as progress.
            self.shared.metrics.kafka_last_progress.set(epoch_ms() / 1000);
        }
    }

    /// A replica without partitions is well as long as there is something to be a spare for.
    fn topics_exist(&self, consumer: &Watching) -> KafkaResult<()> {
        // A pattern may match nothing yet.
        for topic in self.settings.topics.iter().filter(|topic| !topic.starts_with('^')) {
            let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
            let is_there =
                metadata.topics().iter().any(|found| found.name() == topic && !found.partitions().is_empty());
            if !is_there {
                self.shared.complain(Some(format!("the topic {topic} does not exist")));
                return Err(KafkaError::Subscription(topic.clone()));
            }
        }
        Ok(())
    }
}

fn committed(consumer: &Watching, partition: &Partition) -> KafkaResult<Option<i64>> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&partition.topic, partition.number);
    let committed = consumer.committed_offsets(list, ANSWER)?;
    let offset = committed.find_partition(&partition.topic, partition.number).map(|element| element.offset());
    Ok(match offset {
        Some(Offset::Offset(offset)) => Some(offset),
        _ => None,
    })
}

/// Whether another consumer finds a record at that place.
fn can_read(config: &ClientConfig, partition: &Partition, from: i64) -> bool {
    let read = || -> KafkaResult<bool> {
        let mut config = config.clone();
        config.set("enable.partition.eof", "true");
        // It joins no group: it takes one partition, and commits nothing.
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(from))?;
        consumer.assign(&list)?;
        let deadline = Instant::now() + ANSWER;
        while Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(_)) => return Ok(true),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(false),
                Some(Err(_)) | None => {}
            }
        }
        Ok(false)
    };
    read().unwrap_or(false)
}
