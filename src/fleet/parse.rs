//! From a source's bytes to an update, in one pass and without a tree of values.
//!
//! Invariant: a [`Record`] can be used as it is (valid UTF-8, a JSON object, ids and position within their
//! bounds), and everything else has a reason that names the field.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    AssetId, FieldMap, FleetId, Position, Record, Unusable, Update,
    fields::{Field, Node},
};

/// Numbers at least this large are epoch milliseconds, smaller ones seconds: as seconds it would be the
/// year 5138, as milliseconds it is 1973.
const TS_MS_MIN: f64 = 1e11;

impl FieldMap {
    /// Reads a record.
    ///
    /// # Errors
    /// The record is no JSON object in UTF-8, lacks an asset, a fleet or a time, has one of the wrong
    /// type, or a position off the earth.
    pub fn parse(&self, raw: Bytes) -> Result<Record, Unusable> {
        let text = std::str::from_utf8(&raw).map_err(|error| {
            Unusable::new("utf8", format!("not UTF-8 after byte {}", error.valid_up_to()))
        })?;
        let found = self.find(text)?;
        let fleet = self.id(&found, Field::Fleet)?;
        let fleet = FleetId::parse(&fleet).map_err(|error| self.refuse("range", Field::Fleet, &error))?;
        let asset = self.id(&found, Field::Asset)?;
        let asset = AssetId::parse(&asset).map_err(|error| self.refuse("range", Field::Asset, &error))?;
        let ts_ms = self.ts_ms(&found)?;
        let position = self.position(&found)?;
        Ok(Record { fleet, update: Update { asset: Some(asset), ts_ms, position, raw }, origin: None })
    }

    /// Reads a message of the legacy channel, where the channel names the fleet and every message is
    /// relayed, usable or not. What can not be read is left out; a missing time, or one further ahead
    /// than `skew_ms_max`, is `now_ms`. Invalid UTF-8 is replaced as Node's clients do.
    #[must_use]
    pub fn parse_relayed(&self, raw: Bytes, now_ms: i64, skew_ms_max: i64) -> Update {
        let raw = match String::from_utf8_lossy(&raw) {
            Cow::Borrowed(_) => raw,
            Cow::Owned(text) => Bytes::from(text),
        };
        let text = std::str::from_utf8(&raw).expect("replaced above if it was not");
        let found = self.find(text).unwrap_or_default();
        let asset = self.id(&found, Field::Asset).ok().and_then(|id| AssetId::parse(&id).ok());
        let ts_ms = self.ts_ms(&found).ok().filter(|ts_ms| *ts_ms <= now_ms.saturating_add(skew_ms_max));
        let position = self.position(&found).ok().flatten();
        Update { asset, ts_ms: ts_ms.unwrap_or(now_ms), position, raw }
    }

