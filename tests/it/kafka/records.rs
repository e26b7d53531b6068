//! What becomes of records: applied and committed, known again, or put with the dead letters.

use rdkafka::Message;

use super::setup::{Published, Setup, fleet, memory, produce, record, redis_store};
use crate::support::{Kafka, RedisServer, eventually, kafka::header, now_ms};

#[tokio::test]
async fn records_are_applied_and_then_committed() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topic("applied", 3).await;
    let start_ms = now_ms() - 10_000;
    for partition in 0..3 {
        let of_partition: Vec<_> =
            (i64::from(partition)..1000).step_by(3).map(|n| record(start_ms, n)).collect();
        produce(kafka, &topic, partition, &of_partition).await;
    }
    let store = memory();
    let ingestion = Setup::new(kafka.brokers(), &topic).start(&store);
    eventually("all are received", async || ingestion.metrics.updates_received.get() == 1000).await;
    ingestion.is_ready().await;
    let snapshot = store.snapshot(&fleet()).await.unwrap();
    assert_eq!(snapshot.assets.len(), 50);
    for state in snapshot.assets {
        assert!(state.ts_ms >= start_ms + 950, "{state:?}");
    }
    let group = format!("{topic} group");
    ingestion.end().await;
    assert_eq!(kafka.committed(&group, &topic, 3), [334, 333, 333]);

    // The next one goes on from there.
    produce(kafka, &topic, 1, &[record(start_ms, 1000)]).await;
    let next = Setup::new(kafka.brokers(), &topic).start(&store);
    eventually("one more", async || next.metrics.updates_received.get() >= 1).await;
    assert_eq!(next.metrics.updates_received.get(), 1);
    eventually("committed while running", async || kafka.committed(&group, &topic, 3)[1] == 334).await;
    next.end().await;
}

#[tokio::test]
async fn a_redelivered_topic_changes_and_sends_nothing() {
    let kafka = Kafka::shared().await;
    let redis = RedisServer::start().await;
    let topic = kafka.topic("redelivered", 1).await;
    let start_ms = now_ms() - 10_000;
    let records: Vec<_> = (0..500).map(|n| record(start_ms, n)).collect();
    produce(kafka, &topic, 0, &records).await;
    let store = redis_store(&redis);
    let published = Published::to(&redis).await;
    let first = Setup::new(kafka.brokers(), &topic).start(&store);
    first.has_applied(500).await;
    first.end().await;
    let before = store.snapshot(&fleet()).await.unwrap();

    let again = Setup::new(kafka.brokers(), &topic).group("another").start(&store);
    let metrics = &again.metrics;
    eventually("received again", async || {
        metrics.updates_stale.get() + metrics.updates_duplicate.get() == 500
    })
    .await;
    again.end().await;
    let after = store.snapshot(&fleet()).await.unwrap();
    assert_eq!((before.seq, before.epoch, &before.assets), (after.seq, after.epoch, &after.assets));
    published.is_complete(500).await;
}

