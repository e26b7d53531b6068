//! What Redis can tell of a cluster without joining it: who is subscribed to what, and what passes.
//! Patterns are not counted as members, so nobody waits for an answer of this process.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    time::Duration,
};

use futures_util::StreamExt;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{shards::Shards, traffic::Traffic};
use crate::{
    cluster::wire::{Answer, Argument, Frame, Names, Request, RequestFrame, ResponseFrame},
    store::{Link, Redis},
};

/// The legacy ingestion's channels.
const UPDATES: &str = "updates:*";
/// Names this process's one question.
pub(super) const QUESTION: &str = "doctor";

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Survey {
    /// Of the Redis server.
    pub(super) redis_version: String,
    /// Members by namespace: connections that are subscribed to its request channel.
    pub(super) members: BTreeMap<String, usize>,
    /// The names that members gave themselves.
    pub(super) uids: Vec<String>,
    /// Members of the sharded adapter by namespace, where Redis has shard channels.
    pub(super) sharded: BTreeMap<String, usize>,
    /// The names that members of the sharded adapter gave themselves.
    pub(super) shard_uids: Vec<String>,
    /// Public rooms that have a shard channel.
    pub(super) shard_rooms: usize,
    /// Sockets that have one: Node's subscriptionMode "dynamic-private".
    pub(super) shard_sockets: usize,
    /// Keys other than the one looked at that have members, too.
    pub(super) other_keys: Vec<String>,
    /// Rooms that a member is subscribed to by name.
    pub(super) subscribed_rooms: usize,
    /// Fleets that a gateway is subscribed to.
    pub(super) subscribed_fleets: usize,
    /// Connections that hear every room by a pattern, as Node's adapter does.
    pub(super) pattern_connections: Option<usize>,
    /// Client libraries and their versions, where Redis tells.
    pub(super) libraries: BTreeMap<String, usize>,
    /// Whether the servers were asked who they are.
    pub(super) asked: bool,
    /// What servers answered to `cluster_ping`, if they were asked.
    pub(super) answers: Vec<String>,
    /// What passed.
    pub(super) traffic: Traffic,
    /// For how long it was listened, in seconds.
    pub(super) seconds: u64,
}

/// Looks at the cluster under `key`.
pub(super) async fn survey(
    redis: &Redis,
    key: &str,
    names: &Names,
    seconds: u64,
    ping: bool,
) -> redis::RedisResult<Survey> {
    let client = redis.client().await?;
    let mut node = client.get_multiplexed_async_connection().await?;
    // Of Redis Cluster all nodes count.
    let mut link = redis.connect().await?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut node).await?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let mut survey =
        Survey { redis_version: version.unwrap_or("?").trim().to_owned(), seconds, ..Survey::default() };
    subscriptions(&mut survey, &mut link, key, names).await?;
    clients(&mut survey, &mut node).await;

    let mut events = client.get_async_pubsub().await?;
    for channels in [format!("{}#*", escaped(key)), format!("{}-re*#*", escaped(key)), UPDATES.to_owned()] {
        events.psubscribe(channels).await?;
    }
    let mut shards = Shards::new(redis, key, names);
    shards.look(&mut survey, &mut link).await;
    if ping {
        survey.asked = true;
        if !survey.members.is_empty() || survey.sharded.is_empty() {
            ask(
                &mut node,
                "PUBLISH",
                RequestFrame { uid: Some(QUESTION.to_owned()), request: question() }.frame(names),
            )
            .await?;
        }
        if !survey.sharded.is_empty() {
            shards.ready().await;
            ask(&mut link, "SPUBLISH", shards.names().request_frame(QUESTION, question())).await?;
        }
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut events = events.on_message();
    loop {
        let look_at = shards.next_look();
        tokio::select! {
            message = events.next() => {
                let Some(message) = message else {
                    return Err(io::Error::other("redis hung up while it was listened to").into());
                };
                let (channel, payload) = (message.get_channel_name(), message.get_payload_bytes());
                heard(&mut survey, names, ping, channel, payload);
            }
            messages = shards.next() => {
                for message in messages {
                    shards.heard(&mut survey, message.get_channel_name(), message.get_payload_bytes());
                }
            }
            () = sleep_until(look_at) => shards.look(&mut survey, &mut link).await,
            () = sleep_until(end) => return Ok(survey),
        }
    }
}

