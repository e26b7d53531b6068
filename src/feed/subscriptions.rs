//! Who wants which channel of a connection: handles that any task may hold.
//!
//! Invariant: a [`Hold`] counts from its creation to its drop, whatever happens to the connection, so
//! an aborted connect attempt can not leave a subscription behind.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::interest::Interest;

/// The name of a channel.
pub type Channel = Arc<str>;

/// Interest in channels of one connection; clones share it.
#[derive(Clone)]
pub struct Subscriptions(pub(super) Arc<Shared>);

pub(super) struct Shared {
    /// A std mutex: taken for a few map operations, never held across an await.
    interest: Mutex<Interest<Channel, Arc<Notify>>>,
    /// The connection's task has something to look at.
    pub(super) wake: Notify,
    pub(super) is_up: AtomicBool,
}

/// Keeps a channel subscribed until it is dropped.
pub struct Hold {
    shared: Arc<Shared>,
    channel: Channel,
    confirmed: Arc<Notify>,
}

/// SUBSCRIBE was not confirmed in time: Redis is away, slow, or refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("channel {channel:?}: subscription not confirmed within {} ms", timeout.as_millis())]
pub struct Unconfirmed {
    /// Which channel.
    pub channel: Channel,
    /// How long was waited.
    pub timeout: Duration,
}

impl Subscriptions {
    pub(super) fn new(linger: Duration) -> Self {
        Self(Arc::new(Shared {
            interest: Mutex::new(Interest::new(linger)),
            wake: Notify::new(),
            is_up: AtomicBool::new(false),
        }))
    }

    /// One more holder of `channel`; the first one subscribes.
    #[must_use]
    pub fn hold(&self, channel: impl Into<Channel>) -> Hold {
        let channel = channel.into();
        let mut interest = self.0.interest();
        let confirmed = interest.hold(&channel).clone();
        let is_confirmed = interest.is_confirmed(&channel);
        drop(interest);
        if !is_confirmed {
            self.0.wake.notify_one();
        }
        Hold { shared: self.0.clone(), channel, confirmed }
    }

    /// The last drop of a [`Hold`] unsubscribes at once from now on: the process is ending.
    pub fn end_lingering(&self) {
        self.0.interest().set_linger(Duration::ZERO);
    }

    /// Whether `channel` is held or lingers.
    #[must_use]
    pub fn knows(&self, channel: &str) -> bool {
        self.0.interest().knows(channel)
    }

    /// Channels held or lingering, and how many of them are confirmed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let interest = self.0.interest();
        (interest.len(), interest.confirmed_len())
    }

    /// Whether the connection stands and nothing is missed, as told by [`super::subscriber::Event::Restored`].
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.is_up.load(Ordering::Acquire)
    }
}

impl Shared {
    pub(super) fn interest(&self) -> MutexGuard<'_, Interest<Channel, Arc<Notify>>> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Which channel.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Waits until the server has confirmed the subscription: what is published after this returned
    /// arrives. Costs one map look-up when it is confirmed already.
    ///
    /// # Errors
    /// Not confirmed within `within`. The hold stays, and [`super::interest::Change::late`] will say when it is.
    pub async fn confirmed(&self, within: Duration) -> Result<(), Unconfirmed> {
        if self.is_confirmed() {
            return Ok(());
        }
        if timeout(within, self.wait()).await.is_ok() {
            return Ok(());
        }
        let mut interest = self.shared.interest();
        if interest.is_confirmed(&self.channel) {
            return Ok(());
        }
        interest.mark_late(&self.channel);
        Err(Unconfirmed { channel: self.channel.clone(), timeout: within })
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.shared.interest().is_confirmed(&self.channel)
    }

    async fn wait(&self) {
        loop {
            let notified = self.confirmed.notified();
            tokio::pin!(notified);
            // Registered before the check, so a confirmation between the two is not missed.
            notified.as_mut().enable();
            if self.is_confirmed() {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // In a wave of goodbyes most channels have other holders, and the connection's task nothing to look at.
        if self.shared.interest().release(&self.channel, Instant::now().into_std()) {
            self.shared.wake.notify_one();
        }
    }
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (known, confirmed) = self.counts();
        f.debug_struct("Subscriptions").field("known", &known).field("confirmed", &confirmed).finish()
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.channel).finish()
    }
}
