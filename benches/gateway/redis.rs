//! A real redis-server of the benchmark's own, and the publisher that feeds it.
//!
//! Invariant: the publisher keeps its schedule or says by how much it did not; a load that was not offered
//! is never reported as carried.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::crowd::{Clock, Fleets};
use crate::gateway::{await_port, free_port, own_child};
use crate::telemetry::{self, Stamp};

/// Messages due within one tick leave together, as they do from a consumer of batches.
const TICK: Duration = Duration::from_millis(1);

/// A redis-server without persistence; ended when dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    /// Held so that it outlives the server.
    _folder: tempfile::TempDir,
}

impl Redis {
    pub(crate) fn start() -> Result<Self> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let child = own_child("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
            .arg(folder.path())
            .args(["--save", "", "--appendonly", "no", "--maxclients", "1000"])
            // A gateway that falls behind is measured by its lag, not cut off by Redis.
            .args(["--client-output-buffer-limit", "pubsub 0 0 0"])
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start redis-server: is it installed?")?;
        let redis = Self { child, port, _folder: folder };
        await_port(port, Duration::from_secs(10)).context("redis-server does not answer")?;
        Ok(redis)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Channels that somebody is subscribed to and that carry updates.
    pub(crate) fn watched_channels(&self) -> Result<usize> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        let channels: Vec<String> =
            redis::cmd("PUBSUB").arg("CHANNELS").arg("updates:*").query(&mut connection)?;
        Ok(channels.len())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Already gone is as good; the folder goes with the struct.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Some fleets and how often one of them, in turn, has news.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) fleets: std::ops::Range<u32>,
    pub(crate) messages_per_s: f64,
}

/// How the publishing went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    /// The furthest that a message was behind its schedule.
    pub(crate) worst_lag_ms: f64,
}

/// Publishes on its own thread; dropped, it goes on to the end of its time.
#[derive(Debug)]
pub(crate) struct Publisher(JoinHandle<Result<Published>>);

impl Publisher {
    pub(crate) fn start(
        redis: &Redis,
        fleets: &Arc<Fleets>,
        clock: Clock,
        streams: Vec<Stream>,
        span: Duration,
    ) -> Result<Self> {
        let connection = TcpStream::connect(("127.0.0.1", redis.port))?;
        connection.set_nodelay(true)?;
        connection.set_nonblocking(true)?;
        let fleets = Arc::clone(fleets);
        let schedule = Schedule { connection, fleets, clock, batch: Vec::new(), json: Vec::new() };
        let thread = std::thread::Builder::new()
            .name("publisher".into())
            .spawn(move || schedule.run(&streams, span))?;
        Ok(Self(thread))
    }

    pub(crate) fn wait(self) -> Result<Published> {
        self.0.join().ok().context("the publisher panicked")?
    }
}

struct Schedule {
    connection: TcpStream,
    fleets: Arc<Fleets>,
    clock: Clock,
    batch: Vec<u8>,
    json: Vec<u8>,
}

impl Schedule {
    fn run(mut self, streams: &[Stream], span: Duration) -> Result<Published> {
        let start = Instant::now();
        let mut sent = vec![0_u64; streams.len()];
        let mut worst_lag = Duration::ZERO;
        loop {
            let elapsed = start.elapsed().min(span);
            for (stream, sent) in streams.iter().zip(&mut sent) {
                // Counted from the start, so that a late tick is made up for and rounding never adds up.
                let due = (elapsed.as_secs_f64() * stream.messages_per_s) as u64;
                if *sent < due {
                    let lag = elapsed.as_secs_f64() - (*sent + 1) as f64 / stream.messages_per_s;
                    worst_lag = worst_lag.max(Duration::from_secs_f64(lag.max(0.0)));
                }
                for turn in *sent..due {
                    let width = u64::from(stream.fleets.end - stream.fleets.start);
                    self.add(stream.fleets.start + (turn % width) as u32);
                }
                *sent = due;
            }
            self.flush()?;
            if elapsed == span {
                break;
            }
            std::thread::sleep(TICK);
        }
        Ok(Published { worst_lag_ms: worst_lag.as_secs_f64() * 1000.0 })
    }

    fn add(&mut self, fleet: u32) {
        let n = self.fleets.advance(fleet);
        let stamp = Stamp { fleet, asset: telemetry::asset_at(fleet, n), n, sent_ns: self.clock.now_ns() };
        let ts_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        self.json.clear();
        telemetry::write_update(&mut self.json, stamp, ts_ms);
        let channel = format!("updates:{}", telemetry::fleet_name(fleet));
        write!(
            self.batch,
            "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n",
            channel.len(),
            self.json.len()
        )
        .expect("a Vec takes every write");
        self.batch.extend_from_slice(&self.json);
        self.batch.extend_from_slice(b"\r\n");
    }

    fn flush(&mut self) -> Result<()> {
        let mut rest = self.batch.as_slice();
        let mut replies = [0; 4096];
        while !rest.is_empty() {
            match self.connection.write(rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(TICK / 10),
                Err(error) => return Err(error).context("redis-server hung up on the publisher"),
            }
        }
        self.batch.clear();
        loop {
            match self.connection.read(&mut replies) {
                Ok(0) => anyhow::bail!("redis-server hung up on the publisher"),
                Ok(got) => anyhow::ensure!(!replies[..got].contains(&b'-'), "redis-server refused a message"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
