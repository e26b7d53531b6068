//! What changes under a consumer: records that grew too old, more partitions, a Redis that only reads.

use super::setup::{Published, Setup, memory, produce, record, redis_store};
use crate::support::{Kafka, RedisServer, eventually, now_ms};

#[tokio::test]
async fn records_that_are_gone_before_they_were_read_are_no_end_of_reading() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topic("retention", 1).await;
    let store = memory();
    let start_ms = now_ms() - 60_000;
    let records: Vec<_> = (0..300).map(|n| record(start_ms, n)).collect();
    produce(kafka, &topic, 0, &records[..100]).await;
    let first = Setup::new(kafka.brokers(), &topic).start(&store);
    first.has_applied(100).await;
    let group = format!("{topic} group");
    eventually("all is committed", async || kafka.committed(&group, &topic, 1) == [100]).await;
    first.end().await;

    produce(kafka, &topic, 0, &records[100..200]).await;
    kafka.forget_before(&topic, 150).await;
    let second = Setup::new(kafka.brokers(), &topic).start(&store);
    // From the oldest that there is, which is the nearest to what it wanted.
    second.has_applied(50).await;
    // The same while it reads: what it has not asked for yet is gone.
    produce(kafka, &topic, 0, &records[200..]).await;
    second.has_applied(150).await;
    eventually("all is committed", async || kafka.committed(&group, &topic, 1) == [300]).await;
    second.is_ready().await;
    assert_eq!(second.metrics.kafka_consumers_replaced.get(), 0);
    second.end().await;
}

#[tokio::test]
async fn a_partition_that_is_added_is_read_from_its_first_record() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topic("more-partitions", 1).await;
    let store = memory();
    let start_ms = now_ms() - 60_000;
    let records: Vec<_> = (0..200).map(|n| record(start_ms, n)).collect();
    let reads = Setup::new(kafka.brokers(), &topic)
        .properties("topic.metadata.refresh.interval.ms=1000")
        .start(&store);
    produce(kafka, &topic, 0, &records[..100]).await;
    reads.has_applied(100).await;
    kafka.add_partitions(&topic, 3).await;
    // Before the consumer knows of it.
    produce(kafka, &topic, 2, &records[100..]).await;
    reads.has_applied(200).await;
    let group = format!("{topic} group");
    eventually("all is committed", async || kafka.committed(&group, &topic, 3) == [100, -1, 100]).await;
    reads.end().await;
}

/// As after a failover, until everybody knows who leads.
#[tokio::test]
async fn a_redis_that_only_reads_pauses_consuming_and_loses_nothing() {
    let kafka = Kafka::shared().await;
    let redis = RedisServer::start().await;
    let topic = kafka.topic("read-only", 1).await;
    let store = redis_store(&redis);
    let published = Published::to(&redis).await;
    let start_ms = now_ms() - 60_000;
    let records: Vec<_> = (0..2000).map(|n| record(start_ms, n)).collect();
    produce(kafka, &topic, 0, &records[..1000]).await;
    let ingestion = Setup::new(kafka.brokers(), &topic).start(&store);
    ingestion.has_applied(1000).await;
    let group = format!("{topic} group");
    eventually("all is committed", async || kafka.committed(&group, &topic, 1) == [1000]).await;

    redis.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    produce(kafka, &topic, 0, &records[1000..]).await;
    eventually("readiness says so", async || ingestion.reason("store").is_some()).await;
    assert_eq!(kafka.committed(&group, &topic, 1), [1000], "what is not in the store is not committed");
    redis.command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    published.is_complete(2000).await;
    eventually("all is committed", async || kafka.committed(&group, &topic, 1) == [2000]).await;
    ingestion.is_ready().await;
    ingestion.end().await;
}
