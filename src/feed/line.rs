//! The two kinds of Redis pub/sub behind one face: ordinary channels, and shard channels of Redis 7.
//!
//! Invariant: messages come in the order in which a server sent them, and the stream ends with the
//! connection, so that nothing can be missed without notice. Shard channels of Redis Cluster live on the
//! node of their slot: there the line is one connection to each node, and the loss of any, or a slot
//! that moves away, ends it.

use std::sync::{Arc, Mutex, PoisonError};

use foldhash::{HashSet, HashSetExt};
use futures_util::{StreamExt, future::join_all};
use redis::{
    Msg, PushInfo, PushKind, RedisError, RedisResult, Value,
    aio::{PubSubSink, PubSubStream},
    from_redis_value,
};
use tokio::sync::mpsc;

use super::{connection::Refused, subscriptions::Channel};
use crate::store::{Link, Redis};

/// Messages that may wait to be taken; a line that is slower than that ends, and is made again.
const PUSHES_MAX: usize = 1 << 16;

/// Commands out. Clones share the line.
#[derive(Clone)]
pub(super) enum Sink {
    Channels(PubSubSink),
    Shards {
        link: Link,
        /// Channels of which this end asked to be rid. A std mutex: never held across an await.
        leaving: Arc<Mutex<HashSet<Channel>>>,
    },
}

/// Messages in.
pub(super) enum Stream {
    Channels(PubSubStream),
    Shards { pushes: mpsc::Receiver<PushInfo>, leaving: Arc<Mutex<HashSet<Channel>>> },
}

/// A line for ordinary channels, with `patterns` subscribed.
pub(super) async fn channels(redis: &Redis, patterns: &[String]) -> RedisResult<(Sink, Stream)> {
    let mut pubsub = redis.client().await?.get_async_pubsub().await?;
    if !patterns.is_empty() {
        pubsub.psubscribe(patterns).await?;
    }
    let (sink, stream) = pubsub.split();
    Ok((Sink::Channels(sink), Stream::Channels(stream)))
}

/// A line for shard channels. Fails on a server that has none.
pub(super) async fn shards(redis: &Redis) -> RedisResult<(Sink, Stream)> {
    let (sender, pushes) = mpsc::channel(PUSHES_MAX);
    // Taken when it is full, which ends the stream: a hole must not go unnoticed.
    let sender = Mutex::new(Some(sender));
    let push = move |info: PushInfo| {
        let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = sender.as_ref().is_some_and(|sender| sender.try_send(info).is_ok());
        if !sent {
            sender.take();
        }
        Ok::<(), redis::aio::SendError>(())
    };
    let mut link = redis.connect_with_pushes(push).await?;
    redis::cmd("PUBSUB").arg("SHARDNUMSUB").query_async::<()>(&mut link).await?;
    let leaving = Arc::new(Mutex::new(HashSet::new()));
    Ok((Sink::Shards { link, leaving: leaving.clone() }, Stream::Shards { pushes, leaving }))
}

impl Sink {
    /// Subscribes to all of them, or says which the server refuses.
    pub(super) async fn subscribe(&mut self, channels: &[Channel]) -> RedisResult<Refused> {
        if let Self::Channels(sink) = self {
            let names: Vec<&str> = channels.iter().map(|channel| &**channel).collect();
            match sink.subscribe(&names).await {
                Ok(()) => return Ok(Vec::new()),
                Err(error) if is_fatal(&error) => return Err(error),
                // One forbidden channel refuses them all: find out which.
                Err(_) => {}
            }
        }
        let mut refused = Vec::new();
        for (channel, outcome) in join_all(channels.iter().map(|channel| self.subscribe_one(channel))).await {
            match outcome {
                Ok(()) => {}
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => refused.push((channel, error)),
            }
        }
        Ok(refused)
    }

    async fn subscribe_one(&self, channel: &Channel) -> (Channel, RedisResult<()>) {
        let outcome = match self.clone() {
            Self::Channels(mut sink) => sink.subscribe(&**channel).await,
            // One at a time, since each is answered by the node of its slot.
            Self::Shards { mut link, .. } => {
                redis::cmd("SSUBSCRIBE").arg(&**channel).query_async::<Value>(&mut link).await.map(drop)
            }
        };
        (channel.clone(), outcome)
    }

    pub(super) async fn unsubscribe(&mut self, channels: &[Channel]) -> RedisResult<()> {
        match self {
            Self::Channels(sink) => {
                let names: Vec<&str> = channels.iter().map(|channel| &**channel).collect();
                sink.unsubscribe(&names).await
            }
            Self::Shards { link, leaving } => {
                lock(leaving).extend(channels.iter().cloned());
                let each = channels.iter().map(|channel| {
                    let mut link = link.clone();
                    async move {
                        let command = redis::cmd("SUNSUBSCRIBE").arg(&**channel).to_owned();
                        command.query_async::<Value>(&mut link).await.map(drop)
                    }
                });
                join_all(each).await.into_iter().collect()
            }
        }
    }

    pub(super) async fn ping(&mut self) -> RedisResult<()> {
        match self {
            Self::Channels(sink) => sink.ping::<Value>().await.map(drop),
            Self::Shards { link, .. } => redis::cmd("PING").query_async::<Value>(link).await.map(drop),
        }
    }
}

impl Stream {
    /// The next message; `None` when the line has ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Msg> {
        match self {
            Self::Channels(stream) => stream.next().await,
            Self::Shards { pushes, leaving } => loop {
                let push = pushes.recv().await?;
                match push.kind {
                    PushKind::SMessage => {
                        if let Some(message) = Msg::from_push_info(push) {
                            return Some(message);
                        }
                    }
                    PushKind::Disconnection => return None,
                    // Nobody asked: the slot moved to another node.
                    PushKind::SUnsubscribe if !was_asked(leaving, push) => return None,
                    _ => {}
                }
            },
        }
    }
}

fn was_asked(leaving: &Mutex<HashSet<Channel>>, push: PushInfo) -> bool {
    let channel = push.data.into_iter().next().and_then(|name| from_redis_value::<String>(name).ok());
    channel.is_some_and(|channel| lock(leaving).remove(&*channel))
}

fn lock(leaving: &Mutex<HashSet<Channel>>) -> std::sync::MutexGuard<'_, HashSet<Channel>> {
    leaving.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the connection is in doubt, as opposed to an answer that says no.
pub(super) fn is_fatal(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error() || error.is_connection_dropped()
}
