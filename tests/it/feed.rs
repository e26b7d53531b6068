//! The feed on a real Redis: subscriptions follow interest through churn and outages, and what is
//! published to a watched fleet arrives, or its absence is told.

use std::{collections::HashMap, sync::Arc, time::Duration};

use fleetcast::{
    feed::{Channels, Feed, FeedEvent, GapReason, Settings, Watch},
    fleet::{AssetId, ChannelMessage, Epoch, FieldMap, FleetId, Update},
    observe::Metrics,
};
use redis::aio::MultiplexedConnection;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{ChaosProxy, PATIENCE, RedisServer, eventually};

/// A feed of the legacy channels, as `FLEETCAST_SOURCE=redis` has it.
struct Fixture {
    feed: Feed,
    bursts: mpsc::Receiver<Vec<FeedEvent>>,
    /// Events of a burst that the test has not looked at yet.
    waiting: std::vec::IntoIter<FeedEvent>,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
}

impl Fixture {
    fn start(url: &str) -> Self {
        Self::start_with(url, settings())
    }

    fn start_with(url: &str, settings: Settings) -> Self {
        Self::start_on(url, legacy(), settings)
    }

    fn start_on(url: &str, channels: Channels, settings: Settings) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (feed, task, bursts) = Feed::redis(url.parse().unwrap(), channels, settings, &metrics);
        let stop = CancellationToken::new();
        tokio::spawn(task.run(stop.clone()));
        Self { feed, bursts, waiting: Vec::new().into_iter(), metrics, _stop: stop.drop_guard() }
    }

    async fn watch(&self, id: &str) -> Watch {
        let watch = self.feed.watch(&fleet(id));
        watch.confirmed(PATIENCE).await.unwrap();
        watch
    }

    async fn event(&mut self) -> FeedEvent {
        loop {
            if let Some(event) = self.waiting.next() {
                return event;
            }
            let burst = timeout(PATIENCE, self.bursts.recv()).await.expect("the feed falls silent");
            self.waiting = burst.expect("the feed runs").into_iter();
        }
    }

    async fn until(&mut self, what: &str, mut holds: impl FnMut(&FeedEvent) -> bool) -> FeedEvent {
        let found = async {
            loop {
                let event = self.event().await;
                if holds(&event) {
                    return event;
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never told: {what}"))
    }

    async fn until_lost(&mut self) {
        self.until("lost", |event| matches!(event, FeedEvent::Lost)).await;
    }

    async fn until_restored(&mut self) {
        self.until("restored", |event| matches!(event, FeedEvent::Restored)).await;
    }

    /// The next `count` updates, which nothing else may come between.
    async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            match self.event().await {
                FeedEvent::Batch { batch, .. } => {
                    texts.extend(batch.updates.iter().map(|update| text(&update.raw)))
                }
                other => panic!("{other:?} after {} updates", texts.len()),
            }
        }
        texts
    }
}

fn legacy() -> Channels {
    Channels::Legacy { fields: FieldMap::default(), skew_max: Duration::from_secs(300) }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.connection.linger = Duration::from_millis(50);
    settings.connection.backoff_max = Duration::from_millis(500);
    settings.connection.probe_interval = Duration::from_millis(200);
    settings.connection.silence_max = Duration::from_secs(1);
    settings.connection.refused_retry = Duration::from_millis(200);
    settings
}

fn fleet(id: &str) -> FleetId {
    FleetId::parse(id).unwrap()
}

fn text(raw: &[u8]) -> String {
    String::from_utf8(raw.to_vec()).unwrap()
}

async fn publish(connection: &mut MultiplexedConnection, fleet: &str, text: impl AsRef<[u8]>) -> usize {
    let mut command = redis::cmd("PUBLISH");
    command.arg(format!("updates:{fleet}")).arg(text.as_ref());
    command.query_async(connection).await.unwrap()
}

async fn channels(redis: &RedisServer) -> Vec<String> {
    redis.command(&["PUBSUB", "CHANNELS"]).await
}

