//! A shape as the dashboard writes it: the wire form of `region_subscribe`, and its limits.
//!
//! Invariant: reading a spec checks no geometry; whatever is here has yet to pass [`Shape::parse`].
//!
//! [`Shape::parse`]: super::Shape::parse

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

/// One of the four forms; naming none or several is refused when it is parsed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ShapeSpec {
    /// `[west, south, east, north]`; west > east goes across the antimeridian.
    #[serde(default)]
    pub bbox: Option<Vec<Degrees>>,
    /// `[[lon, lat], …]`, closed or not.
    #[serde(default)]
    pub polygon: Option<Vec<LonLat>>,
    /// A great-circle distance around a point.
    #[serde(default)]
    pub circle: Option<CircleSpec>,
    /// Geohash cells of any precisions.
    #[serde(default)]
    pub geohash: Option<Vec<String>>,
}

/// `{lon, lat, radius_m}`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct CircleSpec {
    /// The centre.
    pub lon: Degrees,
    /// The centre.
    pub lat: Degrees,
    /// Metres along the ground.
    pub radius_m: Degrees,
}

/// A number as JavaScript sends it. `JSON.stringify` writes NaN and infinities as `null`; such a value
/// is kept as NaN, so that the refusal can say which number it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Degrees(pub f64);

/// A vertex, `[lon, lat]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LonLat(pub Degrees, pub Degrees);

/// What a shape may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct ShapeLimits {
    /// Most vertices of a region's polygon
    #[arg(
        long = "max-region-vertices",
        env = "FLEETCAST_MAX_REGION_VERTICES",
        default_value_t = 1000,
        value_name = "COUNT",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(3..=5000)
    )]
    pub vertices_max: usize,
    /// Most geohash cells of one region
    #[arg(
        long = "max-region-geohashes",
        env = "FLEETCAST_MAX_REGION_GEOHASHES",
        default_value_t = 256,
        value_name = "COUNT",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000)
    )]
    pub geohashes_max: usize,
}

impl Default for ShapeLimits {
    fn default() -> Self {
        Self { vertices_max: 1000, geohashes_max: 256 }
    }
}

impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DegreesVisitor)
    }
}

struct DegreesVisitor;

impl Visitor<'_> for DegreesVisitor {
    type Value = Degrees;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Degrees, E> {
        Ok(Degrees(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "integers in range are small; the others are refused")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Degrees, E> {
        Ok(Degrees(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "integers in range are small; the others are refused")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<Degrees, E> {
        Ok(Degrees(value as f64))
    }

    fn visit_unit<E: Error>(self) -> Result<Degrees, E> {
        Ok(Degrees(f64::NAN))
    }
}

impl<'de> Deserialize<'de> for LonLat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(LonLatVisitor)
    }
}

struct LonLatVisitor;

impl<'de> Visitor<'de> for LonLatVisitor {
    type Value = LonLat;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[lon, lat]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<LonLat, A::Error> {
        let lon = seq.next_element()?.ok_or_else(|| Error::invalid_length(0, &self))?;
        let lat = seq.next_element()?.ok_or_else(|| Error::invalid_length(1, &self))?;
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(Error::invalid_length(3, &self));
        }
        Ok(LonLat(lon, lat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str, why: &str) {
        let error = serde_json::from_str::<ShapeSpec>(json).unwrap_err().to_string();
        assert!(error.contains(why), "{json}: {error}");
    }

    #[test]
    fn integers_fractions_and_null_are_numbers() {
        let spec: ShapeSpec = serde_json::from_str(r#"{"bbox":[-1,2.5,null,18446744073709551615]}"#).unwrap();
        let bbox: Vec<f64> = spec.bbox.unwrap().into_iter().map(|degrees| degrees.0).collect();
        assert_eq!(bbox[..2], [-1.0, 2.5]);
        assert!(bbox[2].is_nan());
        assert_eq!(bbox[3], 18_446_744_073_709_551_615.0);
    }

    #[test]
    fn other_types_are_refused_by_name() {
        refused(r#"{"bbox":["1",2,3,4]}"#, "expected a number");
        refused(r#"{"bbox":[1e999,2,3,4]}"#, "out of range");
        refused(r#"{"polygon":[[1]]}"#, "expected [lon, lat]");
        refused(r#"{"polygon":[[1,2,3]]}"#, "expected [lon, lat]");
        refused(r#"{"polygon":[1,2,3]}"#, "expected [lon, lat]");
        refused(r#"{"circle":{"lon":1,"lat":2}}"#, "radius_m");
        refused(r#"{"geohash":[7]}"#, "expected a string");
    }
}
