//! Redis as a cluster of its own, and Redis with users: the same members, the same counts.

use std::time::Duration;

use fleetcast::cluster::wire::{Flags, Target};
use serde_json::json;

use super::{
    node::NodeReplica,
    replica::{Replica, event, room},
};
use crate::support::{PATIENCE, RedisServer, eventually, free_port};

/// Three primaries that share the slots.
struct RedisCluster(Vec<RedisServer>);

impl RedisCluster {
    async fn start() -> Self {
        let (mut nodes, mut bus_ports) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            // By itself the bus would take the port 10,000 above, which there may not be.
            let bus_port = free_port().to_string();
            let args = ["--cluster-enabled", "yes", "--cluster-port", &bus_port];
            nodes.push(RedisServer::start_with(&args).await);
            bus_ports.push(bus_port);
        }
        let slots = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
        for (index, node) in nodes.iter().enumerate() {
            let [first, last] = slots[index];
            node.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
            let port = node.port().to_string();
            nodes[0].command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_ports[index]]).await;
        }
        for node in &nodes {
            let agrees = async || {
                let info: String = node.command(&["CLUSTER", "INFO"]).await;
                ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"]
                    .iter()
                    .all(|fact| info.contains(fact))
            };
            eventually("the nodes know each other", agrees).await;
        }
        Self(nodes)
    }

    /// All nodes, beginning with the given one.
    fn url(&self, first: usize) -> String {
        let urls: Vec<String> = (0..3).map(|index| self.0[(first + index) % 3].url()).collect();
        urls.join(",")
    }
}

const R1: &str = "rust-socket-0000001A";
const R2: &str = "rust-socket-0000002B";

