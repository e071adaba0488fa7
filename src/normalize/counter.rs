//! Counters that only rise: over the end of their digits, over a reset, and never down.
//!
//! - **Fell**: a step down is not believed at once. Meters of the field answer 0 for a moment when they start, and
//!   what is not there reads 0 (or all ones) at night. Two readings in a row are.
//! - **Rollover**: such a fall from the last quarter of the span to its first. The span is the profile's
//!   `rollover`, else that of the type (2^16, 2^32, 10^8 …), else a power of ten that the counter had nearly
//!   filled (999 9xx).
//! - **Reset**: any other such fall.
//! - **Back**: it is where it stood before the fall, or above, without having counted up to there: it was no
//!   reset and no rollover, and only what is more than before the fall has been counted.
//! - **Steady**: a step down by less than a millionth is the last digit of a float: the counter stands still.
//! - The **total** goes on over all of these. It stands still from a fall on until the counter has risen by itself
//!   at two readings, or is back: so it is never above what was counted. What was counted between a reset
//!   and the first reading after it is not in it: nobody knows how much that was. Nor is what a new meter counted
//!   before the first reading that is not 0: that may be the 0 of a meter that starts.

use crate::model::{Decimal, Ratio};
use crate::profile::{Format, Point};

/// Below so many counts a power of ten is no display's end.
const FEWEST: i128 = 10_000;
/// A step down of less than one part of so many is noise in the last digit.
const NOISE: i128 = 1_000_000;
/// A counter that has risen once since it fell, and rises by so many times as much up to where it stood before, has
/// not counted up to there: it is back.
const OUT_OF_PROPORTION: i128 = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counter {
    /// None where another meter has come: what it has counted before is not ours.
    pub last: Option<Decimal>,
    pub total: Decimal,
    /// A reading below the last one, not believed yet.
    low: Option<Decimal>,
    pub fallen: Option<Fallen>,
    /// The checksum of what the profile means by it; none of what was kept before there was one.
    pub meaning: Option<u32>,
}

/// Two readings in a row were below the last: it may have begun again, or be back with the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fallen {
    /// Where it stood; all up to there is in the total.
    pub from: Decimal,
    /// Where it begins again; nothing of what came after is in the total.
    pub low: Decimal,
    /// It has risen since, once.
    pub risen: bool,
}

/// What a reading means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Good,
    /// As before: the difference is noise.
    Steady(Decimal),
    /// Below the last, and not believed.
    Fell,
    Rolled,
    Reset {
        from: Decimal,
    },
    /// It begins once more before it has risen by itself.
    FellAgain,
    /// What was taken for a reset or a rollover was none.
    Back {
        from: Decimal,
    },
}

impl Counter {
    /// A counter that is read for the first time.
    pub(super) fn new(first: Decimal) -> Counter {
        Counter { last: Some(first), total: first, low: None, fallen: None, meaning: None }
    }

    /// Another meter goes on in this one's place.
    pub(super) fn exchanged(&mut self) {
        (self.last, self.low, self.fallen) = (None, None, None);
    }

    /// Its last reading was below the one before and not believed.
    pub(super) fn is_doubtful(&self) -> bool {
        self.low.is_some()
    }

    pub(super) fn step(&mut self, value: Decimal, point: &Point) -> Step {
        let Some(last) = self.last else {
            self.last = Some(value).filter(|first| *first != Decimal::ZERO);
            return Step::Good;
        };
        let above = |fallen: &Fallen| value >= fallen.from || is_noise(fallen.from, value);
        if let Some(fallen) = self.fallen.filter(above) {
            return self.above(value, last, fallen, point);
        }
        if value >= last {
            self.rise(value, last, point);
            Step::Good
        } else if is_noise(last, value) {
            self.low = None;
            Step::Steady(last)
        } else {
            self.fall(value, last, point)
        }
    }

    /// Where it stood before it fell, or above.
    fn above(&mut self, value: Decimal, last: Decimal, fallen: Fallen, point: &Point) -> Step {
        if fallen.risen && is_in_proportion(fallen.low, last, value) {
            self.rise(value, last, point);
            return Step::Good;
        }
        self.add(value.max(fallen.from), fallen.from);
        (self.low, self.fallen) = (None, None);
        Step::Back { from: last }
    }

    fn rise(&mut self, value: Decimal, last: Decimal, point: &Point) {
        self.low = None;
        match self.fallen {
            None => self.add(value, last),
            Some(fallen) if fallen.risen && value > last => {
                // What was left to the end of the span, if that is where it fell from.
                match end_of(fallen.from, fallen.low, point) {
                    Some(end) => {
                        self.add(end, fallen.from);
                        self.add(value, Decimal::ZERO);
                    }
                    None => self.add(value, fallen.low),
                }
                self.fallen = None;
            }
            Some(fallen) => {
                self.fallen = Some(Fallen { risen: fallen.risen || value > last, ..fallen });
                self.last = Some(value);
            }
        }
    }

