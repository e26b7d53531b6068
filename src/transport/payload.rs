//! Engine.IO packets in HTTP bodies: encoding outgoing frames into a polling response and reading the
//! packets of a POST, for protocols 3 and 4.
//!
//! Rules come from engine.io-parser 5 (v4: packets joined by 0x1e, binary as `b<base64>`) and 2.2
//! (v3: `<length in UTF-16 units>:<packet>`, or the binary form with 0/1, digits, 0xff).

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Protocol,
    frame::{Opcode, parse_server_frame},
};

const SEPARATOR: u8 = 0x1e;

/// Not every client pads, and Node does not ask for it.
const BASE64_LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// An incoming Engine.IO packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Open,
    Close,
    Ping,
    Pong,
    Message(Bytes),
    Binary(Bytes),
    Upgrade,
    Noop,
}

/// Bytes that are no packets of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed engine.io payload: {0}")]
pub(crate) struct Malformed(&'static str);

impl Packet {
    /// Reads a text packet: its type digit and its data, or binary data as base64. The text must be valid UTF-8.
    pub(crate) fn parse_text(protocol: Protocol, text: &Bytes) -> Result<Self, Malformed> {
        match text.first() {
            Some(b'b') => {
                let prefix: &[u8] = if protocol == Protocol::V3 { b"b4" } else { b"b" };
                let data = text.strip_prefix(prefix).ok_or(Malformed("base64 of no message"))?;
                Ok(Self::Binary(base64(data)?))
            }
            Some(b'0') => Ok(Self::Open),
            Some(b'1') => Ok(Self::Close),
            Some(b'2') => Ok(Self::Ping),
            Some(b'3') => Ok(Self::Pong),
            Some(b'4') => Ok(Self::Message(text.slice(1..))),
            Some(b'5') => Ok(Self::Upgrade),
            Some(b'6') => Ok(Self::Noop),
            Some(_) => Err(Malformed("unknown packet type")),
            None => Err(Malformed("empty packet")),
        }
    }
}

/// A polling response body under construction.
#[derive(Debug)]
pub(crate) struct Encoder {
    protocol: Protocol,
    binary_body: bool,
    out: BytesMut,
}

impl Encoder {
    /// `binary_body`: protocol 3 with a client that takes binary bodies, and binary among the packets.
    pub(crate) fn new(protocol: Protocol, binary_body: bool) -> Self {
        Self { protocol, binary_body: binary_body && protocol == Protocol::V3, out: BytesMut::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn content_type(&self) -> &'static str {
        if self.binary_body { "application/octet-stream" } else { "text/plain; charset=UTF-8" }
    }

    pub(crate) fn finish(self) -> Bytes {
        self.out.freeze()
    }

    /// Appends a text packet (type digit included).
    pub(crate) fn put_text(&mut self, packet: &[u8]) {
        match self.protocol {
            Protocol::V4 => {
                self.separate();
                self.out.put_slice(packet);
            }
            Protocol::V3 if self.binary_body => self.put_v3_binary(0, packet),
            Protocol::V3 => self.put_v3_text(packet),
        }
    }

    /// Appends a binary message. `payload` is the websocket payload: protocol 3 starts it with the
    /// type byte 4.
    pub(crate) fn put_binary(&mut self, payload: &[u8]) {
        match self.protocol {
            Protocol::V4 => {
                self.separate();
                self.out.put_u8(b'b');
                self.out.put_slice(BASE64_STANDARD.encode(payload).as_bytes());
            }
            Protocol::V3 if self.binary_body => self.put_v3_binary(1, payload),
            Protocol::V3 => {
                let data = payload.get(1..).unwrap_or_default();
                self.put_v3_text(format!("b4{}", BASE64_STANDARD.encode(data)).as_bytes());
            }
        }
    }

    /// Appends the payload of every frame in `frames` (whole server frames).
    pub(crate) fn put_frames(&mut self, mut frames: &[u8]) {
        while let Some(frame) = parse_server_frame(frames) {
            match frame.opcode {
                Opcode::Text => self.put_text(frame.payload(frames)),
                Opcode::Binary => self.put_binary(frame.payload(frames)),
                _ => {}
            }
            frames = &frames[frame.len()..];
        }
    }

    fn separate(&mut self) {
        if !self.out.is_empty() {
            self.out.put_u8(SEPARATOR);
        }
    }

    fn put_v3_text(&mut self, packet: &[u8]) {
        let units = String::from_utf8_lossy(packet).encode_utf16().count();
        self.out.put_slice(units.to_string().as_bytes());
        self.out.put_u8(b':');
        self.out.put_slice(packet);
    }

    fn put_v3_binary(&mut self, kind: u8, packet: &[u8]) {
        self.out.put_u8(kind);
        for digit in packet.len().to_string().bytes() {
            self.out.put_u8(digit - b'0');
        }
        self.out.put_u8(0xff);
        self.out.put_slice(packet);
    }
}

/// Reads the packets of a POST body.
pub(crate) fn decode(protocol: Protocol, binary_body: bool, body: &Bytes) -> Result<Vec<Packet>, Malformed> {
    match (protocol, binary_body) {
        (Protocol::V4, _) => decode_v4(body),
        (Protocol::V3, false) => decode_v3_text(body),
        (Protocol::V3, true) => decode_v3_binary(body),
    }
}

fn utf8(bytes: Bytes) -> Result<Bytes, Malformed> {
    std::str::from_utf8(&bytes).map_err(|_| Malformed("invalid UTF-8"))?;
    Ok(bytes)
}

fn base64(text: &[u8]) -> Result<Bytes, Malformed> {
    BASE64_LENIENT.decode(text).map(Bytes::from).map_err(|_| Malformed("invalid base64"))
}

fn decode_v4(body: &Bytes) -> Result<Vec<Packet>, Malformed> {
    let body = utf8(body.clone())?;
    body.split(|&byte| byte == SEPARATOR)
        .map(|part| Packet::parse_text(Protocol::V4, &body.slice_ref(part)))
        .collect()
}

fn decode_v3_text(body: &Bytes) -> Result<Vec<Packet>, Malformed> {
    let body = utf8(body.clone())?;
    let text = std::str::from_utf8(&body).map_err(|_| Malformed("invalid UTF-8"))?;
    if text.is_empty() {
        return Err(Malformed("empty payload"));
    }
    let mut packets = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, tail) = rest.split_once(':').ok_or(Malformed("no length"))?;
        let units: usize = digits.parse().map_err(|_| Malformed("bad length"))?;
        let bytes = utf16_prefix(tail, units).ok_or(Malformed("length beyond the body"))?;
        let (packet, tail) = tail.split_at(bytes);
        // An empty packet is none, as in Node.
        if !packet.is_empty() {
            packets.push(Packet::parse_text(Protocol::V3, &body.slice_ref(packet.as_bytes()))?);
        }
        rest = tail;
    }
    Ok(packets)
}

