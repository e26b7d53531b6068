//! One dashboard: what it shows of a region or a fleet, as the gateway told it.
//!
//! Invariant: everything that is told is checked before it is shown.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use foldhash::fast::RandomState;
use mio::net::TcpStream;

use super::seen::{Fault, Seen};
use crate::crowd::Clock;
use crate::wire::{self, Answer, Frame};
use crate::world::{Area, Sighting, World};

/// How long one step of a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// The viewer's only region.
pub(super) const REGION: &str = "map";

/// What a dashboard looks at: only that is right.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sight {
    Nothing,
    Region(Area),
    Fleet(u32),
}

/// How an asset was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    /// Part of a snapshot, or of a conflated event.
    State,
    Entered,
    Moved,
    /// One message of all of them.
    Message,
}

#[derive(Debug)]
pub(crate) struct Board {
    pub(super) stream: TcpStream,
    /// The beginning of a frame that is not whole yet.
    inbox: Vec<u8>,
    sight: Sight,
    /// What it looks at once its request is acknowledged.
    wanted: Sight,
    pub(crate) shown: HashMap<u32, u32, RandomState>,
    /// Assets that a move of the region must bring, and those that it must take away.
    pub(crate) awaited: HashSet<u32, RandomState>,
    pub(crate) leaving: HashSet<u32, RandomState>,
    pub(crate) asked_ns: u64,
    /// What came until then.
    pub(crate) first_bytes: u64,
    /// When the last part of a snapshot came.
    pub(crate) whole_ns: Option<u64>,
    /// When nothing was awaited any more.
    pub(crate) settled_ns: Option<u64>,
    is_refused: bool,
    /// What it shows is about to be told anew.
    is_resyncing: bool,
}

/// What all boards share while they read.
pub(super) struct Reading<'r> {
    pub(super) world: &'r World,
    pub(super) clock: Clock,
    pub(super) seen: &'r mut Seen,
    /// How long the text of an asset is: all are alike. 0: none was seen yet.
    pub(super) asset_len: &'r mut usize,
    pub(super) scratch: &'r mut Vec<u8>,
}

