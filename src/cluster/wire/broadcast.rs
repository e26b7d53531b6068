//! Broadcast frames: `[uid, packet, opts]` in MessagePack.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};

use super::{
    FRAME_BYTES_MAX, Frame, Kind, Malformed, Names, Target,
    message::Options,
    msgpack::{self, Item, Reader},
    to_json, to_msgpack,
};
use crate::cluster::EncodedEvent;

/// Socket.IO's packet type for events. Binary ones carry it, too, in these frames.
const EVENT: u64 = 2;

/// How an emit was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Dashboards that are not ready right now may miss it.
    Volatile,
    /// Whether the frame should be compressed.
    Compress(bool),
    /// The deadline of acknowledgements.
    TimeoutMs(u64),
    /// Emitted to one socket of a `fetchSockets` answer.
    ExpectSingleResponse,
}

/// Flags in the order in which they were set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags(Vec<Flag>);

impl Flags {
    /// Adds one.
    #[must_use]
    pub fn with(mut self, flag: Flag) -> Self {
        self.0.push(flag);
        self
    }

    /// Whether dashboards may miss it.
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        self.0.contains(&Flag::Volatile)
    }

    /// The deadline of acknowledgements.
    #[must_use]
    pub fn timeout_ms(&self) -> Option<u64> {
        self.0.iter().find_map(|flag| if let Flag::TimeoutMs(ms) = flag { Some(*ms) } else { None })
    }

    fn put(&self, out: &mut Vec<u8>) {
        msgpack::put_map(out, self.0.len());
        for flag in &self.0 {
            msgpack::put_text(out, flag.name());
            match flag {
                Flag::Volatile | Flag::ExpectSingleResponse => msgpack::put_bool(out, true),
                Flag::Compress(on) => msgpack::put_bool(out, *on),
                Flag::TimeoutMs(ms) => msgpack::put_unsigned(out, *ms),
            }
        }
    }
}

impl Flag {
    fn name(self) -> &'static str {
        match self {
            Self::Volatile => "volatile",
            Self::Compress(_) => "compress",
            Self::TimeoutMs(_) => "timeout",
            Self::ExpectSingleResponse => "expectSingleResponse",
        }
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for flag in &self.0 {
            match flag {
                Flag::Volatile | Flag::ExpectSingleResponse => map.serialize_entry(flag.name(), &true)?,
                Flag::Compress(on) => map.serialize_entry(flag.name(), on)?,
                Flag::TimeoutMs(ms) => map.serialize_entry(flag.name(), ms)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyFlags;
        impl<'de> Visitor<'de> for AnyFlags {
            type Value = Flags;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("flags")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Flags, A::Error> {
                let mut flags = Flags::default();
                while let Some(name) = map.next_key::<Cow<'_, str>>()? {
                    // Of `compress` the false is telling; of all others only what is set.
                    match (name.as_ref(), map.next_value::<serde_json::Value>()?) {
                        ("volatile", serde_json::Value::Bool(true)) => flags.0.push(Flag::Volatile),
                        ("compress", serde_json::Value::Bool(on)) => flags.0.push(Flag::Compress(on)),
                        ("expectSingleResponse", serde_json::Value::Bool(true)) => {
                            flags.0.push(Flag::ExpectSingleResponse);
                        }
                        ("timeout", serde_json::Value::Number(ms)) => {
                            #[expect(
                                clippy::cast_possible_truncation,
                                clippy::cast_sign_loss,
                                reason = "saturates, and negative ones are over at once"
                            )]
                            flags.0.extend(ms.as_f64().map(|ms| Flag::TimeoutMs(ms as u64)));
                        }
                        _ => {}
                    }
                }
                Ok(flags)
            }
        }
        deserializer.deserialize_map(AnyFlags)
    }
}

/// An emit, to be told to the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Broadcast<'a> {
    /// What to send.
    pub event: &'a EncodedEvent,
    /// To whom.
    pub target: &'a Target,
    /// How.
    pub flags: &'a Flags,
}

