//! The frames of `@socket.io/redis-adapter`, encode and decode. Pure: no sockets, no clock.
//!
//! Invariants: a Node replica dies of one malformed frame, so bytes for the cluster come from here
//! alone, as a [`Frame`], which was checked by reading it again; and whatever arrives, decoding neither
//! panics nor recurses nor allocates beyond a small multiple of what it was given.

mod broadcast;
mod dialect;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod message;
mod msgpack;
mod names;
mod request;
mod response;
mod scalar;
mod sharded;
mod to_json;
mod to_msgpack;

use bytes::Bytes;

pub use broadcast::{Broadcast, Flag, Flags, Incoming};
pub use dialect::Dialect;
pub use message::{Argument, Target};
pub use names::{Address, InvalidKey, Names};
pub use request::{Request, RequestFrame, Selection};
pub use response::{Answer, ResponseFrame};
pub use sharded::{Body, ShardedMessage};

use super::event::{self, EncodedEvent};

/// Frames above this size are neither published nor decoded.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Why bytes are not what the protocol says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end within a value.
    #[error("truncated messagepack")]
    Truncated,
    /// A value ends before the bytes do.
    #[error("{0} bytes after the messagepack value")]
    TrailingBytes(usize),
    /// Not in the format.
    #[error("unknown messagepack marker")]
    UnknownMarker,
    /// Nested beyond the bound.
    #[error("nested deeper than {} levels", to_json::DEPTH_MAX)]
    TooDeep,
    /// More binary values than the bound.
    #[error("more than {} attachments", to_json::ATTACHMENTS_MAX)]
    TooManyAttachments,
    /// More bytes than the bound.
    #[error("{0} bytes, more than {FRAME_BYTES_MAX}")]
    TooLarge(usize),
    /// Placeholders without attachment, or the reverse.
    #[error("placeholders and attachments do not fit")]
    Attachments,
    /// Well-formed, but not what is expected in this place.
    #[error("unexpected: {0}")]
    Unexpected(&'static str),
    /// Not JSON, or not the JSON expected.
    #[error("json: {0}")]
    Json(String),
    /// A request or response of a kind that this protocol does not have.
    #[error("unknown type {0}")]
    UnknownType(u64),
}

impl Malformed {
    fn json(error: &serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

/// Bytes that may be published to the cluster.
///
/// There is no way to make one but through this module's encoders, each of which passes
/// [`Frame::checked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    channel: String,
    payload: Bytes,
}

/// What kind of reader a frame meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Broadcast,
    Request,
    Response,
    Sharded,
}

impl Frame {
    /// Where to publish it.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// What to publish.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// What a stranger might publish.
    #[cfg(test)]
    pub(super) fn unchecked(channel: &str, payload: &[u8]) -> Self {
        Self { channel: channel.to_owned(), payload: Bytes::copy_from_slice(payload) }
    }

    /// The one way to a frame: the bytes are read again as a peer would read them. In release builds,
    /// too: it costs less than sending them, and a frame that fails here would have killed replicas.
    fn checked(kind: Kind, channel: String, payload: Vec<u8>) -> Result<Self, Malformed> {
        if payload.len() > FRAME_BYTES_MAX {
            return Err(Malformed::TooLarge(payload.len()));
        }
        match kind {
            Kind::Broadcast => {
                let frame = Incoming::open(&payload)?;
                if cfg!(debug_assertions) {
                    frame.event()?;
                }
            }
            Kind::Request => drop(RequestFrame::decode(&payload)?),
            Kind::Response => drop(ResponseFrame::decode(&payload)?),
            Kind::Sharded => drop(ShardedMessage::decode(&payload)?),
        }
        Ok(Self { channel, payload: payload.into() })
    }
}

/// Whether `data` and `attachments` make an event that dashboards accept.
pub(super) fn check_event(data: &str, attachments: &[Bytes]) -> Result<(), Malformed> {
    let mut out = Vec::with_capacity(data.len());
    to_msgpack::put_json(&mut out, data, attachments)?;
    let mut reader = msgpack::Reader::new(&out);
    let (msgpack::Item::Array(1..), name) = (reader.item()?, reader.item()) else {
        return Err(Malformed::Unexpected("an event that is no array with a name"));
    };
    check_name(name?)
}

fn check_name(name: msgpack::Item<'_>) -> Result<(), Malformed> {
    match name {
        msgpack::Item::Text(name) if std::str::from_utf8(name).is_ok_and(event::is_reserved) => {
            Err(Malformed::Unexpected("a reserved event name"))
        }
        msgpack::Item::Text(_)
        | msgpack::Item::Unsigned(_)
        | msgpack::Item::Signed(_)
        | msgpack::Item::Float(_) => Ok(()),
        _ => Err(Malformed::Unexpected("an event name that is neither text nor number")),
    }
}

/// The event in the MessagePack array `data`.
fn event_of(data: &[u8]) -> Result<EncodedEvent, Malformed> {
    let mut reader = msgpack::Reader::new(data);
    let msgpack::Item::Array(len @ 1..) = reader.item()? else {
        return Err(Malformed::Unexpected("an event that is no array with a name"));
    };
    let name = reader.item()?;
    check_name(name)?;
    let mut out = to_json::Transcoder::default();
    out.text.reserve(data.len() + data.len() / 4);
    out.array_from(len, name, &mut reader)?;
    reader.finish()?;
    Ok(EncodedEvent::assemble(&out.text, out.attachments))
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod property_tests;
