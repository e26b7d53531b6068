//! One Redis pub/sub connection whose subscriptions follow interest: the task's side of
//! [`super::interest`]. Owns the connection, its retries and its liveness probe; does not look into
//! messages.
//!
//! Invariant: it heals by itself. Whatever ends the connection — a restart, a kick for a full output
//! buffer, a stopped process, a half-open network — is noticed within [`Settings::silence_max`] plus
//! [`Settings::probe_interval`], told as [`Event::Lost`], retried with backoff, and followed by
//! [`Event::Restored`] once every wanted channel is confirmed again.
//!
//! # Use
//!
//! ```no_run
//! # use std::time::Duration;
//! # use fleetcast::feed::subscriber::{self, Event, Settings, Subscriber};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = "redis://127.0.0.1/".parse()?;
//! let mut subscriber = Subscriber::new(redis, Settings::default(), Default::default());
//! let subscriptions = subscriber.subscriptions(); // Cheap to clone, usable from any task.
//! tokio::spawn(async move {
//!     loop {
//!         match subscriber.next().await {
//!             Event::Messages(messages) => { /* `redis::Msg`s that were ready at once, in order */ }
//!             Event::Changed(_) | Event::Lost | Event::Restored => {}
//!         }
//!     }
//! });
//! let hold = subscriptions.hold("socket.io#/#room#");
//! hold.confirmed(Duration::from_secs(2)).await?;
//! drop(hold); // The last hold's drop unsubscribes after the linger.
//! # Ok(()) }
//! ```
//!
//! The caller must keep calling [`Subscriber::next`] and must not wait long in between: what Redis
//! sends is read into memory meanwhile.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    connection::{Connection, DialError, Input},
    interest::{Change, Command},
    subscriptions::{Channel, Shared, Subscriptions},
};
use crate::{backoff::Backoff, observe::Seconds, store::Redis};

/// Times and fixed subscriptions of one connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a channel stays subscribed after its last hold.
    pub linger: Duration,
    /// First and longest wait between attempts to connect.
    pub backoff_min: Duration,
    /// The longest wait between attempts to connect.
    pub backoff_max: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How often the connection is probed.
    pub probe_interval: Duration,
    /// How long nothing may arrive, not even the answer to a probe, before the connection is given up.
    pub silence_max: Duration,
    /// How long to wait before a refused channel is tried again.
    pub refused_retry: Duration,
    /// Patterns subscribed on every connection before anything else, for as long as it lives.
    pub patterns: Vec<String>,
    /// Whether its channels are shard channels (Redis 7), for which there are no patterns.
    pub shard_channels: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            linger: Duration::from_secs(2),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            probe_interval: Duration::from_secs(1),
            silence_max: Duration::from_secs(4),
            refused_retry: Duration::from_secs(5),
            patterns: Vec::new(),
            shard_channels: false,
        }
    }
}

/// What a connection counts.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Channels that the server has confirmed.
    pub subscriptions: Gauge,
    /// Connections that were lost.
    pub lost: Counter,
    /// How long probes take to be answered.
    pub round_trip: Seconds,
}

/// What [`Subscriber::next`] has to tell.
#[derive(Debug)]
pub enum Event {
    /// Messages that were ready at once, in the order in which Redis sent them. After an unsubscribe
    /// or between holders they may belong to a channel that nobody holds.
    Messages(Vec<redis::Msg>),
    /// Confirmations that arrived.
    Changed(Vec<Change<Channel>>),
    /// The connection is gone: messages are missed from now on.
    Lost,
    /// Connected, and every channel that was wanted then is confirmed (or refused): from here on
    /// nothing is missed. Told after the first connect, too.
    Restored,
}

/// The connection. Pull its events with [`Self::next`]; dropping it closes the connection.
pub struct Subscriber {
    shared: Arc<Shared>,
    redis: Redis,
    settings: Settings,
    backoff: Backoff,
    gauges: Gauges,
    link: Link,
    /// Told by the next calls of `next`; a handful, since nothing is done before it is empty.
    events: VecDeque<Event>,
}

enum Link {
    Down { retry_at: Instant },
    Dialing(BoxFuture<'static, Result<Connection, DialError>>),
    Up(Box<Connection>),
}

impl Subscriber {
    /// A connection to a server of `redis`, not dialed before the first [`Self::next`].
    #[must_use]
    pub fn new(redis: Redis, settings: Settings, gauges: Gauges) -> Self {
        Self {
            shared: Subscriptions::new(settings.linger).0,
            redis,
            backoff: Backoff::new(settings.backoff_min, settings.backoff_max),
            settings,
            gauges,
            link: Link::Down { retry_at: Instant::now() },
            events: VecDeque::new(),
        }
    }

