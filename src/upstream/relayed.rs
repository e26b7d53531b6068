//! Regions of a gateway that only relays. Nobody keeps the state of its fleets, so the state under its
//! regions is what passes by on all channels of the legacy ingestion, from the first region on.
//!
//! Invariant: without a region there is neither a connection nor state.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::cells::{CONFIRM_TIMEOUT, select};
use crate::{
    clock::epoch_ms,
    dispatch::regions::{CellSource, Located, Regions},
    feed::{AllFleets, Channels, Passing},
    fleet::{FleetBatch, Record},
    observe::Metrics,
    region::CellId,
    store::{MemoryStore, Redis, TrackRule},
};

/// What passes by, as cells.
#[derive(Debug, Clone)]
pub(super) struct RelayedCells {
    /// How many cells are watched.
    watched: Arc<watch::Sender<usize>>,
    /// The newest states while nothing is missed.
    states: Arc<watch::Sender<Option<MemoryStore>>>,
}

impl RelayedCells {
    pub(super) fn new() -> Self {
        Self { watched: Arc::new(watch::Sender::new(0)), states: Arc::new(watch::Sender::new(None)) }
    }

    /// Listens while cells are watched, until `stop`.
    pub(super) async fn run(
        self,
        redis: Redis,
        channels: Channels,
        regions: Regions,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        let listen_on = async {
            let mut watched = self.watched.subscribe();
            while watched.wait_for(|watched| *watched > 0).await.is_ok() {
                let feed = AllFleets::new(redis.clone(), channels.clone(), &metrics);
                let nobody_watches = watched.wait_for(|watched| *watched == 0);
                tokio::select! {
                    _ = nobody_watches => {}
                    () = self.listen(feed, &regions) => {}
                }
                self.states.send_replace(None);
            }
        };
        stop.run_until_cancelled(listen_on).await;
    }

    async fn listen(&self, mut feed: AllFleets, regions: &Regions) {
        let store = MemoryStore::new(TrackRule { points_max: 0, ..TrackRule::default() });
        let mut was_lost = false;
        loop {
            match feed.next().await {
                Passing::Updates(batches) => take(&store, batches, regions),
                Passing::Lost => {
                    was_lost = true;
                    self.states.send_replace(None);
                }
                Passing::Restored => {
                    self.states.send_replace(Some(store.clone()));
                    if std::mem::take(&mut was_lost) {
                        regions.gap();
                    }
                }
            }
            // A burst is as long as Redis made it; others are served on this thread, too.
            tokio::task::yield_now().await;
        }
    }
}

fn take(store: &MemoryStore, batches: Vec<FleetBatch>, regions: &Regions) {
    let records = batches.into_iter().flat_map(|FleetBatch { fleet, updates, .. }| {
        // What names no asset is relayed, but is no state.
        let named = updates.into_iter().filter(|update| update.asset.is_some());
        named.map(move |update| Record { fleet: fleet.clone(), update, origin: None })
    });
    for batch in store.apply(records.collect(), epoch_ms()).fresh {
        regions.update((batch.fleet.clone(), store.states(&batch)));
    }
}

impl CellSource for RelayedCells {
    fn watch(&self, cells: &[CellId]) {
        self.watched.send_modify(|watched| *watched += cells.len());
    }

    fn unwatch(&self, cells: &[CellId]) {
        self.watched.send_modify(|watched| *watched -= cells.len());
    }

    fn load(&self, cells: Vec<CellId>) -> BoxFuture<'static, Option<Vec<Located>>> {
        let mut states = self.states.subscribe();
        Box::pin(async move {
            let listening = timeout(CONFIRM_TIMEOUT, states.wait_for(Option::is_some)).await.ok()?;
            let store = listening.ok()?.clone()?;
            select(store, cells).await
        })
    }
}
