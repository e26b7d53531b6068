//! A shape as a bounded set of cells of mixed sizes.
//!
//! Invariant: every position in the shape is in exactly one cell of its cover, and every position in a
//! cell marked `inside` is in the shape. Cells that are neither wholly inside nor wholly outside are
//! split, the coarsest first, until they are of the finest level or there would be more than
//! [`CELLS_MAX`]; so the whole world is one cell and a city block a few small ones.

use std::collections::VecDeque;

use geo::{Intersects, Line, Rect, coord};

use super::{
    CellId,
    cells::{CellBounds, LEVEL_MAX},
    interest::INTEREST_LEVEL,
    shape::{Circle, Form, LonLatBox},
};
use crate::fleet::Position;

/// Most cells of one cover. More cells mean fewer questions to the shape and more work to move it.
pub(super) const CELLS_MAX: usize = 48;

/// Cells are grown by this when edges are tested against them: unrolling a polygon rounds.
const MARGIN_DEGREES: f64 = 1e-9;

/// The same for circles, whose distances round.
const MARGIN_M: f64 = 0.01;

/// One cell of a cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoverCell {
    /// Which cell.
    pub cell: CellId,
    /// Whether all of the cell is in the shape, so that no position in it needs a test.
    pub inside: bool,
}

/// The cells of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cover(Vec<CoverCell>);

impl Cover {
    /// Covers a shape.
    pub(super) fn of(form: &Form) -> Self {
        let mut done = Vec::with_capacity(CELLS_MAX);
        let mut open = VecDeque::with_capacity(CELLS_MAX);
        let place = |found: Found, done: &mut Vec<CoverCell>, open: &mut VecDeque<Split>| match found {
            Found::Outside => {}
            Found::Inside(cell) => done.push(CoverCell { cell, inside: true }),
            Found::Partly(split) => open.push_back(split),
        };
        place(Split::root(form), &mut done, &mut open);
        // Bounded: each turn takes one cell out of `open`, and what it puts in is one level finer.
        while let Some(split) = open.pop_front() {
            let quarters = if split.cell.level() == LEVEL_MAX { None } else { Some(split.quarters(form)) };
            match quarters {
                Some(quarters) if done.len() + open.len() + count(&quarters) <= CELLS_MAX => {
                    for quarter in quarters {
                        place(quarter, &mut done, &mut open);
                    }
                }
                _ => done.push(CoverCell { cell: split.cell, inside: false }),
            }
        }
        Self(done)
    }

    /// The cells of the level between replicas that it touches. Those that hold several small cells of the cover
    /// come several times.
    pub fn between_replicas(&self) -> impl Iterator<Item = CellId> {
        self.0.iter().flat_map(|covered| covered.cell.between_replicas().descendants(INTEREST_LEVEL))
    }

    /// The cells, none within another.
    #[must_use]
    pub fn cells(&self) -> &[CoverCell] {
        &self.0
    }
}

fn count(quarters: &[Found; 4]) -> usize {
    quarters.iter().filter(|found| !matches!(found, Found::Outside)).count()
}

/// A cell that the shape cuts through, with the polygon edges that do it: a quarter is cut by no others.
struct Split {
    cell: CellId,
    edges: Vec<Line>,
}

/// How a shape lies to a cell.
enum Found {
    Outside,
    Inside(CellId),
    Partly(Split),
}

impl Split {
    fn root(form: &Form) -> Found {
        let edges = match form {
            Form::Polygon(polygon) => polygon.edges_over_world(MARGIN_DEGREES),
            Form::Boxes(_) | Form::Circle(_) => Vec::new(),
        };
        Self::look(form, CellId::WORLD, &edges)
    }

    fn quarters(&self, form: &Form) -> [Found; 4] {
        self.cell.children().map(|cell| Self::look(form, cell, &self.edges))
    }

