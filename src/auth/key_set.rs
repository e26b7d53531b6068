//! The keys that an issuer publishes: fetched at the start, every ten minutes, and when a token names a
//! key that is not among them.
//!
//! Invariants: whatever tokens say, the issuer is asked at most once in [`PACE`]; while it is down, with
//! waits that grow; keys that were good stay in use until it answers with others.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use http::Uri;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Denied,
    fetch::{Fetch, FetchError},
    keys::{BadKey, Keys},
};
use crate::{
    backoff::Backoff,
    observe::{Condition, Metrics},
};

/// How often the keys are fetched when nothing is amiss.
const REFRESH: Duration = Duration::from_secs(600);
/// The shortest time between two fetches.
const PACE: Duration = Duration::from_secs(5);
/// The waits while the issuer does not answer.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long a viewer waits for keys.
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Keys(#[from] BadKey),
}

/// What viewers' connections and the task share.
#[derive(Debug)]
struct Shared {
    /// Before this, no viewer can bring about a fetch.
    not_before: Mutex<Instant>,
    wanted: Notify,
    /// How many fetches have ended.
    rounds: watch::Sender<u64>,
}

/// A handle on the task that keeps the keys.
#[derive(Debug, Clone)]
pub(super) struct KeySet(Arc<Shared>);

impl KeySet {
    /// Waits for a fetch that begins now, if it may.
    pub(super) async fn fetched_anew(&self) -> Result<(), Denied> {
        let mut rounds = self.0.rounds.subscribe();
        rounds.mark_unchanged();
        if Instant::now() < *self.0.not_before.lock().unwrap_or_else(PoisonError::into_inner) {
            // The keys may have changed since the last fetch, so it is no answer to the token.
            return Err(Denied::Unavailable);
        }
        self.0.wanted.notify_one();
        match timeout(WAIT_MAX, rounds.changed()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Denied::Unavailable),
        }
    }

    /// Fetches soon.
    pub(super) fn refresh(&self) {
        self.0.wanted.notify_one();
    }
}

/// Keeps the keys. To be run.
#[derive(Debug)]
pub struct KeySetTask {
    fetch: Fetch,
    keys: Arc<RwLock<Arc<Keys>>>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    condition: Condition,
}

impl KeySetTask {
    pub(super) fn new(
        url: Uri,
        ca: Option<&Path>,
        keys: Arc<RwLock<Arc<Keys>>>,
        metrics: Arc<Metrics>,
        condition: Condition,
    ) -> anyhow::Result<(KeySet, Self)> {
        condition.set_unready("the keys for tokens have not been fetched yet");
        let shared = Arc::new(Shared {
            not_before: Mutex::new(Instant::now()),
            wanted: Notify::new(),
            rounds: watch::Sender::new(0),
        });
        let task = Self { fetch: Fetch::new(url, ca)?, keys, shared: shared.clone(), metrics, condition };
        Ok((KeySet(shared), task))
    }

    /// Fetches until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        loop {
            let Some(outcome) = stop.run_until_cancelled(self.fetch()).await else { return };
            let wait = match outcome {
                Ok(()) => {
                    backoff.reset();
                    REFRESH
                }
                Err(error) => {
                    self.metrics.auth_fetches_failed.inc();
                    tracing::warn!(%error, "the keys for tokens could not be fetched");
                    backoff.next_wait(rand::random())
                }
            };
            let now = Instant::now();
            let not_before = now + wait.min(PACE);
            *self.shared.not_before.lock().unwrap_or_else(PoisonError::into_inner) = not_before;
            self.shared.rounds.send_modify(|rounds| *rounds += 1);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(now + wait) => {}
                () = self.wanted_after(not_before) => {}
            }
        }
    }

    /// Somebody wants keys, and may have them.
    async fn wanted_after(&self, not_before: Instant) {
        sleep_until(not_before).await;
        self.shared.wanted.notified().await;
    }

    async fn fetch(&self) -> Result<(), Failure> {
        let keys = Keys::from_jwks(&self.fetch.get().await?)?;
        let count = keys.len();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        self.metrics.auth_keys.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.condition.set_ready();
        tracing::debug!(keys = count, "the keys for tokens were fetched");
        Ok(())
    }
}
