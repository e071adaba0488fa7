//! Counters that only rise: over the end of their digits, over a reset, and never down.
//!
//! - **Rollover**: from the last quarter of the span to its first. The span is the profile's `rollover`, else that
//!   of the type (2^16, 2^32, 10^8 …), else a power of ten that the counter had nearly filled (999 9xx).
//! - **Fell**: any other step down is not believed at once. Meters of the field answer 0 for a moment when they
//!   start, and what is not there reads 0 (or all ones) at night. Two readings in a row are a **reset**.
//! - **Steady**: a step down by less than a millionth is the last digit of a float: the counter stands still.
//! - The **total** goes on over all of these. What was counted between a reset and the first reading after it is
//!   not in it: nobody knows how much that was.

use crate::model::{Decimal, Ratio};
use crate::profile::{Format, Point};

/// Below so many counts a power of ten is no display's end.
const FEWEST: i128 = 10_000;
/// A step down of less than one part of so many is noise in the last digit.
const NOISE: i128 = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counter {
    /// None where another meter has come: what it has counted before is not ours.
    pub last: Option<Decimal>,
    pub total: Decimal,
    /// A reading below the last one, not believed yet.
    low: Option<Decimal>,
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
}

impl Counter {
    /// A counter that is read for the first time.
    pub(super) fn new(first: Decimal) -> Counter {
        Counter { last: Some(first), total: first, low: None }
    }

    pub(super) fn kept(last: Option<Decimal>, total: Decimal) -> Counter {
        Counter { last, total, low: None }
    }

    /// Another meter goes on in this one's place.
    pub(super) fn exchanged(&mut self) {
        self.last = None;
        self.low = None;
    }

    pub(super) fn step(&mut self, value: Decimal, point: &Point) -> Step {
        let Some(last) = self.last else {
            self.last = Some(value);
            return Step::Good;
        };
        if value >= last {
            self.rise(value, last, Step::Good)
        } else if let Some(end) = end_of(last, value, point) {
            let Ok(past) = end.checked_sub(last).and_then(|left| left.checked_add(value)) else {
                return Step::Fell;
            };
            self.rise(past, Decimal::ZERO, Step::Rolled);
            self.last = Some(value);
            Step::Rolled
        } else if is_noise(last, value) {
            self.low = None;
            Step::Steady(last)
        } else {
            match self.low {
                Some(low) if value >= low => {
                    self.rise(value, low, Step::Good);
                    Step::Reset { from: last }
                }
                Some(_) | None => {
                    self.low = Some(value);
                    Step::Fell
                }
            }
        }
    }

    fn rise(&mut self, value: Decimal, from: Decimal, step: Step) -> Step {
        if let Ok(total) = value.checked_sub(from).and_then(|more| self.total.checked_add(more)) {
            self.total = total;
        }
        self.last = Some(value);
        self.low = None;
        step
    }
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
        let (steps, total) = run(&point(Format::U16, "1"), &["65530", "4"]);
        assert_eq!((steps, total.as_str()), (vec![Step::Rolled], "65540"));
        let (steps, total) = run(&point(Format::U32, "0.01"), &["42949672.9", "0.5"]);
        assert_eq!((steps, total.as_str()), (vec![Step::Rolled], "42949673.46"));
        let (steps, _) = run(&point(Format::Bcd16, "1"), &["9990", "3"]);
        assert_eq!(steps, [Step::Rolled]);
    }

    #[test]
    fn a_counter_rolls_over_at_a_power_of_ten_that_it_had_nearly_filled_or_where_its_profile_says() {
        let (steps, total) = run(&point(Format::U32, "0.1"), &["99999.8", "0.3", "0.9"]);
        assert_eq!((steps, total.as_str()), (vec![Step::Rolled, Step::Good], "100000.9"));
        let mut odd = point(Format::F32, "1");
        odd.rollover = Some(d("50000"));
        let (steps, total) = run(&odd, &["49999", "2"]);
        assert_eq!((steps, total.as_str()), (vec![Step::Rolled], "50002"));
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

    proptest! {
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
