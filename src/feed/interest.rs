//! Which channels are wanted, and which the server has confirmed: the pure core of interest-driven
//! subscription. Owns no socket and no clock; time is an argument.
//!
//! Invariant: once commands stop failing and time passes, the server's subscriptions equal the wanted
//! channels, whatever the order of holds, releases, confirmations and lost connections. Three rules
//! keep it:
//!
//! 1. At most one command is in flight per channel, so a confirmation has one meaning. While it is in
//!    flight the channel is not confirmed, even if an earlier confirmation said so.
//! 2. The last release does not unsubscribe: a linger does, and a new hold cancels it.
//! 3. Each connection has a [`Generation`]. Losing it makes everything unconfirmed, and answers that
//!    belong to an older one are ignored.
//!
//! # Use
//!
//! Generic over the channel's name `C` (bytes, string) and a tag `T` that lives as long as the channel
//! is known; the connection keeps a waker there. A driver does, for one connection:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use fleetcast::feed::interest::{Command, Interest};
//!
//! let now = Instant::now();
//! let mut interest: Interest<String> = Interest::new(Duration::from_secs(2));
//! interest.hold(&"socket.io#/#room#".to_owned());
//! interest.connected();
//! while let Some(command) = interest.next_command(now, 512) {
//!     // Send it, wait for all its confirmations, then:
//!     interest.confirmed(&command);
//! }
//! assert!(interest.is_confirmed(&"socket.io#/#room#".to_owned()));
//! ```
//!
//! and calls [`Interest::expire`] at [`Interest::deadline`], [`Interest::disconnected`] when the
//! connection ends, [`Interest::refused`] when the server says no.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashMapExt};

/// A connection's number. Answers carry the one of their command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

/// What to ask the server for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start sending the channels' messages.
    Subscribe,
    /// Stop.
    Unsubscribe,
}

/// One command for several channels, none of which has another command in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<C> {
    /// The connection that it is for.
    pub generation: Generation,
    /// What to do.
    pub verb: Verb,
    /// At least one channel.
    pub channels: Vec<C>,
}

/// What a confirmation changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<C> {
    /// The channel.
    pub channel: C,
    /// Whether it is subscribed now, or unsubscribed.
    pub subscribed: bool,
    /// Somebody stopped waiting for this confirmation and went on without it: what was published
    /// meanwhile may be missing there.
    pub late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Subscribing,
    Subscribed,
    Unsubscribing,
}

#[derive(Debug)]
struct Entry<T> {
    holders: usize,
    phase: Phase,
    /// In `Subscribing` and `Subscribed` without holders: when the linger ends. In `Idle`: not before
    /// this time, since the server refused.
    due: Option<Instant>,
    /// Whether the channel waits in `ready`, where it is at most once: so `ready` is bounded.
    queued: bool,
    late: bool,
    /// Wanted when the connection came up, and not answered since.
    restoring: bool,
    tag: T,
}

/// Reference counts per channel, and what the server knows of them.
#[derive(Debug)]
pub struct Interest<C, T = ()> {
    channels: HashMap<C, Entry<T>>,
    /// Channels whose next command may be due; checked again when taken.
    ready: VecDeque<C>,
    timers: BTreeSet<(Instant, C)>,
    linger: Duration,
    generation: u64,
    is_connected: bool,
    confirmed: usize,
    restoring: usize,
}

impl<C: Clone + Eq + Hash + Ord, T: Default> Interest<C, T> {
    /// Nothing is wanted, nothing connected. A channel without holders is kept for `linger`.
    #[must_use]
    pub fn new(linger: Duration) -> Self {
        Self {
            channels: HashMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            linger,
            generation: 0,
            is_connected: false,
            confirmed: 0,
            restoring: 0,
        }
    }

    /// From now on, a channel without holders is kept for `linger`.
    pub fn set_linger(&mut self, linger: Duration) {
        self.linger = linger;
    }

    /// One more holder of `channel`. The tag stays the same for as long as anybody holds it.
    pub fn hold(&mut self, channel: &C) -> &T {
        if !self.channels.contains_key(channel) {
            self.channels.insert(channel.clone(), Entry::new());
        }
        let entry = self.channels.get_mut(channel).expect("it was just inserted");
        entry.holders += 1;
        if entry.holders == 1 && entry.phase != Phase::Idle {
            cancel(&mut self.timers, entry, channel); // The linger is over: wanted again.
        }
        if entry.phase == Phase::Idle && entry.due.is_none() && self.is_connected {
            enqueue(&mut self.ready, entry, channel);
        }
        &self.channels[channel].tag
    }

