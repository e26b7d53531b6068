//! The rooms of this replica: which viewer is in which room, by the names that the cluster knows.
//!
//! Owns membership by room name for everything that is not the update stream: peers' broadcasts, cluster
//! requests, gauges. Invariants: a room exists while it has members, and a viewer's entry while it is
//! connected; both gauges return to zero with the last viewer; what the cluster subscribes to for a room
//! lives in the room itself, so neither can be without the other.

use std::{
    fmt,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use foldhash::{HashMap, HashSet};

use super::{Viewer, ViewerId};
use crate::{
    cluster::{Rooms, Subscription, wire::Target},
    feed::subscriptions::Unconfirmed,
    observe::Metrics,
};

/// Rooms that one viewer can be in. Peers may put it into any, and must not make it cost without end.
const ROOMS_PER_VIEWER_MAX: usize = 10_000;

/// Who a viewer is to the cluster.
pub struct Identity {
    /// Its public socket id: the name of a room that it is always in.
    pub socket_id: Arc<str>,
    /// The payload of its CONNECT packet as JSON, if it sent one.
    pub auth: Option<Box<str>>,
}

impl fmt::Debug for Identity {
    /// Without the payload of CONNECT: a token may stand there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("socket_id", &self.socket_id).finish_non_exhaustive()
    }
}

/// A viewer as the cluster sees it.
#[derive(Debug, Clone)]
pub struct Present {
    /// Its connection.
    pub viewer: Viewer,
    /// Its name.
    pub identity: Arc<Identity>,
}

#[derive(Debug, Default)]
struct Tables {
    viewers: HashMap<ViewerId, Entry>,
    ids: HashMap<Arc<str>, ViewerId>,
    rooms: HashMap<Arc<str>, Room>,
}

#[derive(Debug)]
struct Entry {
    present: Present,
    rooms: Vec<Arc<str>>,
    _own_room: Subscription,
}

#[derive(Debug)]
struct Room {
    members: HashSet<ViewerId>,
    _subscription: Subscription,
}

/// All rooms with local members.
#[derive(Debug)]
pub struct Audience {
    /// Held for map operations, never across an await or a send.
    tables: RwLock<Tables>,
    cluster: Rooms,
    metrics: Arc<Metrics>,
}

