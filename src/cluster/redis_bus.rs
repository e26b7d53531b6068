//! The bus over Redis: one connection that publishes, one that subscribes.
//!
//! Invariants: frames leave in the order in which they were queued; one that was handed to a connection
//! which then failed is never sent again, so none arrives twice; the queue is bounded in frames, bytes
//! and age.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use redis::{
    AsyncConnectionConfig, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    bus::{Bus, BusError, Event, Events, Message, PublishError, Subscription},
    wire::{Dialect, Frame},
};
use crate::{
    backoff::Backoff,
    feed::{
        subscriber::{self, Gauges, Settings, Subscriber},
        subscriptions::Subscriptions,
    },
    observe::Metrics,
    store::{Link, Redis},
};

/// Frames that may wait for Redis, and their bytes.
const QUEUE_FRAMES_MAX: usize = 10_000;
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// After an outage of this length nobody waits any more for what was said before it.
const FRAME_AGE_MAX: Duration = Duration::from_secs(30);
/// Frames in one write; Redis answers each.
const BATCH_MAX: usize = 256;
/// A connection that says nothing is asked so often, so that a dead one is known before it is needed.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// How long one write or question may take.
const ANSWER_MAX: Duration = Duration::from_secs(4);
const RECONNECT_MIN: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// What is queued at the end of the process gets this long.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The handle: cheap to share, usable from any task.
#[derive(Debug)]
pub(super) struct RedisBus {
    dialect: Dialect,
    subscriptions: Subscriptions,
    queue: mpsc::Sender<Queued>,
    queued_bytes: Arc<AtomicUsize>,
    link: watch::Receiver<Option<Link>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Queued {
    frame: Frame,
    at: Instant,
}

/// The publishing connection. Spawn [`Publisher::run`].
#[derive(Debug)]
pub(super) struct Publisher {
    redis: Redis,
    dialect: Dialect,
    queue: mpsc::Receiver<Queued>,
    queued_bytes: Arc<AtomicUsize>,
    link: watch::Sender<Option<Link>>,
    /// On this connection something was refused, and the log has said so.
    told: bool,
    metrics: Arc<Metrics>,
}

/// The subscribing connection.
#[derive(Debug)]
pub(super) struct RedisEvents(Subscriber);

impl RedisBus {
    /// Two connections to be; neither is dialed before its task runs. `patterns` are subscribed for
    /// as long as the connection lives.
    #[must_use]
    pub(super) fn new(
        redis: &Redis,
        dialect: Dialect,
        patterns: Vec<String>,
        metrics: &Arc<Metrics>,
    ) -> (Self, Publisher, RedisEvents) {
        let gauges = Gauges {
            subscriptions: metrics.adapter_subscriptions.clone(),
            lost: metrics.adapter_connections_lost.clone(),
            round_trip: metrics.redis_round_trip.clone(),
        };
        let shard_channels = dialect == Dialect::Sharded;
        let settings = Settings { patterns, shard_channels, ..Settings::default() };
        let subscriber = Subscriber::new(redis.clone(), settings, gauges);
        let (queue, queued) = mpsc::channel(QUEUE_FRAMES_MAX);
        let (link_sender, link) = watch::channel(None);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let publisher = Publisher {
            redis: redis.clone(),
            dialect,
            queue: queued,
            queued_bytes: queued_bytes.clone(),
            link: link_sender,
            told: false,
            metrics: metrics.clone(),
        };
        let subscriptions = subscriber.subscriptions();
        let bus = Self { dialect, subscriptions, queue, queued_bytes, link, metrics: metrics.clone() };
        (bus, publisher, RedisEvents(subscriber))
    }
}

impl Bus for RedisBus {
    fn publish(&self, frame: Frame) -> Result<(), PublishError> {
        let bytes = frame.payload().len();
        let refuse = |error| {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.metrics.adapter_frames_dropped.inc();
            Err(error)
        };
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES_MAX {
            return refuse(PublishError::QueueFull);
        }
        match self.queue.try_send(Queued { frame, at: Instant::now() }) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => refuse(PublishError::QueueFull),
            Err(mpsc::error::TrySendError::Closed(_)) => refuse(PublishError::Closed),
        }
    }

