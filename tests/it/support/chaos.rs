//! A TCP proxy on loopback that breaks the link behind it as networks do.
//! Invariant: it never makes up or reorders bytes; a fault only delays, withholds or ends them.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::Instant,
};

const CHUNK: usize = 64 * 1024;
const CHUNKS_IN_FLIGHT: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// Bytes pass, each after this delay.
    Pass(Duration),
    /// Bytes wait until the link is healed; nothing is lost.
    Stalled,
    /// Every connection is reset, and so is every new one.
    Cut,
    /// The far end is gone without a goodbye: silence, and no FIN.
    HalfOpen,
}

/// The proxy; it and its connections end when it is dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    addr: SocketAddr,
    link: watch::Sender<Link>,
}

impl ChaosProxy {
    /// Starts a proxy before `upstream` (`host:port`).
    pub fn start(upstream: impl ToSocketAddrs) -> Self {
        let upstream = upstream.to_socket_addrs().unwrap().next().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (link, mode) = watch::channel(Link::Pass(Duration::ZERO));
        // A thread and a runtime of its own: a test with paused time or a blocked thread must not stop the link.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(accept(listener, upstream, mode));
        });
        Self { addr, link }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Heals the link. Connections that were half-open stay dead, as they would.
    pub fn pass(&self) {
        self.link.send_replace(Link::Pass(Duration::ZERO));
    }

    /// Heals the link, but each byte arrives late by `delay`.
    pub fn delay(&self, delay: Duration) {
        self.link.send_replace(Link::Pass(delay));
    }

    /// Withholds every byte until [`ChaosProxy::pass`].
    pub fn stall(&self) {
        self.link.send_replace(Link::Stalled);
    }

    /// Resets every connection, and every new one, until [`ChaosProxy::pass`].
    pub fn cut(&self) {
        self.link.send_replace(Link::Cut);
    }

    /// The far end vanishes: open connections fall silent for good, new ones are accepted and never served.
    pub fn half_open(&self) {
        self.link.send_replace(Link::HalfOpen);
    }
}

async fn accept(listener: std::net::TcpListener, upstream: SocketAddr, mode: watch::Receiver<Link>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut proxy_alive = mode.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    tokio::spawn(connection(client, upstream, mode.clone()));
                }
            }
            // The sender is gone with the proxy: returning drops the runtime and every connection.
            () = closed(&mut proxy_alive) => return,
        }
    }
}

async fn closed(mode: &mut watch::Receiver<Link>) {
    while mode.changed().await.is_ok() {}
}

async fn connection(mut client: TcpStream, upstream: SocketAddr, mut mode: watch::Receiver<Link>) {
    let now = *mode.borrow_and_update();
    match now {
        Link::Cut => return reset(&client),
        Link::HalfOpen => return silence(client, mode).await,
        Link::Pass(_) | Link::Stalled => {}
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else { return reset(&client) };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let fault = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pump(from_client, to_server, mode.clone());
        let back = pump(from_server, to_client, mode.clone());
        tokio::select! {
            _ = async { tokio::join!(there, back) } => None,
            fault = fault(&mut mode) => Some(fault),
        }
    };
    match fault {
        Some(Link::HalfOpen) => {
            drop(server);
            silence(client, mode).await;
        }
        Some(_) => {
            reset(&client);
            reset(&server);
        }
        None => {}
    }
}

/// The next state of the link in which this connection cannot live on.
async fn fault(mode: &mut watch::Receiver<Link>) -> Link {
    let fault = mode.wait_for(|link| matches!(link, Link::Cut | Link::HalfOpen)).await;
    fault.map_or(Link::Cut, |link| *link)
}

/// Makes the close that follows a reset instead of a goodbye.
fn reset(stream: &TcpStream) {
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}

/// Holds the connection open without a word until the other side gives up or the proxy ends.
async fn silence(mut client: TcpStream, mut mode: watch::Receiver<Link>) {
    let mut swallowed = vec![0; CHUNK];
    let listening = async { while matches!(client.read(&mut swallowed).await, Ok(length) if length > 0) {} };
    tokio::select! {
        () = listening => {}
        () = closed(&mut mode) => {}
    }
}

/// Moves bytes one way. Reader and writer are apart, so that a delay costs time but no throughput.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut mode: watch::Receiver<Link>) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_IN_FLIGHT);
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if queue.send((Instant::now(), buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((read_at, bytes)) = queued.recv().await {
            let Ok(delay) =
                mode.wait_for(|link| matches!(link, Link::Pass(_))).await.map(|link| match *link {
                    Link::Pass(delay) => delay,
                    Link::Stalled | Link::Cut | Link::HalfOpen => Duration::ZERO,
                })
            else {
                return;
            };
            tokio::time::sleep_until(read_at + delay).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        drop(to.shutdown().await);
    };
    tokio::join!(read, write);
}