    fn find<'r>(&self, text: &'r str) -> Result<Found<'r>, Unusable> {
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let walked = json.deserialize_any(Object { fields: self, node: self.root(), found: &mut found });
        walked.and_then(|()| json.end()).map_err(|error| {
            let code = if text.trim_ascii() == "null" { "null" } else { "json" };
            Unusable::new(code, error.to_string())
        })?;
        Ok(found)
    }

    fn id<'f>(&self, found: &'f Found<'_>, field: Field) -> Result<Cow<'f, str>, Unusable> {
        match &found[field as usize] {
            Scalar::Text(text) => Ok(Cow::Borrowed(text)),
            Scalar::Int(number) => Ok(Cow::Owned(number.to_string())),
            other => Err(self.wrong(field, other, "text or a whole number")),
        }
    }

    fn ts_ms(&self, found: &Found<'_>) -> Result<i64, Unusable> {
        let number = match &found[Field::Ts as usize] {
            Scalar::Text(text) => {
                let ts = text.parse::<jiff::Timestamp>().map_err(|_| {
                    let shown: String = text.chars().take(64).collect();
                    self.refuse(
                        "type",
                        Field::Ts,
                        &format_args!("{shown:?} is not an RFC 3339 time with an offset"),
                    )
                })?;
                ts.as_millisecond() as f64
            }
            #[expect(clippy::cast_precision_loss, reason = "53 bits hold milliseconds for 285,000 years")]
            Scalar::Int(number) if *number as f64 >= TS_MS_MIN => *number as f64,
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            Scalar::Int(number) => *number as f64 * 1000.0,
            Scalar::Float(number) if *number >= TS_MS_MIN => *number,
            Scalar::Float(number) => number * 1000.0,
            other => return Err(self.wrong(Field::Ts, other, "RFC 3339 text or a number")),
        };
        if !(0.0..9e15).contains(&number) {
            return Err(self.refuse("range", Field::Ts, &"not a time since 1970 in seconds or milliseconds"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
        Ok(number.round() as i64)
    }

    fn position(&self, found: &Found<'_>) -> Result<Option<Position>, Unusable> {
        let lat = self.degrees(found, Field::Lat, 90.0)?;
        let lon = self.degrees(found, Field::Lon, 180.0)?;
        match (lat, lon) {
            (Some(lat), Some(lon)) => Ok(Some(Position { lat, lon })),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                Err(self.refuse("missing", Field::Lat, &"missing, though there is a longitude"))
            }
            (Some(_), None) => {
                Err(self.refuse("missing", Field::Lon, &"missing, though there is a latitude"))
            }
        }
    }

    fn degrees(&self, found: &Found<'_>, field: Field, max: f64) -> Result<Option<f64>, Unusable> {
        let degrees = match &found[field as usize] {
            Scalar::Absent | Scalar::Null => return Ok(None),
            #[expect(clippy::cast_precision_loss, reason = "numbers that large are out of range anyway")]
            Scalar::Int(number) => *number as f64,
            Scalar::Float(number) => *number,
            other => return Err(self.wrong(field, other, "a number")),
        };
        // Not `abs() > max`: that would let NaN through.
        if !(-max..=max).contains(&degrees) {
            return Err(self.refuse("range", field, &format_args!("{degrees} is outside -{max} to {max}")));
        }
        Ok(Some(degrees))
    }

    fn wrong(&self, field: Field, value: &Scalar<'_>, wanted: &str) -> Unusable {
        match value.kind() {
            "missing" => self.refuse("missing", field, &"missing"),
            kind => self.refuse("type", field, &format_args!("{kind}, but {wanted} is needed")),
        }
    }

    fn refuse(&self, code: &'static str, field: Field, why: &dyn fmt::Display) -> Unusable {
        Unusable::new(code, format!("{}: {why}", self.pointer(field)))
    }
}

/// The values at the pointers, by [`Field`].
type Found<'r> = [Scalar<'r>; Field::COUNT];

/// A value at a pointer, as little of it as is needed.
#[derive(Debug, Default)]
enum Scalar<'r> {
    #[default]
    Absent,
    Null,
    Bool,
    Container(&'static str),
    Int(i128),
    Float(f64),
    Text(Cow<'r, str>),
}

impl Scalar<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Absent => "missing",
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Container(kind) => kind,
            Self::Int(_) | Self::Float(_) => "not a whole number",
            Self::Text(_) => "text",
        }
    }
}

/// Visits the record itself, which has to be an object.
struct Object<'n, 'f, 'r> {
    fields: &'n FieldMap,
    node: &'n Node,
    found: &'f mut Found<'r>,
}

impl<'r> Visitor<'r> for Object<'_, '_, 'r> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(member) = map.next_key_seed(Member(self.node))? {
            let Some(node) = member else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = At { fields: self.fields, node, found: &mut *self.found };
            map.next_value_seed(value).map_err(|error| match node.field {
                Some(field) => A::Error::custom(format_args!("{}: {error}", self.fields.pointer(field))),
                None => error,
            })?;
        }
        Ok(())
    }
}

/// Looks a member's name up without keeping it.
struct Member<'n>(&'n Node);

impl<'n, 'r> DeserializeSeed<'r> for Member<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'r>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Member<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(name))
    }
}

/// Visits a value that a pointer ends at or leads through.
struct At<'n, 'f, 'r> {
    fields: &'n FieldMap,
    node: &'n Node,
    found: &'f mut Found<'r>,
}

