//! A real `redis-server` on a free port, without persistence.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Process, free_port};

const START_LIMIT: Duration = Duration::from_secs(10);
/// Another process may take the port between our look and Redis's bind.
const PORT_ATTEMPTS: usize = 5;

/// A Redis of this test's own; killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    dir: TempDir,
    args: Vec<String>,
    process: Process,
}

impl RedisServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// `args` are appended to the command line, such as `["--maxmemory", "10mb"]`.
    pub async fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            let mut process = run(port, &dir, &args);
            if is_up(&mut process).await {
                return Self { port, dir, args, process };
            }
        }
        panic!("redis-server did not start: is it installed?");
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A plain connection for the test itself.
    pub async fn connect(&self) -> MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// One command, such as `["PUBSUB", "CHANNELS"]`.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connect().await).await.unwrap()
    }

    /// Ends it at once; its data is lost.
    pub fn stop(&mut self) {
        self.process.kill9();
    }

    /// Kills it and starts it again, empty, on the same port.
    pub async fn restart(&mut self) {
        self.stop();
        self.start_again().await;
    }

    /// Starts it again, empty, on the same port after [`RedisServer::stop`].
    pub async fn start_again(&mut self) {
        for _ in 0..PORT_ATTEMPTS {
            self.process = run(self.port, &self.dir, &self.args);
            if is_up(&mut self.process).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("redis-server did not come back on port {}", self.port);
    }

    /// Freezes it: connections stay open, nothing answers.
    pub fn pause(&mut self) {
        self.process.signal(Signal::STOP);
    }

    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }
}

fn run(port: u16, dir: &TempDir, args: &[String]) -> Process {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(dir.path())
        .args(args)
        .stdin(Stdio::null());
    Process::start("redis-server", command)
}

async fn is_up(process: &mut Process) -> bool {
    process
        .find_line(START_LIMIT, |line| line.contains("Ready to accept connections").then_some(()))
        .await
        .is_some()
}
