//! What a device could do now, and how urgent that is.

use crate::model::Mono;

/// What the device could do now. They are taken in this order: by deadline, then those without one,
/// the one begun first, then the one that waited longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Deadline(Mono),
    Begun,
    Asked(Mono),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// The scan under way has a question: this item of it.
    Ask(Rank, usize),
    /// A late answer is in the way of all that is left to ask: a word that the device gives back (function 08)
    /// would show that it will not come any more.
    Clear(Rank),
    /// A question of the scan under way is to be parted before it may be asked.
    Part(usize),
    /// What is left of the scan under way can't be asked in time.
    GiveUp,
    /// A scan is due.
    Begin(Rank),
    /// Not before this.
    Wait(Mono),
    /// Answers are under way, or nothing is ever due.
    Nothing,
}
