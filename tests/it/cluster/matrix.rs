//! Every operation of the cluster, in both directions, with each of Node's Redis libraries.

use std::time::Duration;

use bytes::Bytes;
use fleetcast::cluster::{
    AskError, EncodedEvent,
    wire::{Argument, Flag, Flags, Target},
};
use serde_json::{Value, json};

use super::{
    node::{LIBRARIES, NodeReplica},
    replica::{Replica, event, room, target},
};
use crate::support::{RedisServer, eventually};

const WITHIN: Duration = Duration::from_secs(10);

/// One Node replica and one of ours in a cluster, with sockets: `n1` (fleet-1) and `n2` (fleet-2) on
/// Node, `r1` (fleet-1) and `r2` (fleet-2) on ours.
struct Pair {
    _redis: RedisServer,
    node: NodeReplica,
    rust: Replica,
    n1: String,
    /// Node's sharded adapter has no `allRooms`.
    has_all_rooms: bool,
}

impl Pair {
    async fn start(adapter: &str, library: &str, args: &[&str], adapter_options: &Value) -> Self {
        let redis = RedisServer::start().await;
        let builder = NodeReplica::builder(&redis.url(), library).env("ADAPTER", adapter);
        let node = builder.env("ADAPTER_OPTIONS", adapter_options).start().await;
        let args = [&["--adapter", adapter], args].concat();
        let args = &args[..];
        let rust = Replica::start_with(&redis.url(), args).await;
        node.wait_members(2).await;
        let n1 = node.client("n1", &["fleet-1"], Some(json!({"from": "n1"}))).await;
        node.client("n2", &["fleet-2"], None).await;
        rust.sockets.connect(R1, &["fleet-1"]).await;
        rust.sockets.connect(R2, &["fleet-2"]).await;
        rust.sockets.reply(R1, Some(r#"{"from":"r1"}"#));
        Self { _redis: redis, node, rust, n1, has_all_rooms: adapter == "classic" }
    }

    /// Ends with everybody alive.
    fn finish(mut self) {
        assert!(self.node.is_alive(), "the node replica died");
        assert!(self.rust.is_alive());
        assert_eq!(self.rust.metrics.adapter_malformed.get(), 0);
        assert_eq!(self.rust.metrics.adapter_frames_refused.get(), 0);
    }
}

/// As long as Node's own ids.
const R1: &str = "rust-socket-0000001A";
const R2: &str = "rust-socket-0000002B";

/// With Node's classic adapter.
async fn for_each_library(check: impl AsyncFn(Pair)) {
    for library in LIBRARIES {
        check(Pair::start("classic", library, &[], &json!({})).await).await;
    }
}

/// With both of Node's adapters.
async fn for_each_adapter(check: impl AsyncFn(Pair)) {
    for adapter in ["classic", "sharded"] {
        for library in LIBRARIES {
            check(Pair::start(adapter, library, &[], &json!({})).await).await;
        }
    }
}

#[tokio::test]
async fn emits_of_node_reach_our_sockets() {
    for_each_adapter(async |pair| {
        let run = async |body: &str| pair.node.run(body).await;
        run("io.emit('all', 1)").await;
        run("io.to('fleet-1').emit('one', {a: [1.5, null, 'é漢😀']})").await;
        run("io.to('fleet-1').to('fleet-2').emit('both')").await;
        run("io.except('fleet-2').emit('but 2')").await;
        run(&format!("io.to('{R1}').emit('private')")).await;
        run(&format!("io.to('fleet-1').except('{R1}').emit('nobody')")).await;
        run("io.local.emit('local')").await;
        run("io.of('/admin').emit('other namespace')").await;
        run("[...io.of('/').sockets.values()][0].broadcast.emit('socket.broadcast')").await;
        run("io.to('fleet-1').emit('bin', Buffer.from([0, 255]), {deep: new Uint8Array([7])})").await;
        run("io.to('fleet-1').emit('date', new Date(1700000000123), undefined, {gone: undefined}, NaN)")
            .await;
        run("io.to('fleet-1').volatile.compress(false).emit('flags')").await;
        run("io.emit('end')").await;
        let binary = r#"52-["bin",{"_placeholder":true,"num":0},{"deep":{"_placeholder":true,"num":1}}]"#;
        pair.rust
            .wait_packets(
                R1,
                &[
                    r#"2["all",1]"#,
                    r#"2["one",{"a":[1.5,null,"é漢😀"]}]"#,
                    r#"2["both"]"#,
                    r#"2["but 2"]"#,
                    r#"2["private"]"#,
                    r#"2["socket.broadcast"]"#,
                    binary,
                    r#"2["date","2023-11-14T22:13:20.123Z",null,{},null]"#,
                    r#"2["flags"]"#,
                    r#"2["end"]"#,
                ],
            )
            .await;
        let received = pair.rust.sockets.received(R1);
        assert_eq!(received[6].attachments, [Bytes::from_static(b"\x00\xff"), Bytes::from_static(b"\x07")]);
        assert!(received[8].volatile && !received[9].volatile);
        let expected = [r#"2["all",1]"#, r#"2["both"]"#, r#"2["socket.broadcast"]"#, r#"2["end"]"#];
        pair.rust.wait_packets(R2, &expected).await;
        pair.finish();
    })
    .await;
}

#[tokio::test]
async fn our_emits_reach_nodes_sockets() {
    for_each_adapter(async |pair| {
        let emit = |data: &str, target: Target| {
            pair.rust.member.emit(&event(data), &target, &Flags::default());
        };
        emit(r#"["all",1,-7,4294967296,1.25]"#, Target::default());
        emit(r#"["one",{"a":["é漢😀",null,true]}]"#, room("fleet-1"));
        emit(r#"["both"]"#, target(&["fleet-1", "fleet-2"], &[]));
        emit(r#"["but 2"]"#, target(&[], &["fleet-2"]));
        emit(r#"["private"]"#, room(&pair.n1));
        emit(r#"["but n1"]"#, target(&["fleet-1"], &[&pair.n1]));
        let data = r#"["bin",[{"_placeholder":true,"num":0}]]"#;
        let binary = EncodedEvent::from_json(data, vec![Bytes::from_static(b"\x00\xff")]).unwrap();
        pair.rust.member.emit(&binary, &room("fleet-1"), &Flags::default().with(Flag::Compress(false)));
        emit(r#"["end"]"#, Target::default());
        let n1 = [
            json!(["all", 1, -7, 4_294_967_296_u64, 1.25]),
            json!(["one", {"a": ["é漢😀", null, true]}]),
            json!(["both"]),
            json!(["but 2"]),
            json!(["private"]),
            json!(["bin", [{"$hex": "00ff"}]]),
            json!(["end"]),
        ];
        pair.node.wait_received("n1", &n1).await;
        let n2 = [json!(["all", 1, -7, 4_294_967_296_u64, 1.25]), json!(["both"]), json!(["end"])];
        pair.node.wait_received("n2", &n2).await;
        // Our own sockets got them here, and not again from the cluster.
        assert_eq!(pair.rust.sockets.packets(R2).len(), 3);
        pair.finish();
    })
    .await;
}

#[tokio::test]
async fn the_emitter_reaches_our_sockets() {
    for_each_library(async |pair| {
        let run = async |body: &str| pair.node.run(body).await;
        run("emitter.emit('all')").await;
        run("emitter.to('fleet-1').emit('one', {b: Buffer.from('x')})").await;
        run("emitter.to(['fleet-1', 'fleet-2']).except('fleet-2').volatile.emit('but 2')").await;
        run(&format!("emitter.in('{R1}').socketsJoin(['joined', 'too'])")).await;
        eventually("joined", async || pair.rust.sockets.rooms_of(R1) == ["fleet-1", "joined", "too"]).await;
        pair.rust.sockets.confirmed().await;
        run("emitter.to('joined').emit('to joined')").await;
        run("emitter.in('fleet-1').socketsLeave('too')").await;
        run("emitter.serverSideEmit('ignored', 1)").await;
        eventually("left", async || pair.rust.sockets.rooms_of(R1) == ["fleet-1", "joined"]).await;
        run("emitter.in('fleet-2').disconnectSockets(true)").await;
        eventually("disconnected", async || pair.rust.sockets.disconnected() == [(R2.to_owned(), true)])
            .await;
        let binary = r#"51-["one",{"b":{"_placeholder":true,"num":0}}]"#;
        let expected = [r#"2["all"]"#, binary, r#"2["but 2"]"#, r#"2["to joined"]"#];
        pair.rust.wait_packets(R1, &expected).await;
        pair.finish();
    })
    .await;
}

#[tokio::test]
async fn node_sees_our_sockets_as_its_own() {
    for_each_adapter(async |pair| {
        let run = async |body: &str| pair.node.run(body).await;
        let sockets =
            run("return (await io.fetchSockets()).map((s) => [s.id, [...s.rooms], s.data, s.handshake])");
        let sockets = sockets.await;
        let ours = sockets.as_array().unwrap().iter().find(|socket| socket[0] == R1).unwrap();
        assert_eq!(ours[1], json!([R1, "fleet-1"]));
        assert_eq!(ours[2], json!({"language": "rust"}));
        assert_eq!(ours[3]["query"]["fleetId"], "fleet-1");
        assert_eq!(sockets.as_array().unwrap().len(), 4);
        let in_room = run("return (await io.in('fleet-2').fetchSockets()).map((s) => s.id)").await;
        assert!(in_room.as_array().unwrap().contains(&json!(R2)) && in_room.as_array().unwrap().len() == 2);
        if pair.has_all_rooms {
            let rooms = run("return [...await io.of('/').adapter.allRooms()].sort()").await;
            for room in [R1, R2, "fleet-1", "fleet-2", &pair.n1] {
                assert!(rooms.as_array().unwrap().contains(&json!(room)), "{rooms}");
            }
        }
        let one = format!("const [s] = await io.in('{R1}').fetchSockets();");
        run(&format!("{one} s.emit('remote', 1); s.join('far'); return s.id")).await;
        eventually("joined", async || pair.rust.sockets.rooms_of(R1).contains(&"far".to_owned())).await;
        let answer = run(&format!("{one} return await s.timeout(5000).emitWithAck('ask', 2)")).await;
        assert_eq!(answer, json!({"from": "r1"}));
        run(&format!("{one} s.leave('far')")).await;
        eventually("left", async || pair.rust.sockets.rooms_of(R1) == ["fleet-1"]).await;
        run("io.in('fleet-1').socketsJoin('third')").await;
        eventually("joined", async || pair.rust.sockets.rooms_of(R1) == ["fleet-1", "third"]).await;
        run("io.in('third').socketsLeave(['third'])").await;
        eventually("left", async || pair.rust.sockets.rooms_of(R1) == ["fleet-1"]).await;
        pair.rust.wait_packets(R1, &[r#"2["remote",1]"#, r#"21["ask",2]"#]).await;
        run(&format!("{one} s.disconnect(true)")).await;
        run("io.in('fleet-2').disconnectSockets()").await;
        eventually("disconnected", async || {
            pair.rust.sockets.disconnected() == [(R1.to_owned(), true), (R2.to_owned(), false)]
        })
        .await;
        pair.finish();
    })
    .await;
}

#[tokio::test]
async fn we_see_nodes_sockets_as_our_own() {
    for_each_adapter(async |pair| {
        let member = &pair.rust.member;
        assert_eq!(member.server_count().await.unwrap(), 2);
        let sockets = member.fetch_sockets(&Target::default()).await.unwrap();
        assert_eq!(sockets.len(), 4);
        let n1 = sockets.iter().find(|socket| socket.id == pair.n1).unwrap();
        assert_eq!(n1.rooms, [&*pair.n1, "fleet-1"]);
        assert_eq!(&*n1.data, r#"{"marker":"n1"}"#);
        let handshake: Value = serde_json::from_str(&n1.handshake).unwrap();
        assert_eq!(handshake["query"]["marker"], "n1");
        if pair.has_all_rooms {
            let rooms = member.all_rooms().await.unwrap();
            for room in [R1, R2, "fleet-1", "fleet-2", &pair.n1] {
                assert!(rooms.contains(room), "{rooms:?}");
            }
        } else {
            assert_eq!(member.all_rooms().await, Err(AskError::NoSuchQuestion));
        }
        member.join(&room(&pair.n1), &["third".to_owned()]);
        member.leave(&room("third"), &["fleet-1".to_owned()]);
        let rooms_of_n1 = || async { member.fetch_sockets(&room("third")).await.unwrap() };
        eventually("joined", async || {
            rooms_of_n1().await.first().is_some_and(|socket| socket.rooms == [&*pair.n1, "third"])
        })
        .await;
        member.emit(&event(r#"["e"]"#), &room("third"), &Flags::default());
        pair.node.wait_received("n1", &[json!(["e"])]).await;
        member.disconnect(&room("third"), false);
        member.disconnect(&room("fleet-2"), true);
        for name in ["n1", "n2"] {
            let reason = || async { pair.node.run(&format!("return reason('{name}')")).await };
            eventually("disconnected", async || reason().await == "io server disconnect").await;
        }
        assert_eq!(pair.rust.sockets.disconnected(), [(R2.to_owned(), true)]);
        pair.finish();
    })
    .await;
}

#[tokio::test]
async fn acknowledgements_cross_the_cluster_both_ways() {
    for_each_adapter(async |pair| {
        let ask = "return await io.to('fleet-1').timeout(5000).emitWithAck('ask', {q: 1})";
        let mut answers = pair.node.run(ask).await.as_array().unwrap().clone();
        answers.sort_by_key(ToString::to_string);
        assert_eq!(answers, [json!({"from": "n1"}), json!({"from": "r1"})]);
        pair.rust.sockets.reply(R1, None);
        let answers = pair.node.run("return await io.to('fleet-1').timeout(5000).emitWithAck('ask')").await;
        assert!(answers.as_array().unwrap().contains(&Value::Null), "{answers}");
        let placeholder = r#"{"b":{"_placeholder":true,"num":0}}"#;
        let binary =
            Argument { json: placeholder.to_owned(), attachments: vec![Bytes::from_static(b"\x01\x02")] };
        pair.rust.sockets.reply_with(R1, binary);
        let answers = pair.node.run(ask).await;
        assert!(answers.as_array().unwrap().contains(&json!({"b": {"$hex": "0102"}})), "{answers}");
        // Nobody of ours is in the room: the count is 0, and Node need not wait.
        let nobody = "return await io.to('n-only').timeout(5000).emitWithAck('ask')";
        assert_eq!(pair.node.run(nobody).await, json!([]));

        pair.rust.sockets.reply(R1, Some("1"));
        let mut answers =
            pair.rust.member.emit_with_ack(&event(r#"["ask",2]"#), &room("fleet-1"), WITHIN).await.unwrap();
        answers.sort_by_key(|answer| answer.as_ref().unwrap().json.clone());
        assert_eq!(answers, [Some(Argument::json("1")), Some(Argument::json(r#"{"from":"n1"}"#))]);
        let none = pair.rust.member.emit_with_ack(&event(r#"["ask"]"#), &room("empty"), WITHIN).await;
        assert_eq!(none, Ok(Vec::new()));
        // n2 stays silent.
        let short = Duration::from_millis(300);
        let failed = pair.rust.member.emit_with_ack(&event(r#"["ask"]"#), &room("fleet-2"), short).await;
        assert!(failed.unwrap_err().to_string().contains("2 answers are missing"));
        pair.finish();
    })
    .await;
}

#[tokio::test]
async fn server_side_emits_cross_the_cluster_both_ways() {
    for_each_adapter(async |pair| {
        pair.node.run("io.serverSideEmit('told', 1)").await;
        let ping = "return await io.serverSideEmitWithAck('cluster_ping')";
        let answers = pair.node.run(ping).await;
        assert_eq!(answers[0]["id"], "rust-1");
        assert_eq!(answers[0]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(
            pair.node.run("return await io.serverSideEmitWithAck('unknown', {})").await,
            json!([null])
        );
        pair.rust.member.server_side_emit(Argument::json(r#"["sse","told",{"a":1}]"#));
        let told = json!([["told", {"a": 1}]]);
        eventually("told", async || pair.node.run("return serverEvents").await == told).await;
        let answers =
            pair.rust.member.server_side_emit_with_ack(Argument::json(r#"["sse",7]"#)).await.unwrap();
        let expected = format!(r#"{{"node":"{}","args":[7]}}"#, pair.node.uid);
        assert_eq!(answers, [Some(Argument::json(expected))]);
        pair.finish();
    })
    .await;
}

#[tokio::test]
async fn options_of_the_adapter_are_met() {
    let adapter_options =
        json!({"key": "fleet", "publishOnSpecificResponseChannel": true, "requestsTimeout": 3000});
    let pair = Pair::start("classic", "node-redis", &["--adapter-key", "fleet"], &adapter_options).await;
    pair.node.run("io.to('fleet-1').emit('one')").await;
    pair.rust.wait_packets(R1, &[r#"2["one"]"#]).await;
    assert_eq!(pair.rust.member.fetch_sockets(&Target::default()).await.unwrap().len(), 4);
    assert_eq!(pair.node.run("return (await io.fetchSockets()).length").await, 4);
    let acks = pair.rust.member.emit_with_ack(&event(r#"["ask"]"#), &room("fleet-1"), WITHIN).await.unwrap();
    assert_eq!(acks.len(), 2);
    pair.finish();
}

#[tokio::test]
async fn with_a_pattern_remote_joins_miss_nothing() {
    let pair = Pair::start("classic", "node-redis", &["--adapter-subscribe", "pattern"], &json!({})).await;
    for number in 0..30 {
        let body =
            format!("io.in('fleet-1').socketsJoin('r{number}'); io.to('r{number}').emit('e', {number})");
        pair.node.run(&body).await;
    }
    let expected: Vec<String> = (0..30).map(|number| format!("2[\"e\",{number}]")).collect();
    pair.rust.wait_packets(R1, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    pair.finish();
}
