//! A shape on the map that passed every check, and the exact answer to "is this place in it?".
//!
//! Invariant: shapes are closed sets: an edge belongs to its shape, for geohash cells too (two
//! neighbours share their edge; their union counts it once). 180° and -180° are one meridian, and a pole
//! is in every shape that reaches it, at whatever longitude it was written.
//!
//! Edges of boxes, polygons and geohash cells are straight lines in longitude and latitude. A circle is
//! all places within a great-circle distance by the
//! [haversine formula](https://en.wikipedia.org/wiki/Haversine_formula) on the sphere of the mean earth
//! radius (6,371,008.8 m), which is within 0.6 % of distances on the ellipsoid of WGS 84.

use geo::{Distance, Haversine, Point};
use smallvec::{SmallVec, smallvec};

use super::{
    Cover,
    polygon::Polygon,
    spec::{CircleSpec, Degrees, LonLat, ShapeLimits, ShapeSpec},
};
use crate::fleet::Position;

/// Half the equator in metres: from here on a circle is the whole earth.
pub(super) const RADIUS_M_MAX: f64 = 20_037_508.342_789_244;

/// The longest geohash, cells of about 4 cm.
const GEOHASH_LEN_MAX: usize = 12;

/// Why a shape was refused. The message names the problem and is shown to dashboards.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidShape {
    /// No form was given.
    #[error("name the shape: bbox, polygon, circle or geohash")]
    Missing,
    /// Several forms were given.
    #[error("name one shape only of bbox, polygon, circle and geohash")]
    Several,
    /// NaN or infinite (which JSON has as `null`).
    #[error("{0} is not a finite number")]
    NotFinite(String),
    /// Beyond a pole.
    #[error("{0} {1} is outside -90 to 90")]
    Latitude(String, f64),
    /// Beyond the antimeridian.
    #[error("{0} {1} is outside -180 to 180")]
    Longitude(String, f64),
    /// Not four numbers.
    #[error("bbox has {0} numbers, not [west, south, east, north]")]
    BboxLength(usize),
    /// Upside down.
    #[error("bbox south {0} is above north {1}")]
    SouthAboveNorth(f64, f64),
    /// A point or a line.
    #[error("{0} has no area")]
    NoArea(&'static str),
    /// Not even a triangle.
    #[error("polygon has {0} different vertices, at least 3 are needed")]
    TooFewVertices(usize),
    /// Longer than the limit.
    #[error("polygon has {0} vertices, at most {1} are allowed")]
    TooManyVertices(usize, usize),
    /// The ring is not simple. Edges are counted from 0, at their first vertex.
    #[error("polygon crosses or touches itself: edges {0} and {1} meet")]
    EdgesMeet(usize, usize),
    /// Wound around the earth.
    #[error("polygon goes around the earth more than once")]
    TooWide,
    /// A ring along the equator.
    #[error("polygon around the earth has a pole on both sides of equal size; use a bbox")]
    BothPoles,
    /// Zero, negative, or larger than the earth.
    #[error("circle radius_m {0} is not above 0 and at most {RADIUS_M_MAX:.0}")]
    Radius(f64),
    /// No cells.
    #[error("geohash names no cell")]
    NoCells,
    /// Longer than the limit.
    #[error("geohash names {0} cells, at most {1} are allowed")]
    TooManyCells(usize, usize),
    /// Empty or more precise than a geohash can be.
    #[error("geohash[{0}] has {1} characters, not 1 to {GEOHASH_LEN_MAX}")]
    GeohashLength(usize, usize),
    /// Not of the geohash alphabet.
    #[error("geohash[{0}] holds a character other than 0-9 and b-z without i, l and o")]
    GeohashCharacter(usize),
}

/// A valid shape and its cells, which are found while it is parsed: in the task of the viewer who asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    form: Form,
    cover: Cover,
}

/// The geometry of a [`Shape`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    /// One box, or one per geohash cell.
    Boxes(SmallVec<[LonLatBox; 1]>),
    Polygon(Polygon),
    Circle(Circle),
}

