//! One viewer: from the TCP connection through the handshakes to checked deliveries.
//!
//! Invariant: between two events a viewer holds no buffer but the start of a frame that is not whole yet.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use socket2::{Domain, SockRef, Socket, Type};

use super::tally::{Sequence, Tally};
use super::{Group, Plan};
use crate::telemetry;
use crate::wire::{self, Answer, Frame};

/// Source addresses that take turns: each has its own range of ports.
const SOURCES: u8 = 8;

/// Receive buffer of a slow reader: what it does not read must wait at the gateway, not here.
const SLOW_RECEIVE_BUFFER: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Upgrading,
    Joining,
    Live,
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Waiting,
    /// CONNECT was answered just now.
    Joined,
    /// Closed, refused or broken.
    Gone,
}

#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) stream: TcpStream,
    pub(super) plan: Plan,
    pub(super) serial: u64,
    pub(super) attempt: u32,
    pub(super) sequence: Sequence,
    phase: Phase,
    partial: Vec<u8>,
}

impl Viewer {
    /// Starts a connection; completion shows as an event.
    pub(super) fn connect(port: u16, plan: Plan, serial: u64, attempt: u32) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).context("cannot make a socket")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if plan.bytes_per_s.is_some() {
            socket.set_recv_buffer_size(SLOW_RECEIVE_BUFFER)?;
        }
        let source = Ipv4Addr::new(127, 0, 0, 1 + (serial % u64::from(SOURCES)) as u8);
        socket.bind(&SocketAddr::from((source, 0)).into()).context("no source port left")?;
        match socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error.into());
            }
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        Ok(Self {
            stream,
            plan,
            serial,
            attempt,
            sequence: Sequence::default(),
            phase: Phase::Connecting,
            partial: Vec::new(),
        })
    }

    pub(super) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// A viewer that reads at its own pace is not read when data arrives.
    pub(super) fn is_paced(&self) -> bool {
        self.is_live() && self.plan.bytes_per_s.is_some()
    }

    /// Handles readiness: reads until the socket is empty.
    pub(super) fn on_ready(
        &mut self,
        port: u16,
        buffer: &mut [u8],
        clock: Clock,
        tally: &mut Tally,
    ) -> Outcome {
        if self.phase == Phase::Connecting && self.request(port).is_err() {
            return Outcome::Gone;
        }
        let mut outcome = Outcome::Waiting;
        loop {
            match self.read(buffer, usize::MAX, clock, tally) {
                Ok((Outcome::Gone, _)) | Err(_) => return Outcome::Gone,
                Ok((step, drained)) => {
                    if step == Outcome::Joined {
                        outcome = step;
                    }
                    // A paced viewer stops reading the moment it has joined.
                    if drained || self.is_paced() {
                        return outcome;
                    }
                }
            }
        }
    }

    /// Reads once, at most `budget` bytes, and handles every whole frame. The flag: nothing is left.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        budget: usize,
        clock: Clock,
        tally: &mut Tally,
    ) -> Result<(Outcome, bool)> {
        let carried = self.partial.len();
        anyhow::ensure!(carried < buffer.len(), "frame is larger than the read buffer");
        buffer[..carried].copy_from_slice(&self.partial);
        let room = buffer.len().min(carried.saturating_add(budget));
        let got = match self.stream.read(&mut buffer[carried..room]) {
            Ok(0) => return Ok((Outcome::Gone, true)),
            Ok(got) => got,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected
                ) =>
            {
                return Ok((Outcome::Waiting, true));
            }
            Err(error) => return Err(error.into()),
        };
        let filled = carried + got;
        let (used, outcome) = self.consume(&buffer[..filled], clock, tally)?;
        self.partial.clear();
        self.partial.extend_from_slice(&buffer[used..filled]);
        if self.partial.is_empty() && self.partial.capacity() > 0 {
            self.partial = Vec::new();
        }
        // A short read on a stream means that it is empty: saves the read that would only say so.
        Ok((outcome, filled < room))
    }

    /// Leaves: with a websocket close frame, or as a network that vanishes and resets.
    pub(super) fn leave(mut self, goodbye: bool) {
        // Nobody waits for the answer to either: a viewer that is gone is gone.
        if goodbye {
            drop(self.stream.write(wire::GOODBYE));
        } else {
            drop(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
        }
    }

    fn request(&mut self, port: u16) -> Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        let request = wire::upgrade_request(port, Some(&telemetry::fleet_name(self.plan.fleet)));
        match self.stream.write(&request) {
            Ok(sent) if sent == request.len() => self.phase = Phase::Upgrading,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Ok(_) => anyhow::bail!("a fresh socket took half a request"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn consume(&mut self, bytes: &[u8], clock: Clock, tally: &mut Tally) -> Result<(usize, Outcome)> {
        let mut used = 0;
        let mut outcome = Outcome::Waiting;
        if self.phase == Phase::Upgrading {
            match wire::read_answer(bytes)? {
                Answer::Partial => return Ok((0, outcome)),
                Answer::Busy => return Ok((bytes.len(), Outcome::Gone)),
                Answer::Upgraded(len) => used = len,
            }
            self.phase = Phase::Joining;
        }
        let now_ns = clock.now_ns();
        while let Some((frame, len)) = wire::next_frame(&bytes[used..])? {
            used += len;
            match self.on_frame(frame, now_ns, tally)? {
                Outcome::Waiting => {}
                Outcome::Joined => outcome = Outcome::Joined,
                Outcome::Gone => return Ok((used, Outcome::Gone)),
            }
        }
        Ok((used, outcome))
    }

    fn on_frame(&mut self, frame: Frame<'_>, now_ns: u64, tally: &mut Tally) -> Result<Outcome> {
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Ping => return Ok(Outcome::Waiting),
            Frame::Close => return Ok(Outcome::Gone),
        };
        match (text, self.phase) {
            (b"2", _) => self.send(wire::PONG)?,
            ([b'0', b'{', ..], Phase::Joining) => self.send(wire::CONNECT)?,
            ([b'4', b'0', ..], Phase::Joining) => {
                self.phase = Phase::Live;
                return Ok(Outcome::Joined);
            }
            (_, Phase::Live) => self.on_event(text, now_ns, tally),
            _ => anyhow::bail!("unexpected during the handshake: {}", String::from_utf8_lossy(text)),
        }
        Ok(Outcome::Waiting)
    }

    fn on_event(&mut self, text: &[u8], now_ns: u64, tally: &mut Tally) {
        let Some(stamp) = telemetry::read_event(text) else {
            tally.malformed += 1;
            return;
        };
        if stamp.fleet != self.plan.fleet || stamp.asset != telemetry::asset_at(stamp.fleet, stamp.n) {
            tally.foreign += 1;
            return;
        }
        tally.record(self.sequence.take(stamp.n), now_ns.saturating_sub(stamp.sent_ns));
    }

    fn send(&mut self, frame: &[u8]) -> Result<()> {
        match self.stream.write(frame) {
            Ok(sent) => anyhow::ensure!(sent == frame.len(), "half a frame sent"),
            // A gateway that does not read while it is busy: the next ping has its own answer.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// The generator's clock: publisher and viewers share it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn now_ns(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Tallies, one for each group.
pub(super) type Tallies = [Tally; Group::COUNT];
