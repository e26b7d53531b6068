//! Which cells of one fixed level this replica's regions need: the cells to listen to.
//!
//! Invariant: a cell is watched while at least one region's cover touches it. `drain` reports net changes
//! only, so churn between two calls costs nothing outside. At most `4^level` cells, whatever the regions.

use foldhash::{HashMap, HashSet};

use super::{CellId, Cover};

/// The level of cells between replicas: 5.6° by 2.8°, about 620 km by 310 km at the equator, 4,096 of them.
pub(super) const INTEREST_LEVEL: u8 = 6;

/// Counted cells.
#[derive(Debug, Default)]
pub(super) struct Interest {
    /// Cells of covers, cut to the level or coarser, and how many covers have them.
    covered: HashMap<CellId, u32>,
    /// Cells of the level, and how many of `covered` hold them.
    watched: HashMap<CellId, u32>,
    changed: HashSet<CellId>,
    reported: HashSet<CellId>,
}

impl Interest {
    pub(super) fn add(&mut self, cover: &Cover) {
        for covered in cover.cells() {
            let cell = covered.cell.ancestor(INTEREST_LEVEL);
            let count = self.covered.entry(cell).or_default();
            *count += 1;
            if *count == 1 {
                for cell in cell.descendants(INTEREST_LEVEL) {
                    *self.watched.entry(cell).or_default() += 1;
                    self.changed.insert(cell);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, cover: &Cover) {
        for covered in cover.cells() {
            let cell = covered.cell.ancestor(INTEREST_LEVEL);
            if !released(&mut self.covered, cell) {
                continue;
            }
            for cell in cell.descendants(INTEREST_LEVEL) {
                released(&mut self.watched, cell);
                self.changed.insert(cell);
            }
        }
    }

    /// Tells each cell whose being watched has changed since the last call.
    pub(super) fn drain(&mut self, mut tell: impl FnMut(CellId, bool)) {
        for cell in self.changed.drain() {
            let watched = self.watched.contains_key(&cell);
            let was = if watched { !self.reported.insert(cell) } else { self.reported.remove(&cell) };
            if was != watched {
                tell(cell, watched);
            }
        }
    }
}

/// Counts down; whether that was the last.
fn released(counts: &mut HashMap<CellId, u32>, cell: CellId) -> bool {
    let Some(count) = counts.get_mut(&cell) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        counts.remove(&cell);
    }
    last
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::region::{Shape, arbitrary};

    fn drained(interest: &mut Interest) -> (Vec<CellId>, Vec<CellId>) {
        let (mut on, mut off) = (Vec::new(), Vec::new());
        interest.drain(|cell, watched| if watched { on.push(cell) } else { off.push(cell) });
        (on, off)
    }

    #[test]
    fn churn_between_two_drains_is_silent() {
        let spec = serde_json::from_str(r#"{"bbox":[13,52,14,53]}"#).unwrap();
        let shape = Shape::parse(&spec, Default::default()).unwrap();
        let cover = shape.cover();
        let mut interest = Interest::default();
        interest.add(cover);
        interest.remove(cover);
        assert_eq!(drained(&mut interest), (vec![], vec![]));
        interest.add(cover);
        interest.add(cover);
        let (on, off) = drained(&mut interest);
        assert!(!on.is_empty() && off.is_empty());
        interest.remove(cover);
        assert_eq!(drained(&mut interest), (vec![], vec![]));
        interest.remove(cover);
        assert_eq!(drained(&mut interest).1.len(), on.len());
        assert!(interest.covered.is_empty() && interest.watched.is_empty() && interest.reported.is_empty());
    }

    proptest! {
        #[test]
        fn a_place_in_any_region_is_in_a_watched_cell(
            shapes in vec(arbitrary::shape(), 1..6), kept in 0..6_usize, places in vec(arbitrary::place(), 40),
        ) {
            let covers: Vec<&Cover> = shapes.iter().map(Shape::cover).collect();
            let mut interest = Interest::default();
            covers.iter().for_each(|cover| interest.add(cover));
            let kept = kept.min(shapes.len());
            covers[kept..].iter().for_each(|cover| interest.remove(cover));
            let (on, off) = drained(&mut interest);
            prop_assert!(off.is_empty());
            for place in places {
                let cell = CellId::at(place).unwrap().ancestor(INTEREST_LEVEL);
                let needed = shapes[..kept].iter().any(|shape| shape.contains(place));
                prop_assert!(!needed || on.contains(&cell));
                let covered = covers[..kept].iter().flat_map(|cover| cover.cells()).any(|covered| {
                    covered.cell.ancestor(INTEREST_LEVEL) == cell || cell.ancestor(covered.cell.level()) == covered.cell
                });
                prop_assert_eq!(covered, on.contains(&cell));
            }
        }
    }
}
