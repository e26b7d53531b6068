//! What passes on the adapter's channels, counted by what it means for a migration. Pure; bounded in
//! rooms and publishers, whatever passes.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::cluster::wire::{
    Address, Body, Incoming, Names, Request, RequestFrame, Selection, ShardedMessage,
};

/// Rooms and publishers that are told apart; beyond, they are only counted.
const NAMES_MAX: usize = 10_000;
/// The name that `@socket.io/redis-emitter` gives itself.
const EMITTER: &str = "emitter";

/// What was heard.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Traffic {
    /// Events to dashboards.
    pub(super) broadcasts: u64,
    /// Of those, by `@socket.io/redis-emitter`.
    pub(super) by_emitter: u64,
    /// Events to dashboards that can not be read: another serialisation, or damage.
    pub(super) unreadable: u64,
    /// Requests between replicas.
    pub(super) requests: u64,
    /// Of those, sockets put into rooms by another process than their own.
    pub(super) remote_joins: u64,
    /// Of those, in the form of adapters before 8.
    pub(super) old_requests: u64,
    /// Of those, not readable.
    pub(super) unreadable_requests: u64,
    /// Answers between replicas.
    pub(super) responses: u64,
    /// Of those, on the asking member's own channel.
    pub(super) own_channel_responses: u64,
    /// Messages of the ingestion on `updates:<fleet>`.
    pub(super) updates: u64,
    /// Rooms that were addressed.
    #[serde(skip)]
    pub(super) rooms: BTreeSet<String>,
    /// Replicas that published.
    #[serde(skip)]
    pub(super) publishers: BTreeSet<String>,
    /// Namespaces other than `/` that were addressed.
    pub(super) namespaces: BTreeSet<String>,
}

impl Traffic {
    /// Takes note of one message.
    pub(super) fn note(&mut self, names: &Names, channel: &str, payload: &[u8]) {
        match names.address(channel) {
            Some(Address::Namespace | Address::Room(_)) => self.broadcast(payload),
            Some(Address::Request) => self.request(payload),
            Some(Address::Response) => {
                self.responses += 1;
                self.own_channel_responses += u64::from(channel != names.response());
            }
            None if channel.starts_with("updates:") => self.updates += 1,
            None => {
                let namespace = channel.split('#').nth(1).unwrap_or_default();
                keep(&mut self.namespaces, namespace);
            }
        }
    }

    /// Takes note of one message of a room's or a member's shard channel.
    pub(super) fn note_sharded(&mut self, payload: &[u8]) {
        let Ok(ShardedMessage { uid, body }) = ShardedMessage::decode(payload) else {
            self.broadcasts += 1;
            self.unreadable += 1;
            return;
        };
        keep(&mut self.publishers, &uid);
        match body {
            Body::Emit { target, .. } => {
                self.broadcasts += 1;
                target.rooms.iter().for_each(|room| keep(&mut self.rooms, room));
            }
            Body::Request(_) => self.requests += 1,
            Body::Response(_) => {
                self.responses += 1;
                self.own_channel_responses += 1;
            }
        }
    }

    fn broadcast(&mut self, payload: &[u8]) {
        self.broadcasts += 1;
        let Ok(incoming) = Incoming::open(payload) else {
            self.unreadable += 1;
            return;
        };
        if incoming.event().is_err() {
            self.unreadable += 1;
        }
        match incoming.uid.as_deref() {
            Some(EMITTER) => self.by_emitter += 1,
            Some(uid) => keep(&mut self.publishers, uid),
            None => {}
        }
        incoming.target.rooms.iter().for_each(|room| keep(&mut self.rooms, room));
    }

    fn request(&mut self, payload: &[u8]) {
        self.requests += 1;
        let Ok(RequestFrame { uid, request }) = RequestFrame::decode(payload) else {
            self.unreadable_requests += 1;
            return;
        };
        uid.iter().for_each(|uid| keep(&mut self.publishers, uid));
        match request {
            Request::Join { selection: Selection::Matching(_), .. } => self.remote_joins += 1,
            Request::Join { .. } => {
                self.remote_joins += 1;
                self.old_requests += 1;
            }
            Request::Sockets { .. }
            | Request::Leave { selection: Selection::One { .. }, .. }
            | Request::Disconnect { selection: Selection::One { .. }, .. } => self.old_requests += 1,
            _ => {}
        }
    }
}

fn keep(names: &mut BTreeSet<String>, name: &str) {
    if names.len() < NAMES_MAX && !name.is_empty() {
        names.insert(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{
        EncodedEvent,
        wire::{Broadcast, Flags, Target},
    };

    #[test]
    fn messages_are_counted_by_what_they_mean() {
        let names = Names::new("socket.io", "/").unwrap();
        let event = EncodedEvent::from_json(r#"["e"]"#, Vec::new()).unwrap();
        let (target, flags) = (Target::room("fleet-1"), Flags::default());
        let frame =
            |uid| Broadcast { event: &event, target: &target, flags: &flags }.frame(&names, uid).unwrap();
        let mut traffic = Traffic::default();
        for uid in ["abcdef", "emitter", "abcdef"] {
            traffic.note(&names, "socket.io#/#fleet-1#", frame(uid).payload());
        }
        let join = br#"{"uid":"ghijkl","type":2,"opts":{"rooms":["a"],"except":[]},"rooms":["b"]}"#;
        let old = br#"{"uid":"ghijkl","requestId":"x","type":2,"sid":"s","room":"b"}"#;
        for payload in [&join[..], &old[..], b"{"] {
            traffic.note(&names, "socket.io-request#/#", payload);
        }
        traffic.note(&names, "socket.io-response#/#", b"{}");
        traffic.note(&names, "socket.io-response#/#abcdef#", b"{}");
        traffic.note(&names, "socket.io#/#fleet-1#", b"text");
        traffic.note(&names, "socket.io#/admin#x#", frame("abcdef").payload());
        traffic.note(&names, "updates:fleet-1", b"{}");
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let expected = Traffic {
            broadcasts: 4,
            by_emitter: 1,
            unreadable: 1,
            requests: 3,
            remote_joins: 2,
            old_requests: 1,
            unreadable_requests: 1,
            responses: 2,
            own_channel_responses: 1,
            updates: 1,
            rooms: set(&["fleet-1"]),
            publishers: set(&["abcdef", "ghijkl"]),
            namespaces: set(&["/admin"]),
        };
        assert_eq!(traffic, expected);
    }
}
