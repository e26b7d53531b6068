//! The virtual websocket that socketioxide reads and writes: one per session, whatever the client's
//! transport. It looks like a raw stream after a websocket handshake; below it is the session.
//!
//! Invariants: tungstenite's writes are taken whole or not at all, so they start and end on frame
//! boundaries (checked: anything else ends the session); engine.io packets of socketioxide's own
//! engine (open, ping, pong, noop) end here, because the session has its own.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    CloseReason, Protocol, Session,
    frame::{self, Opcode, ServerFrame, parse_server_frame},
    session::{Link, State},
};

/// A stream for socketioxide over a [`Session`]. One pointer wide: it is moved through several futures.
#[derive(Debug)]
pub struct Bridge(Arc<Session>);

impl Bridge {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self(session)
    }
}

impl AsyncRead for Bridge {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        let state = &mut *state;
        if !state.reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.reader = Some(cx.waker().clone());
        }
        if state.inbox.is_empty() {
            self.0.drive(state, cx);
            self.0.note_backlog(state);
        }
        if !state.inbox.is_empty() {
            let len = state.inbox.len().min(buf.remaining());
            buf.put_slice(&state.inbox[..len]);
            state.inbox.advance(len);
            if state.inbox.is_empty() {
                state.inbox = BytesMut::new(); // An idle session holds no buffer.
            }
            return Poll::Ready(Ok(()));
        }
        if matches!(state.link, Link::Closed(_)) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncWrite for Bridge {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let session = &self.0;
        let mut state = session.lock();
        let state = &mut *state;
        if matches!(state.link, Link::Closed(_)) {
            // Swallowed, not refused: an error during engineioxide's handshake would leave its session
            // behind for ever, while the end of the stream, which its reader sees next, closes it.
            return Poll::Ready(Ok(buf.len()));
        }
        if state.outbox.drainable_bytes() >= session.shared.options.viewer_queue_bytes {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !take_frames(session, state, buf) {
            session.shared.metrics.bridge_errors.inc();
            session.close_locked(state, CloseReason::TransportError, None);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        session.flush(state);
        session.note_backlog(state);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is queued is written by whoever can; waiting for it here would tie socketioxide's
        // writer task to a slow client.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close(CloseReason::ServerClose);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.0.close(CloseReason::ServerClose);
    }
}

/// Queues the frames in `buf`; false if it is not a sequence of whole frames.
fn take_frames(session: &Session, state: &mut State, mut buf: &[u8]) -> bool {
    while !buf.is_empty() {
        let Some(frame) = parse_server_frame(buf) else { return false };
        take_frame(session, state, frame, buf);
        buf = &buf[frame.len()..];
    }
    true
}

fn take_frame(session: &Session, state: &mut State, frame: ServerFrame, buf: &[u8]) {
    let payload = frame.payload(buf);
    match (frame.opcode, payload.first()) {
        (Opcode::Text, Some(b'4')) => match connect_frame(session, payload) {
            Some(connect) => {
                state.outbox.push_packet(connect, 0);
                state.outbox.set_connected();
                state.guard.let_in();
            }
            None if payload.starts_with(REFUSAL) => {
                state.guard.put_out();
                let refusal = match session.protocol() {
                    Protocol::V3 => refusal_frame_v3(payload),
                    Protocol::V4 => Bytes::copy_from_slice(&buf[..frame.len()]),
                };
                state.outbox.push_packet(refusal, 0);
            }
            None if payload.starts_with(BARRIER) => pass_barrier(state, &payload[BARRIER.len()..]),
            None => {
                if payload == DISCONNECT {
                    state.guard.put_out();
                }
                let attachments = attachments_due(payload);
                state.outbox.push_packet(Bytes::copy_from_slice(&buf[..frame.len()]), attachments);
            }
        },
        (Opcode::Binary, _) => state.outbox.push_attachment(Bytes::copy_from_slice(&buf[..frame.len()])),
        // socketioxide's own heartbeat: answered here, at once.
        (Opcode::Text, Some(b'2')) => {
            frame::put_client_frame(&mut state.inbox, Opcode::Text, b"3");
            Session::wake_reader(state);
        }
        (Opcode::Text, Some(b'1')) | (Opcode::Close, _) => {
            session.close_locked(state, CloseReason::ServerClose, None);
        }
        // Open, pong and noop packets of socketioxide's engine; websocket pings and pongs.
        _ => {}
    }
}

/// How socketioxide refuses a CONNECT of the main namespace.
const REFUSAL: &[u8] = b"44{\"message\":";

/// How it puts a client out of the main namespace.
const DISCONNECT: &[u8] = b"41";

/// Clients of protocol 3 expect the message alone, and hand whatever comes to their `error` event.
fn refusal_frame_v3(payload: &[u8]) -> Bytes {
    let message = &payload[REFUSAL.len()..];
    let message = message.strip_suffix(b"}").unwrap_or(message);
    frame::server_frame(Opcode::Text, &[b"44", message].concat())
}

/// How a packet of [`super::session::BARRIER_EVENT`] begins.
const BARRIER: &[u8] = br#"42["\u0001","#;

fn pass_barrier(state: &mut State, rest: &[u8]) {
    let number = rest.strip_suffix(b"]").and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
    if let Some(at) = state.barriers.iter().position(|(at, _)| Some(*at) == number) {
        // Whoever waited may have given up.
        state.barriers.swap_remove(at).1.send(()).ok();
    }
}

/// A CONNECT of the main namespace, with the socket id (protocol 4 has one) in its public form.
fn connect_frame(session: &Session, payload: &[u8]) -> Option<Bytes> {
    let data = payload.strip_prefix(b"40")?;
    if data.is_empty() {
        return Some(frame::server_frame(Opcode::Text, payload));
    }
    let sid = data.strip_prefix(b"{\"sid\":\"")?.strip_suffix(b"\"}")?;
    let public = session.shared.public_socket_id(std::str::from_utf8(sid).ok()?);
    Some(frame::server_frame(Opcode::Text, format!("40{{\"sid\":\"{public}\"}}").as_bytes()))
}

/// How many attachments follow a Socket.IO packet: `5<n>-…` and `6<n>-…` behind the message digit.
fn attachments_due(payload: &[u8]) -> usize {
    match payload {
        [b'4', b'5' | b'6', rest @ ..] => {
            let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            if rest.get(digits) != Some(&b'-') {
                return 0;
            }
            std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_protocol_3_is_the_message_alone() {
        let frame = refusal_frame_v3(br#"44{"message":"fleetId is \"bad\" {}"}"#);
        assert!(frame.ends_with(br#"44"fleetId is \"bad\" {}""#), "{frame:?}");
    }

    #[test]
    fn owed_attachments_are_read_from_the_header() {
        assert_eq!(attachments_due(br#"452-["a",{"_placeholder":true,"num":0}]"#), 2);
        assert_eq!(attachments_due(br#"461-7[{"_placeholder":true,"num":0}]"#), 1);
        assert_eq!(attachments_due(br#"42["a"]"#), 0);
        assert_eq!(attachments_due(br#"45["a"]"#), 0);
        assert_eq!(attachments_due(b"4"), 0);
    }
}
