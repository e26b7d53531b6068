//! The wall clock, as everybody reads it. Event times and ages only: deadlines go by `Instant`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in epoch milliseconds.
pub(crate) fn epoch_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How long ago that was; nothing for what is still to come.
pub(crate) fn since_ms(epoch_ms_then: i64) -> Duration {
    Duration::from_millis(u64::try_from(epoch_ms() - epoch_ms_then).unwrap_or(0))
}
