//! A real Node replica as a child process, driven with JavaScript.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Process, RedisServer, eventually, node};

/// Which Redis library the replica uses.
pub const LIBRARIES: [&str; 2] = ["node-redis", "ioredis"];

#[derive(Debug)]
pub struct NodeReplica {
    process: Process,
    control: String,
    pub uid: String,
    /// Where dashboards connect.
    pub url: String,
}

pub struct Builder(node::Script);

impl NodeReplica {
    /// A replica with the classic adapter in its defaults.
    pub async fn start(redis: &RedisServer, library: &str) -> Self {
        Self::builder(&redis.url(), library).start().await
    }

    pub fn builder(redis_url: &str, library: &str) -> Builder {
        let script = node::script("cluster-member.mjs").env("REDIS_URL", redis_url);
        Builder(script.env("REDIS_CLIENT", library))
    }

    /// Runs the body of an async function in the replica and returns what that returned; `input` is in
    /// its scope.
    pub async fn try_run(&self, body: &str, input: &Value) -> Result<Value, Value> {
        let request = reqwest::Client::new().post(&self.control).body(format!("{input}\n{body}"));
        let response = request.timeout(PATIENCE).send().await;
        let response = response.unwrap_or_else(|error| panic!("node replica died of {body}: {error}"));
        let mut result: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        match result.get_mut("error") {
            Some(error) if error != "null" => Err(result),
            _ => Ok(result["ok"].take()),
        }
    }

    pub async fn run(&self, body: &str) -> Value {
        self.try_run(body, &Value::Null).await.unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    /// Connects a stock dashboard to the replica; returns its socket's id.
    pub async fn client(&self, name: &str, rooms: &[&str], reply: Option<Value>) -> String {
        self.connect(name, rooms, reply, &json!({})).await
    }

    /// Connects a stock dashboard to the gateway at `url`, with the options of `io()` and `version`;
    /// returns its socket's id.
    pub async fn client_at(
        &self,
        url: &str,
        name: &str,
        rooms: &[&str],
        reply: Option<Value>,
        options: &Value,
    ) -> String {
        let mut options = options.clone();
        options["url"] = url.into();
        self.connect(name, rooms, reply, &options).await
    }

    async fn connect(&self, name: &str, rooms: &[&str], reply: Option<Value>, options: &Value) -> String {
        let reply = reply.map_or_else(|| "undefined".to_owned(), |reply| reply.to_string());
        let rooms = serde_json::to_string(rooms).unwrap();
        let body = format!("return await client('{name}', {rooms}, {reply}, {options})");
        self.run(&body).await.as_str().unwrap().to_owned()
    }

    /// The events that the dashboard got, as arrays.
    pub async fn received(&self, name: &str) -> Vec<Value> {
        let Value::Array(events) = self.run(&format!("return received('{name}')")).await else { panic!() };
        events
    }

    /// Waits until the dashboard has got exactly these.
    pub async fn wait_received(&self, name: &str, expected: &[Value]) {
        let claim = format!("{name} got {} events", expected.len());
        let mut last = Vec::new();
        let same = tokio::time::timeout(PATIENCE, async {
            while last != expected {
                last = self.received(name).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if same.await.is_err() {
            let at = last.iter().zip(expected).take_while(|(got, wanted)| got == wanted).count();
            let (got, wanted) = (last.get(at), expected.get(at));
            panic!("not true: {claim}; {} came, event {at} is {got:?} instead of {wanted:?}", last.len());
        }
    }

    /// Waits until the replica counts so many members.
    pub async fn wait_members(&self, count: u64) {
        let members = || async { self.run("return await io.of('/').adapter.serverCount()").await == count };
        eventually(&format!("{count} members"), members).await;
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().is_none()
    }

    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    pub fn signal(&mut self, signal: rustix::process::Signal) {
        self.process.signal(signal);
    }
}

impl Builder {
    pub fn env(self, key: &str, value: impl ToString) -> Self {
        Self(self.0.env(key, value))
    }

    pub async fn start(self) -> NodeReplica {
        let mut process = self.0.spawn();
        let facts = process.wait_line(Duration::from_secs(60), "its ports", |line| {
            serde_json::from_str::<Value>(line).ok().filter(|facts| facts["control"].is_number())
        });
        let facts = facts.await;
        NodeReplica {
            control: format!("http://127.0.0.1:{}", facts["control"]),
            uid: facts["uid"].as_str().unwrap().to_owned(),
            url: format!("http://127.0.0.1:{}", facts["public"]),
            process,
        }
    }
}
