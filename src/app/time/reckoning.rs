//! What to make of the wall clock: pure, given both clocks and what the witness says.

use super::witness::Word;
use super::{JITTER_MS, Now};
use crate::model::{Mono, Timestamp};

/// While the clock is unsure, only a step of this much is followed: somebody has set it.
const SET_MS: u64 = 1000;

/// What a look has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// The clock is known to be right from here on, by this word.
    Known(Word),
    /// It says a time that cannot be.
    Lost,
    /// It was set by so many ms.
    Stepped(i64),
}

#[derive(Debug)]
pub(super) struct Reckoning {
    pub(super) now: Now,
    /// The program was built then: no time before it can be right.
    built: Timestamp,
    /// A provisional time is not before this: the build, and the newest reading that was dated well.
    floor: Timestamp,
}

impl Reckoning {
    pub(super) fn new(wall: Timestamp, mono: Mono, built: Timestamp, newest: Option<Timestamp>) -> Reckoning {
        let floor = newest.map_or(built, |newest| newest.max(built));
        let zero = wall.max(floor).0.saturating_sub(mono.millis());
        Reckoning { now: Now { zero, known: false }, built, floor }
    }

    /// `word` is what the witness said last, if it was asked since the last look.
    pub(super) fn look(&mut self, wall: Timestamp, mono: Mono, word: Option<Word>) -> News {
        let wall_zero = wall.0.saturating_sub(mono.millis());
        let step = wall_zero.saturating_sub(self.now.zero);
        if wall < self.built {
            let was_known = std::mem::replace(&mut self.now.known, false);
            return if was_known { News::Lost } else { News::None };
        }
        if self.now.known {
            return self.follow(wall_zero, step, JITTER_MS.unsigned_abs());
        }
        match word {
            Some(word @ (Word::Right | Word::NobodyCanTell)) => {
                self.now = Now { zero: wall_zero, known: true };
                News::Known(word)
            }
            Some(Word::NotYet) | None if wall >= self.floor => self.follow(wall_zero, step, SET_MS),
            Some(Word::NotYet) | None => News::None,
        }
    }

    fn follow(&mut self, zero: i64, step: i64, least: u64) -> News {
        if step.unsigned_abs() <= least {
            return News::None;
        }
        self.now.zero = zero;
        News::Stepped(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: Timestamp = Timestamp(1_000_000);

    fn at(wall: i64, seconds: u64) -> (Timestamp, Mono) {
        (Timestamp(wall), Mono(seconds * 1_000_000_000))
    }

    fn start(wall: i64, seconds: u64, newest: Option<i64>) -> Reckoning {
        let (wall, mono) = at(wall, seconds);
        Reckoning::new(wall, mono, BUILT, newest.map(Timestamp))
    }

    fn look(reckoning: &mut Reckoning, wall: i64, seconds: u64, word: Option<Word>) -> News {
        let (wall, mono) = at(wall, seconds);
        reckoning.look(wall, mono, word)
    }

    #[test]
    fn a_machine_that_starts_in_1970_counts_on_from_the_newest_reading_until_it_knows() {
        let mut reckoning = start(3_000, 10, Some(5_000_000));
        assert_eq!(reckoning.now, Now { zero: 4_990_000, known: false });
        assert_eq!(look(&mut reckoning, 4_000, 11, Some(Word::NotYet)), News::None);
        // Even a witness is not believed in 1970.
        assert_eq!(look(&mut reckoning, 5_000, 12, Some(Word::Right)), News::None);
        assert_eq!(reckoning.now, Now { zero: 4_990_000, known: false });
        assert_eq!(look(&mut reckoning, 9_000_000, 60, Some(Word::Right)), News::Known(Word::Right));
        assert_eq!(reckoning.now, Now { zero: 8_940_000, known: true });
    }

    #[test]
    fn the_build_is_the_floor_where_there_is_no_reading_and_a_later_clock_is_taken_for_now() {
        assert_eq!(start(3_000, 0, None).now.zero, BUILT.0);
        let mut reckoning = start(7_000_000, 1, Some(5_000_000));
        assert_eq!(reckoning.now, Now { zero: 6_999_000, known: false });
        // Noise is not followed, a hand that sets the clock is.
        assert_eq!(look(&mut reckoning, 7_001_400, 2, None), News::None);
        assert_eq!(look(&mut reckoning, 8_000_000, 3, None), News::Stepped(998_000));
        // But not to before what was recorded.
        assert_eq!(look(&mut reckoning, 4_000_000, 4, None), News::None);
    }

    #[test]
    fn where_nobody_can_ever_tell_a_possible_time_is_believed_and_an_impossible_one_is_not() {
        let mut reckoning = start(3_000, 0, None);
        assert_eq!(look(&mut reckoning, 4_000, 1, Some(Word::NobodyCanTell)), News::None);
        // The newest reading may have been stamped by a clock that ran ahead: it is no reason for disbelief.
        let mut reckoning = start(2_000_000, 0, Some(9_000_000));
        let news = look(&mut reckoning, 2_001_000, 1, Some(Word::NobodyCanTell));
        assert_eq!((news, reckoning.now.zero), (News::Known(Word::NobodyCanTell), 2_000_000));
    }

    #[test]
    fn a_known_clock_is_followed_either_way_until_it_says_what_cannot_be() {
        let mut reckoning = start(2_000_000, 0, None);
        look(&mut reckoning, 2_000_000, 0, Some(Word::Right));
        assert_eq!(look(&mut reckoning, 2_001_001, 1, None), News::None);
        assert_eq!(look(&mut reckoning, 5_602_000, 2, None), News::Stepped(3_600_000));
        assert_eq!(look(&mut reckoning, 2_003_000, 3, None), News::Stepped(-3_600_000));
        assert_eq!(look(&mut reckoning, 4, 4, None), News::Lost);
        assert_eq!(reckoning.now, Now { zero: 2_000_000, known: false });
        assert_eq!(look(&mut reckoning, 2_005_000, 5, Some(Word::Right)), News::Known(Word::Right));
    }
}