impl Audience {
    /// No rooms yet; those to come are subscribed at `cluster`.
    #[must_use]
    pub fn new(cluster: Rooms, metrics: Arc<Metrics>) -> Self {
        Self { tables: RwLock::default(), cluster, metrics }
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A viewer is connected.
    pub fn enter(&self, viewer: Viewer, identity: Identity) {
        let mut tables = self.write();
        let id = viewer.id;
        let own_room = self.cluster.hold(&identity.socket_id);
        tables.ids.insert(identity.socket_id.clone(), id);
        let present = Present { viewer, identity: Arc::new(identity) };
        tables.viewers.insert(id, Entry { present, rooms: Vec::new(), _own_room: own_room });
        self.note(&tables);
    }

    /// A viewer is gone, with all its rooms.
    pub fn exit(&self, viewer: ViewerId) {
        let mut tables = self.write();
        tables.remove(viewer);
        self.note(&tables);
    }

    /// The viewer is in the room from now on. False if it is not connected (any more), or in too many.
    pub fn join(&self, viewer: ViewerId, room: &str) -> bool {
        let mut tables = self.write();
        let joined = tables.join(viewer, room, &self.cluster);
        self.note(&tables);
        joined
    }

    /// The viewer is not in the room any more.
    pub fn leave(&self, viewer: ViewerId, room: &str) {
        let mut tables = self.write();
        tables.leave(viewer, room);
        self.note(&tables);
    }

    /// Waits until what peers send to the viewer's rooms, and to itself, arrives.
    ///
    /// # Errors
    /// Not within `within`; it stays wanted, and will be.
    pub async fn confirmed(&self, viewer: ViewerId, within: Duration) -> Result<(), Unconfirmed> {
        let names = self.read().viewers.get(&viewer).map(|entry| {
            let own = entry.present.identity.socket_id.clone();
            entry.rooms.iter().cloned().chain([own]).collect::<Vec<_>>()
        });
        let deadline = tokio::time::Instant::now() + within;
        for name in names.unwrap_or_default() {
            // A hold of its own: the table's can not be waited for while it is locked.
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            self.cluster.hold(&name).confirmed(left).await?;
        }
        Ok(())
    }

    /// Whether the room has members here, or is the name of one.
    #[must_use]
    pub fn has_room(&self, room: &str) -> bool {
        let tables = self.read();
        tables.rooms.contains_key(room) || tables.ids.contains_key(room)
    }

    /// All rooms, viewers' own ones included.
    #[must_use]
    pub fn rooms(&self) -> Vec<String> {
        let tables = self.read();
        let joined_ids = |name: &&Arc<str>| !tables.rooms.contains_key(*name);
        let names = tables.rooms.keys().chain(tables.ids.keys().filter(joined_ids));
        names.map(ToString::to_string).collect()
    }

    /// The viewers that match, each once.
    #[must_use]
    pub fn matching(&self, target: &Target) -> Vec<Present> {
        let tables = self.read();
        let present = |id| tables.viewers.get(&id).map(|entry| entry.present.clone());
        tables.matching(target).into_iter().filter_map(present).collect()
    }

    /// The viewers that match and their rooms, their own one first.
    #[must_use]
    pub fn matching_with_rooms(&self, target: &Target) -> Vec<(Present, Vec<String>)> {
        let tables = self.read();
        let described = |id| {
            let Entry { present, rooms, .. } = tables.viewers.get(&id)?;
            let own = std::iter::once(&present.identity.socket_id);
            Some((present.clone(), own.chain(rooms).map(ToString::to_string).collect()))
        };
        tables.matching(target).into_iter().filter_map(described).collect()
    }

    /// Puts the viewers that match into `rooms`.
    pub fn join_matching(&self, target: &Target, rooms: &[String]) {
        let mut tables = self.write();
        for viewer in tables.matching(target) {
            for room in rooms {
                tables.join(viewer, room, &self.cluster);
            }
        }
        self.note(&tables);
    }

    /// Takes the viewers that match out of `rooms`; their own ones can not be left.
    pub fn leave_matching(&self, target: &Target, rooms: &[String]) {
        let mut tables = self.write();
        for viewer in tables.matching(target) {
            for room in rooms {
                tables.leave(viewer, room);
            }
        }
        self.note(&tables);
    }

    /// Removes the viewers that match: nothing that is sent from now on is for them.
    #[must_use]
    pub fn remove_matching(&self, target: &Target) -> Vec<Present> {
        let mut tables = self.write();
        let matching = tables.matching(target);
        let removed = matching.into_iter().filter_map(|viewer| tables.remove(viewer)).collect();
        self.note(&tables);
        removed
    }

    /// About how many bytes the tables hold, for the accounts of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tables = self.read();
        let entries = tables.viewers.values().map(|entry| {
            let auth = entry.present.identity.auth.as_ref().map_or(0, |auth| auth.len());
            size_of::<Identity>()
                + entry.present.identity.socket_id.len()
                + auth
                + entry.rooms.capacity() * size_of::<Arc<str>>()
        });
        let rooms = tables.rooms.iter().map(|(name, room)| {
            // Two counters stand before the name.
            name.len() + 2 * size_of::<usize>() + room.members.capacity() * (size_of::<ViewerId>() + 1)
        });
        tables.viewers.capacity() * (size_of::<(ViewerId, Entry)>() + 1)
            + tables.ids.capacity() * (size_of::<(Arc<str>, ViewerId)>() + 1)
            + tables.rooms.capacity() * (size_of::<(Arc<str>, Room)>() + 1)
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
            entry.is_some_and(|entry| !entry.present.viewer.session.is_closed() && entry.rooms.contains(room))
        };
        let deserted =
            tables.rooms.iter().filter(|(name, room)| !room.members.iter().any(|id| is_in(name, id)));
        self.metrics.sockets_in_no_room.set(i64::try_from(roomless).unwrap_or(i64::MAX));
        self.metrics.rooms_in_no_socket.set(i64::try_from(deserted.count()).unwrap_or(i64::MAX));
    }

    fn note(&self, tables: &Tables) {
        self.metrics.viewers.set(i64::try_from(tables.viewers.len()).unwrap_or(i64::MAX));
        self.metrics.rooms.set(i64::try_from(tables.rooms.len()).unwrap_or(i64::MAX));
    }
}