    fn subscribers(&self, channel: &str) -> BoxFuture<'_, Result<usize, BusError>> {
        let link = self.link.borrow().clone();
        let mut command = redis::cmd("PUBSUB");
        command.arg(if self.dialect == Dialect::Sharded { "SHARDNUMSUB" } else { "NUMSUB" }).arg(channel);
        async move {
            let mut link = link.ok_or(BusError::Disconnected)?;
            let counting = command.query_async::<HashMap<String, usize>>(&mut link);
            match timeout(ANSWER_MAX, counting).await {
                Ok(Ok(counts)) => Ok(counts.into_values().sum()),
                Ok(Err(error)) => Err(BusError::Redis(error.to_string())),
                Err(_) => Err(BusError::Redis(format!("no answer within {} ms", ANSWER_MAX.as_millis()))),
            }
        }
        .boxed()
    }

    fn hold(&self, channel: String) -> Subscription {
        Subscription::Redis(self.subscriptions.hold(channel))
    }

    fn is_up(&self) -> bool {
        self.subscriptions.is_up() && self.link.borrow().is_some()
    }

    fn end_lingering(&self) {
        self.subscriptions.end_lingering();
    }

    fn knows(&self, channel: &str) -> bool {
        self.subscriptions.knows(channel)
    }
}

impl Publisher {
    /// Publishes until `stop`, then what is queued, and ends.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RECONNECT_MIN, RECONNECT_MAX);
        loop {
            let Some(dialed) = stop.run_until_cancelled(dial(&self.redis, self.dialect)).await else {
                return;
            };
            match dialed {
                Ok((link, node)) => {
                    backoff.reset();
                    self.told = false;
                    self.link.send_replace(Some(link.clone()));
                    let ended = match node {
                        Some(node) => self.serve(node, &stop).await,
                        None => self.serve(link, &stop).await,
                    };
                    self.link.send_replace(None);
                    match ended {
                        Ok(()) => return,
                        Err(error) => tracing::warn!(%error, "cluster bus: publishing connection lost"),
                    }
                }
                Err(error) => tracing::warn!(%error, "cluster bus: can not connect"),
            }
            let wait = backoff.next_wait(rand::random());
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Publishes over one connection. Ends well at `stop`, otherwise when the connection does.
    async fn serve(
        &mut self,
        mut connection: impl ConnectionLike,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let received = tokio::select! {
                received = timeout(PROBE_INTERVAL, self.queue.recv_many(&mut batch, BATCH_MAX)) => received,
                () = stop.cancelled() => return self.drain(&mut connection).await,
            };
            match received {
                Ok(0) => return Ok(()), // No handle is left.
                Ok(_) => self.send(&mut connection, &mut batch).await?,
                Err(_) => match answered(redis::cmd("PING").query_async::<()>(&mut connection)).await {
                    Ok(()) => {}
                    Err(NoAnswer::Refused(error)) => self.tell(&error), // A sign of life, too.
                    Err(NoAnswer::Lost(why)) => return Err(why),
                },
            }
        }
    }

    async fn send(
        &mut self,
        connection: &mut impl ConnectionLike,
        batch: &mut Vec<Queued>,
    ) -> Result<(), String> {
        let mut fresh = Vec::with_capacity(batch.len());
        let mut bytes = 0;
        for Queued { frame, at } in batch.drain(..) {
            bytes += frame.payload().len();
            if at.elapsed() > FRAME_AGE_MAX {
                self.metrics.adapter_frames_dropped.inc();
                continue;
            }
            fresh.push(frame);
        }
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let mut written = 0;
        let mut sent = Ok(());
        for frames in self.writes(&fresh) {
            let outcome = self.write(connection, frames).await;
            written += frames.len();
            match outcome {
                Ok(None) => {}
                Ok(Some(refusal)) => self.tell(&refusal),
                Err(why) => {
                    sent = Err(why);
                    break;
                }
            }
        }
        self.metrics.adapter_frames_dropped.inc_by((fresh.len() - written) as u64);
        sent
    }

