//! The gateway itself as a member: stock dashboards on it, driven by real Node replicas and emitters.

use serde_json::{Value, json};

use super::node::{LIBRARIES, NodeReplica};
use crate::support::{Gateway, RedisServer, eventually};

/// A Node replica and a gateway in one cluster. On Node: `n1` (fleet-1). On the gateway: `r1` (fleet-1)
/// over websocket, `r2` (fleet-2) over polling, `old` (fleet-1), a client of version 2.
pub struct Pair {
    pub redis: RedisServer,
    pub node: NodeReplica,
    pub gateway: Gateway,
    r1: String,
    r2: String,
}

pub async fn gateway(redis: &RedisServer) -> Gateway {
    gateway_with(redis, "classic").await
}

pub async fn gateway_with(redis: &RedisServer, adapter: &str) -> Gateway {
    let gateway = Gateway::builder()
        .env("FLEETCAST_ADAPTER", adapter)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_REPLICA", "rust-1")
        .redis(redis)
        .start()
        .await;
    gateway.wait_ready().await;
    gateway
}

impl Pair {
    pub async fn start(library: &str) -> Self {
        Self::start_with(library, "classic").await
    }

    pub async fn start_with(library: &str, adapter: &str) -> Self {
        let redis = RedisServer::start().await;
        let gateway = gateway_with(&redis, adapter).await;
        let options = json!({"requestsTimeout": 2000});
        let node = NodeReplica::builder(&redis.url(), library)
            .env("ADAPTER", adapter)
            .env("ADAPTER_OPTIONS", options);
        let node = node.start().await;
        node.wait_members(2).await;
        node.client("n1", &["fleet-1"], Some(json!({"from": "n1"}))).await;
        let at = async |name, rooms: &[&str], options| {
            let reply = Some(json!({"from": name}));
            node.client_at(&gateway.url(), name, rooms, reply, &options).await
        };
        let r1 = at("r1", &["fleet-1"], json!({"auth": {"user": "one"}})).await;
        let r2 = at("r2", &["fleet-2"], json!({"transports": ["polling"]})).await;
        at("old", &["fleet-1"], json!({"version": "2.5"})).await;
        Self { redis, node, gateway, r1, r2 }
    }

    /// Ends with everybody alive and nothing misunderstood.
    async fn finish(mut self) {
        assert!(self.node.is_alive(), "the node replica died");
        for metric in ["adapter_malformed_messages", "adapter_frames_refused", "adapter_frames_dropped"] {
            assert_eq!(self.gateway.metric(&format!("fleetcast_{metric}_total")).await, 0.0, "{metric}");
        }
    }
}

async fn for_each_library(check: impl AsyncFn(&Pair)) {
    for library in LIBRARIES {
        let pair = Pair::start(library).await;
        check(&pair).await;
        pair.finish().await;
    }
}

