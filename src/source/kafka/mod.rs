//! Records from Kafka: a member of a consumer group that commits what the store has.
//!
//! ```text
//! worker (thread): poll ─► gather ─► batches ─► next_batch ─► pipeline ─► store
//!        ▲                    └────► letters ─► <topic>.dlq                 │
//!        └── commit ◄── ledger ◄──────────────────────── Receipt::applied ◄─┘
//! monitor (thread): lag, readiness; ends a consumer that stands still
//! ```
//!
//! Invariant: an offset is committed only when the store has every record before it and the dead-letter
//! topic what was none. A consumer that failed or stands still is replaced, so consuming never just ends.

mod check;
mod config;
mod gathered;
mod health;
mod ledger;
mod letters;
mod monitor;
mod post;
mod shared;
mod worker;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

pub use check::Topics;
pub use config::{Options, Settings};
pub use post::Post;

use self::{
    gathered::{LETTERS_MAX, Reader},
    health::{Health, Part},
    letters::{Posted, make_topic},
    monitor::Monitor,
    shared::{Context, Shared},
    worker::Worker,
};
use super::Batch;
use crate::{
    backoff::Backoff,
    fleet::Record,
    observe::{Condition, Metrics},
};

/// Batches that wait for the pipeline.
const BATCHES_MAX: usize = 2;
/// Consumers that were given up and have not ended yet. One that hangs may take its time-outs.
const LEAVING_MAX: usize = 3;
/// How long a stop waits for the last commit and for leaving the group.
const CLOSE_MAX: Duration = Duration::from_secs(8);

/// Why the Kafka source can not be made from its options; names the option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKafka(pub(super) String);

/// The Kafka source.
pub struct Kafka {
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Health,
    letters: mpsc::Sender<Posted>,
    life: Option<Life>,
    leaving: Vec<Weak<Shared>>,
    restart_at: Instant,
    backoff: Backoff,
    /// Making the topic of our own. A consumer that joined before it is there would look for it half a
    /// minute later.
    topic_made: Option<JoinHandle<()>>,
    /// The writer of dead letters; ends with the source.
    tasks: JoinSet<()>,
}

/// One consumer and its threads.
struct Life {
    shared: Arc<Shared>,
    batches: mpsc::Receiver<Delivered>,
    ended: oneshot::Receiver<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// What the worker hands over.
struct Delivered {
    records: Vec<Record>,
    received_ms: i64,
    batch: u64,
    shared: Arc<Shared>,
}

/// Names a batch to the consumer that delivered it.
#[derive(Debug)]
pub struct Receipt {
    shared: Arc<Shared>,
    batch: u64,
}

impl Receipt {
    pub(super) fn applied(self) {
        self.shared.applied(self.batch);
        self.shared.metrics.kafka_last_progress.set(crate::clock::epoch_ms() / 1000);
    }
}

impl Kafka {
    /// A consumer that joins its group when the first batch is asked for. Needs a tokio runtime.
    #[must_use]
    pub fn new(settings: Settings, metrics: Arc<Metrics>, condition: Condition) -> Self {
        let health = Health::new(condition);
        let (letters, queue) = mpsc::channel(LETTERS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(letters::run(queue, settings.producer(), health.clone(), metrics.clone()));
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let (life, leaving, restart_at) = (None, Vec::new(), Instant::now());
        let topic_made = settings.own_topic.clone().map(|topic| {
            let config = settings.producer();
            tokio::spawn(async move { make_topic(&config, &topic).await })
        });
        Self { settings, metrics, health, letters, life, leaving, restart_at, backoff, topic_made, tasks }
    }

    /// Cancel-safe: what the worker has handed over waits in a channel until it is returned.
    pub(super) async fn next_batch(&mut self) -> Batch {
        loop {
            let Some(life) = &mut self.life else {
                sleep_until(self.restart_at).await;
                if let Some(topic_made) = &mut self.topic_made {
                    topic_made.await.ok();
                    self.topic_made = None;
                }
                self.begin();
                continue;
            };
            tokio::select! {
                biased;
                () = life.shared.stalled.notified() => self.give_up("it stands still"),
                delivered = life.batches.recv() => match delivered {
                    None => self.give_up("it failed"),
                    Some(delivered) => {
                        life.shared.has_room();
                        self.backoff.reset();
                        self.health.set(Part::Consumer, None);
                        return delivered.into_batch();
                    }
                }
            }
        }
    }

    pub(super) async fn close(mut self) {
        let Some(life) = &mut self.life else { return };
        life.shared.stop();
        if timeout(CLOSE_MAX, &mut life.ended).await.is_err() {
            tracing::warn!("kafka did not take the last commit in time, its records are delivered again");
        }
        self.tasks.abort_all();
    }

    fn give_up(&mut self, why: &str) {
        if let Some(life) = self.life.take() {
            tracing::warn!(why, "replacing the kafka consumer");
            self.metrics.kafka_consumers_replaced.inc();
            self.leaving.push(Arc::downgrade(&life.shared));
        }
        self.restart_later();
    }

    fn restart_later(&mut self) {
        self.restart_at = Instant::now() + self.backoff.next_wait(rand::random());
    }

    fn begin(&mut self) {
        self.leaving.retain(|shared| shared.strong_count() > 0);
        if self.leaving.len() >= LEAVING_MAX {
            self.health.set(Part::Consumer, Some("consumers that were given up do not end".to_owned()));
            return self.restart_later();
        }
        match self.start() {
            Ok(life) => self.life = Some(life),
            Err(error) => {
                tracing::error!(%error, "can not make a kafka consumer");
                self.health.set(Part::Consumer, Some(error.to_string()));
                self.restart_later();
            }
        }
    }

    fn start(&self) -> anyhow::Result<Life> {
        let shared = Arc::new(Shared::new(self.metrics.clone()));
        let consumer: BaseConsumer<Context> =
            self.settings.consumer().create_with_context(Context(shared.clone()))?;
        let topics: Vec<&str> = self.settings.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        let consumer = Arc::new(consumer);
        let (to_pipeline, batches) = mpsc::channel(BATCHES_MAX);
        let (end, ended) = oneshot::channel();
        let monitor = Monitor {
            consumer: Arc::downgrade(&consumer),
            shared: shared.clone(),
            settings: self.settings.clone(),
            health: self.health.clone(),
        };
        let worker = Worker {
            consumer,
            shared: shared.clone(),
            reader: Reader::new(self.settings.records.clone(), self.settings.record_bytes_max),
            batches: to_pipeline,
            letters: self.letters.clone(),
            ended: end,
        };
        // Threads, since librdkafka blocks: in polls, in commits, and in rebalances that wait for us.
        std::thread::Builder::new().name("kafka-poll".to_owned()).spawn(move || worker.run())?;
        std::thread::Builder::new().name("kafka-monitor".to_owned()).spawn(move || monitor.run())?;
        Ok(Life { shared, batches, ended })
    }
}

impl Delivered {
    fn into_batch(self) -> Batch {
        let Self { records, received_ms, batch, shared } = self;
        Batch { records, received_ms, receipt: super::Receipt::Kafka(Receipt { shared, batch }) }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("topics", &self.settings.topics).finish_non_exhaustive()
    }
}
