//! What several kinds of frames have in common: whom they are for, and free values.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{
    FRAME_BYTES_MAX, Malformed,
    broadcast::Flags,
    msgpack::Reader,
    to_json::{self, Transcoder},
    to_msgpack,
};

/// Which sockets: those in any of `rooms` (all sockets if there is none) that are in none of `except`.
/// A socket's own id is a room of its own in both lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The union of these, each socket once; empty means everyone.
    pub rooms: Vec<String>,
    /// Sockets in any of these are left out.
    pub except: Vec<String>,
}

impl Target {
    /// Everyone in `room`.
    #[must_use]
    pub fn room(room: impl Into<String>) -> Self {
        Self { rooms: vec![room.into()], except: Vec::new() }
    }
}

/// A value as JSON text, in which `{"_placeholder":true,"num":0}` stands for the first attachment if
/// there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// JSON text.
    pub json: String,
    /// The binary values in it, in their order.
    pub attachments: Vec<Bytes>,
}

impl Argument {
    /// A value without binary parts.
    #[must_use]
    pub fn json(json: impl Into<String>) -> Self {
        Self { json: json.into(), attachments: Vec::new() }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        to_msgpack::put_json(out, &self.json, &self.attachments)
    }

    /// The first of the values in the array `data`, if there is one, with its part of the attachments.
    ///
    /// # Errors
    /// `data` is no array, or attachments and placeholders do not fit.
    pub(in crate::cluster) fn first_of(
        data: &str,
        mut attachments: Vec<Bytes>,
    ) -> Result<Option<Self>, Malformed> {
        let values: Vec<&RawValue> = serde_json::from_str(data).map_err(|error| Malformed::json(&error))?;
        let Some(first) = values.first() else { return Ok(None) };
        if !attachments.is_empty() {
            // Placeholders are numbered in the order of the text, so the first value has the first ones.
            let value = serde_json::from_str(first.get()).map_err(|error| Malformed::json(&error))?;
            attachments.truncate(placeholders(&value));
        }
        Self::cut(first.get(), attachments).map(Some)
    }

    /// `json` was cut out of a message with these attachments; they all must belong to it.
    pub(super) fn cut(json: &str, attachments: Vec<Bytes>) -> Result<Self, Malformed> {
        if !attachments.is_empty() {
            to_msgpack::put_json(&mut Vec::new(), json, &attachments)?;
        }
        Ok(Self { json: json.to_owned(), attachments })
    }
}

/// How many binary values a value has. Its depth is bounded by the parser's.
fn placeholders(value: &Value) -> usize {
    match value {
        Value::Object(map) if map.get("_placeholder") == Some(&Value::Bool(true)) => 1,
        Value::Object(map) => map.values().map(placeholders).sum(),
        Value::Array(values) => values.iter().map(placeholders).sum(),
        _ => 0,
    }
}

/// A request or response as JSON text and attachments. Its first byte tells JSON from MessagePack.
pub(super) fn text_of(payload: &[u8]) -> Result<(std::borrow::Cow<'_, str>, Vec<Bytes>), Malformed> {
    if payload.len() > FRAME_BYTES_MAX {
        return Err(Malformed::TooLarge(payload.len()));
    }
    if payload.first() == Some(&b'{') {
        return Ok((String::from_utf8_lossy(payload), Vec::new()));
    }
    let (text, attachments) = transcode(payload)?;
    Ok((text.into(), attachments))
}

pub(super) fn transcode(payload: &[u8]) -> Result<(String, Vec<Bytes>), Malformed> {
    let mut reader = Reader::new(payload);
    let mut out = Transcoder::default();
    out.value(&mut reader)?;
    reader.finish()?;
    Ok((out.text, out.attachments))
}

/// `{"rooms":[…],"except":[…],"flags":{…}}`, all parts optional, as every Node version reads it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Options {
    #[serde(default, deserialize_with = "room_names")]
    rooms: Vec<String>,
    #[serde(default, deserialize_with = "room_names")]
    except: Vec<String>,
    #[serde(default)]
    flags: Option<Flags>,
}

impl Options {
    pub(super) fn of_msgpack(raw: &[u8]) -> Result<Self, Malformed> {
        let (text, _) = transcode(raw)?;
        serde_json::from_str(&text).map_err(|error| Malformed::json(&error))
    }

    pub(super) fn split(self) -> (Target, Flags) {
        (Target { rooms: self.rooms, except: self.except }, self.flags.unwrap_or_default())
    }
}

/// A list of rooms, or nothing. JavaScript's numbers become text. Entries that can be no room become
/// rooms that nobody is in, because an entry left out could turn "one room" into "everyone".
pub(super) fn room_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Option::<Vec<RoomName>>::deserialize(deserializer)?;
    Ok(names.unwrap_or_default().into_iter().map(|name| name.0).collect())
}

struct RoomName(String);

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyRoom;
        impl<'de> Visitor<'de> for AnyRoom {
            type Value = RoomName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a room")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<RoomName, E> {
                Ok(RoomName(name.to_owned()))
            }
            fn visit_string<E: Error>(self, name: String) -> Result<RoomName, E> {
                Ok(RoomName(name))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<RoomName, E> {
                Ok(RoomName(number.to_string()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<RoomName, E> {
                Ok(RoomName(number.to_string()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<RoomName, E> {
                let mut name = String::new();
                super::scalar::put_number(&mut name, number);
                Ok(RoomName(name))
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<RoomName, E> {
                Ok(RoomName(NOBODY.to_owned()))
            }
            fn visit_unit<E: Error>(self) -> Result<RoomName, E> {
                Ok(RoomName(NOBODY.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<RoomName, A::Error> {
                while members.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RoomName(NOBODY.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<RoomName, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(RoomName(NOBODY.to_owned()))
            }
        }
        deserializer.deserialize_any(AnyRoom)
    }
}

/// No socket joins a room with a control character.
const NOBODY: &str = "\u{0}";

/// `"text"` as JSON.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    to_json::put_text(&mut out, text);
    out
}
