//! The modes of Node's sharded adapter: which rooms have channels, and that nothing is missed in any of them.

use fleetcast::cluster::wire::{Flags, Target};
use serde_json::{Value, json};

use super::{
    node::NodeReplica,
    replica::{Replica, event, room, target},
};
use crate::support::{RedisServer, eventually};

const R1: &str = "rust-socket-0000001A";
/// Node takes a room of this length for a socket, when it publishes.
const TWENTY: &str = "a-room-of-20-letters";

async fn shard_channels(redis: &RedisServer) -> Vec<String> {
    let mut channels: Vec<String> = redis.command(&["PUBSUB", "SHARDCHANNELS"]).await;
    channels.sort();
    channels
}

#[tokio::test]
async fn in_every_mode_everything_arrives_once_and_rooms_have_the_channels_that_node_gives_them() {
    for mode in ["dynamic", "static", "dynamic-private"] {
        let redis = RedisServer::start().await;
        let rust =
            Replica::start_with(&redis.url(), &["--adapter", "sharded", "--adapter-subscribe", mode]).await;
        let of_member = shard_channels(&redis).await;
        assert_eq!(of_member.len(), 2, "{of_member:?}");
        rust.sockets.connect(R1, &["fleet-1", TWENTY]).await;
        let rooms: &[&str] = match mode {
            "static" => &[],
            "dynamic" => &["fleet-1"],
            _ => &["fleet-1", TWENTY, R1],
        };
        let expected = rooms.iter().map(|room| format!("socket.io#/#{room}#"));
        let mut expected: Vec<String> = of_member.iter().cloned().chain(expected).collect();
        expected.sort();
        assert_eq!(shard_channels(&redis).await, expected, "{mode}");

        let node = NodeReplica::builder(&redis.url(), "node-redis").env("ADAPTER", "sharded");
        let node = node.env("ADAPTER_OPTIONS", json!({"subscriptionMode": mode})).start().await;
        node.wait_members(2).await;
        let n1 = node.client("n1", &["fleet-1"], None).await;
        node.run(&format!("io.in('{n1}').socketsJoin('{TWENTY}')")).await;
        let to = |name: &str, number: usize| format!("io.to('{name}').emit('e', {number});");
        let all = "io.emit('e', 3); io.to('fleet-1').to('x').emit('e', 4);";
        node.run(&[to("fleet-1", 0), to(TWENTY, 1), to(R1, 2), all.to_owned()].concat()).await;
        let expected: Vec<String> = (0..5).map(|number| format!("2[\"e\",{number}]")).collect();
        rust.wait_packets(R1, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;

        node.run("received('n1').length = 0").await;
        let targets =
            [room("fleet-1"), room(TWENTY), room(&n1), Target::default(), target(&["fleet-1", "x"], &[])];
        for (number, target) in targets.iter().enumerate() {
            rust.member.emit(&event(&format!("[\"e\",{number}]")), target, &Flags::default());
        }
        let expected: Vec<Value> = (0..5).map(|number| json!(["e", number])).collect();
        node.wait_received("n1", &expected).await;
        assert_eq!(node.run("return (await io.fetchSockets()).length").await, 2);
        rust.sockets.drop_socket(R1);
        let left = async || shard_channels(&redis).await.iter().any(|channel| channel.contains(R1));
        eventually("its channels are gone", async || !left().await).await;
        assert_eq!(rust.metrics.adapter_malformed.get(), 0);
    }
}
