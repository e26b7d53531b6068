//! Replicas in one group: partitions change hands while records flow.

use std::time::Duration;

use super::setup::{Published, Setup, produce, record, redis_store};
use crate::support::{Kafka, RedisServer, eventually, now_ms};

#[tokio::test]
async fn replicas_share_the_partitions_while_records_flow() {
    let kafka = Kafka::shared().await;
    let redis = RedisServer::start().await;
    let topic = kafka.topic("shared", 4).await;
    let store = redis_store(&redis);
    let published = Published::to(&redis).await;
    let start_ms = now_ms() - 60_000;
    let producing = {
        let topic = topic.clone();
        tokio::spawn(async move {
            let producer = kafka.producer();
            let mut sent = Vec::new();
            for n in 0..20_000_i64 {
                let (text, partition) = (record(start_ms, n), i32::try_from(n % 50 % 4).unwrap());
                let record =
                    rdkafka::producer::FutureRecord::<(), _>::to(&topic).partition(partition).payload(&text);
                sent.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
                if n % 20 == 0 {
                    tokio::time::sleep(Duration::from_millis(8)).await;
                }
            }
            for delivery in sent {
                delivery.await.unwrap().unwrap();
            }
        })
    };
    let first = Setup::new(kafka.brokers(), &topic).start(&store);
    eventually("the first works", async || first.metrics.updates_applied.get() > 200).await;
    let second = Setup::new(kafka.brokers(), &topic).start(&store);
    eventually("the second works", async || second.metrics.updates_applied.get() > 200).await;
    first.end().await;
    let third = Setup::new(kafka.brokers(), &topic).start(&store);
    eventually("the third works", async || third.metrics.updates_applied.get() > 200).await;
    producing.await.unwrap();
    published.is_complete(20_000).await;
    let repeated = second.metrics.updates_duplicate.get() + second.metrics.updates_stale.get();
    assert_eq!(repeated, 0, "partitions change hands at committed offsets");
    second.end().await;
    third.end().await;
}

#[tokio::test]
async fn a_killed_replica_loses_and_repeats_nothing() {
    let kafka = Kafka::shared().await;
    let redis = RedisServer::start().await;
    let topic = kafka.topic("killed", 2).await;
    let store = redis_store(&redis);
    let published = Published::to(&redis).await;
    let start_ms = now_ms() - 60_000;
    for partition in 0..2 {
        let of_partition: Vec<_> = (0..20_000).filter(|n| n % 50 % 2 == i64::from(partition)).collect();
        let records: Vec<_> = of_partition.into_iter().map(|n| record(start_ms, n)).collect();
        produce(kafka, &topic, partition, &records).await;
    }
    for _ in 0..3 {
        let victim = Setup::new(kafka.brokers(), &topic).start(&store);
        eventually("in the middle", async || victim.metrics.updates_applied.get() > 500).await;
        victim.kill();
    }
    let last = Setup::new(kafka.brokers(), &topic).start(&store);
    published.is_complete(20_000).await;
    let group = format!("{topic} group");
    eventually("all is committed", async || kafka.committed(&group, &topic, 2) == [10_000, 10_000]).await;
    last.end().await;
}
