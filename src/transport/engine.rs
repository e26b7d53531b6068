//! The HTTP face of Engine.IO: handshakes, polling GETs and POSTs, websocket upgrades.
//!
//! Statuses and error bodies are those of engine.io 6 (`server.ts`: `verify`, `abortRequest`,
//! `abortUpgrade`). Origins are checked on every request, also with a session id, which Node does not.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, atomic::Ordering},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header, request::Parts};
use tokio_util::sync::CancellationToken;

use super::{
    Admittance, Bridge, CloseReason, EngineOptions, Handshake, Origins, PeerAddr, Protocol, Session,
    SessionId,
    admission::Rationed,
    client_address::client_address,
    frame::{Opcode, server_frame},
    handshake::{EngineQuery, One},
    places::Seat,
    sessions::{Shared, random_id},
    upgrade,
    wire::Wire,
};
use crate::{clock::epoch_ms, observe::Metrics};

/// What is above: takes one virtual websocket per session, with the request that socketioxide expects.
pub type Upper = Arc<dyn Fn(Bridge, Request<()>) + Send + Sync>;

/// All Engine.IO sessions of the process.
#[derive(Clone)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
    upper: Upper,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("sessions", &self.shared.sessions.len()).finish_non_exhaustive()
    }
}

/// A websocket that a session begins with.
pub(super) struct Opening<'a> {
    pub(super) wire: Wire,
    /// The answer to its handshake, if it is still owed.
    pub(super) answer: &'a [u8],
    /// What was read behind its handshake: it is taken before anything that follows.
    pub(super) read_ahead: &'a mut [u8],
}

/// Engine.IO's error codes, with the message each has in Node.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    UnknownTransport,
    UnknownSession,
    BadMethod,
    BadRequest,
    Forbidden,
    UnsupportedProtocol,
}

impl Refusal {
    fn code(self) -> (u8, &'static str) {
        match self {
            Self::UnknownTransport => (0, "Transport unknown"),
            Self::UnknownSession => (1, "Session ID unknown"),
            Self::BadMethod => (2, "Bad handshake method"),
            Self::BadRequest => (3, "Bad request"),
            Self::Forbidden => (4, "Forbidden"),
            Self::UnsupportedProtocol => (5, "Unsupported protocol version"),
        }
    }

    fn status(self) -> StatusCode {
        if matches!(self, Self::Forbidden) { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST }
    }

    /// Upgrades are refused in plain text, as Node does.
    fn upgrade_response(self) -> Response {
        let headers = [(header::CONNECTION, "close"), (header::CONTENT_TYPE, "text/html")];
        (self.status(), headers, self.code().1).into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, message) = self.code();
        let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        (self.status(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

impl Engine {
    /// An engine with no sessions.
    #[must_use]
    pub fn new(options: EngineOptions, metrics: Arc<Metrics>, upper: Upper) -> Self {
        Self { shared: Arc::new(Shared::new(options, metrics)), upper }
    }

    /// Keeps all deadlines until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        self.shared.sweep(stop).await;
    }

    /// How many sessions are open.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.shared.sessions.len()
    }

    /// Lets one TCP connection more in.
    pub(super) fn admit_socket(&self, peer: IpAddr) -> Result<Option<Seat>, Rationed> {
        self.shared.admit_socket(peer)
    }

    /// All open sessions.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.shared.sessions.all()
    }

    /// Admits nobody any more: whoever is closed comes back elsewhere, not here.
    pub fn begin_drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// Closes every session's transport.
    pub fn close_all(&self, reason: CloseReason) {
        self.shared.close_all(reason);
    }

    /// Who is admitted from now on; who is here already stays.
    pub fn set_admittance(&self, admittance: Admittance) {
        self.shared.set_admittance(admittance);
    }

