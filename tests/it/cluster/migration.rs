//! `docs/MIGRATION.md`, walked: all Node, mixed, all Fleetcast, and back, with dashboards that count every
//! message. Commands and settings are read from the page.

use std::{collections::BTreeSet, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    node::NodeReplica,
    tools::{Publisher, run},
};
use crate::support::{Gateway, RedisServer, eventually};

/// What the page says, and which of it has been done.
struct Page {
    text: String,
    done: BTreeSet<String>,
}

impl Page {
    /// For a cluster with the classic adapter, or with the other one, as the page says.
    fn open(adapter: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/MIGRATION.md");
        let text = std::fs::read_to_string(path).unwrap();
        let setting = "\nFLEETCAST_ADAPTER=classic\n";
        assert!(text.contains(setting) && text.contains("`FLEETCAST_ADAPTER=sharded` in every step"));
        let text = text.replace(setting, &format!("\nFLEETCAST_ADAPTER={adapter}\n"));
        Self { text, done: BTreeSet::new() }
    }

    fn block(&self, language: &str) -> impl Iterator<Item = &str> {
        let blocks = self.text.split("```").skip(1).step_by(2);
        blocks.filter_map(move |block| block.strip_prefix(language)?.strip_prefix('\n')).flat_map(str::lines)
    }

    /// The page's command of that name, with `$` names filled in.
    fn command(&mut self, name: &str, values: &[(&str, &str)]) -> Vec<String> {
        let starts = format!("fleetcast {name}");
        let line = self.block("sh").find(|line| line.starts_with(&starts)).unwrap().to_owned();
        self.done.insert(line.clone());
        let filled = values.iter().fold(line, |line, (name, value)| line.replace(name, value));
        assert!(!filled.contains('$'), "{filled}");
        filled.split(' ').skip(1).map(str::to_owned).collect()
    }

    /// A Fleetcast replica with the page's settings.
    async fn serve(&mut self, redis: &RedisServer) -> Gateway {
        let [command] = &self.command("serve", &[])[..] else { panic!("serve has options") };
        let settings = self.block("env").map(|line| line.split_once('=').unwrap());
        let bare = Gateway::builder().command(command).without_env("FLEETCAST_AUTH");
        let builder = settings.fold(bare, |builder, (name, value)| {
            builder.env(name, value.replace("$REDIS_URL", &redis.url()))
        });
        let gateway = builder.start().await;
        gateway.wait_ready().await;
        gateway
    }

    async fn doctor(&mut self, redis: &RedisServer) {
        let args = self.command("doctor", &[("$REDIS_URL", &redis.url())]);
        let (code, lines) = run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert!(code == 0 && !lines.iter().any(|line| line.starts_with("problem")), "{lines:?}");
        let needs: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("needs    ")).collect();
        assert!(needs.len() == 3 && needs.iter().all(|need| self.block("env").any(|line| line == *need)));
    }

    async fn compare(&mut self, node: &NodeReplica, gateway: &Gateway) {
        let node = node.url.strip_prefix("http://").unwrap();
        let args = self.command("compare", &[("$NODE", node), ("$FLEETCAST", gateway.addr())]);
        let (code, lines) = run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!((code, lines.last().map(String::as_str)), (0, Some("equal")), "{lines:?}");
    }

    fn finish(&self) {
        for line in self.block("sh") {
            assert!(self.done.contains(line), "not walked: {line}");
        }
    }
}

/// A dashboard that moves: it connects to the next replica before it leaves the last, so that only what
/// the gateways lose can be lost.
struct Dashboard {
    name: &'static str,
    sessions: usize,
}

impl Dashboard {
    async fn connect(&mut self, back_end: &NodeReplica, url: &str) {
        let name = format!("{}-{}", self.name, self.sessions);
        back_end.client_at(url, &name, &["fleet-1"], None, &json!({})).await;
        self.sessions += 1;
    }

    async fn move_to(&mut self, back_end: &NodeReplica, url: &str) {
        let last = format!("{}-{}", self.name, self.sessions - 1);
        self.connect(back_end, url).await;
        // Both hear the same for a while.
        tokio::time::sleep(Duration::from_millis(500)).await;
        back_end.run(&format!("kill('{last}')")).await;
    }

