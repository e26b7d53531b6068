//! From updates to the viewers that watch them.
//!
//! Owns who watches which fleet on this replica, the frames that they share, and what a viewer gets that
//! did not keep up. A fleet belongs to one shard task by hash; only that task touches its members, so a
//! fan-out holds no lock, and joins and leaves are handled between its chunks. Knows nothing of sources,
//! auth or HTTP.

mod audience;
mod encode;
mod fan_out;
mod fleet;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod member;
mod membership;
pub mod regions;
mod senders;
mod serve;
mod shard;
mod since_asked;
mod snapshot;

#[cfg(test)]
mod interleaving_tests;
#[cfg(test)]
mod shard_tests;
#[cfg(test)]
mod test_world;

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub use audience::{Audience, Identity, Present};
pub use encode::Payload;
pub use member::Mode;
pub use membership::Membership;

use crate::{
    fleet::{Epoch, FleetBatch, FleetId},
    observe::Metrics,
    store::Snapshot,
    tasks::Tasks,
    transport::Session,
};
use shard::{Common, Control, Shard};

/// Batches that may wait for a shard; beyond it, whoever delivers waits.
const BATCHES_MAX: usize = 1024;
/// Joins and leaves that may wait for a shard.
const CONTROLS_MAX: usize = 4096;

/// Fleets that are read from the store at the same time: a storm of joins over a thousand fleets must not
/// be a storm of reads.
const LOADS_MAX: usize = 16;

/// A viewer's number in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerId(u64);

#[cfg(test)]
impl ViewerId {
    pub(crate) fn for_tests(number: u64) -> Self {
        Self(number)
    }
}

/// One connected dashboard, as dispatch sees it. A plain value: a delivery must not look anywhere for its session.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// Its number, unique in this process.
    pub id: ViewerId,
    /// Its connection.
    pub session: Arc<Session>,
}

impl Viewer {
    /// A viewer over `session`.
    #[must_use]
    pub fn new(session: Arc<Session>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: ViewerId(NEXT.fetch_add(1, Ordering::Relaxed)), session }
    }
}

/// Where a shard asks for the state of a fleet that it does not have.
pub type Loader =
    Arc<dyn Fn(FleetId) -> futures_util::future::BoxFuture<'static, Option<Snapshot>> + Send + Sync>;

/// How to dispatch.
#[derive(Debug, Clone)]
pub struct DispatchOptions {
    /// How many shard tasks.
    pub shards: usize,
    /// What `fleet_update` carries.
    pub payload: Payload,
    /// No frame of conflated updates grows beyond it, so that a viewer's queue has room for one.
    pub frame_bytes_max: usize,
    /// There is no store: what passes by is all the state there is.
    pub relay_only: bool,
}

/// A cheap handle on all shards.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    shards: Arc<[ShardHandle]>,
    hasher: foldhash::fast::FixedState,
}

#[derive(Debug)]
struct ShardHandle {
    batches: mpsc::Sender<shard::Data>,
    controls: mpsc::Sender<Control>,
}

impl Dispatcher {
    /// Starts the shards on `tasks`; they end with `stop`.
    #[must_use]
    pub fn start(
        options: &DispatchOptions,
        loader: &Loader,
        metrics: &Arc<Metrics>,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Self {
        let common = Common {
            options: Arc::new(options.clone()),
            loader: loader.clone(),
            loads: Arc::new(Semaphore::new(LOADS_MAX)),
            metrics: metrics.clone(),
        };
        let shards = (0..options.shards.max(1)).map(|_| {
            let (batches, data) = mpsc::channel(BATCHES_MAX);
            let (controls, control) = mpsc::channel(CONTROLS_MAX);
            let shard = Shard::new(common.clone(), controls.downgrade());
            tasks.spawn("shard", shard.run(data, control, stop.clone()));
            ShardHandle { batches, controls }
        });
        Self { shards: shards.collect(), hasher: foldhash::fast::FixedState::default() }
    }

    fn shard(&self, fleet: &FleetId) -> &ShardHandle {
        let hash = self.hasher.hash_one(fleet);
        let index = usize::try_from(hash >> 32).unwrap_or_default() % self.shards.len();
        &self.shards[index]
    }

    /// Hands updates to whoever watches. Waits while the fleet's shard is behind. `epoch`: which life of
    /// the counter the batch's numbers belong to, if it has numbers.
    pub async fn dispatch(&self, batch: FleetBatch, epoch: Option<Epoch>) {
        // A closed channel means shutdown: there is nobody left to deliver to.
        self.shard(&batch.fleet).batches.send(shard::Data::Batch(batch, epoch)).await.ok();
    }

    /// Updates of every fleet may have been missed.
    pub async fn gap_everywhere(&self) {
        for shard in &*self.shards {
            shard.batches.send(shard::Data::GapEverywhere).await.ok();
        }
    }

    /// Updates of `fleet` may have been missed: reload it and tell its viewers.
    pub async fn gap(&self, fleet: FleetId) {
        self.shard(&fleet).batches.send(shard::Data::Gap(fleet)).await.ok();
    }

    /// The fleets that are watched.
    pub async fn fleets(&self) -> Vec<FleetId> {
        let mut fleets = Vec::new();
        for shard in &*self.shards {
            let (reply, listed) = tokio::sync::oneshot::channel();
            shard.controls.send(Control::List { reply }).await.ok();
            fleets.extend(listed.await.unwrap_or_default());
        }
        fleets
    }

    /// The store had this number of `fleet` some time ago: what has not arrived by now was lost on its way.
    pub async fn expect(&self, fleet: FleetId, epoch: Epoch, seq: u64) {
        self.shard(&fleet).batches.send(shard::Data::Expect(fleet, epoch, seq)).await.ok();
    }

    /// Waits until the fleet's shard has done what it was told before.
    async fn settled(&self, fleet: &FleetId) {
        let (reply, done) = tokio::sync::oneshot::channel();
        self.control(fleet, Control::Settle { reply }).await;
        done.await.ok();
    }

    /// Tells the fleet's shard something; waits while it is behind.
    async fn control(&self, fleet: &FleetId, control: Control) {
        // A closed channel means shutdown.
        self.shard(fleet).controls.send(control).await.ok();
    }

    /// The same where nobody can wait.
    fn control_soon(&self, fleet: &FleetId, control: Control) {
        senders::send_soon(&self.shard(fleet).controls, control);
    }
}

/// What a join found.
#[derive(Debug, Default, Clone)]
pub struct Joined {
    /// The cursor that the viewer is complete up to.
    pub cursor: Option<String>,
    /// Whether an asked-for resume was possible.
    pub resumed: bool,
}
