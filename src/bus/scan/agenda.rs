//! Whom to ask next, at which settings, and what: pure.
//!
//! # The order
//! 1. Pairs of settings and unit id as profiles of the library leave the factory, holding and input registers;
//! 2. the small unit ids, which people set first, at all settings;
//! 3. everybody else, settings by settings;
//! 4. where thoroughness is wished, everybody for input registers and for a name too: few devices say nothing at all
//!    when they are asked for a register that they don't have.
//!
//! Where somebody has answered, the settings are seen through to the end before others get their turn.

use super::Settings;
use crate::modbus::{Ask, IdLevel, ReadFunction, ReadRequest};
use crate::profile::Profile;
use std::sync::Arc;

/// People number from 1.
const SMALL_UNITS: std::ops::RangeInclusive<u8> = 1..=5;

/// One question of the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub settings: Settings,
    pub unit: u8,
    pub ask: Ask,
    /// As profiles say of the factory: worth a longer wait.
    pub likely: bool,
}

/// Whom to look for.
#[derive(Debug, Clone)]
pub struct Wishes {
    pub units: Vec<u8>,
    /// By likelihood.
    pub settings: Vec<Settings>,
    /// Settings, unit id and question that fit a profile as it leaves the factory.
    pub likely: Vec<(Settings, u8, Ask)>,
    pub thorough: bool,
}

impl Wishes {
    /// The units at the settings; what the profiles say of the factory decides the order of both.
    pub fn new(units: &[u8], settings: &[Settings], library: &[Arc<Profile>]) -> Wishes {
        let factory = |profile: &Profile| {
            let serial = profile.serial?;
            // One stop bit more or less no receiver minds.
            settings.iter().copied().find(|s| s.baud == serial.baud && s.parity == serial.parity)
        };
        let count = |settings: &Settings| {
            library.iter().filter(|profile| factory(profile).as_ref() == Some(settings)).count()
        };
        let mut by_likelihood = settings.to_vec();
        // Stable: what no profile has stays in the order in which it was given.
        by_likelihood.sort_by_key(|settings| std::cmp::Reverse(count(settings)));
        let mut likely = Vec::new();
        for at in &by_likelihood {
            for profile in library.iter().filter(|profile| factory(profile).as_ref() == Some(at)) {
                let unit = profile.unit_id.filter(|unit| units.contains(unit));
                if let (Some(unit), Some(ask)) = (unit, first_question(profile)) {
                    let known =
                        |(s, u, a): &(Settings, u8, Ask)| (s, *u, a.function()) == (at, unit, ask.function());
                    if !likely.iter().any(known) {
                        likely.push((*at, unit, ask));
                    }
                }
            }
        }
        Wishes { units: units.to_vec(), settings: by_likelihood, likely, thorough: false }
    }
}

/// A register that a device of this profile has.
fn first_question(profile: &Profile) -> Option<Ask> {
    let point = profile.points.iter().find(|point| !point.table.is_bits())?;
    ReadRequest::new(crate::bus::function_of(point.table), point.address, point.format.count())
        .ok()
        .map(Ask::Read)
}

/// One register, of the table that nearly every device has.
pub(super) fn first_register(function: ReadFunction) -> Option<Ask> {
    ReadRequest::new(function, 0, 1).ok().map(Ask::Read)
}

/// The questions that are left, in their order.
#[derive(Debug)]
pub struct Agenda {
    left: Vec<Candidate>,
    /// Settings at which somebody has answered, in the order of the answers.
    inhabited: Vec<Settings>,
    asked: usize,
}

impl Agenda {
    pub fn new(wishes: &Wishes) -> Agenda {
        let mut agenda = Agenda { left: Vec::new(), inhabited: Vec::new(), asked: 0 };
        for (settings, unit, ask) in &wishes.likely {
            agenda.add(Candidate { settings: *settings, unit: *unit, ask: *ask, likely: true });
        }
        let holding = first_register(ReadFunction::HoldingRegisters);
        let (small, others): (Vec<u8>, Vec<u8>) =
            wishes.units.iter().partition(|unit| SMALL_UNITS.contains(unit));
        agenda.add_all(wishes, &small, holding);
        agenda.add_all(wishes, &others, holding);
        if wishes.thorough {
            agenda.add_all(wishes, &wishes.units, first_register(ReadFunction::InputRegisters));
            let name = Ask::Identification { level: IdLevel::Basic, object: 0 };
            agenda.add_all(wishes, &wishes.units, Some(name));
        }
        // The next is taken from the end.
        agenda.left.reverse();
        agenda
    }

    fn add_all(&mut self, wishes: &Wishes, units: &[u8], ask: Option<Ask>) {
        for settings in &wishes.settings {
            for unit in units {
                if let Some(ask) = ask {
                    self.add(Candidate { settings: *settings, unit: *unit, ask, likely: false });
                }
            }
        }
    }

    /// Not what is asked already, with whichever address: a refusal is an answer too.
    fn add(&mut self, new: Candidate) {
        let known = |old: &Candidate| {
            (old.settings, old.unit, old.ask.function()) == (new.settings, new.unit, new.ask.function())
        };
        if !self.left.iter().any(known) {
            self.left.push(new);
        }
    }

