//! Redis away, a broker away, connections that fell silent, a consumer that stands still: consuming never
//! just ends.

use std::time::Duration;

use super::setup::{Published, Setup, fleet, memory, produce, record, redis_store};
use crate::support::{
    ChaosProxy, Kafka, PATIENCE, RedisServer, eventually, eventually_within, free_port, now_ms,
};

#[tokio::test]
async fn an_outage_of_redis_pauses_and_loses_nothing() {
    let kafka = Kafka::shared().await;
    let mut redis = RedisServer::start().await;
    let topic = kafka.topic("redis-outage", 1).await;
    let store = redis_store(&redis);
    let start_ms = now_ms() - 60_000;
    let records: Vec<_> = (0..60_000).map(|n| record(start_ms, n)).collect();
    produce(kafka, &topic, 0, &records[..1000]).await;
    let ingestion = Setup::new(kafka.brokers(), &topic).start(&store);
    ingestion.has_applied(1000).await;

    redis.stop();
    produce(kafka, &topic, 0, &records[1000..]).await;
    eventually("readiness says so", async || ingestion.reason("store").is_some()).await;
    tokio::time::sleep(Duration::from_secs(2)).await; // Longer than the pause takes to begin.
    let group = format!("{topic} group");
    assert_eq!(kafka.committed(&group, &topic, 1), [1000], "what is not in the store is not committed");
    redis.start_again().await;
    eventually("all is committed", async || kafka.committed(&group, &topic, 1) == [60_000]).await;
    ingestion.is_ready().await;
    assert_eq!(ingestion.metrics.kafka_consumers_replaced.get(), 0);
    let snapshot = store.snapshot(&fleet()).await.unwrap();
    assert_eq!(snapshot.assets.len(), 50);
    assert!(snapshot.assets.iter().all(|state| state.ts_ms >= start_ms + 59_950));
    ingestion.end().await;
}

#[tokio::test]
async fn a_redis_that_froze_applies_nothing_twice() {
    let kafka = Kafka::shared().await;
    let mut redis = RedisServer::start().await;
    let topic = kafka.topic("redis-frozen", 1).await;
    let published = Published::to(&redis).await;
    let start_ms = now_ms() - 60_000;
    let records: Vec<_> = (0..30_000).map(|n| record(start_ms, n)).collect();
    produce(kafka, &topic, 0, &records).await;
    let ingestion = Setup::new(kafka.brokers(), &topic).start(&redis_store(&redis));
    eventually("in the middle", async || ingestion.metrics.updates_applied.get() > 500).await;
    redis.pause();
    // What Redis has got by now it will execute when it thaws, though nobody waits for it any more.
    eventually("the connection is given up", async || ingestion.reason("store").is_some()).await;
    redis.resume();
    published.is_complete(30_000).await;
    ingestion.is_ready().await;
    ingestion.end().await;
}

#[tokio::test]
async fn a_broker_that_is_away_at_first_and_later_is_waited_for() {
    let (port, start_ms) = (free_port(), now_ms() - 60_000);
    let brokers = format!("127.0.0.1:{port}");
    let store = memory();
    let ingestion = Setup::new(&brokers, "restarted").start(&store);
    eventually("readiness says which", async || {
        ingestion.reason("kafka").is_some_and(|reason| reason.contains(&brokers))
    })
    .await;
    let kafka = Kafka::start_on(port, port).await;
    eventually("and what is missing", async || {
        ingestion.reason("kafka").is_some_and(|reason| reason.contains("restarted does not exist"))
    })
    .await;
    let topic = kafka.topic("restarted", 1).await;
    let records: Vec<_> = (0..300).map(|n| record(start_ms, n)).collect();
    produce(&kafka, &topic, 0, &records[..100]).await;
    eventually_within(PATIENCE * 3, "the topic is found", async || {
        ingestion.metrics.updates_applied.get() == 100
    })
    .await;
    ingestion.is_ready().await;

    kafka.stop();
    eventually("readiness says so", async || ingestion.reason("kafka").is_some()).await;
    kafka.start_again().await;
    produce(&kafka, &topic, 0, &records[100..]).await;
    eventually_within(PATIENCE * 2, "it goes on", async || ingestion.metrics.updates_applied.get() == 300)
        .await;
    ingestion.is_ready().await;
    ingestion.end().await;
    assert_eq!(kafka.committed("restarted group", &topic, 1), [300]);
}

