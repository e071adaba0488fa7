//! How long to wait before the next attempt: pure, given the dice.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Full jitter: anything between nothing and a bound that doubles with each failure, so that a fleet that
/// lost its broker does not come back all at once.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// `dice` is 0 to 1.
    pub(super) fn after_failure(&mut self, dice: f64) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(dice.clamp(0.0, 1.0))
    }

    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_five_minutes_and_begins_anew() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u64> = (0..11).map(|_| backoff.after_failure(1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        backoff.worked();
        assert_eq!(backoff.after_failure(0.5), Duration::from_millis(500));
    }
}
