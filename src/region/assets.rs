//! Where all assets are, by cell.
//!
//! Invariant: an asset with a place is in the ordered set exactly once, under the finest cell of that
//! place; so the assets of any cell, whatever its size, are one range.

use std::collections::BTreeSet;

use super::{CellId, Shape};
use crate::fleet::Position;

/// An asset in an [`AssetIndex`]; small and dense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetKey(pub u32);

/// Positions of assets.
#[derive(Debug, Default)]
pub struct AssetIndex {
    /// By key. As long as the greatest key in use, which the owner of the keys keeps dense.
    places: Vec<Option<(Position, CellId)>>,
    /// Finest cell and key.
    by_cell: BTreeSet<(CellId, AssetKey)>,
}

impl AssetIndex {
    /// Puts an asset at a place, or nowhere; returns where it was. A position off the earth is nowhere.
    pub fn place(&mut self, key: AssetKey, position: Option<Position>) -> Option<Position> {
        let new = position.and_then(|position| Some((position, CellId::at(position)?)));
        let index = key.0 as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, None);
        }
        let old = std::mem::replace(&mut self.places[index], new);
        let (old_cell, new_cell) = (old.map(|(_, cell)| cell), new.map(|(_, cell)| cell));
        if old_cell != new_cell {
            if let Some(cell) = old_cell {
                self.by_cell.remove(&(cell, key));
            }
            if let Some(cell) = new_cell {
                self.by_cell.insert((cell, key));
            }
        }
        old.map(|(position, _)| position)
    }

    /// Where an asset is.
    #[must_use]
    pub fn position(&self, key: AssetKey) -> Option<Position> {
        self.places.get(key.0 as usize).copied().flatten().map(|(position, _)| position)
    }

    /// How many assets have a place.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_cell.len()
    }

    /// Whether no asset has a place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_cell.is_empty()
    }

    /// The assets in a cell.
    pub fn in_cell(&self, cell: CellId) -> impl Iterator<Item = AssetKey> {
        let (first, last) = cell.leaves();
        self.by_cell.range((first, AssetKey(0))..=(last, AssetKey(u32::MAX))).map(|(_, key)| *key)
    }

    /// The assets in a shape, each once.
    pub fn within(&self, shape: &Shape) -> impl Iterator<Item = AssetKey> {
        shape.cover().cells().iter().flat_map(move |covered| {
            self.in_cell(covered.cell)
                .filter(move |key| covered.inside || self.position(*key).is_some_and(|at| shape.contains(at)))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::region::arbitrary;

    proptest! {
        #[test]
        fn a_query_finds_what_every_single_test_finds(
            shape in arbitrary::shape(),
            moves in vec((0..20_u32, proptest::option::weighted(0.9, arbitrary::place())), 0..60),
        ) {
            let mut index = AssetIndex::default();
            let mut model = std::collections::BTreeMap::new();
            for (key, position) in moves {
                let old = index.place(AssetKey(key), position);
                prop_assert_eq!(old, model.remove(&key));
                if let Some(position) = position {
                    model.insert(key, position);
                }
            }
            prop_assert_eq!(index.len(), model.len());
            let mut found: Vec<u32> = index.within(&shape).map(|key| key.0).collect();
            found.sort_unstable();
            let expected: Vec<u32> =
                model.iter().filter(|(_, at)| shape.contains(**at)).map(|(key, _)| *key).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_asset_off_the_earth_is_nowhere() {
        let mut index = AssetIndex::default();
        index.place(AssetKey(3), Some(Position { lat: 1.0, lon: 2.0 }));
        index.place(AssetKey(3), Some(Position { lat: f64::NAN, lon: 2.0 }));
        assert!(index.is_empty());
        assert_eq!(index.position(AssetKey(3)), None);
    }
}
