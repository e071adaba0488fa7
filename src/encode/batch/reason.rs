//! Reasons as the numbers of `docs/batch.proto`: those of [`Bad::number`], and one for each exception.

use crate::model::Bad;

pub(super) const GOOD: u32 = 0;
/// The point was not due: it is no part of the reading.
pub(super) const NOT_DUE: u32 = 1;
/// The exception of code 0; the others follow.
const EXCEPTION: u32 = 256;

pub(super) fn code(bad: Bad) -> u32 {
    if let Bad::Exception(code) = bad { EXCEPTION + u32::from(code) } else { u32::from(bad.number()) }
}

/// A code of a later version is no code of this one: `invalid`, the least that can be said.
pub(super) fn bad(code: u32) -> Bad {
    match code.checked_sub(EXCEPTION) {
        Some(exception) => u8::try_from(exception).map_or(Bad::Invalid, Bad::Exception),
        None => u8::try_from(code).ok().and_then(Bad::of_number).unwrap_or(Bad::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own_and_the_same_word_everywhere() {
        for reason in Bad::PLAIN.into_iter().chain((0..=255).map(Bad::Exception)) {
            assert_eq!(bad(code(reason)), reason);
        }
        let python = include_str!("../../../docs/batch.py");
        let proto = include_str!("../../../docs/batch.proto");
        for reason in Bad::PLAIN {
            let (number, word) = (code(reason), reason.word());
            assert!(python.contains(&format!("{number}: \"{word}\"")), "{word} in docs/batch.py");
            assert!(proto.contains(&format!("{number} {word}")), "{word} in docs/batch.proto");
        }
        assert_eq!(bad(99), Bad::Invalid);
    }
}
