//! The short way in: a websocket handshake that has come whole and asks for a new session becomes one without
//! an HTTP server being set up for it, and its `101` leaves together with the session's first packet. After an
//! outage thousands come at once, and half of what each of them cost was that server.
//!
//! Invariant: what is not taken is not touched. The bytes are only looked at, so a request that is unusual,
//! broken, cut in two, or to be refused is answered by the HTTP server, which knows nothing of this.

use std::net::SocketAddr;

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header, request::Parts};
use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream};

use super::{
    Engine, Handshake, Protocol,
    engine::{Opening, allow_origin},
    handshake::{EngineQuery, One},
    upgrade,
    wire::Wire,
};

/// A longer head is left to the HTTP server.
const HEAD_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;

/// A handshake that may become a session.
struct Wanted {
    head_bytes: usize,
    protocol: Protocol,
    handshake: Handshake,
    answer: Vec<u8>,
}

impl Engine {
    /// Waits for the first bytes and makes a session of the socket if it can; otherwise gives it back.
    pub(super) async fn take_websocket(&self, socket: TcpStream, peer: SocketAddr) -> Option<TcpStream> {
        if socket.readable().await.is_err() {
            return Some(socket);
        }
        self.take_ready(socket, peer)
    }

    fn take_ready(&self, socket: TcpStream, peer: SocketAddr) -> Option<TcpStream> {
        let mut bytes = [0; HEAD_BYTES_MAX];
        let look = socket.try_io(Interest::READABLE, || Ok(recv(&socket, &mut bytes, RecvFlags::PEEK)?.1));
        let wanted = look.ok().and_then(|len| self.wanted(bytes.get(..len)?, peer));
        let Some(Wanted { head_bytes, protocol, handshake, answer }) = wanted else { return Some(socket) };
        // Asked last, since whoever is admitted uses up a place; who is not is told so by the HTTP server.
        let Ok(seat) = self.shared.admit(&handshake) else { return Some(socket) };
        if socket.try_read(&mut bytes[..head_bytes]).is_ok_and(|read| read == head_bytes) {
            let opening = Opening { wire: Wire::new(socket), answer: &answer, read_ahead: &mut [] };
            self.start(protocol, false, handshake, seat, Some(opening));
        }
        None
    }

    fn wanted(&self, bytes: &[u8], peer: SocketAddr) -> Option<Wanted> {
        let (head_bytes, parts) = head(bytes)?;
        let query = EngineQuery::parse(&parts.uri);
        let is_new = query.sid == One::None && query.transport.is("websocket");
        let admittance = self.shared.admittance();
        let is_allowed = admittance.origins.allow(&parts.headers, self.shared.options.is_secure);
        if !is_new || !upgrade::is_websocket(&parts.headers) || !is_allowed {
            return None;
        }
        let protocol = query.protocol()?;
        let mut answer = upgrade::accept(&parts.method, &parts.headers).ok()?;
        if let Some(origin) = parts.headers.get(header::ORIGIN) {
            allow_origin(&admittance.origins, origin.clone(), answer.headers_mut());
        }
        let handshake = self.handshake(&parts, peer.ip());
        Some(Wanted { head_bytes, protocol, handshake, answer: text(&answer) })
    }
}

/// A whole request head of the usual kind, and its length.
pub(super) fn head(bytes: &[u8]) -> Option<(usize, Parts)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(len) = request.parse(bytes).ok()? else { return None };
    let target = request.path.filter(|target| target.starts_with("/socket.io/?"))?;
    if (request.method, request.version) != (Some("GET"), Some(1)) {
        return None;
    }
    let mut map = HeaderMap::with_capacity(request.headers.len());
    for header in &*request.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        if matches!(name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::EXPECT) {
            return None;
        }
        map.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    if !map.contains_key(header::HOST) {
        return None;
    }
    let (mut parts, ()) = Request::get(target).body(()).ok()?.into_parts();
    parts.headers = map;
    Some((len, parts))
}

fn text(response: &Response) -> Vec<u8> {
    let mut out = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "/socket.io/?EIO=4&transport=websocket&fleetId=f";

    fn is_taken(request: &str) -> bool {
        head(request.as_bytes()).is_some()
    }

    #[test]
    fn only_whole_and_usual_heads_are_looked_at() {
        let usual = format!("GET {TARGET} HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n");
        assert!(is_taken(&usual));
        for end in 0..usual.len() {
            assert!(!is_taken(&usual[..end]), "cut at {end}");
        }
        for (from, to) in [
            ("GET", "POST"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("/socket.io/?", "/socket.io?"),
            ("/socket.io/?", "http://h/socket.io/?"),
            ("X: y", "Content-Length: 1"),
            ("X: y", "Transfer-Encoding: chunked"),
            ("X: y", "Expect: 100-continue"),
            ("X: y", "X y: z"),
            ("X: y", " folded"),
            ("Host: h", "Y: z"),
        ] {
            assert!(!is_taken(&usual.replacen(from, to, 1)), "{from} as {to}");
        }
        let many = "X: y\r\n".repeat(HEADERS_MAX + 1);
        assert!(!is_taken(&usual.replacen("X: y\r\n", &many, 1)));
    }

    #[test]
    fn what_follows_the_head_is_not_part_of_it() {
        let head_text = format!("GET {TARGET} HTTP/1.1\r\nHost: h\r\nOrigin: https://a\r\n\r\n");
        let (len, parts) = head(format!("{head_text}\u{1}rest").as_bytes()).unwrap();
        assert_eq!((len, parts.headers[header::ORIGIN].as_bytes()), (head_text.len(), &b"https://a"[..]));
        assert_eq!(parts.uri.path_and_query().unwrap(), TARGET);
    }
}
