//! The client of one session without a network, for tests of what is above the transport. It takes what
//! is queued as a polling client would, when it is told to.

use std::{net::Ipv4Addr, sync::Arc};

use super::{
    CloseReason, EngineOptions, Handshake, Protocol, Session, SessionId, Shared, frame::parse_server_frame,
    sessions::random_id, wire::Wire,
};
use crate::observe::Metrics;

/// A client, and the session that it is the other end of.
#[derive(Debug)]
pub(crate) struct TestClient {
    pub(crate) session: Arc<Session>,
}

impl TestClient {
    /// A connected client whose queue is bounded to so many bytes.
    pub(crate) fn connect(queue_bytes: usize) -> Self {
        Self::over(queue_bytes, None)
    }

    /// The same, whose session has a websocket.
    pub(super) fn over(queue_bytes: usize, wire: Option<Wire>) -> Self {
        Self::with(queue_bytes, Protocol::V4, wire)
    }

    pub(super) fn with(queue_bytes: usize, protocol: Protocol, wire: Option<Wire>) -> Self {
        let options = EngineOptions { viewer_queue_bytes: queue_bytes, ..EngineOptions::default() };
        let shared = Arc::new(Shared::new(options, Arc::new(Metrics::default())));
        let (parts, ()) = http::Request::new(()).into_parts();
        let handshake = Handshake::new(&parts, Ipv4Addr::LOCALHOST.into(), 0);
        let id = SessionId(random_id());
        let session = Arc::new(Session::new(id, protocol, false, handshake, shared, wire));
        session.lock().outbox.set_connected();
        Self { session }
    }

    /// Takes queued texts until at least so many bytes are taken.
    pub(crate) fn take(&self, bytes: usize) -> Vec<String> {
        let (mut texts, mut taken) = (Vec::new(), 0);
        let mut state = self.session.lock();
        while taken < bytes
            && let Some(entry) = state.outbox.pop()
        {
            taken += entry.len();
            let mut rest = &entry[..];
            while let Some(frame) = parse_server_frame(rest) {
                texts.push(String::from_utf8(frame.payload(rest).to_vec()).expect("texts are UTF-8"));
                rest = &rest[frame.len()..];
            }
        }
        self.session.note_backlog(&state);
        texts
    }

    /// Takes everything.
    pub(crate) fn take_all(&self) -> Vec<String> {
        self.take(usize::MAX)
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        self.session.close(CloseReason::TransportClose);
    }
}
