//! A polygon on the cylinder of longitudes: a ring unrolled into the plane.
//!
//! Edges are straight lines in longitude and latitude, as map widgets draw them and
//! [RFC 7946 section 3.1.1](https://www.rfc-editor.org/rfc/rfc7946#section-3.1.1) defines them, not great
//! circles. An edge whose longitudes differ by more than 180° goes the short way, across the antimeridian
//! (RFC 7946 section 3.1.9 would have it cut in two there; both forms mean the same here). A ring that
//! goes once around the earth encloses the pole on its smaller side.
//!
//! Invariant: a vertex and a position with the same numbers are unrolled by the same arithmetic, so a
//! position on a vertex is on it exactly, whichever side of the antimeridian it was written on.

use geo::{
    Coord, Line, LineString,
    algorithm::{
        coordinate_position::{CoordPos, coord_pos_relative_to_ring},
        line_intersection::LineIntersection,
        sweep::{Cross, Intersections},
    },
    kernels::{Kernel, Orientation, RobustKernel},
};

use super::InvalidShape;

/// A ring may overlap its own start by less than one more turn (a spiral); see `Ring::check_simple`.
const WIDTH_MAX: f64 = 720.0;

/// A valid polygon.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Polygon {
    ring: LineString,
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl Polygon {
    /// `vertices` are `(lon, lat)` in range, closed or not.
    pub(super) fn new(vertices: &[(f64, f64)]) -> Result<Self, InvalidShape> {
        let ring = Ring::unroll(vertices)?;
        ring.check_simple()?;
        let line = ring.close_over_pole()?;
        let (mut west, mut east) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut south, mut north) = (f64::INFINITY, f64::NEG_INFINITY);
        for Coord { x, y } in &line.0 {
            (west, east) = (west.min(*x), east.max(*x));
            (south, north) = (south.min(*y), north.max(*y));
        }
        Ok(Self { ring: line, west, south, east, north })
    }

    /// Whether a valid position is inside or on an edge.
    pub(super) fn contains(&self, lon: f64, lat: f64) -> bool {
        if lat < self.south || lat > self.north {
            return false;
        }
        if lat.abs() >= 90.0 {
            return true; // The polygon reaches this pole, and a pole is at every longitude.
        }
        self.turns(lon, lon).any(|turn| {
            let x = rolled(lon, turn);
            (self.west..=self.east).contains(&x)
                && coord_pos_relative_to_ring(Coord { x, y: lat }, &self.ring) != CoordPos::Outside
        })
    }

    /// The edges as they lie over the world's longitudes, -180 to 180 and `margin` more on both sides.
    /// For choosing cells only: rolling back rounds.
    pub(super) fn edges_over_world(&self, margin: f64) -> Vec<Line> {
        let limit = 180.0 + margin;
        let mut edges = Vec::with_capacity(self.ring.0.len());
        for turn in self.turns(-limit, limit) {
            let shift = rolled(0.0, turn);
            edges.extend(
                self.ring
                    .lines()
                    .map(|edge| {
                        let back = |at: Coord| Coord { x: at.x - shift, y: at.y };
                        Line::new(back(edge.start), back(edge.end))
                    })
                    .filter(|edge| edge.start.x.min(edge.end.x) <= limit)
                    .filter(|edge| edge.start.x.max(edge.end.x) >= -limit),
            );
        }
        edges
    }

    /// The vertices, rolled back.
    #[cfg(any(test, fuzzing))]
    pub(super) fn vertices(&self) -> impl Iterator<Item = (f64, f64)> {
        self.ring.0.iter().map(|at| ((at.x + 180.0).rem_euclid(360.0) - 180.0, at.y))
    }

    /// The turns at which some longitude from `first` to `last` may lie over the polygon.
    fn turns(&self, first: f64, last: f64) -> impl Iterator<Item = i32> + use<> {
        #[expect(clippy::cast_possible_truncation, reason = "a few turns at most")]
        let turn = |turns: f64| turns as i32;
        turn(((self.west - last) / 360.0).floor())..=turn(((self.east - first) / 360.0).ceil())
    }
}

/// A longitude some turns further. The one place where a turn is added.
fn rolled(lon: f64, turn: i32) -> f64 {
    f64::from(turn) * 360.0 + lon
}

/// A ring of distinct neighbours without its closing vertex.
struct Ring {
    /// Longitude, latitude, and the turns that unroll the longitude.
    vertices: Vec<(f64, f64, i32)>,
    /// Turns from the first vertex around to itself: 0, or ±1 around a pole.
    around: i32,
}

/// An edge that knows its place in the ring.
#[derive(Debug, Clone, Copy)]
struct Edge {
    line: Line,
    index: usize,
}

impl Cross for Edge {
    type Scalar = f64;

    fn line(&self) -> Line {
        self.line
    }
}