fn heard(survey: &mut Survey, names: &Names, ping: bool, channel: &str, payload: &[u8]) {
    match ResponseFrame::decode(payload) {
        Ok(ResponseFrame { request_id, answer: Answer::ServerSide(answer) })
            if ping && request_id == QUESTION && channel == names.response() =>
        {
            survey.answered(answer);
        }
        _ if ping && channel == names.request() && is_own(payload) => {}
        _ => survey.traffic.note(names, channel, payload),
    }
}

impl Survey {
    pub(super) fn answered(&mut self, answer: Option<Argument>) {
        self.answers.push(answer.map_or_else(|| "null".to_owned(), |answer| answer.json));
    }
}

fn question() -> Request {
    let data = Argument::json(r#"["cluster_ping"]"#);
    Request::ServerSideEmit { request_id: Some(QUESTION.to_owned()), data }
}

async fn ask<E>(
    link: &mut impl ConnectionLike,
    command: &str,
    frame: Result<Frame, E>,
) -> redis::RedisResult<()> {
    let Ok(frame) = frame else { return Ok(()) };
    redis::cmd(command).arg(frame.channel()).arg(&frame.payload()[..]).query_async(link).await
}

fn is_own(payload: &[u8]) -> bool {
    RequestFrame::decode(payload).is_ok_and(|frame| frame.uid.as_deref() == Some(QUESTION))
}

async fn subscriptions(
    survey: &mut Survey,
    link: &mut Link,
    key: &str,
    names: &Names,
) -> redis::RedisResult<()> {
    let channels: Vec<String> =
        redis::cmd("PUBSUB").arg("CHANNELS").arg("*-request#*#").query_async(link).await?;
    for channel in channels {
        let Some((other, namespace)) = channel.trim_end_matches('#').split_once("-request#") else {
            continue;
        };
        if other != key {
            survey.other_keys.push(other.to_owned());
            continue;
        }
        let mut count = redis::cmd("PUBSUB");
        let counted = count.arg("NUMSUB").arg(&channel).query_async::<HashMap<String, usize>>(link).await?;
        survey.members.insert(namespace.to_owned(), counted.into_values().sum());
    }
    survey.other_keys.sort();
    survey.other_keys.dedup();
    let of = async |pattern: String, link: &mut Link| {
        redis::cmd("PUBSUB").arg("CHANNELS").arg(pattern).query_async::<Vec<String>>(link).await
    };
    let own = of(format!("{}*", escaped(names.response())), link).await?;
    let uid = |channel: &String| channel.strip_prefix(names.response())?.strip_suffix('#').map(str::to_owned);
    survey.uids = own.iter().filter_map(uid).collect();
    survey.uids.sort();
    let rooms = of(names.pattern(), link).await?;
    survey.subscribed_rooms = rooms.iter().filter(|room| *room != names.namespace()).count();
    survey.subscribed_fleets = of(UPDATES.to_owned(), link).await?.len();
    Ok(())
}

/// A user of Redis may be refused this.
async fn clients(survey: &mut Survey, link: &mut MultiplexedConnection) {
    let list = redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("pubsub").query_async::<String>(link).await;
    let Ok(list) = list else { return };
    let mut patterns = 0;
    for client in list.lines() {
        let field =
            |name: &str| client.split(' ').find_map(|field| field.strip_prefix(name)).unwrap_or_default();
        patterns += usize::from(field("psub=") != "0");
        let (name, version) = (field("lib-name="), field("lib-ver="));
        if !name.is_empty() {
            *survey.libraries.entry(format!("{name} {version}").trim().to_owned()).or_default() += 1;
        }
    }
    survey.pattern_connections = Some(patterns);
}

/// A text in which Redis sees no wildcards.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "*?[]\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
