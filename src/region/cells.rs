//! The grid: a quadtree of cells over plain longitude and latitude.
//!
//! Level 0 is the whole world, each level halves both axes, level [`LEVEL_MAX`] is about 1.2 km by
//! 0.6 km at the equator. Two levels are five bits of a [geohash](https://en.wikipedia.org/wiki/Geohash)
//! without its base 32, so a cell's number is a prefix of the numbers of all cells within it.
//!
//! Invariant: every position is in exactly one cell of each level. Cells are half-open (west and south
//! edges belong to them); the antimeridian counts as -180 and a pole as longitude 0, because they are one
//! place however they were written. All cell edges are exact in `f64`.

use std::fmt;

use super::interest::INTEREST_LEVEL;
use crate::fleet::Position;

/// The finest level. 15 keeps a cell in 32 bits.
pub(super) const LEVEL_MAX: u8 = 15;

/// One cell: a one bit, then two bits (north half, east half) per level.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellId(u32);

/// A cell's edges in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CellBounds {
    pub(super) west: f64,
    pub(super) south: f64,
    pub(super) east: f64,
    pub(super) north: f64,
}

impl CellId {
    /// The whole world.
    pub const WORLD: Self = Self(1);

    /// The finest cell that holds `position`; `None` if it is no place on earth.
    #[must_use]
    pub fn at(position: Position) -> Option<Self> {
        if !position.is_valid() {
            return None;
        }
        let (lat, mut lon) = (position.lat, position.lon);
        if lon >= 180.0 {
            lon = -180.0;
        }
        if lat.abs() >= 90.0 {
            lon = 0.0;
        }
        Some(Self(1 << (2 * LEVEL_MAX) | interleave(step(lon, 360.0), step(lat, 180.0))))
    }

    /// 0 for the world to [`LEVEL_MAX`].
    #[must_use]
    pub fn level(self) -> u8 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 31 leading bits, halved")]
        let level = (self.0.ilog2() / 2) as u8;
        level
    }

    /// The cell of `level` that holds this one; the cell itself if its level is `level` or coarser.
    #[must_use]
    pub fn ancestor(self, level: u8) -> Self {
        Self(self.0 >> (2 * self.level().saturating_sub(level)))
    }

    /// The four quarters: south-west, south-east, north-west, north-east.
    #[must_use]
    pub(super) fn children(self) -> [Self; 4] {
        [0, 1, 2, 3].map(|quarter| Self(self.0 << 2 | quarter))
    }

    /// The cell between replicas that holds this one: what is watched and loaded as one.
    #[must_use]
    pub fn between_replicas(self) -> Self {
        self.ancestor(INTEREST_LEVEL)
    }

    /// A number that no other cell has; those of one level are consecutive along the Z-order curve.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// First and last finest cell within this one; all of them are one range.
    #[must_use]
    pub(super) fn leaves(self) -> (Self, Self) {
        let shift = 2 * (LEVEL_MAX - self.level());
        (Self(self.0 << shift), Self((self.0 << shift) | ((1 << shift) - 1)))
    }

    /// All cells of `level` within this one; the cell itself if it is of that level or finer.
    pub(super) fn descendants(self, level: u8) -> impl Iterator<Item = Self> {
        let shift = 2 * level.saturating_sub(self.level());
        let first = self.0 << shift;
        (first..first + (1 << shift)).map(Self)
    }

    /// Column from the west and row from the south within the level.
    #[must_use]
    pub fn column_row(self) -> (u32, u32) {
        let code = self.0 ^ (1 << (2 * self.level()));
        (squash(code), squash(code >> 1))
    }

    pub(super) fn bounds(self) -> CellBounds {
        let (column, row) = self.column_row();
        let cells = f64::from(1_u32 << self.level());
        let (width, height) = (360.0 / cells, 180.0 / cells);
        let (west, south) = (f64::from(column) * width - 180.0, f64::from(row) * height - 90.0);
        CellBounds { west, south, east: west + width, north: south + height }
    }
}

impl fmt::Display for CellId {
    /// `level/column/row`, rows counted from the south.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (column, row) = self.column_row();
        write!(f, "{}/{column}/{row}", self.level())
    }
}

