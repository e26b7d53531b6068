//! Dead letters: records that can not be used go to `<topic>.dlq`, with headers that say why.
//!
//! Invariant: a letter is written or waits, it is never dropped. Its batch is not committed before; when
//! the topic can not be written for long, the queue of letters fills, and consuming pauses.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use tokio::{
    sync::{Mutex, OnceCell, mpsc},
    time::sleep,
};

use super::{
    gathered::Letter,
    health::{Health, Part},
    shared::{self, Shared},
};
use crate::{backoff::Backoff, observe::Metrics};

/// Letters under way at the same time.
const IN_FLIGHT_MAX: usize = 64;
/// For brokers that do not answer.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(5);
/// Failures in a row after which readiness says so.
const PATIENCE: u32 = 5;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A letter, and the batch that waits for it.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) letter: Letter,
    pub(super) batch: u64,
    pub(super) shared: Arc<Shared>,
}

/// Writes letters as they come, until the queue ends.
pub(super) async fn run(
    mut queue: mpsc::Receiver<Posted>,
    config: ClientConfig,
    health: Health,
    metrics: Arc<Metrics>,
) {
    let office = Office { config, producer: OnceCell::new(), topics: Mutex::default(), health };
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            posted = queue.recv(), if under_way.len() < IN_FLIGHT_MAX => match posted {
                Some(posted) => under_way.push(office.deliver(posted)),
                None => break,
            },
            Some(()) = under_way.next() => { metrics.updates_dead_lettered.inc(); }
        }
    }
}

#[derive(Clone)]
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        shared::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka producer error");
    }
}

struct Office {
    config: ClientConfig,
    /// Made with the first letter.
    producer: OnceCell<FutureProducer<Quiet>>,
    /// Topics that were asked for. As many as there are topics to read.
    topics: Mutex<HashSet<String>>,
    health: Health,
}

impl Office {
    async fn deliver(&self, posted: Posted) {
        let Posted { mut letter, batch, shared } = posted;
        let topic = format!("{}.dlq", letter.partition.topic);
        tracing::debug!(
            partition = %letter.partition, offset = letter.offset, reason = letter.why.reason, "dead letter"
        );
        self.ask_for(&topic).await;
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        let mut failures = 0;
        while let Err(error) = self.write(&topic, &letter).await {
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize)
                    if letter.payload.is_some() =>
                {
                    letter.drop_payload();
                    continue;
                }
                _ => {}
            }
            failures += 1;
            self.topics.lock().await.remove(&topic);
            self.ask_for(&topic).await;
            if failures == PATIENCE {
                tracing::warn!(%topic, %error, "dead letters can not be written, their records are not committed");
                self.health
                    .set(Part::Letters, Some(format!("dead letters can not be written to {topic}: {error}")));
            }
            sleep(backoff.next_wait(rand::random())).await;
        }
        if failures > 0 {
            self.health.set(Part::Letters, None);
        }
        shared.letter_written(batch);
    }

    async fn write(&self, topic: &str, letter: &Letter) -> Result<(), KafkaError> {
        let producer = self
            .producer
            .get_or_try_init(async || self.config.create_with_context::<_, FutureProducer<_>>(Quiet))
            .await?;
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).headers(letter.headers());
        record.key = letter.key.as_deref();
        record.payload = letter.payload.as_deref();
        producer.send(record, Duration::from_secs(10)).await.map(drop).map_err(|(error, _)| error)
    }

    /// Makes the topic if it is not there, before its first letter: a producer would wait for it long
    /// enough to give its letters up. If it can not be made, the write says why it fails.
    async fn ask_for(&self, topic: &str) {
        let mut topics = self.topics.lock().await;
        if !topics.insert(topic.to_owned()) {
            return;
        }
        make_topic(&self.config, topic).await;
    }
}

/// Makes a topic of one partition, if it is not there and the brokers let us.
pub(super) async fn make_topic(config: &ClientConfig, topic: &str) {
    let made = async {
        let admin: AdminClient<_> = config.create_with_context(Quiet)?;
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(-1));
        let options =
            AdminOptions::new().request_timeout(Some(TOPIC_TIMEOUT)).operation_timeout(Some(TOPIC_TIMEOUT));
        admin.create_topics(&[new], &options).await
    };
    match made.await {
        Ok(outcomes) => tracing::debug!(topic, ?outcomes, "asked for a topic of our own"),
        Err(error) => tracing::debug!(topic, %error, "could not ask for a topic of our own"),
    }
}

impl Letter {
    /// The record's own headers, and why it is here.
    fn headers(&self) -> OwnedHeaders {
        let timestamp = self.timestamp_ms.map(|timestamp_ms| timestamp_ms.to_string());
        let facts = [
            ("fleetcast-code", Some(self.why.code.to_owned())),
            ("fleetcast-reason", Some(self.why.reason.clone())),
            ("fleetcast-topic", Some(self.partition.topic.to_string())),
            ("fleetcast-partition", Some(self.partition.number.to_string())),
            ("fleetcast-offset", Some(self.offset.to_string())),
            ("fleetcast-timestamp", timestamp),
        ];
        facts.iter().fold(self.headers.clone(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        })
    }

    /// The broker takes nothing so large: what is known of the record has to do.
    fn drop_payload(&mut self) {
        if let Some(payload) = self.payload.take() {
            let bytes = payload.len().to_string();
            let headers = std::mem::take(&mut self.headers);
            self.headers = headers.insert(Header { key: "fleetcast-dropped-bytes", value: Some(&bytes) });
        }
    }
}
