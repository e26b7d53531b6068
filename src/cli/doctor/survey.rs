//! What Redis can tell of a cluster without joining it: who is subscribed to what, and what passes.
//! Patterns are not counted as members, so nobody waits for an answer of this process.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::traffic::Traffic;
use crate::{
    cluster::wire::{Answer, Argument, Names, Request, RequestFrame, ResponseFrame},
    store::Redis,
};

/// The legacy ingestion's channels.
const UPDATES: &str = "updates:*";
/// Names this process's one question.
const QUESTION: &str = "doctor";

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
    let mut link = client.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut link).await?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let mut survey =
        Survey { redis_version: version.unwrap_or("?").trim().to_owned(), seconds, ..Survey::default() };
    subscriptions(&mut survey, &mut link, key, names).await?;
    shards(&mut survey, &mut link, key).await;
    clients(&mut survey, &mut link).await;

    let mut events = client.get_async_pubsub().await?;
    for channels in [format!("{}#*", escaped(key)), format!("{}-re*#*", escaped(key)), UPDATES.to_owned()] {
        events.psubscribe(channels).await?;
    }
    if ping {
        let data = Argument::json(r#"["cluster_ping"]"#);
        let request = Request::ServerSideEmit { request_id: Some(QUESTION.to_owned()), data };
        if let Ok(frame) = (RequestFrame { uid: Some(QUESTION.to_owned()), request }).frame(names) {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(frame.channel()).arg(&frame.payload()[..]).query_async::<()>(&mut link).await?;
        }
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut events = events.on_message();
    while let Ok(Some(message)) = timeout_at(end, events.next()).await {
        let (channel, payload) = (message.get_channel_name(), message.get_payload_bytes());
        match ResponseFrame::decode(payload) {
            Ok(ResponseFrame { request_id, answer: Answer::ServerSide(answer) })
                if ping && request_id == QUESTION && channel == names.response() =>
            {
                survey.answers.push(answer.map_or_else(|| "null".to_owned(), |answer| answer.json));
            }
            _ if ping && channel == names.request() && is_own(payload) => {}
            _ => survey.traffic.note(names, channel, payload),
        }
    }
    Ok(survey)
}

fn is_own(payload: &[u8]) -> bool {
    RequestFrame::decode(payload).is_ok_and(|frame| frame.uid.as_deref() == Some(QUESTION))
}

async fn subscriptions(
    survey: &mut Survey,
    link: &mut MultiplexedConnection,
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
        let counted: (String, usize) =
            redis::cmd("PUBSUB").arg("NUMSUB").arg(&channel).query_async(link).await?;
        survey.members.insert(namespace.to_owned(), counted.1);
    }
    survey.other_keys.sort();
    survey.other_keys.dedup();
    let of = async |pattern: String, link: &mut MultiplexedConnection| {
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

/// Shard channels exist from Redis 7 on.
async fn shards(survey: &mut Survey, link: &mut MultiplexedConnection, key: &str) {
    let pattern = format!("{}#*", escaped(key));
    let mut list = redis::cmd("PUBSUB");
    list.arg("SHARDCHANNELS").arg(pattern);
    for channel in list.query_async::<Vec<String>>(link).await.unwrap_or_default() {
        // `key#/nsp#` is a namespace, `key#/nsp#name#` a room or a member.
        let Some(rest) = channel.strip_prefix(key).and_then(|rest| rest.strip_prefix('#')) else { continue };
        let Some(namespace) = rest.strip_suffix('#').filter(|rest| !rest.contains('#')) else { continue };
        let mut count = redis::cmd("PUBSUB");
        count.arg("SHARDNUMSUB").arg(&channel);
        let counted = count.query_async::<(String, usize)>(link).await;
        survey.sharded.insert(namespace.to_owned(), counted.map_or(0, |(_, count)| count));
    }
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
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "*?[]\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
