//! All regions by cell: which regions does a moved asset enter, leave, or move within?
//!
//! Invariant: a region is listed under exactly the cells of its cover, so it is met at most once per
//! position, and the answer to `affected` is the shapes' own (`contains` before and after), never the
//! grid's.

use std::sync::Arc;

use foldhash::HashMap;
use slab::Slab;
use smallvec::SmallVec;

use super::{CellId, Cover, Shape, cells::LEVEL_MAX};
use crate::fleet::Position;

/// A region in a [`RegionIndex`]; small and dense, reused after removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionKey(pub u32);

/// What one update of an asset means to one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It was outside or unknown and is inside.
    Entered,
    /// It was inside and is inside.
    Moved,
    /// It was inside and is not any more.
    Left,
}

/// A region as cells list it.
#[derive(Debug, Clone, Copy)]
struct Listed {
    key: RegionKey,
    inside: bool,
}

/// Shapes of all regions of a replica.
#[derive(Debug, Default)]
pub struct RegionIndex {
    regions: Slab<Arc<Shape>>,
    cells: HashMap<CellId, SmallVec<[Listed; 2]>>,
    /// Listed cells per level: levels without any are not looked up.
    level_counts: [usize; LEVEL_MAX as usize + 1],
}

impl RegionIndex {
    /// Adds a region.
    pub fn insert(&mut self, shape: Arc<Shape>) -> RegionKey {
        #[expect(clippy::cast_possible_truncation, reason = "2^32 regions do not fit in memory")]
        let key = RegionKey(self.regions.vacant_key() as u32);
        self.list(key, shape.cover());
        self.regions.insert(shape);
        key
    }

    /// Gives a region another shape.
    ///
    /// # Panics
    /// If `key` is not of this index.
    pub fn replace(&mut self, key: RegionKey, shape: &Arc<Shape>) {
        let old = std::mem::replace(&mut self.regions[key.0 as usize], Arc::clone(shape));
        self.unlist(key, old.cover());
        self.list(key, shape.cover());
    }

    /// Removes a region.
    ///
    /// # Panics
    /// If `key` is not of this index.
    pub fn remove(&mut self, key: RegionKey) {
        let shape = self.regions.remove(key.0 as usize);
        self.unlist(key, shape.cover());
    }

    /// A region's shape.
    ///
    /// # Panics
    /// If `key` is not of this index.
    #[must_use]
    pub fn shape(&self, key: RegionKey) -> &Arc<Shape> {
        &self.regions[key.0 as usize]
    }

    /// How many regions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether there is no region.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// How many cells are listed: 0 when there is no region.
    #[must_use]
    pub fn cell_count(&self) -> usize {
        self.cells.len()
    }

    /// Replaces `out` with the regions that an asset's update from `old` to `new` concerns.
    pub fn affected(
        &self,
        old: Option<Position>,
        new: Option<Position>,
        out: &mut Vec<(RegionKey, Transition)>,
    ) {
        out.clear();
        let old = old.and_then(|at| Some((at, CellId::at(at)?)));
        let new = new.and_then(|at| Some((at, CellId::at(at)?)));
        match (old, new) {
            (Some((before, old_cell)), Some((after, new_cell))) if old_cell == new_cell => {
                for listed in self.listed_at(new_cell) {
                    let was = self.holds(listed, before);
                    let is = if before == after { was } else { self.holds(listed, after) };
                    out.extend(transition(was, is).map(|transition| (listed.key, transition)));
                }
            }
            (old, new) => {
                let (mut was, mut is) = (self.holding(old), self.holding(new));
                was.sort_unstable();
                is.sort_unstable();
                merge(&was, &is, out);
            }
        }
    }

    fn holding(&self, at: Option<(Position, CellId)>) -> SmallVec<[RegionKey; 32]> {
        let Some((position, cell)) = at else {
            return SmallVec::new();
        };
        self.listed_at(cell).filter(|listed| self.holds(*listed, position)).map(|listed| listed.key).collect()
    }

    fn holds(&self, listed: Listed, position: Position) -> bool {
        listed.inside || self.regions[listed.key.0 as usize].contains(position)
    }

    /// What is listed under a finest cell and all that hold it.
    fn listed_at(&self, cell: CellId) -> impl Iterator<Item = Listed> {
        (0..=LEVEL_MAX)
            .filter(|level| self.level_counts[usize::from(*level)] > 0)
            .filter_map(move |level| self.cells.get(&cell.ancestor(level)))
            .flatten()
            .copied()
    }

