//! Reasons as the numbers of `docs/batch.proto`.

use crate::model::Bad;

pub(super) const GOOD: u32 = 0;
/// The point was not due: it is no part of the reading.
pub(super) const NOT_DUE: u32 = 1;
const EXCEPTION: u32 = 256;

const CODES: &[(u32, Bad)] = &[
    (16, Bad::NoReply),
    (18, Bad::Garbled),
    (19, Bad::Invalid),
    (20, Bad::OutOfRange),
    (21, Bad::DeviceLost),
    (22, Bad::LineDown),
    (23, Bad::LineStuck),
    (24, Bad::Identity),
    (25, Bad::Stale),
    (26, Bad::NotYet),
    (27, Bad::TwoAnswers),
];

pub(super) fn code(bad: Bad) -> u32 {
    match bad {
        Bad::Exception(code) => EXCEPTION + u32::from(code),
        // A reason without a row is caught by a test; `invalid` says at least that there is no value.
        other => CODES.iter().find(|(_, bad)| *bad == other).map_or(19, |(code, _)| *code),
    }
}

/// A code of a later version is no code of this one: `invalid`, the least that can be said.
pub(super) fn bad(code: u32) -> Bad {
    if let Some(exception) = code.checked_sub(EXCEPTION).and_then(|code| u8::try_from(code).ok()) {
        return Bad::Exception(exception);
    }
    CODES.iter().find(|(known, _)| *known == code).map_or(Bad::Invalid, |(_, bad)| *bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        // When this does not compile, a reason is new: give it a code here and in docs/batch.proto.
        let all = |bad| match bad {
            Bad::NoReply | Bad::Exception(_) | Bad::Garbled | Bad::Invalid | Bad::OutOfRange => bad,
            Bad::DeviceLost | Bad::LineDown | Bad::LineStuck | Bad::Identity | Bad::Stale => bad,
            Bad::NotYet | Bad::TwoAnswers => bad,
        };
        for (number, reason) in CODES {
            assert_eq!((code(all(*reason)), bad(*number)), (*number, *reason));
        }
        for exception in 0..=255 {
            assert_eq!(bad(code(Bad::Exception(exception))), Bad::Exception(exception));
        }
        assert_eq!(CODES.len(), 11);
        assert_eq!(bad(99), Bad::Invalid);
    }
}