impl fmt::Debug for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CellId({self})")
    }
}

/// Which of the finest columns (or rows) `degrees` is in; the axis spans `width` degrees around zero.
fn step(degrees: f64, width: f64) -> u32 {
    let cells = f64::from(1_u32 << LEVEL_MAX);
    let edge = |step: f64| step * (width / cells) - width / 2.0;
    let mut step = ((degrees + width / 2.0) / (width / cells)).floor().clamp(0.0, cells - 1.0);
    // The sum above rounds; the edges do not. -1e-17 must not land in the cell that starts at 0.
    if degrees < edge(step) {
        step -= 1.0;
    } else if degrees >= edge(step + 1.0) && step < cells - 1.0 {
        step += 1.0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^15 - 1")]
    let step = step as u32;
    step
}

/// Bits of `x` on even places, of `y` on odd ones; both have at most 16 bits.
fn interleave(x: u32, y: u32) -> u32 {
    spread(x) | spread(y) << 1
}

fn spread(bits: u32) -> u32 {
    let bits = (bits | bits << 8) & 0x00ff_00ff;
    let bits = (bits | bits << 4) & 0x0f0f_0f0f;
    let bits = (bits | bits << 2) & 0x3333_3333;
    (bits | bits << 1) & 0x5555_5555
}

fn squash(bits: u32) -> u32 {
    let bits = bits & 0x5555_5555;
    let bits = (bits | bits >> 1) & 0x3333_3333;
    let bits = (bits | bits >> 2) & 0x0f0f_0f0f;
    let bits = (bits | bits >> 4) & 0x00ff_00ff;
    (bits | bits >> 8) & 0x0000_ffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell(lat: f64, lon: f64) -> CellId {
        CellId::at(Position { lat, lon }).unwrap()
    }

    #[test]
    fn the_antimeridian_and_the_poles_are_one_place() {
        assert_eq!(cell(10.0, 180.0), cell(10.0, -180.0));
        assert_eq!(cell(90.0, 17.0), cell(90.0, -160.0));
        assert_eq!(cell(-90.0, 17.0), cell(-90.0, 180.0));
        assert_ne!(cell(90.0, 0.0), cell(-90.0, 0.0));
    }

    #[test]
    fn places_off_the_earth_have_no_cell() {
        for (lat, lon) in [(91.0, 0.0), (0.0, 180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(CellId::at(Position { lat, lon }), None, "{lat} {lon}");
        }
    }

    #[test]
    fn a_cell_edge_belongs_to_the_cell_east_and_north_of_it() {
        assert_ne!(cell(0.0, 0.0), cell(0.0, -1e-17));
        assert_ne!(cell(0.0, 0.0), cell(-1e-17, 0.0));
        assert_eq!(cell(0.0, 0.0).bounds().west, 0.0);
        assert_eq!(cell(0.0, -1e-17).bounds().east, 0.0);
    }

    #[test]
    fn cells_are_named_by_level_column_and_row() {
        assert_eq!(CellId::WORLD.to_string(), "0/0/0");
        assert_eq!(cell(52.5, 13.4).ancestor(1).to_string(), "1/1/1");
        assert_eq!(cell(-33.9, -70.7).ancestor(1).to_string(), "1/0/0");
        assert_eq!(cell(52.5, 13.4).to_string(), "15/17603/25941");
    }

    proptest! {
        #[test]
        fn a_position_is_within_its_cell_at_every_level(lat in -90.0..90.0_f64, lon in -180.0..180.0_f64) {
            let leaf = cell(lat, lon);
            for level in 0..=LEVEL_MAX {
                let cell = leaf.ancestor(level);
                let bounds = cell.bounds();
                prop_assert_eq!(cell.level(), level);
                prop_assert!((bounds.west..bounds.east).contains(&lon), "{:?} {}", bounds, lon);
                prop_assert!((bounds.south..bounds.north).contains(&lat), "{:?} {}", bounds, lat);
                let (first, last) = cell.leaves();
                prop_assert!((first..=last).contains(&leaf));
                prop_assert!(level == LEVEL_MAX || cell.children().contains(&leaf.ancestor(level + 1)));
            }
        }
    }
}
