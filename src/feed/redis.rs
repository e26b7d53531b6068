//! The task that turns Redis messages into bursts of [`FeedEvent`]s.
//!
//! Invariant: it always reads. Messages are decoded as they come and wait in a [`Handoff`] of bounded
//! bytes while the consumer is busy: one hand-over per burst, and the busier the consumer, the larger
//! the bursts.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Feed, FeedEvent, GapReason, RedisWatches,
    handoff::Handoff,
    interest::Change,
    sequence::{Admission, Sequences},
    subscriber::{self, Event, Subscriber},
    subscriptions::Channel,
};
use crate::{
    clock::epoch_ms,
    fleet::{BadMessage, ChannelMessage, Epoch, FieldMap, FleetBatch, FleetId},
    observe::Metrics,
    store::Redis,
};

/// Bursts that wait in the channel to the consumer, beside the one in the hand-off. Few, since a burst
/// grows while it waits.
const BURSTS_MAX: usize = 2;

/// Which channels carry updates, and how.
#[derive(Debug, Clone)]
pub enum Channels {
    /// `updates:<fleet>`: one message is one update, its text the source's own. No numbers: what Redis
    /// did not deliver is not noticed, as with the Node gateway.
    Legacy {
        /// Where a message keeps its asset, time and position.
        fields: FieldMap,
        /// How far a message's time may lie ahead.
        skew_max: Duration,
    },
    /// `<prefix>:{<fleet>}:updates`: numbered batches, as the store publishes them.
    Sequenced {
        /// The prefix of all keys and channels.
        prefix: String,
    },
}

/// What the feed may use.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The connection's times.
    pub connection: subscriber::Settings,
    /// Bytes of updates that wait for the consumer before gaps replace them.
    pub handoff_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { connection: subscriber::Settings::default(), handoff_bytes_max: 16 << 20 }
    }
}

/// The feed's task.
#[derive(Debug)]
pub struct RedisFeed {
    subscriber: Subscriber,
    inbound: Inbound,
    out: mpsc::Sender<Vec<FeedEvent>>,
}

/// Everything between the connection and the consumer.
#[derive(Debug)]
struct Inbound {
    watches: RedisWatches,
    /// Whose the channels are that messages came from; gone with the subscription.
    owners: HashMap<Channel, Owner>,
    sequences: Sequences<Epoch>,
    handoff: Handoff,
    metrics: Arc<Metrics>,
}

impl Feed {
    /// A feed from `redis`. Nothing is connected before the task runs. The receiver gets bursts: events
    /// to be handled in order.
    #[must_use]
    pub fn redis(
        redis: Redis,
        channels: Channels,
        settings: Settings,
        metrics: &Arc<Metrics>,
    ) -> (Self, RedisFeed, mpsc::Receiver<Vec<FeedEvent>>) {
        let gauges = subscriber::Gauges {
            subscriptions: metrics.redis_subscriptions.clone(),
            lost: metrics.feed_connections_lost.clone(),
            round_trip: metrics.redis_round_trip.clone(),
        };
        let subscriber = Subscriber::new(redis, settings.connection, gauges);
        let watches =
            RedisWatches { subscriptions: subscriber.subscriptions(), channels: Arc::new(channels) };
        let (out, bursts) = mpsc::channel(BURSTS_MAX);
        let inbound = Inbound {
            watches: watches.clone(),
            owners: HashMap::new(),
            sequences: Sequences::new(),
            handoff: Handoff::new(settings.handoff_bytes_max),
            metrics: metrics.clone(),
        };
        (Self::Redis(watches), RedisFeed { subscriber, inbound, out }, bursts)
    }
}

impl RedisFeed {
    /// Reads until `stop` is cancelled or the consumer is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = self.subscriber.next() => self.inbound.take(event),
                permit = self.out.reserve(), if !self.inbound.handoff.is_empty() => {
                    let Ok(permit) = permit else { return };
                    permit.send(self.inbound.hand_over());
                }
            }
        }
    }
}

