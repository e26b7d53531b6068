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
    cluster::{self, ClusterAdapter, ClusterState, Io, LocalSockets, Member, Rooms},
    dispatch::{Audience, DispatchOptions, Dispatcher, Loader},
    feed::Feed,
    observe::Metrics,
    sockets::{self, Hub, LocalViewers, SocketOptions},
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
}

impl Gateway {
    /// Starts the shards, the sweeper and the cluster on `tasks`; they end with `stop`. Without `cluster`
    /// the sockets of this replica are all there are.
    #[must_use]
    pub fn start(
        options: GatewayOptions,
        cluster: Option<cluster::Connection>,
        feed: Feed,
        loader: &Loader,
        metrics: &Arc<Metrics>,
        tasks: &Tasks,
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
        let dispatcher = Dispatcher::start(&options.dispatch, loader, metrics, tasks, stop);
        let rooms = cluster.as_ref().map_or_else(Rooms::unneeded, cluster::Connection::rooms);
        let audience = Arc::new(Audience::new(rooms, metrics.clone()));
        let hub = Arc::new(Hub {
            dispatcher: dispatcher.clone(),
            audience: audience.clone(),
            feed,
            metrics: metrics.clone(),
            options: options.sockets,
        });
        sockets::serve(&io, &hub);
        let viewers = LocalViewers::new(audience.clone(), io, state.clone(), metrics.clone());
        state.join(join_cluster(cluster, Arc::new(viewers), metrics, tasks, stop));
        let engine = Engine::new(
            options.engine,
            metrics.clone(),
            Arc::new(move |bridge, request| {
                // The request is ours and well formed; its answer is the stream.
                drop(service.clone().call((bridge, request)));
            }),
        );
        tasks.spawn("session-sweeper", engine.clone().run(stop.clone()));
        Self { engine, dispatcher, audience }
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
    viewers: Arc<dyn LocalSockets>,
    metrics: &Arc<Metrics>,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Member {
    let Some(connection) = connection else { return Member::alone(viewers, metrics.clone()) };
    let settings = cluster::Settings { replica: replica_name(), ..cluster::Settings::default() };
    let (member, task) = connection.join(settings, viewers);
    tasks.spawn("cluster", task.run(stop.clone()));
    member
}

/// For people who ask the cluster who is there: the host's name, which is the pod's on Kubernetes.
fn replica_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}
