//! One Engine.IO session: the outgoing queue, the way to the client (polling or websocket), what waits
//! for socketioxide, and the heartbeat. Everything below Socket.IO packets, nothing above.
//!
//! Invariants: one outbox whatever the transport; whoever queues, writes; a closed session holds no
//! bytes and no descriptor, and every call on it is a cheap no-op; no lock is held across an await.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, oneshot};

use super::{
    CloseReason, Handshake, Protocol, SessionId, Shared, guard::Guard, heartbeat::Heartbeat, outbox::Outbox,
    places::Seat, wire::Wire,
};

/// An event that never leaves the process: see [`Session::barrier`].
pub const BARRIER_EVENT: &str = "\u{1}";

/// How many reads may bring nothing for socketioxide before others have their turn.
const READS_MAX: usize = 16;

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Queued or written.
    Yes,
    /// The session has as many unwritten bytes as it may have; nothing was queued.
    Full,
    /// The session is over.
    Closed,
}

/// The polling side of a session.
#[derive(Debug, Default)]
pub(super) struct Polling {
    /// The GET that waits for packets.
    pub(super) waiter: Option<Waker>,
    /// A GET is under way.
    pub(super) getting: bool,
    /// A POST is under way.
    pub(super) posting: bool,
    /// A websocket is being probed; GETs are answered soon, so that the client can switch.
    pub(super) probing: bool,
}

#[derive(Debug)]
pub(super) enum Link {
    Polling(Polling),
    Websocket(Wire),
    Closed(CloseReason),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) outbox: Outbox,
    /// Client frames (zero-masked) for socketioxide's websocket.
    pub(super) inbox: BytesMut,
    pub(super) link: Link,
    /// The task that reads the bridge: it also waits for the socket to become readable and writable.
    pub(super) reader: Option<Waker>,
    /// The task that wants to write to the bridge while the outbox is over its bound.
    pub(super) writer: Option<Waker>,
    pub(super) heartbeat: Heartbeat,
    /// What the client may say next.
    pub(super) guard: Guard,
    /// Its place among the sessions of its address.
    seat: Option<Seat>,
    /// Since when something is queued and nothing was taken, process time; 0 while nothing waits.
    pub(super) stalled_since_ms: u64,
    pub(super) barriers: Vec<(u32, oneshot::Sender<()>)>,
    next_barrier: u32,
}

