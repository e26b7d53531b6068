//! Shapes as dashboards send them.

use std::hint::black_box;

use super::{CellId, RegionName, Shape, ShapeLimits, ShapeSpec, cover, shape};
use crate::fleet::Position;

/// A shape in JSON. Its cover and the shape must agree about every place: here, about its corners, their
/// neighbours, and the ends of the earth.
pub(crate) fn region(data: &[u8]) {
    if let Ok(name) = std::str::from_utf8(data) {
        drop(RegionName::parse(name));
    }
    let Ok(spec) = serde_json::from_slice::<ShapeSpec>(data) else { return };
    let Ok(shape) = Shape::parse(&spec, ShapeLimits::default()) else { return };
    let cells = shape.cover().cells();
    assert!(!cells.is_empty() && cells.len() <= cover::CELLS_MAX, "{} cells", cells.len());
    black_box(shape.cover().between_replicas().count());
    let ends = [(90.0, 0.0), (-90.0, 180.0), (0.0, 180.0), (0.0, -180.0), (0.0, 0.0)];
    let ends = ends.map(|(lat, lon)| Position { lat, lon });
    for corner in shape::corners(&shape).into_iter().chain(ends) {
        for (lat, lon) in [(0.0, 0.0), (1e-7, 0.0), (-1e-7, 1e-7), (0.5, 0.5), (-5.0, -20.0)] {
            agrees(&shape, Position { lat: corner.lat + lat, lon: corner.lon + lon });
        }
    }
}

fn agrees(shape: &Shape, place: Position) {
    let Some(leaf) = CellId::at(place) else {
        return assert!(!shape.contains(place), "{place:?} is nowhere");
    };
    let cells = shape.cover().cells();
    let mut holding = cells.iter().filter(|covered| leaf.ancestor(covered.cell.level()) == covered.cell);
    match (holding.next(), holding.next()) {
        (None, _) => assert!(!shape.contains(place), "{place:?} is in no cell"),
        (Some(covered), None) => {
            assert!(!covered.inside || shape.contains(place), "{place:?} in {covered:?} is not in the shape");
        }
        (Some(_), Some(_)) => panic!("{place:?} is in two cells"),
    }
}
