//! Regions of the map: what a viewer watches, which assets are in it, and what changed since the last
//! tick. Pure: no I/O, no clock (time is an argument), no locks (one task owns a [`RegionEngine`]).
//!
//! Invariant: after every emitted delta a viewer's map holds exactly the assets that its shape contains,
//! that it may see and that its filter names, each in the newest state that this replica knows.
//!
//! # Which index, and why
//!
//! Everything is indexed by the cells of one quadtree over plain longitude and latitude (`cells`): a
//! shape becomes a few dozen cells of mixed sizes, each marked "wholly inside" or "ask the shape".
//!
//! - Edges of boxes, polygons and geohash cells are straight lines in longitude and latitude, so a
//!   cell's relation to them is exact, not an approximation on a projected sphere (as it would be with
//!   hexagons of H3 or the curved cells of S2), and geohash cells of even length are cells of this tree.
//! - An R-tree of regions would be searched per position and re-balanced per panned map. Here a
//!   position costs one hash look-up per level in use, and moving a region touches its own cells only.
//! - A position's cells at all levels are prefixes of one Z-order number, so assets of a cell of any
//!   size are one range of one ordered set, and the cells can name channels between replicas.
//!
//! Geometry itself (robust predicates, intersection sweep, haversine, geohash decoding) comes from the
//! `geo` and `geohash` crates.

#[cfg(test)]
mod arbitrary;
mod assets;
mod cells;
mod cover;
pub mod encode;
mod engine;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod index;
mod interest;
mod known;
mod name;
mod polygon;
mod shape;
mod spec;
mod view;

pub use assets::{AssetIndex, AssetKey};
pub use cells::CellId;
pub use cover::{Cover, CoverCell};
pub use engine::{MaySee, RegionDelta, RegionEngine, RegionRequest, RegionSizes, Subscribed, ViewerKey};
pub use index::{RegionIndex, RegionKey, Transition};
pub use name::{InvalidRegionName, RegionName};
pub use shape::{InvalidShape, Shape};
pub use spec::{CircleSpec, Degrees, LonLat, ShapeLimits, ShapeSpec};
pub use view::{Net, RegionView};
