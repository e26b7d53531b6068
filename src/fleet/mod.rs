//! The domain, pure: who assets and fleets are, what an update says, and how updates become the
//! newest state. Owns no I/O and knows no other module of the crate.

pub mod encode;
mod id;
mod state;
mod update;

pub use id::{AssetId, FleetId, InvalidId};
pub use state::{Applied, AssetState, FleetState};
pub use update::{FleetBatch, Position, Update};