    /// The handle by which other tasks hold channels.
    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions {
        Subscriptions(self.shared.clone())
    }

    /// The next event. Cancel-safe: nothing is lost when the returned future is dropped.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match &mut self.link {
                Link::Down { retry_at } => {
                    sleep_until(*retry_at).await;
                    self.dial();
                }
                Link::Dialing(dialing) => match dialing.await {
                    Ok(connection) => self.connected(connection),
                    Err(error) => self.failed(&error),
                },
                Link::Up(connection) => {
                    connection.send_due(&self.shared, &self.settings);
                    let deadline = connection.deadline(&self.shared, &self.settings);
                    let input = connection.input(&self.shared.wake, deadline, &self.settings).await;
                    self.take(input);
                }
            }
        }
    }

    fn dial(&mut self) {
        let redis = self.redis.clone();
        let (settings, limit) = (self.settings.clone(), self.settings.connect_timeout);
        let dialing = async move {
            timeout(limit, Connection::dial(&redis, &settings))
                .await
                .unwrap_or(Err(DialError::Timeout(limit)))
        };
        self.link = Link::Dialing(dialing.boxed());
    }

    fn connected(&mut self, connection: Connection) {
        self.shared.interest().connected();
        self.link = Link::Up(Box::new(connection));
        self.tell_if_restored();
    }

    fn failed(&mut self, error: &DialError) {
        let wait = self.backoff.next_wait(rand::random());
        tracing::warn!(redis = %self.redis, %error, retry_in_ms = wait.as_millis(), "can not subscribe");
        self.link = Link::Down { retry_at: Instant::now() + wait };
    }

    fn lost(&mut self, why: &str) {
        let wait = self.backoff.next_wait(rand::random());
        tracing::warn!(redis = %self.redis, why, retry_in_ms = wait.as_millis(), "subscriptions lost");
        self.link = Link::Down { retry_at: Instant::now() + wait };
        self.shared.interest().disconnected();
        self.shared.is_up.store(false, Ordering::Release);
        self.gauges.subscriptions.set(0);
        self.gauges.lost.inc();
        self.events.push_back(Event::Lost);
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Messages(messages) => self.events.push_back(Event::Messages(messages)),
            Input::Done(command, refused) => self.done(command, &refused),
            Input::Ended(why) => self.lost(&why),
            Input::Answered(time) => self.gauges.round_trip.observe(time.as_secs_f64()),
            Input::Look => {}
        }
    }

    fn done(&mut self, mut command: Command<Channel>, refused: &[(Channel, redis::RedisError)]) {
        let retry_at = Instant::now() + self.settings.refused_retry;
        let mut interest = self.shared.interest();
        if !refused.is_empty() {
            for (channel, error) in refused {
                tracing::error!(%channel, %error, "redis refuses a subscription");
            }
            command.channels.retain(|channel| refused.iter().all(|(other, _)| other != channel));
            let channels = refused.iter().map(|(channel, _)| channel.clone()).collect();
            interest.refused(&Command { channels, ..command.clone() }, retry_at.into_std());
        }
        let changes = interest.confirmed(&command);
        let confirmed = changes.iter().filter(|change| change.subscribed);
        let waiting: Vec<_> = confirmed.filter_map(|change| interest.tag(&change.channel).cloned()).collect();
        self.gauges.subscriptions.set(i64::try_from(interest.confirmed_len()).unwrap_or(i64::MAX));
        drop(interest);
        for waiter in waiting {
            waiter.notify_waiters();
        }
        if !changes.is_empty() {
            self.events.push_back(Event::Changed(changes));
        }
        self.tell_if_restored();
    }

    fn tell_if_restored(&mut self) {
        if self.shared.interest().is_restored() && !self.shared.is_up.swap(true, Ordering::AcqRel) {
            tracing::info!(redis = %self.redis, "subscriptions are up");
            self.backoff.reset();
            self.events.push_back(Event::Restored);
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.link {
            Link::Down { .. } => "down",
            Link::Dialing(_) => "dialing",
            Link::Up(_) => "up",
        };
        f.debug_struct("Subscriber").field("link", &state).finish_non_exhaustive()
    }
}
