//! Two gateways that share a Kafka and a Redis: what a viewer of one sees while the other comes and goes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Gateway, GatewayBuilder, Kafka, PATIENCE, RedisServer, eventually, eventually_within, now_ms,
};

const RECORDS: i64 = 20_000;
const ASSETS: i64 = 50;
const PARTITIONS: i64 = 4;

fn gateway(kafka: &Kafka, topic: &str, redis: &RedisServer) -> GatewayBuilder {
    Gateway::builder()
        .redis(redis)
        .kafka(kafka.brokers(), topic)
        .env("FLEETCAST_KAFKA_PROPERTIES", "session.timeout.ms=6000")
}

/// Writes [`RECORDS`] records in some eight seconds, each asset's to its own partition.
fn produce(kafka: &'static Kafka, topic: &str) -> JoinHandle<()> {
    let (topic, start_ms) = (topic.to_owned(), now_ms() - 60_000);
    tokio::spawn(async move {
        let producer = kafka.producer();
        let mut sent = Vec::new();
        for n in 0..RECORDS {
            let (asset, ts) = (n % ASSETS, start_ms + n);
            let text = format!(r#"{{"fleetId":"f","assetId":"a{asset}","ts":{ts},"n":{n}}}"#);
            let partition = i32::try_from(asset % PARTITIONS).unwrap();
            let record =
                rdkafka::producer::FutureRecord::<(), _>::to(&topic).partition(partition).payload(&text);
            sent.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
            if n % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        for delivery in sent {
            delivery.await.unwrap().unwrap();
        }
    })
}

/// A dashboard of the fleet `f` over a websocket, and the numbers of the updates that it got.
struct Viewer {
    task: JoinHandle<()>,
    seen: Arc<Mutex<Vec<i64>>>,
}

impl Viewer {
    async fn of(gateway: &Gateway) -> Self {
        let url = format!("{}/socket.io/?EIO=4&transport=websocket&fleetId=f", gateway.ws_url());
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        socket.send(Message::text("40")).await.unwrap();
        let (connected, on_connect) = tokio::sync::oneshot::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let task = tokio::spawn(async move {
            let mut connected = Some(connected);
            while let Some(Ok(message)) = socket.next().await {
                let text = message.into_text().unwrap();
                if text.as_str() == "2" {
                    socket.send(Message::text("3")).await.unwrap();
                } else if text.starts_with("40") {
                    connected.take().unwrap().send(()).unwrap();
                } else if let Some(event) = text.strip_prefix("42") {
                    let (name, update): (String, String) = serde_json::from_str(event).unwrap();
                    assert_eq!(name, "fleet_update");
                    let update: serde_json::Value = serde_json::from_str(&update).unwrap();
                    sink.lock().unwrap().push(update["n"].as_i64().unwrap());
                }
            }
        });
        tokio::time::timeout(PATIENCE, on_connect).await.expect("connected in time").unwrap();
        Self { task, seen }
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Every record once, and those of an asset in their order.
    async fn saw_everything(&self) {
        let all = usize::try_from(RECORDS).unwrap();
        eventually_within(PATIENCE * 3, "the viewer has every update", async || self.count() >= all).await;
        tokio::time::sleep(Duration::from_millis(300)).await; // For what comes twice.
        let seen = self.seen.lock().unwrap().clone();
        assert_eq!(seen.len(), all, "none twice");
        for asset in 0..ASSETS {
            let of_asset = seen.iter().copied().filter(|n| n % ASSETS == asset);
            let expected = (asset..RECORDS).step_by(usize::try_from(ASSETS).unwrap());
            assert!(of_asset.eq(expected), "asset {asset} is in order");
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_gateway_killed_in_mid_batch_costs_the_viewers_of_another_nothing() {
    let kafka = Kafka::shared().await;
    let redis = RedisServer::start().await;
    let topic = kafka.topic("replica-killed", 4).await;
    let mut first = gateway(kafka, &topic, &redis).start().await;
    first.wait_ready().await;
    let mut second = gateway(kafka, &topic, &redis).start().await;
    second.wait_ready().await;
    let viewer = Viewer::of(&second).await;
    let producing = produce(kafka, &topic);
    let applied = async |gateway: &Gateway| gateway.metric("fleetcast_updates_applied_total").await;
    eventually("both ingest", async || applied(&first).await > 1000.0 && applied(&second).await > 1000.0)
        .await;
    first.kill9();
    let mut third = gateway(kafka, &topic, &redis).start().await;
    producing.await.unwrap();
    viewer.saw_everything().await;
    assert!(applied(&third).await > 0.0, "the one that came back took its part");

    for gateway in [&mut second, &mut third] {
        gateway.sigterm();
        assert!(gateway.wait_exit(PATIENCE).await.success());
    }
    let committed = kafka.committed(&format!("{topic} group"), &topic, 4);
    assert_eq!(committed.iter().sum::<i64>(), RECORDS, "{committed:?}");
}

#[tokio::test]
async fn gateways_that_stop_and_start_lose_and_repeat_nothing() {
    let kafka = Kafka::shared().await;
    let redis = RedisServer::start().await;
    let topic = kafka.topic("replica-rolled", 4).await;
    let stays = gateway(kafka, &topic, &redis).start().await;
    stays.wait_ready().await;
    let viewer = Viewer::of(&stays).await;
    let producing = produce(kafka, &topic);
    for _ in 0..2 {
        let mut comes = gateway(kafka, &topic, &redis).start().await;
        let applied = async || comes.metric("fleetcast_updates_applied_total").await;
        eventually("it takes its part", async || applied().await > 500.0).await;
        comes.sigterm();
        assert!(comes.wait_exit(PATIENCE).await.success());
    }
    producing.await.unwrap();
    viewer.saw_everything().await;
    let repeated = stays.metric("fleetcast_updates_stale_total").await
        + stays.metric("fleetcast_updates_duplicate_total").await;
    assert_eq!(repeated, 0.0, "partitions change hands at committed offsets");
}

#[tokio::test]
async fn a_redis_that_lost_everything_costs_no_viewer_the_newest_state() {
    let kafka = Kafka::shared().await;
    let mut redis = RedisServer::start().await;
    let topic = kafka.topic("redis-lost", 4).await;
    let ingests = gateway(kafka, &topic, &redis).start().await;
    let serves = gateway(kafka, &topic, &redis).start().await;
    ingests.wait_ready().await;
    serves.wait_ready().await;
    let viewers = [Viewer::of(&ingests).await, Viewer::of(&serves).await];
    let producing = produce(kafka, &topic);
    eventually("updates flow", async || viewers.iter().all(|viewer| viewer.count() > 2000)).await;
    redis.stop();
    tokio::time::sleep(Duration::from_secs(2)).await;
    redis.start_again().await;
    producing.await.unwrap();
    for viewer in &viewers {
        let is_newest = async || {
            let seen = viewer.seen.lock().unwrap();
            let newest = |asset: i64| seen.iter().rfind(|n| **n % ASSETS == asset);
            (0..ASSETS).all(|asset| newest(asset) == Some(&(RECORDS - ASSETS + asset)))
        };
        eventually_within(PATIENCE * 2, "the last update of an asset is its newest", is_newest).await;
    }
    for gateway in [&ingests, &serves] {
        gateway.wait_ready().await;
        assert_eq!(gateway.metric("fleetcast_kafka_consumers_replaced_total").await, 0.0);
    }
}
