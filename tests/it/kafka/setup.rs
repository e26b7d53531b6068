//! A replica's ingestion as far as these tests need it: records, a consumer, a pipeline, a store; and what
//! is published at its end.

use std::{sync::Arc, time::Duration};

use fleetcast::{
    fleet::{ChannelMessage, FleetId},
    observe::{Metrics, Readiness},
    pipeline::Pipeline,
    source::{
        RecordOptions, Source,
        kafka::{Kafka as Consumer, Options, Settings},
    },
    store::{MemoryStore, RedisStore, Store, TrackRule},
    values::Secret,
};
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Kafka, PATIENCE, RedisServer, eventually, eventually_within};

pub fn fleet() -> FleetId {
    FleetId::parse("f").unwrap()
}

pub fn memory() -> Store {
    Store::Memory(MemoryStore::new(TrackRule::default()))
}

pub fn redis_store(redis: &RedisServer) -> Store {
    Store::Redis(RedisStore::new(redis.url().parse().unwrap(), "fleetcast", false, TrackRule::default()))
}

/// The `n`th record: of one of 50 assets, one millisecond after the one before.
pub fn record(start_ms: i64, n: i64) -> String {
    let (asset, ts) = (n % 50, start_ms + n);
    format!(r#"{{"fleetId":"f","assetId":"a{asset}","ts":{ts},"lat":1.5,"lon":2.5,"n":{n}}}"#)
}

pub async fn produce(kafka: &Kafka, topic: &str, partition: i32, records: &[String]) {
    let values: Vec<_> = records.iter().map(|record| Some(record.as_bytes())).collect();
    kafka.produce(topic, partition, &values).await;
}

/// A replica's ingestion: source, pipeline and metrics, without the rest of the gateway.
pub struct Ingestion {
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

pub struct Setup {
    pub options: Options,
    pub records: RecordOptions,
}

impl Setup {
    pub fn new(brokers: &str, topic: &str) -> Self {
        let options = Options {
            kafka_brokers: Some(brokers.to_owned()),
            kafka_topics: vec![topic.to_owned()],
            kafka_group: Some(format!("{topic} group")),
            kafka_properties: None,
            kafka_stall_timeout: Duration::from_secs(60),
            max_record_bytes: 1 << 20,
        };
        let records = RecordOptions { fields: Default::default(), max_skew: Duration::from_secs(300) };
        Self { options, records }
    }

    pub fn group(mut self, group: &str) -> Self {
        self.options.kafka_group = Some(group.to_owned());
        self
    }

    pub fn properties(mut self, properties: &str) -> Self {
        self.options.kafka_properties = Some(properties.parse::<Secret>().unwrap());
        self
    }

    pub fn start(self, store: &Store) -> Ingestion {
        let metrics = Arc::new(Metrics::default());
        let readiness = Readiness::default();
        let settings = Settings::new(&self.options, &self.records).unwrap();
        let consumer = Consumer::new(settings, metrics.clone(), readiness.condition("kafka"));
        let pipeline = Pipeline::new(
            Source::Kafka(Box::new(consumer)),
            store.writer(),
            None,
            metrics.clone(),
            readiness.condition("store"),
        );
        let stop = CancellationToken::new();
        let task = tokio::spawn(pipeline.run(stop.clone()));
        Ingestion { metrics, readiness, stop, task }
    }
}

impl Ingestion {
    /// Ends as on SIGTERM.
    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("ends in time").unwrap();
    }

    /// Ends as on SIGKILL, as far as one process can: nothing is finished, nothing is committed. Its
    /// consumer leaves the group when its threads notice.
    pub fn kill(self) {
        self.task.abort();
    }

    pub fn reason(&self, condition: &str) -> Option<String> {
        self.readiness.report().reasons.get(condition).cloned()
    }

    pub async fn is_ready(&self) {
        eventually("ready", async || self.readiness.report().ready).await;
    }

    pub async fn has_applied(&self, count: u64) {
        eventually(&format!("{count} updates applied"), async || self.metrics.updates_applied.get() >= count)
            .await;
        assert_eq!(self.metrics.updates_applied.get(), count);
    }
}

/// Everything published to the fleet `f` from now on, as the numbers `n` of the records.
pub struct Published {
    pub task: JoinHandle<()>,
    pub seen: Arc<std::sync::Mutex<Vec<(u64, i64)>>>,
}

impl Published {
    pub async fn to(redis: &RedisServer) -> Self {
        let mut messages = redis::Client::open(redis.url()).unwrap().get_async_pubsub().await.unwrap();
        messages.subscribe("fleetcast:{f}:updates").await.unwrap();
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = seen.clone();
        let task = tokio::spawn(async move {
            let mut messages = messages.into_on_message();
            while let Some(message) = messages.next().await {
                let batch = ChannelMessage::decode(&fleet(), message.get_payload_bytes()).unwrap().batch;
                for (seq, update) in (batch.first_seq.unwrap()..).zip(batch.updates) {
                    let data: serde_json::Value = serde_json::from_slice(&update.raw).unwrap();
                    sink.lock().unwrap().push((seq, data["n"].as_i64().unwrap()));
                }
            }
        });
        Self { task, seen }
    }

    /// Waits for all of `0..count` and checks that each came once, in its asset's order, without a hole in
    /// the numbers.
    pub async fn is_complete(&self, count: i64) {
        let total = usize::try_from(count).unwrap();
        eventually_within(PATIENCE * 2, &format!("{count} updates published"), async || {
            self.seen.lock().unwrap().len() >= total
        })
        .await;
        let seen = self.seen.lock().unwrap().clone();
        let seqs: Vec<_> = seen.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(seqs, (1..=u64::try_from(count).unwrap()).collect::<Vec<_>>());
        for asset in 0..50 {
            let of_asset = seen.iter().map(|(_, n)| *n).filter(|n| n % 50 == asset);
            assert_eq!(of_asset.collect::<Vec<_>>(), (asset..count).step_by(50).collect::<Vec<_>>());
        }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.task.abort();
    }
}
