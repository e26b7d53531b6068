//! The signals that end the process. Invariant: once installed, none is missed, and none is fatal by itself.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGHUP, which asks for the configuration to be read again and would else end the process.
///
/// # Errors
/// The runtime has no signal driver.
pub fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// SIGTERM (orchestrators) and SIGINT (Ctrl-C).
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over both signals; call it before anything worth a clean end has begun.
    ///
    /// # Errors
    /// The runtime has no signal driver.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal and names it. The first asks for a clean end; whoever sends a second one
    /// has lost patience.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
