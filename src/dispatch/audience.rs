//! The rooms of this replica: which viewer is in which room, by the names that the cluster knows.
//!
//! Owns membership by room name for everything that is not the update stream: peers' broadcasts, cluster
//! requests, gauges. Invariants: a room exists while it has members, and a viewer's entry while it is
//! connected; both gauges return to zero with the last viewer; what the cluster subscribes to for a room
//! lives in the room itself, so neither can be without the other.

use std::{
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use foldhash::{HashMap, HashSet};

use super::{Dispatcher, Viewer, ViewerId};
use crate::{
    cluster::{Rooms, Subscription, wire::Target},
    feed::{Watch, subscriptions::Unconfirmed},
    fleet::FleetId,
    observe::Metrics,
};

/// Rooms that one viewer can be in. Peers may put it into any, and must not make it cost without end.
const ROOMS_PER_VIEWER_MAX: usize = 10_000;

/// Who a viewer is to the cluster.
#[derive(Debug)]
pub struct Identity {
    /// Its public socket id: the name of a room that it is always in.
    pub socket_id: Arc<str>,
    /// The payload of its CONNECT packet as JSON, if it sent one.
    pub auth: Option<Box<str>>,
}

/// A viewer as the cluster sees it.
#[derive(Debug, Clone)]
pub struct Present {
    /// Its connection.
    pub viewer: Arc<Viewer>,
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
    pub fn enter(&self, viewer: Arc<Viewer>, identity: Identity) {
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
