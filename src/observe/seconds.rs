//! A histogram of seconds with buckets from a millisecond to a minute, that the process can read itself.
//! Invariant: an observation is two additions, without a lock.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds in seconds.
const BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Durations in seconds.
#[derive(Debug, Clone, Default)]
pub struct Seconds(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The last is for what is above all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

/// How many durations fell into each bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Distribution([u64; BOUNDS.len() + 1]);

impl Seconds {
    /// Takes one duration into account.
    pub fn observe(&self, seconds: f64) {
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.0.buckets[bucket].fetch_add(1, Relaxed);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates at both ends"
        )]
        self.0.sum_ns.fetch_add((seconds * 1e9) as u64, Relaxed);
    }

    /// Everything observed so far.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        Distribution(std::array::from_fn(|bucket| self.0.buckets[bucket].load(Relaxed)))
    }
}

impl Distribution {
    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|bucket| self.0[bucket].saturating_sub(earlier.0[bucket])))
    }

    /// The quantile `share` (0 to 1) in seconds, taking durations to lie evenly in their bucket; the highest
    /// bound for what is above it, and nothing where nothing was observed.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.0.iter().sum();
        let rank = share * total as f64;
        let (mut below, mut low) = (0.0, 0.0);
        for (count, high) in self.0.iter().zip(BOUNDS) {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(low + (high - low) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            (below, low) = (below + count, high);
        }
        (total > 0).then_some(low)
    }
}

impl TypedMetric for Seconds {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Seconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.distribution().0;
        // The encoder adds the counts up.
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of years")]
        let sum = self.0.sum_ns.load(Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn prometheus_reads_counts_that_add_up_to_infinity() {
        let seconds = Seconds::default();
        for duration in [0.0, 0.001, 0.002, 0.2, 90.0] {
            seconds.observe(duration);
        }
        let mut registry = Registry::default();
        registry.register("wait", "Waits", seconds);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "wait_sum 90.203",
            "wait_count 5",
            "wait_bucket{le=\"0.001\"} 2",
            "wait_bucket{le=\"0.0025\"} 3",
            "wait_bucket{le=\"0.1\"} 3",
            "wait_bucket{le=\"0.25\"} 4",
            "wait_bucket{le=\"60.0\"} 4",
            "wait_bucket{le=\"+Inf\"} 5",
        ] {
            assert!(text.lines().any(|had| had == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn quantiles_of_what_came_since() {
        let seconds = Seconds::default();
        seconds.observe(50.0);
        let before = seconds.distribution();
        assert_eq!(before.since(&before).quantile(0.5), None);
        for _ in 0..99 {
            seconds.observe(0.04);
        }
        seconds.observe(80.0);
        let since = seconds.distribution().since(&before);
        let median = since.quantile(0.5).unwrap();
        assert!((0.025..=0.05).contains(&median), "{median}");
        assert_eq!(since.quantile(1.0), Some(60.0));
        assert!(since.quantile(0.99).unwrap() <= 0.05);
    }
}