#[tokio::test]
async fn every_emit_of_node_reaches_every_kind_of_dashboard() {
    for_each_library(async |Pair { node, r1, .. }| {
        let run = async |body: &str| node.run(body).await;
        run("io.emit('all', 1)").await;
        run("io.to('fleet-1').emit('one', {a: [1.5, null, 'é漢😀']})").await;
        run("io.to('fleet-1').to('fleet-2').emit('both')").await;
        run("io.except('fleet-2').emit('but 2')").await;
        run(&format!("io.to('{r1}').emit('private')")).await;
        run(&format!("io.to('fleet-1').except('{r1}').emit('but r1')")).await;
        run("[...io.of('/').sockets.values()][0].broadcast.emit('socket.broadcast')").await;
        run("io.local.emit('local')").await;
        run("io.of('/admin').emit('other namespace')").await;
        run("io.emit('bin', Buffer.from([0, 255]), {deep: new Uint8Array([7])}, 'x'.repeat(70000))").await;
        run("io.emit('date', new Date(1700000000123), undefined, {gone: undefined}, NaN, -1, 2 ** 53)").await;
        run("io.emit('scalars', true, false, null, '', [], {}, 1e-7, '\\u2028')").await;
        run("io.to('fleet-1').volatile.compress(false).emit('flags')").await;
        run("emitter.to(['fleet-1', 'fleet-2']).emit('emitter', {b: Buffer.from('x')})").await;
        run("io.emit('end')").await;
        let all = json!(["all", 1]);
        let one = json!(["one", {"a": [1.5, null, "é漢😀"]}]);
        let both = json!(["both"]);
        let broadcast = json!(["socket.broadcast"]);
        let bin = json!(["bin", {"$hex": "00ff"}, {"deep": {"$hex": "07"}}, "x".repeat(70000)]);
        let date = json!(["date", "2023-11-14T22:13:20.123Z", null, {}, null, -1, 9_007_199_254_740_992_u64]);
        let scalars = json!(["scalars", true, false, null, "", [], {}, 1e-7, "\u{2028}"]);
        let (flags, emitter, end) =
            (json!(["flags"]), json!(["emitter", {"b": {"$hex": "78"}}]), json!(["end"]));
        let (but2, but_r1, private) = (json!(["but 2"]), json!(["but r1"]), json!(["private"]));
        let expect = async |name: &str, events: &[&Value]| {
            let events: Vec<Value> = events.iter().map(|event| (*event).clone()).collect();
            node.wait_received(name, &events).await;
        };
        let r1 =
            [&all, &one, &both, &but2, &private, &broadcast, &bin, &date, &scalars, &flags, &emitter, &end];
        expect("r1", &r1).await;
        expect("r2", &[&all, &both, &broadcast, &bin, &date, &scalars, &emitter, &end]).await;
        let old =
            [&all, &one, &both, &but2, &but_r1, &broadcast, &bin, &date, &scalars, &flags, &emitter, &end];
        expect("old", &old).await;
    })
    .await;
}

#[tokio::test]
async fn with_the_sharded_adapter_the_gateway_is_a_member_like_any_other() {
    for library in LIBRARIES {
        let pair = Pair::start_with(library, "sharded").await;
        let Pair { node, r1, r2, redis, .. } = &pair;
        let run = async |body: &str| node.run(body).await;
        assert_eq!(run("return await io.of('/').adapter.serverCount()").await, 2);
        run("io.emit('all')").await;
        run("io.to('fleet-1').emit('one', {b: Buffer.from('x')})").await;
        run("io.to('fleet-1').to('fleet-2').emit('both')").await;
        run(&format!("io.to('{r1}').emit('private'); io.to('fleet-1').except('{r1}').emit('but r1')")).await;
        let (all, one, both) = (json!(["all"]), json!(["one", {"b": {"$hex": "78"}}]), json!(["both"]));
        let r1_events = [all.clone(), one.clone(), both.clone(), json!(["private"])];
        node.wait_received("r1", &r1_events).await;
        node.wait_received("r2", &[all.clone(), both.clone()]).await;
        node.wait_received("old", &[all, one, both, json!(["but r1"])]).await;
        let ids = run("return (await io.fetchSockets()).map((s) => s.id)").await;
        let ids = ids.as_array().unwrap();
        assert!(ids.len() == 4 && ids.contains(&json!(r1)) && ids.contains(&json!(r2)), "{ids:?}");
        let asked = run("return await io.to('fleet-1').timeout(5000).emitWithAck('ask')").await;
        assert_eq!(asked.as_array().unwrap().len(), 3);
        let ping = run("return await io.serverSideEmitWithAck('cluster_ping')").await;
        assert_eq!(ping[0]["id"], "rust-1");
        // Public rooms have channels, sockets have none, as on Node.
        let channels: Vec<String> = redis.command(&["PUBSUB", "SHARDCHANNELS"]).await;
        let has = |name: &str| channels.contains(&format!("socket.io#/#{name}#"));
        assert!(has("fleet-1") && has("fleet-2") && !has(r1), "{channels:?}");
        run(&format!("io.in('{r2}').socketsJoin('far')")).await;
        let heard = ["PUBSUB", "SHARDCHANNELS", "socket.io#/#far#"];
        eventually("subscribed", async || redis.command::<Vec<String>>(&heard).await.len() == 1).await;
        run("io.in('far').disconnectSockets()").await;
        eventually("r2 is out", async || run("return reason('r2')").await == "io server disconnect").await;
        eventually("no channel is left", async || redis.command::<Vec<String>>(&heard).await.is_empty())
            .await;
        pair.finish().await;
    }
}

