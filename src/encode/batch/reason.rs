//! Reasons as the numbers of `docs/batch.proto`.

use crate::model::Bad;

pub(super) const GOOD: u32 = 0;
/// The point was not due: it is no part of the reading.
pub(super) const NOT_DUE: u32 = 1;
const EXCEPTION: u32 = 256;

/// Every reason but the exceptions, which have a number of their own each.
const REASONS: &[Bad] = &[
    Bad::NoReply,
    Bad::Garbled,
    Bad::Invalid,
    Bad::OutOfRange,
    Bad::DeviceLost,
    Bad::LineDown,
    Bad::LineStuck,
    Bad::Identity,
    Bad::Stale,
    Bad::NotYet,
    Bad::TwoAnswers,
    Bad::Factor,
    Bad::SensorFault,
    Bad::CounterFell,
];

/// When this does not compile, a reason is new: it needs a code here, in `REASONS`, in `docs/batch.proto` and in
/// `docs/batch.py`.
pub(super) fn code(bad: Bad) -> u32 {
    match bad {
        Bad::NoReply => 16,
        Bad::Garbled => 18,
        Bad::Invalid => 19,
        Bad::OutOfRange => 20,
        Bad::DeviceLost => 21,
        Bad::LineDown => 22,
        Bad::LineStuck => 23,
        Bad::Identity => 24,
        Bad::Stale => 25,
        Bad::NotYet => 26,
        Bad::TwoAnswers => 27,
        Bad::Factor => 28,
        Bad::SensorFault => 29,
        Bad::CounterFell => 30,
        Bad::Exception(code) => EXCEPTION + u32::from(code),
    }
}

/// A code of a later version is no code of this one: `invalid`, the least that can be said.
pub(super) fn bad(code: u32) -> Bad {
    if let Some(exception) = code.checked_sub(EXCEPTION).and_then(|code| u8::try_from(code).ok()) {
        return Bad::Exception(exception);
    }
    REASONS.iter().copied().find(|bad| self::code(*bad) == code).unwrap_or(Bad::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own_and_the_same_word_everywhere() {
        for reason in REASONS.iter().copied().chain((0..=255).map(Bad::Exception)) {
            assert_eq!(bad(code(reason)), reason);
        }
        let python = include_str!("../../../docs/batch.py");
        let proto = include_str!("../../../docs/batch.proto");
        for reason in REASONS {
            let (number, word) = (code(*reason), reason.word());
            assert!(python.contains(&format!("{number}: \"{word}\"")), "{word} in docs/batch.py");
            assert!(proto.contains(&format!("{number} {word}")), "{word} in docs/batch.proto");
        }
        assert_eq!(bad(99), Bad::Invalid);
    }
}
