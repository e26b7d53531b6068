//! Where regions get the assets of cells from: the store of this process, or Redis and what all replicas
//! publish about the cells that are watched.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashSet};
use futures_util::future::BoxFuture;

use crate::{
    dispatch::regions::{CellSource, Located},
    feed::{Feed, Hold},
    region::CellId,
    store::{MemoryStore, RedisStore, cell_channel},
};

/// How long the channels of cells may take to be subscribed before a load is given up.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(3);

/// Everything is ingested by this process: all cells pass by, and all are in the store.
pub(super) struct MemoryCells(pub(super) MemoryStore);

impl CellSource for MemoryCells {
    fn watch(&self, _: &[CellId]) {}

    fn unwatch(&self, _: &[CellId]) {}

    fn load(&self, cells: Vec<CellId>) -> BoxFuture<'static, Option<Vec<Located>>> {
        Box::pin(select(self.0.clone(), cells))
    }
}

/// The assets of the store that are in the cells.
pub(super) async fn select(store: MemoryStore, cells: Vec<CellId>) -> Option<Vec<Located>> {
    let cells: HashSet<CellId> = HashSet::from_iter(cells);
    // Some 10 ms for 50,000 assets: not on a thread that serves connections.
    let select = move || {
        store.select(|asset| {
            let cell = asset.position.and_then(CellId::at);
            cell.is_some_and(|cell| cells.contains(&cell.between_replicas()))
        })
    };
    tokio::task::spawn_blocking(select).await.ok()
}

/// Replicas publish what they ingest on the channels of cells; this one listens to those it needs.
pub(super) struct RedisCells {
    pub(super) feed: Feed,
    pub(super) store: RedisStore,
    pub(super) prefix: String,
    pub(super) holds: Mutex<HashMap<CellId, Arc<Hold>>>,
}

impl RedisCells {
    fn holds(&self) -> MutexGuard<'_, HashMap<CellId, Arc<Hold>>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CellSource for RedisCells {
    fn watch(&self, cells: &[CellId]) {
        let hold =
            |cell: &CellId| Some((*cell, Arc::new(self.feed.hold(cell_channel(&self.prefix, *cell))?)));
        let begun: Vec<_> = cells.iter().filter_map(hold).collect();
        self.holds().extend(begun);
    }

    fn unwatch(&self, cells: &[CellId]) {
        let ended: Vec<_> = cells.iter().map(|cell| self.holds().remove(cell)).collect();
        drop(ended);
    }

    fn load(&self, cells: Vec<CellId>) -> BoxFuture<'static, Option<Vec<Located>>> {
        let holds: Vec<_> = {
            let holds = self.holds();
            cells.iter().filter_map(|cell| holds.get(cell).cloned()).collect()
        };
        let store = self.store.clone();
        Box::pin(async move {
            let deadline = Instant::now() + CONFIRM_TIMEOUT;
            for hold in holds {
                hold.confirmed(deadline.saturating_duration_since(Instant::now())).await.ok()?;
            }
            let found = store.in_cells(&cells).await;
            found.inspect_err(|error| tracing::warn!(%error, "cannot read the assets of cells")).ok()
        })
    }
}
