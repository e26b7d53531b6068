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
    session::Link,
    wire::Wire,
};

/// Whether the request asks for a websocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name, token: &str| {
        let value = headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        value.is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
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
    let key = get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24 && key.ends_with("=="));
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
) -> Response {
    let response = match accept(request.method(), request.headers()) {
        Ok(response) => response,
        Err(refused) => return *refused,
    };
    tokio::spawn(async move {
        if let Some((wire, mut read_ahead)) = socket_of(request).await {
            let opening = Opening { wire, answer: b"", read_ahead: &mut read_ahead };
            engine.start(protocol, false, handshake, Some(opening));
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
    session.probe_begun.notify_waiters();
    tokio::spawn(async move {
        let Some((wire, read_ahead)) = socket_of(request).await else {
            return session.end_probe(free);
        };
        if !free {
            return; // Node closes a second websocket of a session, and keeps the first.
        }
        let deadline = Duration::from_millis(session.shared.options.upgrade_timeout_ms);
        match tokio::time::timeout(deadline, probe(&session, wire, read_ahead)).await {
            Ok(Some((wire, rest))) => {
                session.attach(wire, rest);
            }
            Ok(None) | Err(_) => session.end_probe(true),
        }
    });
    response
}

/// Answers the probe and waits for the upgrade packet. Messages right behind it are returned too.
async fn probe(
    session: &Session,
    mut wire: Wire,
    mut read_ahead: Vec<u8>,
) -> Option<(Wire, super::wire::Read)> {
    let bytes_max = session.shared.options.message_bytes_max;
    let mut read = wire.feed(&mut read_ahead, bytes_max);
    let mut probed = false;
    loop {
        let mut events = std::mem::take(&mut read.events).into_iter();
        while let Some(event) = events.next() {
            match event {
                Event::Text(text) if text == "2probe" && !probed => {
                    probed = true;
                    let mut outbox = Outbox::default();
                    outbox.push_packet(server_frame(Opcode::Text, b"3probe"), 0);
                    wire.write(&mut outbox).ok()?;
                }
                Event::Text(text) if text == "5" && probed => {
                    read.events = events.collect();
                    return Some((wire, read));
                }
                _ => return None,
            }
        }
        if read.end.is_some() || session.is_closed() {
            return None;
        }
        read = std::future::poll_fn(|cx| wire.poll_events(cx, bytes_max)).await;
    }
}

impl Session {
    fn end_probe(&self, ours: bool) {
        if ours && let Link::Polling(polling) = &mut self.lock().link {
            polling.probing = false;
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
