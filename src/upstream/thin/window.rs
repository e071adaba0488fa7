//! One window of one device: what is kept of each point, and whose records are in it.

use super::rules::{Aggregate, Rule};
use crate::model::decimal::NumberError;
use crate::model::{Bad, Decimal, Name, Ratio, Reading, Sample, Timestamp, Value};
use crate::spool::Stored;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Window {
    /// The last moment that belongs to it.
    pub(super) end: i64,
    /// Positions of the records in it but the last.
    pub(super) before: Vec<u64>,
    /// The last record in it: the reading goes under its number.
    pub(super) carrier: Stored,
    last_ts: i64,
    points: Vec<(Name, Tally)>,
}

#[derive(Debug)]
enum Tally {
    Last(Sample),
    Mean { sum: Result<Decimal, NumberError>, count: u64, finest: i32, resolution: Option<Decimal> },
    Least(Decimal),
    Most(Decimal),
}

/// The end of the window that a moment belongs to, in ms; a width of zero is none.
pub(super) fn end_of(ts: i64, width: i64) -> i64 {
    let into = ts.rem_euclid(width.max(1));
    if into == 0 { ts } else { ts.saturating_add(width - into) }
}

pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl Window {
    pub(super) fn of(carrier: Stored, ts: i64, end: i64) -> Window {
        Window { end, before: Vec::new(), carrier, last_ts: ts, points: Vec::new() }
    }

    /// Another record of the same window.
    pub(super) fn carried_on(&mut self, carrier: Stored, ts: i64) {
        self.before.push(self.carrier.position);
        (self.carrier, self.last_ts) = (carrier, ts);
    }

    pub(super) fn put(&mut self, point: Name, sample: Sample, rule: &Rule) {
        match self.points.iter_mut().find(|(name, _)| *name == point) {
            Some((_, tally)) => tally.put(sample, rule),
            None => self.points.push((point, Tally::of(sample, rule))),
        }
    }

    /// The stamp of its reading: its end if it came to that, else that of its last record.
    pub(super) fn stamp(&self, whole: bool) -> i64 {
        if whole { self.end } else { self.last_ts }
    }

    pub(super) fn reading(self, device: Name, whole: bool) -> Reading {
        let ts = Timestamp(self.stamp(whole));
        let samples = self.points.into_iter().map(|(name, tally)| (name, tally.sample())).collect();
        Reading { device, ts, took: Duration::ZERO, clock_unsure: false, boot: None, samples }
    }
}

impl Tally {
    fn of(sample: Sample, rule: &Rule) -> Tally {
        match (rule.aggregate, sample) {
            (Some(Aggregate::Mean), Ok(Value::Number(number))) => {
                let resolution = rule.resolution.filter(|step| *step > Decimal::ZERO);
                Tally::Mean { sum: Ok(number), count: 1, finest: number.exponent(), resolution }
            }
            (Some(Aggregate::Min), Ok(Value::Number(number))) => Tally::Least(number),
            (Some(Aggregate::Max), Ok(Value::Number(number))) => Tally::Most(number),
            (_, sample) => Tally::Last(sample),
        }
    }

    fn put(&mut self, sample: Sample, rule: &Rule) {
        match (&mut *self, sample) {
            (Tally::Mean { sum, count, finest, .. }, Ok(Value::Number(number))) => {
                *sum = sum.and_then(|sum| sum.checked_add(number));
                *count += 1;
                *finest = (*finest).min(number.exponent());
            }
            (Tally::Least(least), Ok(Value::Number(number))) => *least = (*least).min(number),
            (Tally::Most(most), Ok(Value::Number(number))) => *most = (*most).max(number),
            (tally, sample) => *tally = Tally::of(sample, rule),
        }
    }

    fn sample(self) -> Sample {
        match self {
            Tally::Last(sample) => sample,
            Tally::Least(number) | Tally::Most(number) => Ok(Value::Number(number)),
            Tally::Mean { sum, count, finest, resolution } => {
                // One digit more than the finest value in it, where nobody says how fine the point is.
                let step = resolution.unwrap_or_else(|| Decimal::new(1, finest.min(0).saturating_sub(1)));
                // A sum beyond 38 digits: no number, and it says so.
                sum.and_then(|sum| mean(sum, count, step)).map(Value::Number).map_err(|_| Bad::OutOfRange)
            }
        }
    }
}

/// `sum ÷ count`, rounded once: to the nearest multiple of `step`, half to even.
fn mean(sum: Decimal, count: u64, step: Decimal) -> Result<Decimal, NumberError> {
    let count = i128::from(count.max(1));
    let wide = step.checked_mul(Decimal::new(count, 0))?;
    // A multiple of count × step, so what follows is exact.
    sum.rounded_to(wide)?.scaled(Ratio::new(1, count)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn a_mean_is_exact_and_rounded_once_half_to_even() {
        for (sum, count, step, expected) in [
            ("3", 2, "0.1", "1.5"),
            ("5", 2, "1", "2"),
            ("7", 2, "1", "4"),
            ("-5", 2, "1", "-2"),
            ("10", 3, "0.01", "3.33"),
            ("20", 3, "0.01", "6.67"),
            ("1", 4, "0.5", "0"),
            ("3", 4, "0.5", "1"),
            // Just below a half, further out than eighteen digits: never rounded up twice.
            ("4.49999999999999999999997", 3, "1", "1"),
            ("55340232221128654845", 3, "1", "18446744073709551615"),
        ] {
            assert_eq!(mean(number(sum), count, number(step)), Ok(number(expected)), "{sum} / {count}");
        }
    }

    #[test]
    fn the_end_belongs_to_its_window() {
        assert_eq!(
            [0, 1, 59_999, 60_000, 60_001].map(|ts| end_of(ts, 60_000)),
            [0, 60_000, 60_000, 60_000, 120_000]
        );
        assert_eq!(end_of(-1, 60_000), 0);
        assert_eq!(end_of(i64::MAX, 60_000), i64::MAX);
    }
}
