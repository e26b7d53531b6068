//! Composition root: builds the parts, owns their tasks, orders the shutdown. The only file that sees all.

use std::sync::Arc;

use anyhow::Context;
use tokio::{net::TcpListener, runtime::Handle, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    http::{self, Admin},
    observe::{MemoryClasses, Metrics, Readiness, RuntimeLag},
    shutdown::Signals,
};

/// Runs until a signal, then ends cleanly.
///
/// # Errors
/// A port is taken, or a part ended early.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::install().context("cannot handle signals")?;
    let metrics = Arc::new(Metrics::default());
    let readiness = Readiness::default();
    let serving = readiness.condition("serving");
    let ports = &config.shared.ports;
    let public = bind(ports.listen, "FLEETCAST_LISTEN").await?;
    let admin = bind(ports.admin_listen, "FLEETCAST_ADMIN_LISTEN").await?;
    let lag =
        RuntimeLag::start(Handle::current(), Arc::clone(&metrics)).context("cannot sample the runtime")?;
    let (public_addr, admin_addr) = (public.local_addr()?, admin.local_addr()?);

    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let parts = Admin {
        metrics,
        readiness,
        memory: MemoryClasses::default(),
        connections: Arc::new(|_| serde_json::Value::Array(Vec::new())),
    };
    tasks.spawn(http::serve(admin, parts.router(), stop.clone()));
    tracing::info!(public = %public_addr, admin = %admin_addr, "listening");
    serving.set_ready();

    let signal = signals.next().await;
    tracing::info!(signal, "stopping");
    serving.set_unready("shutting down");
    stop.cancel();
    let ended = timeout(config.shared.shutdown.shutdown_grace, tasks.join_all()).await;
    if ended.is_err() {
        tracing::warn!("some requests did not end within the grace period");
    }
    drop(lag);
    Ok(())
}

async fn bind(addr: std::net::SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr} ({variable})"))
}
