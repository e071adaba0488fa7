//! Exact numbers: a decimal from the register to the payload, and the ratios that scale it.
//!
//! `mantissa × 10^exponent`, kept without trailing zeros, so equal numbers are equal values.
//! The mantissa has 128 bits: a 64-bit counter times a scale of eighteen digits still fits.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Digits kept where a result has no exact decimal (a third of something).
const INEXACT_DIGITS: u32 = 18;
/// Beyond these a number is printed in scientific form: JSON allows both, people read this one.
const PLAIN_EXPONENTS: std::ops::RangeInclusive<i32> = -20..=20;
/// The widest exponent an `f64` can bring (5e-324) with room for scaling.
const WIDEST_EXPONENT: i32 = 400;

/// An exact decimal number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    mantissa: i128,
    exponent: i32,
}

/// An exact fraction, in lowest terms, denominator positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ratio {
    numerator: i128,
    denominator: i128,
}

/// Why a text or an operation gave no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    #[error("not a decimal number")]
    Syntax,
    #[error("more digits than can be kept exactly")]
    Overflow,
    #[error("division by zero")]
    ZeroDenominator,
}

impl Decimal {
    pub const ZERO: Decimal = Decimal { mantissa: 0, exponent: 0 };

    pub fn new(mantissa: i128, exponent: i32) -> Decimal {
        Decimal { mantissa, exponent }.normal()
    }

    pub fn mantissa(self) -> i128 {
        self.mantissa
    }

    pub fn exponent(self) -> i32 {
        self.exponent
    }

    /// The shortest decimal that reads back as this `f32`; `None` for NaN and infinities.
    pub fn from_f32(x: f32) -> Option<Decimal> {
        if x.is_finite() { format!("{x:e}").parse().ok() } else { None }
    }

    /// The shortest decimal that reads back as this `f64`; `None` for NaN and infinities.
    pub fn from_f64(x: f64) -> Option<Decimal> {
        if x.is_finite() { format!("{x:e}").parse().ok() } else { None }
    }

    /// The nearest `f64`: for metrics and pages, never for payloads.
    pub fn to_f64(self) -> f64 {
        format!("{}e{}", self.mantissa, self.exponent).parse().unwrap_or(f64::NAN)
    }

    pub fn checked_add(self, other: Decimal) -> Result<Decimal, NumberError> {
        // Nothing has to be aligned with zero, which a number near the end of the range could not be.
        if other.mantissa == 0 {
            return Ok(self);
        }
        let (a, b, exponent) = self.aligned(other)?;
        Ok(Decimal::new(a.checked_add(b).ok_or(NumberError::Overflow)?, exponent))
    }

    pub fn checked_sub(self, other: Decimal) -> Result<Decimal, NumberError> {
        let mantissa = other.mantissa.checked_neg().ok_or(NumberError::Overflow)?;
        self.checked_add(Decimal { mantissa, ..other })
    }

    pub fn checked_mul(self, other: Decimal) -> Result<Decimal, NumberError> {
        let mantissa = self.mantissa.checked_mul(other.mantissa).ok_or(NumberError::Overflow)?;
        let exponent = self.exponent.saturating_add(other.exponent);
        Decimal::new(mantissa, exponent).bounded()
    }

    /// `self × ratio`: exact where a decimal can be, else rounded half to even at 18 digits.
    pub fn scaled(self, ratio: Ratio) -> Result<Decimal, NumberError> {
        if ratio.denominator == 1 {
            return self.checked_mul(Decimal::new(ratio.numerator, 0));
        }
        let (twos, fives, rest) = two_five_rest(ratio.denominator);
        let places = twos.max(fives);
        let lift = checked_power(2, places - twos)?
            .checked_mul(checked_power(5, places - fives)?)
            .ok_or(NumberError::Overflow)?;
        let exponent = -i32::try_from(places).map_err(|_| NumberError::Overflow)?;
        let product =
            self.checked_mul(Decimal::new(ratio.numerator, 0))?.checked_mul(Decimal::new(lift, exponent))?;
        if rest == 1 { Ok(product) } else { product.divided(rest) }
    }

