//! How many updates a second one consumer takes from a real Kafka into a real Redis, and how long each
//! takes: `cargo bench --bench ingest [-- records]`.
//!
//! 50,000 assets in 200 fleets, telemetry of some 200 bytes. Broker, Redis and consumer share this machine.
#![expect(clippy::unwrap_used, reason = "a broken benchmark should stop where it broke")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports to the terminal")]
#![expect(clippy::needless_pass_by_value, unreachable_pub, reason = "the harness is that of the tests")]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fleetcast::{
    fleet::FieldMap,
    observe::{Metrics, Readiness},
    source::{
        Receipt, RecordOptions, Source,
        kafka::{Kafka as Consumer, Options, Settings},
    },
    store::{MemoryStore, RedisStore, Store, TrackRule},
};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use support::{Kafka, RedisServer};

const ASSETS: u64 = 50_000;
const FLEETS: u64 = 200;
const PARTITIONS: i32 = 8;
const TOPIC: &str = "telemetry";
/// The live run: this many a second, for this long.
const LIVE_RATE: u64 = 10_000;
const LIVE_FOR: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(300);

fn main() {
    let count = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1_000_000);
    tokio::runtime::Runtime::new().unwrap().block_on(run(count));
}

/// Reading alone: what one record costs before it reaches a store.
fn parse() {
    let fields = FieldMap::default();
    let records: Vec<Bytes> = (0..1000).map(|n| Bytes::from(record(now_ms(), n).1)).collect();
    let began = Instant::now();
    const ROUNDS: u32 = 500;
    for _ in 0..ROUNDS {
        for record in &records {
            std::hint::black_box(fields.parse(Bytes::copy_from_slice(record)).unwrap());
        }
    }
    println!("reading one record takes {:.2?}\n", began.elapsed() / (ROUNDS * 1000));
}