/// A box in degrees. `west > east` goes across the antimeridian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LonLatBox {
    pub(super) west: f64,
    pub(super) south: f64,
    pub(super) east: f64,
    pub(super) north: f64,
}

/// All places within `radius_m` of the centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Circle {
    pub(super) lon: f64,
    pub(super) lat: f64,
    pub(super) radius_m: f64,
}

impl Shape {
    /// Checks a shape as a dashboard sent it.
    ///
    /// # Errors
    /// The first problem found, in words for the dashboard's author. Sizes are checked before anything
    /// that costs more than a comparison.
    pub fn parse(spec: &ShapeSpec, limits: ShapeLimits) -> Result<Self, InvalidShape> {
        let form = match spec {
            ShapeSpec { bbox: Some(bbox), polygon: None, circle: None, geohash: None } => parse_bbox(bbox),
            ShapeSpec { bbox: None, polygon: Some(ring), circle: None, geohash: None } => {
                parse_polygon(ring, limits.vertices_max)
            }
            ShapeSpec { bbox: None, polygon: None, circle: Some(circle), geohash: None } => {
                parse_circle(circle)
            }
            ShapeSpec { bbox: None, polygon: None, circle: None, geohash: Some(cells) } => {
                parse_geohash(cells, limits.geohashes_max)
            }
            ShapeSpec { bbox: None, polygon: None, circle: None, geohash: None } => {
                Err(InvalidShape::Missing)
            }
            _ => Err(InvalidShape::Several),
        }?;
        let cover = Cover::of(&form);
        Ok(Self { form, cover })
    }

    /// Whether a place is in the shape or on its edge. A position that is no place on earth is in none.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.form.contains(position)
    }

    /// The shape's cells.
    #[must_use]
    pub fn cover(&self) -> &Cover {
        &self.cover
    }
}

impl Form {
    pub(super) fn contains(&self, position: Position) -> bool {
        if !position.is_valid() {
            return false;
        }
        let Position { lat, lon } = position;
        match self {
            Self::Boxes(boxes) => boxes.iter().any(|area| area.contains(lon, lat)),
            Self::Polygon(polygon) => polygon.contains(lon, lat),
            Self::Circle(circle) => circle.contains(lon, lat),
        }
    }
}

impl LonLatBox {
    fn contains(self, lon: f64, lat: f64) -> bool {
        if lat < self.south || lat > self.north {
            return false;
        }
        if self.west > self.east {
            return lon >= self.west || lon <= self.east || lat.abs() >= 90.0;
        }
        (self.west <= lon && lon <= self.east)
            || (lon.abs() >= 180.0 && (self.west <= -180.0 || self.east >= 180.0))
            || lat.abs() >= 90.0
    }
}

impl Circle {
    fn contains(self, lon: f64, lat: f64) -> bool {
        self.distance_m(lon, lat) <= self.radius_m
    }

    /// Metres from the centre.
    pub(super) fn distance_m(self, lon: f64, lat: f64) -> f64 {
        let metres = Haversine.distance(Point::new(self.lon, self.lat), Point::new(lon, lat));
        // Opposite places round to the arc sine of more than 1.
        if metres.is_nan() { Haversine.radius() * std::f64::consts::PI } else { metres }
    }
}

fn finite(what: impl Fn() -> String, Degrees(value): Degrees) -> Result<f64, InvalidShape> {
    if value.is_finite() { Ok(value) } else { Err(InvalidShape::NotFinite(what())) }
}

fn lat(what: impl Fn() -> String, value: Degrees) -> Result<f64, InvalidShape> {
    let value = finite(&what, value)?;
    if value.abs() <= 90.0 { Ok(value) } else { Err(InvalidShape::Latitude(what(), value)) }
}

fn lon(what: impl Fn() -> String, value: Degrees) -> Result<f64, InvalidShape> {
    let value = finite(&what, value)?;
    if value.abs() <= 180.0 { Ok(value) } else { Err(InvalidShape::Longitude(what(), value)) }
}