impl Tables {
    fn join(&mut self, viewer: ViewerId, room: &str, cluster: &Rooms) -> bool {
        let name = self.rooms.get_key_value(room).map_or_else(|| room.into(), |(name, _)| name.clone());
        let Some(entry) = self.viewers.get_mut(&viewer) else { return false };
        let is_in = &*entry.present.identity.socket_id == room || entry.rooms.contains(&name);
        if is_in {
            return true;
        }
        if entry.rooms.len() >= ROOMS_PER_VIEWER_MAX {
            return false;
        }
        entry.rooms.push(name.clone());
        let open = || Room { members: HashSet::default(), _subscription: cluster.hold(room) };
        self.rooms.entry(name).or_insert_with(open).members.insert(viewer);
        true
    }

    fn leave(&mut self, viewer: ViewerId, room: &str) {
        let Some(entry) = self.viewers.get_mut(&viewer) else { return };
        entry.rooms.retain(|name| &**name != room);
        self.remove_member(room, viewer);
    }

    fn remove(&mut self, viewer: ViewerId) -> Option<Present> {
        let Entry { present, rooms, .. } = self.viewers.remove(&viewer)?;
        self.ids.remove(&present.identity.socket_id);
        for room in rooms {
            self.remove_member(&room, viewer);
        }
        if self.viewers.is_empty() {
            *self = Self::default(); // A storm of the past must not be paid for ever.
        }
        Some(present)
    }

    fn remove_member(&mut self, name: &str, viewer: ViewerId) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.members.remove(&viewer);
            if room.members.is_empty() {
                self.rooms.remove(name);
            }
        }
    }

    /// No room means everybody; a viewer in two of the rooms is named once.
    fn matching(&self, target: &Target) -> Vec<ViewerId> {
        let in_room = |name: &String| {
            let members = self.rooms.get(&**name).into_iter().flat_map(|room| &room.members);
            members.chain(self.ids.get(&**name)).copied()
        };
        let except: HashSet<ViewerId> = target.except.iter().flat_map(in_room).collect();
        let included = |id: &ViewerId| !except.contains(id);
        match &target.rooms[..] {
            [] => self.viewers.keys().copied().filter(included).collect(),
            // A room named like its member's id would name that member twice.
            [room] if !self.ids.contains_key(&**room) => in_room(room).filter(included).collect(),
            rooms => {
                let union: HashSet<ViewerId> = rooms.iter().flat_map(in_room).filter(included).collect();
                union.into_iter().collect()
            }
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
        let audience = Audience::new(Rooms::unneeded(), metrics.clone());
        let zombies = || {
            audience.count_zombies();
            (metrics.sockets_in_no_room.get(), metrics.rooms_in_no_socket.get())
        };
        let clients = [TestClient::connect(1000), TestClient::connect(1000)];
        let [first, second] = clients.each_ref().map(|client| Viewer::new(client.session.clone()));
        for (viewer, id) in [(&first, "first"), (&second, "second")] {
            audience.enter(viewer.clone(), Identity { socket_id: id.into(), auth: None });
        }
        assert_eq!(zombies(), (2, 0), "connected, and in no room but their own");
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
