//! The condition `kafka`: ready unless one of its parts has a reason.
//! Invariant: a part that is well again takes back its own reason and no other's.

use std::sync::{Arc, Mutex, PoisonError};

use crate::observe::Condition;

/// Who may have a reason, the most telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Brokers and topics.
    Cluster,
    /// A consumer that lags and does not move.
    Consumer,
    /// The dead-letter topic.
    Letters,
}

#[derive(Debug, Clone)]
pub(super) struct Health {
    condition: Condition,
    reasons: Arc<Mutex<[Option<String>; 3]>>,
}

impl Health {
    pub(super) fn new(condition: Condition) -> Self {
        let reasons = [Some("connecting".to_owned()), None, None];
        Self { condition, reasons: Arc::new(Mutex::new(reasons)) }
    }

    pub(super) fn set(&self, part: Part, reason: Option<String>) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons[part as usize] = reason;
        match reasons.iter().flatten().next() {
            None => self.condition.set_ready(),
            Some(reason) => self.condition.set_unready(reason.clone()),
        }
    }
}
