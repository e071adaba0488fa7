//! How fast history may go: pure, given the time.

use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// What may go at once after a pause, so that timers of a millisecond do not slow a fast pace down.
const BURST: Duration = Duration::from_millis(100);

/// So many records a second on average, or as many as go.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    /// When the next one is due if all come evenly.
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU32>) -> Pace {
        let every = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
        Pace { every, next: None }
    }

    /// When the next one may go; `None` for now.
    pub(super) fn not_before(&self, now: Instant) -> Option<Instant> {
        let earliest = self.next?.checked_sub(BURST)?;
        (earliest > now).then_some(earliest)
    }

    pub(super) fn take(&mut self, now: Instant) {
        self.next = Some(self.next.map_or(now, |next| next.max(now)) + self.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many go within a time in which somebody always waits.
    fn gone(rate: Option<NonZeroU32>, span: Duration) -> usize {
        let (mut pace, start) = (Pace::new(rate), Instant::now());
        let (mut now, mut count) = (start, 0);
        while now < start + span && count < 1_000_000 {
            match pace.not_before(now) {
                // A timer fires late by up to a millisecond.
                Some(at) => now = at + Duration::from_millis(1),
                None => {
                    pace.take(now);
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn the_rate_is_kept_on_average_however_fast_and_a_pause_is_not_made_up_for() {
        for rate in [1, 50, 3000] {
            let count = gone(NonZeroU32::new(rate), Duration::from_secs(60));
            let wanted = usize::try_from(rate).unwrap() * 60;
            assert!((wanted * 98 / 100..=wanted * 102 / 100 + 2).contains(&count), "{count} at {rate}/s");
        }
        let (mut pace, start) = (Pace::new(NonZeroU32::new(10)), Instant::now());
        pace.take(start);
        let later = start + Duration::from_secs(3600);
        let mut at_once = 0;
        while pace.not_before(later).is_none() {
            pace.take(later);
            at_once += 1;
        }
        assert!(at_once <= 3, "{at_once} at once");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        assert_eq!(gone(None, Duration::from_secs(1)), 1_000_000);
    }
}
