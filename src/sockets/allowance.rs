//! How often one viewer may ask for something: so many times a second, and some at once after a pause.

use std::time::Instant;

#[derive(Debug)]
pub(super) struct Allowance {
    per_second: f64,
    burst: f64,
    left: f64,
    counted: Instant,
}

impl Allowance {
    pub(super) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, left: burst, counted: Instant::now() }
    }

    /// Takes one, if one is left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let refilled = now.duration_since(self.counted).as_secs_f64() * self.per_second;
        self.left = (self.left + refilled).min(self.burst);
        self.counted = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_storm_is_refused_and_a_steady_rate_below_the_bound_is_not() {
        let (mut allowance, start) = (Allowance::new(30.0, 60.0), Instant::now());
        let granted = (0..300).filter(|n| allowance.take(start + Duration::from_millis(10 * n))).count();
        assert!((140..=152).contains(&granted), "{granted} of 300 in 3 s");
        let later = start + Duration::from_secs(60);
        assert!((0..200).all(|n| allowance.take(later + Duration::from_millis(50 * n))));
    }
}
