//! One sample as the text of an update, written by hand into a reused buffer: this runs 50,000 times a
//! second, where a serializer of floats would cost more than the simulation.
//!
//! Invariant: valid JSON, and the same members in the same order in every message of an asset, so that a
//! message always replaces the one before it.

use crate::fleet::Position;

/// Decimals of degrees: about a metre.
const DEGREE_SCALE: f64 = 1e5;

/// What never changes of an asset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    pub(super) asset: &'a str,
    pub(super) fleet: &'a str,
    pub(super) kind: &'static str,
    pub(super) noun: &'static str,
    pub(super) number: usize,
}

/// The position as it is written, so that text and position agree.
pub(super) fn rounded(position: Position) -> Position {
    let round = |degrees: f64| (degrees * DEGREE_SCALE).round() / DEGREE_SCALE;
    Position { lat: round(position.lat), lon: round(position.lon) }
}

/// Writes one message. No text of an identity needs escaping: all of them are made here.
pub(super) fn write(out: &mut Vec<u8>, who: Identity<'_>, ts_ms: i64, sample: &super::vehicle::Sample) {
    let text = |out: &mut Vec<u8>, before: &str, text: &str| {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    text(out, r#"{"assetId":""#, who.asset);
    text(out, r#"","fleetId":""#, who.fleet);
    number(out, r#"","ts":"#, ts_ms as f64, 0);
    number(out, r#","lat":"#, sample.position.lat, 5);
    number(out, r#","lon":"#, sample.position.lon, 5);
    number(out, r#","speed_kmh":"#, sample.speed_kmh, 1);
    number(out, r#","heading_deg":"#, sample.heading_deg.round() % 360.0, 0);
    if let Some(temperature_c) = sample.temperature_c {
        number(out, r#","temperature_c":"#, temperature_c, 1);
    }
    number(out, r#","fuel_pct":"#, sample.fuel_pct, 0);
    text(out, r#","status":""#, sample.status());
    match sample.alarm {
        None => text(out, r#"","alarm":null"#, ""),
        Some(alarm) => {
            text(out, r#"","alarm":""#, alarm);
            out.push(b'"');
        }
    }
    text(out, r#","kind":""#, who.kind);
    text(out, r#"","name":""#, who.noun);
    number(out, " ", who.number as f64, 0);
    out.extend_from_slice(br#""}"#);
}

/// `before`, then `value` with `decimals` digits after the point, half away from zero.
#[expect(clippy::cast_possible_truncation, reason = "degrees, percentages and times fit easily")]
fn number(out: &mut Vec<u8>, before: &str, value: f64, decimals: u32) {
    out.extend_from_slice(before.as_bytes());
    let scale = 10_u64.pow(decimals);
    let scaled = (value * scale as f64).round() as i64;
    if scaled < 0 {
        out.push(b'-');
    }
    let scaled = scaled.unsigned_abs();
    digits(out, scaled / scale, 1);
    if decimals > 0 {
        out.push(b'.');
        digits(out, scaled % scale, decimals as usize);
    }
}

/// At least `width` digits, filled up with zeros.
fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while value > 0 {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text[at.min(text.len() - width)..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_std_would() {
        let check = |value: f64, decimals: u32| {
            let mut out = Vec::new();
            number(&mut out, "", value, decimals);
            let expected = format!("{value:.*}", decimals as usize);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        for value in
            [0.0, 1.0, -1.0, 9.99, 59.91234, -122.28001, 179.99999, -0.56, 100.0, 1_700_000_000_123.0]
        {
            check(value, 0);
            check(value, 1);
            check(value, 5);
        }
        let mut out = Vec::new();
        number(&mut out, "", -0.000_001, 5);
        assert_eq!(out, b"0.00000", "no negative zero");
    }
}
