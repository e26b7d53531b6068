//! `fleetcast doctor` and `fleetcast compare`, as an operator uses them before a migration.

use std::time::Duration;

use redis::AsyncCommands;
use serde_json::{Value, json};

use super::{
    gateway::{Pair, gateway},
    node::NodeReplica,
};
use crate::support::{Gateway, PATIENCE, RedisServer};

/// Runs a command of the binary to its end: exit code and lines.
pub async fn run(args: &[&str]) -> (i32, Vec<String>) {
    let bare = Gateway::builder().command(args[0]).without_env("FLEETCAST_AUTH");
    let command = args[1..].iter().fold(bare, |command, arg| command.arg(arg));
    let mut process = command.spawn();
    let status = process.wait_exit(PATIENCE).await;
    (status.code().unwrap(), process.lines())
}

fn only_json(lines: &[String]) -> Value {
    assert_eq!(lines.len(), 1, "{lines:?}");
    serde_json::from_str(&lines[0]).unwrap()
}

/// Publishes numbered updates of three assets until dropped.
pub struct Publisher(tokio::task::JoinHandle<()>);

impl Publisher {
    pub async fn start(redis: &RedisServer, fleet: &'static str) -> Self {
        let mut link = redis.connect().await;
        Self(tokio::spawn(async move {
            for number in 0_u64.. {
                let ts = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
                let update =
                    json!({"assetId": format!("a{}", number % 3), "ts": ts.as_millis() as u64, "n": number});
                let channel = format!("updates:{fleet}");
                link.publish::<_, _, ()>(channel, update.to_string()).await.ok();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
async fn the_doctor_describes_a_cluster_and_is_no_member_of_it() {
    let Pair { redis, node, gateway, .. } = Pair::start("ioredis").await;
    let _updates = Publisher::start(&redis, "fleet-1").await;
    let url = redis.url();
    let args = ["doctor", "--redis-url", &url, "--seconds", "2", "--ping", "--json"];
    let looking = run(&args);
    let busy = async {
        // While it looks, every question is answered: it is not counted.
        tokio::time::sleep(Duration::from_millis(500)).await;
        node.run("io.to('fleet-1').emit('x'); emitter.emit('y'); io.in('fleet-1').socketsJoin('z')").await;
        assert_eq!(node.run("return await io.of('/').adapter.serverCount()").await, 2);
        assert_eq!(node.run("return (await io.fetchSockets()).length").await, 4);
    };
    let ((code, lines), ()) = tokio::join!(looking, busy);
    assert_eq!(code, 0);
    let report = only_json(&lines);
    let survey = &report["survey"];
    assert_eq!(survey["members"], json!({"/": 2}));
    assert!(survey["uids"].as_array().unwrap().contains(&json!(node.uid)), "{survey}");
    assert_eq!(survey["uids"].as_array().unwrap().len(), 2);
    let traffic = &survey["traffic"];
    assert_eq!((&traffic["broadcasts"], &traffic["by_emitter"]), (&json!(2), &json!(1)), "{traffic}");
    assert_eq!((&traffic["remote_joins"], &traffic["unreadable"]), (&json!(1), &json!(0)));
    assert!(traffic["updates"].as_u64().unwrap() > 50, "{traffic}");
    assert!(survey["answers"][0].as_str().unwrap().contains("rust-1"), "{survey}");
    let variables = json!([
        "FLEETCAST_ADAPTER=classic",
        "FLEETCAST_ADAPTER_KEY=socket.io",
        "FLEETCAST_ADAPTER_SUBSCRIBE=pattern"
    ]);
    assert_eq!(report["variables"], variables);
    let is_problem = |finding: &&Value| finding["level"] == "problem";
    assert_eq!(report["findings"].as_array().unwrap().iter().find(is_problem), None);
    assert_eq!(gateway.metric("fleetcast_adapter_malformed_messages_total").await, 0.0);
}

#[tokio::test]
async fn the_doctor_says_what_will_not_work() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let looking = async || run(&["doctor", "--redis-url", &url, "--seconds", "1"]).await;
    let (code, lines) = looking().await;
    assert!(code == 0 && lines.iter().any(|line| line.contains("no member of a cluster")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("needs")), "{lines:?}");
    let node = NodeReplica::builder(&redis.url(), "node-redis").env("ADAPTER", "sharded");
    let node = node.env("ADAPTER_OPTIONS", json!({"channelPrefix": "socket.io"})).start().await;
    node.run("io.of('/admin')").await;
    let (_, lines) = looking().await;
    assert!(lines.iter().any(|line| line.contains("1 members of the sharded adapter")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("problem") && line.contains("/admin")), "{lines:?}");
    let (code, lines) = run(&["doctor", "--redis-url", "redis://127.0.0.1:1/", "--seconds", "1"]).await;
    assert!(code == 1 && lines[0].starts_with("fleetcast: redis"), "{lines:?}");
    assert_eq!(run(&["doctor"]).await.0, 2);
}

#[tokio::test]
async fn the_doctor_hears_a_sharded_cluster_and_is_no_member_of_it() {
    for (mode, setting) in [("dynamic", "interest"), ("dynamic-private", "dynamic-private")] {
        let redis = RedisServer::start().await;
        let options = json!({"subscriptionMode": mode, "requestsTimeout": 2000});
        let node = async |library| {
            let builder = NodeReplica::builder(&redis.url(), library).env("ADAPTER", "sharded");
            builder.env("ADAPTER_OPTIONS", &options).start().await
        };
        let (node, other) = (node("ioredis").await, node("node-redis").await);
        node.wait_members(2).await;
        node.run("io.on('cluster_ping', (ack) => ack({id: 'node-1'}))").await;
        other.run("io.on('cluster_ping', (ack) => ack({id: 'node-2'}))").await;
        node.client("n1", &["fleet-1"], None).await;
        let looking = async {
            let url = redis.url();
            run(&["doctor", "--redis-url", &url, "--seconds", "3", "--ping", "--json"]).await
        };
        let busy = async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                other.run("io.to('fleet-1').emit('x')").await;
                assert_eq!(other.run("return await io.of('/').adapter.serverCount()").await, 2);
                assert_eq!(other.run("return (await io.fetchSockets()).length").await, 1);
            }
        };
        let ((code, lines), ()) = tokio::join!(looking, busy);
        assert_eq!(code, 0);
        let report = only_json(&lines);
        let survey = &report["survey"];
        assert_eq!((&survey["sharded"], &survey["members"]), (&json!({"/": 2}), &json!({})), "{survey}");
        assert_eq!(survey["shard_uids"].as_array().unwrap().len(), 2, "{survey}");
        assert!(survey["shard_uids"].as_array().unwrap().contains(&json!(node.uid)), "{survey}");
        let answers = survey["answers"].to_string();
        assert!(answers.contains("node-1") && answers.contains("node-2"), "{survey}");
        let traffic = &survey["traffic"];
        assert!(traffic["broadcasts"].as_u64().unwrap() >= 10, "{traffic}");
        assert!(traffic["responses"].as_u64().unwrap() >= 10, "{traffic}");
        assert_eq!(traffic["unreadable"], 0);
        let needs = report["variables"].as_array().unwrap();
        assert_eq!(needs[0], "FLEETCAST_ADAPTER=sharded");
        assert_eq!(needs[2], format!("FLEETCAST_ADAPTER_SUBSCRIBE={setting}"));
    }
}

#[tokio::test]
async fn two_gateways_that_do_the_same_compare_equal() {
    let redis = RedisServer::start().await;
    let ours = gateway(&redis).await;
    let node = NodeReplica::start(&redis, "node-redis").await;
    node.run("await relay()").await;
    let _updates = Publisher::start(&redis, "fleet-1").await;
    let args = ["compare", &node.url, &ours.url(), "--fleet", "fleet-1", "--seconds", "6"];
    let (code, lines) = run(&[&args[..], &["--json"]].concat()).await;
    let report = only_json(&lines);
    assert_eq!((code, &report["equal"]), (0, &json!(true)), "{report}");
    assert!(report["matched"].as_u64().unwrap() > 300, "{report}");
    for side in ["first", "second"] {
        let age = report[side]["age_ms"]["p50"].as_f64().unwrap();
        assert!((0.0..1000.0).contains(&age), "{report}");
    }
    // In words as well, and a silent fleet proves nothing.
    let (code, lines) = run(&args).await;
    assert_eq!((code, lines.last().map(String::as_str)), (0, Some("equal")), "{lines:?}");
    let silent = ["compare", &node.url, &ours.url(), "--fleet", "silent", "--seconds", "5"];
    let (code, lines) = run(&silent).await;
    assert!(code == 1 && lines.iter().any(|line| line.contains("proves nothing")), "{lines:?}");
}

#[tokio::test]
async fn every_difference_between_two_gateways_is_told() {
    let redis = RedisServer::start().await;
    let ours = gateway(&redis).await;
    let node = NodeReplica::start(&redis, "node-redis").await;
    // Of a hundred: one lost, one twice, one changed, and one behind the next of its asset.
    let spoil = r#"let held = [];
        await relay((text) => {
            const update = JSON.parse(text);
            switch (update.n % 100) {
                case 10: return [];
                case 20: return [text, text];
                case 30: return [JSON.stringify({ ...update, changed: true })];
                case 40: held = [text]; return [];
                case 43: return [text, ...held];
                default: return [text];
            }
        })"#;
    node.run(spoil).await;
    let _updates = Publisher::start(&redis, "fleet-1").await;
    let args = ["compare", &ours.url(), &node.url, "--fleet", "fleet-1", "--seconds", "8", "--json"];
    let (code, lines) = run(&args).await;
    let report = only_json(&lines);
    assert_eq!((code, &report["equal"]), (1, &json!(false)), "{report}");
    for kind in ["missing", "extra", "differing", "reordered"] {
        let count = report[kind]["count"].as_u64().unwrap();
        assert!((2..=9).contains(&count), "{kind}: {report}");
    }
    // A gateway that is not there is no gateway that is equal.
    let (code, lines) = run(&["compare", &ours.url(), "http://127.0.0.1:1", "--fleet", "f"]).await;
    assert!(code == 1 && lines[0].contains("127.0.0.1:1"), "{lines:?}");
    assert_eq!(run(&["compare", &ours.url(), "http://a/path", "--fleet", "f"]).await.0, 2);
}