    /// The multiple of `step` nearest to `self` (half to even); `self` where `step` is not positive.
    pub fn rounded_to(self, step: Decimal) -> Result<Decimal, NumberError> {
        if step.mantissa <= 0 {
            return Ok(self);
        }
        let Ok((value, step_aligned, _)) = self.aligned(step) else {
            // So far apart in size that one is exact in the other or vanishes beside it.
            return Ok(if self.exponent >= step.exponent { self } else { Decimal::ZERO });
        };
        let steps = divide_half_even(value, step_aligned);
        Decimal::new(steps, 0).checked_mul(step)
    }

    fn divided(self, by: i128) -> Result<Decimal, NumberError> {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        let negative = mantissa < 0;
        mantissa = mantissa.checked_abs().ok_or(NumberError::Overflow)?;
        let (mut quotient, mut rest) = (mantissa / by, mantissa % by);
        while rest != 0 && digits(quotient) < INEXACT_DIGITS {
            rest = rest.checked_mul(10).ok_or(NumberError::Overflow)?;
            let next = quotient.checked_mul(10).and_then(|q| q.checked_add(rest / by));
            quotient = next.ok_or(NumberError::Overflow)?;
            rest %= by;
            exponent -= 1;
        }
        let twice = rest.checked_mul(2).ok_or(NumberError::Overflow)?;
        if twice > by || (twice == by && quotient % 2 == 1) {
            quotient += 1;
        }
        Decimal::new(if negative { -quotient } else { quotient }, exponent).bounded()
    }

    fn aligned(self, other: Decimal) -> Result<(i128, i128, i32), NumberError> {
        let exponent = self.exponent.min(other.exponent);
        let lift = |d: Decimal| -> Result<i128, NumberError> {
            if d.mantissa == 0 {
                return Ok(0);
            }
            let power = u32::try_from(d.exponent - exponent).map_err(|_| NumberError::Overflow)?;
            let factor = 10i128.checked_pow(power).ok_or(NumberError::Overflow)?;
            d.mantissa.checked_mul(factor).ok_or(NumberError::Overflow)
        };
        Ok((lift(self)?, lift(other)?, exponent))
    }

    fn normal(mut self) -> Decimal {
        if self.mantissa == 0 {
            return Decimal::ZERO;
        }
        while self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.exponent += 1;
        }
        self
    }

    fn bounded(self) -> Result<Decimal, NumberError> {
        if self.exponent.abs() > WIDEST_EXPONENT { Err(NumberError::Overflow) } else { Ok(self) }
    }
}

fn digits(n: i128) -> u32 {
    n.unsigned_abs().checked_ilog10().map_or(0, |d| d + 1)
}

/// `n = 2^twos × 5^fives × rest`.
fn two_five_rest(mut n: i128) -> (u32, u32, i128) {
    let (mut twos, mut fives) = (0, 0);
    while n % 2 == 0 && n != 0 {
        n /= 2;
        twos += 1;
    }
    while n % 5 == 0 && n != 0 {
        n /= 5;
        fives += 1;
    }
    (twos, fives, n)
}

fn checked_power(base: i128, power: u32) -> Result<i128, NumberError> {
    base.checked_pow(power).ok_or(NumberError::Overflow)
}

fn divide_half_even(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value.div_euclid(by), value.rem_euclid(by));
    match (rest.saturating_mul(2)).cmp(&by) {
        Ordering::Greater => quotient + 1,
        Ordering::Equal if quotient.rem_euclid(2) == 1 => quotient + 1,
        Ordering::Equal | Ordering::Less => quotient,
    }
}

impl From<i64> for Decimal {
    fn from(n: i64) -> Decimal {
        Decimal::new(i128::from(n), 0)
    }
}

impl From<u64> for Decimal {
    fn from(n: u64) -> Decimal {
        Decimal::new(i128::from(n), 0)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let by_sign = self.mantissa.signum().cmp(&other.mantissa.signum());
        if by_sign != Ordering::Equal {
            return by_sign;
        }
        if let Ok((a, b, _)) = self.aligned(*other) {
            return a.cmp(&b);
        }
        // Too far apart to align: the one with the higher leading digit is larger in size.
        let magnitude = |d: &Decimal| i64::from(digits(d.mantissa)) + i64::from(d.exponent);
        let by_size = magnitude(self).cmp(&magnitude(other));
        if self.mantissa < 0 { by_size.reverse() } else { by_size }
    }
}