impl Board {
    /// Connects, up to the answer to CONNECT. With a fleet, as dashboards of the old gateway do.
    pub(super) fn connect(port: u16, fleet: Option<u32>) -> Result<Self> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANDSHAKE))?;
        let name = fleet.map(crate::telemetry::fleet_name);
        stream.write_all(&wire::upgrade_request(port, name.as_deref()))?;
        let (mut inbox, mut is_upgraded) = (Vec::new(), false);
        loop {
            let mut buffer = [0; 4096];
            let got = stream.read(&mut buffer).context("no answer to the handshake")?;
            anyhow::ensure!(got > 0, "closed during the handshake");
            inbox.extend_from_slice(&buffer[..got]);
            if !is_upgraded {
                match wire::read_answer(&inbox)? {
                    Answer::Partial => continue,
                    Answer::Busy => anyhow::bail!("refused: 503"),
                    Answer::Upgraded(len) => drop(inbox.drain(..len)),
                }
                is_upgraded = true;
            }
            let mut is_joined = false;
            while !is_joined && let Some((frame, len)) = wire::next_frame(&inbox)? {
                match frame {
                    Frame::Text([b'0', b'{', ..]) => stream.write_all(wire::CONNECT)?,
                    Frame::Text([b'4', b'0', ..]) => is_joined = true,
                    other => anyhow::bail!("unexpected during the handshake: {other:?}"),
                }
                inbox.drain(..len);
            }
            if is_joined {
                break;
            }
        }
        stream.set_nonblocking(true)?;
        let sight = fleet.map_or(Sight::Nothing, Sight::Fleet);
        Ok(Self {
            stream: TcpStream::from_std(stream),
            inbox,
            sight,
            wanted: sight,
            shown: HashMap::default(),
            awaited: HashSet::default(),
            leaving: HashSet::default(),
            asked_ns: 0,
            first_bytes: 0,
            whole_ns: None,
            settled_ns: None,
            is_refused: false,
            is_resyncing: false,
        })
    }

    /// Asks for something, to be acknowledged.
    pub(super) fn ask(&mut self, event: &str, body: &str, sight: Sight, now_ns: u64) -> Result<()> {
        (self.asked_ns, self.whole_ns, self.settled_ns, self.wanted) = (now_ns, None, None, sight);
        let frame = wire::masked_text(format!("420[\"{event}\",{body}]").as_bytes());
        let sent = self.stream.write(&frame).context("a request was not taken")?;
        anyhow::ensure!(sent == frame.len(), "half a request was taken");
        Ok(())
    }

    /// Reads until the socket is empty; false: closed.
    pub(super) fn read(&mut self, buffer: &mut [u8], reading: &mut Reading<'_>) -> Result<bool> {
        loop {
            let got = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(got) => got,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    return Ok(true);
                }
                Err(_) => return Ok(false),
            };
            reading.seen.bytes += got as u64;
            if self.whole_ns.is_none() {
                self.first_bytes += got as u64;
            }
            if self.inbox.is_empty() {
                let used = self.frames(&buffer[..got], reading)?;
                self.inbox.extend_from_slice(&buffer[used..got]);
            } else {
                let mut inbox = std::mem::take(&mut self.inbox);
                inbox.extend_from_slice(&buffer[..got]);
                let used = self.frames(&inbox, reading)?;
                inbox.drain(..used);
                self.inbox = inbox;
            }
            // A short read on a stream means that it is empty.
            if got < buffer.len() {
                return Ok(true);
            }
        }
    }

    fn frames(&mut self, bytes: &[u8], reading: &mut Reading<'_>) -> Result<usize> {
        let mut used = 0;
        while let Some((frame, len)) = wire::next_frame(&bytes[used..])? {
            used += len;
            match frame {
                Frame::Text(b"2") => drop(self.stream.write(wire::PONG)),
                Frame::Text(text) => self.packet(text, reading),
                Frame::Ping => {}
                Frame::Close => anyhow::bail!("a close frame"),
            }
        }
        Ok(used)
    }

    fn packet(&mut self, text: &[u8], reading: &mut Reading<'_>) {
        let is_read = match text {
            [b'4', b'3', b'0', rest @ ..] => {
                self.is_refused = !rest.starts_with(br#"[{"ok":true"#);
                self.sight = self.wanted;
                (!self.is_refused).then_some(())
            }
            [b'4', b'2', rest @ ..] => self.event(rest, reading),
            _ => None,
        };
        if is_read.is_none() {
            reading.seen.fault(Fault::Malformed);
        }
    }

    fn event(&mut self, text: &[u8], reading: &mut Reading<'_>) -> Option<()> {
        let text = text.strip_prefix(b"[\"")?;
        let (name, body) = text.split_at(wire::find(text, b"\",")?);
        let body = body.strip_prefix(b"\",")?.strip_suffix(b"]")?;
        let now_ns = reading.clock.now_ns();
        reading.seen.events += 1;
        match name {
            b"fleet_update" => {
                let inner = body.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
                let sighting = reading.world.read_update(inner, reading.scratch)?;
                self.tell(sighting, As::Message, now_ns, reading);
                // Without a snapshot, the last asset to speak is the last part.
                if self.whole_ns.is_none() && self.shown.len() == reading.world.assets() as usize {
                    self.whole_ns = Some(now_ns);
                }
            }
            b"fleet_updates" => {
                let (_, rest) = after(body, br#""assets":["#)?;
                self.assets(rest, As::State, now_ns, reading)?;
            }
            b"fleet_snapshot" | b"region_snapshot" => {
                let (head, rest) = after(body, br#""assets":["#)?;
                if std::mem::take(&mut self.is_resyncing) {
                    self.shown.clear();
                }
                self.assets(rest, As::State, now_ns, reading)?;
                if is_last_part(head)? {
                    self.whole_ns = Some(now_ns);
                }
            }
            b"region_updates" => {
                let (_, rest) = after(body, br#""entered":["#)?;
                let rest = self.assets(rest, As::Entered, now_ns, reading)?;
                let rest = self.assets(rest.strip_prefix(br#","moved":["#)?, As::Moved, now_ns, reading)?;
                self.left(rest.strip_prefix(br#","left":["#)?, reading)?;
            }
            b"resync" => {
                reading.seen.fault(Fault::Resync);
                self.is_resyncing = true;
            }
            _ => return None,
        }
        if self.settled_ns.is_none() && self.awaited.is_empty() && self.leaving.is_empty() {
            self.settled_ns = Some(now_ns);
        }
        Some(())
    }

    /// The assets of a list, up to its end; what comes after it.
    fn assets<'t>(
        &mut self,
        mut text: &'t [u8],
        told: As,
        now_ns: u64,
        reading: &mut Reading<'_>,
    ) -> Option<&'t [u8]> {
        while text.first() == Some(&b'{') {
            if *reading.asset_len == 0 {
                *reading.asset_len = wire::find(text, b"}}")? + 2;
            }
            let (asset, rest) = text.split_at_checked(*reading.asset_len)?;
            let sighting = reading.world.read_asset(asset)?;
            self.tell(sighting, told, now_ns, reading);
            text = rest.strip_prefix(b",").unwrap_or(rest);
        }
        text.strip_prefix(b"]")
    }

    fn left(&mut self, mut text: &[u8], reading: &mut Reading<'_>) -> Option<()> {
        while let Some(rest) = text.strip_prefix(br#"{"id":"truck-"#) {
            let digits = std::str::from_utf8(rest.get(..7)?).ok()?;
            let asset = digits.parse().ok()?;
            let end = wire::find(rest, b"}")? + 1;
            reading.seen.left += 1;
            if self.shown.remove(&asset).is_none() {
                reading.seen.fault(Fault::Unknown);
            }
            self.leaving.remove(&asset);
            let rest = &rest[end..];
            text = rest.strip_prefix(b",").unwrap_or(rest);
        }
        text.strip_prefix(b"]").map(|_| ())
    }

    fn tell(&mut self, sighting: Sighting, told: As, now_ns: u64, reading: &mut Reading<'_>) {
        let Sighting { asset, n, at, sent_ns } = sighting;
        let is_ours = match self.sight {
            Sight::Nothing => false,
            Sight::Region(area) => area.holds(at),
            Sight::Fleet(fleet) => reading.world.fleet_of(asset) == fleet,
        };
        if !is_ours {
            reading.seen.fault(Fault::Foreign);
        }
        let before = self.shown.insert(asset, n);
        let fault = match (before, told) {
            (Some(before), As::Message) if n > before + 1 => Some(Fault::Missing),
            (Some(before), _) if n < before => Some(Fault::Back),
            (Some(before), As::Moved | As::Message) if n == before => Some(Fault::Repeat),
            (Some(_), As::Entered) | (None, As::Moved) => Some(Fault::Unknown),
            _ => None,
        };
        if let Some(fault) = fault {
            reading.seen.fault(fault);
        }
        self.awaited.remove(&asset);
        // What an asset said before anybody asked is as old as it is.
        let is_news = told != As::State || self.whole_ns.is_some();
        reading.seen.state(is_news.then(|| now_ns.saturating_sub(sent_ns)));
    }

    /// Whether it shows exactly this: assets, and their newest states.
    pub(crate) fn shows(&self, expected: impl Iterator<Item = (u32, u32)>) -> bool {
        let mut count = 0;
        for (asset, n) in expected {
            count += 1;
            if self.shown.get(&asset) != Some(&n) {
                return false;
            }
        }
        count == self.shown.len()
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }
}

/// What comes before and after some text.
fn after<'t>(text: &'t [u8], what: &[u8]) -> Option<(&'t [u8], &'t [u8])> {
    let at = wire::find(text, what)?;
    Some((&text[..at], &text[at + what.len()..]))
}

/// Whether `…"part":5,"parts":5,` says so.
fn is_last_part(head: &[u8]) -> Option<bool> {
    let (_, part) = after(head, br#""part":"#)?;
    let (part, parts) = after(part, br#","parts":"#)?;
    Some(parts.strip_suffix(b",")? == part)
}
