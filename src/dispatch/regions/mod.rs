//! Viewers that watch regions of the map: a handle for requests and updates, and the task behind it.
//!
//! Owns when the cells under regions are watched and loaded, and in which order a viewer gets
//! acknowledgement, snapshot and deltas; which asset is in which region is `region`'s.

mod cells;
mod task;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::BoxFuture;
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tokio_util::sync::CancellationToken;

use self::task::{Command, RegionTask};
use super::{Viewer, ViewerId, senders::send_soon};
use crate::{
    fleet::{AssetState, FleetId},
    observe::Metrics,
    region::{CellId, MaySee, RegionName, RegionRequest, ViewerKey},
    tasks::Tasks,
};

/// Requests that may wait; beyond it, whoever asks waits.
const COMMANDS_MAX: usize = 4096;
/// Batches of updates that may wait; beyond it they are dropped, and everything is loaded again.
const UPDATES_MAX: usize = 256;

/// States of some assets of one fleet, each the newest at its time.
pub type Located = (FleetId, Vec<Arc<AssetState>>);

/// Where regions get the assets of cells from. The cells are of one level, that of
/// [`CellId::between_replicas`].
pub trait CellSource: Send + Sync + 'static {
    /// From now on, updates of assets that are in the cells, come into them or leave them are handed to
    /// [`Regions::update`].
    fn watch(&self, cells: &[CellId]);

    /// They need not be handed over any more.
    fn unwatch(&self, cells: &[CellId]);

    /// All assets in cells that are watched. `None`: the source can not say at the moment.
    fn load(&self, cells: Vec<CellId>) -> BoxFuture<'static, Option<Vec<Located>>>;
}

/// A cheap handle on all regions of this replica.
#[derive(Debug, Clone)]
pub struct Regions {
    commands: mpsc::Sender<Command>,
    updates: mpsc::Sender<Located>,
    missed: Arc<Missed>,
    is_watching: Arc<AtomicBool>,
}

/// Updates that the task did not get. However many they are, each is one flag.
#[derive(Debug, Default)]
struct Missed {
    /// They did not reach this replica.
    gap: Notify,
    /// The task was behind.
    behind: Notify,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// A new region: its snapshot follows once it is opened.
    New,
    /// A region was moved: the difference follows.
    Moved,
}

impl Regions {
    /// Starts the task on `tasks`; it ends with `stop`.
    #[must_use]
    pub fn start(
        source: Arc<dyn CellSource>,
        metrics: &Arc<Metrics>,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Self {
        let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
        let (updates, updated) = mpsc::channel(UPDATES_MAX);
        let is_watching = Arc::new(AtomicBool::new(false));
        let missed = Arc::new(Missed::default());
        let task = RegionTask::new(source, metrics.clone(), commands.downgrade(), is_watching.clone());
        tasks.spawn("regions", task.run(commanded, updated, missed.clone(), stop.clone()));
        Self { commands, updates, missed, is_watching }
    }

    /// Whether anybody watches a region. An update applied while this said no is in what
    /// [`CellSource::load`] finds.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.is_watching.load(Ordering::SeqCst)
    }

    /// Hands newest states to whoever watches where they are. Never waits: fleets must not be late because
    /// regions are. What does not fit is found by loading everything again.
    pub fn update(&self, located: Located) {
        if let Err(TrySendError::Full(_)) = self.updates.try_send(located) {
            self.missed.behind.notify_one();
        }
    }

    /// Updates may have been lost without a trace: load everything again, and tell only what differs.
    pub fn audit(&self) {
        self.missed.behind.notify_one();
    }

    /// Updates of any cell may have been missed: reload them and tell the viewers.
    pub fn gap(&self) {
        self.missed.gap.notify_one();
    }

    /// Watches a region, or moves the viewer's region of the same name.
    /// `None`: what is there can not be had now, and a new region is not watched.
    pub async fn watch(&self, viewer: &Viewer, request: RegionRequest) -> Option<Watched> {
        let (reply, watched) = oneshot::channel();
        self.commands.send(Command::Watch { viewer: viewer.clone(), request, reply }).await.ok();
        watched.await.ok()
    }

    /// Lets a region have its snapshot, or the difference: its acknowledgement is on its way.
    pub async fn open(&self, viewer: ViewerId, region: RegionName) {
        self.commands.send(Command::Open { viewer: key(viewer), region }).await.ok();
    }

    /// Ends a region.
    pub async fn unwatch(&self, viewer: ViewerId, region: RegionName) {
        self.commands.send(Command::Unwatch { viewer: key(viewer), region }).await.ok();
    }

    /// The viewer's grants changed. When this returns, nothing more is told of what it may not see any
    /// more, but that it left.
    pub async fn set_grants(&self, viewer: ViewerId, may_see: MaySee) {
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Grants { viewer: key(viewer), may_see, reply }).await.ok();
        done.await.ok();
    }

    /// Ends all regions of a viewer, who may be gone already.
    pub fn forget(&self, viewer: ViewerId) {
        send_soon(&self.commands, Command::Forget { viewer: key(viewer) });
    }
}

fn key(viewer: ViewerId) -> ViewerKey {
    ViewerKey(viewer.0)
}

impl fmt::Debug for dyn CellSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CellSource")
    }
}
