//! A websocket's socket: non-blocking reads into events, vectored writes from an outbox.
//!
//! Invariant: never blocks and never wakes anyone by itself; only the task that polls it is registered
//! with the socket, for reading and for writing.

use std::{
    cell::RefCell,
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use rustix::{io::Errno, net::SendFlags};
use smallvec::SmallVec;
use tokio::{net::TcpStream, task::coop::poll_proceed};

use super::{
    encrypted::Encrypted,
    frame::{Opcode, server_frame},
    incoming::{Event, Incoming},
    outbox::Outbox,
    session::not_now,
};

/// One read's worth of bytes; shared by all connections of a worker.
const SCRATCH_BYTES: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// What one read brought.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) events: SmallVec<[Event; 2]>,
    pub(super) end: Option<End>,
}

/// Why no more will come.
#[derive(Debug)]
pub(super) enum End {
    /// The peer closed its side.
    Eof,
    /// The network failed.
    Error,
    /// The peer broke the protocol; to be closed with this code.
    Violation(u16),
}

/// A client's websocket after the handshake.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    /// Between the frames and the socket, if the client speaks TLS to us.
    tls: Option<Encrypted>,
    incoming: Incoming,
    /// The peer has gone: there is nobody to say goodbye to.
    is_over: bool,
}

impl Wire {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, tls: None, incoming: Incoming::default(), is_over: false }
    }

    pub(super) fn over_tls(socket: TcpStream, tls: Encrypted) -> Self {
        Self { tls: Some(tls), ..Self::new(socket) }
    }

    /// Something has left the outbox, and the kernel has not taken it.
    pub(super) fn is_holding(&self) -> bool {
        self.tls.as_ref().is_some_and(Encrypted::is_holding)
    }

    /// Parses bytes that were read elsewhere.
    pub(super) fn feed(&mut self, bytes: &mut [u8], max_bytes: usize) -> Read {
        let mut events = SmallVec::new();
        let end = self.incoming.feed(bytes, max_bytes, &mut events).err();
        Read { events, end: end.map(|violation| End::Violation(violation.code)) }
    }

    /// Whether a write may be worth trying; registers the task if not.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> bool {
        self.socket.poll_write_ready(cx).is_ready()
    }

    /// Reads what is there. `Pending` registers the task.
    pub(super) fn poll_events(&mut self, cx: &mut Context<'_>, max_bytes: usize) -> Poll<Read> {
        loop {
            // What is decrypted already is not the socket's any more, and may be all that comes. A read of it costs
            // as much of the task's turn as one that waits for the socket, or a client could hold its worker.
            if self.tls.is_some() {
                let turn = ready!(poll_proceed(cx));
                if let Some(read) = self.read(max_bytes) {
                    turn.made_progress();
                    return Poll::Ready(read);
                }
            }
            match self.socket.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Read::end(End::Error)),
                Poll::Ready(Ok(())) => {}
            }
            if let Some(read) = self.read(max_bytes) {
                return Poll::Ready(read);
            }
        }
    }

    /// One read, if there is anything.
    fn read(&mut self, max_bytes: usize) -> Option<Read> {
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let read = match &mut self.tls {
                None => self.socket.try_read(scratch),
                Some(tls) => tls.read(&self.socket, scratch),
            };
            match not_now(read) {
                Ok(None) => None,
                Ok(Some(0)) => Some(Read::end(End::Eof)),
                Ok(Some(len)) => Some(self.feed(&mut scratch[..len], max_bytes)),
                Err(_) => Some(Read::end(End::Error)),
            }
        })?;
        self.is_over = matches!(read.end, Some(End::Eof | End::Error));
        Some(read)
    }

    /// Writes `frames` at once, as far as the kernel takes them; nothing may wait before them. It goes past
    /// tokio's record of the socket, which lies elsewhere in memory and is of use only when the kernel takes
    /// no more: then [`Self::write`] goes on, and finds that out for itself.
    ///
    /// With TLS it takes nothing: what is queued is encrypted from the queue.
    pub(super) fn write_now(&self, frames: &[u8]) -> io::Result<usize> {
        if self.tls.is_some() {
            return Ok(0);
        }
        match rustix::net::send(&self.socket, frames, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            sent => sent.map_err(io::Error::from),
        }
    }

    /// Writes as much of `outbox` as the kernel takes; returns how many bytes it took.
    pub(super) fn write(&mut self, outbox: &mut Outbox) -> io::Result<usize> {
        let mut total = 0;
        if let Some(tls) = &mut self.tls {
            loop {
                total += tls.flush(&self.socket)?;
                if tls.is_holding() || outbox.is_empty() {
                    return Ok(total);
                }
                let encrypted = {
                    let mut slices = Outbox::empty_slices();
                    let count = outbox.slices(&mut slices);
                    tls.encrypt(&slices[..count])?
                };
                outbox.advance(encrypted);
            }
        }
        while !outbox.is_empty() {
            let written = {
                let mut slices = Outbox::empty_slices();
                let count = outbox.slices(&mut slices);
                match count {
                    1 => self.socket.try_write(&slices[0]),
                    _ => self.socket.try_write_vectored(&slices[..count]),
                }
            };
            match not_now(written)? {
                None => break,
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(written) => {
                    total += written;
                    outbox.advance(written);
                }
            }
        }
        Ok(total)
    }

    /// Says goodbye as far as the kernel takes it now, and stops writing. The socket is returned so
    /// that it can stay open for a moment: closed with unread input, it would reset the connection
    /// and the client would never see the close frame.
    pub(super) fn close(mut self, outbox: &mut Outbox, code: u16) -> Option<TcpStream> {
        if self.is_over {
            return None;
        }
        let payload = if code == 1005 { Bytes::new() } else { Bytes::copy_from_slice(&code.to_be_bytes()) };
        outbox.push_packet(server_frame(Opcode::Close, &payload), 0);
        // Often it is a write that finds out that the peer has gone.
        self.write(outbox).ok()?;
        if let Some(tls) = self.tls.take() {
            tls.close(&self.socket);
        }
        socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write).ok();
        Some(self.socket)
    }
}