#[tokio::test]
async fn members_on_different_nodes_of_redis_cluster_are_one_cluster() {
    for library in ["node-redis-cluster", "ioredis-cluster"] {
        let cluster = RedisCluster::start().await;
        let (first, second) = (Replica::start(&cluster.url(0)).await, Replica::start(&cluster.url(1)).await);
        let node = NodeReplica::builder(&cluster.0[2].url(), library).start().await;
        node.wait_members(3).await;
        assert_eq!(first.member.server_count().await, Ok(3));
        first.sockets.connect(R1, &["fleet-1"]).await;
        second.sockets.connect(R2, &["fleet-1"]).await;
        first.sockets.reply(R1, Some("1"));
        second.sockets.reply(R2, Some("2"));
        node.client("n1", &["fleet-1"], Some(json!(3))).await;

        // In order, although neighbouring channels belong to different nodes.
        for number in 0..100 {
            let target = [room("fleet-1"), Target::default()][number % 2].clone();
            first.member.emit(&event(&format!("[\"e\",{number}]")), &target, &Flags::default());
        }
        let expected: Vec<String> = (0..100).map(|number| format!("2[\"e\",{number}]")).collect();
        second.wait_packets(R2, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
        node.wait_received("n1", &(0..100).map(|number| json!(["e", number])).collect::<Vec<_>>()).await;
        first.sockets.clear();
        node.run("io.to('fleet-1').emit('from node')").await;
        first.wait_packets(R1, &[r#"2["from node"]"#]).await;

        assert_eq!(second.member.fetch_sockets(&Target::default()).await.unwrap().len(), 3);
        assert_eq!(node.run("return (await io.fetchSockets()).length").await, 3);
        let (ask, fleet, within) = (event(r#"["ask"]"#), room("fleet-1"), Duration::from_secs(10));
        assert_eq!(first.member.emit_with_ack(&ask, &fleet, within).await.unwrap().len(), 3);
        let asked = node.run("return await io.to('fleet-1').timeout(5000).emitWithAck('ask')").await;
        assert_eq!(asked.as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn shard_channels_are_heard_from_every_node_of_redis_cluster() {
    let cluster = RedisCluster::start().await;
    let sharded = ["--adapter", "sharded"];
    let first = Replica::start_with(&cluster.url(0), &sharded).await;
    let second = Replica::start_with(&cluster.url(1), &sharded).await;
    let node = NodeReplica::builder(&cluster.0[2].url(), "node-redis-cluster").env("ADAPTER", "sharded");
    let node = node.start().await;
    node.wait_members(3).await;
    assert_eq!(first.member.server_count().await, Ok(3));
    // So many that every node has some.
    let rooms: Vec<String> = (0..12).map(|number| format!("fleet-{number}")).collect();
    let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    first.sockets.connect(R1, &names).await;
    second.sockets.connect(R2, &names).await;
    first.sockets.reply(R1, Some("1"));
    second.sockets.reply(R2, Some("2"));
    node.client("n1", &["fleet-11"], Some(json!(3))).await;

    // Rooms on different nodes have no order between them; each has its own.
    for name in &names {
        for number in 0..20 {
            first.member.emit(&event(&format!("[\"{name}\",{number}]")), &room(name), &Flags::default());
        }
        node.run(&format!("for (let i = 0; i < 20; i++) io.to('{name}').emit('node {name}', i)")).await;
    }
    let expect = |name: &str| (0..20).map(|number| format!("2[\"{name}\",{number}]")).collect::<Vec<_>>();
    let of = |replica: &Replica, id, name: &str| -> Vec<String> {
        let is_of = |packet: &String| packet.starts_with(&format!("2[\"{name}\","));
        replica.sockets.packets(id).into_iter().filter(is_of).collect()
    };
    for name in names.iter().flat_map(|name| [(*name).to_owned(), format!("node {name}")]) {
        eventually(&name, async || of(&second, R2, &name) == expect(&name)).await;
        eventually(&name, async || of(&first, R1, &name) == expect(&name)).await;
    }
    eventually("node got all", async || node.received("n1").await.len() == 40).await;
    assert_eq!(second.member.fetch_sockets(&Target::default()).await.unwrap().len(), 3);
    assert_eq!(node.run("return (await io.fetchSockets()).length").await, 3);
    let asked = node.run("return await io.to('fleet-11').timeout(5000).emitWithAck('ask')").await;
    assert_eq!(asked.as_array().unwrap().len(), 3);

    // A subscribing connection dies on one node: noticed, and everything is heard again.
    for server in &cluster.0 {
        server.command::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    }
    eventually("noticed", async || second.metrics.adapter_connections_lost.get() > 0).await;
    second.member.ready(PATIENCE).await.unwrap();
    first.member.ready(PATIENCE).await.unwrap();
    second.sockets.clear();
    for name in &names {
        first.member.emit(&event(&format!("[\"again {name}\"]")), &room(name), &Flags::default());
    }
    eventually("heard again", async || second.sockets.packets(R2).len() == 12).await;
    // Whether Node's own subscriptions come back is up to its Redis client.
    let counted = async || first.member.server_count().await.is_ok_and(|count| count >= 2);
    eventually("both are counted", counted).await;
}

#[tokio::test]
async fn a_user_of_redis_needs_no_more_than_the_adapters_channels() {
    let rights =
        ["on", ">secret", "resetchannels", "&socket.io*", "+@pubsub", "+ping", "+client", "+cluster"];
    let redis = RedisServer::start_with(&[&["--user", "fleet"], &rights[..]].concat()).await;
    let url = |password: &str| format!("redis://fleet:{password}@127.0.0.1:{}/", redis.port());
    let rust = Replica::start(&url("secret")).await;
    rust.sockets.connect(R1, &["fleet-1"]).await;
    let clients: String = redis.command(&["CLIENT", "LIST"]).await;
    assert_eq!(clients.matches("user=fleet").count(), 2, "{clients}");
    let node = NodeReplica::start(&redis, "node-redis").await;
    node.wait_members(2).await;
    node.run("io.to('fleet-1').emit('e')").await;
    rust.wait_packets(R1, &[r#"2["e"]"#]).await;
    assert_eq!(rust.member.fetch_sockets(&Target::default()).await.unwrap().len(), 1);
    // A wrong password is no member, and no end of the process either.
    let refused = Replica::spawn(&url("wrong"), &[]);
    assert!(refused.member.ready(Duration::from_millis(500)).await.is_err());
    assert!(refused.is_alive());
    assert_eq!(rust.member.server_count().await, Ok(2));
}

#[tokio::test]
async fn a_slot_that_moves_to_another_node_takes_nobodys_room_with_it() {
    let cluster = RedisCluster::start().await;
    let sharded = ["--adapter", "sharded"];
    let first = Replica::start_with(&cluster.url(0), &sharded).await;
    let second = Replica::start_with(&cluster.url(1), &sharded).await;
    eventually("they know each other", async || first.member.server_count().await == Ok(2)).await;
    second.sockets.connect(R2, &["fleet-1"]).await;
    let hears = async |word: &str| {
        first.member.emit(&event(&format!("[\"{word}\"]")), &room("fleet-1"), &Flags::default());
        second.sockets.packets(R2).contains(&format!("2[\"{word}\"]"))
    };
    eventually("it hears its room", async || hears("before").await).await;

    let channel = "socket.io#/#fleet-1#";
    let slot: usize = cluster.0[0].command(&["CLUSTER", "KEYSLOT", channel]).await;
    let from = slot / 5461;
    let to = (from + 1) % 3;
    let slot = slot.to_string();
    let id = async |node: usize| cluster.0[node].command::<String>(&["CLUSTER", "MYID"]).await;
    let (old, new) = (id(from).await, id(to).await);
    let set = async |node: usize, how: &str, whose: &str| {
        cluster.0[node].command::<()>(&["CLUSTER", "SETSLOT", &slot, how, whose]).await;
    };
    set(to, "IMPORTING", &old).await;
    set(from, "MIGRATING", &new).await;
    for node in [to, from, (from + 2) % 3] {
        set(node, "NODE", &new).await;
    }
    let there = async || {
        let counts: (String, i64) = cluster.0[to].command(&["PUBSUB", "SHARDNUMSUB", channel]).await;
        counts.1 == 1
    };
    eventually("it is subscribed where the slot is now", there).await;
    eventually("it hears its room again", async || hears("after").await).await;
}