#[tokio::test]
async fn node_cannot_tell_our_sockets_from_its_own() {
    for_each_library(async |Pair { node, r1, r2, gateway, .. }| {
        let run = async |body: &str| node.run(body).await;
        let fetched = "(await io.fetchSockets()).map((s) => [s.id, [...s.rooms], s.data, s.handshake])";
        let sockets = run(&format!("return {fetched}")).await;
        let sockets = sockets.as_array().unwrap();
        assert_eq!(sockets.len(), 4);
        let ours = sockets.iter().find(|socket| socket[0] == **r1).unwrap();
        let nodes = sockets.iter().find(|socket| socket[3]["query"]["marker"] == "n1").unwrap();
        assert_eq!((&ours[1], &ours[2]), (&json!([r1, "fleet-1"]), &json!({})));
        assert_eq!(r1.len(), nodes[0].as_str().unwrap().len());
        // In one order, too: whoever prints them sees it.
        let keys = |socket: &Value| socket[3].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(ours), keys(nodes));
        let headers =
            |socket: &Value| socket[3]["headers"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(headers(ours), headers(nodes));
        let (handshake, theirs) = (&ours[3], &nodes[3]);
        assert_eq!(handshake["query"]["fleetId"], "fleet-1");
        assert_eq!(handshake["query"]["EIO"], "4");
        assert_eq!(handshake["auth"], json!({"user": "one"}));
        assert_eq!(theirs["auth"], json!({}));
        for field in ["xdomain", "secure", "address"] {
            assert_eq!(handshake[field], theirs[field], "{field}");
        }
        let form = "return input.map((time) => new Date(time).toString() === time)";
        let times = json!([handshake["time"], theirs["time"]]);
        assert_eq!(node.try_run(form, &times).await.unwrap(), json!([true, true]), "{times}");
        let host = handshake["headers"]["host"].as_str().unwrap();
        assert!(gateway.url().ends_with(host), "{host}");

        let rooms = run("return [...await io.of('/').adapter.allRooms()]").await;
        for room in [r1, r2, "fleet-1", "fleet-2"] {
            assert!(rooms.as_array().unwrap().contains(&json!(room)), "{rooms}");
        }
        assert_eq!(run("return await io.of('/').adapter.serverCount()").await, 2);
        let ping = run("return await io.serverSideEmitWithAck('cluster_ping')").await;
        assert_eq!(ping[0]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(ping[0]["id"], "rust-1");
        run("io.serverSideEmit('told', 1)").await;
        assert_eq!(run("return await io.serverSideEmitWithAck('unknown')").await, json!([null]));
    })
    .await;
}

#[tokio::test]
async fn node_moves_our_sockets_between_rooms() {
    for_each_library(async |Pair { node, r1, r2, redis, .. }| {
        let run = async |body: &str| node.run(body).await;
        let rooms = async |id: &str| {
            run(&format!("const [s] = await io.in('{id}').fetchSockets(); return [...s.rooms].slice(1)")).await
        };
        run(&format!("const [s] = await io.in('{r1}').fetchSockets(); s.emit('remote', 1); s.join('far')")).await;
        eventually("joined", async || rooms(r1).await == json!(["fleet-1", "far"])).await;
        // Interest follows the join; what is emitted before that is the known gap of this mode.
        let heard = ["PUBSUB", "CHANNELS", "socket.io#/#far#"];
        eventually("subscribed", async || redis.command::<Vec<String>>(&heard).await.len() == 1).await;
        run("io.to('far').emit('to far')").await;
        run("emitter.in('far').socketsLeave('far')").await;
        eventually("left", async || rooms(r1).await == json!(["fleet-1"])).await;
        run("io.in('fleet-2').socketsJoin(['a', 'b'])").await;
        eventually("joined", async || rooms(r2).await == json!(["fleet-2", "a", "b"])).await;
        run(&format!("io.in('a').socketsLeave(['a', 'b', '{r2}'])")).await;
        eventually("left", async || rooms(r2).await == json!(["fleet-2"])).await;
        node.wait_received("r1", &[json!(["remote", 1]), json!(["to far"])]).await;
        // A fleet's room is a room: no subscription to the fleet's updates comes with it.
        run(&format!("io.in('{r1}').socketsJoin('fleet-3')")).await;
        eventually("joined", async || rooms(r1).await == json!(["fleet-1", "fleet-3"])).await;
        run("for (const f of ['fleet-3', 'fleet-1']) await pub.publish('updates:' + f, '{\"fleet\":\"' + f + '\"}')").await;
        let update = json!(["fleet_update", "{\"fleet\":\"fleet-1\"}"]);
        node.wait_received("r1", &[json!(["remote", 1]), json!(["to far"]), update]).await;
    })
    .await;
}

#[tokio::test]
async fn dashboards_acknowledge_what_node_asks() {
    for_each_library(async |Pair { node, r1, .. }| {
        let sorted = |answers: Value| {
            let mut answers = answers.as_array().unwrap().clone();
            answers.sort_by_key(ToString::to_string);
            answers
        };
        let ask = "return await io.to('fleet-1').timeout(5000).emitWithAck('ask', {q: 1, b: Buffer.from('q')})";
        let expected = [json!({"from": "n1"}), json!({"from": "old"}), json!({"from": "r1"})];
        assert_eq!(sorted(node.run(ask).await), expected);
        assert_eq!(node.received("old").await, [json!(["ask", {"q": 1, "b": {"$hex": "71"}}])]);
        let one = format!("const [s] = await io.in('{r1}').fetchSockets();");
        let answer = node.run(&format!("{one} return await s.timeout(5000).emitWithAck('ask', 2)")).await;
        assert_eq!(answer, json!({"from": "r1"}));
        // Nobody of ours is asked, and Node need not wait.
        let nobody = "return await io.to('nobody').timeout(5000).emitWithAck('ask')";
        assert_eq!(node.run(nobody).await, json!([]));
        // Two arguments, binary ones: the first counts. And one that never answers.
        node.run("sockets.get('r1').answer = (ack) => ack({b: Buffer.from([1, 2])}, Buffer.from([3]))").await;
        node.run("sockets.get('old').answer = (ack) => ack()").await;
        let expected = json!([null, {"b": {"$hex": "0102"}}, {"from": "n1"}]);
        assert_eq!(sorted(node.run(ask).await), sorted(expected));
        node.run("sockets.get('old').answer = () => {}").await;
        let silent = "return await new Promise((r) => io.to('fleet-1').timeout(700).emit('ask', (e, a) => r([!!e, a.length])))";
        assert_eq!(node.run(silent).await, json!([true, 2]));
    })
    .await;
}

#[tokio::test]
async fn node_disconnects_our_dashboards() {
    for_each_library(async |Pair { node, r1, gateway, .. }| {
        let reason = async |name: &str| node.run(&format!("return reason('{name}')")).await;
        node.run(&format!("io.to('{r1}').emit('last words'); io.in('{r1}').disconnectSockets()")).await;
        eventually("r1 is disconnected", async || reason("r1").await == "io server disconnect").await;
        node.wait_received("r1", &[json!(["last words"])]).await;
        node.run("emitter.to(['fleet-1', 'fleet-2']).disconnectSockets(true)").await;
        for name in ["r2", "old"] {
            eventually(name, async || reason(name).await == "io server disconnect").await;
        }
        for metric in ["viewers", "rooms", "connections"] {
            gateway.wait_metric(&format!("fleetcast_{metric}"), 0.0).await;
        }
        let left = "return (await io.fetchSockets()).map((s) => s.handshake.query.marker)";
        assert_eq!(node.run(left).await, json!([]));
    })
    .await;
}