/// How many bytes of `text` make `units` UTF-16 code units.
fn utf16_prefix(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (at, c) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(c.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

fn decode_v3_binary(body: &Bytes) -> Result<Vec<Packet>, Malformed> {
    let mut packets = Vec::new();
    let mut rest = body.clone();
    while let Some(&kind) = rest.first() {
        if kind > 1 {
            return Err(Malformed("unknown packet kind"));
        }
        let end = rest.iter().take(18).position(|&byte| byte == 0xff).ok_or(Malformed("no length"))?;
        let mut len = 0_usize;
        for &digit in &rest[1..end] {
            if digit > 9 {
                return Err(Malformed("bad length"));
            }
            len = len.saturating_mul(10).saturating_add(usize::from(digit));
        }
        let start = end + 1;
        let stop = start.checked_add(len).filter(|&stop| stop <= rest.len());
        let data = rest.slice(start..stop.ok_or(Malformed("length beyond the body"))?);
        rest = rest.slice(start + len..);
        packets.push(match (kind, data.first()) {
            (0, _) => Packet::parse_text(Protocol::V3, &utf8(data)?)?,
            (1, Some(4)) => Packet::Binary(data.slice(1..)),
            _ => return Err(Malformed("unknown packet kind")),
        });
    }
    if packets.is_empty() { Err(Malformed("empty payload")) } else { Ok(packets) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::frame::server_frame;

    fn body(protocol: Protocol, binary: bool, frames: &[Bytes]) -> Bytes {
        let mut encoder = Encoder::new(protocol, binary);
        for frame in frames {
            encoder.put_frames(frame);
        }
        encoder.finish()
    }

    #[test]
    fn bodies_look_as_engine_io_writes_them() {
        let text = server_frame(Opcode::Text, "4h€😀".as_bytes());
        let binary4 = server_frame(Opcode::Binary, &[1, 2, 3]);
        let binary3 = server_frame(Opcode::Binary, &[4, 1, 2, 3]);
        let both4 = [text.clone(), binary4];
        let both3 = [text.clone(), binary3];
        assert_eq!(body(Protocol::V4, false, &both4), "4h€😀\u{1e}bAQID");
        assert_eq!(body(Protocol::V3, false, &both3), "5:4h€😀6:b4AQID");
        let mut expected = vec![0, 9, 0xff];
        expected.extend("4h€😀".as_bytes());
        expected.extend([1, 4, 0xff, 4, 1, 2, 3]);
        assert_eq!(body(Protocol::V3, true, &both3), expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = server_frame(Opcode::Text, "4h€😀".as_bytes());
        let message = Packet::Message(Bytes::from("h€😀"));
        let blob = Packet::Binary(Bytes::from_static(&[1, 2, 3]));
        for (protocol, binary, frame) in [
            (Protocol::V4, false, server_frame(Opcode::Binary, &[1, 2, 3])),
            (Protocol::V3, false, server_frame(Opcode::Binary, &[4, 1, 2, 3])),
            (Protocol::V3, true, server_frame(Opcode::Binary, &[4, 1, 2, 3])),
        ] {
            let bytes = body(protocol, binary, &[text.clone(), frame]);
            assert_eq!(
                decode(protocol, binary, &bytes),
                Ok(vec![message.clone(), blob.clone()]),
                "{protocol:?}"
            );
        }
    }

    #[test]
    fn base64_need_not_be_padded() {
        let blob = Packet::Binary(Bytes::from_static(&[1, 2]));
        for (protocol, body) in [
            (Protocol::V4, "bAQI"),
            (Protocol::V4, "bAQI="),
            (Protocol::V3, "5:b4AQI"),
            (Protocol::V3, "0:5:b4AQI"),
        ] {
            assert_eq!(decode(protocol, false, &Bytes::from(body)), Ok(vec![blob.clone()]), "{body}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let no = |protocol, binary, body: &'static [u8]| {
            assert!(decode(protocol, binary, &Bytes::from_static(body)).is_err(), "{body:?}");
        };
        no(Protocol::V4, false, b"");
        no(Protocol::V4, false, b"\x1e");
        no(Protocol::V4, false, b"9x");
        no(Protocol::V4, false, b"b!!");
        no(Protocol::V3, false, b"3:b2x");
        no(Protocol::V4, false, b"4\xff");
        no(Protocol::V3, false, b"");
        no(Protocol::V3, false, b"4hello");
        no(Protocol::V3, false, b"99:4hello");
        no(Protocol::V3, false, b"-1:4");
        no(Protocol::V3, false, "1:😀".as_bytes());
        no(Protocol::V3, true, &[0xff]);
        no(Protocol::V3, true, &[0, 1]);
        no(Protocol::V3, true, &[0, 9, 9, 9, 0xff, b'4']);
        no(Protocol::V3, true, &[2, 1, 0xff, b'4']);
    }
}
