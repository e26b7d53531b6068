//! Websocket handshakes: straight to a new session, or as a probe beside a polling one.
//!
//! Invariant: until the upgrade packet has come, the polling session does not know the websocket. A
//! probe that fails, stalls or never ends costs its own socket and nothing else.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tungstenite::handshake::derive_accept_key;

use super::{
    Engine, Handshake, Protocol, Session,
    encrypted::Encrypted,
    engine::Opening,
    frame::{Opcode, server_frame},
    incoming::Event,
    outbox::Outbox,
    places::Seat,
    session::Link,
    wire::{End, Read, Wire},
};

/// Whether the request asks for a websocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, token: &str| {
        let mut lines = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        lines.any(|line| line.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

/// The `101` for a valid handshake, or the `400` of the `ws` package.
pub(super) fn accept(method: &Method, headers: &HeaderMap) -> Result<Response, Box<Response>> {
    let get = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let bad = |status: StatusCode, why: &'static str| {
        let headers = [(header::CONNECTION, "close"), (header::CONTENT_TYPE, "text/html")];
        Box::new((status, headers, why).into_response())
    };
    if *method != Method::GET {
        return Err(bad(StatusCode::METHOD_NOT_ALLOWED, "Invalid HTTP method"));
    }
    let key = get(header::SEC_WEBSOCKET_KEY).filter(|key| is_base64_of_16_bytes(key));
    let Some(key) = key else {
        return Err(bad(StatusCode::BAD_REQUEST, "Missing or invalid Sec-WebSocket-Key header"));
    };
    if !matches!(get(header::SEC_WEBSOCKET_VERSION), Some("13" | "8")) {
        return Err(bad(StatusCode::BAD_REQUEST, "Missing or invalid Sec-WebSocket-Version header"));
    }
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let out = response.headers_mut();
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    let offered = get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|offered| offered.split(',').next());
    if let Some(first) = offered.and_then(|first| HeaderValue::from_str(first.trim()).ok()) {
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, first);
    }
    Ok(response)
}

fn is_base64_of_16_bytes(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    digits.len() == 22 && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

/// The websocket behind a finished HTTP upgrade, and what was read behind the request.
async fn socket_of(request: Request<Body>) -> Option<(Wire, Vec<u8>)> {
    let upgraded: Upgraded = hyper::upgrade::on(request).await.ok()?;
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(plain) => Some((Wire::new(plain.io.into_inner()), plain.read_buf.to_vec())),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
            let (socket, session) = parts.io.into_inner().into_inner();
            Some((Wire::over_tls(socket, Encrypted::new(session)), parts.read_buf.to_vec()))
        }
    }
}

/// A websocket without a session: opens one.
pub(super) fn direct(
    engine: Engine,
    request: Request<Body>,
    protocol: Protocol,
    handshake: Handshake,
    seat: Option<Seat>,
) -> Response {
    let response = match accept(request.method(), request.headers()) {
        Ok(response) => response,
        Err(refused) => return *refused,
    };
    tokio::spawn(async move {
        if let Some((wire, mut read_ahead)) = socket_of(request).await {
            let opening = Opening { wire, answer: b"", read_ahead: &mut read_ahead };
            engine.start(protocol, false, handshake, seat, Some(opening));
        }
    });
    response
}

/// A websocket for a session that polls: probes it.
pub(super) fn existing(session: Arc<Session>, request: Request<Body>) -> Response {
    let response = match accept(request.method(), request.headers()) {
        Ok(response) => response,
        Err(refused) => return *refused,
    };
    let free = match &mut session.lock().link {
        Link::Polling(polling) => !std::mem::replace(&mut polling.probing, true),
        Link::Websocket(_) | Link::Closed(_) => false,
    };
    session.probe_changed.notify_waiters();
    tokio::spawn(async move {
        let Some((mut wire, read_ahead)) = socket_of(request).await else {
            return session.end_probe(free);
        };
        if !free {
            return session.dismiss(wire, NO_CODE); // The first websocket of a session is kept.
        }
        let deadline = Duration::from_millis(session.shared.options.upgrade_timeout_ms);
        match tokio::time::timeout(deadline, probe(&session, &mut wire, read_ahead)).await {
            Ok(Ok(rest)) => session.attach(wire, rest),
            Ok(Err(code)) => {
                session.end_probe(true);
                session.dismiss(wire, code);
            }
            Err(_) => {
                session.end_probe(true);
                session.dismiss(wire, NO_CODE);
            }
        }
    });
    response
}

/// A close frame without a code.
const NO_CODE: u16 = 1005;

/// Answers the probe and waits for the upgrade packet; returns what came right behind it, or the code to close
/// the websocket with.
async fn probe(session: &Session, wire: &mut Wire, mut read_ahead: Vec<u8>) -> Result<Read, u16> {
    let bytes_max = session.shared.options.message_bytes_max;
    let mut read = wire.feed(&mut read_ahead, bytes_max);
    let mut probed = false;
    loop {
        let mut events = std::mem::take(&mut read.events).into_iter();
        while let Some(event) = events.next() {
            match event {
                Event::Text(text) if text == "2probe" => {
                    probed = true;
                    let mut outbox = Outbox::default();
                    outbox.push_packet(server_frame(Opcode::Text, b"3probe"), 0);
                    wire.write(&mut outbox).map_err(|_| NO_CODE)?;
                }
                Event::Text(text) if text == "5" && probed => {
                    read.events = events.collect();
                    return Ok(read);
                }
                Event::Ping(data) => {
                    let mut outbox = Outbox::default();
                    outbox.push_packet(server_frame(Opcode::Pong, &data), 0);
                    wire.write(&mut outbox).map_err(|_| NO_CODE)?;
                }
                Event::Close(code) => return Err(code.unwrap_or(NO_CODE)),
                _ => return Err(NO_CODE),
            }
        }
        match read.end {
            Some(End::Violation(code)) => {
                session.shared.metrics.protocol_errors.inc();
                return Err(code);
            }
            Some(End::Eof | End::Error) => return Err(NO_CODE),
            None => {}
        }
        let over = session.probe_changed.notified();
        tokio::pin!(over);
        over.as_mut().enable();
        if session.is_closed() {
            return Err(NO_CODE);
        }
        tokio::select! {
            more = std::future::poll_fn(|cx| wire.poll_events(cx, bytes_max)) => read = more,
            // Another websocket of the session, or its end.
            () = over => read = Read::default(),
        }
    }
}

impl Session {
    fn end_probe(&self, ours: bool) {
        if ours && let Link::Polling(polling) = &mut self.lock().link {
            polling.probing = false;
        }
    }

    /// Says goodbye to a websocket that did not become the session's.
    fn dismiss(&self, wire: Wire, code: u16) {
        if let Some(socket) = wire.close(&mut Outbox::default(), code) {
            self.shared.linger(socket);
        }
    }

    /// Handles bytes that arrived together with the handshake.
    pub(super) fn feed(&self, bytes: &mut [u8]) {
        let mut state = self.lock();
        if let Link::Websocket(wire) = &mut state.link {
            let read = wire.feed(bytes, self.shared.options.message_bytes_max);
            self.received(&mut state, read);
        }
        Self::wake_reader(&state);
    }
}
