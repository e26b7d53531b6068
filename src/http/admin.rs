//! Every route of the admin port on one page, and its server.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{debug, health};
use crate::observe::{MemoryClasses, Metrics, Readiness, registry};

/// Answers `/debug/connections`: at most this many connections, as JSON.
pub type ConnectionList = Arc<dyn Fn(usize) -> serde_json::Value + Send + Sync>;

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// Counters of all parts.
    pub metrics: Arc<Metrics>,
    /// Conditions of all parts.
    pub readiness: Readiness,
    /// Bytes of all parts.
    pub memory: MemoryClasses,
    /// Open connections.
    pub connections: ConnectionList,
    /// Brings the gauges up to date that are counted only when somebody asks.
    pub count: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// All routes.
    pub fn router(self) -> Router {
        let registry = Arc::new(registry(&self.metrics, &self.memory));
        Router::new()
            // For orchestrators.
            .route("/livez", get(health::live))
            .route("/readyz", get(health::ready))
            .route("/healthz", get(health::ready))
            // For Prometheus.
            .route(
                "/metrics",
                get(move |State(admin): State<Self>| async move { exposition(&admin, &registry) }),
            )
            // For people.
            .route("/debug/memory", get(debug::memory))
            .route("/debug/connections", get(debug::connections))
            .route("/debug/heap", get(debug::heap))
            .with_state(self)
    }
}

/// Serves `router` until `stop`, then lets requests under way finish.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn exposition(admin: &Admin, registry: &Registry) -> Response {
    admin.metrics.ready.set(i64::from(admin.readiness.report().ready));
    (admin.count)();
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
