//! Every fleet's updates on the channels of the legacy ingestion, on a connection of its own: what regions
//! need where no store holds the state.
//!
//! Invariant: it always reads, and what is read is handed over at once; nothing waits here.

use std::sync::Arc;

use super::{
    Channels,
    subscriber::{self, Event, Subscriber},
};
use crate::{clock::epoch_ms, fleet::FleetBatch, observe::Metrics, store::Redis};

/// The connection. Nothing is connected before the first [`Self::next`]; dropping it closes the connection.
#[derive(Debug)]
pub struct AllFleets {
    subscriber: Subscriber,
    channels: Channels,
    metrics: Arc<Metrics>,
}

/// What [`AllFleets::next`] has to tell.
#[derive(Debug)]
pub enum Passing {
    /// Updates in the order in which they were published; one fleet may come several times.
    Updates(Vec<FleetBatch>),
    /// The connection is gone: updates are missed from now on.
    Lost,
    /// The connection stands: nothing is missed from here on. Told after the first connect, too.
    Restored,
}

impl AllFleets {
    /// A connection to a server of `redis`.
    #[must_use]
    pub fn new(redis: Redis, channels: Channels, metrics: &Arc<Metrics>) -> Self {
        let gauges = subscriber::Gauges {
            lost: metrics.feed_connections_lost.clone(),
            round_trip: metrics.redis_round_trip.clone(),
            ..subscriber::Gauges::default()
        };
        let connection =
            subscriber::Settings { patterns: vec![channels.pattern()], ..subscriber::Settings::default() };
        Self { subscriber: Subscriber::new(redis, connection, gauges), channels, metrics: metrics.clone() }
    }

    /// The next thing that happens. The caller must not wait long in between: what Redis sends is read
    /// into memory meanwhile.
    pub async fn next(&mut self) -> Passing {
        loop {
            match self.subscriber.next().await {
                Event::Messages(messages) => return Passing::Updates(self.updates(&messages)),
                Event::Lost => return Passing::Lost,
                Event::Restored => return Passing::Restored,
                Event::Changed(_) => {}
            }
        }
    }

    fn updates(&self, messages: &[redis::Msg]) -> Vec<FleetBatch> {
        let received_ms = epoch_ms();
        let read = |message: &redis::Msg| {
            // Whatever else is published under the prefix is no fleet's.
            let fleet = self.channels.owner(message.get_channel_name())?;
            match self.channels.decode(&fleet, message.get_payload_bytes(), received_ms) {
                Ok((batch, _)) => Some(batch),
                Err(_) => {
                    self.metrics.feed_undecodable.inc();
                    None
                }
            }
        };
        messages.iter().filter_map(read).collect()
    }
}
