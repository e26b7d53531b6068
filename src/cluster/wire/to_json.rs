//! MessagePack values to JSON text and attachments, in one pass and without a tree.
//!
//! Invariant: what comes out is what `JSON.stringify` makes of what notepack decodes, so dashboards
//! behind this replica read the same as those behind Node. Depth and size are bounded.

use std::{borrow::Cow, fmt::Write};

use bytes::Bytes;

use super::{
    Malformed,
    msgpack::{Item, Reader},
    scalar,
};

/// As deep as `serde_json` reads, so that every text made here can be read again.
pub(super) const DEPTH_MAX: usize = 120;
/// Attachments of one value; stock dashboards take at most 10.
pub(super) const ATTACHMENTS_MAX: usize = 10_000;

/// Up to here, integers are the same in JavaScript.
const SAFE_MAX: u64 = 1 << 53;

/// Extension types that notepack 2 and 3 write.
const LEGACY: i8 = 0;
const TIMESTAMP: i8 = -1;

/// JSON text with placeholders, and what they stand for.
#[derive(Debug, Default)]
pub(super) struct Transcoder {
    pub(super) text: String,
    pub(super) attachments: Vec<Bytes>,
}

/// JavaScript's `undefined` has no JSON text of its own: it depends on where it stands.
#[derive(PartialEq)]
enum Wrote {
    Value,
    Undefined,
}

impl Transcoder {
    /// Appends the next value of `reader`.
    pub(super) fn value(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let item = reader.item()?;
        self.defined(item, reader, 0)
    }

    /// Appends an array whose header and first item were read already.
    pub(super) fn array_from(
        &mut self,
        len: usize,
        first: Item<'_>,
        reader: &mut Reader<'_>,
    ) -> Result<(), Malformed> {
        self.text.push('[');
        self.defined(first, reader, 1)?;
        for _ in 1..len {
            self.text.push(',');
            let item = reader.item()?;
            self.defined(item, reader, 1)?;
        }
        self.text.push(']');
        Ok(())
    }

    /// Where a value must stand, `undefined` reads `null`.
    fn defined(&mut self, item: Item<'_>, reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
        if self.item(item, reader, depth)? == Wrote::Undefined {
            self.text.push_str("null");
        }
        Ok(())
    }

    fn item(&mut self, item: Item<'_>, reader: &mut Reader<'_>, depth: usize) -> Result<Wrote, Malformed> {
        match item {
            Item::Nil => self.text.push_str("null"),
            Item::Bool(value) => self.text.push_str(if value { "true" } else { "false" }),
            // JavaScript's numbers are floats: beyond 2^53 they round, and dashboards behind Node see that.
            Item::Unsigned(value) if value > SAFE_MAX => scalar::put_number(&mut self.text, unsigned(value)),
            Item::Signed(value) if value.unsigned_abs() > SAFE_MAX => {
                scalar::put_number(&mut self.text, float(value));
            }
            Item::Unsigned(value) => put_display(&mut self.text, value),
            Item::Signed(value) => put_display(&mut self.text, value),
            Item::Float(value) => scalar::put_number(&mut self.text, value),
            Item::Text(bytes) => put_text(&mut self.text, &String::from_utf8_lossy(bytes)),
            Item::Binary(bytes) => self.attachment(bytes)?,
            Item::Extension(kind, bytes) => return self.extension(kind, bytes),
            Item::Array(_) | Item::Map(_) if depth >= DEPTH_MAX => return Err(Malformed::TooDeep),
            Item::Array(len) => self.array(len, reader, depth)?,
            Item::Map(len) => self.map(len, reader, depth)?,
        }
        Ok(Wrote::Value)
    }

    fn array(&mut self, len: usize, reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
        self.text.push('[');
        for index in 0..len {
            if index > 0 {
                self.text.push(',');
            }
            let item = reader.item()?;
            self.defined(item, reader, depth + 1)?;
        }
        self.text.push(']');
        Ok(())
    }

    fn map(&mut self, len: usize, reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
        self.text.push('{');
        let mut is_first = true;
        for _ in 0..len {
            let start = self.text.len();
            if !is_first {
                self.text.push(',');
            }
            let key = key(reader.item()?)?;
            put_text(&mut self.text, &key);
            self.text.push(':');
            let item = reader.item()?;
            if self.item(item, reader, depth + 1)? == Wrote::Undefined {
                self.text.truncate(start); // JSON leaves the key out.
            } else {
                is_first = false;
            }
        }
        self.text.push('}');
        Ok(())
    }