impl Inbound {
    fn hand_over(&mut self) -> Vec<FeedEvent> {
        let events = self.handoff.take();
        let gaps = events.iter().filter(|event| matches!(event, FeedEvent::Gap { .. }));
        self.metrics.feed_gaps.inc_by(gaps.count() as u64);
        events
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Messages(messages) => self.messages(&messages),
            Event::Changed(changes) => self.changed(&changes),
            Event::Lost => {
                self.sequences.forget_all();
                self.owners = HashMap::new();
                self.handoff.link(FeedEvent::Lost);
            }
            Event::Restored => self.handoff.link(FeedEvent::Restored),
        }
    }

    fn messages(&mut self, messages: &[redis::Msg]) {
        let received_ms = epoch_ms();
        for message in messages {
            let channel = message.get_channel_name();
            match self.owner(channel) {
                Some(Owner::Fleet(fleet)) => self.message(&fleet, channel, message, received_ms),
                Some(Owner::Other) => {
                    let payload = Bytes::copy_from_slice(message.get_payload_bytes());
                    self.metrics.feed_dropped.inc_by(u64::from(!self.handoff.push_other(payload)));
                }
                None => {}
            }
        }
    }

    /// `None` if nobody wants the channel; it still arrives for a moment after UNSUBSCRIBE.
    fn owner(&mut self, channel: &str) -> Option<Owner> {
        if let Some(owner) = self.owners.get(channel) {
            return Some(owner.clone());
        }
        let owner = self.watches.owner(channel)?;
        self.owners.insert(channel.into(), owner.clone());
        Some(owner)
    }

    fn message(&mut self, fleet: &FleetId, channel: &str, message: &redis::Msg, received_ms: i64) {
        match self.watches.channels.decode(fleet, message.get_payload_bytes(), received_ms) {
            Ok((batch, epoch)) => self.admit(batch, epoch),
            Err(error) => {
                self.metrics.feed_undecodable.inc();
                if self.handoff.gap(fleet, GapReason::Unreadable) {
                    tracing::warn!(%channel, %error, "a message can not be read");
                }
            }
        }
    }

    fn admit(&mut self, mut batch: FleetBatch, epoch: Option<Epoch>) {
        let received = batch.updates.len();
        if let (Some(first), Some(epoch)) = (&mut batch.first_seq, epoch) {
            match self.sequences.admit(&batch.fleet, epoch, *first, received) {
                Admission::Next => {}
                Admission::Skip(seen) => {
                    batch.updates.drain(..seen);
                    *first += seen as u64;
                }
                Admission::Repeat => batch.updates.clear(),
                Admission::Hole => {
                    self.handoff.gap(&batch.fleet, GapReason::Sequence);
                }
                Admission::NewEpoch => {
                    self.handoff.gap(&batch.fleet, GapReason::NewEpoch);
                }
            }
        }
        self.metrics.updates_received.inc_by(received as u64);
        self.metrics.updates_duplicate.inc_by((received - batch.updates.len()) as u64);
        let dropped = self.handoff.push(batch, epoch);
        self.metrics.feed_dropped.inc_by(dropped as u64);
    }

    fn changed(&mut self, changes: &[Change<Channel>]) {
        for change in changes {
            if !change.subscribed {
                self.owners.remove(&change.channel);
            }
            let Some(name) = self.watches.channels.fleet(&change.channel) else {
                if change.late {
                    self.handoff.other_missed();
                }
                continue;
            };
            self.sequences.forget(name);
            if change.late
                && let Ok(fleet) = FleetId::parse(name)
            {
                self.handoff.gap(&fleet, GapReason::LateSubscription);
            }
        }
    }
}

/// Whose channel it is.
#[derive(Debug, Clone)]
enum Owner {
    Fleet(FleetId),
    Other,
}

impl RedisWatches {
    fn owner(&self, channel: &str) -> Option<Owner> {
        if !self.subscriptions.knows(channel) {
            return None;
        }
        match self.channels.fleet(channel) {
            None => Some(Owner::Other),
            Some(fleet) => FleetId::parse(fleet).ok().map(Owner::Fleet),
        }
    }
}

const LEGACY_PREFIX: &str = "updates:";
const SEQUENCED_SUFFIX: &str = "}:updates";

impl Channels {
    /// The channel of a fleet.
    #[must_use]
    pub fn name(&self, fleet: &FleetId) -> String {
        match self {
            // No fleet of the legacy ingestion, so none of its channels.
            Self::Legacy { .. } if fleet.is_canary() => fleet.to_string(),
            Self::Legacy { .. } => format!("{LEGACY_PREFIX}{fleet}"),
            Self::Sequenced { prefix } => format!("{prefix}:{{{fleet}{SEQUENCED_SUFFIX}"),
        }
    }

    /// The channels of all fleets; the canary's is none of them.
    pub(super) fn pattern(&self) -> String {
        match self {
            Self::Legacy { .. } => format!("{LEGACY_PREFIX}*"),
            Self::Sequenced { prefix } => format!("{prefix}:{{*{SEQUENCED_SUFFIX}"),
        }
    }

    /// Whose channel it is, if a fleet's.
    pub(super) fn owner(&self, channel: &str) -> Option<FleetId> {
        FleetId::parse(self.fleet(channel)?).ok()
    }

    /// The name of a channel's fleet.
    fn fleet<'c>(&self, channel: &'c str) -> Option<&'c str> {
        match self {
            Self::Legacy { .. } if channel == FleetId::canary().as_str() => Some(channel),
            Self::Legacy { .. } => channel.strip_prefix(LEGACY_PREFIX),
            Self::Sequenced { prefix } => {
                channel.strip_prefix(prefix.as_str())?.strip_prefix(":{")?.strip_suffix(SEQUENCED_SUFFIX)
            }
        }
    }

    pub(super) fn decode(
        &self,
        fleet: &FleetId,
        payload: &[u8],
        received_ms: i64,
    ) -> Result<(FleetBatch, Option<Epoch>), BadMessage> {
        match self {
            Self::Legacy { fields, skew_max } => {
                let skew_ms_max = i64::try_from(skew_max.as_millis()).unwrap_or(i64::MAX);
                let update = fields.parse_relayed(Bytes::copy_from_slice(payload), received_ms, skew_ms_max);
                let (fleet, updates) = (fleet.clone(), vec![update]);
                Ok((FleetBatch { fleet, first_seq: None, updates, received_ms }, None))
            }
            Self::Sequenced { .. } => {
                let ChannelMessage { epoch, batch } = ChannelMessage::decode(fleet, payload)?;
                Ok((batch, Some(epoch)))
            }
        }
    }
}