impl Read {
    fn end(end: End) -> Self {
        Self { events: SmallVec::new(), end: Some(end) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncRead, AsyncReadExt},
        net::{TcpListener, TcpStream},
    };
    use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

    use super::*;
    use crate::transport::{Bridge, Sent, TestClient, Tls, frame::parse_server_frame};

    /// Each is larger than all that [`narrow`] holds.
    const FRAMES: usize = 100;

    /// Both ends of a connection that holds little.
    async fn narrow() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        socket2::SockRef::from(&server).set_send_buffer_size(4608).unwrap();
        (server, client)
    }

    /// The same with TLS between them.
    async fn narrow_tls() -> (Wire, impl AsyncRead + Unpin + Send) {
        let (server, client) = narrow().await;
        let tls = Tls::for_test();
        let connector = TlsConnector::from(tls.own_client());
        let name = ServerName::try_from("localhost").unwrap();
        let (acceptor, connecting) = (tls.acceptor(), connector.connect(name, client));
        let (server, client) = tokio::join!(acceptor.accept(server), connecting);
        let (socket, session) = server.unwrap().into_inner();
        (Wire::over_tls(socket, Encrypted::new(session)), client.unwrap())
    }

    #[tokio::test]
    async fn what_the_kernel_takes_in_part_goes_on_in_order_and_heartbeats_fall_between_frames() {
        let (server, client) = narrow().await;
        goes_on_in_order(Wire::new(server), client).await;
    }

    #[tokio::test]
    async fn the_same_holds_with_tls() {
        let (wire, client) = narrow_tls().await;
        goes_on_in_order(wire, client).await;
    }

    #[tokio::test]
    async fn with_tls_the_queue_is_bounded_and_who_takes_nothing_is_closed() {
        let (wire, _client) = narrow_tls().await;
        let frame = server_frame(Opcode::Text, &[b'x'; 20_000]);
        let client = TestClient::over(100_000, Some(wire));
        let sent = (0..1000).take_while(|_| client.session.send(&frame) == Sent::Yes).count();
        // The kernel's two buffers, a record, and the queue.
        assert!((5..30).contains(&sent), "{sent}");
        assert_eq!(client.session.send(&frame), Sent::Full);
        assert!(client.session.backlog_bytes() < 100_000 + frame.len());
        client.session.sweep(client.session.shared.now_ms() + 29_000);
        assert!(!client.session.is_closed(), "it has half a minute");
        client.session.sweep(client.session.shared.now_ms() + 31_000);
        assert_eq!(client.session.close_reason(), Some(crate::transport::CloseReason::Slow));
        assert_eq!(client.session.backlog_bytes(), 0);
    }

    async fn goes_on_in_order(wire: Wire, mut socket: impl AsyncRead + Unpin + Send + 'static) {
        let client = TestClient::over(4 << 20, Some(wire));
        // socketioxide's side: whoever reads the bridge drives the socket.
        let mut bridge = Bridge::new(client.session.clone());
        let driver = tokio::spawn(async move { bridge.read_u8().await });
        let frame = |number: usize| server_frame(Opcode::Text, format!("{number:0>20000}").as_bytes());
        let reading = tokio::spawn(async move {
            let (mut read, mut numbers, mut pings) = (Vec::new(), Vec::new(), 0);
            while numbers.len() < FRAMES {
                tokio::time::sleep(Duration::from_micros(200)).await;
                assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0);
                while let Some(frame) = parse_server_frame(&read) {
                    match frame.payload(&read) {
                        b"2" => pings += 1,
                        text => numbers.push(std::str::from_utf8(text).unwrap().parse::<usize>().unwrap()),
                    }
                    read.drain(..frame.len());
                }
            }
            (numbers, pings)
        });
        let mut partly = 0;
        for number in 0..FRAMES {
            assert_eq!(client.session.send(&frame(number)), Sent::Yes);
            let backlog = client.session.backlog_bytes();
            partly += usize::from(!backlog.is_multiple_of(frame(0).len()));
            if number % 10 == 0 {
                let mut state = client.session.lock();
                state.outbox.push_urgent(server_frame(Opcode::Text, b"2"));
                client.session.flush(&mut state);
            }
            // At times everything is taken, and the next one goes past the queue again.
            let pause = if number % 10 == 9 { 100 } else { 0 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let limit = tokio::time::timeout(Duration::from_secs(20), reading);
        let (numbers, pings) = limit.await.expect("all arrives").unwrap();
        assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>());
        assert!(pings >= FRAMES / 10 - 1, "{pings}");
        assert!(partly > 0, "the kernel took everything whole: nothing was tried");
        drop(client);
        driver.await.unwrap().unwrap_err();
    }
}
