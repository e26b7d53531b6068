//! The public port: accepts connections and serves HTTP on them, with a deadline for every request's
//! head. A websocket leaves HTTP by its upgrade and is a session's from then on.
//!
//! Invariants: no more HTTP connections than the limit, whatever they send or do not send; a connection
//! that ended, or whose task panicked, is forgotten at once; no error of one ends the accepting of others.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Engine, REQUEST_TIMEOUT, Tls};
use crate::observe::Metrics;

/// How long to wait when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the log says that accepting fails, or that there are too many.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(5);
/// HTTP connections beyond the limit of sessions: requests of those who are not in, such as for the page.
const MARGIN: usize = 1024;
/// What a connection beyond the limit gets, if its socket takes it at once.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// Bytes that the kernel may hold for one viewer (it allows twice this). Left to itself it would hold
/// megabytes of stale updates, which can be neither conflated nor counted.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT_MS: u32 = 30_000;

/// The client's address, in the extensions of every request.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

/// What connections may cost before they are sessions.
#[derive(Debug, Clone, Copy)]
pub struct ListenerOptions {
    /// How many HTTP connections there may be. Websockets have left HTTP and count as sessions.
    pub connections_max: usize,
    /// How long the head of a request may take. The first byte of a connection has as long, and with TLS
    /// its whole handshake.
    pub head_timeout: Duration,
}

impl ListenerOptions {
    /// The limits that go with so many sessions.
    #[must_use]
    pub fn for_sessions(sessions_max: usize) -> Self {
        Self { connections_max: sessions_max.saturating_add(MARGIN), head_timeout: REQUEST_TIMEOUT }
    }
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    options: ListenerOptions,
    tls: Option<Tls>,
    metrics: Arc<Metrics>,
    complained: Option<Instant>,
}

