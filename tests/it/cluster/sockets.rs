//! A table of sockets in memory: what the gateway's registry is to the cluster, without dashboards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use fleetcast::cluster::{
    Acks, Delivery, EncodedEvent, LocalSockets, Rooms, SocketInfo, Subscription,
    wire::{Argument, Target},
};
use futures_util::{StreamExt, stream};

/// How long a subscription may take; generous, since two cores serve everybody.
const CONFIRMED_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
pub struct MemorySockets(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    rooms: OnceLock<Rooms>,
}

#[derive(Default)]
struct Table {
    sockets: BTreeMap<String, Socket>,
    holds: BTreeMap<String, Subscription>,
    /// Of sockets that are gone.
    disconnected: Vec<(String, bool)>,
}

#[derive(Default)]
struct Socket {
    rooms: BTreeSet<String>,
    received: Vec<Received>,
    /// What it answers to an event that asks for it: the first argument, if any.
    reply: Option<Option<Argument>>,
}

/// One event as a dashboard got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub packet: String,
    pub attachments: Vec<Bytes>,
    pub volatile: bool,
}

impl MemorySockets {
    /// Where to hold the rooms; before that nothing is held.
    pub fn hold_in(&self, rooms: Rooms) {
        assert!(self.0.rooms.set(rooms).is_ok());
    }

    /// A socket connects; it is told so once its rooms are subscribed.
    pub async fn connect(&self, id: &str, rooms: &[&str]) {
        self.table().sockets.insert(id.to_owned(), Socket::default());
        let rooms: Vec<String> = rooms.iter().map(ToString::to_string).collect();
        self.join(&Target::room(id), &rooms);
        self.confirmed().await;
    }

    /// Waits until everything that is held is subscribed.
    pub async fn confirmed(&self) {
        let held: Vec<String> = self.table().holds.keys().cloned().collect();
        for room in held {
            // A hold of its own, since the table's can not be waited for while it is locked.
            let hold = self.0.rooms.get().map(|rooms| rooms.hold(&room));
            if let Some(hold) = hold {
                hold.confirmed(CONFIRMED_MAX).await.unwrap();
            }
        }
    }

    /// A socket is gone.
    pub fn drop_socket(&self, id: &str) {
        self.table().sockets.remove(id);
        self.hold_all();
    }

    /// What the socket answers from now on.
    pub fn reply(&self, id: &str, argument: Option<&str>) {
        let mut table = self.table();
        table.sockets.get_mut(id).unwrap().reply = Some(argument.map(Argument::json));
    }

    /// What the socket answers from now on, with a binary value.
    pub fn reply_with(&self, id: &str, argument: Argument) {
        self.table().sockets.get_mut(id).unwrap().reply = Some(Some(argument));
    }

    /// The packets that the socket got so far.
    pub fn packets(&self, id: &str) -> Vec<String> {
        self.received(id).into_iter().map(|received| received.packet).collect()
    }

    pub fn received(&self, id: &str) -> Vec<Received> {
        self.table().sockets.get(id).map(|socket| socket.received.clone()).unwrap_or_default()
    }

    /// Forgets what was received.
    pub fn clear(&self) {
        self.table().sockets.values_mut().for_each(|socket| socket.received.clear());
    }

    /// The rooms that the socket joined.
    pub fn rooms_of(&self, id: &str) -> Vec<String> {
        self.table().sockets.get(id).map(|socket| socket.rooms.iter().cloned().collect()).unwrap_or_default()
    }

    /// Sockets that were disconnected, and whether their transports were to be closed.
    pub fn disconnected(&self) -> Vec<(String, bool)> {
        self.table().disconnected.clone()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap()
    }

    /// Holds what exists and nothing else.
    fn hold_all(&self) {
        let Some(rooms) = self.0.rooms.get() else { return };
        let mut table = self.table();
        let mut wanted: BTreeSet<String> = table.sockets.keys().cloned().collect();
        wanted.extend(table.sockets.values().flat_map(|socket| socket.rooms.iter().cloned()));
        table.holds.retain(|room, _| wanted.contains(room));
        for room in wanted {
            table.holds.entry(room).or_insert_with_key(|room| rooms.hold(room));
        }
    }
}