    fn fall(&mut self, value: Decimal, last: Decimal, point: &Point) -> Step {
        let Some(low) = self.low.filter(|low| value >= *low) else {
            self.low = Some(value);
            return Step::Fell;
        };
        // One that falls again before it has risen still stood where it stood, and that it fell has been told.
        let before = self.fallen.map(|fallen| fallen.from);
        self.fallen = Some(Fallen { from: before.unwrap_or(last), low, risen: value > low });
        (self.low, self.last) = (None, Some(value));
        match before {
            Some(_) => Step::FellAgain,
            None if end_of(last, low, point).is_some() => Step::Rolled,
            None => Step::Reset { from: last },
        }
    }

    fn add(&mut self, value: Decimal, from: Decimal) {
        if let Ok(total) = value.checked_sub(from).and_then(|more| self.total.checked_add(more)) {
            self.total = total;
        }
        self.last = Some(value);
    }
}

/// Whether its last rise goes with the one before.
fn is_in_proportion(low: Decimal, last: Decimal, value: Decimal) -> bool {
    let before = last.checked_sub(low).and_then(|rise| rise.checked_mul(Decimal::new(OUT_OF_PROPORTION, 0)));
    before.ok().zip(value.checked_sub(last).ok()).is_some_and(|(most, rise)| rise <= most)
}

fn part(of: Decimal, n: i128, d: i128) -> Option<Decimal> {
    of.scaled(Ratio::new(n, d).ok()?).ok()
}

fn is_noise(last: Decimal, value: Decimal) -> bool {
    let fallen = last.checked_sub(value).ok();
    fallen.zip(part(last, 1, NOISE)).is_some_and(|(fallen, noise)| fallen <= noise)
}

/// Where the counter began again, if that is what happened.
fn end_of(last: Decimal, value: Decimal, point: &Point) -> Option<Decimal> {
    if value < Decimal::ZERO {
        return None;
    }
    if let Some(end) = point.rollover {
        return over(last, value, end, 4).then_some(end);
    }
    let count = count_of(point);
    let typed = count.zip(span(point.format)).and_then(|(count, span)| count.checked_mul(span).ok());
    if let Some(end) = typed.filter(|end| over(last, value, *end, 4)) {
        return Some(end);
    }
    let count = count.unwrap_or(Decimal::from(1u64));
    let mut end = count.checked_mul(Decimal::new(FEWEST, 0)).ok()?;
    while end <= last {
        end = end.checked_mul(Decimal::new(1, 1)).ok()?;
    }
    over(last, value, end, 100).then_some(end)
}

/// From the last part of the span to its first.
fn over(last: Decimal, value: Decimal, end: Decimal, parts: i128) -> bool {
    let (late, early) = (part(end, parts - 1, parts), part(end, 1, parts));
    late.is_some_and(|late| last >= late) && last < end && early.is_some_and(|early| value <= early)
}

/// What one count of the register is worth, where nothing else has a say in it.
fn count_of(point: &Point) -> Option<Decimal> {
    let whole = !matches!(point.format, Format::F32 | Format::F64);
    if whole && point.stands_alone() { Decimal::from(1u64).scaled(point.scale).ok() } else { None }
}