impl FromStr for Decimal {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Decimal, NumberError> {
        let (number, power) = match text.split_once(['e', 'E']) {
            Some((number, power)) => (number, power.parse::<i32>().map_err(|_| NumberError::Syntax)?),
            None => (text, 0),
        };
        let (negative, number) = match number.strip_prefix(['-', '+']) {
            Some(rest) => (number.starts_with('-'), rest),
            None => (false, number),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(NumberError::Syntax);
        }
        let fraction = fraction.trim_end_matches('0');
        let joined = format!("{whole}{fraction}");
        let significant = joined.trim_start_matches('0').trim_end_matches('0');
        let zeros = joined.trim_start_matches('0').len() - significant.len();
        let mantissa: i128 = match significant {
            "" => 0,
            digits => digits.parse().map_err(|_| NumberError::Overflow)?,
        };
        let count = |n: usize| i32::try_from(n).map_err(|_| NumberError::Overflow);
        let places = count(fraction.len())? - count(zeros)?;
        let exponent = power.checked_sub(places).ok_or(NumberError::Overflow)?;
        let signed = if negative { -mantissa } else { mantissa };
        if signed == 0 {
            return Ok(Decimal::ZERO);
        }
        if !(-2 * WIDEST_EXPONENT..=2 * WIDEST_EXPONENT).contains(&exponent) {
            return Err(NumberError::Overflow);
        }
        Decimal::new(signed, exponent).bounded()
    }
}

