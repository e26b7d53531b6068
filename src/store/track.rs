//! Recent tracks: where an asset was, thinned and bounded.
//!
//! Invariant: whether an update adds a point depends on two event times alone, so every replica and
//! every store thins alike, whatever was restarted in between.

use serde::{Deserialize, Serialize};

use crate::fleet::Position;

/// Where an asset was at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrackPoint {
    /// Event time, epoch milliseconds.
    #[serde(rename = "ts")]
    pub ts_ms: i64,
    /// Where it was.
    #[serde(flatten)]
    pub position: Position,
}

/// How much of a track is kept.
#[derive(Debug, Clone, Copy)]
pub struct TrackRule {
    /// Points of one asset; 0 keeps no tracks.
    pub points_max: usize,
    /// At most one point falls into each interval of this length.
    pub interval_ms: i64,
}

impl TrackRule {
    /// Whether a position at `ts_ms` is a new point of the track of an asset that was heard of at
    /// `known_ts_ms` before.
    pub(super) fn adds_point(&self, known_ts_ms: Option<i64>, ts_ms: i64) -> bool {
        let interval = |ts_ms: i64| ts_ms.div_euclid(self.interval_ms.max(1));
        self.points_max > 0 && known_ts_ms.is_none_or(|known| interval(known) < interval(ts_ms))
    }
}

impl Default for TrackRule {
    fn default() -> Self {
        Self { points_max: 120, interval_ms: 10_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interval_has_one_point() {
        let rule = TrackRule { points_max: 3, interval_ms: 1000 };
        assert!(rule.adds_point(None, 1500));
        assert!(!rule.adds_point(Some(1500), 1999));
        assert!(rule.adds_point(Some(1999), 2000));
        assert!(!TrackRule { points_max: 0, interval_ms: 1000 }.adds_point(None, 0));
    }

    #[test]
    fn a_point_is_written_flat() {
        let point = TrackPoint { ts_ms: 5, position: Position { lat: 1.5, lon: -2.0 } };
        assert_eq!(serde_json::to_string(&point).unwrap(), r#"{"ts":5,"lat":1.5,"lon":-2.0}"#);
    }
}