async fn run(count: u64) {
    parse();
    let kafka = Kafka::start().await;
    kafka.topic(TOPIC, PARTITIONS).await;
    let bytes = prefill(&kafka, count).await;
    println!("{count} records of {bytes} bytes, {ASSETS} assets, {FLEETS} fleets, {PARTITIONS} partitions\n");
    println!("| store | updates/s | applied after p50 | p99 | consumer CPU | Redis CPU |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let memory = Store::Memory(MemoryStore::new(TrackRule::default()));
    let (outcome, _) = measure(&kafka, "memory", memory, count, None).await;
    report("memory", &outcome, None);
    let redis = RedisServer::start().await;
    let (outcome, cpu) = measure(&kafka, "redis", redis_store(&redis, false), count, Some(&redis)).await;
    report("Redis", &outcome, cpu);
    let redis = RedisServer::start().await;
    let store = redis_store(&redis, true);
    let (outcome, cpu) = measure(&kafka, "legacy", store.clone(), count, Some(&redis)).await;
    report("Redis, and the legacy channel", &outcome, cpu);
    let (outcome, cpu) = live(&kafka, store, count, &redis).await;
    report(&format!("the same, live at {LIVE_RATE}/s"), &outcome, cpu);
    println!("\nRedis holds {} for {ASSETS} assets", redis_memory(&redis).await);
}

fn redis_store(redis: &RedisServer, legacy: bool) -> Store {
    Store::Redis(RedisStore::new(redis.url().parse().unwrap(), "fleetcast", legacy, TrackRule::default()))
}

/// The `n`th record: every asset speaks once, then every asset again a second later.
fn record(start_ms: u64, n: u64) -> (String, String) {
    let (asset, round) = (n % ASSETS, n / ASSETS);
    let (ts, fleet) = (start_ms + round * 1000 + asset % 1000, asset % FLEETS);
    let lat = 48.0 + (asset % 700) as f64 / 100.0 + round as f64 / 10_000.0;
    let lon = 2.0 + (asset % 1300) as f64 / 100.0 + round as f64 / 10_000.0;
    let key = format!("asset-{asset:06}");
    let text = format!(
        "{{\"assetId\":\"{key}\",\"fleetId\":\"fleet-{fleet:03}\",\"ts\":{ts},\"lat\":{lat:.6},\"lon\":{lon:.6},\
         \"speedKmh\":{},\"headingDeg\":{},\"temperatureC\":{:.1},\"fuelPct\":{},\"engine\":\"running\",\"odometerKm\":{}}}",
        n % 120,
        n % 360,
        (n % 80) as f64 / 2.0 - 20.0,
        n % 100,
        100_000 + n % 9999
    );
    (key, text)
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

async fn prefill(kafka: &Kafka, count: u64) -> usize {
    let producer = kafka.producer();
    let start_ms = now_ms() - 3_600_000;
    let mut sent = VecDeque::new();
    for n in 0..count {
        send(&producer, start_ms, n, &mut sent).await;
    }
    for delivery in sent {
        delivery.await.unwrap().unwrap();
    }
    record(start_ms, 0).1.len()
}

type Sent = VecDeque<rdkafka::producer::DeliveryFuture>;

async fn send(producer: &FutureProducer, start_ms: u64, n: u64, sent: &mut Sent) {
    let (key, text) = record(start_ms, n);
    sent.push_back(producer.send_result(FutureRecord::to(TOPIC).key(&key).payload(&text)).unwrap());
    if sent.len() > 50_000 {
        sent.pop_front().unwrap().await.unwrap().unwrap();
    }
}

struct Outcome {
    rate: f64,
    p50: Duration,
    p99: Duration,
    cpu: f64,
}

/// What comes at a steady pace, after everything that was there before.
async fn live(kafka: &Kafka, store: Store, done: u64, redis: &RedisServer) -> (Outcome, Option<f64>) {
    let producer = kafka.producer();
    let producing = tokio::spawn(async move {
        let (start_ms, mut sent) = (now_ms(), Sent::new());
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        let total = LIVE_RATE * LIVE_FOR.as_secs();
        for n in 0..total {
            if n % (LIVE_RATE / 100) == 0 {
                tick.tick().await;
            }
            send(&producer, start_ms, done + n, &mut sent).await;
        }
        producer.flush(Duration::from_secs(10)).unwrap();
    });
    let total = LIVE_RATE * LIVE_FOR.as_secs();
    let outcome = measure(kafka, "legacy", store, total, Some(redis)).await;
    producing.await.unwrap();
    outcome
}

/// What `Pipeline` does, with a clock on every batch.
async fn measure(
    kafka: &Kafka,
    group: &str,
    store: Store,
    count: u64,
    redis: Option<&RedisServer>,
) -> (Outcome, Option<f64>) {
    let mut source = Source::Kafka(Box::new(consumer(kafka, group)));
    let mut writer = store.writer();
    let mut open: VecDeque<(u64, usize, Instant, Receipt)> = VecDeque::new();
    let mut waits: Vec<(Duration, usize)> = Vec::new();
    let mut handled = 0;
    let mut started = None;
    while handled < count {
        let room = writer.has_room() && open.len() < 32;
        tokio::select! {
            biased;
            step = writer.step() => {
                handled += step.applied.fresh_count + step.applied.stale_count + step.applied.duplicate_count;
                while let Some((batch, ..)) = open.front() && step.done.is_some_and(|done| *batch <= done) {
                    let (_, records, received, receipt) = open.pop_front().unwrap();
                    waits.push((received.elapsed(), records));
                    source.commit(receipt);
                }
            }
            batch = source.next_batch(), if room => {
                started.get_or_insert_with(|| (Instant::now(), cpu_of("self"), redis.map(|redis| cpu_of(&redis.pid().to_string()))));
                let (records, received) = (batch.records.len(), Instant::now());
                open.push_back((writer.push(batch.records, batch.received_ms), records, received, batch.receipt));
            }
            () = tokio::time::sleep(LIMIT) => panic!("{handled} of {count} after {LIMIT:?}"),
        }
    }
    let (began, own_cpu, redis_cpu) = started.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let cpu = (cpu_of("self") - own_cpu) / seconds;
    let redis_cpu = redis_cpu.map(|before| (cpu_of(&redis.unwrap().pid().to_string()) - before) / seconds);
    while let Some((.., receipt)) = open.pop_front() {
        source.commit(receipt);
    }
    source.close().await;
    let outcome = Outcome {
        rate: count as f64 / seconds,
        p50: percentile(&mut waits, 50),
        p99: percentile(&mut waits, 99),
        cpu,
    };
    (outcome, redis_cpu)
}

fn consumer(kafka: &Kafka, group: &str) -> Consumer {
    let options = Options {
        kafka_brokers: Some(kafka.brokers().to_owned()),
        kafka_topics: vec![TOPIC.to_owned()],
        kafka_group: Some(group.to_owned()),
        kafka_properties: None,
        kafka_stall_timeout: Duration::from_secs(60),
        max_record_bytes: 1 << 20,
    };
    let records = RecordOptions { fields: Default::default(), max_skew: Duration::from_secs(300) };
    let settings = Settings::new(&options, &records).unwrap();
    Consumer::new(settings, Arc::new(Metrics::default()), Readiness::default().condition("kafka"))
}

/// Weighted by the records of each batch.
fn percentile(waits: &mut [(Duration, usize)], percent: usize) -> Duration {
    waits.sort_unstable();
    let total: usize = waits.iter().map(|(_, records)| records).sum();
    let mut seen = 0;
    for (wait, records) in waits.iter() {
        seen += records;
        if seen * 100 >= total * percent {
            return *wait;
        }
    }
    Duration::ZERO
}

/// Seconds of processor time that a process has used.
fn cpu_of(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

async fn redis_memory(redis: &RedisServer) -> String {
    let info: String = redis.command(&["INFO", "memory"]).await;
    info.lines().find_map(|line| line.strip_prefix("used_memory_human:")).unwrap_or_default().to_owned()
}

fn report(store: &str, outcome: &Outcome, redis_cpu: Option<f64>) {
    let redis = redis_cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.2} core"));
    let Outcome { rate, p50, p99, cpu } = outcome;
    println!("| {store} | {rate:.0} | {p50:.1?} | {p99:.1?} | {cpu:.2} core | {redis} |");
}