#[tokio::test]
async fn connections_that_fell_silent_are_noticed() {
    let port = free_port();
    let proxy = ChaosProxy::start(("127.0.0.1", port));
    let kafka = Kafka::start_on(port, proxy.port()).await;
    let topic = kafka.topic("silent", 1).await;
    let start_ms = now_ms() - 60_000;
    let records: Vec<_> = (0..200).map(|n| record(start_ms, n)).collect();
    produce(&kafka, &topic, 0, &records[..100]).await;
    // By its own time-outs librdkafka would wait for five minutes.
    let setup = Setup::new(kafka.brokers(), &topic).properties("socket.timeout.ms=300000");
    let ingestion = setup.start(&memory());
    ingestion.has_applied(100).await;

    proxy.half_open();
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.pass();
    produce(&kafka, &topic, 0, &records[100..]).await;
    let all = async || ingestion.metrics.updates_applied.get() == 200;
    eventually_within(PATIENCE * 2, "it goes on over new connections", all).await;
    ingestion.is_ready().await;
    ingestion.end().await;
}

#[tokio::test]
async fn markers_of_transactions_at_the_end_are_no_reason_to_replace_a_consumer() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topic("transactions", 1).await;
    let start_ms = now_ms() - 60_000;
    let records: Vec<_> = (0..10).map(|n| record(start_ms, n)).collect();
    let name = topic.clone();
    tokio::task::spawn_blocking(move || kafka.produce_in_transaction(&name, &records)).await.unwrap();
    let mut setup = Setup::new(kafka.brokers(), &topic);
    setup.options.kafka_stall_timeout = Duration::from_secs(2);
    let ingestion = setup.start(&memory());
    ingestion.has_applied(10).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(ingestion.metrics.kafka_consumers_replaced.get(), 0);
    ingestion.is_ready().await;
    ingestion.end().await;
}

#[tokio::test]
async fn a_consumer_that_stands_still_is_replaced() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topic("stalled", 1).await;
    let start_ms = now_ms() - 60_000;
    let records: Vec<_> = (0..2000).map(|n| record(start_ms, n)).collect();
    let mut rounds = records.chunks(100);
    produce(kafka, &topic, 0, rounds.next().unwrap()).await;
    // A consumer that has a kilobyte in its queue fetches no more for five minutes, and says nothing of it.
    let mut setup = Setup::new(kafka.brokers(), &topic)
        .properties("queued.max.messages.kbytes=1,fetch.queue.backoff.ms=300000");
    setup.options.kafka_stall_timeout = Duration::from_secs(3);
    let ingestion = setup.start(&memory());
    ingestion.has_applied(100).await;
    ingestion.is_ready().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ingestion.metrics.kafka_consumers_replaced.get(), 0, "nothing to read is no reason");

    // It stood still unless its queue was empty again when it looked: then it does in a later round.
    let mut sent = 100;
    while ingestion.metrics.kafka_consumers_replaced.get() == 0 {
        produce(kafka, &topic, 0, rounds.next().expect("it never stood still")).await;
        sent += 100;
        eventually_within(PATIENCE * 2, "a consumer goes on", async || {
            ingestion.metrics.updates_applied.get() == sent
        })
        .await;
    }
    assert_eq!(ingestion.metrics.kafka_consumers_replaced.get(), 1);
    ingestion.is_ready().await;
    ingestion.end().await;
    assert_eq!(kafka.committed("stalled group", &topic, 1), [i64::try_from(sent).unwrap()]);
}