impl Table {
    fn matching(&mut self, target: &Target) -> Vec<(&String, &mut Socket)> {
        let is_in = |socket: &Socket, id: &String, rooms: &[String]| {
            rooms.iter().any(|room| room == id || socket.rooms.contains(room))
        };
        let matches = |socket: &Socket, id: &String| {
            (target.rooms.is_empty() || is_in(socket, id, &target.rooms))
                && !is_in(socket, id, &target.except)
        };
        self.sockets.iter_mut().filter(|(id, socket)| matches(socket, id)).collect()
    }
}

impl LocalSockets for MemorySockets {
    fn has_room(&self, room: &str) -> bool {
        let table = self.table();
        table.sockets.contains_key(room) || table.sockets.values().any(|socket| socket.rooms.contains(room))
    }

    fn rooms(&self) -> Vec<String> {
        let table = self.table();
        let mut rooms: BTreeSet<String> = table.sockets.keys().cloned().collect();
        rooms.extend(table.sockets.values().flat_map(|socket| socket.rooms.iter().cloned()));
        rooms.into_iter().collect()
    }

    fn sockets(&self, target: &Target) -> Vec<SocketInfo> {
        let mut table = self.table();
        let info = |(id, socket): (&String, &mut Socket)| SocketInfo {
            id: id.clone(),
            handshake: handshake().into(),
            rooms: [id.clone()].into_iter().chain(socket.rooms.iter().cloned()).collect(),
            data: r#"{"language":"rust"}"#.into(),
        };
        table.matching(target).into_iter().map(info).collect()
    }

    fn deliver(&self, target: &Target, event: &EncodedEvent, delivery: Delivery) -> usize {
        let mut table = self.table();
        let sockets = table.matching(target);
        let count = sockets.len();
        for (_, socket) in sockets {
            let packet = String::from_utf8(event.packet().to_vec()).unwrap();
            let attachments = event.attachments().to_vec();
            socket.received.push(Received { packet, attachments, volatile: delivery.volatile });
        }
        count
    }

    fn deliver_with_ack(&self, target: &Target, event: &EncodedEvent, _: Duration) -> (usize, Acks) {
        let mut table = self.table();
        let sockets = table.matching(target);
        let count = sockets.len();
        let mut replies = Vec::new();
        for (_, socket) in sockets {
            let packet = event.packet_with_ack(socket.received.len() as u64);
            let attachments = event.attachments().to_vec();
            socket.received.push(Received { packet, attachments, volatile: false });
            replies.extend(socket.reply.clone());
        }
        (count, stream::iter(replies).boxed())
    }

    fn join(&self, target: &Target, rooms: &[String]) {
        for (_, socket) in self.table().matching(target) {
            socket.rooms.extend(rooms.iter().cloned());
        }
        self.hold_all();
    }

    fn leave(&self, target: &Target, rooms: &[String]) {
        for (_, socket) in self.table().matching(target) {
            socket.rooms.retain(|room| !rooms.contains(room));
        }
        self.hold_all();
    }

    fn public_id(&self, sid: &str) -> Option<String> {
        self.table().sockets.contains_key(sid).then(|| sid.to_owned())
    }

    fn disconnect(&self, target: &Target, close: bool) {
        let mut table = self.table();
        let ids: Vec<String> = table.matching(target).into_iter().map(|(id, _)| id.clone()).collect();
        for id in ids {
            table.sockets.remove(&id);
            table.disconnected.push((id, close));
        }
        drop(table);
        self.hold_all();
    }
}

/// As Node's `socket.handshake`.
fn handshake() -> String {
    serde_json::json!({
        "headers": {"host": "127.0.0.1", "user-agent": "rust"},
        "time": "Sun Nov 22 2026 23:37:37 GMT+0000 (Coordinated Universal Time)",
        "address": "127.0.0.1",
        "xdomain": false,
        "secure": false,
        "issued": 1_795_390_657_461_u64,
        "url": "/socket.io/?fleetId=fleet-1&EIO=4&transport=websocket",
        "query": {"fleetId": "fleet-1", "EIO": "4", "transport": "websocket"},
        "auth": {},
    })
    .to_string()
}
