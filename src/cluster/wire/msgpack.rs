//! Reading and writing single MessagePack items. Knows the format, no meaning.
//!
//! Invariant: nothing is read past the end and nothing is believed about lengths: a header that
//! announces more than the rest can hold is malformed, so no input makes this allocate or loop.

use rmp::Marker;

use super::Malformed;

/// One item; the members of arrays and maps follow as items of their own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Item<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// Not necessarily UTF-8.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Extension(i8, &'a [u8]),
    Array(usize),
    Map(usize),
}

/// Walks over MessagePack from its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// # Errors
    /// Something follows: Node's decoder refuses that, too.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::TrailingBytes(self.rest.len())) }
    }

    /// The next item.
    pub(super) fn item(&mut self) -> Result<Item<'a>, Malformed> {
        Ok(match Marker::from_u8(self.byte()?) {
            Marker::FixPos(value) => Item::Unsigned(value.into()),
            Marker::U8 => Item::Unsigned(self.byte()?.into()),
            Marker::U16 => Item::Unsigned(u16::from_be_bytes(self.fixed()?).into()),
            Marker::U32 => Item::Unsigned(u32::from_be_bytes(self.fixed()?).into()),
            Marker::U64 => Item::Unsigned(u64::from_be_bytes(self.fixed()?)),
            Marker::FixNeg(value) => Item::Signed(value.into()),
            Marker::I8 => Item::Signed(i8::from_be_bytes(self.fixed()?).into()),
            Marker::I16 => Item::Signed(i16::from_be_bytes(self.fixed()?).into()),
            Marker::I32 => Item::Signed(i32::from_be_bytes(self.fixed()?).into()),
            Marker::I64 => Item::Signed(i64::from_be_bytes(self.fixed()?)),
            Marker::F32 => Item::Float(f32::from_be_bytes(self.fixed()?).into()),
            Marker::F64 => Item::Float(f64::from_be_bytes(self.fixed()?)),
            Marker::Null => Item::Nil,
            Marker::False => Item::Bool(false),
            Marker::True => Item::Bool(true),
            Marker::FixStr(len) => Item::Text(self.take(len.into())?),
            Marker::Str8 => Item::Text(self.take_sized::<1>()?),
            Marker::Str16 => Item::Text(self.take_sized::<2>()?),
            Marker::Str32 => Item::Text(self.take_sized::<4>()?),
            Marker::Bin8 => Item::Binary(self.take_sized::<1>()?),
            Marker::Bin16 => Item::Binary(self.take_sized::<2>()?),
            Marker::Bin32 => Item::Binary(self.take_sized::<4>()?),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.extension_sized::<1>()?,
            Marker::Ext16 => self.extension_sized::<2>()?,
            Marker::Ext32 => self.extension_sized::<4>()?,
            Marker::FixArray(len) => Item::Array(self.members(len.into(), 1)?),
            Marker::Array16 => self.array_sized::<2>()?,
            Marker::Array32 => self.array_sized::<4>()?,
            Marker::FixMap(len) => Item::Map(self.members(len.into(), 2)?),
            Marker::Map16 => self.map_sized::<2>()?,
            Marker::Map32 => self.map_sized::<4>()?,
            Marker::Reserved => return Err(Malformed::UnknownMarker),
        })
    }

    /// Passes over one whole value and returns its bytes. Without recursion, whatever the depth.
    pub(super) fn skip(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.rest;
        let mut pending = 1_usize;
        while pending > 0 {
            pending -= 1;
            pending += match self.item()? {
                Item::Array(len) => len,
                Item::Map(len) => 2 * len,
                _ => 0,
            };
        }
        Ok(&start[..start.len() - self.rest.len()])
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn length<const N: usize>(&mut self) -> Result<usize, Malformed> {
        Ok(self.fixed::<N>()?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
    }

    fn take_sized<const N: usize>(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.length::<N>()?;
        self.take(len)
    }

    fn extension(&mut self, len: usize) -> Result<Item<'a>, Malformed> {
        let kind = i8::from_be_bytes(self.fixed()?);
        Ok(Item::Extension(kind, self.take(len)?))
    }

    fn extension_sized<const N: usize>(&mut self) -> Result<Item<'a>, Malformed> {
        let len = self.length::<N>()?;
        self.extension(len)
    }

    fn array_sized<const N: usize>(&mut self) -> Result<Item<'a>, Malformed> {
        let len = self.length::<N>()?;
        Ok(Item::Array(self.members(len, 1)?))
    }

    fn map_sized<const N: usize>(&mut self) -> Result<Item<'a>, Malformed> {
        let len = self.length::<N>()?;
        Ok(Item::Map(self.members(len, 2)?))
    }

    /// A count is believed only if the rest has a byte for each member.
    fn members(&self, len: usize, items_each: usize) -> Result<usize, Malformed> {
        if len.saturating_mul(items_each) > self.rest.len() { Err(Malformed::Truncated) } else { Ok(len) }
    }
}

