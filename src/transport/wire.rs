//! A websocket's socket: non-blocking reads into events, vectored writes from an outbox.
//!
//! Invariant: never blocks and never wakes anyone by itself; only the task that polls it is registered
//! with the socket, for reading and for writing.

use std::{
    cell::RefCell,
    io,
    task::{Context, Poll},
};

use bytes::Bytes;
use rustix::{io::Errno, net::SendFlags};
use smallvec::SmallVec;
use tokio::net::TcpStream;

use super::{
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
#[derive(Debug)]
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
    incoming: Incoming,
}

impl Wire {
    /// `read_ahead`: bytes that the HTTP layer read behind the handshake request.
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, incoming: Incoming::default() }
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
            match self.socket.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Read::end(End::Error)),
                Poll::Ready(Ok(())) => {}
            }
            let read = SCRATCH.with_borrow_mut(|scratch| match not_now(self.socket.try_read(scratch)) {
                Ok(None) => None,
                Ok(Some(0)) => Some(Read::end(End::Eof)),
                Ok(Some(len)) => Some(self.feed(&mut scratch[..len], max_bytes)),
                Err(_) => Some(Read::end(End::Error)),
            });
            if let Some(read) = read {
                return Poll::Ready(read);
            }
        }
    }

    /// Writes `frames` at once, as far as the kernel takes them; nothing may wait before them. It goes past
    /// tokio's record of the socket, which lies elsewhere in memory and is of use only when the kernel takes
    /// no more: then [`Self::write`] goes on, and finds that out for itself.
    pub(super) fn write_now(&self, frames: &[u8]) -> io::Result<usize> {
        match rustix::net::send(&self.socket, frames, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            sent => sent.map_err(io::Error::from),
        }
    }

    /// Writes as much of `outbox` as the kernel takes.
    pub(super) fn write(&mut self, outbox: &mut Outbox) -> io::Result<usize> {
        let mut total = 0;
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
    pub(super) fn close(mut self, outbox: &mut Outbox, code: u16) -> TcpStream {
        let payload = if code == 1005 { Bytes::new() } else { Bytes::copy_from_slice(&code.to_be_bytes()) };
        outbox.push_packet(server_frame(Opcode::Close, &payload), 0);
        // Whether the peer hears it or not, the connection is over.
        if self.write(outbox).is_ok() {
            socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write).ok();
        }
        self.socket
    }
}

impl Read {
    fn end(end: End) -> Self {
        Self { events: SmallVec::new(), end: Some(end) }
    }
}
