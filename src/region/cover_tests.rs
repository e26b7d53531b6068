//! Covers are bounded, complete, and right about what is inside.

use proptest::prelude::*;

use super::*;
use crate::region::{Shape, ShapeLimits, arbitrary};

fn cover(json: &str) -> Cover {
    let spec = serde_json::from_str(json).unwrap();
    Shape::parse(&spec, ShapeLimits::default()).unwrap().cover().clone()
}

#[test]
fn the_whole_world_is_one_cell() {
    let world = vec![CoverCell { cell: CellId::WORLD, inside: true }];
    assert_eq!(cover(r#"{"bbox":[-180,-90,180,90]}"#).cells(), world);
    assert_eq!(cover(r#"{"circle":{"lon":1,"lat":2,"radius_m":20037508}}"#).cells(), world);
}

#[test]
fn a_hemisphere_is_its_cells_and_their_neighbours_at_the_edge() {
    let cells = cover(r#"{"bbox":[0,-90,180,90]}"#);
    let inside: Vec<String> =
        cells.cells().iter().filter(|cell| cell.inside).map(|cell| cell.cell.to_string()).collect();
    assert_eq!(inside, ["1/1/0", "1/1/1"]);
    // The antimeridian belongs to the western-most cells, and the edge at 0 to nobody else.
    assert!(cells.cells().iter().filter(|cell| !cell.inside).all(|cell| {
        let bounds = cell.cell.bounds();
        bounds.west == -180.0 || bounds.east == 0.0
    }));
}

#[test]
fn a_city_block_is_a_few_of_the_finest_cells() {
    let cells = cover(r#"{"circle":{"lon":13.4,"lat":52.5,"radius_m":100}}"#);
    assert!(cells.cells().len() <= 4, "{cells:?}");
    assert!(cells.cells().iter().all(|cell| cell.cell.level() == LEVEL_MAX));
}

#[test]
fn a_city_is_mostly_inside() {
    let cells = cover(r#"{"bbox":[13.0,52.3,13.8,52.7]}"#);
    let area = |cell: &CoverCell| {
        let bounds = cell.cell.bounds();
        (bounds.east - bounds.west) * (bounds.north - bounds.south)
    };
    let inside: f64 = cells.cells().iter().filter(|cell| cell.inside).map(area).sum();
    assert!(inside > 0.5 * 0.8 * 0.4, "{inside}");
}

#[test]
fn a_gap_narrower_than_rounding_is_still_a_gap() {
    let json = r#"{"bbox":[0,0,-1e-17,28]}"#;
    let shape = Shape::parse(&serde_json::from_str(json).unwrap(), ShapeLimits::default()).unwrap();
    let place = Position { lat: 16.0, lon: -6e-18 };
    assert!(!shape.contains(place));
    let leaf = CellId::at(place).unwrap();
    assert!(
        cover(json).cells().iter().all(|cell| !cell.inside || leaf.ancestor(cell.cell.level()) != cell.cell)
    );
}

fn shape_and_places() -> impl Strategy<Value = (Shape, Vec<Position>)> {
    arbitrary::shape().prop_flat_map(|shape| {
        let places = proptest::collection::vec(arbitrary::places_around(&shape), 64);
        (Just(shape), places)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_cover_agrees_with_its_shape((shape, places) in shape_and_places()) {
        let cover = shape.cover();
        prop_assert!(!cover.cells().is_empty() && cover.cells().len() <= CELLS_MAX);
        for place in places {
            let leaf = CellId::at(place).unwrap();
            let holding: Vec<&CoverCell> =
                cover.cells().iter().filter(|cell| leaf.ancestor(cell.cell.level()) == cell.cell).collect();
            prop_assert!(holding.len() <= 1, "{:?} is in {:?}", place, holding);
            match holding.first() {
                None => prop_assert!(!shape.contains(place), "{:?} is in no cell", place),
                Some(cell) if cell.inside => {
                    prop_assert!(shape.contains(place), "{:?} in {:?} is not in the shape", place, cell);
                }
                Some(_) => {}
            }
        }
    }
}