fn span(format: Format) -> Option<Decimal> {
    let span = match format {
        Format::U16 | Format::Bits => 1 << 16,
        Format::S16 => 1 << 15,
        Format::U32 => 1 << 32,
        Format::S32 => 1 << 31,
        Format::U64 => 1 << 64,
        Format::S64 => 1 << 63,
        Format::Bcd16 => 10_000,
        Format::Bcd32 => 100_000_000,
        Format::Bcd64 => 10_000_000_000_000_000,
        Format::F32 | Format::F64 | Format::IskraT5 | Format::IskraT6 | Format::IskraT7 => return None,
        Format::Bool | Format::Text(_) | Format::Date(_) => return None,
    };
    Some(Decimal::new(span, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Table;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn point(format: Format, scale: &str) -> Point {
        let mut point = Point::new("e".parse().unwrap(), Table::HoldingRegister, 0, format);
        point.scale = scale.parse().unwrap();
        point
    }

    /// The steps of a counter through these readings, and its total at the end.
    fn run(point: &Point, readings: &[&str]) -> (Vec<Step>, String) {
        let mut counter = Counter::new(d(readings[0]));
        let steps = readings[1..].iter().map(|value| counter.step(d(value), point)).collect();
        (steps, counter.total.to_string())
    }

    #[test]
    fn a_counter_rolls_over_at_the_end_of_its_type() {
        let rolled = || vec![Step::Fell, Step::Rolled, Step::Good];
        let (steps, total) = run(&point(Format::U16, "1"), &["65530", "4", "6", "9"]);
        assert_eq!((steps, total.as_str()), (rolled(), "65545"));
        let (steps, total) = run(&point(Format::U32, "0.01"), &["42949672.9", "0", "0.25", "0.5"]);
        assert_eq!((steps, total.as_str()), (rolled(), "42949673.46"));
        let (steps, _) = run(&point(Format::Bcd16, "1"), &["9990", "3", "3", "4"]);
        assert_eq!(steps, rolled());
        let (steps, total) = run(&point(Format::U16, "1"), &["50000", "4464", "24464", "52000"]);
        assert_eq!((steps, total.as_str()), (rolled(), "117536"), "one in a hurry");
    }

    #[test]
    fn a_counter_rolls_over_at_a_power_of_ten_that_it_had_nearly_filled_or_where_its_profile_says() {
        let (steps, total) = run(&point(Format::U32, "0.1"), &["99999.8", "0.3", "0.9", "1.1"]);
        assert_eq!((steps, total.as_str()), (vec![Step::Fell, Step::Rolled, Step::Good], "100001.1"));
        let mut odd = point(Format::F32, "1");
        odd.rollover = Some(d("50000"));
        let (steps, total) = run(&odd, &["49999", "2", "3", "4"]);
        assert_eq!((steps, total.as_str()), (vec![Step::Fell, Step::Rolled, Step::Good], "50004"));
    }

    #[test]
    fn a_dip_is_not_believed_and_a_reset_is_when_it_lasts() {
        let p = point(Format::U32, "1");
        let (steps, total) = run(&p, &["5000", "0", "5001"]);
        assert_eq!((steps, total.as_str()), (vec![Step::Fell, Step::Good], "5001"), "zero for a moment");
        let (steps, total) = run(&p, &["5000", "0", "2", "7"]);
        assert_eq!(
            (steps, total.as_str()),
            (vec![Step::Fell, Step::Reset { from: d("5000") }, Step::Good], "5007")
        );
        let (steps, _) = run(&p, &["5000", "40", "20", "10", "11"]);
        assert_eq!(steps, [Step::Fell, Step::Fell, Step::Fell, Step::Reset { from: d("5000") }]);
    }

    #[test]
    fn a_counter_that_reads_nothing_for_a_while_and_returns_has_counted_only_what_is_more() {
        let p = point(Format::U32, "1");
        assert_eq!(run(&p, &["5000", "0", "0", "5001"]).1, "5001");
        assert_eq!(run(&p, &["5000", "0", "0", "0", "0", "5000", "5002"]).1, "5002");
        assert_eq!(run(&p, &["5000", "40", "90", "5001"]).1, "5001", "two different ones");
    }

    #[test]
    fn a_zero_near_the_end_of_the_span_is_no_rollover() {
        let p = point(Format::U16, "1");
        assert_eq!(run(&p, &["50000", "0", "50001"]).1, "50001");
        assert_eq!(run(&p, &["50000", "0", "0", "50001"]).1, "50001");
        assert_eq!(run(&p, &["65530", "0", "0", "3", "5"]).1, "65541", "and one that begins at zero is");
    }

    #[test]
    fn a_new_meter_that_reads_nothing_at_first_does_not_begin_there() {
        let p = point(Format::U32, "1");
        let mut counter = Counter::new(d("5000"));
        counter.exchanged();
        for value in ["0", "0", "90000", "90003"] {
            counter.step(d(value), &p);
        }
        assert_eq!(counter.total, d("5003"));
    }

    #[test]
    fn the_last_digit_of_a_float_is_no_step_down() {
        let (steps, total) = run(&point(Format::F32, "1"), &["123456.79", "123456.78", "123457"]);
        assert_eq!((steps, total.as_str()), (vec![Step::Steady(d("123456.79")), Step::Good], "123457"));
    }

    #[test]
    fn a_new_meter_begins_where_it_stands_and_the_total_goes_on() {
        let p = point(Format::U32, "1");
        let mut counter = Counter::new(d("5000"));
        counter.exchanged();
        assert_eq!(counter.step(d("90000"), &p), Step::Good);
        assert_eq!(counter.step(d("90003"), &p), Step::Good);
        assert_eq!(counter.total, d("5003"));
    }

    #[test]
    fn a_meter_that_was_reset_twice_before_it_counted_is_where_it_was_or_goes_on_from_the_last_reset() {
        let p = point(Format::U32, "1");
        assert_eq!(run(&p, &["5000", "3", "3", "0", "0", "5001"]).1, "5001");
        let (steps, total) = run(&p, &["5000", "3", "3", "0", "0", "2", "4"]);
        assert_eq!(total, "5004");
        let told = steps.iter().filter(|step| matches!(step, Step::Reset { .. })).count();
        assert_eq!(told, 1, "nobody can tell whether one of them was none");
        assert_eq!(run(&p, &["10", "0", "3", "12", "15"]).1, "25", "it has counted up to where it stood");
    }

    /// What happens to a counter, and to its meter.
    #[derive(Debug, Clone)]
    enum Happens {
        Counts(u32),
        /// So many readings of nothing.
        Nothing(usize),
        /// One reading of so many parts in a hundred of what it should be.
        Glitch(u32),
        Reset([u32; 3]),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            8 => (0u32..8000).prop_map(Happens::Counts),
            2 => (1usize..5).prop_map(Happens::Nothing),
            2 => (0u32..100).prop_map(Happens::Glitch),
            2 => proptest::array::uniform3(1u32..50).prop_map(Happens::Reset),
        ]
    }

    /// A meter with sixteen bits: what it shows, and what it has counted in truth.
    struct Meter {
        shows: u32,
        counted: u32,
        /// What nobody can know: what it counted between a reset and the first reading after it.
        lost: u32,
        /// How often it was reset or rolled over.
        begun: i32,
    }

    impl Meter {
        fn counts(&mut self, more: u32) -> u32 {
            self.counted += more;
            self.begun += i32::from(self.shows + more >= 1 << 16);
            self.shows = (self.shows + more) % (1 << 16);
            self.shows
        }

        /// The readings that this makes. After what was wrong comes one that is right.
        fn readings(&mut self, of: &Happens) -> Vec<u32> {
            // Not where it would look like the end of the span, nor before that is over.
            let is_told_apart = (24_000..40_000).contains(&self.shows);
            match of {
                Happens::Counts(more) => vec![self.counts(*more)],
                Happens::Nothing(times) => [vec![0; *times], vec![self.counts(3)]].concat(),
                Happens::Glitch(percent) => vec![self.shows * percent / 100, self.counts(3)],
                Happens::Reset(_) if !is_told_apart => vec![],
                Happens::Reset(then) => {
                    self.shows = 0;
                    (self.lost, self.begun) = (self.lost + then[0], self.begun + 1);
                    then.iter().map(|more| self.counts(*more)).collect()
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10000))]
        #[test]
        fn a_total_is_never_above_what_was_counted_and_gets_there(
            first in 0u32..65_536,
            all in proptest::collection::vec(happens(), 0..60),
        ) {
            let p = point(Format::U16, "1");
            let number = |n: u32| Decimal::from(u64::from(n));
            let mut meter = Meter { shows: first, counted: first, lost: 0, begun: 0 };
            let (mut counter, mut told) = (Counter::new(number(first)), 0);
            let mut step = |event: &Happens, meter: &mut Meter| {
                for value in meter.readings(event) {
                    let before = counter.total;
                    told += match counter.step(number(value), &p) {
                        Step::Rolled | Step::Reset { .. } => 1,
                        Step::Back { .. } => -1,
                        Step::Good | Step::Steady(_) | Step::Fell | Step::FellAgain => 0,
                    };
                    prop_assert!(counter.total >= before, "it fell");
                    prop_assert!(counter.total <= number(meter.counted), "{event:?}: too much");
                }
                Ok(())
            };
            for event in &all {
                step(event, &mut meter)?;
            }
            // Past the end of the span, if that is near, and some readings more.
            let past = if meter.shows > 65_000 { 1000 } else { 0 };
            for more in [past, 5, 5, 5, 5] {
                step(&Happens::Counts(more), &mut meter)?;
            }
            prop_assert_eq!(counter.total, number(meter.counted - meter.lost));
            prop_assert_eq!(told, meter.begun, "each told once, and taken back where it was none");
        }

        #[test]
        fn a_total_never_falls_and_no_good_value_is_below_the_one_before(raws in proptest::collection::vec(0u64..70_000, 1..60), which in 0usize..4) {
            let format = [Format::U16, Format::U32, Format::F32, Format::Bcd16][which];
            let p = point(format, "0.1");
            let value = |raw: u64| Decimal::new(i128::from(raw), -1);
            let mut counter = Counter::new(value(raws[0]));
            for raw in &raws[1..] {
                let (last, total) = (counter.last, counter.total);
                let step = counter.step(value(*raw), &p);
                prop_assert!(counter.total >= total, "{raws:?}");
                if step == Step::Good {
                    prop_assert!(Some(value(*raw)) >= last);
                }
            }
        }
    }
}
