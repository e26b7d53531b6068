//! The way between two places: a great circle with gentle bends, since no road is straight. Pure.
//! Invariant: it starts and ends exactly at its places, and [`Point::metres`] is the true derivative, so a
//! vehicle's speed is what its positions say.

use std::f64::consts::PI;

use super::chance::Chance;
use crate::fleet::Position;

const EARTH_RADIUS_M: f64 = 6_371_000.0;
/// Steps of the numeric length; the bends have three waves, so this is plenty.
const LENGTH_STEPS: u32 = 96;

type Vector = [f64; 3];

/// A way with a direction; `travelled` from 0 to 1 is where on it.
#[derive(Debug, Clone)]
pub(super) struct Path {
    from: Vector,
    /// A quarter of the great circle further.
    ahead: Vector,
    /// Perpendicular to both: left of the way.
    left: Vector,
    angle: f64,
    bends: Vector,
    pub(super) length_m: f64,
}

/// A place on a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) position: Position,
    pub(super) heading_deg: f64,
    /// How many metres one whole unit of `travelled` is here.
    pub(super) metres: f64,
}

impl Path {
    /// From `from` to `to`, both (degrees north, degrees east); `bend` is how far bends may leave the
    /// straight line, as a part of its length.
    pub(super) fn new(from: (f64, f64), to: (f64, f64), bend: f64, chance: &mut Chance) -> Self {
        let (from, to) = (vector(from), vector(to));
        let left = unit(cross(from, to));
        let ahead = cross(left, from);
        let angle = dot(to, ahead).atan2(dot(to, from));
        let mut wave = |part: f64| bend * part * (2.0 * chance.unit() - 1.0);
        let bends = [wave(1.0), wave(0.4), wave(0.25)];
        let mut path = Self { from, ahead, left, angle, bends, length_m: 0.0 };
        let steps = (0..LENGTH_STEPS).map(|step| (f64::from(step) + 0.5) / f64::from(LENGTH_STEPS));
        path.length_m = steps.map(|at| path.at(at).metres).sum::<f64>() / f64::from(LENGTH_STEPS);
        path
    }

    pub(super) fn at(&self, travelled: f64) -> Point {
        let (sin, cos) = (self.angle * travelled).sin_cos();
        let (aside, slope) = self.bend(travelled);
        let mut place = [0.0; 3];
        let mut course = [0.0; 3];
        for axis in 0..3 {
            let (from, ahead, left) = (self.from[axis], self.ahead[axis], self.left[axis]);
            place[axis] = from * cos + ahead * sin + left * aside;
            course[axis] = self.angle * (ahead * cos - from * sin) + left * slope;
        }
        let [x, y, z] = place;
        let flat = x.hypot(y);
        let radius = (1.0 + aside * aside).sqrt();
        let east = (x * course[1] - y * course[0]) / flat;
        let north = (flat * flat * course[2] - z * (x * course[0] + y * course[1])) / (flat * radius);
        let heading_deg = east.atan2(north).to_degrees();
        Point {
            position: Position { lat: z.atan2(flat).to_degrees(), lon: y.atan2(x).to_degrees() },
            heading_deg: if heading_deg < 0.0 { heading_deg + 360.0 } else { heading_deg },
            // Bends leave the sphere by a hair: bring the derivative back to its surface.
            metres: EARTH_RADIUS_M * east.hypot(north) / radius,
        }
    }

    /// How far left of the great circle, and the derivative of that.
    fn bend(&self, travelled: f64) -> (f64, f64) {
        let [slow, middle, fast] = self.bends;
        let (sin1, cos1) = (PI * travelled).sin_cos();
        let (sin2, cos2) = (2.0 * sin1 * cos1, 1.0 - 2.0 * sin1 * sin1);
        let (sin3, cos3) = (sin2 * cos1 + cos2 * sin1, cos2 * cos1 - sin2 * sin1);
        let aside = slow * sin1 + middle * sin2 + fast * sin3;
        let slope = slow * cos1 + 2.0 * middle * cos2 + 3.0 * fast * cos3;
        (self.angle * aside, self.angle * PI * slope)
    }
}

fn vector((lat, lon): (f64, f64)) -> Vector {
    let ((sin_lat, cos_lat), (sin_lon, cos_lon)) = (lat.to_radians().sin_cos(), lon.to_radians().sin_cos());
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn unit(a: Vector) -> Vector {
    let length = dot(a, a).sqrt();
    a.map(|part| part / length)
}

/// Metres between two positions.
#[cfg(test)]
pub(super) fn distance_m(a: Position, b: Position) -> f64 {
    let (a, b) = (vector((a.lat, a.lon)), vector((b.lat, b.lon)));
    let apart = cross(a, b);
    EARTH_RADIUS_M * dot(apart, apart).sqrt().atan2(dot(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OSLO: (f64, f64) = (59.91, 10.75);
    const GOTHENBURG: (f64, f64) = (57.71, 11.97);

    #[test]
    fn a_path_joins_its_places_and_its_derivative_is_true() {
        let path = Path::new(OSLO, GOTHENBURG, 0.05, &mut Chance::new(7, 0));
        let near = |a: Position, b: (f64, f64)| distance_m(a, Position { lat: b.0, lon: b.1 }) < 0.01;
        assert!(near(path.at(0.0).position, OSLO) && near(path.at(1.0).position, GOTHENBURG));
        assert!((250_000.0..270_000.0).contains(&path.length_m), "{}", path.length_m);
        let mut sum = 0.0;
        for step in 0..1000 {
            let (at, next) = (f64::from(step) / 1000.0, f64::from(step + 1) / 1000.0);
            let moved = distance_m(path.at(at).position, path.at(next).position);
            let told = path.at(f64::midpoint(at, next)).metres / 1000.0;
            assert!((moved / told - 1.0).abs() < 1e-4, "{moved} against {told}");
            sum += moved;
        }
        assert!((sum / path.length_m - 1.0).abs() < 1e-4);
    }

    #[test]
    fn the_heading_points_where_the_vehicle_goes() {
        let straight = |from, to| Path::new(from, to, 0.0, &mut Chance::new(1, 1)).at(0.5).heading_deg;
        let check = |heading: f64, expected: f64| assert!((heading - expected).abs() < 0.01, "{heading}");
        check(straight((0.0, 10.0), (0.0, 12.0)), 90.0);
        check(straight((0.0, 12.0), (0.0, 10.0)), 270.0);
        check(straight((10.0, 10.0), (12.0, 10.0)), 0.0);
        check(straight((12.0, 10.0), (10.0, 10.0)), 180.0);
        check(straight((0.0, 179.0), (0.0, -179.0)), 90.0);
    }
}
