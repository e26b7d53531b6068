//! Socket.IO event packets as shared websocket frames: `42["event",<argument>]`.
//!
//! Owns only the wrapping; the argument is JSON text that the caller made once.

use bytes::{Bytes, BytesMut};

use super::{
    Protocol,
    frame::{Opcode, put_server_frame, put_server_frame_of},
};

/// A whole Socket.IO packet and the attachments that its header announces, in one piece: whoever queues
/// it can not part them.
#[must_use]
pub fn packet_frames(protocol: Protocol, packet: &[u8], attachments: &[Bytes]) -> Bytes {
    let mut out = BytesMut::new();
    put_server_frame(&mut out, Opcode::Text, &[b"4", packet].concat());
    for attachment in attachments {
        match protocol {
            // Protocol 3 says in front of binary data, too, that it is a message.
            Protocol::V3 => put_server_frame(&mut out, Opcode::Binary, &[b"\x04", &attachment[..]].concat()),
            Protocol::V4 => put_server_frame(&mut out, Opcode::Binary, attachment),
        }
    }
    out.freeze()
}

/// One event with one JSON argument.
#[must_use]
pub fn event_frame(event: &str, argument: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    put_event_frame(&mut out, event, argument);
    out.freeze()
}

/// Appends one event with one JSON argument. `event` needs no escaping.
pub fn put_event_frame(out: &mut BytesMut, event: &str, argument: &[u8]) {
    put_server_frame_of(out, Opcode::Text, &[b"42[\"", event.as_bytes(), b"\",", argument, b"]"]);
}
