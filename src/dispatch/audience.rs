//! The rooms of this replica: which viewer is in which room, by the names that the cluster knows.
//!
//! Owns membership by room name for everything that is not the update stream: peers' broadcasts, cluster
//! requests, gauges. Invariant: a room exists while it has members, and a viewer's entry while it is
//! connected; both gauges return to zero with the last viewer.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::{HashMap, HashSet};

use super::{Viewer, ViewerId};
use crate::observe::Metrics;

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

    /// Counts what would be left behind by a connection that did not end cleanly. It looks at every entry,
    /// so it is done when somebody wants to know, and believes no counter.
    pub fn count_zombies(&self) {
        let tables = self.read();
        let roomless = tables.viewers.values().filter(|entry| entry.rooms.is_empty()).count();
        let is_in = |room: &Arc<str>, viewer| {
            let entry: Option<&Entry> = tables.viewers.get(viewer);
            entry.is_some_and(|entry| !entry.viewer.session.is_closed() && entry.rooms.contains(room))
        };
        let deserted =
            tables.rooms.iter().filter(|(room, members)| !members.iter().any(|id| is_in(room, id)));
        self.metrics.sockets_in_no_room.set(i64::try_from(roomless).unwrap_or(i64::MAX));
        self.metrics.rooms_in_no_socket.set(i64::try_from(deserted.count()).unwrap_or(i64::MAX));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{CloseReason, TestClient};

    #[test]
    fn zombies_are_counted_from_the_tables_and_gone_with_their_viewers() {
        let metrics = Arc::new(Metrics::default());
        let audience = Audience::new(metrics.clone());
        let zombies = || {
            audience.count_zombies();
            (metrics.sockets_in_no_room.get(), metrics.rooms_in_no_socket.get())
        };
        let clients = [TestClient::connect(1000), TestClient::connect(1000)];
        let [first, second] = clients.each_ref().map(|client| Viewer::new(client.session.clone()));
        for viewer in [&first, &second] {
            audience.enter(viewer.clone());
        }
        assert_eq!(zombies(), (2, 0), "connected, and in no room");
        assert!(audience.join(first.id, "fleet:a") && audience.join(second.id, "fleet:b"));
        assert!(audience.join(second.id, "fleet:a"));
        assert_eq!(zombies(), (0, 0));
        // A connection that is closed and was not taken out would haunt its rooms.
        clients[1].session.close(CloseReason::TransportClose);
        assert_eq!(zombies(), (0, 1), "`fleet:b`; the other still has a live socket");
        audience.exit(second.id);
        assert_eq!(zombies(), (0, 0));
        audience.leave(first.id, "fleet:a");
        assert_eq!(zombies(), (1, 0));
        audience.exit(first.id);
        assert_eq!(zombies(), (0, 0));
    }
}
