//! The domain, pure: who assets and fleets are, what an update says, and how updates become the
//! newest state. Owns no I/O and knows no other module of the crate.

mod channel;
pub mod encode;
mod fields;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod id;
mod merge;
mod parse;
mod record;
mod state;
mod update;

pub use channel::{BadMessage, ChannelMessage, Epoch};
pub use fields::{FieldMap, InvalidFieldMap};
pub use id::{AssetId, FleetId, InvalidId};
pub use record::{Origin, Record, Unusable};
pub use state::{Applied, AssetState, FleetState, Unchanged};
pub use update::{FleetBatch, Position, Update};
