//! One point's values as whole numbers, and whole numbers as differences.

use super::wire::zigzag;
use crate::model::{Decimal, Value};

/// Exponents beyond these are written as words; a double's fit.
pub(super) const EXPONENTS: std::ops::RangeInclusive<i32> = -400..=400;

/// A column: value = number × step × 10^exp, or the word of that index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub numbers: Vec<i64>,
    pub exp: i32,
    pub step: u64,
    pub words: Vec<String>,
    /// Not as it was read, but within the tolerance.
    pub rounded: bool,
}

/// How finely a point is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fineness {
    pub resolution: Option<Decimal>,
    /// ± so much may be lost; nothing when `None`.
    pub tolerance: Option<Decimal>,
}

impl Column {
    pub(super) fn of(values: &[&Value], fineness: Fineness) -> Column {
        let numbers: Option<Vec<Decimal>> = values.iter().copied().map(number).collect();
        let numbers = numbers.and_then(|numbers| {
            let bounded =
                fineness.tolerance.and_then(|tolerance| bounded(&numbers, fineness.resolution, tolerance));
            bounded.or_else(|| exact(&numbers, fineness.resolution))
        });
        numbers.unwrap_or_else(|| worded(values))
    }

    /// The differences, and by which order they are: that which needs the fewest bits.
    pub(super) fn differences(&self) -> (u32, Vec<i64>) {
        let mut best = (1, differences(&self.numbers, 1));
        let mut least = bits(&best.1);
        for order in [0, 2] {
            let candidate = differences(&self.numbers, order);
            let need = bits(&candidate);
            // A change of order must be worth telling.
            if need + need / 32 + 8 < least {
                (least, best) = (need, (order, candidate));
            }
        }
        super::wire::trim(&mut best.1);
        best
    }
}

fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Bool(_) | Value::Text(_) => None,
    }
}

/// Digit for digit: at the resolution if all are multiples of it, else at the finest digit among them.
fn exact(numbers: &[Decimal], resolution: Option<Decimal>) -> Option<Column> {
    resolution.and_then(|step| at(numbers, step)).or_else(|| {
        let finest = numbers.iter().filter(|n| n.mantissa() != 0).map(|n| n.exponent()).min();
        at(numbers, Decimal::new(1, finest.unwrap_or(0)))
    })
}

/// Every number as a multiple of `step`; `None` if one is none, or too many of them.
fn at(numbers: &[Decimal], step: Decimal) -> Option<Column> {
    let unit = u64::try_from(step.mantissa()).ok().filter(|unit| *unit > 0)?;
    if !EXPONENTS.contains(&step.exponent()) {
        return None;
    }
    let whole = |number: &Decimal| -> Option<i64> {
        if number.mantissa() == 0 {
            return Some(0);
        }
        let power = u32::try_from(number.exponent().checked_sub(step.exponent())?).ok()?;
        let lifted = number.mantissa().checked_mul(10i128.checked_pow(power)?)?;
        if lifted % step.mantissa() == 0 { i64::try_from(lifted / step.mantissa()).ok() } else { None }
    };
    let numbers = numbers.iter().map(whole).collect::<Option<Vec<i64>>>()?;
    Some(Column { numbers, exp: step.exponent(), step: unit, words: Vec::new(), rounded: false })
}

/// Rounded to a step of twice the tolerance, which is never off by more than the tolerance. With a resolution the
/// step is a multiple of it, so that what is told is still what the meter could have shown.
fn bounded(numbers: &[Decimal], resolution: Option<Decimal>, tolerance: Decimal) -> Option<Column> {
    let twice = tolerance.checked_mul(Decimal::new(2, 0)).ok()?;
    let step = match resolution {
        Some(resolution) => multiple_below(twice, resolution)?,
        None => twice,
    };
    let rounded: Vec<Decimal> =
        numbers.iter().map(|number| number.rounded_to(step)).collect::<Result<_, _>>().ok()?;
    let off = |(number, rounded): (&Decimal, &Decimal)| number.checked_sub(*rounded).map(magnitude);
    let within = |pair| off(pair).is_ok_and(|off| off <= tolerance);
    if !numbers.iter().zip(&rounded).all(within) {
        return None;
    }
    Some(Column { rounded: numbers != rounded, ..at(&rounded, step)? })
}

/// The largest multiple of `resolution` that is not above `most`; `None` below two of them, where rounding gains nothing.
fn multiple_below(most: Decimal, resolution: Decimal) -> Option<Decimal> {
    let nearest = most.rounded_to(resolution).ok()?;
    let step = if nearest > most { nearest.checked_sub(resolution).ok()? } else { nearest };
    (step > resolution).then_some(step)
}

fn magnitude(number: Decimal) -> Decimal {
    if number < Decimal::ZERO { Decimal::ZERO.checked_sub(number).unwrap_or(number) } else { number }
}

/// Flags, texts, and numbers that no column of whole numbers can hold: as JSON literals and which of them.
fn worded(values: &[&Value]) -> Column {
    let mut words: Vec<String> = Vec::new();
    let mut numbers = Vec::new();
    for value in values {
        let word = match value {
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Text(text) => serde_json::Value::from(&**text).to_string(),
        };
        let index = words.iter().position(|known| *known == word).unwrap_or_else(|| {
            words.push(word);
            words.len() - 1
        });
        numbers.push(i64::try_from(index).unwrap_or(i64::MAX));
    }
    Column { numbers, exp: 0, step: 1, words, rounded: false }
}

