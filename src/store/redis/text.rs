//! The text of an asset's state in Redis: one JSON object, legible with `redis-cli`.
//!
//! Invariant: it starts `{"ts":…,"seq":…,`, always in this form. Those two name the version of the state,
//! so that a script can tell versions apart by the start of the text, without a JSON parser.
//!
//! ```json
//! {"ts":1790000000000,"seq":12,"at":"telemetry/0:345","lat":52.5,"lon":13.4,"data":{…},"raw":{…}}
//! ```
//! `at` lists the records of exactly this `ts`, `raw` is there only if it is not the same as `data`.

use std::{fmt::Write, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::fleet::{AssetId, AssetState, Origin, Position};

/// Which version of an asset's state Redis holds, as far as the writer knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    Absent,
    Version {
        ts_ms: i64,
        seq: u64,
    },
    /// Text that is no state of ours; it will be replaced.
    Broken(Bytes),
}

impl Stored {
    pub(super) fn version_of(state: &AssetState) -> Self {
        Self::Version { ts_ms: state.ts_ms, seq: state.seq }
    }

    /// What the text in Redis starts with; empty if there is none.
    pub(super) fn write_expected(&self, out: &mut Vec<u8>) {
        match self {
            Self::Absent => {}
            Self::Version { ts_ms, seq } => {
                write_head(*ts_ms, out);
                write_to(out, format_args!("{seq},"));
            }
            Self::Broken(text) => out.extend_from_slice(text),
        }
    }
}

/// The text before the sequence number.
pub(super) fn write_head(ts_ms: i64, out: &mut Vec<u8>) {
    write_to(out, format_args!("{{\"ts\":{ts_ms},\"seq\":"));
}

/// The text after the sequence number.
pub(super) fn write_tail(state: &AssetState, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"at\":\"");
    for (n, Origin { log, offset }) in state.origins.iter().enumerate() {
        let space = if n == 0 { "" } else { " " };
        write_to(out, format_args!("{space}{log}:{offset}"));
    }
    out.push(b'"');
    if let Some(Position { lat, lon }) = state.position {
        write_to(out, format_args!(",\"lat\":{lat},\"lon\":{lon}"));
    }
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(&state.data);
    // Compared by place first: of a complete message the two are the same bytes in memory.
    if state.raw.as_ptr() != state.data.as_ptr() && state.raw != state.data {
        out.extend_from_slice(b",\"raw\":");
        out.extend_from_slice(&state.raw);
    }
    out.push(b'}');
}

fn write_to(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    struct Sink<'v>(&'v mut Vec<u8>);
    impl Write for Sink<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    Sink(out).write_fmt(text).expect("a vector takes every text");
}

/// Reads the text of an asset's state. `None` if it is not ours.
pub(super) fn read(id: AssetId, text: &[u8]) -> Option<AssetState> {
    #[derive(Deserialize)]
    struct Text<'t> {
        ts: i64,
        seq: u64,
        #[serde(borrow)]
        at: std::borrow::Cow<'t, str>,
        lat: Option<f64>,
        lon: Option<f64>,
        #[serde(borrow)]
        data: &'t RawValue,
        #[serde(borrow)]
        raw: Option<&'t RawValue>,
    }
    let read: Text<'_> = serde_json::from_slice(text).ok()?;
    let data = Bytes::copy_from_slice(read.data.get().as_bytes());
    let state = AssetState {
        id,
        ts_ms: read.ts,
        position: read.lat.zip(read.lon).map(|(lat, lon)| Position { lat, lon }),
        origins: read.at.split(' ').filter_map(origin).collect::<SmallVec<_>>(),
        seq: read.seq,
        raw: read.raw.map_or_else(|| data.clone(), |raw| Bytes::copy_from_slice(raw.get().as_bytes())),
        data,
    };
    // Someone may have written the same members in another form; such a version could not be named.
    let mut start = Vec::new();
    Stored::version_of(&state).write_expected(&mut start);
    text.starts_with(&start).then_some(state)
}

fn origin(text: &str) -> Option<Origin> {
    let (log, offset) = text.rsplit_once(':')?;
    Some(Origin { log: Arc::from(log), offset: offset.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(state: &AssetState) -> String {
        let mut text = Vec::new();
        write_head(state.ts_ms, &mut text);
        text.extend_from_slice(state.seq.to_string().as_bytes());
        write_tail(state, &mut text);
        String::from_utf8(text).unwrap()
    }

    fn state(origins: &[(&str, i64)], position: Option<Position>, data: &str, raw: &str) -> AssetState {
        AssetState {
            id: AssetId::parse("a").unwrap(),
            ts_ms: 1_790_000_000_000,
            position,
            origins: origins
                .iter()
                .map(|(log, offset)| Origin { log: (*log).into(), offset: *offset })
                .collect(),
            seq: 12,
            data: Bytes::copy_from_slice(data.as_bytes()),
            raw: Bytes::copy_from_slice(raw.as_bytes()),
        }
    }

    #[test]
    fn a_state_is_legible_and_comes_back() {
        let check = |state: AssetState, expected: &str| {
            assert_eq!(text(&state), expected);
            assert_eq!(read(state.id.clone(), expected.as_bytes()), Some(state));
        };
        check(
            state(
                &[("t/0", 345), ("u/1", 0)],
                Some(Position { lat: -0.5, lon: 13.0 }),
                r#"{"a":1}"#,
                r#"{"a":1}"#,
            ),
            r#"{"ts":1790000000000,"seq":12,"at":"t/0:345 u/1:0","lat":-0.5,"lon":13,"data":{"a":1}}"#,
        );
        check(
            state(&[], None, r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
            r#"{"ts":1790000000000,"seq":12,"at":"","data":{"a":1,"b":2},"raw":{"b":2}}"#,
        );
    }

    #[test]
    fn text_that_is_not_ours_is_no_state() {
        let id = AssetId::parse("a").unwrap();
        for text in
            ["", "{}", "1", r#"{"seq":1,"ts":1,"at":"","data":{}}"#, r#"{ "ts":1,"seq":1,"at":"","data":{}}"#]
        {
            assert_eq!(read(id.clone(), text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_version_is_the_start_of_the_text() {
        let state = state(&[], None, "{}", "{}");
        let mut expected = Vec::new();
        Stored::version_of(&state).write_expected(&mut expected);
        assert_eq!(expected, br#"{"ts":1790000000000,"seq":12,"#);
        assert!(text(&state).as_bytes().starts_with(&expected));
    }
}