impl fmt::Display for Decimal {
    /// The shortest plain form: `230.2`, `12368.72`, `-4`, `5e-324`. Always a JSON number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let text = self.mantissa.unsigned_abs().to_string();
        if !PLAIN_EXPONENTS.contains(&self.exponent) {
            return write!(f, "{sign}{text}e{}", self.exponent);
        }
        match usize::try_from(self.exponent) {
            Ok(zeros) => write!(f, "{sign}{text}{}", "0".repeat(zeros)),
            Err(_) => {
                let places = usize::try_from(self.exponent.unsigned_abs()).unwrap_or(usize::MAX);
                let padded = format!("{text:0>width$}", width = places + 1);
                let (whole, fraction) = padded.split_at(padded.len() - places);
                write!(f, "{sign}{whole}.{fraction}")
            }
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ratio {
    pub const ONE: Ratio = Ratio { numerator: 1, denominator: 1 };

    pub fn new(numerator: i128, denominator: i128) -> Result<Ratio, NumberError> {
        if denominator == 0 {
            return Err(NumberError::ZeroDenominator);
        }
        let (numerator, denominator) = if denominator < 0 {
            let flip = |n: i128| n.checked_neg().ok_or(NumberError::Overflow);
            (flip(numerator)?, flip(denominator)?)
        } else {
            (numerator, denominator)
        };
        let common = gcd(numerator.unsigned_abs(), denominator.unsigned_abs());
        let common = i128::try_from(common.max(1)).map_err(|_| NumberError::Overflow)?;
        Ok(Ratio { numerator: numerator / common, denominator: denominator / common })
    }

    pub fn numerator(self) -> i128 {
        self.numerator
    }

    pub fn denominator(self) -> i128 {
        self.denominator
    }

    pub fn is_zero(self) -> bool {
        self.numerator == 0
    }

    pub fn checked_mul(self, other: Ratio) -> Result<Ratio, NumberError> {
        let a = Ratio::new(self.numerator, other.denominator)?;
        let b = Ratio::new(other.numerator, self.denominator)?;
        let numerator = a.numerator.checked_mul(b.numerator).ok_or(NumberError::Overflow)?;
        let denominator = a.denominator.checked_mul(b.denominator).ok_or(NumberError::Overflow)?;
        Ratio::new(numerator, denominator)
    }

    /// The other way round; an error for zero.
    pub fn inverted(self) -> Result<Ratio, NumberError> {
        Ratio::new(self.denominator, self.numerator)
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl TryFrom<Decimal> for Ratio {
    type Error = NumberError;

    fn try_from(d: Decimal) -> Result<Ratio, NumberError> {
        let power = 10i128.checked_pow(d.exponent.unsigned_abs()).ok_or(NumberError::Overflow)?;
        if d.exponent >= 0 {
            Ratio::new(d.mantissa.checked_mul(power).ok_or(NumberError::Overflow)?, 1)
        } else {
            Ratio::new(d.mantissa, power)
        }
    }
}

impl FromStr for Ratio {
    type Err = NumberError;

    /// An exact decimal (`0.1`, `1e-5`) or a fraction of two (`1/3600`).
    fn from_str(text: &str) -> Result<Ratio, NumberError> {
        let (top, bottom) = text.split_once('/').unwrap_or((text, "1"));
        let top = Ratio::try_from(top.trim().parse::<Decimal>()?)?;
        let bottom = Ratio::try_from(bottom.trim().parse::<Decimal>()?)?;
        top.checked_mul(bottom.inverted()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn an_f32_never_grows_digits() {
        let x = Decimal::from_f32(230.2).unwrap();
        assert_eq!(x.to_string(), "230.2");
        assert_eq!(Decimal::from_f32(f32::NAN), None);
        assert_eq!(Decimal::from_f32(-0.0).unwrap().to_string(), "0");
        assert_eq!(Decimal::from_f32(f32::MAX).unwrap().to_f64(), f64::from(34028235u32) * 1e31);
    }

    #[test]
    fn a_64_bit_counter_never_loses_a_digit() {
        let scaled = Decimal::from(u64::MAX).scaled("0.001".parse().unwrap()).unwrap();
        assert_eq!(scaled.to_string(), "18446744073709551.615");
    }

    #[test]
    fn ratios_are_exact_where_a_decimal_can_be() {
        assert_eq!(d("3600").scaled("1/3600".parse().unwrap()).unwrap(), d("1"));
        assert_eq!(d("1").scaled("1/8".parse().unwrap()).unwrap(), d("0.125"));
        assert_eq!(d("2").scaled("1/3".parse().unwrap()).unwrap().to_string(), "0.666666666666666667");
        assert!("1/0".parse::<Ratio>().is_err());
    }

    #[test]
    fn rounding_is_to_the_nearest_step() {
        assert_eq!(d("230.20001").rounded_to(d("0.1")).unwrap().to_string(), "230.2");
        assert_eq!(d("7").rounded_to(d("5")).unwrap().to_string(), "5");
        assert_eq!(d("-0.25").rounded_to(d("0.1")).unwrap().to_string(), "-0.2");
        assert_eq!(d("1e300").rounded_to(d("0.1")).unwrap(), d("1e300"));
        assert_eq!(d("1e-300").rounded_to(d("0.1")).unwrap(), Decimal::ZERO);
    }

    #[test]
    fn printing_is_short_and_plain() {
        for (given, printed) in
            [("0.10", "0.1"), ("-0.05", "-0.05"), ("1200", "1200"), ("5e-324", "5e-324"), ("1e25", "1e25")]
        {
            assert_eq!(d(given).to_string(), printed);
        }
        for broken in ["", ".", "1,5", "0x10", "1e", "NaN", "--1", "1e-2147483648", "1e2147483647"] {
            assert!(broken.parse::<Decimal>().is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn printing_reads_back(mantissa in any::<i64>(), exponent in -30i32..30) {
            let x = Decimal::new(i128::from(mantissa), exponent);
            prop_assert_eq!(x.to_string().parse::<Decimal>().unwrap(), x);
        }

        #[test]
        fn every_f32_reads_back(bits in any::<u32>()) {
            let x = f32::from_bits(bits);
            if let Some(decimal) = Decimal::from_f32(x) {
                prop_assert_eq!(decimal.to_string().parse::<f32>().unwrap(), if x == 0.0 { 0.0 } else { x });
            }
        }

        #[test]
        fn order_agrees_with_floats(a in -1e9f64..1e9, b in -1e9f64..1e9) {
            let (x, y) = (Decimal::from_f64(a).unwrap(), Decimal::from_f64(b).unwrap());
            prop_assert_eq!(x.cmp(&y), a.partial_cmp(&b).unwrap());
        }

        #[test]
        fn scaling_there_and_back_is_the_same(n in any::<u32>(), k in 1i128..1000) {
            let x = Decimal::from(u64::from(n));
            let r = Ratio::new(k, 1000).unwrap();
            prop_assert_eq!(x.scaled(r).unwrap().scaled(r.inverted().unwrap()).unwrap(), x);
        }
    }
}
