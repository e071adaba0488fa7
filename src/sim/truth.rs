//! A point's value, read back from the registers as the meter's manual would have it done: the oracle of tests,
//! which shares no code with `normalize`.

use super::draw::Image;
use crate::model::{Decimal, Ratio, Value};
use crate::profile::{DateForm, Factor, Format, How, Operand, Order, Point, Profile};
use std::sync::Arc;

pub(super) fn value(profile: &Profile, point: &Point, image: &Image) -> Option<Value> {
    if point.table.is_bits() {
        return Some(Value::Bool(image.get(point.table, point.address) != 0));
    }
    let ordered = ordered(point, image);
    if let Format::Text(_) = point.format {
        let octets: Vec<u8> = ordered.iter().flat_map(|register| register.to_be_bytes()).collect();
        let text: String =
            octets.iter().take_while(|octet| **octet != 0).map(|octet| char::from(*octet)).collect();
        return Some(Value::Text(text.trim().into()));
    }
    if let Format::Date(form) = point.format {
        return Some(Value::Text(date(form, &ordered)?.into()));
    }
    let bits = all_bits(&ordered);
    if let Some(bit) = point.bit {
        return Some(Value::Bool((bits >> bit) & 1 == 1));
    }
    let bits = point.bits.map_or(bits, |field| (bits >> field.shift) % (1 << field.width));
    if !point.words.is_empty() {
        let word = point.words.iter().find(|(code, _)| *code == bits);
        return word.map(|(_, word)| Value::Text(Arc::clone(word)));
    }
    if point.format == Format::Bool {
        return Some(Value::Bool(bits != 0));
    }
    let mut value = raw_number(point, bits)?.scaled(point.scale).ok()?;
    for by in &point.scale_by {
        value = multiplied(value, factor(profile, *by, image)?)?;
    }
    if let Some(by) = &point.sign_by {
        let code = code(profile.points.get(by.point)?, image)?;
        if by.negative.contains(&code) || by.negative.is_empty() && code != 0 {
            value = multiplied(value, Decimal::from(-1i64))?;
        }
    }
    value = value.checked_add(point.offset).ok()?;
    value = converted(profile, point, image, value)?;
    for part in &point.plus {
        let Value::Number(part) = self::value(profile, profile.points.get(*part)?, image)? else {
            return None;
        };
        value = value.checked_add(part).ok()?;
    }
    point.resolution.map_or(Ok(value), |step| value.rounded_to(step)).ok().map(Value::Number)
}

fn multiplied(value: Decimal, by: Decimal) -> Option<Decimal> {
    value.checked_mul(by).ok()
}

fn ordered(point: &Point, image: &Image) -> Vec<u16> {
    let addresses = (0..point.format.count()).map(|n| point.address.saturating_add(n));
    let mut registers: Vec<u16> = addresses.map(|address| image.get(point.table, address)).collect();
    if point.word_order == Order::Little {
        registers.reverse();
    }
    if point.byte_order == Order::Little {
        registers.iter_mut().for_each(|register| *register = register.swap_bytes());
    }
    registers
}

fn all_bits(registers: &[u16]) -> u64 {
    registers.iter().fold(0u64, |bits, register| (bits << 16) | u64::from(*register))
}

fn code(point: &Point, image: &Image) -> Option<i128> {
    if point.table.is_bits() {
        return Some(i128::from(image.get(point.table, point.address)));
    }
    let bits = all_bits(&ordered(point, image));
    let part = point.bit.map(|bit| (bit, 1)).or(point.bits.map(|field| (field.shift, field.width)));
    match part {
        Some((shift, width)) => Some(i128::from((bits >> shift) % (1 << width))),
        None => raw_number(point, bits)?.to_string().parse().ok(),
    }
}

/// What a factor multiplies with.
pub(super) fn factor(profile: &Profile, by: Factor, image: &Image) -> Option<Decimal> {
    let value = match by.of {
        Operand::Parameter(index) => profile.parameters.get(index)?.value?,
        Operand::Point(index) => match value(profile, profile.points.get(index)?, image)? {
            Value::Number(number) => number,
            Value::Bool(_) | Value::Text(_) => return None,
        },
    };
    let power = || value.to_string().parse::<i32>().ok();
    match by.how {
        How::Times => Some(value),
        // The simulated meters have divisors without a rest: 1, 2, 5, 10, 40.
        How::Divided => {
            let ratio = Ratio::new(1, value.to_string().parse().ok()?).ok()?;
            Decimal::from(1u64).scaled(ratio).ok()
        }
        How::Exponent => Some(Decimal::new(1, power()?)),
        How::Decimals => Some(Decimal::new(1, -power()?)),
    }
}

