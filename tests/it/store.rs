//! The Redis store against a real Redis: what it writes, what it publishes, and what it survives.

use std::sync::Arc;

use bytes::Bytes;
use fleetcast::{
    fleet::{AssetId, ChannelMessage, FieldMap, FleetBatch, FleetId, Origin, Position, Record},
    region::CellId,
    store::{Applied, MemoryStore, RedisStore, Store, TrackRule, Writer, cell_channel, read_cell_message},
};
use futures_util::StreamExt;
use proptest::prelude::*;
use tokio::time::timeout;

use crate::support::{PATIENCE, RedisServer};

const T0: i64 = 1_790_000_000_000;
const TRACKS: TrackRule = TrackRule { points_max: 3, interval_ms: 2000 };

fn redis_store(url: &str) -> Store {
    Store::Redis(RedisStore::new(url.parse().unwrap(), "fleetcast", true, TRACKS))
}

fn fleet(id: &str) -> FleetId {
    FleetId::parse(id).unwrap()
}

fn record(log: &str, offset: i64, text: &str) -> Record {
    let record = FieldMap::default().parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
    Record { origin: Some(Origin { log: log.into(), offset }), ..record }
}

/// A record at `T0 + s` seconds; `rest` are further members.
fn at(offset: i64, asset: &str, s: i64, rest: &str) -> Record {
    let ts = T0 + s * 1000;
    record("t/0", offset, &format!(r#"{{"fleetId":"f","assetId":"{asset}","ts":{ts}{rest}}}"#))
}

fn counts(applied: &Applied) -> (u64, u64, u64) {
    (applied.fresh_count, applied.stale_count, applied.duplicate_count)
}

async fn apply(writer: &mut Writer, records: Vec<Record>) -> (u64, u64, u64) {
    match timeout(PATIENCE, writer.apply(records, T0)).await {
        Ok(applied) => counts(&applied),
        Err(_) => panic!("not applied in time: {writer:?}"),
    }
}

/// Collects what is published to a fleet from now on.
struct Listener {
    messages: redis::aio::PubSub,
}

impl Listener {
    async fn of(redis: &RedisServer, channel: &str) -> Self {
        let mut messages = redis::Client::open(redis.url()).unwrap().get_async_pubsub().await.unwrap();
        messages.subscribe(channel).await.unwrap();
        Self { messages }
    }

    async fn next(&mut self) -> Vec<u8> {
        let message = timeout(PATIENCE, self.messages.on_message().next()).await.expect("a message in time");
        message.unwrap().get_payload_bytes().to_vec()
    }

    async fn next_batch(&mut self) -> FleetBatch {
        ChannelMessage::decode(&fleet("f"), &self.next().await).unwrap().batch
    }

    async fn is_silent(&mut self) -> bool {
        timeout(std::time::Duration::from_millis(150), self.messages.on_message().next()).await.is_err()
    }
}

#[tokio::test]
async fn a_batch_becomes_state_and_is_published_once() {
    let redis = RedisServer::start().await;
    let mut numbered = Listener::of(&redis, "fleetcast:{f}:updates").await;
    let mut legacy = Listener::of(&redis, "updates:f").await;
    let mut writer = redis_store(&redis.url()).writer();
    let records = vec![
        at(5, "truck 7", 0, r#","lat":52.5,"lon":13.4,"temp":4"#),
        at(6, "ship", 0, r#","lat":-89.9,"lon":0"#),
        at(7, "truck 7", 1, r#","temp":5"#),
    ];
    assert_eq!(apply(&mut writer, records.clone()).await, (3, 0, 0));

    let text: String = redis.command(&["HGET", "fleetcast:{f}:state", "truck 7"]).await;
    let expected = format!(
        "{{\"ts\":{ts},\"seq\":3,\"at\":\"t/0:7\",\"lat\":52.5,\"lon\":13.4,\
         \"data\":{{\"fleetId\":\"f\",\"assetId\":\"truck 7\",\"ts\":{ts},\"lat\":52.5,\"lon\":13.4,\"temp\":5}},\
         \"raw\":{{\"fleetId\":\"f\",\"assetId\":\"truck 7\",\"ts\":{ts},\"temp\":5}}}}",
        ts = T0 + 1000
    );
    assert_eq!(text, expected);
    assert_eq!(redis.command::<u64>(&["GET", "fleetcast:{f}:seq"]).await, 3);
    let changes: Vec<String> =
        redis.command(&["ZRANGE", "fleetcast:{f}:changes", "0", "-1", "WITHSCORES"]).await;
    assert_eq!(changes, ["ship", "2", "truck 7", "3"]);
    let near: Vec<String> = redis
        .command(&["GEOSEARCH", "fleetcast:{f}:positions", "FROMLONLAT", "13", "52", "BYRADIUS", "99", "km"])
        .await;
    assert_eq!(near, ["truck 7"], "and the pole is no error");

    let batch = numbered.next_batch().await;
    assert_eq!((batch.first_seq, batch.received_ms, batch.updates.len()), (Some(1), T0, 3));
    for (update, record) in batch.updates.iter().zip(&records) {
        assert_eq!((&update.asset, &update.raw), (&record.update.asset, &record.update.raw));
        assert_eq!((update.ts_ms, update.position), (record.update.ts_ms, record.update.position));
        assert_eq!(legacy.next().await, record.update.raw, "byte for byte");
    }

    // Redelivered, to this writer and to one that knows nothing.
    assert_eq!(apply(&mut writer, records.clone()).await, (0, 1, 2));
    let mut other = redis_store(&redis.url()).writer();
    assert_eq!(apply(&mut other, records).await, (0, 1, 2));
    assert!(numbered.is_silent().await && legacy.is_silent().await);
    assert_eq!(redis.command::<String>(&["HGET", "fleetcast:{f}:state", "truck 7"]).await, expected);
}

#[tokio::test]
async fn large_batches_and_large_records_go_through_in_order() {
    let redis = RedisServer::start().await;
    let mut numbered = Listener::of(&redis, "fleetcast:{f}:updates").await;
    let mut writer = redis_store(&redis.url()).writer();
    let big = "x".repeat(1 << 20);
    let records = (0..3000).map(|n| {
        let rest = if n % 1000 == 500 { format!(r#","lat":1,"lon":2,"big":"{big}""#) } else { String::new() };
        at(n, &format!("a{}", n % 700), n, &rest)
    });
    assert_eq!(apply(&mut writer, records.collect()).await, (3000, 0, 0));
    let mut next = 1;
    while next <= 3000 {
        let batch = numbered.next_batch().await;
        assert_eq!(batch.first_seq, Some(next));
        for update in batch.updates {
            assert_eq!(update.ts_ms, T0 + (i64::try_from(next).unwrap() - 1) * 1000);
            next += 1;
        }
    }
}

#[tokio::test]
async fn two_writers_of_the_same_assets_lose_nothing() {
    let redis = RedisServer::start().await;
    let mut numbered = Listener::of(&redis, "fleetcast:{f}:updates").await;
    let write = |log: &'static str| {
        let mut writer = redis_store(&redis.url()).writer();
        async move {
            let (mut fresh, mut conflicts) = (0, 0);
            for round in 0..40_i64 {
                let records = (0..20).map(|n| {
                    let ts = T0 + round * 1000;
                    let text = format!(
                        r#"{{"fleetId":"f","assetId":"a{n}","ts":{ts},"{log}":{round},"x":{{"{log}":{round}}}}}"#
                    );
                    record(log, round * 20 + n, &text)
                });
                let batch = writer.push(records.collect(), T0);
                loop {
                    let step = timeout(PATIENCE, writer.step()).await.expect("a step in time");
                    fresh += step.applied.fresh_count;
                    conflicts += step.conflicts;
                    if step.done == Some(batch) {
                        break;
                    }
                }
            }
            (fresh, conflicts)
        }
    };
    let (a, b) = tokio::join!(write("t/0"), write("t/1"));
    assert!(a.1 + b.1 > 0, "they did get into each other's way");
    let snapshot = redis_store(&redis.url()).snapshot(&fleet("f")).await.unwrap();
    assert_eq!(snapshot.assets.len(), 20);
    assert_eq!(snapshot.seq, a.0 + b.0);
    for asset in &snapshot.assets {
        let data: serde_json::Value = serde_json::from_slice(&asset.data).unwrap();
        assert_eq!(data["ts"], T0 + 39_000);
        // Both wrote at the same times, so whoever came second was merged into the first.
        assert_eq!((&data["t/0"], &data["t/1"]), (&39.into(), &39.into()), "{data}");
        assert_eq!(data["x"], serde_json::json!({"t/0": 39, "t/1": 39}));
    }
    let mut next = 1;
    while next <= snapshot.seq {
        let batch = numbered.next_batch().await;
        assert_eq!(batch.first_seq, Some(next), "no hole and no repetition");
        next += batch.updates.len() as u64;
    }
    assert!(numbered.is_silent().await);
}

#[tokio::test]
async fn what_redis_loses_is_written_again() {
    let mut redis = RedisServer::start().await;
    let store = redis_store(&redis.url());
    let mut writer = store.writer();
    let assets =
        |n: i64| (0..n).map(|n| at(n, &format!("a{n}"), 0, r#","lat":1,"lon":2,"temp":4"#)).collect();
    assert_eq!(apply(&mut writer, assets(600)).await, (600, 0, 0));
    let before = store.snapshot(&fleet("f")).await.unwrap();

    redis.restart().await;
    // The next update says only a temperature; the position is known from before.
    assert_eq!(apply(&mut writer, vec![at(700, "a1", 5, r#","temp":5"#)]).await, (1, 0, 0));
    let restored = async {
        while store.snapshot(&fleet("f")).await.unwrap().assets.len() < 600 {
            drop(timeout(std::time::Duration::from_millis(20), writer.step()).await);
        }
    };
    timeout(PATIENCE, restored).await.expect("all assets are back");
    let after = store.snapshot(&fleet("f")).await.unwrap();
    assert_ne!(after.epoch, before.epoch, "readers can tell");
    assert!(after.seq > before.seq, "and no number comes twice");
    assert!(store.changed_since(&fleet("f"), before.epoch, before.seq).await.unwrap().is_none());
    let changed = after.assets.iter().find(|asset| asset.id.as_str() == "a1").unwrap();
    assert!(changed.position.is_some() && changed.ts_ms == T0 + 5000);
    assert_eq!(apply(&mut writer, assets(600)).await, (0, 1, 599), "redelivery is still known");
}

#[tokio::test]
async fn a_replica_that_lagged_behind_takes_over() {
    let redis = RedisServer::start().await;
    let store = redis_store(&redis.url());
    let mut writer = store.writer();
    apply(&mut writer, vec![at(1, "a", 0, ""), at(2, "b", 0, "")]).await;
    // As a replica that has not seen the next two writes.
    let copied: Vec<Vec<u8>> = {
        let mut copied = Vec::new();
        for key in ["state", "seq", "changes"] {
            copied.push(redis.command(&["DUMP", &format!("fleetcast:{{f}}:{key}")]).await);
        }
        copied
    };
    apply(&mut writer, vec![at(3, "a", 1, r#","x":1"#), at(4, "c", 1, "")]).await;
    let before = store.snapshot(&fleet("f")).await.unwrap();
    let mut connection = redis.connect().await;
    for (key, dump) in ["state", "seq", "changes"].iter().zip(copied) {
        let mut restore = redis::cmd("RESTORE");
        restore.arg(format!("fleetcast:{{f}}:{key}")).arg(0).arg(dump).arg("REPLACE");
        restore.query_async::<()>(&mut connection).await.unwrap();
    }

    assert_eq!(apply(&mut writer, vec![at(5, "b", 2, "")]).await, (1, 0, 0));
    let restored = async {
        while store.snapshot(&fleet("f")).await.unwrap().assets.len() < 3 {
            drop(timeout(std::time::Duration::from_millis(20), writer.step()).await);
        }
    };
    timeout(PATIENCE, restored).await.expect("the lost asset is back");
    let after = store.snapshot(&fleet("f")).await.unwrap();
    assert_ne!(after.epoch, before.epoch, "numbers of the lost writes are not given twice");
    let asset = |id: &str| after.assets.iter().find(|asset| asset.id.as_str() == id).unwrap().clone();
    assert_eq!(asset("a").ts_ms, T0 + 1000);
    assert!(asset("a").data.ends_with(br#""x":1}"#) && asset("b").ts_ms == T0 + 2000);
}

#[tokio::test]
async fn after_a_failover_an_asset_leaves_the_cell_where_the_new_server_has_it() {
    let redis = RedisServer::start().await;
    let mut writer = redis_store(&redis.url()).writer();
    apply(&mut writer, vec![at(1, "a", 0, r#","lat":1,"lon":2"#)]).await;
    let cells: Vec<(String, u32)> =
        redis.command(&["ZRANGE", "fleetcast:{f}:cells", "0", "-1", "WITHSCORES"]).await;
    let mut copied: Vec<Vec<u8>> = Vec::new();
    for key in ["state", "seq", "changes", "cells"] {
        copied.push(redis.command(&["DUMP", &format!("fleetcast:{{f}}:{key}")]).await);
    }
    apply(&mut writer, vec![at(2, "a", 1, r#","lat":60,"lon":90"#)]).await;
    let mut connection = redis.connect().await;
    for (key, dump) in ["state", "seq", "changes", "cells"].iter().zip(copied) {
        let mut restore = redis::cmd("RESTORE");
        restore.arg(format!("fleetcast:{{f}}:{key}")).arg(0).arg(dump).arg("REPLACE");
        restore.query_async::<()>(&mut connection).await.unwrap();
    }

    let redis = &redis;
    let listen = |lat, lon| {
        let cell = CellId::at(Position { lat, lon }).unwrap().between_replicas();
        async move { Listener::of(redis, &cell_channel("fleetcast", cell)).await }
    };
    let (mut old, mut now) = tokio::join!(listen(1.0, 2.0), listen(61.0, 90.0));
    apply(&mut writer, vec![at(3, "b", 2, "")]).await;
    // It is written again before that batch or after.
    drop(timeout(std::time::Duration::from_millis(500), writer.step()).await);
    for listener in [&mut old, &mut now] {
        let (_, states) = read_cell_message(&listener.next().await).unwrap();
        assert_eq!((states[0].id.as_str(), states[0].ts_ms), ("a", T0 + 1000));
    }
    let later: Vec<(String, u32)> =
        redis.command(&["ZRANGE", "fleetcast:{f}:cells", "0", "-1", "WITHSCORES"]).await;
    assert!(later.len() == 1 && later[0].1 != cells[0].1, "{later:?} after {cells:?}");
}

#[tokio::test]
async fn what_a_cell_is_told_of_large_states_comes_in_messages_of_bounded_size() {
    let redis = RedisServer::start().await;
    let mut writer = redis_store(&redis.url()).writer();
    let place = r#","lat":1,"lon":1"#;
    for asset in 0..8 {
        let large = format!(r#"{place},"pad":"{}""#, "x".repeat(200_000));
        apply(&mut writer, vec![at(asset, &format!("a{asset}"), 1, &large)]).await;
    }
    let cell = CellId::at(Position { lat: 1.0, lon: 1.0 }).unwrap().between_replicas();
    let mut listener = Listener::of(&redis, &cell_channel("fleetcast", cell)).await;
    // Small updates of large states, in one batch.
    let small = (0..8).map(|asset| at(10 + asset, &format!("a{asset}"), 2, r#","n":1"#)).collect();
    assert_eq!(apply(&mut writer, small).await, (8, 0, 0));
    let mut told = Vec::new();
    while told.len() < 8 {
        let message = listener.next().await;
        assert!(message.len() < 1 << 20, "{} bytes", message.len());
        let (of, states) = read_cell_message(&message).unwrap();
        assert_eq!(of, fleet("f"));
        told.extend(states.iter().map(|state| (state.id.to_string(), state.ts_ms)));
    }
    told.sort_unstable();
    assert_eq!(told, (0..8).map(|asset| (format!("a{asset}"), T0 + 2000)).collect::<Vec<_>>());
    assert!(listener.is_silent().await);
}

#[tokio::test]
async fn a_user_without_the_channels_of_cells_still_serves_fleets() {
    let redis = RedisServer::start().await;
    let channels = ["&fleetcast:{*", "&updates:*"];
    let _: () = redis
        .command(&[
            "ACL",
            "SETUSER",
            "narrow",
            "on",
            ">secret",
            "~*",
            "+@all",
            "resetchannels",
            channels[0],
            channels[1],
        ])
        .await;
    let mut numbered = Listener::of(&redis, "fleetcast:{f}:updates").await;
    let mut legacy = Listener::of(&redis, "updates:f").await;
    let mut writer = redis_store(&redis.url().replace("redis://", "redis://narrow:secret@")).writer();
    writer.push(vec![at(1, "a", 0, r#","lat":1,"lon":2"#)], T0);
    let step = timeout(PATIENCE, writer.step()).await.unwrap();
    assert_eq!((step.applied.fresh_count, step.cells_refused), (1, 1));
    assert_eq!(numbered.next_batch().await.updates.len(), 1);
    assert!(legacy.next().await.starts_with(b"{"));
}

#[tokio::test]
async fn foreign_text_in_the_state_blocks_nobody() {
    let redis = RedisServer::start().await;
    let store = redis_store(&redis.url());
    let _: u64 = redis.command(&["HSET", "fleetcast:{f}:state", "a", "not ours", "b", "{\"seq\":1}"]).await;
    assert!(store.snapshot(&fleet("f")).await.unwrap().assets.is_empty());
    assert_eq!(apply(&mut store.writer(), vec![at(1, "a", 0, "")]).await, (1, 0, 0));
    let snapshot = store.snapshot(&fleet("f")).await.unwrap();
    assert_eq!(snapshot.assets.iter().map(|asset| asset.id.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn a_refused_fleet_waits_alone() {
    let redis = RedisServer::start().await;
    let store = redis_store(&redis.url());
    let _: () = redis.command(&["SET", "fleetcast:{f}:changes", "of the wrong type"]).await;
    let mut writer = store.writer();
    writer.push(vec![at(1, "a", 0, "")], T0);
    let neighbour = Record { fleet: fleet("g"), ..at(2, "b", 0, "") };
    writer.push(vec![neighbour], T0);
    let both = async {
        let mut fresh = 0;
        while fresh < 1 {
            fresh += writer.step().await.applied.fresh_count;
        }
    };
    timeout(PATIENCE, both).await.expect("the neighbour goes on");
    assert_eq!(store.snapshot(&fleet("g")).await.unwrap().assets.len(), 1);
    let _: u64 = redis.command(&["DEL", "fleetcast:{f}:changes"]).await;
    let done = timeout(PATIENCE, async {
        loop {
            if let Some(done) = writer.step().await.done {
                return done;
            }
        }
    });
    assert_eq!(done.await.expect("tried again"), 1);
}

/// One step of a random history: offset order is kept per log, and now and then a part is redelivered.
#[derive(Debug, Clone)]
enum Act {
    Batch(Vec<(usize, usize, i64, usize)>),
    Redeliver(usize),
    NewWriter,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let update = (0..2_usize, 0..3_usize, 0..8_i64, 0..6_usize);
    let act = prop_oneof![
        5 => prop::collection::vec(update, 1..12).prop_map(Act::Batch),
        2 => (0..40_usize).prop_map(Act::Redeliver),
        1 => Just(Act::NewWriter),
    ];
    prop::collection::vec(act, 1..10)
}

const RESTS: [&str; 6] = [
    r#","lat":1.5,"lon":2.25,"temp":4,"x":{"a":1,"b":2}"#,
    r#","temp":5"#,
    r#","x":{"b":3}"#,
    r#","x":{"c":4},"lat":80,"lon":-170"#,
    r#","x":7"#,
    "",
];

#[test]
fn memory_and_redis_agree() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(RedisServer::start());
    let cases = std::cell::Cell::new(0);
    let config = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    proptest!(config, |(acts in acts())| {
        cases.set(cases.get() + 1);
        let fleet = fleet(&format!("case {}", cases.get()));
        let stores = [Store::Memory(MemoryStore::new(TRACKS)), redis_store(&redis.url())];
        let [memory, other] = runtime.block_on(async {
            let mut seen = Vec::new();
            for store in &stores {
                seen.push(play(store, &fleet, &acts).await);
            }
            <[_; 2]>::try_from(seen).unwrap()
        });
        prop_assert_eq!(memory, other);
    });
}

/// Everything that can be seen of a store after a history. Epochs are left out: they are random.
async fn play(store: &Store, fleet: &FleetId, acts: &[Act]) -> Vec<String> {
    let mut seen = Vec::new();
    let mut writer = store.writer();
    let (mut past, mut offsets): (Vec<Record>, _) = (Vec::new(), [0; 2]);
    for act in acts {
        let records = match act {
            Act::NewWriter => {
                writer = store.writer();
                continue;
            }
            Act::Redeliver(from) => past.iter().skip(*from).cloned().collect(),
            Act::Batch(updates) => {
                let records = updates.iter().map(|(log, asset, s, rest)| {
                    offsets[*log] += 1;
                    let ts = T0 + s * 1000;
                    let text = format!(r#"{{"fleetId":"x","assetId":"a{asset}","ts":{ts}{}}}"#, RESTS[*rest]);
                    let record = record(&format!("t/{log}"), offsets[*log], &text);
                    Record { fleet: fleet.clone(), ..record }
                });
                let records: Vec<_> = records.collect();
                past.extend(records.iter().cloned());
                records
            }
        };
        seen.push(format!("{:?}", apply(&mut writer, records).await));
    }
    let snapshot = store.snapshot(fleet).await.unwrap();
    seen.push(format!("{} {:?}", snapshot.seq, snapshot.assets));
    if snapshot.seq > 0 {
        let since = store.changed_since(fleet, snapshot.epoch, snapshot.seq / 2).await.unwrap().unwrap();
        seen.push(format!("{} {:?}", since.seq, since.assets));
        assert!(store.changed_since(fleet, snapshot.epoch, snapshot.seq + 1).await.unwrap().is_none());
    }
    for asset in 0..3 {
        let asset = AssetId::parse(&format!("a{asset}")).unwrap();
        for (from, limit) in [(0, 10), (T0 + 3000, 10), (0, 2)] {
            seen.push(format!("{:?}", store.history(fleet, &asset, from, limit).await.unwrap()));
        }
    }
    seen
}

#[tokio::test]
async fn many_fleets_are_applied_side_by_side() {
    let redis = RedisServer::start().await;
    let store = redis_store(&redis.url());
    let mut writer = store.writer();
    let records = (0..2000)
        .map(|n| Record { fleet: fleet(&format!("f{}", n % 100)), ..at(n, &format!("a{n}"), 0, "") });
    assert_eq!(apply(&mut writer, records.collect()).await, (2000, 0, 0));
    for n in 0..100 {
        let snapshot = store.snapshot(&fleet(&format!("f{n}"))).await.unwrap();
        assert_eq!((snapshot.seq, snapshot.assets.len()), (20, 20));
        let order: Vec<_> = snapshot.assets.iter().map(|asset| asset.seq).collect();
        assert_eq!(order, (1..=20).collect::<Vec<_>>());
    }
    let unheard_of = store.snapshot(&fleet("unheard of")).await.unwrap();
    assert_eq!((unheard_of.seq, unheard_of.assets), (0, Vec::<Arc<_>>::new()));
}
