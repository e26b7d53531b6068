//! The sharded adapter's channels, which have no patterns: rooms' and members' channels are subscribed one by
//! one. Never the namespace's, whose subscribers are the members: whoever listens there is counted, and
//! everybody would wait for its answers.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::survey::{QUESTION, Survey, escaped};
use crate::{
    cluster::wire::{Answer, Body, Dialect, Names, ResponseFrame, ShardedMessage},
    feed::{
        Hold,
        subscriber::{Event, Gauges, Settings, Subscriber},
        subscriptions::Subscriptions,
    },
    store::{Link, Redis},
};

/// Channels that are listened to; further rooms are only counted.
const CHANNELS_MAX: usize = 2000;
/// Rooms come and go.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// For the first subscription.
const READY_MAX: Duration = Duration::from_secs(2);

/// Listens to a sharded cluster, if there is one.
pub(super) struct Shards {
    names: Names,
    key: String,
    /// Not dialed before there is a channel.
    subscriber: Subscriber,
    subscriptions: Subscriptions,
    holds: HashMap<String, Hold>,
    next_look: Instant,
}

impl Shards {
    pub(super) fn new(redis: &Redis, key: &str, names: &Names) -> Self {
        let settings = Settings { shard_channels: true, ..Settings::default() };
        let subscriber = Subscriber::new(redis.clone(), settings, Gauges::default());
        let subscriptions = subscriber.subscriptions();
        let names = names.clone().of(Dialect::Sharded);
        let next_look = Instant::now();
        Self { names, key: key.to_owned(), subscriber, subscriptions, holds: HashMap::new(), next_look }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Who is there, and in which rooms. Shard channels exist from Redis 7 on.
    pub(super) async fn look(&mut self, survey: &mut Survey, link: &mut Link) {
        self.next_look = Instant::now() + LOOK_INTERVAL;
        let mut list = redis::cmd("PUBSUB");
        list.arg("SHARDCHANNELS").arg(format!("{}#*", escaped(&self.key)));
        let channels = list.query_async::<BTreeSet<String>>(link).await.unwrap_or_default();
        let own = self.names.response_to(QUESTION);
        let (mut rooms, mut sockets, mut uids) = (0, 0, BTreeSet::new());
        for channel in channels.iter().filter(|channel| **channel != own) {
            // `key#/nsp#` is a namespace, `key#/nsp#name#` a room or a member.
            let Some(rest) = channel.strip_prefix(&self.key).and_then(|rest| rest.strip_prefix('#')) else {
                continue;
            };
            if let Some(namespace) = rest.strip_suffix('#').filter(|rest| !rest.contains('#')) {
                let mut count = redis::cmd("PUBSUB");
                count.arg("SHARDNUMSUB").arg(channel);
                let counted = count.query_async::<HashMap<String, usize>>(link).await.unwrap_or_default();
                let members = survey.sharded.entry(namespace.to_owned()).or_default();
                *members = (*members).max(counted.into_values().sum());
                continue;
            }
            let Some(name) = channel.strip_prefix(self.names.namespace()) else { continue };
            match name.trim_end_matches('#') {
                uid if is_uid(uid) => drop(uids.insert(uid.to_owned())),
                socket if is_socket_id(socket) => sockets += 1,
                _ => rooms += 1,
            }
            self.hold(channel);
        }
        if !survey.sharded.is_empty() {
            self.hold(&own);
        }
        survey.shard_rooms = survey.shard_rooms.max(rooms);
        survey.shard_sockets = survey.shard_sockets.max(sockets);
        uids.extend(survey.shard_uids.drain(..));
        survey.shard_uids = uids.into_iter().collect();
        self.holds.retain(|channel, _| *channel == own || channels.contains(channel));
    }

    fn hold(&mut self, channel: &str) {
        if self.holds.len() < CHANNELS_MAX && !self.holds.contains_key(channel) {
            self.holds.insert(channel.to_owned(), self.subscriptions.hold(channel));
        }
    }

    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Waits until answers would be heard.
    pub(super) async fn ready(&mut self) {
        let end = Instant::now() + READY_MAX;
        while !self.subscriptions.is_up() && Instant::now() < end {
            tokio::select! {
                _ = self.subscriber.next() => {}
                () = sleep_until(end) => {}
            }
        }
    }

    /// What was published next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Vec<redis::Msg> {
        if self.holds.is_empty() {
            return std::future::pending().await;
        }
        loop {
            if let Event::Messages(messages) = self.subscriber.next().await {
                return messages;
            }
        }
    }

    pub(super) fn heard(&self, survey: &mut Survey, channel: &str, payload: &[u8]) {
        if channel != self.names.response_to(QUESTION) {
            return survey.traffic.note_sharded(payload);
        }
        let message = ShardedMessage::decode(payload);
        if let Ok(ShardedMessage { body: Body::Response(ResponseFrame { request_id, answer }), .. }) = message
            && let (QUESTION, Answer::ServerSide(answer)) = (request_id.as_str(), answer)
        {
            survey.answered(answer);
        }
    }
}

/// Members name themselves so; a room that is named alike is taken for one.
fn is_uid(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Random letters of either case; a room of as many letters hardly looks like that.
fn is_socket_id(name: &str) -> bool {
    let is_in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.len() == 20
        && name.bytes().all(is_in_alphabet)
        && name.bytes().any(|byte| byte.is_ascii_uppercase())
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_members_sockets_and_rooms_apart() {
        assert!(is_uid("28d4db60b4eb592f") && !is_uid("28d4db60b4eb592F") && !is_uid("fleet-1"));
        assert!(is_socket_id("iDfBcxhuszIPi7XPAAAO"));
        for room in ["fleet-1", "fleet-of-20-letters-", "iDfBcxhuszIPi7XPAAA#"] {
            assert!(!is_socket_id(room), "{room}");
        }
    }
}
