//! HTTP long-polling of one session: GETs that wait for packets and POSTs that bring them.
//!
//! Overlapping requests, and a GET that its client abandons, end the session, as in engine.io 6
//! (`transports/polling.ts`).

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{
    CloseReason, Protocol, REQUEST_TIMEOUT, Session,
    frame::{Opcode, parse_server_frame},
    payload::{self, Encoder},
    session::{Link, State},
};

/// A response stops growing here; at least one entry of the queue goes out.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;
/// How long a GET may wait while a websocket is being probed: the client switches only between GETs.
const PROBING_WAIT: Duration = Duration::from_millis(100);
/// Bytes that may wait for socketioxide; a client that posts faster than they are handled is cut off.
const INBOX_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn handle(session: Arc<Session>, request: Request<Body>) -> Response {
    match *request.method() {
        Method::GET => get(session).await,
        Method::POST => post(session, request).await,
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) fn text_response(body: Bytes) -> Response {
    response(body, "text/plain; charset=UTF-8")
}

fn response(body: Bytes, content_type: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

fn packet_response(protocol: Protocol, packet: &[u8]) -> Response {
    let mut encoder = Encoder::new(protocol, false);
    encoder.put_text(packet);
    text_response(encoder.finish())
}

/// Marks a request as under way; a request that its client abandons ends the session.
struct UnderWay {
    session: Arc<Session>,
    get: bool,
    done: bool,
}

impl UnderWay {
    /// The status to refuse with, if another request of the kind is under way or polling is over.
    fn begin(session: &Arc<Session>, get: bool) -> Result<Self, StatusCode> {
        let mut state = session.lock();
        let Link::Polling(polling) = &mut state.link else {
            return Err(StatusCode::BAD_REQUEST);
        };
        let flag = if get { &mut polling.getting } else { &mut polling.posting };
        if std::mem::replace(flag, true) {
            session.close_locked(&mut state, CloseReason::TransportError, None);
            return Err(StatusCode::BAD_REQUEST);
        }
        Ok(Self { session: session.clone(), get, done: false })
    }

    fn finish(mut self) {
        self.done = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        if let Link::Polling(polling) = &mut state.link {
            if self.get {
                polling.getting = false;
                polling.waiter = None;
            } else {
                polling.posting = false;
            }
            if !self.done {
                self.session.close_locked(&mut state, CloseReason::TransportError, None);
            }
        }
    }
}

async fn get(session: Arc<Session>) -> Response {
    let under_way = match UnderWay::begin(&session, true) {
        Ok(under_way) => under_way,
        Err(refused) => return refused.into_response(),
    };
    let packets = poll_fn(|cx| {
        let mut state = session.lock();
        let state = &mut *state;
        if matches!(state.link, Link::Polling(_)) && !state.outbox.is_empty() {
            let response = take(&session, state);
            session.note_backlog(state);
            return Poll::Ready(response);
        }
        match &mut state.link {
            Link::Polling(polling) => {
                polling.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
            Link::Websocket(_) => Poll::Ready(packet_response(session.protocol(), b"6")),
            Link::Closed(_) => Poll::Ready(packet_response(session.protocol(), b"1")),
        }
    });
    let response = tokio::select! {
        biased;
        response = packets => response,
        () = probing(&session) => packet_response(session.protocol(), b"6"),
    };
    under_way.finish();
    response
}

/// Resolves when a websocket is being probed and this GET has waited long enough; the probe wakes it.
async fn probing(session: &Session) {
    let begun = session.probe_changed.notified();
    tokio::pin!(begun);
    begun.as_mut().enable();
    if !matches!(&session.lock().link, Link::Polling(polling) if polling.probing) {
        begun.await;
    }
    tokio::time::sleep(PROBING_WAIT).await;
}

fn take(session: &Session, state: &mut State) -> Response {
    let binary = !session.base64_only && state.outbox.iter().any(|entry| has_binary(entry));
    let mut encoder = Encoder::new(session.protocol(), binary);
    let mut taken = 0;
    while let Some(entry) = state.outbox.front() {
        if encoder.len() > 0 && encoder.len() + entry.len() > RESPONSE_BYTES_MAX {
            break;
        }
        if let Some(entry) = state.outbox.pop() {
            taken += entry.len();
            encoder.put_frames(&entry);
        }
    }
    session.shared.metrics.sent_bytes.inc_by(taken as u64);
    state.stalled_since_ms = if state.outbox.is_empty() { 0 } else { session.shared.now_ms() };
    if let Some(writer) = state.writer.take() {
        writer.wake();
    }
    let content_type = encoder.content_type();
    response(encoder.finish(), content_type)
}

fn has_binary(mut frames: &[u8]) -> bool {
    while let Some(frame) = parse_server_frame(frames) {
        if frame.opcode == Opcode::Binary {
            return true;
        }
        frames = &frames[frame.len()..];
    }
    false
}

async fn post(session: Arc<Session>, request: Request<Body>) -> Response {
    let under_way = match UnderWay::begin(&session, false) {
        Ok(under_way) => under_way,
        Err(refused) => return refused.into_response(),
    };
    let binary = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type == "application/octet-stream");
    if binary && session.protocol() == Protocol::V4 {
        session.close(CloseReason::TransportError);
        return StatusCode::BAD_REQUEST.into_response();
    }
    let response = match read_body(request, session.shared.options.message_bytes_max).await {
        Ok(body) => accept(&session, binary, &body),
        Err(StatusCode::PAYLOAD_TOO_LARGE) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        // The client left in the middle of it, or takes its time without end.
        Err(status) => {
            session.close(CloseReason::TransportError);
            status.into_response()
        }
    };
    under_way.finish();
    response
}

async fn read_body(request: Request<Body>, bytes_max: usize) -> Result<Bytes, StatusCode> {
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|value| value.parse::<usize>().ok()).is_some_and(|len| len > bytes_max) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let body = Limited::new(request.into_body(), bytes_max).collect();
    match tokio::time::timeout(REQUEST_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

fn accept(session: &Session, binary: bool, body: &Bytes) -> Response {
    let packets = payload::decode(session.protocol(), binary, body);
    let mut state = session.lock();
    let state = &mut *state;
    match packets {
        Ok(packets) => {
            for packet in packets {
                session.receive(state, packet);
            }
            // Answers to pings.
            if !state.outbox.is_empty() {
                session.flush(state);
            }
            if state.inbox.len() > INBOX_BYTES_MAX {
                session.close_locked(state, CloseReason::TransportError, None);
            }
        }
        Err(_) => session.breach(state),
    }
    Session::wake_reader(state);
    ([(header::CONTENT_TYPE, "text/html")], "ok").into_response()
}
