//! The contract's `Asset` as JSON text, and the events that list assets.
//!
//! Invariant: an asset's text is made once per change and shared; a list is the concatenation of such
//! texts. The source's own fields are copied as they are, never parsed again.

use std::{io::Write, ops::Range};

use bytes::Bytes;

use super::{AssetId, AssetState, FleetId};

/// The longest snapshot part with everything around it: 16 KiB.
pub const PART_BYTES_MAX: usize = 16 * 1024;

/// What a frame adds to an event's object: the websocket header, `42["region_snapshot",` and `]`.
const FRAME_BYTES: usize = 64;

/// `{id, fleet, ts, lat?, lon?, data}`.
#[must_use]
pub fn asset(fleet: &FleetId, state: &AssetState) -> Bytes {
    let mut out = Vec::with_capacity(128 + state.data.len());
    put_identity(&mut out, fleet, &state.id);
    put_display(&mut out, r#","ts":"#, &state.ts_ms);
    // Anything else would not be JSON.
    if let Some(position) = state.position.filter(|position| position.is_valid()) {
        put_number(&mut out, r#","lat":"#, position.lat);
        put_number(&mut out, r#","lon":"#, position.lon);
    }
    out.extend_from_slice(br#","data":"#);
    out.extend_from_slice(if state.data.is_empty() { b"{}" } else { &state.data });
    out.push(b'}');
    out.into()
}

/// `{id, fleet}`: an asset that left.
#[must_use]
pub fn asset_left(fleet: &FleetId, asset: &AssetId) -> Bytes {
    let mut out = Vec::with_capacity(64);
    put_identity(&mut out, fleet, asset);
    out.push(b'}');
    out.into()
}

/// Which assets go into which part; at least one part. `head_bytes`: how long each part's head is.
#[must_use]
pub fn part_ranges(head_bytes: usize, assets: &[Bytes]) -> Vec<Range<usize>> {
    ranges_within(assets, PART_BYTES_MAX.saturating_sub(FRAME_BYTES + head_bytes + AROUND_BYTES))
}

/// Everything of a part beside its head and assets; two counts have at most 10 digits.
const AROUND_BYTES: usize = r#","part":,"parts":,"assets":[]}"#.len() + 20;

/// One part, counted from 1: an object that begins with `head` (an open one) and goes on with `part`,
/// `parts` and `assets`.
///
/// Fits [`PART_BYTES_MAX`] with its frame, unless it holds a single asset that is longer.
#[must_use]
pub fn snapshot_part(head: &[u8], part: usize, parts: usize, assets: &[Bytes]) -> Bytes {
    let mut out = Vec::with_capacity(head.len() + AROUND_BYTES + list_bytes(assets));
    out.extend_from_slice(head);
    put_display(&mut out, r#","part":"#, &part);
    put_display(&mut out, r#","parts":"#, &parts);
    out.extend_from_slice(br#","assets":["#);
    put_list(&mut out, assets);
    out.extend_from_slice(b"]}");
    out.into()
}

/// Appends a string as JSON.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(&mut *out, text);
    debug_assert!(written.is_ok(), "writing text to memory can not fail");
}

/// Appends texts with commas between them.
pub fn put_list(out: &mut Vec<u8>, texts: &[Bytes]) {
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(text);
    }
}

/// Cuts a list into runs of at most `bytes_max` with their commas; always at least one run.
fn ranges_within(assets: &[Bytes], bytes_max: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::with_capacity(1 + list_bytes(assets) / bytes_max.max(1));
    let (mut start, mut bytes) = (0, 0);
    for (index, asset) in assets.iter().enumerate() {
        if index > start && bytes + asset.len() > bytes_max {
            ranges.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += asset.len() + 1;
    }
    ranges.push(start..assets.len());
    ranges
}

fn list_bytes(texts: &[Bytes]) -> usize {
    texts.iter().map(|text| text.len() + 1).sum()
}

/// An open object.
fn put_identity(out: &mut Vec<u8>, fleet: &FleetId, asset: &AssetId) {
    out.extend_from_slice(br#"{"id":"#);
    put_string(out, asset.as_str());
    out.extend_from_slice(br#","fleet":"#);
    put_string(out, fleet.as_str());
}

/// The shortest text that reads back as the same number.
fn put_number(out: &mut Vec<u8>, name: &str, value: f64) {
    out.extend_from_slice(name.as_bytes());
    let written = serde_json::to_writer(&mut *out, &value);
    debug_assert!(written.is_ok(), "writing numbers to memory can not fail");
}

fn put_display(out: &mut Vec<u8>, name: &str, value: &dyn std::fmt::Display) {
    let written = write!(out, "{name}{value}");
    debug_assert!(written.is_ok(), "writing numbers to memory can not fail");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fleet::{Position, Update};

    fn fleet() -> FleetId {
        FleetId::parse("nord \"1\"").unwrap()
    }

    fn state(position: Option<Position>, data: &str) -> AssetState {
        let raw = Bytes::copy_from_slice(data.as_bytes());
        let update = Update { asset: None, ts_ms: 1_790_000_000_123, position, raw };
        AssetState::after(None, &AssetId::parse("truck\\7").unwrap(), &update, None).unwrap()
    }

    fn parsed(text: &Bytes) -> Value {
        serde_json::from_slice(text).unwrap()
    }

    #[test]
    fn an_asset_is_the_object_of_the_contract() {
        let text = asset(&fleet(), &state(Some(Position { lat: 52.5, lon: -1e-7 }), r#"{"b":1e3, "a":"é"}"#));
        assert_eq!(
            parsed(&text),
            json!({"id": "truck\\7", "fleet": "nord \"1\"", "ts": 1_790_000_000_123_i64,
                "lat": 52.5, "lon": -1e-7, "data": {"b": 1e3, "a": "é"}})
        );
        // The source's own text, spaces and all.
        assert!(text.ends_with(r#""data":{"b":1e3, "a":"é"}}"#.as_bytes()));
        assert_eq!(
            parsed(&asset_left(&fleet(), &state(None, "{}").id)),
            json!({"id": "truck\\7", "fleet": "nord \"1\""})
        );
    }

    #[test]
    fn an_asset_without_a_place_has_no_coordinates() {
        for position in
            [None, Some(Position { lat: f64::NAN, lon: 0.0 }), Some(Position { lat: 0.0, lon: 999.0 })]
        {
            let text = parsed(&asset(&fleet(), &state(position, "")));
            assert_eq!(text["data"], json!({}));
            assert!(text.get("lat").is_none() && text.get("lon").is_none(), "{position:?}");
        }
    }

    #[test]
    fn coordinates_survive_to_the_last_bit() {
        let position = Position { lat: 0.1 + 0.2, lon: -179.999_999_999_999_97 };
        let text = parsed(&asset(&fleet(), &state(Some(position), "{}")));
        assert_eq!((text["lat"].as_f64(), text["lon"].as_f64()), (Some(position.lat), Some(position.lon)));
    }

    fn parts(head: &[u8], assets: &[Bytes]) -> Vec<Bytes> {
        let ranges = part_ranges(head.len(), assets);
        let count = ranges.len();
        let part =
            |(index, range): (usize, Range<usize>)| snapshot_part(head, index + 1, count, &assets[range]);
        ranges.into_iter().enumerate().map(part).collect()
    }

    #[test]
    fn a_snapshot_is_cut_into_parts_that_fit_and_lose_nothing() {
        for len in [3, 100, 16_000, 40_000] {
            let assets: Vec<Bytes> = (0..500).map(|i| format!("\"{i:0len$}\"").into()).collect();
            let assets = &assets[..if len > 1000 { 5 } else { 500 }];
            let parts = parts(br#"{"region":"r""#, assets);
            let mut seen = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                let fits = part.len() + FRAME_BYTES <= PART_BYTES_MAX;
                let text = parsed(part);
                assert_eq!((&text["part"], &text["parts"]), (&json!(index + 1), &json!(parts.len())));
                assert_eq!(text["region"], "r");
                let listed = text["assets"].as_array().unwrap();
                assert!(fits || listed.len() == 1, "{} bytes, {} assets", part.len(), listed.len());
                seen.extend(listed.iter().map(|text| Bytes::from(text.to_string())));
            }
            assert_eq!(seen, assets);
            if len == 3 {
                assert_eq!(parts.len(), 1);
            }
        }
    }

    #[test]
    fn a_snapshot_of_nothing_is_one_empty_part() {
        let parts = parts(br#"{"region":"r""#, &[]);
        assert_eq!(parts.len(), 1);
        assert_eq!(parsed(&parts[0]), json!({"region": "r", "part": 1, "parts": 1, "assets": []}));
    }
}