impl<'r> At<'_, '_, 'r> {
    fn put(self, value: Scalar<'r>) {
        if let Some(field) = self.node.field {
            self.found[field as usize] = value;
        }
    }
}

impl<'r> DeserializeSeed<'r> for At<'_, '_, 'r> {
    type Value = ();

    fn deserialize<D: Deserializer<'r>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'r> Visitor<'r> for At<'_, '_, 'r> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'r>>(self, map: A) -> Result<(), A::Error> {
        Object { fields: self.fields, node: self.node, found: &mut *self.found }.visit_map(map)?;
        self.put(Scalar::Container("an object"));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'r>>(self, mut array: A) -> Result<(), A::Error> {
        let last = self.node.members.iter().filter_map(|(name, _)| name.parse::<u32>().ok()).max();
        for index in 0..last.map_or(0, |last| last.saturating_add(1)) {
            let more = match self.node.member(&index.to_string()) {
                Some(node) => {
                    let value = At { fields: self.fields, node, found: &mut *self.found };
                    array.next_element_seed(value)?.is_some()
                }
                None => array.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        while array.next_element::<IgnoredAny>()?.is_some() {}
        self.put(Scalar::Container("an array"));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.put(Scalar::Null);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.put(Scalar::Bool);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.put(Scalar::Int(number.into()));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.put(Scalar::Int(number.into()));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.put(Scalar::Float(number));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'r str) -> Result<(), E> {
        self.put(Scalar::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.put(Scalar::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;

    fn parse(text: &str) -> Result<Record, Unusable> {
        FieldMap::default().parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn record(members: &str) -> String {
        format!(r#"{{"assetId":"truck-7","fleetId":"north","ts":1790000000000,{members}"x":0}}"#)
    }

    #[test]
    fn a_record_is_read_and_kept_byte_for_byte() {
        let text = r#" { "assetId":"truck-7", "fleetId":"north", "ts":1790000000123, "lat":52.5, "lon":-13, "t":[1,{}] } "#;
        let Record { fleet, update, .. } = parse(text).unwrap();
        assert_eq!(fleet.as_str(), "north");
        assert_eq!(update.asset.unwrap().as_str(), "truck-7");
        assert_eq!(update.ts_ms, 1_790_000_000_123);
        assert_eq!(update.position, Some(Position { lat: 52.5, lon: -13.0 }));
        assert_eq!(update.raw, text);
    }

    #[test]
    fn times_come_as_rfc_3339_seconds_or_milliseconds() {
        let check = |ts: &str, ms: i64| {
            let text = format!(r#"{{"assetId":"a","fleetId":"f","ts":{ts}}}"#);
            assert_eq!(parse(&text).unwrap().update.ts_ms, ms, "{ts}");
        };
        check("1790000000", NOW_MS);
        check("1790000000.25", NOW_MS + 250);
        check("1790000000000", NOW_MS);
        check("1.79e12", NOW_MS);
        check("0", 0);
        check(r#""2026-09-21T14:13:20Z""#, NOW_MS);
        check(r#""2026-09-21T16:13:20.007+02:00""#, NOW_MS + 7);
    }

    #[test]
    fn ids_may_be_numbers_and_escapes_are_undone() {
        let Record { fleet, update, .. } =
            parse(r#"{"assetId":18446744073709551615,"fleetId":-3,"ts":1}"#).unwrap();
        assert_eq!((fleet.as_str(), update.asset.unwrap().as_str()), ("-3", "18446744073709551615"));
        let record = parse(r#"{"\u0061ssetId":"\u00e9","fleetId":"f","ts":1}"#).unwrap();
        assert_eq!(record.update.asset.unwrap().as_str(), "é");
    }

    #[test]
    fn pointers_reach_into_objects_and_arrays() {
        let map: FieldMap = "asset=/d/id,fleet=/d/a~1b,ts=/at,lat=/g/c/1,lon=/g/c/0".parse().unwrap();
        let text = r#"{"g":{"type":"Point","c":[4.5,51.9,7]},"at":1,"d":{"a/b":"f","id":5}}"#;
        let Record { fleet, update, .. } = map.parse(Bytes::from_static(text.as_bytes())).unwrap();
        assert_eq!((fleet.as_str(), update.asset.unwrap().as_str()), ("f", "5"));
        assert_eq!(update.position, Some(Position { lat: 51.9, lon: 4.5 }));
    }

    #[test]
    fn what_can_not_be_used_has_a_reason_that_names_the_field() {
        let no = |text: &str, code: &str, why: &str| {
            let error = parse(text).expect_err(text);
            assert!(error.code == code && error.reason.contains(why), "{text}: {error:?}");
        };
        no("", "json", "EOF");
        no("null", "null", "JSON object");
        no("[1]", "json", "JSON object");
        no(r#""text""#, "json", "JSON object");
        no("{", "json", "EOF");
        no("{} {}", "json", "trailing");
        no("{}", "missing", "/fleetId");
        no(r#"{"fleetId":"f"}"#, "missing", "/assetId");
        no(r#"{"fleetId":"f","assetId":"a"}"#, "missing", "/ts");
        no(r#"{"fleetId":null}"#, "type", "/fleetId: null");
        no(r#"{"fleetId":["f"]}"#, "type", "/fleetId: an array");
        no(r#"{"fleetId":""}"#, "range", "empty");
        no(r#"{"fleetId":"f","assetId":{"id":1}}"#, "type", "/assetId: an object");
        no(r#"{"fleetId":"f","assetId":1.5}"#, "type", "/assetId");
        no(r#"{"fleetId":"f","assetId":"a\u0000"}"#, "range", "/assetId");
        no(r#"{"fleetId":"f","assetId":"a","ts":true}"#, "type", "/ts: a boolean");
        no(r#"{"fleetId":"f","assetId":"a","ts":"yesterday"}"#, "type", "/ts");
        no(r#"{"fleetId":"f","assetId":"a","ts":"2026-09-21T14:13:20"}"#, "type", "offset");
        no(r#"{"fleetId":"f","assetId":"a","ts":-1}"#, "range", "/ts");
        no(r#"{"fleetId":"f","assetId":"a","ts":1e300}"#, "range", "/ts");
        no(&record(r#""lat":91,"lon":0,"#), "range", "/lat: 91");
        no(&record(r#""lat":0,"lon":-180.5,"#), "range", "/lon: -180.5");
        no(&record(r#""lat":1e999,"lon":0,"#), "json", "/lat");
        no(&record(r#""lat":NaN,"lon":0,"#), "json", "/lat");
        no(&record(r#""lat":"52","lon":0,"#), "type", "/lat: text");
        no(&record(r#""lat":1,"#), "missing", "/lon");
        no(&record(r#""lon":1,"lat":null,"#), "missing", "/lat");
        let error = FieldMap::default().parse(Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err();
        assert_eq!((error.code, error.reason.as_str()), ("utf8", "not UTF-8 after byte 6"));
    }

    #[test]
    fn depth_costs_neither_stack_nor_an_error_elsewhere() {
        let deep = format!(r#""deep":{}{},"#, "[".repeat(200_000), "]".repeat(200_000));
        assert!(parse(&record(&deep)).is_ok());
        let deep = format!(r#"{{"assetId":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(parse(&deep).unwrap_err().code, "missing");
    }

    #[test]
    fn relayed_messages_are_never_refused() {
        let relay =
            |raw: &'static [u8]| FieldMap::default().parse_relayed(Bytes::from_static(raw), NOW_MS, 1000);
        let update = relay(br#"{"assetId":"a","ts":1789999999,"lat":1,"lon":2}"#);
        assert_eq!((update.asset.unwrap().as_str(), update.ts_ms), ("a", NOW_MS - 1000));
        assert_eq!(update.position, Some(Position { lat: 1.0, lon: 2.0 }));
        let update = relay(b"not json");
        assert_eq!((update.asset, update.ts_ms, update.raw), (None, NOW_MS, Bytes::from_static(b"not json")));
        let update = relay(br#"{"assetId":"a","ts":"2099-01-01T00:00:00Z","lat":91,"lon":0}"#);
        assert_eq!((update.asset.is_some(), update.ts_ms, update.position), (true, NOW_MS, None));
        assert_eq!(relay(b"\xff{").raw, "\u{fffd}{".as_bytes());
    }
}
