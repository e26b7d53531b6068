//! One telemetry message of one asset, and a batch of them of one fleet.

use bytes::Bytes;

use super::{AssetId, FleetId};

/// Degrees, WGS 84.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Degrees north, -90 to 90.
    pub lat: f64,
    /// Degrees east, -180 to 180.
    pub lon: f64,
}

impl Position {
    /// Whether this is a place on earth: both finite and in range.
    #[must_use]
    pub fn is_valid(self) -> bool {
        (-90.0..=90.0).contains(&self.lat) && (-180.0..=180.0).contains(&self.lon)
    }
}

/// One message of one asset. `raw` is the source's own text, byte for byte; it is what legacy viewers
/// get as `fleet_update`, and it is shared, never copied, on its way to them.
#[derive(Debug, Clone)]
pub struct Update {
    /// Whose message it is. `None` for legacy channel messages that name no asset: they are relayed,
    /// but are no state.
    pub asset: Option<AssetId>,
    /// Event time in epoch milliseconds.
    pub ts_ms: i64,
    /// Where the asset is, if the message says so.
    pub position: Option<Position>,
    /// The message itself, valid UTF-8.
    pub raw: Bytes,
}

/// Updates of one fleet in the order in which they were applied.
#[derive(Debug, Clone)]
pub struct FleetBatch {
    /// The fleet that all of `updates` belong to.
    pub fleet: FleetId,
    /// Sequence number of the first update; the others follow without a hole. `None` where the
    /// channel has no numbers (the legacy one): then the replica counts for itself.
    pub first_seq: Option<u64>,
    /// The updates.
    pub updates: Vec<Update>,
    /// When this process or the ingesting replica received them, epoch milliseconds.
    pub received_ms: i64,
}

impl FleetBatch {
    /// Whether `next` goes on where this one ends, so that both are one.
    #[must_use]
    pub fn is_continued_by(&self, next: &Self) -> bool {
        match (self.first_seq, next.first_seq) {
            (None, None) => true,
            (Some(first), Some(next)) => first + self.updates.len() as u64 == next,
            _ => false,
        }
    }
}
