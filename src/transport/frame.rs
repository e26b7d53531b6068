//! Websocket frames as bytes (RFC 6455, section 5.2).
//!
//! Owns building server frames (unmasked, so the same bytes serve every viewer), walking over whole
//! server frames, and building the masked frames that socketioxide's websocket expects from a client.
//! Knows nothing of what the payloads mean.

use bytes::{BufMut, Bytes, BytesMut};

/// Frame opcodes that this crate sends or looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
    Reserved,
}

impl Opcode {
    pub(crate) fn from_bits(byte: u8) -> Self {
        match byte & 0x0f {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => Self::Reserved,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
            Self::Reserved => 0xf,
        }
    }

    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The longest header of a server frame.
const HEADER_BYTES_MAX: usize = 10;

fn put_header(out: &mut impl BufMut, opcode: Opcode, len: usize, mask_bit: u8) {
    out.put_u8(0x80 | opcode.bits());
    match len {
        0..=125 => out.put_u8(mask_bit | u8::try_from(len).expect("at most 125")),
        126..=0xffff => {
            out.put_u8(mask_bit | 126);
            out.put_u16(u16::try_from(len).expect("at most 0xffff"));
        }
        _ => {
            out.put_u8(mask_bit | 127);
            out.put_u64(len as u64);
        }
    }
}

/// One final, unmasked frame.
pub(crate) fn server_frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES_MAX + payload.len());
    put_server_frame(&mut out, opcode, payload);
    out.freeze()
}

/// Appends one final, unmasked frame.
pub(crate) fn put_server_frame(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    put_server_frame_of(out, opcode, &[payload]);
}

/// The same of a payload in pieces, which are copied once.
pub(crate) fn put_server_frame_of(out: &mut BytesMut, opcode: Opcode, pieces: &[&[u8]]) {
    let len = pieces.iter().map(|piece| piece.len()).sum();
    out.reserve(HEADER_BYTES_MAX + len);
    put_header(out, opcode, len, 0);
    pieces.iter().for_each(|piece| out.put_slice(piece));
}

/// Appends one frame masked with the zero key, which leaves the payload as it is: the form in which a
/// client's message may be shown to a websocket server without touching its bytes.
pub(crate) fn put_client_frame(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    out.reserve(HEADER_BYTES_MAX + 4 + payload.len());
    put_header(out, opcode, payload.len(), 0x80);
    out.put_u32(0);
    out.put_slice(payload);
}

/// One whole server frame inside a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerFrame {
    pub(crate) opcode: Opcode,
    pub(crate) header_len: usize,
    pub(crate) payload_len: usize,
}

impl ServerFrame {
    pub(crate) fn len(self) -> usize {
        self.header_len + self.payload_len
    }

    pub(crate) fn payload(self, buf: &[u8]) -> &[u8] {
        &buf[self.header_len..self.len()]
    }
}

/// Reads the frame at the start of `buf`; `None` if it is not one whole, unmasked frame.
pub(crate) fn parse_server_frame(buf: &[u8]) -> Option<ServerFrame> {
    let (&first, &second) = (buf.first()?, buf.get(1)?);
    if second & 0x80 != 0 || first & 0x80 == 0 {
        return None;
    }
    let (header_len, payload_len) = match second {
        126 => (4, usize::from(u16::from_be_bytes(buf.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(buf.get(2..10)?.try_into().ok()?)).ok()?),
        len => (2, usize::from(len)),
    };
    let frame = ServerFrame { opcode: Opcode::from_bits(first), header_len, payload_len };
    (header_len.checked_add(payload_len)? <= buf.len()).then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_form_is_read_back() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![7; len];
            let bytes = server_frame(Opcode::Text, &payload);
            let frame = parse_server_frame(&bytes).unwrap();
            assert_eq!((frame.opcode, frame.len()), (Opcode::Text, bytes.len()), "{len}");
            assert_eq!(frame.payload(&bytes), payload);
            for cut in [0, 1, 2, bytes.len() - 1] {
                assert_eq!(
                    parse_server_frame(&bytes[..cut.min(bytes.len() - 1)]),
                    None,
                    "{len} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn a_zero_mask_leaves_the_payload_alone() {
        let mut out = BytesMut::new();
        put_client_frame(&mut out, Opcode::Text, b"40");
        assert_eq!(&out[..], [0x81, 0x82, 0, 0, 0, 0, b'4', b'0']);
        assert_eq!(parse_server_frame(&out), None, "masked frames are no server frames");
    }
}
