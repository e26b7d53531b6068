//! The raw writer, the limit to measure against: pre-framed bytes, one `write` per viewer and message,
//! handshakes answered by hand, no heartbeat, nothing else.
//!
//! Invariant: a message is framed once; what a socket did not take waits, in order, for the socket.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tungstenite::handshake::derive_accept_key;

use crate::wire::find;

const LISTENER: Token = Token(usize::MAX);
const REDIS: Token = Token(usize::MAX - 1);
/// A viewer for whom this much waits is dropped.
const BACKLOG_MAX: usize = 8 << 20;
const READ_BUFFER: usize = 64 * 1024;

struct Client {
    stream: TcpStream,
    /// Empty until the upgrade request named it.
    fleet: Vec<u8>,
    is_live: bool,
    backlog: VecDeque<u8>,
}

struct Server {
    poll: Poll,
    redis: TcpStream,
    /// Bytes from Redis that are not a whole message yet.
    pending: Vec<u8>,
    clients: Slab<Client>,
    rooms: HashMap<Vec<u8>, Vec<usize>>,
    buffer: Vec<u8>,
    frame: Vec<u8>,
}

/// Serves until it is killed.
pub(super) fn serve(port: u16, redis_url: &str) -> Result<()> {
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let address = redis_url.trim_start_matches("redis://").trim_end_matches('/');
    let connection = std::net::TcpStream::connect(address)?;
    connection.set_nonblocking(true)?;
    let mut redis = TcpStream::from_std(connection);
    poll.registry().register(&mut redis, REDIS, Interest::READABLE)?;
    let (clients, rooms) = (Slab::new(), HashMap::new());
    let mut server = Server {
        poll,
        redis,
        pending: Vec::new(),
        clients,
        rooms,
        buffer: vec![0; READ_BUFFER],
        frame: Vec::new(),
    };
    let mut events = Events::with_capacity(1024);
    loop {
        match server.poll.poll(&mut events, None::<Duration>) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => server.accept(&listener)?,
                REDIS => server.read_redis()?,
                Token(index) => server.on_client(index)?,
            }
        }
    }
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let entry = self.clients.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(entry.key()), interest)?;
            entry.insert(Client { stream, fleet: Vec::new(), is_live: false, backlog: VecDeque::new() });
        }
    }

    fn on_client(&mut self, index: usize) -> Result<()> {
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        if client.flush().is_err() {
            return self.remove(index);
        }
        loop {
            let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
            let got = match client.stream.read(&mut self.buffer) {
                Ok(0) => return self.remove(index),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return self.remove(index),
            };
            // The generator sends a request, a CONNECT and a goodbye, each in one segment: no need to join halves.
            let bytes = &self.buffer[..got];
            if client.fleet.is_empty() {
                let Some((fleet, answer)) = upgrade(bytes) else { return self.remove(index) };
                client.fleet = fleet;
                client.send(&answer);
            } else if !client.is_live {
                client.is_live = true;
                client.send(b"\x81\x0d40{\"sid\":\"r\"}");
                self.join(index)?;
            }
        }
    }

    fn join(&mut self, index: usize) -> Result<()> {
        let fleet = &self.clients[index].fleet;
        let room = self.rooms.entry(fleet.clone()).or_default();
        room.push(index);
        if room.len() == 1 {
            let fleet = fleet.clone();
            self.command(b"SUBSCRIBE", &fleet)?;
        }
        Ok(())
    }

    fn remove(&mut self, index: usize) -> Result<()> {
        let client = self.clients.remove(index);
        let Some(room) = self.rooms.get_mut(&client.fleet) else { return Ok(()) };
        room.retain(|member| *member != index);
        if room.is_empty() {
            self.rooms.remove(&client.fleet);
            self.command(b"UNSUBSCRIBE", &client.fleet)?;
        }
        Ok(())
    }

    /// Commands are tiny and few: a socket to Redis that is full ends the run.
    fn command(&mut self, name: &[u8], fleet: &[u8]) -> Result<()> {
        let command = [name, b" updates:", fleet, b"\r\n"].concat();
        let sent = self.redis.write(&command).context("redis does not take commands")?;
        anyhow::ensure!(sent == command.len(), "redis took half a command");
        Ok(())
    }

    fn read_redis(&mut self) -> Result<()> {
        loop {
            match self.redis.read(&mut self.buffer) {
                Ok(0) => anyhow::bail!("redis hung up"),
                Ok(got) => self.pending.extend_from_slice(&self.buffer[..got]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let pending = std::mem::take(&mut self.pending);
            let mut used = 0;
            while let Some((parts, len)) = next_push(&pending[used..]) {
                used += len;
                if let Some((channel, payload)) = parts {
                    self.fan_out(channel, payload);
                }
            }
            self.pending = pending[used..].to_vec();
        }
    }

    fn fan_out(&mut self, channel: &[u8], payload: &[u8]) {
        let Some(room) = channel.strip_prefix(b"updates:").and_then(|fleet| self.rooms.get(fleet)) else {
            return;
        };
        frame_update(&mut self.frame, payload);
        for member in room {
            self.clients[*member].send(&self.frame);
        }
    }
}

impl Client {
    /// Writes at once; a broken socket is noticed by its own event.
    fn send(&mut self, bytes: &[u8]) {
        let sent = if self.backlog.is_empty() { self.stream.write(bytes).unwrap_or(0) } else { 0 };
        if self.backlog.len() < BACKLOG_MAX {
            self.backlog.extend(&bytes[sent..]);
        }
    }

    fn flush(&mut self) -> Result<()> {
        while !self.backlog.is_empty() {
            match self.stream.write(self.backlog.as_slices().0) {
                Ok(sent) => drop(self.backlog.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::ensure!(self.backlog.len() < BACKLOG_MAX, "does not read");
        Ok(())
    }
}

/// The fleet that a request names, and the bytes that answer it: 101 and the Engine.IO handshake.
fn upgrade(request: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = |key: &[u8], end: &[u8]| {
        let start = find(request, key)? + key.len();
        let len = find(&request[start..], end)?;
        Some(&request[start..start + len])
    };
    let fleet = value(b"fleetId=", b"&")?.to_vec();
    let accept = derive_accept_key(value(b"Sec-WebSocket-Key: ", b"\r\n")?);
    let open = br#"0{"sid":"raw","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":65536}"#;
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(&[0x81, open.len() as u8]);
    answer.extend_from_slice(open);
    Some((fleet, answer))
}

/// The whole websocket frame of one update.
fn frame_update(frame: &mut Vec<u8>, payload: &[u8]) {
    frame.clear();
    frame.extend_from_slice(&[0x81, 126, 0, 0]);
    frame.extend_from_slice(br#"42["fleet_update",""#);
    for byte in payload {
        if matches!(byte, b'"' | b'\\') {
            frame.push(b'\\');
        }
        frame.push(*byte);
    }
    frame.extend_from_slice(br#""]"#);
    let len = (frame.len() - 4) as u16;
    frame[2..4].copy_from_slice(&len.to_be_bytes());
}

/// The next push from Redis and its length; the channel and payload if it is a message.
type Push<'a> = (Option<(&'a [u8], &'a [u8])>, usize);

fn next_push(bytes: &[u8]) -> Option<Push<'_>> {
    let (count, mut at) = header(bytes, b'*')?;
    let mut parts: [&[u8]; 3] = [&[]; 3];
    for index in 0..count {
        if bytes.get(at) == Some(&b':') {
            at += find(bytes.get(at..)?, b"\r\n")? + 2;
            continue;
        }
        let (len, skip) = header(bytes.get(at..)?, b'$')?;
        at += skip;
        let part = bytes.get(at..at + len)?;
        at += len + 2;
        if let Some(slot) = parts.get_mut(index) {
            *slot = part;
        }
    }
    (at <= bytes.len()).then_some(((parts[0] == b"message").then_some((parts[1], parts[2])), at))
}

fn header(bytes: &[u8], kind: u8) -> Option<(usize, usize)> {
    let end = find(bytes.get(..bytes.len().min(24))?, b"\r\n")?;
    let (first, digits) = bytes[..end].split_first()?;
    debug_assert_eq!(*first, kind, "reply of an unexpected kind");
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, end + 2))
}
