//! What changes while the process runs: the certificate, keys for tokens, origins, trusted proxies and limits,
//! on SIGHUP or when one of the files changes that they stand in.
//!
//! Invariant: a configuration that cannot be read, or does not fit together, changes nothing.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::Signal,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads the configuration anew, from wherever it came; or says in one line why it can not be.
pub type Reread = fn() -> Result<Config, String>;

/// Waits for reasons to read the configuration again.
#[derive(Debug)]
pub struct Reload {
    /// SIGHUP.
    pub hangup: Signal,
    /// Where it comes from.
    pub reread: Reread,
    /// The files that it stands in.
    pub files: Vec<PathBuf>,
}

impl Reload {
    /// Hands each new configuration to `apply`, which takes all of it or says why not, until `stop`.
    pub async fn run(mut self, apply: impl Fn(&Config) -> Result<(), String>, stop: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut used = self.fingerprint();
        let mut seen = used.clone();
        loop {
            let reason = tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = self.hangup.recv() => "SIGHUP",
                _ = looks.tick() => {
                    let now = self.fingerprint();
                    // What still changes is not read yet: it may be half written.
                    let is_settled = now == seen;
                    seen = now;
                    if !is_settled || seen == used {
                        continue;
                    }
                    "a file changed"
                }
            };
            used = self.fingerprint();
            seen.clone_from(&used);
            match (self.reread)().and_then(|config| apply(&config)) {
                Ok(()) => {
                    tracing::info!(reason, "certificate, keys, origins and limits were read again");
                }
                Err(error) => {
                    tracing::error!(reason, error, "the configuration stays as it was");
                }
            }
        }
    }

    /// What tells one state of the files from another, whatever links lead to them.
    fn fingerprint(&self) -> Vec<Option<(SystemTime, u64)>> {
        let of = |file: &PathBuf| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        self.files.iter().map(of).collect()
    }
}
