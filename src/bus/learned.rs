//! What a device has taught: holes, registers it refuses, how many it allows at once. Pure.
//!
//! A hole costs nothing but a longer way round, so it is tried again once a day. A register that is refused
//! costs its own value: it is asked for again after ten minutes, then ever more rarely, once a day in the
//! end. A device that is busy or has failed is let alone for a second, then longer, a minute at most.

use super::plan::Lessons;
use super::search::Lesson;
use crate::model::{Bad, Mono, Timestamp};
use crate::profile::sunspec::Chain;
use crate::profile::{Profile, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What was learned is tried again after this.
const A_DAY: Duration = Duration::from_secs(24 * 3600);
/// A refused register is asked for again after this; each refusal more doubles it, up to a day.
const FIRST_HOLD: Duration = Duration::from_secs(600);
/// A device that can't answer now is asked again after this; each time more doubles it, …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused {
    code: u8,
    since: Timestamp,
    until: Mono,
    wait: Duration,
    /// It is the register's fault, not the moment's.
    for_good: bool,
}

/// One device's lessons.
#[derive(Debug, Clone, Default)]
pub(super) struct Learned {
    holes: BTreeMap<(Table, u16, u16), Timestamp>,
    limit: Option<(u16, Timestamp)>,
    refused: BTreeMap<usize, Refused>,
    /// The same for the planner.
    lessons: Lessons,
}

/// A device's lessons as they are kept over a restart: by names and addresses, so that another profile or
/// unit id makes them void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMemory {
    pub profile: String,
    pub unit: u8,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<HoleMemory>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_registers: Option<LimitMemory>,
    /// Points that are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedMemory>,
    /// What a device that says itself what it offers has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
}