impl Ring {
    fn unroll(vertices: &[(f64, f64)]) -> Result<Self, InvalidShape> {
        let mut ring: Vec<(f64, f64, i32)> = Vec::with_capacity(vertices.len());
        for &(lon, lat) in vertices {
            let turn = match ring.last() {
                None => 0,
                Some(&(last_lon, last_lat, last_turn)) => {
                    let turn = last_turn + turns_between(last_lon, lon);
                    if lat == last_lat && rolled(lon, turn) == rolled(last_lon, last_turn) {
                        continue;
                    }
                    turn
                }
            };
            ring.push((lon, lat, turn));
        }
        if ring.len() > 1 && same_place(ring[0], ring[ring.len() - 1]) {
            ring.pop(); // The closing vertex.
        }
        if ring.len() < 3 {
            return Err(InvalidShape::TooFewVertices(ring.len()));
        }
        let (last_lon, _, last_turn) = ring[ring.len() - 1];
        let around = last_turn + turns_between(last_lon, ring[0].0);
        if around.abs() > 1 {
            return Err(InvalidShape::TooWide);
        }
        Ok(Self { vertices: ring, around })
    }

    /// The vertex after the last one is the first one, `around` turns further.
    fn at(&self, index: usize) -> Coord {
        let (lon, lat, turn) = self.vertices[index % self.vertices.len()];
        let turn = if index < self.vertices.len() { turn } else { turn + self.around };
        Coord { x: rolled(lon, turn), y: lat }
    }

    fn edges(&self) -> impl Iterator<Item = Edge> {
        (0..self.vertices.len())
            .map(|index| Edge { line: Line::new(self.at(index), self.at(index + 1)), index })
    }

    /// No two edges may cross or touch, on the cylinder: a ring wider than the earth meets its own copy
    /// one turn further, so that copy joins the sweep.
    fn check_simple(&self) -> Result<(), InvalidShape> {
        let orientation = |i: usize| RobustKernel::orient2d(self.at(i), self.at(i + 1), self.at(i + 2));
        if self.around == 0 && (0..self.vertices.len()).all(|i| orientation(i) == Orientation::Collinear) {
            return Err(InvalidShape::NoArea("polygon"));
        }
        let (west, east) = self.edges().fold((f64::INFINITY, f64::NEG_INFINITY), |(west, east), edge| {
            (
                west.min(edge.line.start.x).min(edge.line.end.x),
                east.max(edge.line.start.x).max(edge.line.end.x),
            )
        });
        if east - west >= WIDTH_MAX {
            return Err(InvalidShape::TooWide);
        }
        let mut edges: Vec<Edge> = self.edges().collect();
        if east - west > 360.0 {
            edges.extend(self.edges().map(|edge| {
                let further = |at: usize| {
                    let (lon, lat, turn) = self.vertices[at % self.vertices.len()];
                    let around = if at < self.vertices.len() { 0 } else { self.around };
                    Coord { x: rolled(lon, turn + around + 1), y: lat }
                };
                Edge { line: Line::new(further(edge.index), further(edge.index + 1)), ..edge }
            }));
        }
        let count = self.vertices.len();
        for (a, b, meeting) in Intersections::from_iter(edges) {
            let neighbours = (a.index + 1) % count == b.index || (b.index + 1) % count == a.index;
            if !neighbours || matches!(meeting, LineIntersection::Collinear { .. }) {
                let (first, second) = (a.index.min(b.index), a.index.max(b.index));
                return Err(InvalidShape::EdgesMeet(first, second));
            }
        }
        Ok(())
    }

    /// The closed ring in the plane; one that goes around the earth is closed along its pole.
    fn close_over_pole(&self) -> Result<LineString, InvalidShape> {
        let count = self.vertices.len();
        if self.around == 0 {
            return Ok(LineString::new((0..=count).map(|index| self.at(index)).collect()));
        }
        // The mean latitude says which side is smaller; the sides are equal on the equator only.
        let area: f64 = self
            .edges()
            .map(|Edge { line, .. }| (line.end.x - line.start.x) * (line.start.y + line.end.y) / 2.0)
            .sum();
        let mean_lat = area / rolled(0.0, self.around);
        if mean_lat.abs() < 1e-9 {
            return Err(InvalidShape::BothPoles);
        }
        let pole = 90.0_f64.copysign(mean_lat);
        // From the vertex next to the pole, the way there and back crosses no edge.
        let nearest = (0..count)
            .max_by(|a, b| (self.at(*a).y * pole).total_cmp(&(self.at(*b).y * pole)))
            .unwrap_or_default();
        let mut line: Vec<Coord> = (nearest..=nearest + count).map(|index| self.at(index)).collect();
        let (start, end) = (line[0], line[count]);
        line.extend([Coord { x: end.x, y: pole }, Coord { x: start.x, y: pole }, start]);
        Ok(LineString::new(line))
    }
}

/// Turns to add so that the way from one longitude to the next is the short one.
fn turns_between(from: f64, to: f64) -> i32 {
    if to - from > 180.0 {
        -1
    } else if to - from < -180.0 {
        1
    } else {
        0
    }
}

fn same_place(a: (f64, f64, i32), b: (f64, f64, i32)) -> bool {
    a.1 == b.1 && (a.0 == b.0 || (a.0 - b.0).abs() == 360.0)
}
