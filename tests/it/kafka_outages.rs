//! Ingestion from a real Kafka through outages: the second half of `kafka`, with the same helpers.

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
async fn a_broker_that_is_away_at_first_and_later_is_waited_for() {
    let (port, start_ms) = (free_port(), now_ms() - 60_000);
    let brokers = format!("127.0.0.1:{port}");
    let store = memory();
    let ingestion = Setup::new(&brokers, "restarted").start(&store);
    eventually("readiness says which", async || {
        ingestion.reason("kafka").is_some_and(|reason| reason.contains(&brokers))
    })
    .await;
    let mut kafka = Kafka::start_on(port, port).await;
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
async fn a_consumer_that_stands_still_is_replaced() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topic("stalled", 1).await;
    let start_ms = now_ms() - 60_000;
    let records: Vec<_> = (0..200).map(|n| record(start_ms, n)).collect();
    produce(kafka, &topic, 0, &records[..100]).await;
    // A consumer that has read a kilobyte fetches no more for five minutes, and says nothing of it.
    let mut setup = Setup::new(kafka.brokers(), &topic)
        .properties("queued.max.messages.kbytes=1,fetch.queue.backoff.ms=300000");
    setup.options.kafka_stall_timeout = Duration::from_secs(3);
    let ingestion = setup.start(&memory());
    ingestion.has_applied(100).await;
    ingestion.is_ready().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ingestion.metrics.kafka_consumers_replaced.get(), 0, "nothing to read is no reason");

    produce(kafka, &topic, 0, &records[100..]).await;
    eventually_within(PATIENCE * 2, "another consumer goes on", async || {
        ingestion.metrics.updates_applied.get() == 200
    })
    .await;
    assert_eq!(ingestion.metrics.kafka_consumers_replaced.get(), 1);
    ingestion.is_ready().await;
    ingestion.end().await;
    assert_eq!(kafka.committed("stalled group", &topic, 1), [200]);
}