    /// notepack's readings: dates in the timestamp formats and in its own old one, `undefined` and
    /// `ArrayBuffer` in its old ones, everything else as an array of type and bytes.
    fn extension(&mut self, kind: i8, bytes: &[u8]) -> Result<Wrote, Malformed> {
        match (kind, bytes.len()) {
            (LEGACY, 1) => return Ok(Wrote::Undefined),
            (LEGACY, 8) => scalar::put_date(&mut self.text, float(i64::from_be_bytes(array(bytes)))),
            (LEGACY, _) => self.attachment(bytes)?,
            (TIMESTAMP, 4) => {
                scalar::put_date(&mut self.text, f64::from(u32::from_be_bytes(array(bytes))) * 1e3);
            }
            (TIMESTAMP, 8) => {
                let packed = u64::from_be_bytes(array(bytes));
                let (nanoseconds, seconds) = (packed >> 34, packed & ((1 << 34) - 1));
                scalar::put_date(&mut self.text, unsigned(seconds) * 1e3 + unsigned(nanoseconds) / 1e6);
            }
            (TIMESTAMP, 12) => {
                let nanoseconds = u32::from_be_bytes(array(&bytes[..4]));
                let seconds = i64::from_be_bytes(array(&bytes[4..]));
                scalar::put_date(&mut self.text, float(seconds) * 1e3 + f64::from(nanoseconds) / 1e6);
            }
            _ => {
                self.text.push('[');
                put_display(&mut self.text, kind);
                self.text.push(',');
                self.attachment(bytes)?;
                self.text.push(']');
            }
        }
        Ok(Wrote::Value)
    }

    fn attachment(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.attachments.len() == ATTACHMENTS_MAX {
            return Err(Malformed::TooManyAttachments);
        }
        self.text.push_str("{\"_placeholder\":true,\"num\":");
        put_display(&mut self.text, self.attachments.len());
        self.text.push('}');
        self.attachments.push(Bytes::copy_from_slice(bytes));
        Ok(())
    }
}

/// An object's key, as JavaScript would take it.
pub(super) fn key(item: Item<'_>) -> Result<Cow<'_, str>, Malformed> {
    match item {
        Item::Text(bytes) => Ok(String::from_utf8_lossy(bytes)),
        Item::Unsigned(value) => Ok(value.to_string().into()),
        Item::Signed(value) => Ok(value.to_string().into()),
        _ => Err(Malformed::Unexpected("a key that is no text")),
    }
}

/// Appends `text` as JSON, escaped as `JSON.stringify` does it.
pub(super) fn put_text(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain_from..at]);
        plain_from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            _ => {
                out.push_str("\\u00");
                out.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
                out.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
            }
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

fn put_display(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to memory");
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the length was matched")
}

#[expect(clippy::cast_precision_loss, reason = "JavaScript's numbers round the same way")]
fn float(value: i64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "JavaScript's numbers round the same way")]
fn unsigned(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcode(bytes: &[u8]) -> Result<(String, usize), Malformed> {
        let mut reader = Reader::new(bytes);
        let mut out = Transcoder::default();
        out.value(&mut reader)?;
        reader.finish()?;
        Ok((out.text, out.attachments.len()))
    }

    #[test]
    fn values_read_as_node_would_send_them_on() {
        for (bytes, expected) in [
            (&b"\x93\xc0\xc2\xff"[..], "[null,false,-1]"),
            (b"\xcb\x41\xf0\x00\x00\x00\x00\x00\x00", "4294967296"),
            (b"\xcf\x35\xc9\xad\xc5\xde\xa0\x00\x00", "3875820019684212700"),
            (b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00", "9007199254740992"),
            (b"\xca\x3f\xc0\x00\x00", "1.5"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
            (b"\x82\xa1a\x01\x02\x03", r#"{"a":1,"2":3}"#),
            (b"\xa6a\"\\\n\x00\x7f", "\"a\\\"\\\\\\n\\u0000\x7f\""),
            (b"\xa2\xff!", "\"\u{fffd}!\""),
            (b"\xd6\xff\x65\x53\xf1\x00", "\"2023-11-14T22:13:20.000Z\""),
            (b"\xd7\x00\x00\x00\x01\x8b\xcf\xe5\x68\x7b", "\"2023-11-14T22:13:20.123Z\""),
        ] {
            assert_eq!(transcode(bytes).unwrap(), (expected.to_owned(), 0), "{bytes:x?}");
        }
    }

    #[test]
    fn undefined_is_null_in_arrays_and_leaves_no_key_in_objects() {
        assert_eq!(transcode(b"\x92\xd4\x00\x00\x01").unwrap().0, "[null,1]");
        assert_eq!(transcode(b"\x83\xa1a\xd4\x00\x00\xa1b\x01\xa1c\xd4\x00\x00").unwrap().0, r#"{"b":1}"#);
        assert_eq!(transcode(b"\xd4\x00\x00").unwrap().0, "null");
    }

    #[test]
    fn binary_values_are_numbered_depth_first() {
        let (text, attachments) = transcode(b"\x93\x81\xa1a\xc4\x01x\xc7\x02\x00yz\xd5\x05ab").unwrap();
        let placeholder = |num| format!("{{\"_placeholder\":true,\"num\":{num}}}");
        let expected = format!("[{{\"a\":{}}},{},[5,{}]]", placeholder(0), placeholder(1), placeholder(2));
        assert_eq!((text, attachments), (expected, 3));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
        assert!(transcode(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(transcode(&nested(DEPTH_MAX + 1)), Err(Malformed::TooDeep));
        assert_eq!(transcode(&nested(1_000_000)), Err(Malformed::TooDeep));
    }

    #[test]
    fn attachments_are_bounded() {
        let mut bytes = vec![0xdc, 0xff, 0xff];
        bytes.extend(std::iter::repeat_n([0xc4, 0], 0xffff).flatten());
        assert_eq!(transcode(&bytes), Err(Malformed::TooManyAttachments));
    }
}
