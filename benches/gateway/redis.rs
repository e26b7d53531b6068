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
use crate::world::World;

/// Messages due within one tick leave together, as they do from a consumer of batches.
const TICK: Duration = Duration::from_millis(1);

/// How long the last messages may be on their way to Redis.
const ANSWERS_PATIENCE: Duration = Duration::from_secs(20);

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
        let (rates, fleets) = (streams.iter().map(|stream| stream.messages_per_s).collect(), fleets.clone());
        let mut json = Vec::new();
        Self::drive(redis, rates, span, move |batch, stream, turn| {
            let stream = &streams[stream];
            let width = u64::from(stream.fleets.end - stream.fleets.start);
            let fleet = stream.fleets.start + (turn % width) as u32;
            let n = fleets.advance(fleet);
            let stamp = Stamp { fleet, asset: telemetry::asset_at(fleet, n), n, sent_ns: clock.now_ns() };
            json.clear();
            telemetry::write_update(&mut json, stamp, ts_ms());
            publish(batch, fleet, &json);
        })
    }

    /// What the assets of a world say, one after the other.
    pub(crate) fn speaking(
        redis: &Redis,
        world: &Arc<World>,
        clock: Clock,
        messages_per_s: f64,
        span: Duration,
    ) -> Result<Self> {
        let (world, mut json) = (world.clone(), Vec::new());
        Self::drive(redis, vec![messages_per_s], span, move |batch, _, turn| {
            json.clear();
            let fleet = world.speak(turn, clock.now_ns(), ts_ms(), &mut json);
            publish(batch, fleet, &json);
        })
    }

    /// Adds the messages that are due of each stream, by its place and their own.
    fn drive(
        redis: &Redis,
        rates: Vec<f64>,
        span: Duration,
        add: impl FnMut(&mut Vec<u8>, usize, u64) + Send + 'static,
    ) -> Result<Self> {
        let connection = TcpStream::connect(("127.0.0.1", redis.port))?;
        connection.set_nodelay(true)?;
        connection.set_nonblocking(true)?;
        let schedule = Schedule { connection, batch: Vec::new(), answered: 0 };
        let thread = std::thread::Builder::new()
            .name("publisher".into())
            .spawn(move || schedule.run(&rates, span, add))?;
        Ok(Self(thread))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.0.is_finished()
    }

    pub(crate) fn wait(self) -> Result<Published> {
        self.0.join().ok().context("the publisher panicked")?
    }
}

struct Schedule {
    connection: TcpStream,
    batch: Vec<u8>,
    /// Messages that Redis has taken.
    answered: u64,
}

impl Schedule {
    fn run(
        mut self,
        rates: &[f64],
        span: Duration,
        mut add: impl FnMut(&mut Vec<u8>, usize, u64),
    ) -> Result<Published> {
        let start = Instant::now();
        let mut sent = vec![0_u64; rates.len()];
        let mut worst_lag = Duration::ZERO;
        loop {
            let elapsed = start.elapsed().min(span);
            for (stream, (messages_per_s, sent)) in rates.iter().zip(&mut sent).enumerate() {
                // Counted from the start, so that a late tick is made up for and rounding never adds up.
                let due = (elapsed.as_secs_f64() * messages_per_s) as u64;
                if *sent < due {
                    let lag = elapsed.as_secs_f64() - (*sent + 1) as f64 / messages_per_s;
                    worst_lag = worst_lag.max(Duration::from_secs_f64(lag.max(0.0)));
                }
                for turn in *sent..due {
                    add(&mut self.batch, stream, turn);
                }
                *sent = due;
            }
            self.flush()?;
            if elapsed == span {
                break;
            }
            std::thread::sleep(TICK);
        }
        // A connection that is closed with answers on their way takes what Redis has not read along.
        let deadline = Instant::now() + ANSWERS_PATIENCE;
        while self.answered < sent.iter().sum() {
            anyhow::ensure!(Instant::now() < deadline, "redis-server does not take what is published");
            self.read_answers()?;
            std::thread::sleep(TICK);
        }
        Ok(Published { worst_lag_ms: worst_lag.as_secs_f64() * 1000.0 })
    }

    fn flush(&mut self) -> Result<()> {
        let mut rest = self.batch.as_slice();
        while !rest.is_empty() {
            match self.connection.write(rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(TICK / 10),
                Err(error) => return Err(error).context("redis-server hung up on the publisher"),
            }
        }
        self.batch.clear();
        self.read_answers()
    }

    fn read_answers(&mut self) -> Result<()> {
        let mut replies = [0; 4096];
        loop {
            match self.connection.read(&mut replies) {
                Ok(0) => anyhow::bail!("redis-server hung up on the publisher"),
                Ok(got) => {
                    let replies = &replies[..got];
                    anyhow::ensure!(!replies.contains(&b'-'), "redis-server refused a message");
                    self.answered += replies.iter().filter(|byte| **byte == b'\n').count() as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn ts_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Appends the command.
fn publish(batch: &mut Vec<u8>, fleet: u32, json: &[u8]) {
    let channel = format!("updates:{}", telemetry::fleet_name(fleet));
    write!(batch, "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n", channel.len(), json.len())
        .expect("a Vec takes every write");
    batch.extend_from_slice(json);
    batch.extend_from_slice(b"\r\n");
}
