//! A TLS session over a non-blocking socket, behind its handshake.
//!
//! Invariant: nothing is encrypted while the kernel has not taken what was encrypted before, so of all that
//! waits for a client at most one record is a copy of its own; the rest stays shared, in its queue.

use std::io::{self, IoSlice, Read as _, Write as _};

use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;

/// What may be encrypted and not yet taken: one record.
const HELD_BYTES_MAX: usize = 16 * 1024;

/// The session of one socket.
#[derive(Debug)]
pub(super) struct Encrypted(Box<ServerConnection>);

/// The socket as rustls wants it.
struct Raw<'a>(&'a TcpStream);

impl io::Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encrypted {
    pub(super) fn new(mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(HELD_BYTES_MAX));
        Self(Box::new(session))
    }

    /// Something is encrypted that the kernel has not taken.
    pub(super) fn is_holding(&self) -> bool {
        self.0.wants_write()
    }

    /// What the client said, as far as it is there; 0 at its end. `WouldBlock` only when the socket has no
    /// more, so that waiting for it is right.
    pub(super) fn read(&mut self, socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The connection ended without TLS's goodbye, as many clients do.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            if self.0.read_tls(&mut Raw(socket))? == 0 {
                return Ok(0);
            }
            if let Err(error) = self.0.process_new_packets() {
                // Why, as far as the kernel takes it now.
                self.flush(socket).ok();
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }

    /// Gives the kernel what is encrypted; returns how many bytes it took.
    pub(super) fn flush(&mut self, socket: &TcpStream) -> io::Result<usize> {
        let mut total = 0;
        while self.0.wants_write() {
            match self.0.write_tls(&mut Raw(socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => total += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// Encrypts up to a record of what is in `slices`; returns how much. Only when nothing is held.
    pub(super) fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        debug_assert!(!self.is_holding(), "a record at a time");
        self.0.writer().write_vectored(slices)
    }

    /// Says goodbye, as far as the kernel takes it now.
    pub(super) fn close(mut self, socket: &TcpStream) {
        self.0.send_close_notify();
        self.flush(socket).ok();
    }
}
