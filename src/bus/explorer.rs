//! What is known of a device that says itself what it offers: whether it has to be walked, and what came of it. No I/O.
//!
//! A chain that is known is looked at again before anything else is read after each silence, after the port or
//! connection was away, and when registers are refused that were there: the device may have been exchanged, or its
//! settings changed. Where the meter says another serial number than before it is walked as if nothing were known.

use crate::model::Bad;
use crate::profile::sunspec::{Chain, Walk};
use std::time::Duration;

/// A device that could not be walked is walked again after this; each time doubles it, …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Look,
    Walk,
}

#[derive(Debug)]
pub(super) struct Explorer {
    chain: Option<Chain>,
    due: Due,
    /// Which base is asked first: a device may be silent where it has nothing.
    first: usize,
    pause: Duration,
}

/// What a walk came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Explored {
    /// As it was known.
    Same,
    Found(Chain),
    /// Not now: again after this, and what is to be said of it.
    Not {
        bad: Bad,
        pause: Duration,
        why: String,
    },
    /// It was not walked to the end.
    Unfinished,
}

impl Explorer {
    pub(super) fn new(chain: Option<Chain>) -> Explorer {
        let due = if chain.is_some() { Due::Look } else { Due::Walk };
        Explorer { chain, due, first: 0, pause: FIRST_PAUSE }
    }

    pub(super) fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    /// What has to be read before anything else.
    pub(super) fn begin(&self) -> Option<Walk> {
        match (&self.chain, self.due) {
            (_, Due::Nothing) => None,
            (Some(chain), Due::Look) => Some(Walk::again(chain)),
            (Some(chain), Due::Walk) => Some(Walk::anew(chain)),
            (None, _) => Some(Walk::new(self.first)),
        }
    }

    /// The device may be another when it is heard next.
    pub(super) fn look_again(&mut self) {
        if self.due == Due::Nothing {
            self.due = Due::Look;
        }
    }

    /// Nobody answered.
    pub(super) fn silent(&mut self) {
        self.first = self.first.wrapping_add(1);
        self.look_again();
    }

    /// The meter has said who it is.
    pub(super) fn heard_serial(&mut self, serial: &str) {
        let other = |chain: &Chain| !chain.serial.is_empty() && chain.serial != serial;
        // Some say nothing at night.
        if !serial.is_empty() && self.chain.as_ref().is_some_and(other) {
            self.due = Due::Walk;
        }
    }

    /// A walk has ended.
    pub(super) fn take(&mut self, walk: &Walk) -> Explored {
        match walk.outcome() {
            None => Explored::Unfinished,
            Some(Ok(found)) => {
                (self.due, self.pause) = (Due::Nothing, FIRST_PAUSE);
                if self.chain.as_ref() == Some(found) {
                    return Explored::Same;
                }
                self.chain = Some(found.clone());
                Explored::Found(found.clone())
            }
            Some(Err(broken)) => {
                let pause = self.pause;
                self.pause = (pause * 2).min(LONGEST_PAUSE);
                let bad = broken.exception().map_or(Bad::Identity, Bad::Exception);
                Explored::Not { bad, pause, why: broken.to_string() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_follows_from_what_is_known() {
        let mut explorer = Explorer::new(None);
        assert_eq!(explorer.begin(), Some(Walk::new(0)));
        explorer.silent();
        assert_eq!(explorer.begin(), Some(Walk::new(1)), "silent at one base, perhaps not at another");
        let chain = Chain { serial: "7".to_owned(), ..Chain::usual() };
        let mut explorer = Explorer::new(Some(chain.clone()));
        let again = Walk::again(&chain);
        assert_eq!(explorer.begin(), Some(again.clone()));
        assert_eq!(explorer.take(&again), Explored::Unfinished);
        explorer.due = Due::Nothing;
        explorer.heard_serial("7");
        explorer.heard_serial("");
        assert_eq!(explorer.begin(), None);
        explorer.look_again();
        assert_eq!(explorer.begin(), Some(again));
        explorer.heard_serial("8");
        assert_eq!(explorer.begin(), Some(Walk::anew(&chain)));
    }

    #[test]
    fn a_device_that_has_no_chain_is_asked_ever_more_rarely() {
        let mut explorer = Explorer::new(None);
        let pauses: Vec<u64> = (0..8)
            .map(|_| {
                let mut walk = explorer.begin().unwrap();
                while walk.next().is_some() {
                    walk.refused(2);
                }
                let Explored::Not { bad, pause, why } = explorer.take(&walk) else { panic!() };
                assert!(why.contains("no SunSpec device"), "{why}");
                assert_eq!(bad, Bad::Exception(2));
                pause.as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