    /// Bytes of sessions and of what waits in their queues.
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        self.shared.memory()
    }

    /// The id under which the cluster and the client know the socket that socketioxide names `sid`.
    #[must_use]
    pub fn public_socket_id(&self, sid: &str) -> String {
        self.shared.public_socket_id(sid)
    }

    /// Answers one request on the Socket.IO path.
    pub async fn handle(self, request: Request<Body>) -> Response {
        if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
            // RFC 9112, section 3.2, and Node's parser.
            return (StatusCode::BAD_REQUEST, [(header::CONNECTION, "close")]).into_response();
        }
        let admittance = self.shared.admittance();
        let origins = &admittance.origins;
        let origin = request.headers().get(header::ORIGIN).cloned();
        if !origins.allow(request.headers(), self.shared.options.is_secure) {
            self.shared.metrics.origins_refused.inc();
            return Refusal::Forbidden.into_response();
        }
        let mut response = if *request.method() == Method::OPTIONS {
            preflight(request.headers())
        } else {
            self.route(request).await
        };
        if let Some(origin) = origin {
            allow_origin(origins, origin, response.headers_mut());
        }
        response
    }

    async fn route(self, request: Request<Body>) -> Response {
        let query = EngineQuery::parse(request.uri());
        let websocket = upgrade::is_websocket(request.headers());
        let refuse = |refusal: Refusal| {
            self.shared.metrics.requests_refused.inc();
            if websocket { refusal.upgrade_response() } else { refusal.into_response() }
        };
        let over_websocket = match &query.transport {
            transport if transport.is("polling") => false,
            transport if transport.is("websocket") => true,
            _ => return refuse(Refusal::UnknownTransport),
        };
        let session = match &query.sid {
            One::None => None,
            One::Value(sid) => match self.shared.sessions.get(sid) {
                Some(session) => Some(session),
                None => return refuse(Refusal::UnknownSession),
            },
            One::Repeated => return refuse(Refusal::UnknownSession),
        };
        match session {
            Some(session) if query.protocol_of_session() != session.protocol() => refuse(Refusal::BadRequest),
            Some(session) if websocket && over_websocket => upgrade::existing(session, request),
            Some(_) if websocket || over_websocket => refuse(Refusal::BadRequest),
            Some(session) if session.transport() != "polling" => refuse(Refusal::BadRequest),
            Some(session) => super::polling::handle(session, request).await,
            None if *request.method() != Method::GET => refuse(Refusal::BadMethod),
            None if websocket != over_websocket => refuse(Refusal::BadRequest),
            None => {
                let Some(protocol) = query.protocol() else {
                    return refuse(Refusal::UnsupportedProtocol);
                };
                self.open(request, protocol, websocket, query.base64_only)
            }
        }
    }

    fn open(
        self,
        request: Request<Body>,
        protocol: Protocol,
        websocket: bool,
        base64_only: bool,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let peer = parts.extensions.get::<PeerAddr>().map(|peer| peer.0.ip());
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let handshake = self.handshake(&parts, peer);
        let seat = match self.shared.admit(&handshake) {
            Ok(seat) => seat,
            Err(rationed) => {
                self.shared.metrics.connect_refused(rationed.reason());
                return rationed.into_response();
            }
        };
        let request = Request::from_parts(parts, body);
        if websocket {
            return upgrade::direct(self, request, protocol, handshake, seat);
        }
        let session = self.start(protocol, base64_only, handshake, seat, None);
        let open = self.open_packet(&session.id, true);
        let mut encoder = super::payload::Encoder::new(protocol, false);
        encoder.put_text(open.as_bytes());
        super::polling::text_response(encoder.finish())
    }

    /// What a session keeps of the request that opens it.
    pub(super) fn handshake(&self, parts: &Parts, peer: IpAddr) -> Handshake {
        let address = client_address(peer, &parts.headers, &self.shared.admittance().trusted_proxies);
        Handshake::new(parts, address, epoch_ms())
    }

    /// Makes a session and hands its virtual websocket to socketioxide.
    pub(super) fn start(
        &self,
        protocol: Protocol,
        base64_only: bool,
        handshake: Handshake,
        seat: Option<Seat>,
        opening: Option<Opening<'_>>,
    ) -> Arc<Session> {
        let id = SessionId(random_id());
        let (wire, first) =
            opening.map(|opening| (opening.wire, (opening.answer, opening.read_ahead))).unzip();
        let shared = self.shared.clone();
        let session = Arc::new(Session::new(id, protocol, base64_only, handshake, seat, shared, wire));
        if let Some((answer, _)) = &first {
            let open = server_frame(Opcode::Text, self.open_packet(&id, false).as_bytes());
            // One entry: nothing may come between them. Before anybody can see the session, and close it.
            session.lock().outbox.push_packet([*answer, &open].concat().into(), 0);
        }
        self.shared.sessions.insert(session.clone());
        if let Some((_, read_ahead)) = first {
            session.flush(&mut session.lock());
            session.feed(read_ahead);
        }
        // Constant and without headers: socketioxide keeps it for the life of the session.
        let mut request = Request::new(());
        *request.uri_mut() = http::Uri::from_static(match protocol {
            Protocol::V3 => "/socket.io/?EIO=3&transport=websocket",
            Protocol::V4 => "/socket.io/?EIO=4&transport=websocket",
        });
        request.extensions_mut().insert(session.clone());
        (self.upper)(Bridge::new(session.clone()), request);
        if self.shared.draining.load(Ordering::Relaxed) {
            session.close(CloseReason::Shutdown); // Its handshake was under way when the drain began.
        }
        session
    }

    fn open_packet(&self, id: &SessionId, polling: bool) -> String {
        let options = &self.shared.options;
        format!(
            r#"0{{"sid":"{}","upgrades":[{}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            id.as_str(),
            if polling { r#""websocket""# } else { "" },
            options.ping_interval_ms,
            options.ping_timeout_ms,
            options.message_bytes_max,
        )
    }
}

fn preflight(headers: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let out = response.headers_mut();
    out.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE"),
    );
    if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

pub(super) fn allow_origin(origins: &Origins, origin: HeaderValue, headers: &mut HeaderMap) {
    if *origins == Origins::Any {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return;
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}
