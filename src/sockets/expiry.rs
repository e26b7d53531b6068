//! When viewers' grants end: one table and one task for all of them.
//!
//! Invariants: a viewer whose token has ended is closed within [`PACE`], by its transport, so that a stock
//! client comes back with a new one; an entry lives as long as its viewer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
    time::Duration,
};

use foldhash::HashMap;
use tokio_util::sync::CancellationToken;

use super::{Connected, Hub};
use crate::{
    clock::epoch_ms,
    dispatch::ViewerId,
    protocol::AuthExpiring,
    transport::{CloseReason, event_frame},
};

/// How often the table is looked at. By the clock on the wall, which may be set while the process runs.
const PACE: Duration = Duration::from_millis(250);
/// A viewer is warned a tenth of its token's rest ahead, and no longer than this.
const WARNING_MS_MAX: i64 = 60_000;

/// Viewers whose grants end, by when something is due.
#[derive(Debug, Default)]
pub struct Expiries(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    due: BTreeMap<(i64, ViewerId), Weak<Connected>>,
    of: HashMap<ViewerId, i64>,
}

impl Table {
    fn put(&mut self, viewer: ViewerId, due_ms: i64, connected: Weak<Connected>) {
        self.remove(viewer);
        self.of.insert(viewer, due_ms);
        self.due.insert((due_ms, viewer), connected);
    }

    fn remove(&mut self, viewer: ViewerId) {
        if let Some(due_ms) = self.of.remove(&viewer) {
            self.due.remove(&(due_ms, viewer));
        }
    }
}

impl Expiries {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warns before the viewer's present grants end, and closes it when they do.
    pub(super) fn note(&self, connected: &Arc<Connected>) {
        let viewer = connected.viewer.id;
        let Some(expires_ms) = connected.grants().expires_ms else { return self.forget(viewer) };
        let now_ms = epoch_ms();
        let warning_ms = (expires_ms.saturating_sub(now_ms) / 10).min(WARNING_MS_MAX);
        self.table().put(viewer, expires_ms - warning_ms, Arc::downgrade(connected));
    }

    /// The viewer is gone.
    pub(super) fn forget(&self, viewer: ViewerId) {
        self.table().remove(viewer);
    }

    fn take_due(&self, now_ms: i64) -> Vec<Weak<Connected>> {
        let mut table = self.table();
        let mut due = Vec::new();
        while let Some(entry) = table.due.first_entry()
            && entry.key().0 <= now_ms
        {
            let ((_, viewer), connected) = entry.remove_entry();
            table.of.remove(&viewer);
            due.push(connected);
        }
        due
    }
}

/// Warns and closes until `stop`.
pub async fn watch(hub: Arc<Hub>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now_ms = epoch_ms();
        for connected in hub.expiries.take_due(now_ms) {
            if let Some(connected) = connected.upgrade() {
                hub.expiries.act(&connected, now_ms);
            }
        }
    }
}

impl Expiries {
    fn act(&self, connected: &Arc<Connected>, now_ms: i64) {
        let Some(expires_ms) = connected.grants().expires_ms else { return };
        let session = &connected.viewer.session;
        if expires_ms <= now_ms {
            session.close(CloseReason::Expired);
            return;
        }
        if connected.is_modern.load(Ordering::Relaxed) {
            let notice = serde_json::to_vec(&AuthExpiring { in_ms: expires_ms - now_ms });
            // A viewer that reads nothing will not refresh anything either.
            session.send(&event_frame("auth_expiring", &notice.unwrap_or_default()));
        }
        self.table().put(connected.viewer.id, expires_ms, Arc::downgrade(connected));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_has_one_entry_and_takes_it_along() {
        let (expiries, weak) = (Expiries::default(), Weak::new);
        let viewer = ViewerId::for_tests;
        expiries.table().put(viewer(1), 100, weak());
        expiries.table().put(viewer(1), 50, weak());
        expiries.table().put(viewer(2), 50, weak());
        assert_eq!(expiries.take_due(49).len(), 0);
        expiries.forget(viewer(2));
        assert_eq!(expiries.take_due(1000).len(), 1);
        expiries.table().put(viewer(3), i64::MAX, weak());
        expiries.forget(viewer(3));
        expiries.forget(viewer(3));
        let table = expiries.table();
        assert!(table.due.is_empty() && table.of.is_empty());
    }
}