#[tokio::test]
async fn what_can_not_be_used_goes_to_the_dead_letters_and_blocks_nobody() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topic_with("poison", 1, &[("max.message.bytes", "10000000")]).await;
    let start_ms = now_ms() - 10_000;
    let big = format!(r#"{{"fleetId":"f","assetId":"big","ts":1,"x":"{}"}}"#, "x".repeat(5 << 20));
    let good = |n| record(start_ms, n).into_bytes();
    let far = record(now_ms() + 600_000, 0);
    let values: Vec<Option<Vec<u8>>> = vec![
        Some(good(0)),
        None,
        Some(b"{\"assetId\":\"\xff\"}".to_vec()),
        Some(b"not json".to_vec()),
        Some(good(1)),
        Some(br#"{"fleetId":"f","assetId":["a"],"ts":1}"#.to_vec()),
        Some(br#"{"fleetId":"f","assetId":"a","ts":1,"lat":91,"lon":0}"#.to_vec()),
        Some(far.into_bytes()),
        Some(big.into_bytes()),
        Some(good(2)),
    ];
    let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
    kafka.produce(&topic, 0, &values).await;
    let ingestion = Setup::new(kafka.brokers(), &topic).start(&memory());
    ingestion.has_applied(3).await;
    let letters = kafka.messages("poison.dlq", 7).await;
    let mut facts: Vec<_> = letters
        .iter()
        .map(|letter| {
            let text = |key| header(letter, key).unwrap_or_default();
            assert_eq!(
                (text("fleetcast-topic"), text("fleetcast-partition")),
                (topic.clone(), "0".to_owned())
            );
            assert!(text("fleetcast-timestamp").parse::<i64>().unwrap() > start_ms);
            let offset: usize = text("fleetcast-offset").parse().unwrap();
            if header(letter, "fleetcast-dropped-bytes").is_none() {
                assert_eq!(letter.payload(), values[offset], "the record itself, byte for byte");
            }
            (offset, text("fleetcast-code"), text("fleetcast-reason"))
        })
        .collect();
    facts.sort();
    let expect = [
        (1, "null", "tombstone"),
        (2, "utf8", "UTF-8"),
        (3, "json", "expected"),
        (5, "type", "/assetId: an array"),
        (6, "range", "/lat: 91"),
        (7, "future", "ahead"),
        (8, "size", "allowed are 1048576"),
    ];
    for ((offset, code, reason), (at, expected, part)) in facts.iter().zip(expect) {
        assert_eq!((*offset, code.as_str()), (at, expected));
        assert!(reason.contains(part), "{reason}");
    }
    let huge =
        letters.iter().find(|letter| header(letter, "fleetcast-code").as_deref() == Some("size")).unwrap();
    assert_eq!(huge.payload(), None, "the dead-letter topic takes no 5 MB");
    assert!(header(huge, "fleetcast-dropped-bytes").unwrap().parse::<usize>().unwrap() > 5 << 20);
    let group = format!("{topic} group");
    eventually("all is committed", async || kafka.committed(&group, &topic, 1) == [10]).await;
    assert_eq!(ingestion.metrics.updates_dead_lettered.get(), 7);
    ingestion.end().await;
}

#[tokio::test]
async fn a_large_record_passes_if_it_is_allowed() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topic_with("large", 1, &[("max.message.bytes", "10000000")]).await;
    let big = format!(r#"{{"fleetId":"f","assetId":"big","ts":1,"x":"{}"}}"#, "x".repeat(5 << 20));
    produce(kafka, &topic, 0, std::slice::from_ref(&big)).await;
    let store = memory();
    let mut setup = Setup::new(kafka.brokers(), &topic);
    setup.options.max_record_bytes = 8 << 20;
    let ingestion = setup.start(&store);
    ingestion.has_applied(1).await;
    assert_eq!(store.snapshot(&fleet()).await.unwrap().assets[0].raw, big);
    ingestion.end().await;
}

#[tokio::test]
async fn dead_letters_that_can_not_be_written_hold_the_offset_and_nothing_else() {
    let kafka = Kafka::shared().await;
    // The longest name there is: with `.dlq` behind it no broker takes it.
    let topic = kafka.topic(&"t".repeat(249), 1).await;
    let start_ms = now_ms() - 10_000;
    produce(kafka, &topic, 0, &["no record".to_owned(), record(start_ms, 0)]).await;
    let ingestion = Setup::new(kafka.brokers(), &topic).group("undeliverable").start(&memory());
    ingestion.has_applied(1).await;
    eventually("readiness says so", async || {
        ingestion.reason("kafka").is_some_and(|reason| reason.contains("dead letters can not be written"))
    })
    .await;
    produce(kafka, &topic, 0, &[record(start_ms, 1)]).await;
    ingestion.has_applied(2).await;
    ingestion.end().await;
    assert_eq!(kafka.committed("undeliverable", &topic, 1), [-1], "it will be read again");
}
