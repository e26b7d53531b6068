//! The rooms of this replica: which viewer is in which room, by the names that the cluster knows.
//!
//! Owns membership by room name for everything that is not the update stream: peers' broadcasts, cluster
//! requests, gauges. Invariant: a room exists while it has members, and a viewer's entry while it is
//! connected; both gauges return to zero with the last viewer.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::{HashMap, HashSet};

use super::{Dispatcher, Viewer, ViewerId};
use crate::{feed::Watch, fleet::FleetId, observe::Metrics};

#[derive(Debug, Default)]
struct Tables {
    viewers: HashMap<ViewerId, Entry>,
    rooms: HashMap<Arc<str>, HashSet<ViewerId>>,
}

#[derive(Debug)]
struct Entry {
    viewer: Arc<Viewer>,
    rooms: Vec<Arc<str>>,
}

/// All rooms with local members.
#[derive(Debug)]
pub struct Audience {
    tables: RwLock<Tables>,
    metrics: Arc<Metrics>,
}

impl Audience {
    /// No rooms yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { tables: RwLock::default(), metrics }
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A viewer is connected.
    pub fn enter(&self, viewer: Arc<Viewer>) {
        let mut tables = self.write();
        tables.viewers.insert(viewer.id, Entry { viewer, rooms: Vec::new() });
        self.note(&tables);
    }

    /// A viewer is gone, with all its rooms.
    pub fn exit(&self, viewer: ViewerId) {
        let mut tables = self.write();
        if let Some(entry) = tables.viewers.remove(&viewer) {
            for room in entry.rooms {
                remove_member(&mut tables.rooms, &room, viewer);
            }
        }
        if tables.viewers.is_empty() {
            *tables = Tables::default(); // A storm of the past must not be paid for ever.
        }
        self.note(&tables);
    }

    /// The viewer is in the room from now on. False if it is not connected (any more).
    pub fn join(&self, viewer: ViewerId, room: &str) -> bool {
        let mut tables = self.write();
        let tables = &mut *tables;
        let name = tables.rooms.get_key_value(room).map_or_else(|| room.into(), |(name, _)| name.clone());
        let Some(entry) = tables.viewers.get_mut(&viewer) else { return false };
        if !entry.rooms.contains(&name) {
            entry.rooms.push(name.clone());
            tables.rooms.entry(name).or_default().insert(viewer);
        }
        self.note(tables);
        true
    }

    /// The viewer is not in the room any more.
    pub fn leave(&self, viewer: ViewerId, room: &str) {
        let mut tables = self.write();
        if let Some(entry) = tables.viewers.get_mut(&viewer) {
            entry.rooms.retain(|name| &**name != room);
            remove_member(&mut tables.rooms, room, viewer);
        }
        self.note(&tables);
    }

    /// Connected viewers.
    #[must_use]
    pub fn viewers(&self) -> Vec<Arc<Viewer>> {
        self.read().viewers.values().map(|entry| entry.viewer.clone()).collect()
    }

    /// Whether the room has members here.
    #[must_use]
    pub fn has_room(&self, room: &str) -> bool {
        self.read().rooms.contains_key(room)
    }

    /// About how many bytes the tables hold, for the accounts of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tables = self.read();
        let entries = tables.viewers.values().map(|entry| entry.rooms.capacity() * size_of::<Arc<str>>());
        let rooms = tables.rooms.iter().map(|(name, members)| {
            // Two counters stand before the name.
            name.len() + 2 * size_of::<usize>() + members.capacity() * (size_of::<ViewerId>() + 1)
        });
        tables.viewers.capacity() * (size_of::<(ViewerId, Entry)>() + 1)
            + tables.rooms.capacity() * (size_of::<(Arc<str>, HashSet<ViewerId>)>() + 1)
            + entries.sum::<usize>()
            + rooms.sum::<usize>()
    }

    fn note(&self, tables: &Tables) {
        self.metrics.viewers.set(i64::try_from(tables.viewers.len()).unwrap_or(i64::MAX));
        self.metrics.rooms.set(i64::try_from(tables.rooms.len()).unwrap_or(i64::MAX));
    }
}

fn remove_member(rooms: &mut HashMap<Arc<str>, HashSet<ViewerId>>, room: &str, viewer: ViewerId) {
    if let Some(members) = rooms.get_mut(room) {
        members.remove(&viewer);
        if members.is_empty() {
            rooms.remove(room);
        }
    }
}

/// One viewer's membership in one fleet, with everything that hangs on it. Dropping it ends it, whatever
/// way the viewer went: that is why nothing is left after a storm.
#[derive(Debug)]
pub struct Membership {
    /// Which fleet.
    pub fleet: FleetId,
    viewer: ViewerId,
    dispatcher: Dispatcher,
    _watch: Watch,
}

impl Membership {
    /// Takes responsibility for ending what was begun.
    #[must_use]
    pub fn new(fleet: FleetId, viewer: ViewerId, dispatcher: Dispatcher, watch: Watch) -> Self {
        Self { fleet, viewer, dispatcher, _watch: watch }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.dispatcher.leave(&self.fleet, self.viewer);
    }
}