fn parse_bbox(bbox: &[Degrees]) -> Result<Form, InvalidShape> {
    let &[west, south, east, north] = bbox else {
        return Err(InvalidShape::BboxLength(bbox.len()));
    };
    let (west, east) = (lon(|| "bbox west".into(), west)?, lon(|| "bbox east".into(), east)?);
    let (south, north) = (lat(|| "bbox south".into(), south)?, lat(|| "bbox north".into(), north)?);
    if south > north {
        return Err(InvalidShape::SouthAboveNorth(south, north));
    }
    // From 180 on to -180 is no width either.
    if south == north || west == east || (west == 180.0 && east == -180.0) {
        return Err(InvalidShape::NoArea("bbox"));
    }
    Ok(Form::Boxes(smallvec![LonLatBox { west, south, east, north }]))
}

fn parse_polygon(ring: &[LonLat], vertices_max: usize) -> Result<Form, InvalidShape> {
    // The closing vertex is not counted, whether it was sent or not.
    let closed = ring.len() > 1 && ring.first() == ring.last();
    let count = ring.len() - usize::from(closed);
    if count > vertices_max {
        return Err(InvalidShape::TooManyVertices(count, vertices_max));
    }
    let vertices = ring
        .iter()
        .enumerate()
        .map(|(i, LonLat(x, y))| {
            Ok((
                lon(|| format!("polygon[{i}] longitude"), *x)?,
                lat(|| format!("polygon[{i}] latitude"), *y)?,
            ))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Form::Polygon(Polygon::new(&vertices)?))
}

fn parse_circle(circle: &CircleSpec) -> Result<Form, InvalidShape> {
    let lon = lon(|| "circle lon".into(), circle.lon)?;
    let lat = lat(|| "circle lat".into(), circle.lat)?;
    let radius_m = finite(|| "circle radius_m".into(), circle.radius_m)?;
    if radius_m <= 0.0 || radius_m > RADIUS_M_MAX {
        return Err(InvalidShape::Radius(radius_m));
    }
    Ok(Form::Circle(Circle { lon, lat, radius_m }))
}

fn parse_geohash(cells: &[String], cells_max: usize) -> Result<Form, InvalidShape> {
    if cells.is_empty() {
        return Err(InvalidShape::NoCells);
    }
    if cells.len() > cells_max {
        return Err(InvalidShape::TooManyCells(cells.len(), cells_max));
    }
    let mut boxes = SmallVec::with_capacity(cells.len());
    for (i, cell) in cells.iter().enumerate() {
        let len = cell.chars().count();
        if !(1..=GEOHASH_LEN_MAX).contains(&len) {
            return Err(InvalidShape::GeohashLength(i, len));
        }
        let bounds = geohash::decode_bbox(cell).map_err(|_| InvalidShape::GeohashCharacter(i))?;
        let (min, max) = (bounds.min(), bounds.max());
        let area = LonLatBox { west: min.x, south: min.y, east: max.x, north: max.y };
        if !boxes.contains(&area) {
            boxes.push(area);
        }
    }
    Ok(Form::Boxes(boxes))
}

/// Places that make up a shape, for tests that look around them.
#[cfg(any(test, fuzzing))]
pub(super) fn corners(shape: &Shape) -> Vec<Position> {
    match &shape.form {
        Form::Boxes(boxes) => boxes
            .iter()
            .flat_map(|area| [(area.west, area.south), (area.east, area.north), (area.west, area.north)])
            .map(|(lon, lat)| Position { lat, lon })
            .collect(),
        Form::Polygon(polygon) => polygon.vertices().map(|(lon, lat)| Position { lat, lon }).collect(),
        Form::Circle(circle) => {
            let degrees = circle.radius_m / 111_195.08;
            let at = |x: f64, y: f64| Position {
                lat: (circle.lat + y * degrees).clamp(-90.0, 90.0),
                lon: (circle.lon + x * degrees).clamp(-180.0, 180.0),
            };
            vec![at(0.0, 0.0), at(1.0, 0.0), at(-1.0, 0.0), at(0.0, 1.0), at(0.0, -1.0)]
        }
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
