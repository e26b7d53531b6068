//! A record of a source: an update, its fleet, and where it was read.

use std::sync::Arc;

use super::{FleetId, Update};

/// A place in a log of records, such as a Kafka partition: how a redelivered record is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The log, `<topic>/<partition>`.
    pub log: Arc<str>,
    /// The record's number in it.
    pub offset: i64,
}

/// An update and the fleet that the record says it belongs to.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose asset it is.
    pub fleet: FleetId,
    /// The message; its `asset` is always there.
    pub update: Update,
    /// Where the source read it, if the source can deliver a record twice.
    pub origin: Option<Origin>,
}

impl Record {
    /// Refuses event times that lie more than `skew_ms_max` ahead of `now_ms`: newest wins, so a clock
    /// that is years ahead would freeze its asset.
    ///
    /// # Errors
    /// The time is too far ahead.
    pub fn check_skew(&self, now_ms: i64, skew_ms_max: i64) -> Result<(), Unusable> {
        let ahead_ms = self.update.ts_ms.saturating_sub(now_ms);
        if ahead_ms > skew_ms_max {
            let reason =
                format!("ts {} is {ahead_ms} ms ahead, allowed are {skew_ms_max}", self.update.ts_ms);
            return Err(Unusable::new("future", reason));
        }
        Ok(())
    }
}

/// Why a record can not be used: `code` is one of a few words, the text says it all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unusable {
    /// A word for metrics: `null`, `utf8`, `json`, `missing`, `type`, `range`, `future` or `size`.
    pub code: &'static str,
    /// What is wrong, naming the field.
    pub reason: String,
}

impl Unusable {
    /// A reason under its code.
    #[must_use]
    pub fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::fleet::FieldMap;

    #[test]
    fn a_clock_far_ahead_is_refused() {
        let record = Bytes::from_static(br#"{"assetId":"a","fleetId":"f","ts":1790000300000}"#);
        let record = FieldMap::default().parse(record).unwrap();
        assert_eq!(record.check_skew(1_790_000_000_000, 300_000), Ok(()));
        let error = record.check_skew(1_790_000_000_000, 299_999).unwrap_err();
        assert!(error.code == "future" && error.reason.contains("ts 1790000300000"), "{error:?}");
    }
}
