//! The newest state of every asset, and how updates become it. Knows nothing of who is watching.
//!
//! Invariant: both stores keep the same rules (those of `fleet`), so they agree on every sequence of
//! updates; and each change of a fleet has the next number of its counter.

mod connect;
mod memory;
mod redis;
mod track;
mod writer;

use std::{sync::Arc, time::Duration};

pub use connect::{Authorities, InvalidAuthorities, InvalidRedisUrl, Link, Redis};
pub use memory::MemoryStore;
pub use redis::{RedisStore, RedisWriter, cell_channel, legacy_channel, read_cell_message, updates_channel};
pub use track::{TrackPoint, TrackRule};
pub use writer::{MemoryWriter, Step, Writer};

use crate::fleet::{AssetId, AssetState, Epoch, FleetBatch, FleetId};

/// Where the newest state lives. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process, for one replica alone.
    Memory(MemoryStore),
    /// In Redis, shared by all replicas.
    Redis(RedisStore),
}

/// States of a fleet's assets at one moment, in the order of their last change.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The life of the counter that the numbers belong to.
    pub epoch: Epoch,
    /// Number of the fleet's newest change that is in here.
    pub seq: u64,
    /// The assets.
    pub assets: Vec<Arc<AssetState>>,
}

/// What became of updates.
#[derive(Debug, Default)]
pub struct Applied {
    /// The ones that changed something, with their numbers. The Redis store has published them already
    /// and leaves this empty.
    pub fresh: Vec<FleetBatch>,
    /// How many changed something.
    pub fresh_count: u64,
    /// How many were older than their asset's state.
    pub stale_count: u64,
    /// How many had been applied before.
    pub duplicate_count: u64,
}

impl Applied {
    pub(crate) fn add(&mut self, other: Self) {
        self.fresh.extend(other.fresh);
        self.fresh_count += other.fresh_count;
        self.stale_count += other.stale_count;
        self.duplicate_count += other.duplicate_count;
    }
}

/// The store could not answer; it may later.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis refuses, or can not be reached.
    #[error("redis: {0}")]
    Redis(#[from] ::redis::RedisError),
    /// Redis is silent.
    #[error("redis: no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Redis answers what no script of ours answers.
    #[error("redis: {0}")]
    Unexpected(String),
}

impl Store {
    /// A writer of its own, with a connection of its own.
    #[must_use]
    pub fn writer(&self) -> Writer {
        match self {
            Self::Memory(store) => Writer::Memory(MemoryWriter::new(store.clone())),
            Self::Redis(store) => Writer::Redis(Box::new(RedisWriter::new(store.clone()))),
        }
    }

    /// The same store over a connection of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        match self {
            Self::Memory(store) => Self::Memory(store.clone()),
            Self::Redis(store) => Self::Redis(store.apart()),
        }
    }

    /// The newest state of all assets of a fleet; a fleet never heard of has none.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn snapshot(&self, fleet: &FleetId) -> Result<Snapshot, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.snapshot(fleet)),
            Self::Redis(store) => store.snapshot(fleet).await,
        }
    }

    /// The fleet's counter: which life of it, and its number. `None`: the fleet was never heard of.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn head(&self, fleet: &FleetId) -> Result<Option<(Epoch, u64)>, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.head(fleet)),
            Self::Redis(store) => store.head(fleet).await,
        }
    }

    /// The assets that changed after number `seq` of `epoch`. `None` if the counter has begun anew since,
    /// or has never been that far: then only a snapshot helps.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn changed_since(
        &self,
        fleet: &FleetId,
        epoch: Epoch,
        seq: u64,
    ) -> Result<Option<Snapshot>, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.changed_since(fleet, epoch, seq)),
            Self::Redis(store) => store.changed_since(fleet, epoch, seq).await,
        }
    }

    /// All fleets with how many assets each has, by name.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn fleets(&self) -> Result<Vec<(FleetId, usize)>, StoreError> {
        let mut fleets = match self {
            Self::Memory(store) => store.fleets(),
            Self::Redis(store) => store.fleets().await?,
        };
        fleets.sort_unstable();
        Ok(fleets)
    }

    /// The fleets that have an asset of this id.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn fleets_of(&self, asset: &AssetId) -> Result<Vec<FleetId>, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.fleets_of(asset)),
            Self::Redis(store) => store.fleets_of(asset).await,
        }
    }

    /// The recent track of an asset from `from_ts_ms` on, newest last: at most the `limit` newest points.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn history(
        &self,
        fleet: &FleetId,
        asset: &AssetId,
        from_ts_ms: i64,
        limit: usize,
    ) -> Result<Vec<TrackPoint>, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.history(fleet, asset, from_ts_ms, limit)),
            Self::Redis(store) => store.history(fleet, asset, from_ts_ms, limit).await,
        }
    }
}