    /// Frames that may go in one write. Shard channels of Redis Cluster live on several nodes, and there
    /// frames of different channels keep their order only if each waits for the one before.
    fn writes<'a>(&self, frames: &'a [Frame]) -> impl Iterator<Item = &'a [Frame]> + use<'a> {
        let together = self.dialect == Dialect::Classic || !self.redis.is_cluster();
        frames.chunk_by(move |one, next| together || one.channel() == next.channel())
    }

    /// Publishes the frames and counts each by its fate. Returns a refusal, if there was any.
    async fn write(
        &self,
        connection: &mut impl ConnectionLike,
        frames: &[Frame],
    ) -> Result<Option<RedisError>, String> {
        let command = if self.dialect == Dialect::Sharded { "SPUBLISH" } else { "PUBLISH" };
        let mut pipeline = redis::pipe();
        for frame in frames {
            pipeline.cmd(command).arg(frame.channel()).arg(&frame.payload()[..]);
        }
        pipeline.ignore_errors();
        let answers = answered(pipeline.query_async::<Vec<RedisResult<Value>>>(connection)).await;
        let (published, refusal, lost) = match answers {
            Ok(answers) => sorted(answers),
            Err(NoAnswer::Refused(error)) => (0, Some((frames.len(), error)), None),
            Err(NoAnswer::Lost(why)) => (0, None, Some(why)),
        };
        let refused = refusal.as_ref().map_or(0, |(count, _)| *count);
        self.metrics.adapter_frames_published.inc_by(published as u64);
        self.metrics.adapter_frames_forbidden.inc_by(refused as u64);
        // A frame whose fate is unknown counts as dropped: sent again it could arrive twice.
        let unknown = frames.len().saturating_sub(published + refused);
        self.metrics.adapter_frames_dropped.inc_by(unknown as u64);
        match lost {
            Some(why) => Err(why),
            None => Ok(refusal.map(|(_, error)| error)),
        }
    }

    /// Once for each connection: a user of Redis that may not publish may not do so a thousand times a second.
    fn tell(&mut self, refusal: &RedisError) {
        if !self.told {
            tracing::error!(error = %refusal, "cluster bus: redis refuses, and what is refused again is only counted");
        }
        self.told = true;
    }

    async fn drain(&mut self, connection: &mut impl ConnectionLike) -> Result<(), String> {
        self.queue.close();
        let mut batch = Vec::new();
        let draining = async {
            while self.queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
                self.send(connection, &mut batch).await?;
            }
            Ok(())
        };
        timeout(DRAIN_MAX, draining).await.unwrap_or_else(|_| Err("frames were left at the end".to_owned()))
    }
}

/// A connection for questions, which Redis Cluster answers from all its nodes; and there one more for
/// frames of ordinary channels, since it keeps their order only if one node gets them all.
async fn dial(redis: &Redis, dialect: Dialect) -> RedisResult<(Link, Option<MultiplexedConnection>)> {
    if dialect == Dialect::Sharded {
        return Ok((redis.connect_without_retries().await?, None));
    }
    let link = redis.connect().await?;
    if !redis.is_cluster() {
        return Ok((link, None));
    }
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_MAX))
        .set_response_timeout(Some(ANSWER_MAX));
    let node = redis.client().await?.get_multiplexed_async_connection_with_config(&config).await?;
    Ok((link, Some(node)))
}

/// Why a question has no answer.
enum NoAnswer {
    /// Redis said no; the connection is as good as before.
    Refused(RedisError),
    /// The connection is of no use any more.
    Lost(String),
}

async fn answered<T>(question: impl Future<Output = RedisResult<T>>) -> Result<T, NoAnswer> {
    match timeout(ANSWER_MAX, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if is_refusal(&error) => Err(NoAnswer::Refused(error)),
        Ok(Err(error)) => Err(NoAnswer::Lost(error.to_string())),
        Err(_) => Err(NoAnswer::Lost(format!("no answer within {} ms", ANSWER_MAX.as_millis()))),
    }
}

/// How many were taken; how many were refused, and one of the refusals; and why the connection is in doubt.
fn sorted(answers: Vec<RedisResult<Value>>) -> (usize, Option<(usize, RedisError)>, Option<String>) {
    let (mut taken, mut refused, mut lost) = (0, None, None);
    for answer in answers {
        match answer {
            Ok(_) => taken += 1,
            Err(error) if is_refusal(&error) => {
                let (count, _) = refused.get_or_insert((0, error));
                *count += 1;
            }
            Err(error) => lost = Some(error.to_string()),
        }
    }
    (taken, refused, lost)
}

fn is_refusal(error: &RedisError) -> bool {
    let is_lost = error.is_unrecoverable_error() || error.is_io_error() || error.is_connection_dropped();
    // A slot that moved is found again by the next connection.
    !is_lost && !error.is_timeout() && !error.is_cluster_error()
}

impl Events for RedisEvents {
    fn next(&mut self) -> BoxFuture<'_, Event> {
        async {
            match self.0.next().await {
                subscriber::Event::Messages(messages) => {
                    Event::Messages(messages.into_iter().map(Message::Redis).collect())
                }
                subscriber::Event::Changed(_) => Event::Changed,
                subscriber::Event::Lost => Event::Lost,
                subscriber::Event::Restored => Event::Restored,
            }
        }
        .boxed()
    }
}
