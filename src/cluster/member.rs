//! This replica as a member of the cluster: what its own code may do to sockets of all replicas.
//!
//! Invariant: local sockets are served here and at once, whether Redis is there or not; peers hear of it
//! by one frame; and the frame's echo finds its own uid and is ignored, so nothing happens twice.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Delivery, EncodedEvent, LocalSockets,
    bus::{Bus, BusError, NoBus, PublishError, SubscribeMode, Subscription},
    ids::random_id,
    requests::Pending,
    wire::{Answer, Argument, Flags, Frame, Malformed, Names, Request, Selection, Target},
};
use crate::observe::Metrics;

/// How this replica takes part.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which room channels it subscribes to.
    pub subscribe: SubscribeMode,
    /// Whether its answers go to the asking member's own channel instead of everybody's; members
    /// before 7.1 do not hear those.
    pub answer_on_own_channel: bool,
    /// How long a question to the cluster may take.
    pub request_timeout: Duration,
    /// Who this is, for people: the answer to `cluster_ping`.
    pub replica: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            subscribe: SubscribeMode::default(),
            answer_on_own_channel: false,
            request_timeout: Duration::from_secs(5),
            replica: String::new(),
        }
    }
}

/// A member of the cluster; clones share it.
#[derive(Clone)]
pub struct Member(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) uid: String,
    pub(super) names: Arc<Names>,
    pub(super) settings: Settings,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) sockets: Arc<dyn LocalSockets>,
    pub(super) metrics: Arc<Metrics>,
    started: Instant,
    /// A std mutex: taken for a few map operations, never held across an await.
    pending: Mutex<Pending<Waiter>>,
    /// The channels of every member. Dropped at shutdown, before the last requests are answered.
    holds: Mutex<Vec<Subscription>>,
}

/// Gets all answers; is dropped when the connection is lost, so that none can arrive.
pub(super) type Waiter = oneshot::Sender<Vec<Answer>>;

impl Member {
    /// A replica without a cluster: the same operations, on its own sockets.
    #[must_use]
    pub fn alone(sockets: Arc<dyn LocalSockets>, metrics: Arc<Metrics>) -> Self {
        let names = Names::new("socket.io", "/").expect("the default key is valid");
        Self::new(Arc::new(names), Settings::default(), Arc::new(NoBus), sockets, metrics)
    }

    /// A member with an identity of its own, subscribed to what concerns every member.
    #[must_use]
    pub fn new(
        names: Arc<Names>,
        settings: Settings,
        bus: Arc<dyn Bus>,
        sockets: Arc<dyn LocalSockets>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let uid = random_id(names.dialect());
        let mut channels = names.member_channels(&uid);
        if settings.subscribe == SubscribeMode::Pattern {
            channels.retain(|channel| channel != names.namespace()); // The pattern has it.
        }
        let holds = channels.into_iter().map(|channel| bus.hold(channel)).collect();
        Self(Arc::new(Inner {
            uid,
            names,
            settings,
            bus,
            sockets,
            metrics,
            started: Instant::now(),
            pending: Mutex::new(Pending::new()),
            holds: Mutex::new(holds),
        }))
    }

    /// How peers see this replica.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.0.uid
    }

    /// What this replica answers when it is asked who it is; what others answer looks alike.
    #[must_use]
    pub fn who(&self) -> serde_json::Value {
        serde_json::json!({
            "id": self.0.settings.replica,
            "uid": self.0.uid,
            "server": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "viewers": self.0.metrics.viewers.get(),
            "uptime_s": self.0.started.elapsed().as_secs(),
        })
    }

    /// Whether the bus is connected and misses nothing.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.state().is_ok()
    }

    /// The sockets of this replica alone.
    #[must_use]
    pub fn sockets(&self) -> &dyn LocalSockets {
        &*self.0.sockets
    }

    /// Sends an event to the sockets of all replicas that match. Returns how many of them are local.
    pub fn emit(&self, event: &EncodedEvent, target: &Target, flags: &Flags) -> usize {
        self.0.publish(self.0.names.emit_frame(&self.0.uid, event, target, flags));
        self.0.sockets.deliver(target, event, Delivery { volatile: flags.is_volatile() })
    }

    /// Puts the matching sockets of all replicas into `rooms`.
    pub fn join(&self, target: &Target, rooms: &[String]) {
        self.0.sockets.join(target, rooms);
        let selection = Selection::Matching(target.clone());
        self.0.request(Request::Join { selection, rooms: rooms.to_vec() });
    }

    /// Takes the matching sockets of all replicas out of `rooms`.
    pub fn leave(&self, target: &Target, rooms: &[String]) {
        self.0.sockets.leave(target, rooms);
        let selection = Selection::Matching(target.clone());
        self.0.request(Request::Leave { selection, rooms: rooms.to_vec() });
    }

    /// Disconnects the matching sockets of all replicas; with `close`, their transports, too.
    pub fn disconnect(&self, target: &Target, close: bool) {
        self.0.sockets.disconnect(target, close);
        let selection = Selection::Matching(target.clone());
        self.0.request(Request::Disconnect { selection, close });
    }

    /// Sends `["event", …]` to the servers themselves, other ones only.
    pub fn server_side_emit(&self, data: Argument) {
        self.0.request(Request::ServerSideEmit { request_id: None, data });
    }
}

impl Inner {
    /// The only way from here to the cluster.
    pub(super) fn publish(&self, frame: Result<Frame, Malformed>) -> bool {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                self.metrics.adapter_frames_refused.inc();
                tracing::error!(%error, "cluster: not published, since no member could read it");
                return false;
            }
        };
        match self.bus.publish(frame) {
            Ok(()) => true,
            Err(error @ PublishError::QueueFull) => {
                tracing::warn!(%error, "cluster: not published");
                false
            }
            Err(PublishError::Closed) => false,
        }
    }

    pub(super) fn request(&self, request: Request) -> bool {
        self.publish(self.names.request_frame(&self.uid, request))
    }

    /// Whether peers reach this member.
    pub(super) fn state(&self) -> Result<(), BusError> {
        if !self.bus.is_up() {
            return Err(BusError::Disconnected);
        }
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        if holds.iter().all(Subscription::is_confirmed) { Ok(()) } else { Err(BusError::Forbidden) }
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Pending<Waiter>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not counted any more from the moment when Redis has done it.
    pub(super) fn resign(&self) {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("uid", &self.0.uid).field("up", &self.is_up()).finish_non_exhaustive()
    }
}
