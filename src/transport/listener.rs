//! The public port: accepts connections and serves HTTP on them, with a deadline for every request's
//! head. A websocket leaves HTTP by its upgrade and is a session's from then on.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::REQUEST_TIMEOUT;
use crate::observe::Metrics;

/// How long to wait when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes that the kernel may hold for one viewer (it allows twice this). Left to itself it would hold
/// megabytes of stale updates, which can be neither conflated nor counted.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT_MS: u32 = 30_000;

/// The client's address, in the extensions of every request.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    metrics: Arc<Metrics>,
}

impl Listener {
    /// Binds `addr`.
    ///
    /// # Errors
    /// The address is in use or not ours.
    pub fn bind(addr: SocketAddr, metrics: Arc<Metrics>) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(4096)?;
        Ok(Self { socket: TcpListener::from_std(socket.into())?, metrics })
    }

    /// The bound address.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves `router` until `stop`, then lets requests under way finish.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        while let Some(accepted) = stop.run_until_cancelled(self.socket.accept()).await {
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    prepare(&stream);
                    connections.spawn(connection(stream, peer, router.clone(), stop.clone()));
                }
                Err(error) => {
                    // Out of descriptors: those who are here are served on, new ones wait.
                    self.metrics.accept_errors.inc();
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        while connections.join_next().await.is_some() {}
    }
}

fn prepare(stream: &TcpStream) {
    // Options are best effort: a connection without them still works.
    stream.set_nodelay(true).ok();
    socket2::SockRef::from(stream).set_send_buffer_size(SEND_BUFFER_BYTES).ok();
    rustix::net::sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MS).ok();
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT).max_buf_size(16 * 1024);
    let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(PeerAddr(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    let serving = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(serving);
    // Errors here are the client's: it left, or sent no HTTP.
    tokio::select! {
        _ = serving.as_mut() => return,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await.ok();
}