    fn look(form: &Form, cell: CellId, edges: &[Line]) -> Found {
        let bounds = cell.bounds();
        let relation = match form {
            Form::Boxes(boxes) => boxes.iter().map(|area| box_and_cell(area, bounds)).max(),
            Form::Circle(circle) => Some(circle_and_cell(*circle, bounds)),
            Form::Polygon(_) => {
                let grown = Rect::new(
                    coord! { x: bounds.west - MARGIN_DEGREES, y: bounds.south - MARGIN_DEGREES },
                    coord! { x: bounds.east + MARGIN_DEGREES, y: bounds.north + MARGIN_DEGREES },
                );
                let cutting: Vec<Line> =
                    edges.iter().copied().filter(|edge| grown.intersects(edge)).collect();
                if !cutting.is_empty() {
                    return Found::Partly(Self { cell, edges: cutting });
                }
                let centre = Position {
                    lat: f64::midpoint(bounds.south, bounds.north),
                    lon: f64::midpoint(bounds.west, bounds.east),
                };
                Some(if form.contains(centre) { Relation::Inside } else { Relation::Outside })
            }
        };
        match relation {
            Some(Relation::Inside) => Found::Inside(cell),
            Some(Relation::Partly) => Found::Partly(Self { cell, edges: Vec::new() }),
            _ if holds_pole_of(form, cell) => Found::Partly(Self { cell, edges: Vec::new() }),
            _ => Found::Outside,
        }
    }
}

/// A position at a pole is in the pole's one cell at longitude 0, wherever the shape reaches the pole.
fn holds_pole_of(form: &Form, cell: CellId) -> bool {
    [90.0, -90.0].into_iter().any(|lat| {
        let pole = Position { lat, lon: 0.0 };
        CellId::at(pole).is_some_and(|leaf| leaf.ancestor(cell.level()) == cell) && form.contains(pole)
    })
}

/// Ordered, so that the greatest over several boxes holds for their union.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    Outside,
    Partly,
    Inside,
}

fn box_and_cell(area: &LonLatBox, cell: CellBounds) -> Relation {
    if cell.north < area.south || cell.south > area.north {
        return Relation::Outside;
    }
    // Compared as written, without adding a turn: that would round.
    let spans = if area.west > area.east {
        [(area.west, 180.0), (-180.0, area.east)]
    } else {
        [(area.west, area.east); 2]
    };
    // A place on 180° is in the cell that starts at -180°.
    let around = cell.west <= -180.0 && spans.iter().any(|(_, last)| *last >= 180.0);
    if !around && !spans.iter().any(|(first, last)| cell.east >= *first && cell.west <= *last) {
        return Relation::Outside;
    }
    let wide = spans.iter().any(|(first, last)| *first <= cell.west && cell.east <= *last);
    if wide && area.south <= cell.south && cell.north <= area.north {
        Relation::Inside
    } else {
        Relation::Partly
    }
}

fn circle_and_cell(circle: Circle, cell: CellBounds) -> Relation {
    let (nearest_m, farthest_m) = distances_m(circle, cell);
    if nearest_m > circle.radius_m + MARGIN_M {
        Relation::Outside
    } else if farthest_m < circle.radius_m - MARGIN_M {
        Relation::Inside
    } else {
        Relation::Partly
    }
}

/// The least and the greatest distance from a circle's centre to a cell.
///
/// Along a parallel the distance grows with the difference in longitude, so both extremes are on one of
/// the cell's two meridians, or on the centre's own meridian if that passes through the cell. Along a
/// meridian the cosine of the distance is one wave of latitude, so the extremes are at the ends or at the
/// wave's crest and trough.
fn distances_m(circle: Circle, cell: CellBounds) -> (f64, f64) {
    let mut nearest = f64::INFINITY;
    let mut farthest: f64 = 0.0;
    let mut visit = |lon: f64| {
        let (sin, cos) = circle.lat.to_radians().sin_cos();
        let crest = sin.atan2(cos * (lon - circle.lon).to_radians().cos()).to_degrees();
        let within = |lat: f64| (cell.south..=cell.north).contains(&lat).then_some(lat);
        let trough = if crest > 0.0 { crest - 180.0 } else { crest + 180.0 };
        for lat in [Some(cell.south), Some(cell.north), within(crest), within(trough)].into_iter().flatten() {
            let metres = circle.distance_m(lon, lat);
            nearest = nearest.min(metres);
            farthest = farthest.max(metres);
        }
    };
    visit(cell.west);
    visit(cell.east);
    for turn in [-360.0, 0.0, 360.0] {
        // The centre's meridian is the nearest, its opposite the farthest.
        for lon in [circle.lon + turn, circle.lon + 180.0 + turn] {
            if (cell.west..=cell.east).contains(&lon) {
                visit(lon);
            }
        }
    }
    (nearest, farthest)
}

#[cfg(test)]
#[path = "cover_tests.rs"]
mod tests;
