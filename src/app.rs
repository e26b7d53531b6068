//! Composition root: builds the parts, owns their tasks, orders the shutdown. The only file that sees all.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use serde_json::json;
use tokio::{net::TcpListener, runtime::Handle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{AuthSettings, Authenticator, bearer_token},
    canary::Canary,
    cluster::Member,
    config::Config,
    dispatch::{Audience, DispatchOptions},
    gateway::{Gateway, GatewayOptions},
    http::{self, Admin, AdminGrant, AskReplicas, Ops, Replica, Replicas},
    observe::{Condition, History, MemoryClasses, Metrics, Readiness, RuntimeLag, Sampler},
    reload::{Reload, Reread},
    runtimes::UpdateRuntime,
    shutdown::{self, Signals},
    sockets::SocketOptions,
    store::Store,
    tasks::Tasks,
    transport::{CloseReason, Engine, EngineOptions, Listener, ListenerOptions, Pair, Tls},
    upstream::{self, Upstream},
};

/// How often a wave of viewers is closed while draining.
const WAVE: Duration = Duration::from_millis(100);
/// How much of the grace period the waves may take.
const WAVES_SHARE: f64 = 0.6;
/// Viewers of a wave, at least: few viewers need not take long.
const WAVE_MIN: usize = 4;

/// Runs until a signal, then ends cleanly.
///
/// # Errors
/// A port is taken, a part could not be built, or a task ended that the process cannot do without.
pub async fn run(config: Config, reread: Reread) -> anyhow::Result<()> {
    let mut signals = Signals::install().context("cannot handle signals")?;
    let hangup = shutdown::hangup().context("cannot handle signals")?;
    let app = App::start(&config).await?;
    app.reload_with(Reload { hangup, reread, files: config.files });
    app.run(async || signals.next().await).await
}

/// The running process.
#[derive(Debug)]
struct App {
    gateway: Gateway,
    tasks: Tasks,
    stop_sources: CancellationToken,
    stop: CancellationToken,
    serving: Condition,
    grace: Duration,
    auth: Authenticator,
    tls: Option<Tls>,
    metrics: Arc<Metrics>,
    _lag: RuntimeLag,
    /// Dropped after the tasks that it runs.
    _updates: UpdateRuntime,
}

impl App {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let readiness = Readiness::default();
        let serving = readiness.condition("serving");
        let (public, tls, admin) = bind(config, &metrics).await?;
        let (public_addr, admin_addr) = (public.addr()?, admin.local_addr()?);
        if matches!(config.auth, AuthSettings::None) {
            tracing::warn!("authentication is off: everybody who reaches the public port sees every fleet");
        }
        let updates = UpdateRuntime::start().context("cannot start the runtime of updates")?;
        let runtimes = [Handle::current(), updates.handle().clone()];
        let lag = RuntimeLag::start(&runtimes, Arc::clone(&metrics)).context("cannot sample the runtime")?;

        let (stop_sources, stop) = (CancellationToken::new(), CancellationToken::new());
        let tasks = Tasks::default();
        let update_tasks = tasks.on(updates.handle());
        let mut upstream = {
            // What it spawns belongs to updates, too.
            let _entered = updates.handle().enter();
            Upstream::build(config, &metrics, &readiness)?
        };
        let interval = config.shared.canary.canary_interval;
        let own_key: Option<Arc<str>> =
            (!interval.is_zero()).then(|| format!("{:032x}", rand::random::<u128>()).into());
        if let Some(key) = own_key.clone() {
            let (entrance, condition) = (upstream.entrance(config)?, readiness.condition("canary"));
            let port = (public_addr, tls.as_ref().map(Tls::own_client));
            let canary = Canary::new(entrance, port, key, interval, metrics.clone(), condition);
            tasks.spawn("canary", canary.run(stop_sources.clone()));
        }
        let options = gateway_options(config, upstream.relays_only(), own_key);
        let cluster = upstream::cluster(config, &metrics, &readiness)?;
        let (auth, key_set) = Authenticator::build(&config.auth, &metrics, || readiness.condition("auth"))?;
        if let Some(key_set) = key_set {
            tasks.spawn("key-set", key_set.run(stop.clone()));
        }
        let (supply, all_tasks) = (upstream.supply(), (&tasks, &update_tasks));
        let gateway = Gateway::start(options, cluster, supply, auth.clone(), &metrics, all_tasks, &stop);
        let store = upstream.store.clone();
        upstream.start(&gateway, &metrics, &readiness, &update_tasks, &stop_sources, &stop);

