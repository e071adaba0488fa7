//! One point's value: its own octets, and what other points have to say of it.

use super::decode::{self, Raw, sentinel};
use crate::bus::Field;
use crate::model::{Bad, Decimal, Ratio, Sample, Value};
use crate::profile::{Factor, Format, How, Operand, Point, Profile, SignBy, UnitBy};
use std::collections::BTreeMap;

/// Larger exponents of ten are no scale that a meter has.
const WIDEST: i32 = 30;

/// The octets of the profile's other points.
pub(super) struct Others<'a> {
    pub profile: &'a Profile,
    pub scan: &'a [Field],
    /// The last answers of what scales others, where it is read more rarely than they are.
    pub known: Option<&'a BTreeMap<usize, Vec<u8>>>,
}

impl Others<'_> {
    fn point(&self, index: usize, same_scan: bool) -> Result<(&Point, &[u8]), Bad> {
        let point = self.profile.points.get(index).ok_or(Bad::Factor)?;
        let octets = match self.scan.iter().find(|field| field.point == index) {
            Some(field) => field.octets.as_deref().ok(),
            None if same_scan => None,
            None => self.known.and_then(|known| known.get(&index)).map(Vec::as_slice),
        };
        octets.map(|octets| (point, octets)).ok_or(Bad::Factor)
    }

    /// A point that stands alone, as a number.
    fn number(&self, index: usize, same_scan: bool) -> Result<Decimal, Bad> {
        let (point, octets) = self.point(index, same_scan)?;
        match self.sample(point, octets) {
            Ok(Value::Number(number)) => Ok(number),
            Ok(Value::Bool(_) | Value::Text(_)) | Err(_) => Err(Bad::Factor),
        }
    }

    /// A point's code, whatever word it may have.
    fn code(&self, index: usize, same_scan: bool) -> Result<i128, Bad> {
        let (point, octets) = self.point(index, same_scan)?;
        match decode::raw(point, octets) {
            Ok(Raw::Integer { bits, .. }) if sentinel(point, bits).is_some() => Err(Bad::Factor),
            Ok(Raw::Integer { bits, value }) => {
                Ok(point.bit.map_or(value, |bit| i128::from(is_set(bits, bit))))
            }
            Ok(Raw::Float { .. } | Raw::NotFinite | Raw::Text(_)) | Err(_) => Err(Bad::Factor),
        }
    }

    /// One point's value from its octets as they stood on the wire.
    pub(super) fn sample(&self, point: &Point, octets: &[u8]) -> Sample {
        match decode::raw(point, octets)? {
            Raw::Text(text) => Ok(Value::Text(text.into())),
            Raw::NotFinite => Err(Bad::Invalid),
            Raw::Float { bits, value } => match sentinel(point, bits) {
                Some(reason) => Err(reason),
                None => self.whole(point, value),
            },
            Raw::Integer { bits, value } => {
                if let Some(reason) = sentinel(point, bits) {
                    return Err(reason);
                }
                if let Some(bit) = point.bit {
                    return Ok(Value::Bool(is_set(bits, bit)));
                }
                if !point.words.is_empty() {
                    return word(point, bits);
                }
                if point.format == Format::Bool {
                    return Ok(Value::Bool(bits != 0));
                }
                self.whole(point, Decimal::new(signed(point, bits, value), 0))
            }
        }
    }

    fn whole(&self, point: &Point, raw: Decimal) -> Sample {
        // What no decimal can hold is far outside anything a meter measures.
        let fits = |value: Result<Decimal, _>| value.map_err(|_| Bad::OutOfRange);
        let mut value = fits(raw.scaled(point.scale))?;
        for factor in &point.scale_by {
            value = fits(self.scaled(value, *factor)?)?;
        }
        if let Some(by) = &point.sign_by
            && self.is_negative(by)?
        {
            value = fits(Decimal::ZERO.checked_sub(value))?;
        }
        value = fits(value.checked_add(point.offset))?;
        if let Some(by) = &point.unit_by {
            value = fits(self.converted(value, by)?)?;
        }
        for part in &point.plus {
            value = fits(value.checked_add(self.number(*part, true)?))?;
        }
        if let Some(step) = point.resolution {
            value = fits(value.rounded_to(step))?;
        }
        match point.range {
            Some((least, most)) if value < least || value > most => Err(Bad::OutOfRange),
            Some(_) | None => Ok(Value::Number(value)),
        }
    }

    fn scaled(
        &self,
        value: Decimal,
        factor: Factor,
    ) -> Result<Result<Decimal, crate::model::decimal::NumberError>, Bad> {
        let by = match factor.of {
            Operand::Point(index) => self.number(index, false)?,
            Operand::Parameter(index) => {
                self.profile.parameters.get(index).and_then(|parameter| parameter.value).ok_or(Bad::Factor)?
            }
        };
        match factor.how {
            How::Times if by == Decimal::ZERO => Err(Bad::Factor),
            How::Times => Ok(value.checked_mul(by)),
            How::Divided => Ok(value.scaled(inverse(by).ok_or(Bad::Factor)?)),
            How::Exponent => Ok(value.checked_mul(Decimal::new(1, exponent(by)?))),
            How::Decimals => Ok(value.checked_mul(Decimal::new(1, -exponent(by)?))),
        }
    }

    fn is_negative(&self, by: &SignBy) -> Result<bool, Bad> {
        let code = self.code(by.point, true)?;
        Ok(if by.negative.is_empty() { code != 0 } else { by.negative.contains(&code) })
    }

    fn converted(
        &self,
        value: Decimal,
        by: &UnitBy,
    ) -> Result<Result<Decimal, crate::model::decimal::NumberError>, Bad> {
        let code = self.code(by.point, false)?;
        let (_, unit) = by.units.iter().find(|(known, _)| *known == code).ok_or(Bad::Factor)?;
        Ok(value.scaled(unit.ratio).and_then(|value| value.checked_add(unit.offset)))
    }
}

fn is_set(bits: u64, bit: u8) -> bool {
    bits.checked_shr(u32::from(bit)).unwrap_or(0) & 1 == 1
}

fn word(point: &Point, code: u64) -> Sample {
    let word = point.words.iter().find(|(listed, _)| *listed == code);
    word.map(|(_, word)| Value::Text(word.clone())).ok_or(Bad::OutOfRange)
}

/// A meter that writes its sign into the number: from some raw value on, what is above it counts downwards.
fn signed(point: &Point, bits: u64, value: i128) -> i128 {
    match point.negative_from {
        Some(from) if value >= i128::from(from) && bits != 0 => i128::from(from) - value,
        Some(_) | None => value,
    }
}

fn exponent(of: Decimal) -> Result<i32, Bad> {
    let whole: i32 = of.to_string().parse().map_err(|_| Bad::Factor)?;
    if whole.abs() > WIDEST { Err(Bad::Factor) } else { Ok(whole) }
}

fn inverse(of: Decimal) -> Option<Ratio> {
    let power = 10i128.checked_pow(of.exponent().unsigned_abs())?;
    let (top, bottom) =
        if of.exponent() < 0 { (power, of.mantissa()) } else { (1, of.mantissa().checked_mul(power)?) };
    Ratio::new(top, bottom).ok()
}