impl Listener {
    /// Binds `addr`.
    ///
    /// # Errors
    /// The address is in use or not ours.
    pub fn bind(addr: SocketAddr, options: ListenerOptions, metrics: Arc<Metrics>) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        prepare(&socket);
        socket.listen(4096)?;
        let socket = TcpListener::from_std(socket.into())?;
        Ok(Self { socket, options, tls: None, metrics, complained: None })
    }

    /// Speaks TLS, and nothing else, from now on.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// The bound address.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves `router` until `stop`, then lets requests under way finish. Websockets of new sessions go to
    /// `engine` directly.
    pub async fn serve(mut self, engine: Option<Engine>, router: Router, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // A connection whose task panicked is one connection less, and nothing else: the panic
                // has been logged and counted.
                Some(_) = connections.join_next() => {}
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) if connections.len() >= self.options.connections_max => self.refuse(&stream),
                    Ok((stream, peer)) => {
                        let seat = engine.as_ref().map_or(Ok(None), |engine| engine.admit_socket(peer.ip()));
                        let Ok(seat) = seat else {
                            self.refuse(&stream);
                            continue;
                        };
                        let (engine, router, stop) = (engine.clone(), router.clone(), stop.clone());
                        let head_timeout = self.options.head_timeout;
                        // Two tasks and not one: who comes without TLS need not hold room for it.
                        if let Some(tls) = self.tls.clone() {
                            let metrics = self.metrics.clone();
                            connections.spawn(async move {
                                let _seat = seat;
                                if let Some(stream) = secure(&tls, stream, head_timeout, &metrics, &stop).await {
                                    connection(stream, peer, router, head_timeout, stop).await;
                                }
                            });
                        } else {
                            connections.spawn(async move {
                                let _seat = seat;
                                let first = first(engine, stream, peer, head_timeout, &stop).await;
                                if let Some(stream) = first {
                                    connection(stream, peer, router, head_timeout, stop).await;
                                }
                            });
                        }
                    }
                    Err(error) => self.failed(&error).await,
                },
            }
            self.note(connections.len());
        }
        while connections.join_next().await.is_some() {}
        self.note(0);
    }

    fn note(&self, connections: usize) {
        self.metrics.http_connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    fn refuse(&mut self, stream: &TcpStream) {
        self.metrics.accepts_refused.inc();
        // Best effort: whoever has sent nothing yet can read it. There is no saying it in TLS without a handshake.
        if self.tls.is_none() {
            stream.try_write(BUSY).ok();
        }
        if self.may_complain() {
            let connections_max = self.options.connections_max;
            tracing::warn!(connections_max, "too many HTTP connections, in all or of one address");
        }
    }

    /// Out of descriptors: those who are here are served on, new ones wait. A client that left before it
    /// was accepted is no reason to wait.
    async fn failed(&mut self, error: &io::Error) {
        self.metrics.accept_errors.inc();
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        if self.may_complain() {
            tracing::warn!(%error, "accepting a connection failed");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    fn may_complain(&mut self) -> bool {
        let may = self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT_PAUSE);
        if may {
            self.complained = Some(Instant::now());
        }
        may
    }
}

/// Options that the kernel hands on to every socket accepted here. Best effort: a connection without them
/// still works.
fn prepare(socket: &socket2::Socket) {
    socket.set_tcp_nodelay(true).ok();
    socket.set_send_buffer_size(SEND_BUFFER_BYTES).ok();
    rustix::net::sockopt::set_tcp_user_timeout(socket, USER_TIMEOUT_MS).ok();
}

/// The connection's first bytes: gives it back if they are for the HTTP server.
async fn first(
    engine: Option<Engine>,
    stream: TcpStream,
    peer: SocketAddr,
    head_timeout: Duration,
    stop: &CancellationToken,
) -> Option<TcpStream> {
    let Some(engine) = engine else { return Some(stream) };
    let taking = tokio::time::timeout(head_timeout, engine.take_websocket(stream, peer));
    stop.run_until_cancelled(taking).await?.ok()?
}

/// The TLS handshake. Who breaks it or does not finish it is gone, and counted.
async fn secure(
    tls: &Tls,
    stream: TcpStream,
    head_timeout: Duration,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    let accepting = tokio::time::timeout(head_timeout, tls.acceptor().accept(stream));
    match stop.run_until_cancelled(accepting).await? {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(_)) | Err(_) => {
            metrics.tls_handshakes_failed.inc();
            None
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    head_timeout: Duration,
    stop: CancellationToken,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(16 * 1024);
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

    struct Served {
        addr: SocketAddr,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn serve(connections_max: usize, head_timeout: Duration) -> Served {
        serve_with(connections_max, head_timeout, None)
    }

    fn serve_with(connections_max: usize, head_timeout: Duration, tls: Option<Tls>) -> Served {
        let (metrics, stop) = (Arc::new(Metrics::default()), CancellationToken::new());
        let options = ListenerOptions { connections_max, head_timeout };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), options, metrics.clone()).unwrap();
        let listener = listener.with_tls(tls);
        let addr = listener.addr().unwrap();
        let broken = get(async || -> &str { panic!("a bug in one request") });
        let router = Router::new().route("/", get(async || "fine")).route("/broken", broken);
        Served { addr, metrics, task: tokio::spawn(listener.serve(None, router, stop.clone())), stop }
    }

    /// Everything that comes until the other side closes.
    async fn ask(addr: SocketAddr, request: &str) -> String {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        rest(&mut socket).await
    }

    async fn rest(socket: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer));
        read.await.expect("an end in time").ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn until(served: &Served, connections: i64) {
        let wait = async {
            while served.metrics.http_connections.get() != connections {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(10), wait).await;
        assert!(seen.is_ok(), "{} and not {connections}", served.metrics.http_connections.get());
    }

    #[tokio::test]
    async fn idle_sockets_fill_the_limit_and_not_the_process_and_go_by_themselves() {
        let served = serve(3, Duration::from_millis(600));
        let mut idle = Vec::new();
        for _ in 0..3 {
            idle.push(TcpStream::connect(served.addr).await.unwrap());
        }
        until(&served, 3).await;
        let mut refused = TcpStream::connect(served.addr).await.unwrap();
        assert!(rest(&mut refused).await.starts_with("HTTP/1.1 503"));
        assert_eq!(served.metrics.accepts_refused.get(), 1);
        // Neither silence nor a head that trickles in keeps a place; and nobody else need come for it.
        idle[0].write_all(b"GET / HT").await.unwrap();
        until(&served, 0).await;
        assert!(ask(served.addr, REQUEST).await.ends_with("fine"));
        served.stop.cancel();
        served.task.await.unwrap();
    }

    #[tokio::test]
    async fn options_are_handed_on_to_what_is_accepted() {
        let options = ListenerOptions::for_sessions(1);
        let listener =
            Listener::bind("127.0.0.1:0".parse().unwrap(), options, Arc::new(Metrics::default())).unwrap();
        let _client = TcpStream::connect(listener.addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.socket.accept().await.unwrap();
        let socket = socket2::SockRef::from(&accepted);
        assert!(accepted.nodelay().unwrap());
        assert_eq!(socket.send_buffer_size().unwrap(), 2 * SEND_BUFFER_BYTES);
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&accepted).unwrap(), USER_TIMEOUT_MS);
    }

    #[tokio::test]
    async fn a_head_that_trickles_in_has_one_deadline_and_not_one_per_byte() {
        let served = serve(3, Duration::from_millis(300));
        let mut slow = TcpStream::connect(served.addr).await.unwrap();
        let begun = Instant::now();
        for byte in REQUEST.as_bytes().iter().cycle() {
            if slow.write_all(&[*byte]).await.is_err() || begun.elapsed() > Duration::from_secs(5) {
                break;
            }
            if served.metrics.http_connections.get() == 0 && begun.elapsed() > Duration::from_millis(250) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_tls_handshake_has_a_deadline_and_a_place_like_any_head() {
        let served = serve_with(2, Duration::from_millis(400), Some(Tls::for_test()));
        let begun = Instant::now();
        let mut silent = TcpStream::connect(served.addr).await.unwrap();
        let mut trickling = TcpStream::connect(served.addr).await.unwrap();
        until(&served, 2).await;
        // The beginning of a record that never ends.
        trickling.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        assert_eq!(rest(&mut TcpStream::connect(served.addr).await.unwrap()).await, "");
        assert_eq!(served.metrics.accepts_refused.get(), 1);
        until(&served, 0).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!((rest(&mut silent).await.as_str(), rest(&mut trickling).await.as_str()), ("", ""));
        // Who speaks no TLS is no guest either.
        assert!(!ask(served.addr, REQUEST).await.contains("HTTP"));
        assert_eq!(served.metrics.tls_handshakes_failed.get(), 3);
        served.stop.cancel();
        served.task.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_ends_one_connection_and_nobody_elses() {
        let served = serve(3, Duration::from_secs(5));
        let mut other = TcpStream::connect(served.addr).await.unwrap();
        until(&served, 1).await;
        assert_eq!(ask(served.addr, "GET /broken HTTP/1.1\r\nHost: h\r\n\r\n").await, "");
        other.write_all(REQUEST.as_bytes()).await.unwrap();
        assert!(rest(&mut other).await.ends_with("fine"));
        until(&served, 0).await;
    }
}