        let memory = memory_classes(&gateway.engine, &gateway.audience, store.as_ref());
        let history = History::default();
        let sampler = Sampler::new(metrics.clone(), memory.clone(), history.clone());
        tasks.spawn("sampler", sampler.run(stop.clone()));
        let (connections, count) = (connections(&gateway.engine), zombies(&gateway.audience));
        let parts = Admin { metrics: metrics.clone(), readiness, memory, connections, count };
        tasks.spawn("admin-http", serve_admin(admin, parts, stop.clone()));
        let routes = public_routes(config, &gateway, &auth, history);
        tasks.spawn("listener", public.serve(Some(gateway.engine.clone()), routes, stop.clone()));
        tracing::info!(public = %public_addr, admin = %admin_addr, tls = tls.is_some(), "listening");
        serving.set_ready();
        let grace = config.shared.operation.shutdown_grace;
        Ok(Self {
            gateway,
            tasks,
            stop_sources,
            stop,
            serving,
            grace,
            auth,
            tls,
            metrics,
            _lag: lag,
            _updates: updates,
        })
    }

    /// Takes over what may change while the process runs.
    fn reload_with(&self, reload: Reload) {
        let (engine, users, auth) =
            (self.gateway.engine.clone(), self.gateway.users.clone(), self.auth.clone());
        let (tls, metrics) = (self.tls.clone(), self.metrics.clone());
        let apply = move |config: &Config| {
            // First, since it can fail, and then nothing else may have changed.
            renew_certificate(tls.as_ref(), config, &metrics)?;
            engine.set_admittance(config.shared.edge.admittance());
            users.set_connections_max(config.shared.edge.max_connections_per_user as usize);
            auth.reload();
            Ok(())
        };
        self.tasks.spawn("reload", reload.run(apply, self.stop.clone()));
    }

    /// Runs until a signal or the end of an essential task; both end the process in the same order.
    async fn run(self, mut next_signal: impl AsyncFnMut() -> &'static str) -> anyhow::Result<()> {
        let failure = tokio::select! {
            signal = next_signal() => {
                tracing::info!(signal, "stopping");
                None
            }
            ended = self.tasks.next_end() => {
                let task = ended.as_ref().map(|ended| ended.task);
                tracing::error!(task, "stopping: a task ended that the process cannot do without");
                ended
            }
        };
        self.serving.set_unready("shutting down");
        self.stop_sources.cancel();
        let orderly = async {
            drain(&self.gateway.engine, self.grace).await;
            self.stop.cancel();
            self.tasks.all_ended().await
        };
        let outcome = tokio::select! {
            ended = timeout(self.grace, orderly) => ended.unwrap_or_else(|_| {
                tracing::warn!("not everything ended within the grace period");
                Ok(())
            }),
            signal = next_signal() => {
                tracing::warn!(signal, "stopping at once");
                Ok(())
            }
        };
        failure.map_or(outcome, Err)?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn note_expiry(pair: &Pair, metrics: &Metrics) {
    metrics.tls_certificate_expires.set(pair.holds_until().unwrap_or_default());
}

/// Whether TLS is spoken at all is decided once, at start.
fn renew_certificate(tls: Option<&Tls>, config: &Config, metrics: &Metrics) -> Result<(), String> {
    let (Some(tls), Some(files)) = (tls, config.shared.ports.tls()) else { return Ok(()) };
    let pair = files.load().map_err(|error| {
        metrics.tls_reloads_failed.inc();
        error.to_string()
    })?;
    note_expiry(&pair, metrics);
    tls.replace(pair);
    Ok(())
}

/// Both ports, before anything else is built: a port that is taken ends the start.
async fn bind(
    config: &Config,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Listener, Option<Tls>, TcpListener)> {
    let ports = &config.shared.ports;
    let limits = ListenerOptions::for_sessions(config.shared.edge.max_connections as usize);
    let public = Listener::bind(ports.listen, limits, metrics.clone())
        .with_context(|| format!("cannot listen on {} (FLEETCAST_LISTEN)", ports.listen))?;
    let tls = ports.tls().map(|files| files.load()).transpose()?.map(|pair| {
        note_expiry(&pair, metrics);
        Tls::new(pair)
    });
    let admin = TcpListener::bind(ports.admin_listen)
        .await
        .with_context(|| format!("cannot listen on {} (FLEETCAST_ADMIN_LISTEN)", ports.admin_listen))?;
    Ok((public.with_tls(tls.clone()), tls, admin))
}

/// Socket.IO, the page and its configuration, and what the operations page draws.
fn public_routes(config: &Config, gateway: &Gateway, auth: &Authenticator, history: History) -> Router {
    let replica = config.shared.operation.replica();
    let page = http::page_config(&config.shared.page, &replica, config.auth.name());
    let page = http::with_security_headers(page.merge(http::web_client()), &config.shared.page);
    let ask_replicas = ask_replicas(gateway.member.clone(), replica.clone());
    let ops = Ops { replica, history, may_see: admin_grant(auth.clone()), ask_replicas };
    gateway.routes().merge(page).merge(ops.router())
}

async fn serve_admin(listener: TcpListener, parts: Admin, stop: CancellationToken) {
    if let Err(error) = http::serve(listener, parts.router(), stop).await {
        tracing::error!(%error, "cannot serve the admin port any more");
    }
}

fn gateway_options(config: &Config, relay_only: bool, own_key: Option<Arc<str>>) -> GatewayOptions {
    let edge = &config.shared.edge;
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    GatewayOptions {
        engine: EngineOptions {
            ping_interval_ms: ms(edge.ping_interval),
            ping_timeout_ms: ms(edge.ping_timeout),
            message_bytes_max: edge.max_message_bytes as usize,
            viewer_queue_bytes: edge.viewer_queue_bytes as usize,
            slow_timeout_ms: ms(edge.slow_timeout),
            admittance: edge.admittance(),
            own_key,
            is_secure: config.shared.ports.tls().is_some(),
            ..EngineOptions::default()
        },
        dispatch: DispatchOptions {
            shards: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            payload: edge.payload,
            frame_bytes_max: edge.viewer_queue_bytes as usize / 2,
            relay_only,
        },
        sockets: SocketOptions {
            room_prefix: edge.room_prefix.clone(),
            subscriptions_max: edge.max_subscriptions as usize,
            connections_per_user_max: edge.max_connections_per_user as usize,
            shapes: config.shared.shapes,
            confirm_timeout: Duration::from_secs(3),
        },
        replica: config.shared.operation.replica(),
    }
}

/// Closes all transports in even waves, so that stock clients come back elsewhere, and not all at once.
async fn drain(engine: &Engine, grace: Duration) {
    engine.begin_drain();
    let sessions = engine.sessions();
    let waves = (grace.as_secs_f64() * WAVES_SHARE / WAVE.as_secs_f64()).floor().max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
    let wave = sessions.len().div_ceil(waves as usize).max(WAVE_MIN);
    for (index, chunk) in sessions.chunks(wave).enumerate() {
        if index > 0 {
            tokio::time::sleep(WAVE).await;
        }
        for session in chunk {
            session.close(CloseReason::Shutdown);
        }
    }
    engine.close_all(CloseReason::Shutdown);
    // What the disconnect handlers still do is short; their log lines belong to this process.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn memory_classes(engine: &Engine, audience: &Arc<Audience>, store: Option<&Store>) -> MemoryClasses {
    let classes = MemoryClasses::default();
    if let Some(Store::Memory(store)) = store {
        let (states, tracks) = (store.clone(), store.clone());
        classes.register("state", move || states.state_bytes() as u64);
        classes.register("tracks", move || tracks.track_bytes() as u64);
    }
    let rooms = audience.clone();
    classes.register("rooms", move || rooms.bytes() as u64);
    let (connections, queues) = (engine.clone(), engine.clone());
    classes.register("connections", move || connections.memory().0 as u64);
    classes.register("queues", move || queues.memory().1 as u64);
    classes
}

/// Whose requests may see `/api/ops`.
fn admin_grant(auth: Authenticator) -> AdminGrant {
    Arc::new(move |headers| {
        let bearer = headers.get(::http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        auth.is_admin(bearer.and_then(bearer_token))
    })
}

fn ask_replicas(member: Member, name: String) -> AskReplicas {
    let ask = move |member: Member, name: String| async move {
        let (others, count) = member.others_by_name().await;
        let mut this = member.who();
        this["id"] = name.into();
        let read = |who| serde_json::from_value::<Replica>(who).ok();
        let known: Vec<Replica> = [this].into_iter().chain(others).filter_map(read).collect();
        let silent = (count + 1).saturating_sub(known.len());
        Replicas { known, silent }
    };
    Arc::new(move || Box::pin(ask(member.clone(), name.clone())))
}

fn zombies(audience: &Arc<Audience>) -> Arc<dyn Fn() + Send + Sync> {
    let audience = audience.clone();
    Arc::new(move || audience.count_zombies())
}

fn connections(engine: &Engine) -> http::ConnectionList {
    let engine = engine.clone();
    Arc::new(move |limit| {
        let session = |session: &Arc<crate::transport::Session>| {
            let handshake = session.handshake();
            json!({
                "ip": handshake.address,
                "eio": session.protocol().number(),
                "transport": session.transport(),
                "connected_ms": crate::clock::epoch_ms() - handshake.issued_ms,
                "backlog_bytes": session.backlog_bytes(),
            })
        };
        engine.sessions().iter().filter(|session| !session.is_own()).take(limit).map(session).collect()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{DemoRun, Environment};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: DemoRun,
    }

    async fn demo() -> App {
        let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--shutdown-grace", "2s"];
        let line = Line::try_parse_from(["fleetcast"].iter().chain(&ports)).unwrap();
        let environment = Environment::read(&<Line as clap::CommandFactory>::command());
        App::start(&Config::demo(line.run, &environment).unwrap()).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_essential_task_that_panics_or_ends_stops_the_process_with_its_name() {
        let app = demo().await;
        app.tasks.spawn("shard", async { panic!("a bug") });
        let error = app.run(async || std::future::pending().await).await.unwrap_err();
        assert_eq!(error.to_string(), "the task `shard` panicked: a bug");

        let app = demo().await;
        app.tasks.spawn("feed", async {});
        let error = app.run(async || std::future::pending().await).await.unwrap_err();
        assert_eq!(error.to_string(), "the task `feed` ended by itself");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_part_is_an_essential_task_and_a_signal_ends_them_all_without_an_error() {
        let app = demo().await;
        let shards = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        assert_eq!(app.tasks.names(), {
            let mut names = vec!["shard"; shards];
            names.extend([
                "admin-http",
                "canary",
                "expiries",
                "listener",
                "pipeline",
                "regions",
                "relay",
                "sampler",
                "session-sweeper",
            ]);
            names.sort_unstable();
            names
        });
        let mut signals = ["SIGTERM"].into_iter();
        let next = async || match signals.next() {
            Some(signal) => signal,
            None => std::future::pending().await,
        };
        app.run(next).await.unwrap();
    }
}
