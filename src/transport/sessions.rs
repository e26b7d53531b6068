//! All sessions of the process, what they share, and the one sweeper that keeps their deadlines.
//!
//! Invariant: bounded by open connections; a closed session is gone from the table at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use tokio::{net::TcpStream, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Admittance, CloseReason, EngineOptions, Session, SessionId, admission::Admission, frame, places::Places,
};
use crate::observe::Metrics;

const SHARDS: usize = 32;
/// How long a closed socket stays open so that the client can read the close frame.
const LINGER_MS: u64 = 2000;
/// How many reads a lingering socket gets at a time.
const READS_MAX: usize = 16;
/// How many sockets may linger; beyond that they are closed at once.
const LINGERING_MAX: usize = 1024;

type Shard = Mutex<HashMap<SessionId, Arc<Session>>>;

/// The table of open sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    shards: [Shard; SHARDS],
    count: AtomicUsize,
}

impl Sessions {
    fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(HashMap::new())), count: AtomicUsize::new(0) }
    }

    fn shard(&self, id: &SessionId) -> &Shard {
        &self.shards[usize::from(id.0[0]) % SHARDS]
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn insert(&self, session: Arc<Session>) {
        let mut shard = lock(self.shard(&session.id));
        shard.insert(session.id, session);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Session>> {
        let id = SessionId(id.as_bytes().try_into().ok()?);
        lock(self.shard(&id)).get(&id).cloned()
    }

    pub(super) fn remove(&self, id: &SessionId) {
        let mut shard = lock(self.shard(id));
        if shard.remove(id).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
                shard.shrink_to_fit(); // A storm of the past must not be paid for ever.
            }
        }
    }

    /// The sessions of one shard; taken out of the lock, because closing one needs it.
    fn of_shard(&self, index: usize) -> Vec<Arc<Session>> {
        lock(&self.shards[index]).values().cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        (0..SHARDS).flat_map(|index| self.of_shard(index)).collect()
    }

    fn table_bytes(&self) -> usize {
        let entry = size_of::<(SessionId, Arc<Session>)>() + 1;
        self.shards.iter().map(|shard| lock(shard).capacity() * entry).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) options: EngineOptions,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sessions: Sessions,
    pub(super) places: Arc<Places>,
    /// Who has how many TCP connections that are no sessions' websockets.
    pub(super) sockets: Arc<Places>,
    pub(super) admission: Admission,
    /// Held to clone the pointer, never across an await.
    admittance: RwLock<Arc<Admittance>>,
    pub(super) ping_frame: Bytes,
    started: Instant,
    /// Behind each socketioxide id in its public form. Node's ids have 20 characters, and its sharded
    /// adapter tells sockets from rooms by that length.
    id_suffix: [u8; 4],
    lingering: Mutex<Vec<(TcpStream, u64)>>,
    /// The process is shutting down: nobody is admitted any more.
    pub(super) draining: AtomicBool,
}

impl Shared {
    pub(super) fn new(options: EngineOptions, metrics: Arc<Metrics>) -> Self {
        Self {
            admittance: RwLock::new(Arc::new(options.admittance.clone())),
            admission: Admission::new(options.admittance.connects_per_second),
            options,
            metrics,
            sessions: Sessions::new(),
            places: Arc::new(Places::new()),
            sockets: Arc::new(Places::new()),
            ping_frame: frame::server_frame(frame::Opcode::Text, b"2"),
            started: Instant::now(),
            id_suffix: random_id::<4>(),
            lingering: Mutex::new(Vec::new()),
            draining: AtomicBool::new(false),
        }
    }

    /// Who is admitted at present.
    pub(super) fn admittance(&self) -> Arc<Admittance> {
        self.admittance.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_admittance(&self, admittance: Admittance) {
        self.admission.set_rate(admittance.connects_per_second);
        *self.admittance.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(admittance);
    }

    /// Milliseconds since the process began to serve, never zero.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX) + 1
    }

    /// The id under which the cluster and the client know a socket.
    pub(crate) fn public_socket_id(&self, sid: &str) -> String {
        [sid, std::str::from_utf8(&self.id_suffix).unwrap_or_default()].concat()
    }

    pub(super) fn linger(&self, socket: TcpStream) {
        let mut lingering = lock(&self.lingering);
        if lingering.len() < LINGERING_MAX {
            lingering.push((socket, self.now_ms() + LINGER_MS));
        }
    }

    /// Sweeps all sessions about once a second, a shard at a time, until `stop`.
    pub(super) async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        let round_ms = (self.options.ping_interval_ms.min(self.options.ping_timeout_ms) / 4).clamp(32, 1000);
        let mut ticks = tokio::time::interval(Duration::from_millis(round_ms / SHARDS as u64));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for index in (0..SHARDS).cycle() {
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                return;
            }
            let now_ms = self.now_ms();
            for (count, session) in self.sessions.of_shard(index).into_iter().enumerate() {
                session.sweep(now_ms);
                if count % 128 == 127 {
                    tokio::task::yield_now().await;
                }
            }
            if index == 0 {
                self.places.sweep(Instant::now());
                // Outside the lock: whoever closes a session takes it.
                let mut held = std::mem::take(&mut *lock(&self.lingering));
                held.retain(|(socket, until)| now_ms < *until && !at_end(socket));
                lock(&self.lingering).append(&mut held);
            }
        }
    }

    /// Closes every session.
    pub(super) fn close_all(&self, reason: CloseReason) {
        for session in self.sessions.all() {
            session.close(reason);
        }
    }

    /// Bytes by class: sessions themselves, and what waits in their queues.
    pub(super) fn memory(&self) -> (usize, usize) {
        let mut queued = 0;
        let sessions = self.sessions.all();
        for session in &sessions {
            let (outbox, inbox) = session.queue_memory();
            queued += outbox + inbox;
        }
        (sessions.len() * size_of::<Session>() + self.sessions.table_bytes(), queued)
    }
}

/// Whether the peer has closed too. Throws away what it still sends.
fn at_end(socket: &TcpStream) -> bool {
    let mut rest = [0; 2048];
    for _ in 0..READS_MAX {
        match socket.try_read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
    true // A peer that goes on talking after the end is not waited for.
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// `N` random characters of Node's id alphabet.
pub(super) fn random_id<const N: usize>() -> [u8; N] {
    let bytes: [u8; N] = rand::random();
    bytes.map(|byte| ALPHABET[usize::from(byte % 64)])
}
