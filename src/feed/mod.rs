//! How updates of *watched* fleets reach this replica: interest becomes SUBSCRIBE and UNSUBSCRIBE on
//! one Redis connection, messages become batches. Knows neither viewers nor JSON.
//!
//! ```text
//! Watch (RAII, any task) ─► subscriptions ─► interest (pure core) ◄─► subscriber ══ Redis
//!                                                                       │ messages
//!                       consumer ◄── bounded bursts of FeedEvents ◄── redis (decode, group, hand-off)
//! ```
//!
//! Invariants:
//! - What is published after [`Watch::confirmed`] returned arrives as a [`FeedEvent::Batch`], or its
//!   absence is told: as a [`FeedEvent::Gap`] of its fleet, or between `Lost` and `Restored`.
//! - The reader of Redis never waits for the consumer. A consumer that falls behind costs
//!   [`RedisFeed`]'s hand-off budget and then gets gaps; it can not make Redis kick this replica out.
//! - After the last watch and the linger nothing of a fleet is left, here or in Redis.
//!
//! # What a consumer does
//! It takes bursts (`Vec<FeedEvent>`) and handles their events in order. A fleet is complete up to its
//! state's `seq`; a batch of another epoch, or one that starts later than `seq + 1`, is a hole as well
//! (the first batch after a subscription starts wherever the fleet is), and one that starts earlier
//! repeats what the snapshot had. `Gap` and `Restored` mean: read the fleet, or all of them, from the
//! store again.
//!
//! # Other channels
//! [`interest`], [`subscriptions`] and [`subscriber`] know no fleets: whoever needs interest-driven
//! subscriptions on a connection of its own (the cluster's bus) uses them with its own channel names;
//! `subscriber` tells how.

pub mod interest;
pub mod subscriber;
pub mod subscriptions;

mod all;
mod connection;
mod handoff;
mod line;
mod redis;
mod sequence;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use self::subscriptions::Subscriptions;
pub use self::subscriptions::{Hold, Unconfirmed};
pub use self::{
    all::{AllFleets, Passing},
    redis::{Channels, RedisFeed, Settings},
};
use crate::{
    fleet::{Epoch, FleetBatch, FleetId},
    values::duration,
};

/// How watched fleets are subscribed.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct Options {
    /// How long a fleet stays subscribed after its last viewer, so that reloading pages do not flap.
    #[arg(long, env = "FLEETCAST_FEED_LINGER", value_name = "TIME", default_value = "2s",
          value_parser = duration)]
    pub feed_linger: Duration,
}

impl Options {
    /// The settings that follow.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.connection.linger = self.feed_linger;
        settings
    }
}

/// What the feed tells its consumer.
#[derive(Debug, Clone)]
pub enum FeedEvent {
    /// Updates of one fleet, in the order in which they were published.
    Batch {
        /// The updates.
        batch: FleetBatch,
        /// Which life of the counter the numbers belong to; `None` where there are no numbers.
        epoch: Option<Epoch>,
    },
    /// Updates of this fleet are missing before the batches that follow.
    Gap {
        /// Which fleet.
        fleet: FleetId,
        /// How they got lost.
        reason: GapReason,
    },
    /// A message of a channel that is no fleet's; see [`Feed::hold`].
    Other(Bytes),
    /// Messages of channels that are no fleets' were dropped: the consumer was behind, or a subscription
    /// was confirmed only after somebody had gone on without it.
    OtherMissed,
    /// The connection is gone: updates of every fleet are missed from now on.
    Lost,
    /// The connection is back and every watched fleet subscribed: nothing is missed from here on.
    /// Told after the first connect, too.
    Restored,
}

/// Why updates are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The channel's numbers have a hole.
    Sequence,
    /// The fleet's counter was made anew.
    NewEpoch,
    /// A message could not be read.
    Unreadable,
    /// The consumer fell behind and the hand-off was full.
    Overflow,
    /// The subscription was confirmed only after somebody had gone on without it.
    LateSubscription,
}

/// How this replica gets to know of updates.
#[derive(Debug, Clone)]
pub enum Feed {
    /// Everything is ingested by this very process: there is nothing to subscribe to.
    Memory,
    /// Redis pub/sub.
    Redis(RedisWatches),
}

/// The handle of a [`RedisFeed`]; clones share it.
#[derive(Debug, Clone)]
pub struct RedisWatches {
    subscriptions: Subscriptions,
    channels: Arc<Channels>,
}

/// Keeps a fleet's updates coming until it is dropped.
pub struct Watch {
    fleet: FleetId,
    hold: Option<Hold>,
}

impl Feed {
    /// One more watcher of `fleet`. The first one subscribes; the last one's drop unsubscribes, after
    /// the linger.
    #[must_use]
    pub fn watch(&self, fleet: &FleetId) -> Watch {
        let hold = match self {
            Self::Memory => None,
            Self::Redis(redis) => Some(redis.subscriptions.hold(redis.channels.name(fleet))),
        };
        Watch { fleet: fleet.clone(), hold }
    }

    /// Holds a channel that is no fleet's on the same connection; its messages come as
    /// [`FeedEvent::Other`]. `None`: there is no Redis.
    #[must_use]
    pub fn hold(&self, channel: String) -> Option<Hold> {
        match self {
            Self::Memory => None,
            Self::Redis(redis) => Some(redis.subscriptions.hold(channel)),
        }
    }

    /// Whether updates arrive: what readiness asks.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match self {
            Self::Memory => true,
            Self::Redis(redis) => redis.subscriptions.is_up(),
        }
    }
}

impl Watch {
    /// Whose updates.
    #[must_use]
    pub fn fleet(&self) -> &FleetId {
        &self.fleet
    }

    /// Waits until the subscription is confirmed: nothing that is published after this returned is
    /// missed. Cheap when it is confirmed already.
    ///
    /// # Errors
    /// Redis did not confirm within `timeout`. The watch stays: once Redis does confirm, the fleet gets
    /// a [`GapReason::LateSubscription`].
    pub async fn confirmed(&self, timeout: Duration) -> Result<(), Unconfirmed> {
        match &self.hold {
            None => Ok(()),
            Some(hold) => hold.confirmed(timeout).await,
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.fleet).finish()
    }
}