// === Writing: shortest forms, as notepack writes them ===

/// Why these can not fail: the target is memory.
const MEMORY: &str = "writing to memory";

pub(super) fn put_nil(out: &mut Vec<u8>) {
    rmp::encode::write_nil(out).expect(MEMORY);
}

pub(super) fn put_bool(out: &mut Vec<u8>, value: bool) {
    rmp::encode::write_bool(out, value).expect(MEMORY);
}

pub(super) fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    rmp::encode::write_uint(out, value).expect(MEMORY);
}

pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    rmp::encode::write_sint(out, value).expect(MEMORY);
}

/// A JavaScript number: whole ones are written as integers. From 2^64 on they stay floats, where
/// notepack would wrap them silently.
pub(super) fn put_number(out: &mut Vec<u8>, value: f64) {
    const UNSIGNED_END: f64 = 18_446_744_073_709_551_616.0;
    const SIGNED_MIN: f64 = -9_223_372_036_854_775_808.0;
    let whole = value.trunc() == value;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
    match value {
        _ if whole && (0.0..UNSIGNED_END).contains(&value) => put_unsigned(out, value as u64),
        _ if whole && (SIGNED_MIN..0.0).contains(&value) => put_signed(out, value as i64),
        _ => rmp::encode::write_f64(out, value).expect(MEMORY),
    }
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    rmp::encode::write_str(out, text).expect(MEMORY);
}

pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    rmp::encode::write_bin(out, bytes).expect(MEMORY);
}

pub(super) fn put_array(out: &mut Vec<u8>, len: usize) {
    rmp::encode::write_array_len(out, header_len(len)).expect(MEMORY);
}

pub(super) fn put_map(out: &mut Vec<u8>, len: usize) {
    rmp::encode::write_map_len(out, header_len(len)).expect(MEMORY);
}

fn header_len(len: usize) -> u32 {
    u32::try_from(len).expect("frames are bounded far below 2^32 members")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Item<'_>, Malformed> {
        Reader::new(bytes).item()
    }

    #[test]
    fn lengths_that_the_rest_can_not_hold_are_malformed() {
        for bytes in
            [&b"\xdd\xff\xff\xff\xff"[..], b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\x92\x01"]
        {
            assert_eq!(read(bytes), Err(Malformed::Truncated), "{bytes:?}");
        }
        assert_eq!(read(b""), Err(Malformed::Truncated));
        assert_eq!(read(b"\xc1"), Err(Malformed::UnknownMarker));
    }

    #[test]
    fn skipping_passes_over_exactly_one_value() {
        let bytes = b"\x82\xa1a\x92\x01\x02\xa1b\xd7\xff12345678\xc3";
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.skip().unwrap(), &bytes[..bytes.len() - 1]);
        assert_eq!(reader.item().unwrap(), Item::Bool(true));
        reader.finish().unwrap();
    }

    #[test]
    fn skipping_does_not_recurse() {
        let mut bytes = vec![0x91; 1_000_000];
        bytes.push(0xc0);
        assert_eq!(Reader::new(&bytes).skip().unwrap().len(), bytes.len());
    }

    #[test]
    fn numbers_take_the_form_that_notepack_gives_them() {
        let written = |value| {
            let mut out = Vec::new();
            put_number(&mut out, value);
            out
        };
        assert_eq!(written(-0.0), [0]);
        assert_eq!(written(128.0), [0xcc, 128]);
        assert_eq!(written(-33.0), [0xd0, 0xdf]);
        assert_eq!(written(4_294_967_296.0), [0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(written(1.5)[0], 0xcb);
        assert_eq!(written(18_446_744_073_709_551_616.0)[0], 0xcb);
        assert_eq!(written(f64::NAN)[0], 0xcb);
    }
}