/// From the unit that the meter is set to: ratio and offset.
pub(super) fn unit(profile: &Profile, point: &Point, image: &Image) -> Option<(f64, Decimal)> {
    let by = point.unit_by.as_ref()?;
    let code = code(profile.points.get(by.point)?, image)?;
    let (_, unit) = by.units.iter().find(|(known, _)| *known == code)?;
    let (top, bottom) = (Decimal::new(unit.ratio.numerator(), 0), Decimal::new(unit.ratio.denominator(), 0));
    Some((top.to_f64() / bottom.to_f64(), unit.offset))
}

fn converted(profile: &Profile, point: &Point, image: &Image, value: Decimal) -> Option<Decimal> {
    let Some(by) = &point.unit_by else { return Some(value) };
    let code = code(profile.points.get(by.point)?, image)?;
    let (_, unit) = by.units.iter().find(|(known, _)| *known == code)?;
    value.scaled(unit.ratio).ok()?.checked_add(unit.offset).ok()
}

fn raw_number(point: &Point, bits: u64) -> Option<Decimal> {
    let value = number(point.format, bits)?;
    let from = point.negative_from.map(Decimal::from);
    match from {
        Some(from) if value >= from => from.checked_sub(value).ok(),
        Some(_) | None => Some(value),
    }
}

fn number(format: Format, bits: u64) -> Option<Decimal> {
    let signed = |width: u32| {
        let (bits, half, full) = (i128::from(bits), 1i128 << (width - 1), 1i128 << width);
        if bits >= half { bits - full } else { bits }
    };
    let [.., exponent, _, _, _] = bits.to_be_bytes();
    let exponent = i32::from(exponent) - if exponent > 127 { 256 } else { 0 };
    let low = i128::from(bits % (1 << 24));
    match format {
        Format::S16 => Some(Decimal::new(signed(16), 0)),
        Format::S32 => Some(Decimal::new(signed(32), 0)),
        Format::S64 => Some(Decimal::new(signed(64), 0)),
        Format::F32 => Decimal::from_f32(f32::from_bits(u32::try_from(bits).ok()?)),
        Format::F64 => Decimal::from_f64(f64::from_bits(bits)),
        Format::Bcd16 | Format::Bcd32 | Format::Bcd64 => format!("{bits:x}").parse().ok(),
        Format::U16 | Format::U32 | Format::U64 | Format::Bits => Some(Decimal::from(bits)),
        Format::IskraT5 => Some(Decimal::new(low, exponent)),
        Format::IskraT6 => Some(Decimal::new(if low >= 1 << 23 { low - (1 << 24) } else { low }, exponent)),
        Format::IskraT7 => {
            let export = bits >> 24 == 0xFF;
            Some(Decimal::new(i128::from(bits % 65_536) * if export { -1 } else { 1 }, -4))
        }
        Format::Bool | Format::Text(_) | Format::Date(_) => None,
    }
}

/// The simulated clock is always within 2026, or counts seconds from a day of November 2025.
fn date(form: DateForm, r: &[u16]) -> Option<String> {
    let get = |n: usize| r.get(n).copied();
    let (high, low) = (|n| Some(get(n)? / 256), |n| Some(get(n)? % 256));
    let bcd = |n: Option<u16>| Some(n? / 16 * 10 + n? % 16);
    let (year, rest) = match form {
        DateForm::Unix => return Some(seconds(u32::from(get(0)?) * 65_536 + u32::from(get(1)?))),
        DateForm::Iec => {
            let at = [high(1)?, low(1)?, high(2)?, low(2)?, get(3)? / 1000];
            (2000 + get(0)?, format!("{}.{:03}", clock(at), get(3)? % 1000))
        }
        DateForm::Cp56 => {
            let second = get(0)?.swap_bytes() / 1000;
            (2000 + high(3)?, clock([low(2)?, high(2)?, low(1)?, high(1)?, second]))
        }
        DateForm::Bcd => {
            let at = [bcd(low(0))?, bcd(high(1))?, bcd(low(1))?, bcd(high(2))?, bcd(low(2))?];
            (2000 + bcd(high(0))?, clock(at))
        }
        DateForm::Fields => (get(0)?, clock([get(1)?, get(2)?, get(3)?, get(4)?, get(5)?])),
    };
    Some(format!("{year}-{rest}"))
}

fn clock([month, day, hour, minute, second]: [u16; 5]) -> String {
    format!("{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Of 0x6900_0000 = 2025-10-27T23:34:24Z and the day after, which is all that the simulator draws.
fn seconds(at: u32) -> String {
    let from_midnight = at - 1_761_523_200;
    let (day, of_day) = (27 + from_midnight / 86_400, from_midnight % 86_400);
    format!("2025-10-{day}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}