/// How often a command was called since the server started.
async fn calls(redis: &RedisServer, command: &str) -> usize {
    let stats: String = redis.command(&["INFO", "commandstats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_published_after_confirmed_is_missed() {
    let redis = RedisServer::start().await;
    let mut fixture = Fixture::start(&redis.url());
    let connection = redis.connect().await;
    let mut watchers = Vec::new();
    for n in 0..300 {
        let (feed, mut connection) = (fixture.feed.clone(), connection.clone());
        watchers.push(tokio::spawn(async move {
            let id = format!("fleet-{n}");
            let watch = feed.watch(&fleet(&id));
            watch.confirmed(PATIENCE).await.unwrap();
            assert_eq!(publish(&mut connection, &id, format!("hello {id}")).await, 1, "Redis has a receiver");
            watch
        }));
    }
    let mut missing: HashMap<String, ()> = (0..300).map(|n| (format!("fleet-{n}"), ())).collect();
    while !missing.is_empty() {
        if let FeedEvent::Batch { batch, .. } = fixture.event().await {
            assert_eq!(text(&batch.updates[0].raw), format!("hello {}", batch.fleet));
            assert!(missing.remove(batch.fleet.as_str()).is_some(), "{} arrived twice", batch.fleet);
        }
    }
    assert_eq!(fixture.metrics.redis_subscriptions.get(), 300);
    for watcher in watchers {
        drop(watcher.await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn churn_of_500_watchers_leaves_no_channel() {
    let redis = RedisServer::start().await;
    let fixture = Fixture::start(&redis.url());
    let mut watchers = Vec::new();
    for n in 0_u64..500 {
        let feed = fixture.feed.clone();
        watchers.push(tokio::spawn(async move {
            for round in 0..10 {
                let watch = feed.watch(&fleet(&format!("fleet-{}", (n + round) % 60)));
                // A third gives up before the confirmation can have arrived, as aborted connects do.
                let patience = if (n + round) % 3 == 0 { Duration::ZERO } else { PATIENCE };
                let confirmed = watch.confirmed(patience).await;
                assert!(confirmed.is_ok() || patience.is_zero());
                tokio::time::sleep(Duration::from_millis((n * 7 + round * 13) % 90)).await;
            }
        }));
    }
    for watcher in watchers {
        watcher.await.unwrap();
    }
    eventually("no channel is left", async || channels(&redis).await.is_empty()).await;
    eventually("the gauge is 0", async || fixture.metrics.redis_subscriptions.get() == 0).await;
    assert!(format!("{:?}", fixture.feed).contains("known: 0, confirmed: 0"), "{:?}", fixture.feed);
    let clients: String = redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    assert!(clients.lines().count() <= 1, "one connection, whatever the watchers: {clients}");
}

#[tokio::test]
async fn a_burst_of_2000_arrives_complete_and_in_order() {
    let redis = RedisServer::start().await;
    let mut fixture = Fixture::start(&redis.url());
    let _watch = fixture.watch("f").await;
    fixture.until_restored().await;
    let mut burst = redis::pipe();
    for n in 0..2000 {
        burst.cmd("PUBLISH").arg("updates:f").arg(format!(r#"{{"assetId":"a","ts":1700000000000,"n":{n}}}"#));
    }
    let () = burst.exec_async(&mut redis.connect().await).await.unwrap();

    let (mut received, mut batches) = (Vec::new(), 0);
    while received.len() < 2000 {
        let FeedEvent::Batch { batch, .. } = fixture.event().await else { panic!("not a batch") };
        batches += 1;
        assert!(batch.updates.iter().all(|update| update.asset.as_ref().unwrap().as_str() == "a"));
        received.extend(batch.updates.iter().map(|update| text(&update.raw)));
    }
    let numbers = (0..2000).map(|n| format!(r#"{{"assetId":"a","ts":1700000000000,"n":{n}}}"#));
    assert!(received.into_iter().eq(numbers));
    assert!(batches < 500, "a burst is few batches, not {batches}");
}

#[tokio::test]
async fn what_is_no_telemetry_is_relayed_as_node_would() {
    let redis = RedisServer::start().await;
    let mut fixture = Fixture::start(&redis.url());
    let _watch = fixture.watch("f").await;
    fixture.until_restored().await;
    let mut connection = redis.connect().await;
    for raw in [&b"not json"[..], b"", b"a\xff\xe2\x82b\xed\xa0\x80", "naïve \u{0}".as_bytes()] {
        publish(&mut connection, "f", raw).await;
    }
    let replaced = "a\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\u{fffd}";
    assert_eq!(fixture.texts(4).await, ["not json", "", replaced, "naïve \u{0}"]);
}

#[tokio::test]
async fn the_last_watcher_out_unsubscribes_after_the_linger() {
    let redis = RedisServer::start().await;
    let mut settings = settings();
    settings.connection.linger = Duration::from_millis(600);
    let fixture = Fixture::start_with(&redis.url(), settings);
    let (first, second) = (fixture.watch("f").await, fixture.watch("f").await);
    drop(first);
    for _ in 0..20 {
        drop(fixture.watch("f").await); // Comes and goes.
    }
    drop(second);
    drop(fixture.watch("f").await); // Within the linger.
    let released = tokio::time::Instant::now();
    assert_eq!(channels(&redis).await, ["updates:f"]);
    eventually("unsubscribed", async || channels(&redis).await.is_empty()).await;
    assert!(released.elapsed() >= Duration::from_millis(500), "{:?}", released.elapsed());
    assert_eq!((calls(&redis, "subscribe").await, calls(&redis, "unsubscribe").await), (1, 1));
}

/// Publishes until a message is seen: Redis is back, and so is the feed.
async fn flows_again(fixture: &mut Fixture, redis: &RedisServer) {
    fixture.until_restored().await;
    let receivers = publish(&mut redis.connect().await, "f", "after").await;
    assert_eq!(receivers, 1, "Restored means subscribed");
    assert_eq!(fixture.texts(1).await, ["after"]);
}

#[tokio::test]
async fn a_restarted_server_is_subscribed_again() {
    let mut redis = RedisServer::start().await;
    let mut fixture = Fixture::start(&redis.url());
    let _watch = fixture.watch("f").await;
    fixture.until_restored().await;
    redis.stop();
    fixture.until_lost().await;
    assert!(!fixture.feed.is_up());
    let unconfirmed = fixture.feed.watch(&fleet("g"));
    assert!(unconfirmed.confirmed(Duration::from_millis(50)).await.is_err());
    redis.start_again().await;
    flows_again(&mut fixture, &redis).await;
    unconfirmed.confirmed(PATIENCE).await.unwrap();
    assert_eq!(fixture.metrics.feed_connections_lost.get(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_at_start_is_found_later() {
    let mut redis = RedisServer::start().await;
    redis.stop();
    let mut fixture = Fixture::start(&redis.url());
    let watch = fixture.feed.watch(&fleet("f"));
    let refused = watch.confirmed(Duration::from_millis(300)).await.unwrap_err();
    assert!(refused.to_string().contains("updates:f"), "{refused}");
    redis.start_again().await;
    flows_again(&mut fixture, &redis).await;
}

#[tokio::test]
async fn a_stopped_server_is_noticed_and_heals_without_a_restart() {
    let mut redis = RedisServer::start().await;
    let mut fixture = Fixture::start(&redis.url());
    let _watch = fixture.watch("f").await;
    fixture.until_restored().await;
    let started = tokio::time::Instant::now();
    redis.pause();
    fixture.until_lost().await;
    assert!(started.elapsed() < Duration::from_secs(3), "noticed after {:?}", started.elapsed());
    tokio::time::sleep_until(started + Duration::from_secs(5)).await;
    redis.resume();
    flows_again(&mut fixture, &redis).await;
}

#[tokio::test]
async fn a_half_open_connection_is_given_up() {
    let redis = RedisServer::start().await;
    let proxy = ChaosProxy::start(("127.0.0.1", redis.port()));
    let mut fixture = Fixture::start(&format!("redis://{}/", proxy.addr()));
    let _watch = fixture.watch("f").await;
    fixture.until_restored().await;
    proxy.half_open();
    fixture.until_lost().await;
    proxy.pass();
    flows_again(&mut fixture, &redis).await;
}

#[tokio::test]
async fn a_killed_connection_is_replaced() {
    let redis = RedisServer::start().await;
    let mut fixture = Fixture::start(&redis.url());
    let _watch = fixture.watch("f").await;
    fixture.until_restored().await;
    for _ in 0..3 {
        let killed: usize = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert_eq!(killed, 1);
        fixture.until_lost().await;
        flows_again(&mut fixture, &redis).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_channels_are_subscribed_again_in_few_commands() {
    const FLEETS: usize = 3000;
    let mut redis = RedisServer::start().await;
    let mut fixture = Fixture::start(&redis.url());
    let watches: Vec<_> = (0..FLEETS).map(|n| fixture.feed.watch(&fleet(&format!("fleet-{n}")))).collect();
    for watch in &watches {
        watch.confirmed(PATIENCE).await.unwrap();
    }
    fixture.until_restored().await;
    redis.restart().await;
    fixture.until_restored().await;
    assert_eq!(channels(&redis).await.len(), FLEETS);
    assert_eq!(fixture.metrics.redis_subscriptions.get(), FLEETS as i64);
    let calls = calls(&redis, "subscribe").await;
    assert!(calls <= FLEETS / 512 + 1, "{calls} commands");
}

#[tokio::test]
async fn a_consumer_that_stands_still_costs_gaps_and_not_the_connection() {
    const MESSAGES: usize = 4000;
    let redis = RedisServer::start_with(&["--client-output-buffer-limit", "pubsub 2mb 1mb 1"]).await;
    let mut settings = settings();
    settings.handoff_bytes_max = 1 << 20;
    let mut fixture = Fixture::start_with(&redis.url(), settings);
    let (_f, _g) = (fixture.watch("f").await, fixture.watch("g").await);
    fixture.until_restored().await;
    let mut connection = redis.connect().await;
    let filler = "x".repeat(2000);
    for n in 0..MESSAGES {
        assert_eq!(publish(&mut connection, "f", format!("{n} {filler}")).await, 1, "still subscribed");
    }
    publish(&mut connection, "g", "small").await;
    eventually("everything was read", async || {
        let dropped = fixture.metrics.feed_dropped.get();
        fixture.metrics.updates_received.get() == MESSAGES as u64 + 1 && dropped > 0
    })
    .await;

    let mut next = 0;
    let gap = fixture
        .until("a gap", |event| {
            if let FeedEvent::Batch { batch, .. } = event {
                for update in &batch.updates {
                    assert!(update.raw.starts_with(format!("{next} ").as_bytes()), "in order up to the gap");
                    next += 1;
                }
            }
            matches!(event, FeedEvent::Gap { .. })
        })
        .await;
    assert!(matches!(&gap, FeedEvent::Gap { fleet, reason: GapReason::Overflow } if fleet.as_str() == "f"));
    assert_eq!(next + usize::try_from(fixture.metrics.feed_dropped.get()).unwrap(), MESSAGES);
    publish(&mut connection, "f", "after").await;
    let tail = fixture
        .until(
            "the update after the gap",
            |event| matches!(event, FeedEvent::Batch { batch, .. } if batch.fleet.as_str() == "f"),
        )
        .await;
    assert!(matches!(tail, FeedEvent::Batch { batch, .. } if batch.updates[0].raw == "after"));
    assert_eq!(fixture.metrics.feed_connections_lost.get(), 0);
}

#[tokio::test]
async fn a_forbidden_channel_does_not_hold_up_the_others_and_is_told_when_it_comes() {
    let redis = RedisServer::start().await;
    let user =
        |rule: &'static str| ["ACL", "SETUSER", "gateway", "on", ">secret", "+@all", "resetchannels", rule];
    let _: String = redis.command(&user("&updates:open-*")).await;
    let url = redis.url().replace("redis://", "redis://gateway:secret@");
    let mut fixture = Fixture::start(&url);
    let forbidden = fixture.feed.watch(&fleet("closed"));
    let open: Vec<_> = (0..20).map(|n| fixture.feed.watch(&fleet(&format!("open-{n}")))).collect();
    for watch in &open {
        watch.confirmed(PATIENCE).await.unwrap();
    }
    assert!(forbidden.confirmed(Duration::from_millis(100)).await.is_err());
    fixture.until_restored().await;
    let _: String = redis.command(&user("&updates:*")).await;
    forbidden.confirmed(PATIENCE).await.unwrap();
    let gap = fixture.until("a gap", |event| matches!(event, FeedEvent::Gap { .. })).await;
    let FeedEvent::Gap { fleet, reason } = gap else { unreachable!() };
    assert_eq!((fleet.as_str(), reason), ("closed", GapReason::LateSubscription));
}

#[tokio::test]
async fn whoever_went_on_without_a_confirmation_is_told_to_look_again() {
    let redis = RedisServer::start().await;
    let proxy = ChaosProxy::start(("127.0.0.1", redis.port()));
    let mut settings = settings();
    settings.connection.silence_max = PATIENCE;
    let mut fixture = Fixture::start_with(&format!("redis://{}/", proxy.addr()), settings);
    fixture.until_restored().await;
    proxy.stall();
    let watch = fixture.feed.watch(&fleet("f"));
    assert!(watch.confirmed(Duration::from_millis(100)).await.is_err());
    proxy.pass();
    watch.confirmed(PATIENCE).await.unwrap();
    let gap = fixture.until("a gap", |event| matches!(event, FeedEvent::Gap { .. })).await;
    assert!(matches!(gap, FeedEvent::Gap { reason: GapReason::LateSubscription, .. }));
}

#[tokio::test]
async fn numbered_channels_tell_holes_and_drop_repeats() {
    let redis = RedisServer::start().await;
    let numbered = Channels::Sequenced { prefix: "fleetcast".to_owned() };
    let mut fixture = Fixture::start_on(&redis.url(), numbered, settings());
    let watch = fixture.watch("f").await;
    fixture.until_restored().await;
    let (epoch, other) = (Epoch::random(), Epoch::random());
    publish_numbered(&redis, epoch, 10, 2).await;
    publish_numbered(&redis, epoch, 10, 2).await;
    publish_numbered(&redis, epoch, 11, 3).await;
    publish_numbered(&redis, epoch, 20, 1).await;
    publish_numbered(&redis, other, 1, 1).await;
    let _: usize = redis.command(&["PUBLISH", "fleetcast:{f}:updates", "F9 what"]).await;
    publish_numbered(&redis, other, 2, 1).await;

    let mut told = Vec::new();
    while told.len() < 10 {
        match fixture.event().await {
            FeedEvent::Batch { batch, epoch: of } => {
                let first = batch.first_seq.unwrap();
                assert_eq!(of, Some(if first < 10 { other } else { epoch }));
                for (seq, update) in (first..).zip(&batch.updates) {
                    assert_eq!(text(&update.raw), seq.to_string(), "the number fits the update");
                    told.push(seq.to_string());
                }
            }
            FeedEvent::Gap { reason, .. } => told.push(format!("{reason:?}")),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ["10", "11", "12", "13", "Sequence", "20", "NewEpoch", "1", "Unreadable", "2"]);
    assert_eq!(fixture.metrics.updates_duplicate.get(), 3);

    // After the last watcher has gone the numbers start wherever the fleet is.
    drop(watch);
    eventually("unsubscribed", async || channels(&redis).await.is_empty()).await;
    let _watch = fixture.watch("f").await;
    publish_numbered(&redis, other, 90, 1).await;
    assert!(matches!(fixture.event().await, FeedEvent::Batch { batch, .. } if batch.first_seq == Some(90)));
}

/// Publishes updates whose text is their number, as a store does.
async fn publish_numbered(redis: &RedisServer, epoch: Epoch, first_seq: u64, count: u64) {
    let update = |seq: u64| Update {
        asset: Some(AssetId::parse("a").unwrap()),
        ts_ms: 1,
        position: None,
        raw: seq.to_string().into(),
    };
    let updates: Vec<Update> = (first_seq..first_seq + count).map(update).collect();
    let mut message = ChannelMessage::encode_head(epoch, first_seq).into_bytes();
    message.extend(ChannelMessage::encode_body(5, updates.iter()));
    let mut command = redis::cmd("PUBLISH");
    command.arg("fleetcast:{f}:updates").arg(message);
    assert_eq!(command.query_async::<usize>(&mut redis.connect().await).await.unwrap(), 1);
}
