//! Random shapes and places for property tests, with more than their share of antimeridian and poles.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{CircleSpec, Degrees, LonLat, Shape, ShapeLimits, ShapeSpec};
use crate::fleet::Position;

/// A place; often one where something can go wrong.
pub(super) fn place() -> impl Strategy<Value = Position> {
    let lon = prop_oneof![
        6 => -180.0..=180.0_f64,
        2 => select(vec![-180.0, 180.0, 0.0, -1e-17, 179.999_999, -179.999_999, 90.0, -90.0, 11.25, 45.0]),
        2 => (170.0..190.0_f64).prop_map(wrapped),
    ];
    let lat = prop_oneof![
        6 => -90.0..=90.0_f64,
        2 => select(vec![-90.0, 90.0, 0.0, -1e-17, 89.999_999, -89.999_999, 45.0, 5.625, -67.5]),
    ];
    (lon, lat).prop_map(|(lon, lat)| Position { lat, lon })
}

/// A shape of any form and size.
pub(super) fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![4 => bbox(), 3 => circle(), 3 => star(), 1 => cap(), 2 => geohash()]
}

/// Places that matter to a shape: on its corners, in it, around it, anywhere.
pub(super) fn places_around(shape: &Shape) -> impl Strategy<Value = Position> + use<> {
    let corners: Vec<Position> = super::shape::corners(shape);
    let near = (select(corners.clone()), -1.0..1.0_f64, -1.0..1.0_f64, select(vec![0.0, 1e-12, 1e-3, 1.0]))
        .prop_map(|(at, x, y, scale)| Position {
            lat: (at.lat + y * scale).clamp(-90.0, 90.0),
            lon: wrapped(at.lon + x * scale),
        });
    // On an edge, or as near to it as arithmetic gets.
    let between = (select(corners.clone()), select(corners), 0.0..1.0_f64).prop_map(|(a, b, t)| Position {
        lat: a.lat + (b.lat - a.lat) * t,
        lon: wrapped(a.lon + (b.lon - a.lon) * t),
    });
    prop_oneof![2 => near, 1 => between, 2 => place()]
}

fn parsed(spec: &ShapeSpec) -> Option<Shape> {
    Shape::parse(spec, ShapeLimits::default()).ok()
}

fn bbox() -> impl Strategy<Value = Shape> {
    (place(), place()).prop_filter_map("no area", |(a, b)| {
        let numbers = [a.lon, a.lat.min(b.lat), b.lon, a.lat.max(b.lat)];
        parsed(&ShapeSpec { bbox: Some(numbers.map(Degrees).to_vec()), ..ShapeSpec::default() })
    })
}

fn circle() -> impl Strategy<Value = Shape> {
    let radius_m = prop_oneof![1.0..1e4_f64, 1e4..1e6_f64, 1e6..2.0037e7_f64];
    (place(), radius_m).prop_filter_map("no circle", |(at, radius_m)| {
        let circle = CircleSpec { lon: Degrees(at.lon), lat: Degrees(at.lat), radius_m: Degrees(radius_m) };
        parsed(&ShapeSpec { circle: Some(circle), ..ShapeSpec::default() })
    })
}

/// A star-shaped ring around a place: never self-crossing where it stays off the poles.
fn star() -> impl Strategy<Value = Shape> {
    let size = prop_oneof![Just(0.01), Just(1.0), Just(30.0), Just(89.0)];
    (place(), vec(0.2..1.0_f64, 3..40), size).prop_filter_map("crosses itself", |(at, radii, size)| {
        let count = radii.len() as f64;
        let ring = radii.iter().enumerate().map(|(i, radius)| {
            let angle = std::f64::consts::TAU * i as f64 / count;
            let lon = wrapped(at.lon + size * radius * angle.cos());
            LonLat(Degrees(lon), Degrees((at.lat + size * radius * angle.sin()).clamp(-90.0, 90.0)))
        });
        parsed(&ShapeSpec { polygon: Some(ring.collect()), ..ShapeSpec::default() })
    })
}

/// A ring around a pole.
fn cap() -> impl Strategy<Value = Shape> {
    (vec(1.0..89.0_f64, 3..20), -180.0..180.0_f64, any::<[bool; 2]>()).prop_filter_map(
        "no cap",
        |(lats, first, [south, backwards])| {
            let count = lats.len() as f64;
            let mut ring: Vec<LonLat> = lats
                .iter()
                .enumerate()
                .map(|(i, lat)| {
                    let lon = wrapped(first + 360.0 * i as f64 / count);
                    LonLat(Degrees(lon), Degrees(if south { -lat } else { *lat }))
                })
                .collect();
            if backwards {
                ring.reverse();
            }
            parsed(&ShapeSpec { polygon: Some(ring), ..ShapeSpec::default() })
        },
    )
}

fn geohash() -> impl Strategy<Value = Shape> {
    vec((place(), 1..=12_usize), 1..12).prop_filter_map("no cells", |cells| {
        let name =
            |(at, len): &(Position, usize)| geohash::encode(geohash::Coord { x: at.lon, y: at.lat }, *len);
        let cells = cells.iter().map(name).collect::<Result<_, _>>().ok()?;
        parsed(&ShapeSpec { geohash: Some(cells), ..ShapeSpec::default() })
    })
}

fn wrapped(lon: f64) -> f64 {
    if lon > 180.0 {
        lon - 360.0
    } else if lon < -180.0 {
        lon + 360.0
    } else {
        lon
    }
}
