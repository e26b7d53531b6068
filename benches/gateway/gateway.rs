//! The gateways under test: how each is started, on which core, and what it uses while it runs.
//!
//! Invariant: every gateway is a process of its own, pinned alike, and ends with the benchmark.

use std::fmt;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::machine::{self, Cores};
use crate::redis::Redis;

/// Longest start of any gateway.
const START_PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The binary, and whether its admission of handshakes stays at its default rate.
    Fleetcast { binary: PathBuf, is_paced: bool },
    /// A script in `benches/peers/node`.
    Node(&'static str),
    /// A subcommand of this program.
    Here(&'static str),
}

/// One gateway that can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    kind: Kind,
}

impl Peer {
    /// Parses `raw`, `fleetcast`, …, or `name=path` for another build of Fleetcast.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let fleetcast = |binary: &str, is_paced| Kind::Fleetcast { binary: PathBuf::from(binary), is_paced };
        let own = env!("CARGO_BIN_EXE_fleetcast");
        let kind = match text.split_once('=') {
            Some((_, path)) => fleetcast(path, false),
            None => match text {
                // Another way to use it is another peer: its viewers have the old gateway's contract.
                "fleetcast" | "fleetcast-each" => fleetcast(own, false),
                "fleetcast-paced" => fleetcast(own, true),
                "node-fixed" => Kind::Node("gateway-fixed.mjs"),
                "node-leaky" => Kind::Node("gateway-leaky.mjs"),
                "socketioxide" => Kind::Here("socketioxide"),
                "raw" => Kind::Here("raw"),
                _ => anyhow::bail!(
                    "no peer is called {text}: raw, fleetcast, fleetcast-paced, fleetcast-each, socketioxide, node-fixed, node-leaky, name=path"
                ),
            },
        };
        let name = text.split('=').next().unwrap_or(text).to_owned();
        Ok(Self { name, kind })
    }

    /// A reason why it cannot run here, if there is one.
    pub(crate) fn missing(&self) -> Option<String> {
        match &self.kind {
            Kind::Fleetcast { binary, .. } if !binary.exists() => {
                Some(format!("{} is not built", binary.display()))
            }
            Kind::Node(_) if !node_folder().join("node_modules").exists() => {
                Some("run `npm ci` in benches/peers/node".to_owned())
            }
            _ => None,
        }
    }

    fn command(&self, port: u16, admin_port: u16, redis: &Redis) -> Result<Command> {
        let mut command = match &self.kind {
            Kind::Fleetcast { binary, is_paced } => {
                let mut command = own_child(&binary.display().to_string());
                command
                    .arg("serve")
                    .env("FLEETCAST_LISTEN", format!("127.0.0.1:{port}"))
                    .env("FLEETCAST_ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
                    .env("FLEETCAST_SOURCE", "redis")
                    .env("FLEETCAST_REDIS_URL", redis.url())
                    .env("FLEETCAST_AUTH", "none")
                    .env("FLEETCAST_LOG", "warn");
                if !is_paced {
                    command.env("FLEETCAST_CONNECT_RATE", "1000000/s");
                }
                command
            }
            Kind::Node(script) => {
                let mut command = own_child("node");
                command.arg(node_folder().join(script));
                command
            }
            Kind::Here(name) => {
                let mut command = own_child(&std::env::current_exe()?.display().to_string());
                command.args(["peer", name]);
                command
            }
        };
        command.env("PORT", port.to_string()).env("REDIS_URL", redis.url());
        Ok(command)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A gateway that runs; ended when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    pub(crate) port: u16,
    admin_port: Option<u16>,
}

impl Gateway {
    /// Starts it on the server's cores; what it prints goes to `<logs>/<name>.log`.
    pub(crate) fn start(peer: &Peer, redis: &Redis, cores: &Cores, logs: &Path) -> Result<Self> {
        let (port, admin_port) = (free_port()?, free_port()?);
        fs::create_dir_all(logs)?;
        let log = logs.join(format!("{peer}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let mut command = peer.command(port, admin_port, redis)?;
        command.stdout(file.try_clone()?).stderr(file).stdin(Stdio::null());
        // A child inherits the affinity of the thread that starts it.
        machine::pin(&cores.server)?;
        let child = command.spawn();
        machine::pin(&cores.load)?;
        let has_metrics = matches!(peer.kind, Kind::Fleetcast { .. });
        let child = child.with_context(|| format!("cannot start {peer}"))?;
        let gateway = Self { child, port, admin_port: has_metrics.then_some(admin_port) };
        await_port(port, START_PATIENCE)
            .with_context(|| format!("{peer} does not listen: see {}", log.display()))?;
        if has_metrics {
            await_ready(admin_port).with_context(|| format!("{peer} is not ready: see {}", log.display()))?;
        }
        Ok(gateway)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu_us(&self) -> Result<f64> {
        machine::cpu_us(self.pid())
    }

    pub(crate) fn rss_mb(&self) -> Result<f64> {
        Ok(machine::rss_bytes(self.pid())? / 1e6)
    }

    /// The runtime's lag so far, as far as the gateway tells it: bounds in seconds, and samples up to each.
    pub(crate) fn runtime_lag(&self) -> Option<Vec<(f64, u64)>> {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port?)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let bucket = |line: &str| {
            let rest = line.strip_prefix("fleetcast_runtime_lag_seconds_bucket{le=\"")?;
            let (bound, count) = rest.split_once("\"} ")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), count.trim().parse().ok()?))
        };
        Some(text.lines().filter_map(bucket).collect())
    }
}

/// The 99th percentile of what came between two looks at a histogram: the bound of its bucket, in ms.
pub(crate) fn p99_ms_between(before: &[(f64, u64)], after: &[(f64, u64)]) -> Option<f64> {
    let new: Vec<(f64, u64)> =
        before.iter().zip(after).map(|((_, old), (bound, new))| (*bound, new - old)).collect();
    let (_, all) = new.last()?;
    let enough = |(_, count): &&(f64, u64)| *count as f64 >= 0.99 * *all as f64;
    new.iter().find(enough).map(|(bound, _)| bound * 1000.0)
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A command whose process dies with this one, even when this one is killed.
pub(crate) fn own_child(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until something listens.
pub(crate) fn await_port(port: u16, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    while let Err(error) = TcpStream::connect(("127.0.0.1", port)) {
        anyhow::ensure!(Instant::now() < deadline, "port {port}: {error}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn await_ready(admin_port: u16) -> Result<()> {
    use std::io::{Read, Write};
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let mut answer = [0; 12];
        let ready = TcpStream::connect(("127.0.0.1", admin_port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
            stream.read_exact(&mut answer)
        });
        if ready.is_ok() && &answer == b"HTTP/1.1 200" {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "/readyz: {}", String::from_utf8_lossy(&answer));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn node_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/node")
}
