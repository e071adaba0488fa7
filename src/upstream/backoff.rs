//! How long to wait before the next attempt: pure, given the dice.
//!
//! A far end that others share is spared: a fleet loses it at one moment. The first attempt comes within a second, for
//! mostly it is our own path that hiccuped; if that fails the far end itself is down, and then the fleet's attempts spread
//! over twenty seconds at least, so that no more than a tenth of it comes within any one second.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// What the second bound is where a fleet may be waiting for the same far end.
const SPREAD: Duration = Duration::from_secs(20);

/// Full jitter: anything between nothing and a bound that doubles with each failure, so that a fleet that
/// lost its broker does not come back all at once.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Backoff {
    failures: u32,
    shared: bool,
}

impl Backoff {
    /// For a far end that may have a whole fleet, or for one on this machine.
    pub(super) fn of(shared: bool) -> Backoff {
        Backoff { failures: 0, shared }
    }

    /// `dice` is 0 to 1.
    pub(super) fn after_failure(&mut self, dice: f64) -> Duration {
        let bound = match self.failures.checked_sub(1) {
            Some(more) if self.shared => SPREAD.saturating_mul(1 << more.min(16)),
            Some(_) | None => FIRST.saturating_mul(1 << self.failures.min(16)),
        };
        let bound = bound.min(LONGEST);
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
        let mut shared = Backoff::of(true);
        let bounds: Vec<u64> = (0..7).map(|_| shared.after_failure(1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 20, 40, 80, 160, 300, 300]);
    }

    /// When each of a fleet is connected again to a broker that was gone for so long, in ms since it went.
    fn reconnected(fleet: usize, away_ms: u128, dice: &mut fastrand::Rng) -> Vec<u128> {
        let one = |dice: &mut fastrand::Rng| {
            let (mut backoff, mut now) = (Backoff::of(true), 0);
            while now < away_ms {
                now += backoff.after_failure(dice.f64()).as_millis().max(1);
            }
            now
        };
        (0..fleet).map(|_| one(dice)).collect()
    }

    #[test]
    fn of_a_fleet_that_lost_its_broker_no_more_than_a_tenth_comes_back_within_a_second() {
        let mut dice = fastrand::Rng::with_seed(1);
        for away_ms in [1500, 5_000, 20_000, 60_000, 600_000] {
            let fleet = 2000;
            let times = reconnected(fleet, away_ms, &mut dice);
            let busiest =
                times.iter().map(|from| times.iter().filter(|at| (*from..from + 1000).contains(at)).count());
            let busiest = busiest.max().unwrap_or(0);
            assert!(busiest * 10 <= fleet, "{busiest} of {fleet} after {away_ms} ms");
        }
    }
}
