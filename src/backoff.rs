//! How long to wait before the next attempt. Pure: the jitter is an argument.
//! Invariant: a wait is between half of the step and the step, and no step exceeds `max`.

use std::time::Duration;

/// Doubling waits from `min` to `max`.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    step: Duration,
}

impl Backoff {
    /// The first wait is up to `min`.
    #[must_use]
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, step: min }
    }

    /// The next wait; `jitter` is uniform in 0..1 and spreads replicas that lost the same server.
    pub(crate) fn next_wait(&mut self, jitter: f64) -> Duration {
        let wait = self.step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.step = (self.step * 2).min(self.max);
        wait
    }

    /// It worked: the next failure waits little again.
    pub(crate) fn reset(&mut self) {
        self.step = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_again_after_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500));
        let waits: Vec<_> = (0..5).map(|_| backoff.next_wait(1.0)).collect();
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(500), ms(500)]);
        assert_eq!(backoff.next_wait(0.0), ms(250));
        backoff.reset();
        assert_eq!(backoff.next_wait(1.0), ms(100));
    }
}
