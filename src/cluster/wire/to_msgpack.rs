//! JSON text and attachments to MessagePack, in one pass and without a tree.
//!
//! Invariant: the bytes are those that notepack writes for the value that `JSON.parse` gives, with the
//! attachments in their places. Every attachment is used once and in its order.

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Malformed, msgpack};

/// Appends one value.
///
/// # Errors
/// `json` is no JSON text, or placeholders and attachments do not fit.
pub(super) fn put_json(out: &mut Vec<u8>, json: &str, attachments: &[Bytes]) -> Result<(), Malformed> {
    let mut writer = Writer { out, attachments, used: 0 };
    let mut reader = serde_json::Deserializer::from_str(json);
    DeserializeSeed::deserialize(&mut writer, &mut reader).map_err(|error| Malformed::json(&error))?;
    reader.end().map_err(|error| Malformed::json(&error))?;
    if writer.used == attachments.len() { Ok(()) } else { Err(Malformed::Attachments) }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    attachments: &'a [Bytes],
    used: usize,
}

impl Writer<'_> {
    /// Puts the header before the members, once their number is known: JSON does not tell it ahead,
    /// and only the shortest form is what Node writes.
    fn put_header(&mut self, start: usize, header: impl FnOnce(&mut Vec<u8>)) {
        let end = self.out.len();
        header(self.out);
        let len = self.out.len() - end;
        self.out[start..].rotate_right(len);
    }

    fn attachment(&mut self, num: u64) -> Option<()> {
        let num = usize::try_from(num).ok().filter(|num| *num == self.used)?;
        msgpack::put_binary(self.out, self.attachments.get(num)?);
        self.used += 1;
        Some(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Writer<'_> {
    type Value = Scalar;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What was written, as far as a surrounding placeholder needs to know.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    True,
    Number(u64),
    Other,
}

impl<'de> Visitor<'de> for &mut Writer<'_> {
    type Value = Scalar;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        msgpack::put_nil(self.out);
        Ok(Scalar::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        msgpack::put_bool(self.out, value);
        Ok(if value { Scalar::True } else { Scalar::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        msgpack::put_unsigned(self.out, value);
        Ok(Scalar::Number(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        msgpack::put_signed(self.out, value);
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        msgpack::put_number(self.out, value);
        Ok(Scalar::Other)
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        msgpack::put_text(self.out, value);
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Scalar, A::Error> {
        let start = self.out.len();
        let mut len = 0;
        while members.next_element_seed(&mut *self)?.is_some() {
            len += 1;
        }
        self.put_header(start, |out| msgpack::put_array(out, len));
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Scalar, A::Error> {
        let (start, mut len) = (self.out.len(), 0);
        let (mut is_placeholder, mut num) = (false, None);
        while let Some(key) = members.next_key::<std::borrow::Cow<'_, str>>()? {
            msgpack::put_text(self.out, &key);
            let value = members.next_value_seed(&mut *self)?;
            match (key.as_ref(), value) {
                ("_placeholder", Scalar::True) => is_placeholder = true,
                ("num", Scalar::Number(value)) => num = Some(value),
                _ => {}
            }
            len += 1;
        }
        if is_placeholder && !self.attachments.is_empty() {
            self.out.truncate(start);
            let misfit = || A::Error::custom("placeholders and attachments do not fit");
            num.and_then(|num| self.attachment(num)).ok_or_else(misfit)?;
        } else {
            self.put_header(start, |out| msgpack::put_map(out, len));
        }
        Ok(Scalar::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(json: &str) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        put_json(&mut out, json, &[]).map(|()| out)
    }

    #[test]
    fn headers_take_the_shortest_form() {
        assert_eq!(put("[]").unwrap(), [0x90]);
        assert_eq!(put(r#"[1,[2,{"a":[]}]]"#).unwrap(), b"\x92\x01\x92\x02\x81\xa1a\x90");
        let sixteen = format!("[{}0]", "0,".repeat(15));
        assert_eq!(put(&sixteen).unwrap()[..4], [0xdc, 0, 16, 0]);
    }

    #[test]
    fn attachments_take_their_places_in_order() {
        let placeholder = |num| format!("{{\"_placeholder\":true,\"num\":{num}}}");
        let parts = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let mut out = Vec::new();
        put_json(&mut out, &format!("[{},[{}]]", placeholder(0), placeholder(1)), &parts).unwrap();
        assert_eq!(out, b"\x92\xc4\x01a\x91\xc4\x01b");
        for wrong in [format!("[{}]", placeholder(0)), format!("[{},{}]", placeholder(1), placeholder(0))] {
            assert!(put_json(&mut Vec::new(), &wrong, &parts).is_err(), "{wrong}");
        }
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        for json in ["", "[1", "[1]]", "nope", "[1e999]", &"[".repeat(100_000)] {
            assert!(put(json).is_err(), "{}", &json[..json.len().min(10)]);
        }
    }
}
