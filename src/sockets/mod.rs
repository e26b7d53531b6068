//! One dashboard's Socket.IO connection: the handshake, its subscriptions, its end.
//!
//! Owns the handlers that socketioxide calls. Invariant: everything a connection holds hangs on one
//! [`Connected`] value in the socket's extensions, so however the socket ends, dropping it ends all.
//! Knows nothing of sources.

mod allowance;
mod canary;
mod connect;
mod expiry;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
mod history;
mod local;
mod refresh;
mod region;
mod requests;
mod subscribe;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use socketioxide::{
    extract::{AckSender, Event, SocketRef, TryData},
    handler::ConnectHandler,
};

use crate::{
    auth::{Authenticator, Grants},
    cluster::{ClusterAdapter, Io},
    dispatch::{Audience, Dispatcher, Identity, Membership, Viewer, regions::Regions},
    feed::Feed,
    fleet::FleetId,
    observe::Metrics,
    protocol::{ErrorCode, ProtocolError as Refusal},
    region::{MaySee, ShapeLimits},
    store::Store,
    transport::Session,
};

pub use expiry::{Expiries, watch as watch_expiries};
pub use local::LocalViewers;
use region::OwnRegions;
use requests::{Request, Requests};

pub(crate) type Socket = SocketRef<ClusterAdapter>;

/// How connections are served.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// Before the fleet's id in room names.
    pub room_prefix: String,
    /// How many fleets one viewer may watch.
    pub subscriptions_max: usize,
    /// What a region may cost.
    pub shapes: ShapeLimits,
    /// How long a CONNECT may wait for the confirmation of its subscriptions.
    pub confirm_timeout: Duration,
}

/// What all connections share.
#[derive(Debug)]
pub struct Hub {
    /// Fan-out.
    pub dispatcher: Dispatcher,
    /// Rooms.
    pub audience: Arc<Audience>,
    /// Regions.
    pub regions: Regions,
    /// Interest in fleets.
    pub feed: Feed,
    /// What is read once, on request; a relay has none.
    pub store: Option<Store>,
    /// Who may connect.
    pub auth: Authenticator,
    /// Whose grants end when.
    pub expiries: Expiries,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Limits.
    pub options: SocketOptions,
}

/// Everything one connection holds.
pub(crate) struct Connected {
    viewer: Viewer,
    memberships: Mutex<Vec<Membership>>,
    requests: Requests,
    regions: Mutex<OwnRegions>,
    /// How often it may still ask the store.
    reads: Mutex<allowance::Allowance>,
    /// Held to clone the pointer, never across an await.
    grants: RwLock<Arc<Grants>>,
    /// Has shown that it knows more than the legacy contract.
    is_modern: AtomicBool,
    hub: Arc<Hub>,
}

impl Connected {
    fn new(hub: Arc<Hub>, session: Arc<Session>, identity: Identity, grants: Grants) -> Self {
        let viewer = Viewer::new(session);
        hub.audience.enter(viewer.clone(), identity);
        let (memberships, regions) = (Mutex::default(), Mutex::default());
        let reads = Mutex::new(history::allowance());
        let (grants, is_modern) = (RwLock::new(Arc::new(grants)), AtomicBool::new(false));
        let requests = Requests::default();
        Self { viewer, memberships, regions, reads, grants, is_modern, requests, hub }
    }

    fn memberships(&self) -> std::sync::MutexGuard<'_, Vec<Membership>> {
        self.memberships.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn regions(&self) -> std::sync::MutexGuard<'_, OwnRegions> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fleets and regions.
    fn subscriptions(&self) -> usize {
        self.memberships().len() + self.regions().cells.len()
    }

    /// What this viewer was granted.
    fn grants(&self) -> Arc<Grants> {
        self.grants.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which fleets this viewer was granted.
    fn may_see(&self) -> MaySee {
        let grants = self.grants();
        Arc::new(move |fleet: &FleetId| grants.may_see(fleet))
    }

    /// A refusal that says no more than the viewer's own token does: whether the fleet exists makes no
    /// difference.
    fn granted(&self, fleet: &FleetId) -> Result<(), Refusal> {
        if self.grants().may_see(fleet) {
            return Ok(());
        }
        self.hub.metrics.fleets_denied.inc();
        Err(Refusal::new(ErrorCode::Forbidden, "the fleet is not granted"))
    }

    fn room(&self, fleet: &FleetId) -> String {
        [&self.hub.options.room_prefix, fleet.as_str()].concat()
    }

    /// Keeps a membership, instead of an earlier one of the same fleet.
    fn keep(&self, membership: Membership) {
        let mut memberships = self.memberships();
        memberships.retain(|known| known.fleet != membership.fleet);
        memberships.push(membership);
    }

    fn forget(&self, fleet: &FleetId) {
        self.memberships().retain(|known| known.fleet != *fleet);
        self.hub.audience.leave(self.viewer.id, &self.room(fleet));
    }

    /// Lets the snapshot of a fleet go out.
    async fn open(&self, fleet: &FleetId) {
        let opening = self.memberships().iter().find(|known| known.fleet == *fleet).map(Membership::open);
        if let Some(opening) = opening {
            opening.await;
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if !self.regions().cells.is_empty() {
            self.hub.regions.forget(self.viewer.id);
        }
        self.hub.audience.exit(self.viewer.id);
        self.hub.expiries.forget(self.viewer.id);
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("viewer", &self.viewer.id).finish_non_exhaustive()
    }
}

/// Serves the main namespace.
pub fn serve(io: &Io, hub: &Arc<Hub>) {
    let admitting = hub.clone();
    let admit = async move |socket: Socket, auth: TryData<Value>| {
        connect::admit(admitting.clone(), socket, auth.0.ok()).await
    };
    // Everything is set up before CONNECT is sent; a handler that runs after it would be too late for a
    // client's first event, and for its disconnect.
    io.ns("/", (async || {}).with(admit));
}

/// One handler for all events: a table of handlers per socket would cost more than the socket. It is called
/// in the order of the packets; what it returns runs beside others.
fn event(
    socket: Socket,
    Event(name): Event,
    data: TryData<Value>,
    ack: AckSender<ClusterAdapter>,
) -> impl Future<Output = ()> + Send {
    let connected = socket.extensions.get::<Arc<Connected>>();
    let body = data.0.unwrap_or(Value::Null);
    let turn = connected.and_then(|connected| requests::take(&connected, Request { name, body, ack }));
    async move {
        if let Some(turn) = turn {
            turn.serve(socket).await;
        }
    }
}

async fn serve_request(socket: &Socket, connected: &Arc<Connected>, request: Request) {
    let Request { name, body, ack } = request;
    connected.is_modern.store(true, Ordering::Relaxed);
    match name.as_str() {
        "fleet_subscribe" => subscribe::fleet(socket, connected, body, ack).await,
        "fleet_unsubscribe" => subscribe::leave(connected, &body, ack),
        "region_subscribe" => region::watch(socket, connected, body, ack).await,
        "region_unsubscribe" => region::unwatch(connected, &body, ack).await,
        "asset_history" => history::track(connected, body, ack).await,
        "fleets" => history::fleets(connected, ack).await,
        "auth_refresh" => refresh::token(connected, &body, ack).await,
        _ => {} // As Node does with events that nobody handles.
    }
}
