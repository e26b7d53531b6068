//! The serving half of the process: the edge, socketioxide above it, and dispatch below the handlers.
//!
//! Owns how these three are tied together, and nothing of where updates come from.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::any};
use http::Request;
use socketioxide::SocketIo;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::{
    auth::Authenticator,
    cluster::{self, ClusterAdapter, ClusterState, Io, LocalSockets, Member, Rooms},
    dispatch::{
        Audience, DispatchOptions, Dispatcher, Heads, Loader,
        regions::{CellSource, Regions},
    },
    feed::Feed,
    observe::Metrics,
    sockets::{self, Expiries, Hub, LocalViewers, SocketOptions, Users},
    store::Store,
    tasks::Tasks,
    transport::{Engine, EngineOptions},
};

/// socketioxide's heartbeat never beats: sessions have their own.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How to serve.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The edge.
    pub engine: EngineOptions,
    /// Fan-out.
    pub dispatch: DispatchOptions,
    /// Connections.
    pub sockets: SocketOptions,
    /// Who this is, for people who ask the cluster who is there.
    pub replica: String,
}

/// What the gateway is supplied with.
#[expect(missing_debug_implementations, reason = "closures have nothing to show")]
pub struct Supply {
    /// Updates of watched fleets.
    pub feed: Feed,
    /// The state of a fleet.
    pub loader: Loader,
    /// The number of a fleet.
    pub heads: Heads,
    /// The assets of cells.
    pub cells: Arc<dyn CellSource>,
    /// The store, if there is one.
    pub store: Option<Store>,
}

/// The edge, the handlers and dispatch, running.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Sessions of all connections.
    pub engine: Engine,
    /// Fan-out.
    pub dispatcher: Dispatcher,
    /// Rooms.
    pub audience: Arc<Audience>,
    /// Regions.
    pub regions: Regions,
    /// How many connections each user has.
    pub users: Arc<Users>,
    /// This replica among the others.
    pub member: Member,
}

impl Gateway {
    /// Starts the sweeper and the cluster on the first of `tasks`, the shards on the second, which are of
    /// updates; they end with `stop`. Without `cluster`
    /// the sockets of this replica are all there are.
    #[must_use]
    pub fn start(
        options: GatewayOptions,
        cluster: Option<cluster::Connection>,
        supply: Supply,
        auth: Authenticator,
        metrics: &Arc<Metrics>,
        (tasks, update_tasks): (&Tasks, &Tasks),
        stop: &CancellationToken,
    ) -> Self {
        let message_bytes_max = options.engine.message_bytes_max;
        let state = ClusterState::default();
        let (service, io): (_, Io) = SocketIo::builder()
            .with_adapter::<ClusterAdapter>(state.clone())
            .ping_interval(NEVER)
            .ping_timeout(NEVER)
            .ws_read_buffer_size(256)
            .ws_max_message_size(message_bytes_max + 16)
            .ws_max_frame_size(message_bytes_max + 16)
            .build_svc();
        let dispatcher =
            Dispatcher::start(&options.dispatch, &supply.loader, &supply.heads, metrics, update_tasks, stop);
        let regions = Regions::start(supply.cells, metrics, update_tasks, stop);
        let rooms = cluster.as_ref().map_or_else(Rooms::unneeded, cluster::Connection::rooms);
        let audience = Arc::new(Audience::new(rooms, metrics.clone()));
        let users = Arc::new(Users::new(options.sockets.connections_per_user_max));
        let hub = Arc::new(Hub {
            dispatcher: dispatcher.clone(),
            audience: audience.clone(),
            regions: regions.clone(),
            feed: supply.feed,
            store: supply.store,
            auth,
            expiries: Expiries::default(),
            users: users.clone(),
            metrics: metrics.clone(),
            options: options.sockets,
        });
        sockets::serve(&io, &hub);
        tasks.spawn("expiries", sockets::watch_expiries(hub, stop.clone()));
        let viewers = LocalViewers::new(audience.clone(), io, state.clone(), metrics.clone());
        let member = join_cluster(cluster, options.replica, Arc::new(viewers), metrics, tasks, stop);
        state.join(member.clone());
        let engine = Engine::new(
            options.engine,
            metrics.clone(),
            Arc::new(move |bridge, request| {
                // The request is ours and well formed; its answer is the stream.
                drop(service.clone().call((bridge, request)));
            }),
        );
        tasks.spawn("session-sweeper", engine.clone().run(stop.clone()));
        Self { engine, dispatcher, audience, regions, users, member }
    }

    /// The routes of Socket.IO.
    pub fn routes(&self) -> Router {
        let engine = self.engine.clone();
        let handle = any(move |request: Request<Body>| engine.clone().handle(request));
        Router::new()
            .route("/socket.io", handle.clone())
            .route("/socket.io/", handle.clone())
            .route("/socket.io/{*rest}", handle)
    }
}

fn join_cluster(
    connection: Option<cluster::Connection>,
    replica: String,
    viewers: Arc<dyn LocalSockets>,
    metrics: &Arc<Metrics>,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Member {
    let Some(connection) = connection else { return Member::alone(viewers, metrics.clone()) };
    let settings = cluster::Settings { replica, ..cluster::Settings::default() };
    let (member, task) = connection.join(settings, viewers);
    tasks.spawn("cluster", task.run(stop.clone()));
    member
}