fn differences(numbers: &[i64], order: u32) -> Vec<i64> {
    let (mut before, mut slope) = (0i64, 0i64);
    let first = numbers.first().copied().unwrap_or_default();
    let mut out = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        let expected = match (index, order) {
            (0, _) => 0,
            (_, 0) => first,
            (_, 1) => before,
            (_, _) => before.wrapping_add(slope),
        };
        out.push(number.wrapping_sub(expected));
        slope = if index == 0 { 0 } else { number.wrapping_sub(before) };
        before = *number;
    }
    out
}

/// Whole numbers from their differences; those that are not there are zero.
pub(super) fn restored(differences: &[i64], order: u32, count: usize) -> Vec<i64> {
    let (mut before, mut slope) = (0i64, 0i64);
    let mut out = Vec::with_capacity(count);
    for index in 0..count {
        let difference = differences.get(index).copied().unwrap_or_default();
        let expected = match (index, order) {
            (0, _) => 0,
            (_, 0) => out.first().copied().unwrap_or_default(),
            (_, 1) => before,
            (_, _) => before.wrapping_add(slope),
        };
        let number = difference.wrapping_add(expected);
        slope = if index == 0 { 0 } else { number.wrapping_sub(before) };
        before = number;
        out.push(number);
    }
    out
}

/// What differences need, in bits, as an entropy coder sees them; the first is the same for every order.
fn bits(differences: &[i64]) -> u32 {
    differences.iter().skip(1).map(|n| 64 - zigzag(*n).leading_zeros()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(texts: &[&str], resolution: Option<&str>, tolerance: Option<&str>) -> Column {
        let values: Vec<Value> = texts.iter().map(|text| Value::Number(text.parse().unwrap())).collect();
        let parsed = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let fineness = Fineness { resolution: parsed(resolution), tolerance: parsed(tolerance) };
        Column::of(&values.iter().collect::<Vec<_>>(), fineness)
    }

    #[test]
    fn numbers_are_told_in_steps_of_the_resolution_where_that_loses_nothing() {
        let exact = column(&["230.1", "230", "-0.5"], Some("0.1"), None);
        assert_eq!((exact.numbers, exact.exp, exact.step), (vec![2301, 2300, -5], -1, 1));
        let fives = column(&["15", "0", "1e3"], Some("5"), None);
        assert_eq!((fives.numbers, fives.exp, fives.step), (vec![3, 0, 200], 0, 5));
        let finer = column(&["230.1", "230.125"], Some("0.1"), None);
        assert_eq!((finer.numbers, finer.exp), (vec![230_100, 230_125], -3));
        assert_eq!(column(&["0", "0"], None, None).numbers, [0, 0]);
    }

    #[test]
    fn what_no_64_bits_hold_is_told_in_words() {
        let wide = column(&["18446744073709551615", "0.001"], None, None);
        assert_eq!(wide.words, ["18446744073709551615", "0.001"]);
        assert!(column(&["1e300", "1e-300"], None, None).words.len() == 2);
        let values = [Value::Bool(true), Value::Text("a\"b".into()), Value::Bool(true)];
        let mixed = Column::of(&values.iter().collect::<Vec<_>>(), Fineness::default());
        assert_eq!(
            (mixed.words, mixed.numbers),
            (vec!["true".to_owned(), "\"a\\\"b\"".to_owned()], vec![0, 1, 0])
        );
    }

    #[test]
    fn within_a_tolerance_steps_are_multiples_of_the_resolution() {
        let rounded = column(&["231.7", "229.2", "230"], Some("0.1"), Some("0.58"));
        assert_eq!((rounded.exp, rounded.step, rounded.rounded), (-1, 11, true));
        assert_eq!(rounded.numbers, [211, 208, 209]);
        let too_fine = column(&["231.7"], Some("0.1"), Some("0.09"));
        assert_eq!((too_fine.step, too_fine.rounded, too_fine.numbers), (1, false, vec![2317]));
    }

    #[test]
    fn a_counter_that_rises_evenly_needs_no_bits() {
        let counter = column(&["10", "13", "16", "19", "22", "25", "28"], Some("1"), None);
        assert_eq!(counter.differences(), (2, vec![10, 3]));
        assert_eq!(column(&["7", "7", "7"], None, None).differences(), (1, vec![7]));
    }

    proptest! {
        #[test]
        fn differences_of_every_order_restore_the_numbers(
            numbers in proptest::collection::vec(any::<i64>(), 0..20), order in 0u32..3,
        ) {
            let mut differences = differences(&numbers, order);
            crate::encode::batch::wire::trim(&mut differences);
            prop_assert_eq!(restored(&differences, order, numbers.len()), numbers);
        }

        #[test]
        fn what_is_rounded_stays_within_its_tolerance(
            mantissas in proptest::collection::vec(-1_000_000i64..1_000_000, 1..20),
            tolerance in 1i64..5000, resolution in proptest::option::of(1i64..100),
        ) {
            let tolerance = Decimal::new(i128::from(tolerance), -3);
            let resolution = resolution.map(|r| Decimal::new(i128::from(r), -3));
            let values: Vec<Value> = mantissas.iter().map(|m| Value::Number(Decimal::new(i128::from(*m), -3))).collect();
            let fineness = Fineness { resolution, tolerance: Some(tolerance) };
            let column = Column::of(&values.iter().collect::<Vec<_>>(), fineness);
            for (number, mantissa) in column.numbers.iter().zip(&mantissas) {
                let told = Decimal::new(i128::from(*number) * i128::from(column.step), column.exp);
                let off = told.checked_sub(Decimal::new(i128::from(*mantissa), -3)).unwrap();
                prop_assert!(magnitude(off) <= tolerance);
                prop_assert!(column.rounded || off == Decimal::ZERO);
            }
        }
    }
}
