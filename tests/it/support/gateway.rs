//! The built `fleetcast` binary as a child process on free ports, driven as an operator would.

use std::{path::PathBuf, process::Command, process::ExitStatus, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use super::{PATIENCE, Process, RedisServer, eventually_within};

/// What the next gateway is started with.
#[derive(Debug)]
pub struct GatewayBuilder {
    command: String,
    env: Vec<(String, String)>,
    args: Vec<String>,
    start_limit: Duration,
}

/// A running gateway; killed when dropped, its log printed when the test fails.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    public: String,
    admin: String,
}

impl Gateway {
    /// `serve` on two free loopback ports without authentication; source and store are up to the test.
    pub fn builder() -> GatewayBuilder {
        let env = [
            ("FLEETCAST_LISTEN", "127.0.0.1:0"),
            ("FLEETCAST_ADMIN_LISTEN", "127.0.0.1:0"),
            ("FLEETCAST_AUTH", "none"),
            ("FLEETCAST_LOG_FORMAT", "json"),
            // Tests count updates and keys to the last one.
            ("FLEETCAST_CANARY_INTERVAL", "0s"),
        ];
        GatewayBuilder {
            command: "serve".to_owned(),
            env: env.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            args: Vec::new(),
            start_limit: PATIENCE,
        }
    }

    /// `http://127.0.0.1:<port>` of the public port.
    pub fn url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// `ws://127.0.0.1:<port>` of the public port.
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.public)
    }

    /// `127.0.0.1:<port>` of the public port.
    pub fn addr(&self) -> &str {
        &self.public
    }

    /// `127.0.0.1:<port>` of the admin port.
    pub fn admin_addr(&self) -> &str {
        &self.admin
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// GET on the admin port: status code and body.
    pub async fn admin_get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin);
        let response = reqwest::get(&url).await.unwrap_or_else(|err| panic!("GET {url}: {err}"));
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The sum of all samples of a metric. `name` may carry labels, which must all match:
    /// `fleetcast_connections{transport="websocket"}`. An absent metric counts as 0.
    pub async fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.admin_get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        let (name, labels) = split_labels(name);
        parse_metrics(&text)
            .iter()
            .filter(|sample| sample.name == name && labels.iter().all(|label| sample.labels.contains(label)))
            .map(|sample| sample.value)
            .sum()
    }

    /// Waits until a metric has a value.
    pub async fn wait_metric(&self, name: &str, wanted: f64) {
        let claim = format!("metric {name} is {wanted}");
        eventually_within(PATIENCE, &claim, || async { self.metric(name).await == wanted }).await;
    }

    /// Waits until `/readyz` answers 200.
    pub async fn wait_ready(&self) {
        let ready = || async { self.admin_get("/readyz").await.0 == 200 };
        eventually_within(PATIENCE, "the gateway is ready", ready).await;
    }

    /// Every JSON log line so far.
    pub fn log(&self) -> Vec<Value> {
        self.process.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a log line whose message is `message` and answers it.
    pub async fn wait_log(&mut self, message: &str) -> Value {
        self.process.wait_line(PATIENCE, message, |line| with_message(line, message)).await
    }

    /// Open file descriptors of the process.
    pub fn open_fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Resident memory of the process in bytes.
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    pub fn sigterm(&mut self) {
        self.process.signal(Signal::TERM);
    }

    /// Freezes the process: its connections stay open, nothing answers.
    pub fn pause(&mut self) {
        self.process.signal(Signal::STOP);
    }

    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait_exit(limit).await
    }
}

impl GatewayBuilder {
    /// Another command than `serve`.
    pub fn command(mut self, command: &str) -> Self {
        self.command = command.to_owned();
        self
    }

    /// Sets an environment variable; later ones win.
    pub fn env(mut self, key: &str, value: impl ToString) -> Self {
        self.env.push((key.to_owned(), value.to_string()));
        self
    }

    /// Leaves out a variable that the builder sets by itself.
    pub fn without_env(mut self, key: &str) -> Self {
        self.env.retain(|(name, _)| name != key);
        self
    }

    pub fn arg(mut self, arg: impl ToString) -> Self {
        self.args.push(arg.to_string());
        self
    }

    pub fn redis(self, redis: &RedisServer) -> Self {
        self.env("FLEETCAST_REDIS_URL", redis.url())
    }

    /// The source kafka, in a group of the topics' own.
    pub fn kafka(self, brokers: &str, topics: &str) -> Self {
        self.env("FLEETCAST_SOURCE", "kafka")
            .env("FLEETCAST_KAFKA_BROKERS", brokers)
            .env("FLEETCAST_KAFKA_TOPICS", topics)
            .env("FLEETCAST_KAFKA_GROUP", format!("{topics} group"))
    }

    /// How long the gateway may take until it listens.
    pub fn start_limit(mut self, limit: Duration) -> Self {
        self.start_limit = limit;
        self
    }

    /// Starts the process and waits until it listens; panics with its log when it does not.
    pub async fn start(self) -> Gateway {
        let limit = self.start_limit;
        let mut process = self.spawn();
        let listening = process.wait_line(limit, "`listening`", |line| with_message(line, "listening")).await;
        let addr = |field: &str| listening[field].as_str().expect("`listening` names both ports").to_owned();
        Gateway { public: addr("public"), admin: addr("admin"), process }
    }

    /// Starts the process without waiting: for starts that are meant to fail.
    pub fn spawn(self) -> Process {
        let mut command = Command::new(binary());
        // Neither the developer's shell nor the CI may configure the gateway under test.
        for (key, _) in std::env::vars() {
            let ours = key.starts_with("FLEETCAST_");
            if ours || ["RUST_LOG", "NO_COLOR", "PORT", "REDIS_URL", "MALLOC_CONF"].contains(&key.as_str()) {
                command.env_remove(key);
            }
        }
        command.arg(&self.command).args(&self.args).envs(self.env);
        Process::start("fleetcast", command)
    }
}

/// The gateway under test: the one cargo has just built, or `FLEETCAST_TEST_BINARY`.
fn binary() -> PathBuf {
    std::env::var_os("FLEETCAST_TEST_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_fleetcast")), PathBuf::from)
}

fn with_message(line: &str, message: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value["message"] == message).then_some(value)
}

/// One line of `/metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    /// `key="value"`, each.
    pub labels: Vec<String>,
    pub value: f64,
}

/// Reads the text format; panics on a line that is neither a comment nor a sample.
pub fn parse_metrics(text: &str) -> Vec<Sample> {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
        let (name, labels) = split_labels(series);
        let value = value.parse().unwrap_or_else(|_| panic!("not a value: {line}"));
        Sample { name: name.to_owned(), labels, value }
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample).collect()
}

/// Splits `name{a="1",b="2"}`. Our label values never hold a comma.
fn split_labels(series: &str) -> (&str, Vec<String>) {
    match series.split_once('{') {
        None => (series, Vec::new()),
        Some((name, labels)) => (
            name,
            labels.trim_end_matches('}').split(',').filter(|l| !l.is_empty()).map(str::to_owned).collect(),
        ),
    }
}
