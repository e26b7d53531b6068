//! Telling a task something where nobody can wait for it.
//!
//! Invariant: nothing is lost; what does not fit now, or is for later, waits in a task of its own.

use std::time::Duration;

use tokio::sync::mpsc::{Sender, WeakSender, error::TrySendError};

/// Sends at once if there is room, and otherwise when there is: in a storm of leaves, of which there are as
/// many as there were members.
pub(super) fn send_soon<T: Send + 'static>(sender: &Sender<T>, item: T) {
    if let Err(TrySendError::Full(item)) = sender.try_send(item) {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(item).await.ok() });
    }
}

/// Sends after a pause, unless the task is gone by then.
pub(super) fn send_later<T: Send + 'static>(sender: WeakSender<T>, pause: Duration, item: T) {
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        if let Some(sender) = sender.upgrade() {
            sender.send(item).await.ok();
        }
    });
}
