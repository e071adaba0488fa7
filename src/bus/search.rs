//! Which register is to blame: a read of several values was refused, and is asked again in parts. Pure.
//!
//! By halves, from below: what stands before the fault is served on the way, what stands behind it is read
//! by one question at the end. With one fault among n registers that is at most ⌈log₂ n⌉ questions to find
//! the place, one to be sure, and one for the rest. What only the whole was refused for is believed when it is
//! refused a second time: a refusal that does not come again teaches nothing.
//!
//! The fault may be a value's own register, a hole between two values that was read in passing, or neither:
//! a meter that allows fewer registers at once than it was asked for (many say so with exception 03).

use super::plan::Block;
use crate::profile::{Profile, Table};
use std::collections::VecDeque;

/// Values that stand at the same place, or overlap: they are asked together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Atom {
    first: u16,
    last: u16,
    points: Vec<usize>,
}

/// What a search has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lesson {
    /// These registers are refused when they are read, and no value stands there.
    Hole { table: Table, from: u16, to: u16 },
    /// These points are refused.
    Refused { points: Vec<usize>, code: u8 },
    /// No more than so many registers at once.
    Limit(u16),
}

impl Lesson {
    /// For the log.
    pub(super) fn sentence(&self, profile: &Profile) -> String {
        match self {
            Lesson::Hole { table, from, to } => format!(
                "{} {from} to {to} can't be read in passing: read around from now on; a `holes:` entry in the profile {} would save the search",
                table.word(),
                profile.name
            ),
            Lesson::Limit(count) => format!(
                "no more than {count} registers at once: asked for fewer from now on; `max_registers:` in the profile {} would save the search",
                profile.name
            ),
            Lesson::Refused { points, code } => {
                let names: Vec<String> = points
                    .iter()
                    .filter_map(|index| profile.points.get(*index))
                    .map(|point| format!("{} ({} {})", point.name, point.table.word(), point.address))
                    .collect();
                format!(
                    "refuses {} with exception {code}: asked ever more rarely from now on",
                    names.join(", ")
                )
            }
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Ask the lower part, up to this atom.
    Lower(usize),
    /// Ask the one atom that is left.
    Single,
    /// Ask it with the one before it: is it the gap between the two?
    Pair,
    /// Ask the whole again: every part was answered.
    Whole,
    /// Ask all that stands behind the fault.
    Rest(usize),
    Over,
}

/// A search under way. The fault lies at one of the atoms `low..high`, or in the gap before `low`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    table: Table,
    /// Reads begin at a multiple of this.
    align: u16,
    atoms: VecDeque<Atom>,
    low: usize,
    high: usize,
    stage: Stage,
    code: u8,
    /// The most registers that one question has been answered for.
    answered: u16,
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Progress {
    pub lessons: Vec<Lesson>,
    /// Points that are to be planned anew, with what was learned.
    pub again: Vec<usize>,
    /// A part was refused, and so was all that stands behind it.
    pub everything_is_refused: bool,
}

impl Search {
    /// For a block that was refused with this code. `None` when it has one value only: then that is to blame.
    pub(super) fn new(profile: &Profile, block: &Block, code: u8) -> Option<Search> {
        let table = profile.points.get(*block.points.first()?)?.table;
        let atoms = atoms_of(profile, &block.points);
        let high = atoms.len();
        if high < 2 {
            return None;
        }
        let stage = Stage::Lower(high.div_ceil(2));
        Some(Search {
            table,
            align: profile.habits.align.max(1),
            atoms,
            low: 0,
            high,
            stage,
            code,
            answered: 0,
        })
    }

    /// The question to ask now.
    pub(super) fn block(&self) -> Option<Block> {
        match self.stage {
            // One that was answered stands before, so that the gap between the two is read as well.
            Stage::Lower(upto) => self.span(self.low.saturating_sub(1), upto),
            Stage::Single => self.span(self.low, self.low + 1),
            Stage::Pair => self.span(self.low.saturating_sub(1), self.low + 1),
            Stage::Whole => self.span(0, self.atoms.len()),
            Stage::Rest(from) => self.span(from, self.atoms.len()),
            Stage::Over => None,
        }
    }

    fn span(&self, from: usize, upto: usize) -> Option<Block> {
        let atoms = self.atoms.iter().skip(from).take(upto.checked_sub(from)?);
        let first = atoms.clone().map(|atom| atom.first).min()?;
        let last = atoms.clone().map(|atom| atom.last).max()?;
        let points: Vec<usize> = atoms.flat_map(|atom| atom.points.iter().copied()).collect();
        let aligned = first - first % self.align;
        // Not into what stands before: that may be the fault.
        let before = from.checked_sub(1).and_then(|at| self.atoms.get(at)).map(|atom| atom.last);
        let first = if before.is_some_and(|last| last >= aligned) { first } else { aligned };
        Block::over(self.table, first, last, points)
    }

    /// The question was answered.
    pub(super) fn answered(&mut self) -> Progress {
        let count = self.block().map_or(0, |block| block.request.count());
        self.answered = self.answered.max(count);
        match self.stage {
            Stage::Lower(upto) => {
                self.low = upto;
                self.narrow();
                Progress::default()
            }
            // What was refused was more than this one: the fault lies before it, or in the number.
            Stage::Single => self.go_on_to(Stage::Pair),
            Stage::Pair => self.go_on_to(Stage::Whole),
            Stage::Whole | Stage::Rest(_) | Stage::Over => self.go_on_to(Stage::Over),
        }
    }

    /// The question was refused as well.
    pub(super) fn refused(&mut self, code: u8) -> Progress {
        self.code = code;
        match self.stage {
            Stage::Lower(upto) => {
                self.high = upto;
                if self.low == 0 && self.high == 1 {
                    return self.found();
                }
                self.narrow();
                Progress::default()
            }
            Stage::Single => self.found(),
            Stage::Pair => self.gap(),
            Stage::Whole => self.too_many(),
            // A second fault, behind the first: a search of its own.
            Stage::Rest(from) => {
                self.atoms.drain(..from);
                (self.low, self.high) = (0, self.atoms.len());
                if self.high == 1 {
                    return Progress { everything_is_refused: true, ..self.found() };
                }
                self.narrow();
                Progress { everything_is_refused: true, ..Progress::default() }
            }
            Stage::Over => Progress::default(),
        }
    }

    fn narrow(&mut self) {
        self.stage = match self.high - self.low {
            0 | 1 => Stage::Single,
            left => Stage::Lower(self.low + left.div_ceil(2)),
        };
    }

    /// The atom at `low` is refused, asked alone.
    fn found(&mut self) -> Progress {
        let points = self.atoms.get(self.low).map(|atom| atom.points.clone()).unwrap_or_default();
        let lessons = vec![Lesson::Refused { points, code: self.code }];
        let behind = self.low + 1;
        self.stage = if behind < self.atoms.len() { Stage::Rest(behind) } else { Stage::Over };
        Progress { lessons, ..Progress::default() }
    }

    /// Two that are answered one by one are refused together: what lies between them is to blame, or if
    /// nothing does, their number.
    fn gap(&mut self) -> Progress {
        let before = self.low.checked_sub(1).and_then(|at| self.atoms.get(at)).map(|atom| atom.last);
        let first = self.atoms.get(self.low).map(|atom| atom.first);
        match before.zip(first) {
            Some((last, first)) if first > last + 1 => {
                let is_last = self.low + 1 >= self.atoms.len();
                self.stage = if is_last { Stage::Over } else { Stage::Rest(self.low) };
                let lesson = Lesson::Hole { table: self.table, from: last + 1, to: first - 1 };
                Progress { lessons: vec![lesson], ..Progress::default() }
            }
            Some(_) | None => self.too_many(),
        }
    }

    /// Every part was answered, the whole was not, twice.
    fn too_many(&mut self) -> Progress {
        let again = self.atoms.iter().skip(self.low + 1).flat_map(|atom| atom.points.clone()).collect();
        self.stage = Stage::Over;
        let lessons = vec![Lesson::Limit(self.answered.max(1))];
        Progress { lessons, again, ..Progress::default() }
    }

    fn go_on_to(&mut self, stage: Stage) -> Progress {
        self.stage = stage;
        Progress::default()
    }

    /// The points that nobody has asked for yet: those of the question now due, and all behind it.
    pub(super) fn unasked(&self) -> Vec<usize> {
        let from = match self.stage {
            Stage::Lower(_) | Stage::Single => self.low,
            // These have been asked, and answered.
            Stage::Pair | Stage::Whole => self.low + 1,
            Stage::Rest(from) => from,
            Stage::Over => return Vec::new(),
        };
        self.atoms.iter().skip(from).flat_map(|atom| atom.points.clone()).collect()
    }
}

/// The points as they stand in the registers, those that overlap joined.
fn atoms_of(profile: &Profile, points: &[usize]) -> VecDeque<Atom> {
    let mut spans: Vec<Atom> = points
        .iter()
        .filter_map(|index| {
            let point = profile.points.get(*index)?;
            let last = point.address.saturating_add(point.format.count().max(1) - 1);
            Some(Atom { first: point.address, last, points: vec![*index] })
        })
        .collect();
    spans.sort_by_key(|atom| (atom.first, atom.last));
    let mut atoms: VecDeque<Atom> = VecDeque::new();
    for span in spans {
        match atoms.back_mut() {
            Some(last) if span.first <= last.last => {
                last.last = last.last.max(span.last);
                last.points.extend(span.points);
            }
            Some(_) | None => atoms.push_back(span),
        }
    }
    atoms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::plan::tests::{point, profile};
    use crate::profile::Format;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const INPUT: Table = Table::InputRegister;

    /// A meter that refuses what touches one of these registers, or asks for more than so many at once.
    struct Meter {
        bad: BTreeSet<u16>,
        most: u16,
    }

    impl Meter {
        fn refuses(&self, block: &Block) -> bool {
            let first = block.request.address();
            block.request.count() > self.most
                || self.bad.range(first..first + block.request.count()).next().is_some()
        }
    }

    struct Found {
        questions: usize,
        served: BTreeSet<usize>,
        lessons: Vec<Lesson>,
        again: Vec<usize>,
    }

    fn search(p: &Profile, meter: &Meter) -> Found {
        let all: Vec<usize> = (0..p.points.len()).collect();
        let (first, last) =
            (p.points[0].address, p.points.iter().map(|p| p.address + p.format.count() - 1).max());
        let whole = Block::over(INPUT, first, last.unwrap(), all).unwrap();
        assert!(meter.refuses(&whole));
        let mut search = Search::new(p, &whole, 2).unwrap();
        let mut found = Found { questions: 0, served: BTreeSet::new(), lessons: vec![], again: vec![] };
        while let Some(block) = search.block() {
            found.questions += 1;
            let progress = if meter.refuses(&block) {
                search.refused(2)
            } else {
                found.served.extend(&block.points);
                search.answered()
            };
            found.lessons.extend(progress.lessons);
            found.again.extend(progress.again);
            assert!(found.questions < 1000, "it does not end");
        }
        found
    }

    fn singles(count: u16, step: u16) -> Profile {
        profile((0..count).map(|n| point(&format!("p{n}"), INPUT, n * step, Format::U16)).collect())
    }

    #[test]
    fn one_illegal_register_costs_itself_only() {
        for bad in 0..60 {
            let meter = Meter { bad: BTreeSet::from([bad]), most: 125 };
            let found = search(&singles(60, 1), &meter);
            assert_eq!(found.lessons, [Lesson::Refused { points: vec![usize::from(bad)], code: 2 }]);
            assert_eq!(found.served.len(), 59);
            assert!(found.questions <= 6 + 2, "{} questions for register {bad}", found.questions);
        }
    }

    #[test]
    fn a_hole_between_two_values_is_found_and_nothing_is_lost() {
        for hole in 0..19u16 {
            let meter = Meter { bad: BTreeSet::from([hole * 3 + 1]), most: 125 };
            let found = search(&singles(20, 3), &meter);
            let (from, to) = (hole * 3 + 1, hole * 3 + 2);
            assert_eq!(found.lessons, [Lesson::Hole { table: INPUT, from, to }]);
            assert_eq!(found.served.len(), 20);
            // 58 registers.
            assert!(found.questions <= 6 + 2, "{} questions for hole {hole}", found.questions);
        }
    }

    #[test]
    fn a_refusal_that_does_not_come_again_teaches_nothing() {
        let p = singles(20, 3);
        let whole = Block::over(INPUT, 0, 57, (0..20).collect()).unwrap();
        let mut search = Search::new(&p, &whole, 2).unwrap();
        let mut questions = 0;
        while search.block().is_some() {
            questions += 1;
            assert_eq!(search.answered(), Progress::default());
        }
        assert!(questions <= 9, "{questions}");
    }

    #[test]
    fn a_meter_that_allows_fewer_registers_at_once_is_understood() {
        let found = search(&singles(40, 1), &Meter { bad: BTreeSet::new(), most: 24 });
        assert_eq!(found.lessons, [Lesson::Limit(20)]);
        assert_eq!(found.served.len() + found.again.len(), 40);
    }

    proptest! {
        #[test]
        fn every_point_is_served_or_named_whatever_is_wrong(
            gaps in proptest::collection::vec(1u16..5, 2..30),
            bad in proptest::collection::btree_set(0u16..120, 1..6),
        ) {
            let mut at = 0;
            let points: Vec<_> = gaps.iter().map(|gap| { at += gap; point("p", INPUT, at, Format::U16) }).collect();
            let p = profile(points);
            let meter = Meter { bad, most: 125 };
            let illegal: BTreeSet<usize> =
                (0..p.points.len()).filter(|n| meter.bad.contains(&p.points[*n].address)).collect();
            let (first, last) = (p.points[0].address, at);
            prop_assume!(meter.bad.range(first..=last).next().is_some());
            let found = search(&p, &meter);
            let mut named = BTreeSet::new();
            for lesson in &found.lessons {
                match lesson {
                    Lesson::Refused { points, .. } => named.extend(points.iter().copied()),
                    Lesson::Hole { from, to, .. } => prop_assert!(meter.bad.range(*from..=*to).next().is_some()),
                    Lesson::Limit(_) => {}
                }
            }
            prop_assert!(named.is_subset(&illegal), "{named:?} of {illegal:?}");
            let again: BTreeSet<usize> = found.again.iter().copied().collect();
            let all: BTreeSet<usize> = found.served.union(&named).copied().collect::<BTreeSet<_>>().union(&again).copied().collect();
            prop_assert_eq!(all.len(), p.points.len());
        }
    }
}
