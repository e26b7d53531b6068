//! A rolling restart of all replicas: viewers come back elsewhere, evenly, and to the newest state.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::producer::FutureRecord;
use serde_json::{Value, json};

use crate::support::{Gateway, Kafka, PATIENCE, RedisServer, Viewer, eventually_within, now_ms};

const VIEWERS: usize = 3000;
const FLEETS: usize = 30;
const GRACE: Duration = Duration::from_secs(15);

/// Where dashboards find the replicas, and what becomes of them.
#[derive(Debug)]
struct Crowd {
    replicas: Mutex<Vec<String>>,
    /// When a viewer that had been closed was let in again.
    returns: Mutex<Vec<Instant>>,
    connected: AtomicUsize,
    /// The newest number that each viewer has seen.
    seen: Vec<AtomicI64>,
    stop: AtomicBool,
}

impl Crowd {
    /// A dashboard with the back-off of stock clients, on another replica each time.
    async fn dashboard(self: Arc<Self>, index: usize) {
        for attempt in index.. {
            let addr = {
                let replicas = self.replicas.lock().unwrap();
                replicas[attempt % replicas.len()].clone()
            };
            if let Ok(mut viewer) = Viewer::try_connect(&addr, "").await {
                let fleet = format!("fleet-{}", index % FLEETS);
                viewer
                    .send(&format!(r#"421["fleet_subscribe",{{"fleet":"{fleet}","interval_ms":250}}]"#))
                    .await;
                if attempt > index {
                    self.returns.lock().unwrap().push(Instant::now());
                }
                self.connected.fetch_add(1, Ordering::Relaxed);
                while let Some(packet) = viewer.packet().await {
                    self.take(index, &packet);
                }
                self.connected.fetch_sub(1, Ordering::Relaxed);
            }
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(500..1500))).await;
        }
    }

    fn take(&self, index: usize, packet: &str) {
        let Some(event) = packet.strip_prefix("42") else { return };
        let event: Value = serde_json::from_str(event).unwrap();
        for asset in event[1]["assets"].as_array().into_iter().flatten() {
            let number = asset["data"]["n"].as_i64().unwrap();
            let before = self.seen[index].fetch_max(number, Ordering::Relaxed);
            assert!(number >= before, "{number} after {before}: back in time");
        }
    }

    fn all_have(&self, number: i64) -> bool {
        self.seen.iter().all(|seen| seen.load(Ordering::Relaxed) == number)
    }
}

async fn replica(kafka: &Kafka, topic: &str, redis: &RedisServer) -> Gateway {
    let gateway = Gateway::builder()
        .kafka(kafka.brokers(), topic)
        .redis(redis)
        .env("FLEETCAST_SHUTDOWN_GRACE", format!("{}s", GRACE.as_secs()))
        .env("FLEETCAST_CANARY_INTERVAL", "1s")
        .env("FLEETCAST_LOG", "warn,fleetcast::app=info")
        .start()
        .await;
    gateway.wait_ready().await;
    gateway
}

async fn produce(kafka: &Kafka, topic: &str, number: i64) {
    let producer = kafka.producer();
    for fleet in 0..FLEETS {
        let text = json!({"fleetId": format!("fleet-{fleet}"), "assetId": "a", "ts": now_ms(), "n": number});
        let text = text.to_string();
        let record = FutureRecord::to(topic).key("k").payload(&text);
        producer.send(record, PATIENCE).await.unwrap();
    }
}

/// Reconnects of the busiest second, and of an average one between the first and the last.
fn pace(returns: &[Instant]) -> (usize, f64) {
    let (first, last) = (returns[0], returns[returns.len() - 1]);
    let mut seconds = vec![0; usize::try_from((last - first).as_secs()).unwrap() + 1];
    for at in returns {
        seconds[usize::try_from((*at - first).as_secs()).unwrap()] += 1;
    }
    (seconds.iter().copied().max().unwrap(), returns.len() as f64 / (last - first).as_secs_f64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_brings_everybody_back_evenly_and_to_the_newest_state() {
    let (kafka, redis) = (Kafka::shared().await, RedisServer::start().await);
    let topic = kafka.topic("rolling", 3).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(kafka, &topic, &redis).await);
    }
    produce(kafka, &topic, 0).await;
    let crowd = Arc::new(Crowd {
        replicas: Mutex::new(replicas.iter().map(|replica| replica.addr().to_owned()).collect()),
        returns: Mutex::default(),
        connected: AtomicUsize::new(0),
        seen: (0..VIEWERS).map(|_| AtomicI64::new(-1)).collect(),
        stop: AtomicBool::new(false),
    });
    let mut dashboards = tokio::task::JoinSet::new();
    for index in 0..VIEWERS {
        dashboards.spawn(crowd.clone().dashboard(index));
    }
    let patience = PATIENCE * 3;
    eventually_within(patience, "everybody is there", async || crowd.all_have(0)).await;

    let mut number = 0;
    for (index, running) in replicas.iter_mut().enumerate() {
        crowd.returns.lock().unwrap().clear();
        running.sigterm();
        while running.try_exit().is_none() {
            number += 1;
            produce(kafka, &topic, number).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        *running = replica(kafka, &topic, &redis).await;
        running.addr().clone_into(&mut crowd.replicas.lock().unwrap()[index]);
        let all_back = async || crowd.connected.load(Ordering::Relaxed) == VIEWERS;
        eventually_within(patience, "everybody is back", all_back).await;
        let returns = crowd.returns.lock().unwrap().clone();
        let (busiest, average) = pace(&returns);
        eprintln!("replica {index}: {} came back, {average:.0} a second, at most {busiest}", returns.len());
        assert!(busiest as f64 <= 1.5 * average, "{busiest} in a second, {average} on average");
    }
    number += 1;
    produce(kafka, &topic, number).await;
    eventually_within(patience, "everybody has the newest state", async || crowd.all_have(number)).await;
    crowd.stop.store(true, Ordering::Relaxed);
    drop(replicas);
    while dashboards.join_next().await.is_some() {}
}