    /// One holder less; true if nobody holds it any more. Releasing more often than holding is ignored.
    pub fn release(&mut self, channel: &C, now: Instant) -> bool {
        let Some(entry) = self.channels.get_mut(channel).filter(|entry| entry.holders > 0) else {
            return false;
        };
        entry.holders -= 1;
        if entry.holders > 0 {
            return false;
        }
        match entry.phase {
            Phase::Idle | Phase::Unsubscribing => self.forget_if_idle(channel),
            Phase::Subscribing | Phase::Subscribed => {
                let due = now + self.linger;
                entry.due = Some(due);
                self.timers.insert((due, channel.clone()));
            }
        }
        true
    }

    /// Whether messages of `channel` arrive: subscribed, and no command for it in flight.
    #[must_use]
    pub fn is_confirmed(&self, channel: &C) -> bool {
        self.channels.get(channel).is_some_and(|entry| entry.phase == Phase::Subscribed)
    }

    /// Whether `channel` is held, lingers, or has a command in flight.
    #[must_use]
    pub fn knows<Q>(&self, channel: &Q) -> bool
    where
        C: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.channels.contains_key(channel)
    }

    /// The tag of a known channel.
    #[must_use]
    pub fn tag(&self, channel: &C) -> Option<&T> {
        self.channels.get(channel).map(|entry| &entry.tag)
    }

    /// Notes that a holder goes on without the confirmation; see [`Change::late`].
    pub fn mark_late(&mut self, channel: &C) {
        if let Some(entry) = self.channels.get_mut(channel)
            && entry.phase != Phase::Subscribed
        {
            entry.late = true;
        }
    }

    /// How many channels are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether no channel is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// How many channels are confirmed.
    #[must_use]
    pub fn confirmed_len(&self) -> usize {
        self.confirmed
    }

    /// Whether everything that was wanted when the connection came up has been answered.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.is_connected && self.restoring == 0
    }

    /// A new connection is up and knows nothing: everything wanted is due once.
    pub fn connected(&mut self) -> Generation {
        self.disconnected();
        self.is_connected = true;
        for (channel, entry) in &mut self.channels {
            entry.restoring = true;
            enqueue(&mut self.ready, entry, channel);
        }
        self.restoring = self.channels.len();
        Generation(self.generation)
    }

    /// The connection is gone: nothing is confirmed, and what only lingered is forgotten.
    pub fn disconnected(&mut self) {
        self.generation += 1;
        self.is_connected = false;
        self.confirmed = 0;
        self.restoring = 0;
        self.ready.clear();
        self.timers.clear();
        self.channels.retain(|_, entry| {
            (entry.phase, entry.due, entry.queued, entry.restoring) = (Phase::Idle, None, false, false);
            entry.holders > 0
        });
    }

    /// The next command, of at most `channels_max` channels, or `None` if nothing is to be done now.
    /// Its channels count as in flight until [`Self::confirmed`] or [`Self::refused`].
    pub fn next_command(&mut self, now: Instant, channels_max: usize) -> Option<Command<C>> {
        self.expire(now);
        let mut verb = None;
        let mut channels = Vec::new();
        while channels.len() < channels_max {
            let Some(channel) = self.ready.front() else { break };
            let entry = self.channels.get_mut(channel).expect("a queued channel is not forgotten");
            let needed = entry.needed();
            if needed.is_some() && verb.is_some() && needed != verb {
                break; // The other kind goes into the next command, so the order stays fair.
            }
            entry.queued = false;
            let channel = self.ready.pop_front().expect("the front was just seen");
            let Some(needed) = needed else {
                self.forget_if_idle(&channel);
                continue;
            };
            verb = Some(needed);
            entry.phase = match needed {
                Verb::Subscribe => Phase::Subscribing,
                Verb::Unsubscribe => {
                    self.confirmed -= 1;
                    Phase::Unsubscribing
                }
            };
            channels.push(channel);
        }
        verb.map(|verb| Command { generation: Generation(self.generation), verb, channels })
    }

    /// The server did as told. Returns what changed; nothing if the connection is not the current one.
    pub fn confirmed(&mut self, command: &Command<C>) -> Vec<Change<C>> {
        if command.generation.0 != self.generation {
            return Vec::new();
        }
        command.channels.iter().map(|channel| self.confirm(command.verb, channel)).collect()
    }

    /// The server will not do it (an access rule, say): tried again at `retry_at` while wanted.
    /// Only for SUBSCRIBE: an UNSUBSCRIBE that fails leaves the connection in doubt, so drop that.
    pub fn refused(&mut self, command: &Command<C>, retry_at: Instant) {
        if command.generation.0 != self.generation || command.verb != Verb::Subscribe {
            return;
        }
        for channel in &command.channels {
            let Some(entry) = self.channels.get_mut(channel) else { continue };
            cancel(&mut self.timers, entry, channel);
            self.restoring -= usize::from(std::mem::take(&mut entry.restoring));
            entry.phase = Phase::Idle;
            entry.late = true;
            entry.due = Some(retry_at);
            self.timers.insert((retry_at, channel.clone()));
            self.forget_if_idle(channel);
        }
    }

    /// When [`Self::next_command`] may have something to do, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Ends lingers and waits that are over.
    pub fn expire(&mut self, now: Instant) {
        while let Some((due, _)) = self.timers.first()
            && *due <= now
        {
            let (_, channel) = self.timers.pop_first().expect("the first was just seen");
            let entry = self.channels.get_mut(&channel).expect("a channel with a timer is not forgotten");
            entry.due = None;
            if entry.needed().is_some() {
                enqueue(&mut self.ready, entry, &channel);
            }
        }
    }

    fn confirm(&mut self, verb: Verb, channel: &C) -> Change<C> {
        let entry =
            self.channels.get_mut(channel).expect("a channel with a command in flight is not forgotten");
        let late = verb == Verb::Subscribe && std::mem::take(&mut entry.late);
        self.restoring -= usize::from(std::mem::take(&mut entry.restoring));
        entry.phase = match verb {
            Verb::Subscribe => {
                self.confirmed += 1;
                Phase::Subscribed
            }
            Verb::Unsubscribe => Phase::Idle,
        };
        if entry.needed().is_some() {
            enqueue(&mut self.ready, entry, channel);
        }
        self.forget_if_idle(channel);
        Change { channel: channel.clone(), subscribed: verb == Verb::Subscribe, late }
    }

    /// Forgets a channel that nobody holds and the server does not have. One that waits in `ready`
    /// stays until it is taken from there, so that it is there at most once.
    fn forget_if_idle(&mut self, channel: &C) {
        let Some(entry) = self.channels.get_mut(channel) else { return };
        if entry.holders > 0 || entry.phase != Phase::Idle || entry.queued {
            return;
        }
        cancel(&mut self.timers, entry, channel);
        self.restoring -= usize::from(entry.restoring);
        self.channels.remove(channel);
    }
}

impl<T: Default> Entry<T> {
    fn new() -> Self {
        Self {
            holders: 0,
            phase: Phase::Idle,
            due: None,
            queued: false,
            late: false,
            restoring: false,
            tag: T::default(),
        }
    }
}

impl<T> Entry<T> {
    fn needed(&self) -> Option<Verb> {
        match self.phase {
            Phase::Idle if self.holders > 0 && self.due.is_none() => Some(Verb::Subscribe),
            Phase::Subscribed if self.holders == 0 && self.due.is_none() => Some(Verb::Unsubscribe),
            _ => None,
        }
    }
}

fn enqueue<C: Clone, T>(ready: &mut VecDeque<C>, entry: &mut Entry<T>, channel: &C) {
    if !std::mem::replace(&mut entry.queued, true) {
        ready.push_back(channel.clone());
    }
}

fn cancel<C: Clone + Ord, T>(timers: &mut BTreeSet<(Instant, C)>, entry: &mut Entry<T>, channel: &C) {
    if let Some(due) = entry.due.take() {
        timers.remove(&(due, channel.clone()));
    }
}

#[cfg(test)]
#[path = "interest_tests.rs"]
mod tests;