    fn list(&mut self, key: RegionKey, cover: &Cover) {
        for covered in cover.cells() {
            let listed = self.cells.entry(covered.cell).or_insert_with(|| {
                self.level_counts[usize::from(covered.cell.level())] += 1;
                SmallVec::new()
            });
            listed.push(Listed { key, inside: covered.inside });
        }
    }

    fn unlist(&mut self, key: RegionKey, cover: &Cover) {
        for covered in cover.cells() {
            let Some(listed) = self.cells.get_mut(&covered.cell) else { continue };
            if let Some(index) = listed.iter().position(|listed| listed.key == key) {
                listed.swap_remove(index);
            }
            if listed.is_empty() {
                self.cells.remove(&covered.cell);
                self.level_counts[usize::from(covered.cell.level())] -= 1;
            }
        }
    }
}

fn transition(was: bool, is: bool) -> Option<Transition> {
    match (was, is) {
        (false, true) => Some(Transition::Entered),
        (true, true) => Some(Transition::Moved),
        (true, false) => Some(Transition::Left),
        (false, false) => None,
    }
}

/// Both lists are sorted.
fn merge(was: &[RegionKey], is: &[RegionKey], out: &mut Vec<(RegionKey, Transition)>) {
    let (mut was, mut is) = (was.iter().copied().peekable(), is.iter().copied().peekable());
    loop {
        let (key, transition) = match (was.peek().copied(), is.peek().copied()) {
            (None, None) => return,
            (Some(old), Some(new)) if old == new => (old, Transition::Moved),
            (Some(old), new) if new.is_none_or(|new| old < new) => (old, Transition::Left),
            (_, Some(new)) => (new, Transition::Entered),
            (Some(old), None) => (old, Transition::Left),
        };
        was.next_if_eq(&key);
        is.next_if_eq(&key);
        out.push((key, transition));
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::region::arbitrary;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(Shape),
        Replace(usize, Shape),
        Remove(usize),
        Ask(Option<Position>, Option<Position>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let at = || option::weighted(0.9, arbitrary::place());
        let nearby = (arbitrary::place(), 0.0..0.01_f64).prop_map(|(at, by)| {
            let moved = Position { lat: (at.lat + by).min(90.0), lon: (at.lon + by).min(180.0) };
            Step::Ask(Some(at), Some(moved))
        });
        prop_oneof![
            3 => arbitrary::shape().prop_map(Step::Insert),
            1 => (0..100_usize, arbitrary::shape()).prop_map(|(at, shape)| Step::Replace(at, shape)),
            1 => (0..100_usize).prop_map(Step::Remove),
            8 => (at(), at()).prop_map(|(old, new)| Step::Ask(old, new)),
            2 => nearby,
        ]
    }

    fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
        let mut index = RegionIndex::default();
        let mut model: Vec<(RegionKey, Shape)> = Vec::new();
        let mut found = Vec::new();
        for step in steps {
            match step {
                Step::Insert(shape) => model.push((index.insert(Arc::new(shape.clone())), shape)),
                Step::Replace(at, shape) if !model.is_empty() => {
                    let at = at % model.len();
                    index.replace(model[at].0, &Arc::new(shape.clone()));
                    model[at].1 = shape;
                }
                Step::Remove(at) if !model.is_empty() => {
                    let (key, _) = model.swap_remove(at % model.len());
                    index.remove(key);
                }
                Step::Ask(old, new) => {
                    index.affected(old, new, &mut found);
                    found.sort_unstable_by_key(|(key, _)| *key);
                    let holds = |shape: &Shape, at: Option<Position>| at.is_some_and(|at| shape.contains(at));
                    let mut expected: Vec<_> = model
                        .iter()
                        .filter_map(|(key, shape)| {
                            Some((*key, transition(holds(shape, old), holds(shape, new))?))
                        })
                        .collect();
                    expected.sort_unstable_by_key(|(key, _)| *key);
                    prop_assert_eq!(&found, &expected, "from {:?} to {:?}", old, new);
                }
                Step::Replace(..) | Step::Remove(_) => {}
            }
        }
        for (key, _) in model {
            index.remove(key);
        }
        prop_assert!(index.is_empty());
        prop_assert_eq!((index.cell_count(), index.level_counts), (0, [0; LEVEL_MAX as usize + 1]));
        Ok(())
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_every_shape_asked_alone(steps in vec(step(), 1..80)) {
            run(steps)?;
        }
    }
}