impl Broadcast<'_> {
    /// The frame that the member `uid` publishes. One room has its channel; everything else goes to
    /// the namespace's.
    ///
    /// # Errors
    /// The event does not fit into a frame.
    pub fn frame(&self, names: &Names, uid: &str) -> Result<Frame, Malformed> {
        let mut out = Vec::with_capacity(self.event.packet().len() + 96);
        msgpack::put_array(&mut out, 3);
        msgpack::put_text(&mut out, uid);
        put_packet(&mut out, names, self.event)?;
        put_options(&mut out, self.target, self.flags);
        let channel = match &self.target.rooms[..] {
            [room] => names.room(room),
            _ => names.namespace().to_owned(),
        };
        Frame::checked(Kind::Broadcast, channel, out)
    }
}

pub(super) fn put_packet(out: &mut Vec<u8>, names: &Names, event: &EncodedEvent) -> Result<(), Malformed> {
    msgpack::put_map(out, 3);
    msgpack::put_text(out, "type");
    msgpack::put_unsigned(out, EVENT);
    msgpack::put_text(out, "data");
    to_msgpack::put_json(out, event.data(), event.attachments())?;
    msgpack::put_text(out, "nsp");
    msgpack::put_text(out, names.path());
    Ok(())
}

pub(super) fn put_options(out: &mut Vec<u8>, target: &Target, flags: &Flags) {
    msgpack::put_map(out, 3);
    for (name, rooms) in [("rooms", &target.rooms), ("except", &target.except)] {
        msgpack::put_text(out, name);
        msgpack::put_array(out, rooms.len());
        for room in rooms {
            msgpack::put_text(out, room);
        }
    }
    msgpack::put_text(out, "flags");
    flags.put(out);
}

/// A broadcast frame that arrived, with the event still to be decoded: for most members most frames
/// end here.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Who published it; the emitter uses a fixed word.
    pub uid: Option<Cow<'a, str>>,
    /// The namespace that the packet names.
    pub nsp: Cow<'a, str>,
    /// For whom.
    pub target: Target,
    /// How.
    pub flags: Flags,
    data: &'a [u8],
}

impl<'a> Incoming<'a> {
    /// Reads all but the event.
    ///
    /// # Errors
    /// Not a broadcast frame.
    pub fn open(payload: &'a [u8]) -> Result<Self, Malformed> {
        if payload.len() > FRAME_BYTES_MAX {
            return Err(Malformed::TooLarge(payload.len()));
        }
        let mut reader = Reader::new(payload);
        let Item::Array(len @ 3..) = reader.item()? else {
            return Err(Malformed::Unexpected("a broadcast that is no array of uid, packet and opts"));
        };
        let (uid, packet, options) = (reader.skip()?, reader.skip()?, reader.skip()?);
        for _ in 3..len {
            reader.skip()?;
        }
        reader.finish()?;
        let (data, nsp) = packet_parts(packet)?;
        let (target, flags) = Options::of_msgpack(options)?.split();
        Ok(Self { uid: text(uid), nsp, target, flags, data })
    }

    /// The event for dashboards.
    ///
    /// # Errors
    /// Not an event that dashboards accept.
    pub fn event(&self) -> Result<EncodedEvent, Malformed> {
        super::event_of(self.data)
    }
}

fn packet_parts(packet: &[u8]) -> Result<(&[u8], Cow<'_, str>), Malformed> {
    let mut reader = Reader::new(packet);
    let Item::Map(len) = reader.item()? else {
        return Err(Malformed::Unexpected("a packet that is no map"));
    };
    let (mut data, mut nsp) = (None, Some(Cow::Borrowed("/")));
    for _ in 0..len {
        let key = to_json::key(reader.item()?)?;
        let value = reader.skip()?;
        match key.as_ref() {
            "data" => data = Some(value),
            "nsp" => nsp = text(value),
            _ => {}
        }
    }
    let data = data.ok_or(Malformed::Unexpected("a packet without data"))?;
    Ok((data, nsp.ok_or(Malformed::Unexpected("a namespace that is no text"))?))
}

fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
    match Reader::new(raw).item() {
        Ok(Item::Text(bytes)) => Some(String::from_utf8_lossy(bytes)),
        _ => None,
    }
}