/// One client's Engine.IO session.
#[derive(Debug)]
pub struct Session {
    pub(super) id: SessionId,
    pub(super) protocol: Protocol,
    /// Protocol 3 polling clients that ask for base64 get no binary bodies.
    pub(super) base64_only: bool,
    handshake: Box<Handshake>,
    is_own: bool,
    pub(super) shared: Arc<Shared>,
    backlog_bytes: AtomicUsize,
    closed: AtomicBool,
    /// Tells a waiting GET that a websocket is being probed, and a probe that the session is over.
    pub(super) probe_changed: Notify,
    state: Mutex<State>,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        protocol: Protocol,
        base64_only: bool,
        handshake: Handshake,
        seat: Option<Seat>,
        shared: Arc<Shared>,
        wire: Option<Wire>,
    ) -> Self {
        let heartbeat = Heartbeat::start(protocol, shared.now_ms(), &shared.options);
        let link = wire.map_or_else(|| Link::Polling(Polling::default()), Link::Websocket);
        let is_own = seat.is_none() && shared.options.own_key.is_some();
        if !is_own {
            shared.metrics.connection_opened(protocol.number(), matches!(link, Link::Websocket(_)));
        }
        Self {
            id,
            protocol,
            base64_only,
            handshake: Box::new(handshake),
            is_own,
            shared,
            backlog_bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            probe_changed: Notify::new(),
            state: Mutex::new(State {
                outbox: Outbox::default(),
                inbox: BytesMut::new(),
                link,
                reader: None,
                writer: None,
                heartbeat,
                guard: Guard::new(protocol),
                seat,
                stalled_since_ms: 0,
                barriers: Vec::new(),
                next_barrier: 0,
            }),
        }
    }

    /// Engine.IO protocol version of the client.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether this process is the client too.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Whether the client speaks TLS to this process.
    pub fn is_secure(&self) -> bool {
        self.shared.options.is_secure
    }

    /// The request that opened the session.
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// The id under which the cluster and the client know the socket that socketioxide names `sid`.
    pub fn public_socket_id(&self, sid: &str) -> String {
        self.shared.public_socket_id(sid)
    }

    /// `polling` or `websocket`, as of now.
    pub fn transport(&self) -> &'static str {
        if matches!(self.lock().link, Link::Websocket(_)) { "websocket" } else { "polling" }
    }

    /// Bytes queued that the client's transport has not taken.
    pub fn backlog_bytes(&self) -> usize {
        self.backlog_bytes.load(Ordering::Relaxed)
    }

    /// Whether the client has taken most of what was queued: it reads again.
    pub fn has_drained(&self) -> bool {
        self.backlog_bytes() <= self.shared.options.viewer_queue_bytes / 8
    }

    /// A point in the stream of socketioxide's packets: emit [`BARRIER_EVENT`] with the number, and the
    /// receiver resolves when everything emitted before it is queued for the client.
    pub fn barrier(&self) -> (u32, oneshot::Receiver<()>) {
        let (passed, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.barriers.retain(|(_, waiting)| !waiting.is_closed());
        let number = state.next_barrier;
        state.next_barrier = number.wrapping_add(1);
        if !matches!(state.link, Link::Closed(_)) {
            state.barriers.push((number, passed));
        }
        (number, receiver)
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Why the session ended, if it did.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match self.lock().link {
            Link::Closed(reason) => Some(reason),
            _ => None,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Queues frames that many viewers share and writes at once if nothing waits before them: no task
    /// is woken, nothing is copied. Refused as a whole when the queue is at its bound.
    pub fn send(&self, frames: &Bytes) -> Sent {
        if self.is_closed() {
            return Sent::Closed;
        }
        let mut state = self.lock();
        let state = &mut *state;
        if state.outbox.bytes() >= self.shared.options.viewer_queue_bytes {
            return Sent::Full;
        }
        let mut written = 0;
        if state.outbox.is_passable()
            && let Link::Websocket(wire) = &state.link
        {
            match wire.write_now(frames) {
                Ok(taken) => written = taken,
                Err(_) => {
                    self.close_locked(state, CloseReason::TransportError, None);
                    return Sent::Closed;
                }
            }
            self.shared.metrics.sent_bytes.inc_by(written as u64);
            if written == frames.len() {
                return Sent::Yes;
            }
        }
        let idle = state.outbox.is_empty();
        state.outbox.push_shared(frames.clone());
        state.outbox.advance(written);
        if idle {
            self.flush(state);
        }
        self.note_backlog(state);
        if matches!(state.link, Link::Closed(_)) { Sent::Closed } else { Sent::Yes }
    }

    /// Writes as much as the transport takes; the reading task waits for the rest.
    pub(super) fn flush(&self, state: &mut State) {
        self.write(state);
        if let Link::Websocket(wire) = &state.link
            && (!state.outbox.is_empty() || wire.is_holding())
        {
            Self::wake_reader(state);
        }
    }

    pub(super) fn wake_reader(state: &State) {
        if let Some(reader) = &state.reader {
            reader.wake_by_ref();
        }
    }

    fn write(&self, state: &mut State) {
        match &mut state.link {
            Link::Polling(polling) => {
                if let Some(waiter) = polling.waiter.take() {
                    waiter.wake();
                }
                if state.stalled_since_ms == 0 && !state.outbox.is_empty() {
                    state.stalled_since_ms = self.shared.now_ms();
                }
            }
            Link::Websocket(wire) => match wire.write(&mut state.outbox) {
                Ok(written) => {
                    self.shared.metrics.sent_bytes.inc_by(written as u64);
                    if state.outbox.is_empty() && !wire.is_holding() {
                        state.stalled_since_ms = 0;
                    } else {
                        if written > 0 || state.stalled_since_ms == 0 {
                            state.stalled_since_ms = self.shared.now_ms();
                        }
                    }
                }
                Err(_) => self.close_locked(state, CloseReason::TransportError, None),
            },
            Link::Closed(_) => {}
        }
        if state.outbox.drainable_bytes() < self.shared.options.viewer_queue_bytes
            && let Some(writer) = state.writer.take()
        {
            writer.wake();
        }
    }

    pub(super) fn note_backlog(&self, state: &State) {
        self.backlog_bytes.store(state.outbox.bytes(), Ordering::Relaxed);
    }

    /// Drives the websocket from the task that reads the bridge: writes what waits, reads what came.
    /// Returns when there is something in the inbox, the session is closed, or the socket has no more.
    pub(super) fn drive(&self, state: &mut State, cx: &mut Context<'_>) {
        let mut reads = 0;
        while let Link::Websocket(wire) = &mut state.link {
            if (!state.outbox.is_empty() || wire.is_holding()) && wire.poll_writable(cx) {
                self.write(state);
                continue;
            }
            if !state.inbox.is_empty() {
                return;
            }
            match wire.poll_events(cx, self.shared.options.message_bytes_max) {
                Poll::Pending => return,
                Poll::Ready(read) => self.received(state, read),
            }
            reads += 1;
            if reads == READS_MAX {
                // A client that floods with what is nobody's message must not hold the session, which is
                // what a fan-out waits for.
                return cx.waker().wake_by_ref();
            }
        }
    }

    /// Puts the session on a websocket, behind a finished probe. What is queued goes out there.
    /// `read` is what came together with the upgrade packet: it is taken before the reader goes on.
    pub(super) fn attach(&self, wire: Wire, read: super::wire::Read) {
        let mut state = self.lock();
        let state = &mut *state;
        let Link::Polling(polling) = &mut state.link else { return };
        if let Some(waiter) = polling.waiter.take() {
            waiter.wake();
        }
        state.link = Link::Websocket(wire);
        state.stalled_since_ms = 0;
        if !self.is_own {
            self.shared.metrics.connection_upgraded(self.protocol.number());
        }
        self.flush(state);
        self.received(state, read);
        self.note_backlog(state);
        Self::wake_reader(state);
    }

    /// Ends the session: its transport is closed, its queue is gone, socketioxide sees the end of the
    /// stream. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let mut state = self.lock();
        self.close_locked(&mut state, reason, None);
    }

    pub(super) fn close_locked(&self, state: &mut State, reason: CloseReason, code: Option<u16>) {
        if matches!(state.link, Link::Closed(_)) {
            return;
        }
        self.closed.store(true, Ordering::Release);
        let link = std::mem::replace(&mut state.link, Link::Closed(reason));
        let websocket = matches!(link, Link::Websocket(_));
        match link {
            Link::Websocket(wire) => {
                let code = code.unwrap_or_else(|| reason.websocket_code());
                if let Some(socket) = wire.close(&mut state.outbox, code) {
                    self.shared.linger(socket);
                }
            }
            Link::Polling(polling) => {
                if let Some(waiter) = polling.waiter {
                    waiter.wake();
                }
            }
            Link::Closed(_) => {}
        }
        state.outbox = Outbox::default();
        state.barriers = Vec::new();
        state.stalled_since_ms = 0;
        state.seat = None;
        self.backlog_bytes.store(0, Ordering::Relaxed);
        for waker in [state.reader.take(), state.writer.take()].into_iter().flatten() {
            waker.wake();
        }
        // A websocket that is being probed for it has nothing to wait for any more.
        self.probe_changed.notify_waiters();
        self.shared.sessions.remove(&self.id);
        if !self.is_own {
            self.shared.metrics.connection_closed(self.protocol.number(), websocket, reason.as_str());
        }
    }

    /// Keeps the session's deadlines; called for every session about once a second.
    pub(super) fn sweep(&self, now_ms: u64) {
        let mut state = self.lock();
        let state = &mut *state;
        if matches!(state.link, Link::Closed(_)) {
            return;
        }
        let options = &self.shared.options;
        if state.stalled_since_ms != 0
            && now_ms.saturating_sub(state.stalled_since_ms) > options.slow_timeout_ms
        {
            return self.close_locked(state, CloseReason::Slow, None);
        }
        // A client that is still taking a backlog is alive, however late its pong is.
        let held = matches!(&state.link, Link::Websocket(wire) if wire.is_holding());
        let draining = held || !state.outbox.is_empty();
        match state.heartbeat.due(now_ms, options, draining) {
            super::heartbeat::Due::Nothing => {}
            super::heartbeat::Due::Ping => {
                state.outbox.push_urgent(self.shared.ping_frame.clone());
                self.flush(state);
                self.note_backlog(state);
            }
            super::heartbeat::Due::Dead => self.close_locked(state, CloseReason::PingTimeout, None),
        }
    }

    /// What this session holds, for `/debug/memory`.
    pub(super) fn queue_memory(&self) -> (usize, usize) {
        let state = self.lock();
        (state.outbox.bytes(), state.inbox.capacity())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        debug_assert!(self.is_closed(), "sessions are closed, never just dropped");
    }
}

/// Turns a would-block into "not now".
pub(super) fn not_now(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(written) => Ok(Some(written)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
