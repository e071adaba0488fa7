//! What is known of when the machine was started: dates what was stamped by the boot clock alone.

use super::{BootId, Reading, Timestamp};

/// Boots whose date is remembered. Records of one boot may wait in a spool while the machine is started again
/// and again; beyond this the oldest are forgotten and their records stay marked.
pub const BOOTS: usize = 64;

/// For each boot whose wall clock was right at some time: the UTC, in ms, at which its boot clock stood at zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dating {
    /// In the order in which they became known.
    boots: Vec<(BootId, i64)>,
    /// The boot that runs now: the only one that can still become known.
    current: Option<BootId>,
}

impl Dating {
    pub fn zero_of(&self, boot: BootId) -> Option<i64> {
        self.boots.iter().find(|(known, _)| *known == boot).map(|(_, zero)| *zero)
    }

    pub fn set_current(&mut self, boot: BootId) {
        self.current = Some(boot);
    }

    /// The boot that runs now is not dated yet.
    pub fn is_waiting(&self) -> bool {
        self.current.is_some_and(|boot| self.zero_of(boot).is_none())
    }

    /// Whether waiting may bring the right time of this reading.
    pub fn may_yet_date(&self, reading: &Reading) -> bool {
        let boot = reading.boot.map(|stamp| stamp.boot);
        reading.clock_unsure
            && boot.is_some_and(|boot| self.current == Some(boot) && self.zero_of(boot).is_none())
    }

    /// Takes in, or corrects, when a boot's clock stood at zero.
    pub fn know(&mut self, boot: BootId, zero: i64) {
        self.boots.retain(|(known, _)| *known != boot);
        self.boots.push((boot, zero));
        let surplus = self.boots.len().saturating_sub(BOOTS);
        self.boots.drain(..surplus);
    }

    /// Boots and dates in the order in which they became known.
    pub fn in_order(&self) -> &[(BootId, i64)] {
        &self.boots
    }

    /// Gives a reading its right time, if it was taken while the clock was unsure and is known better now.
    /// What cannot be dated stays as it is, marked.
    pub fn date(&self, reading: &mut Reading) {
        if !reading.clock_unsure {
            return;
        }
        let Some(stamp) = reading.boot else { return };
        let Some(zero) = self.zero_of(stamp.boot) else { return };
        reading.ts = Timestamp(zero.saturating_add(stamp.at.millis()));
        (reading.clock_unsure, reading.boot) = (false, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BootStamp, Mono};
    use std::time::Duration;

    fn reading(boot: Option<u128>) -> Reading {
        Reading {
            device: "m".parse().unwrap(),
            ts: Timestamp(5),
            took: Duration::ZERO,
            clock_unsure: true,
            boot: boot.map(|id| BootStamp { boot: BootId(id), at: Mono(60_000_000_000) }),
            samples: Vec::new(),
        }
    }

    #[test]
    fn a_reading_is_dated_once_its_boot_is_known_and_no_other_boot_dates_it() {
        let mut dating = Dating::default();
        dating.know(BootId(1), 1_700_000_000_000);
        let (mut mine, mut other, mut bare) = (reading(Some(1)), reading(Some(2)), reading(None));
        for reading in [&mut mine, &mut other, &mut bare] {
            dating.date(reading);
        }
        assert_eq!((mine.ts.0, mine.clock_unsure, mine.boot), (1_700_000_060_000, false, None));
        assert_eq!((other, bare), (reading(Some(2)), reading(None)));
        // What was right from the beginning is left alone.
        dating.set_current(BootId(2));
        assert!(dating.may_yet_date(&reading(Some(2))) && !dating.may_yet_date(&reading(Some(1))));
        assert!(!dating.may_yet_date(&reading(None)) && !dating.may_yet_date(&reading(Some(3))));
        let mut sure = Reading { clock_unsure: false, ..reading(Some(1)) };
        dating.date(&mut sure);
        assert_eq!(sure.ts, Timestamp(5));
    }

    #[test]
    fn a_correction_replaces_and_the_oldest_boots_are_forgotten() {
        let mut dating = Dating::default();
        for boot in 0..=BOOTS {
            dating.know(BootId(boot as u128), 1);
        }
        dating.know(BootId(7), 9);
        assert_eq!(dating.zero_of(BootId(0)), None);
        assert_eq!(dating.zero_of(BootId(7)), Some(9));
        assert_eq!(dating.in_order().len(), BOOTS);
    }
}