    /// The next question; it is not asked again.
    pub fn take_next(&mut self) -> Option<Candidate> {
        let at = self
            .inhabited
            .iter()
            .find_map(|settings| self.left.iter().rposition(|candidate| candidate.settings == *settings));
        let next = match at {
            Some(at) => Some(self.left.remove(at)),
            None => self.left.pop(),
        };
        self.asked += usize::from(next.is_some());
        next
    }

    /// This unit has answered here: it is asked nowhere any more.
    pub fn found(&mut self, settings: Settings, unit: u8) {
        self.left.retain(|candidate| candidate.unit != unit);
        if !self.inhabited.contains(&settings) {
            self.inhabited.push(settings);
        }
    }

    /// Somebody has answered here, nobody is left to be asked, and elsewhere there are.
    pub fn has_seen_through(&self, settings: Settings) -> bool {
        let here = self.left.iter().any(|candidate| candidate.settings == settings);
        self.inhabited.contains(&settings) && !here && !self.left.is_empty()
    }

    /// These settings are not to be had.
    pub fn leave_out(&mut self, settings: Settings) {
        self.left.retain(|candidate| candidate.settings != settings);
    }

    pub fn left(&self) -> &[Candidate] {
        &self.left
    }

    pub fn asked(&self) -> usize {
        self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{self, Parity};
    use std::path::Path;

    fn settings(baud: u32) -> Settings {
        Settings { baud, parity: Parity::None, stop_bits: 1 }
    }

    /// Two profiles of 9600 baud, of which one begins with an input register, and one of 19200.
    fn library() -> Vec<Arc<Profile>> {
        let factory = [("xy-md02-sht20", 9600), ("abb-b23-b24", 9600), ("siemens-pac2200", 19_200)];
        let of = |(name, baud): (&str, u32)| {
            let profile = Profile::clone(&profile::find(name, Path::new("."), &[]).unwrap());
            let serial = Some(profile::FactorySerial { baud, parity: Parity::None, stop_bits: 1 });
            Arc::new(Profile { serial, unit_id: Some(1), ..profile })
        };
        factory.map(of).to_vec()
    }

    fn all(agenda: &mut Agenda) -> Vec<(u32, u8, u8)> {
        std::iter::from_fn(|| agenda.take_next())
            .map(|c| (c.settings.baud, c.unit, c.ask.function()))
            .collect()
    }

    #[test]
    fn the_factorys_come_first_then_small_units_then_the_rest() {
        let given = [settings(19_200), settings(9600)];
        let wishes = Wishes::new(&[1, 2, 9], &given, &library());
        assert_eq!(wishes.settings, [settings(9600), settings(19_200)], "two profiles against one");
        let order = all(&mut Agenda::new(&wishes));
        assert_eq!(order[..3], [(9600, 1, 4), (9600, 1, 3), (19_200, 1, 4)], "as they leave the factory");
        assert!(order.iter().filter(|(_, unit, _)| *unit == 9).all(|c| order[order.len() - 2..].contains(c)));
        // Input registers once for each pair of the factory, holding registers once for each unit and settings.
        let holding = order.iter().filter(|(_, _, function)| *function == 3).count();
        assert_eq!((holding, order.len() - holding), (6, 2), "{order:?}");
    }

    #[test]
    fn where_somebody_answers_everybody_is_asked_and_who_has_answered_nowhere_else() {
        let given = [settings(9600), settings(19_200)];
        let mut agenda = Agenda::new(&Wishes::new(&[1, 2, 9, 10], &given, &[]));
        let first: Vec<_> =
            (0..3).filter_map(|_| agenda.take_next()).map(|c| (c.settings.baud, c.unit)).collect();
        assert_eq!(first, [(9600, 1), (9600, 2), (19_200, 1)]);
        agenda.found(settings(19_200), 9);
        let rest: Vec<_> = all(&mut agenda).iter().map(|(baud, unit, _)| (*baud, *unit)).collect();
        assert_eq!(rest, [(19_200, 2), (19_200, 10), (9600, 10)]);
    }

    #[test]
    fn settings_that_are_not_to_be_had_are_not_asked_for() {
        let even = Settings { parity: Parity::Even, ..settings(9600) };
        let mut agenda = Agenda::new(&Wishes::new(&[1, 2], &[even, settings(9600)], &[]));
        agenda.leave_out(even);
        assert!(agenda.left().iter().all(|candidate| candidate.settings == settings(9600)));
        assert_eq!(all(&mut agenda).len(), 2);
    }

    #[test]
    fn whoever_is_thorough_asks_three_times() {
        let wishes = Wishes::new(&[1, 2], &[settings(9600)], &[]);
        let mut agenda = Agenda::new(&Wishes { thorough: true, ..wishes });
        let functions: Vec<u8> = all(&mut agenda).iter().map(|(_, _, function)| *function).collect();
        assert_eq!(functions, [3, 3, 4, 4, 0x2B, 0x2B]);
    }
}