    /// No session may have a hole or a repetition, nor all of them together a hole.
    async fn check(&self, back_end: &NodeReplica) {
        for (event, min) in [("fleet_update", 500), ("mail", 500)] {
            let mut all: BTreeSet<u64> = BTreeSet::new();
            for session in 0..self.sessions {
                let name = format!("{}-{session}", self.name);
                let number = |message: &Value| match &message[1] {
                    Value::String(text) => serde_json::from_str::<Value>(text).unwrap()["n"].as_u64(),
                    other => other.as_u64(),
                };
                let received = back_end.received(&name).await;
                let events = received.iter().filter(|message| message[0] == event);
                let numbers: Vec<u64> = events.map(|message| number(message).unwrap()).collect();
                let first = *numbers.first().unwrap_or_else(|| panic!("{name}: no {event}"));
                let expected: Vec<u64> = (first..first + numbers.len() as u64).collect();
                assert_eq!(numbers, expected, "{name}: {event}");
                all.extend(numbers);
            }
            let (first, last) = (*all.first().unwrap(), *all.last().unwrap());
            assert_eq!(last - first + 1, all.len() as u64, "{}: {event} has holes", self.name);
            assert!(all.len() > min, "{}: only {} {event}", self.name, all.len());
        }
    }
}

async fn node_gateway(redis: &RedisServer, library: &str, adapter: &str) -> NodeReplica {
    let node = NodeReplica::builder(&redis.url(), library).env("ADAPTER", adapter).start().await;
    node.run("await relay()").await;
    node
}

/// What Redis counts as members.
async fn members(redis: &RedisServer, adapter: &str, count: usize) {
    let numsub: &[&str] = match adapter {
        "sharded" => &["PUBSUB", "SHARDNUMSUB", "socket.io#/#"],
        _ => &["PUBSUB", "NUMSUB", "socket.io-request#/#"],
    };
    eventually(&format!("{count} members"), async || {
        redis.command::<(String, usize)>(numsub).await.1 == count
    })
    .await;
}

#[tokio::test]
async fn the_page_leads_to_fleetcast_and_back_without_a_lost_message() {
    walk("classic").await;
}

#[tokio::test]
async fn the_page_leads_there_and_back_with_the_sharded_adapter_too() {
    walk("sharded").await;
}

async fn walk(adapter: &str) {
    let mut page = Page::open(adapter);
    let redis = RedisServer::start().await;
    let node_gateway = async |library: &str| node_gateway(&redis, library, adapter).await;
    let (first, second) = (node_gateway("node-redis").await, node_gateway("ioredis").await);
    // A service that emits, and hosts the dashboards. The emitter is no member; the sharded adapter has none, so
    // there the service is one.
    let back_end = NodeReplica::builder(&redis.url(), "node-redis").env("ADAPTER", adapter);
    let (back_end, emitter, more) = match adapter {
        "sharded" => (back_end, "io", 1),
        _ => (back_end.env("EMITTER_ONLY", "1"), "emitter", 0),
    };
    let back_end = back_end.start().await;
    let members = async |count: usize| members(&redis, adapter, count + more).await;
    members(2).await;
    let (mut a, mut b) = (Dashboard { name: "a", sessions: 0 }, Dashboard { name: "b", sessions: 0 });
    a.connect(&back_end, &first.url).await;
    b.connect(&back_end, &second.url).await;
    let _updates = Publisher::start(&redis, "fleet-1").await;
    let mails = format!("let i = 0; setInterval(() => {emitter}.to('fleet-1').emit('mail', i++), 10)");
    back_end.run(&mails).await;

    page.doctor(&redis).await;
    let third = page.serve(&redis).await;
    members(3).await;
    page.compare(&first, &third).await;

    a.move_to(&back_end, &third.url()).await;
    assert_eq!(second.run("return (await io.in('fleet-1').fetchSockets()).length").await, 2);
    drop(first);
    members(2).await;
    let fourth = page.serve(&redis).await;
    b.move_to(&back_end, &fourth.url()).await;
    drop(second);
    members(2).await;
    // All Fleetcast; and back.
    let fifth = node_gateway("ioredis").await;
    members(3).await;
    page.compare(&fifth, &third).await;
    for (dashboard, mut gateway) in [(&mut a, third), (&mut b, fourth)] {
        dashboard.move_to(&back_end, &fifth.url).await;
        gateway.sigterm();
        assert!(gateway.wait_exit(Duration::from_secs(40)).await.success());
    }
    members(1).await;
    assert_eq!(fifth.run("return (await io.in('fleet-1').fetchSockets()).length").await, 2);
    for dashboard in [a, b] {
        dashboard.check(&back_end).await;
    }
    page.finish();
}