impl DeviceMemory {
    /// The chain that was found under this unit id, if it is one.
    pub fn chain_of(&self, unit: u8) -> Option<&Chain> {
        self.chain.as_ref().filter(|chain| self.unit == unit && chain.is_sound())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoleMemory {
    /// `input`, `holding`, `coil`, `discrete`.
    pub table: String,
    pub from: u16,
    pub to: u16,
    /// Milliseconds since 1970 UTC.
    pub since: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitMemory {
    pub count: u16,
    pub since: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedMemory {
    pub point: String,
    pub code: u8,
    pub since: i64,
}

impl Learned {
    pub(super) fn lessons(&self) -> &Lessons {
        &self.lessons
    }

    /// Takes a lesson in; `true` when it is news.
    pub(super) fn learn(&mut self, lesson: &Lesson, utc: Timestamp, now: Mono) -> bool {
        let news = match lesson {
            Lesson::Hole { table, from, to } => self.holes.insert((*table, *from, *to), utc).is_none(),
            Lesson::Limit(count) => {
                self.limit.replace((*count, utc)).is_none_or(|(before, _)| before != *count)
            }
            Lesson::Refused { points, code } => self.refuse(points, *code, true, utc, now),
        };
        self.tell_the_planner();
        news
    }

    /// These points were refused, and may be answered soon: not asked again before a moment is over.
    pub(super) fn refuse_for_now(&mut self, points: &[usize], code: u8, utc: Timestamp, now: Mono) {
        self.refuse(points, code, false, utc, now);
        self.tell_the_planner();
    }

    fn refuse(&mut self, points: &[usize], code: u8, for_good: bool, utc: Timestamp, now: Mono) -> bool {
        let (first, longest) = match code {
            _ if for_good => (FIRST_HOLD, A_DAY),
            // Perhaps it boots; if it goes on, it is another device than its profile says.
            1..=3 => (FIRST_PAUSE, FIRST_HOLD),
            _ => (FIRST_PAUSE, LONGEST_PAUSE),
        };
        let mut news = false;
        for point in points {
            let same = |before: &&Refused| before.code == code && before.for_good == for_good;
            let before = self.refused.get(point).filter(same).copied();
            news |= before.is_none();
            let wait = before.map_or(first, |before| (before.wait * 2).min(longest));
            let since = before.map_or(utc, |before| before.since);
            self.refused.insert(*point, Refused { code, since, until: now.plus(wait), wait, for_good });
        }
        news
    }

    /// These points were answered; `true` when that is news.
    pub(super) fn answered(&mut self, points: &[usize]) -> bool {
        if self.refused.is_empty() {
            return false;
        }
        let before = self.refused.len();
        for point in points {
            self.refused.remove(point);
        }
        let news = self.refused.len() != before;
        if news {
            self.tell_the_planner();
        }
        news
    }

    /// Why a point is not asked now.
    pub(super) fn held(&self, point: usize, now: Mono) -> Option<Bad> {
        self.refused
            .get(&point)
            .filter(|refused| refused.until > now)
            .map(|refused| Bad::Exception(refused.code))
    }

    /// Drops what is older than a day, so that it is tried again.
    pub(super) fn forget_old(&mut self, utc: Timestamp) {
        let old = |since: Timestamp| {
            // A day ahead is as old: the clock was wrong then, or is now, and could be for years.
            u128::from(utc.0.abs_diff(since.0)) >= A_DAY.as_millis()
        };
        let (holes, limit) = (self.holes.len(), self.limit);
        self.holes.retain(|_, since| !old(*since));
        self.limit = self.limit.filter(|(_, since)| !old(*since));
        if holes != self.holes.len() || limit != self.limit {
            self.tell_the_planner();
        }
    }

    fn tell_the_planner(&mut self) {
        let mut lessons = Lessons { max_registers: self.limit.map(|(count, _)| count), ..Lessons::default() };
        lessons.holes.extend(self.holes.keys().copied());
        let for_good = self.refused.iter().filter(|(_, refused)| refused.for_good);
        // By itself: nobody else reads its registers in passing.
        lessons.alone.extend(for_good.map(|(index, _)| *index));
        self.lessons = lessons;
    }

    /// Nothing that is worth keeping.
    pub(super) fn is_empty(&self) -> bool {
        self.holes.is_empty()
            && self.limit.is_none()
            && self.refused.values().all(|refused| !refused.for_good)
    }

    /// The refused points, for people: index and exception code.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (usize, u8)> {
        self.refused.iter().map(|(point, refused)| (*point, refused.code))
    }

    pub(super) fn memory(&self, profile: &Profile, unit: u8) -> DeviceMemory {
        let for_good = self.refused.iter().filter(|(_, refused)| refused.for_good);
        DeviceMemory {
            profile: profile.name.clone(),
            unit,
            holes: self
                .holes
                .iter()
                .map(|((table, from, to), since)| HoleMemory {
                    table: table.word().to_owned(),
                    from: *from,
                    to: *to,
                    since: since.0,
                })
                .collect(),
            most_registers: self.limit.map(|(count, since)| LimitMemory { count, since: since.0 }),
            refused: for_good
                .filter_map(|(index, refused)| {
                    let point = profile.points.get(*index)?.name.to_string();
                    Some(RefusedMemory { point, code: refused.code, since: refused.since.0 })
                })
                .collect(),
            chain: None,
        }
    }

    /// What was kept, as far as it is about this profile and unit. A refused point is asked for once more at
    /// the start, by itself.
    pub(super) fn remembered(memory: &DeviceMemory, profile: &Profile, unit: u8, now: Mono) -> Learned {
        let mut learned = Learned::default();
        if memory.profile != profile.name || memory.unit != unit {
            return learned;
        }
        for hole in &memory.holes {
            let tables = [Table::Coil, Table::DiscreteInput, Table::InputRegister, Table::HoldingRegister];
            if let (Some(table), true) =
                (tables.into_iter().find(|t| t.word() == hole.table), hole.from <= hole.to)
            {
                learned.holes.insert((table, hole.from, hole.to), Timestamp(hole.since));
            }
        }
        learned.limit = memory
            .most_registers
            .as_ref()
            .filter(|limit| limit.count > 0)
            .map(|limit| (limit.count, Timestamp(limit.since)));
        for refused in &memory.refused {
            let index = profile.points.iter().position(|point| point.name.as_str() == refused.point);
            if let Some(index) = index {
                let since = Timestamp(refused.since);
                learned.refused.insert(
                    index,
                    Refused { code: refused.code, since, until: now, wait: FIRST_HOLD, for_good: true },
                );
            }
        }
        learned.tell_the_planner();
        learned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::plan::tests::{point, profile};
    use crate::profile::Format;

    fn two() -> Profile {
        profile(vec![
            point("a", Table::InputRegister, 0, Format::U16),
            point("b", Table::InputRegister, 1, Format::F32),
        ])
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn a_refused_register_is_asked_ever_more_rarely_and_never_in_passing() {
        let mut learned = Learned::default();
        let lesson = Lesson::Refused { points: vec![1], code: 2 };
        assert!(learned.learn(&lesson, Timestamp(5), at(0)));
        assert_eq!(learned.held(1, at(599)), Some(Bad::Exception(2)));
        assert_eq!(learned.held(1, at(600)), None);
        assert!(!learned.learn(&lesson, Timestamp(6), at(600)));
        assert_eq!(learned.held(1, at(1799)), Some(Bad::Exception(2)));
        assert_eq!(learned.lessons().alone, [1].into());
        assert!(learned.answered(&[1]));
        assert_eq!((learned.held(1, at(0)), learned.lessons()), (None, &Lessons::default()));
    }

    #[test]
    fn a_busy_device_is_let_alone_for_a_minute_at_most() {
        let mut learned = Learned::default();
        let waits: Vec<u64> = (0..9)
            .map(|_| {
                learned.refuse_for_now(&[0], 6, Timestamp(0), at(0));
                (1..200).find(|s| learned.held(0, at(*s)).is_none()).unwrap()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(learned.lessons(), &Lessons::default(), "it may be read in passing");
    }

    #[test]
    fn what_was_learned_survives_a_restart_and_lasts_a_day() {
        let (p, mut learned) = (two(), Learned::default());
        let hole = Lesson::Hole { table: Table::InputRegister, from: 3, to: 9 };
        learned.learn(&hole, Timestamp(1000), at(0));
        learned.learn(&Lesson::Limit(12), Timestamp(1000), at(0));
        learned.learn(&Lesson::Refused { points: vec![0], code: 3 }, Timestamp(1000), at(0));
        let kept = serde_json::to_string(&learned.memory(&p, 7)).unwrap();
        let kept: DeviceMemory = serde_json::from_str(&kept).unwrap();
        let mut again = Learned::remembered(&kept, &p, 7, at(0));
        assert_eq!(again.lessons(), learned.lessons());
        assert_eq!(again.held(0, at(1)), None, "asked once more at the start");
        for (profile, unit) in [(&p, 8), (&Profile { name: "other".into(), ..two() }, 7)] {
            assert_eq!(Learned::remembered(&kept, profile, unit, at(0)).lessons(), &Lessons::default());
        }
        again.forget_old(Timestamp(1000 + 86_399_999));
        assert_eq!(again.lessons().max_registers, Some(12));
        again.forget_old(Timestamp(1000 + 86_400_000));
        assert_eq!(again.lessons().max_registers, None);
        assert_eq!((again.lessons().holes.len(), again.lessons().alone.len()), (0, 1));
    }

    #[test]
    fn what_was_learned_by_a_clock_that_went_years_ahead_does_not_last_for_years() {
        let mut learned = Learned::default();
        let in_2038 = Timestamp(2_147_483_647_000);
        learned.learn(&Lesson::Limit(12), in_2038, at(0));
        learned.forget_old(Timestamp(in_2038.0 - 3_600_000));
        assert_eq!(learned.lessons().max_registers, Some(12), "a clock that is set back an hour");
        learned.forget_old(Timestamp(1_790_000_000_000));
        assert_eq!(learned.lessons().max_registers, None);
    }
}
