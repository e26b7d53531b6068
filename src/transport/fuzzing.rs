//! What a client sends before anybody knows who it is: heads, bodies, frames.

use std::{hint::black_box, net::Ipv4Addr};

use bytes::Bytes;
use http::header;

use super::{
    CloseReason, Handshake, Origins, Protocol, TestClient,
    client_address::client_address,
    handshake::EngineQuery,
    incoming::{Event, Incoming, Violation},
    payload::{Encoder, Packet, decode},
    session::Link,
    short_way, upgrade,
    wire::Read,
};
use crate::values::Network;

/// The largest message in [`websocket`].
const MESSAGE_BYTES_MAX: usize = 1000;

/// The head of a request, and all that is read out of it.
pub(crate) fn http_head(data: &[u8]) {
    let Some((len, parts)) = short_way::head(data) else { return };
    assert_eq!(short_way::head(&data[..len]).map(|(len, _)| len), Some(len));
    assert!(short_way::head(&data[..len - 1]).is_none(), "half a head is none");
    let query = EngineQuery::parse(&parts.uri);
    black_box((query.protocol(), upgrade::is_websocket(&parts.headers)));
    drop(upgrade::accept(&parts.method, &parts.headers));
    let origin = parts.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    for origins in [Origins::Same, Origins::Only(vec!["https://good.example".to_owned()])] {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if origins.allow(&parts.headers, false) && parts.headers.contains_key(header::ORIGIN) {
            let origin = origin.expect("no page has an origin that is no text");
            let is_ours =
                host.is_some_and(|host| origin.strip_suffix(host).is_some_and(|rest| rest.ends_with("//")));
            assert!(is_ours || (origin == "https://good.example" && origins != Origins::Same), "{origin}");
        }
    }
    let everybody: Network = "0.0.0.0/0".parse().expect("a network");
    let address = client_address(Ipv4Addr::LOCALHOST.into(), &parts.headers, &[everybody]);
    let handshake = Handshake::new(&parts, address, 0);
    black_box((handshake.query().count(), handshake.headers().count()));
}

/// The body of a POST. What is understood is written as an answer would be, and read again.
pub(crate) fn payload(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else { return };
    let (protocol, binary_body) = match kind % 3 {
        0 => (Protocol::V4, false),
        1 => (Protocol::V3, false),
        _ => (Protocol::V3, true),
    };
    let Ok(packets) = decode(protocol, binary_body, &Bytes::copy_from_slice(body)) else { return };
    if packets.is_empty() {
        return; // A body of nothing is written as no body, which is none.
    }
    let mut encoder = Encoder::new(protocol, binary_body);
    for packet in &packets {
        match packet {
            Packet::Open => encoder.put_text(b"0"),
            Packet::Close => encoder.put_text(b"1"),
            Packet::Ping => encoder.put_text(b"2"),
            Packet::Pong => encoder.put_text(b"3"),
            Packet::Message(data) => encoder.put_text(&[b"4", &data[..]].concat()),
            Packet::Upgrade => encoder.put_text(b"5"),
            Packet::Noop => encoder.put_text(b"6"),
            Packet::Binary(data) if protocol == Protocol::V3 => {
                encoder.put_binary(&[&[4], &data[..]].concat())
            }
            Packet::Binary(data) => encoder.put_binary(data),
        }
    }
    assert_eq!(decode(protocol, binary_body, &encoder.finish()), Ok(packets));
}

/// The bytes of a websocket, in one piece and in small ones, and then into a session.
pub(crate) fn websocket(data: &[u8]) {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let whole = read(&[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(seed % 16) + 1).collect();
    assert_eq!(whole, read(&pieces), "a cut changes nothing");
    let protocol = if seed & 0x80 == 0 { Protocol::V4 } else { Protocol::V3 };
    let client = TestClient::with(1 << 16, protocol, None);
    let mut state = client.session.lock();
    client.session.received(&mut state, Read { events: whole.0.into(), end: None });
    if whole.1.is_some() {
        client.session.close_locked(&mut state, CloseReason::TransportError, None);
    }
    if matches!(state.link, Link::Closed(_)) {
        assert_eq!(state.outbox.bytes(), 0, "who is gone holds nothing");
    }
}

/// Events up to the end that the client says, or to its first violation.
fn read(pieces: &[&[u8]]) -> (Vec<Event>, Option<Violation>) {
    let (mut incoming, mut events) = (Incoming::default(), Vec::new());
    for piece in pieces {
        let outcome = incoming.feed(&mut piece.to_vec(), MESSAGE_BYTES_MAX, &mut events);
        let is_over = matches!(events.last(), Some(Event::Close(_)));
        if outcome.is_err() || is_over {
            return (events, outcome.err());
        }
        assert!(incoming.bytes() <= 2 * MESSAGE_BYTES_MAX + 14, "{} bytes", incoming.bytes());
    }
    (events, None)
}
