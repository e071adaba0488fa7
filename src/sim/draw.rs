//! The registers of one second: every point's octets, drawn so that what scales, signs or names the unit of
//! others makes sense.

use super::truth;
use super::values::{mixed, plausible};
use crate::model::Decimal;
use crate::profile::{DateForm, Format, How, Operand, Order, Point, Profile, Sentinel, Table};
use std::collections::BTreeMap;

/// Registers and coils by table and address.
#[derive(Debug, Default)]
pub(super) struct Image(BTreeMap<(Table, u16), u16>);

/// What a point is to others.
#[derive(Clone, PartialEq)]
enum Role {
    Factor(How),
    Sign(Vec<i128>),
    Unit(Vec<i128>),
    /// The fraction of a value in two parts.
    Part,
}

pub(super) fn image(profile: &Profile, seed: u64, step: i64) -> Image {
    let mut image = Image::default();
    for mark in &profile.identify {
        image.0.insert((mark.table, mark.address), mark.equals);
    }
    let roles = roles(profile);
    // Who is needed by others first: a value is drawn by what its factor says then.
    for first in [true, false] {
        for (index, point) in profile.points.iter().enumerate() {
            if roles.contains_key(&index) == first {
                let role = roles.get(&index);
                let raw = Draw { profile, point, seed, index, step, image: &image }.octets(role);
                image.put(point, &raw);
            }
        }
    }
    image
}

fn roles(profile: &Profile) -> BTreeMap<usize, Role> {
    let mut roles = BTreeMap::new();
    for point in &profile.points {
        for factor in &point.scale_by {
            if let Operand::Point(index) = factor.of {
                roles.insert(index, Role::Factor(factor.how));
            }
        }
        if let Some(by) = &point.sign_by {
            roles.insert(by.point, Role::Sign(by.negative.clone()));
        }
        if let Some(by) = &point.unit_by {
            roles.insert(by.point, Role::Unit(by.units.iter().map(|(code, _)| *code).collect()));
        }
        roles.extend(point.plus.iter().map(|index| (*index, Role::Part)));
    }
    roles
}

struct Draw<'d> {
    profile: &'d Profile,
    point: &'d Point,
    seed: u64,
    index: usize,
    step: i64,
    image: &'d Image,
}

impl Draw<'_> {
    /// One of these, for as long as the meter lives.
    fn one_of<T: Copy>(&self, choices: &[T]) -> Option<T> {
        let at = usize::try_from(mixed(self.seed, self.index) % 1009).unwrap_or(0);
        choices.get(at.checked_rem(choices.len())?).copied()
    }

    /// The octets of a point, highest first, before the meter's own order.
    fn octets(&self, role: Option<&Role>) -> Vec<u8> {
        let (point, registers) = (self.point, usize::from(self.point.format.count()));
        if let Format::Text(_) = point.format {
            let text = format!("SIM{:04}", mixed(self.seed, self.index) % 10_000);
            return text.bytes().chain(std::iter::repeat(0)).take(registers * 2).collect();
        }
        if let Format::Date(form) = point.format {
            return date(form, self.step);
        }
        if let Some(code) = self.code(role) {
            return integer_octets(code, registers);
        }
        let plain = !point.words.is_empty() || point.bit.is_some();
        if plain || point.bits.is_none() && matches!(point.format, Format::Bool | Format::Bits) {
            return integer_octets(i128::from(mixed(self.seed, self.index) & 1), registers);
        }
        let value = match role {
            Some(Role::Factor(how)) => self.factor(*how),
            Some(Role::Part) => 0.123_456,
            Some(Role::Sign(_) | Role::Unit(_)) | None => plausible(point, self.seed, self.index, self.step),
        };
        self.number(self.indication(value), registers)
    }

    /// What is a code and no measurement.
    fn code(&self, role: Option<&Role>) -> Option<i128> {
        let words: Vec<i128> = self.point.words.iter().map(|(code, _)| i128::from(*code)).collect();
        match role {
            Some(Role::Unit(codes)) => self.one_of(codes),
            // It flows to and fro, some seconds each.
            Some(Role::Sign(negative)) if self.step.div_euclid(7) % 2 == 0 => {
                Some(negative.first().copied().unwrap_or(1))
            }
            Some(Role::Sign(negative)) => (0..).find(|code| !negative.contains(code)),
            Some(Role::Factor(_) | Role::Part) | None => self.one_of(&words),
        }
    }

    fn factor(&self, how: How) -> f64 {
        let choices: &[f64] = match how {
            How::Times | How::Divided => &[1.0, 2.0, 5.0, 10.0, 40.0],
            How::Exponent => &[-2.0, -1.0, 0.0, 1.0],
            How::Decimals => &[0.0, 1.0, 2.0, 3.0],
        };
        let within = |value: &f64| {
            self.point.range.is_none_or(|(least, most)| (least.to_f64()..=most.to_f64()).contains(value))
        };
        let within: Vec<f64> = choices.iter().copied().filter(within).collect();
        self.one_of(&within).unwrap_or(1.0)
    }

    /// Canonical value → what the register holds, as far as a float goes: the truth is read back from it.
    fn indication(&self, value: f64) -> f64 {
        let point = self.point;
        let (top, bottom) = (point.scale.numerator(), point.scale.denominator());
        let mut scale = Decimal::new(top, 0).to_f64() / Decimal::new(bottom, 0).to_f64();
        let mut value = value - point.offset.to_f64();
        if let Some((ratio, offset)) = truth::unit(self.profile, point, self.image) {
            value = (value - offset.to_f64()) / ratio;
        }
        for factor in &point.scale_by {
            scale *= truth::factor(self.profile, *factor, self.image).map_or(1.0, Decimal::to_f64);
        }
        let indicated = value / scale;
        // A meter shows some digits, not all that a double has.
        (indicated * 1000.0).round() / 1000.0
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are integers")]
    fn number(&self, indicated: f64, registers: usize) -> Vec<u8> {
        let point = self.point;
        match point.format {
            Format::F32 => float32(indicated).to_be_bytes().to_vec(),
            Format::F64 => indicated.to_be_bytes().to_vec(),
            Format::Bcd16 | Format::Bcd32 | Format::Bcd64 => bcd_octets(whole(indicated), registers),
            Format::IskraT5 | Format::IskraT6 => iskra(indicated, point.format == Format::IskraT6),
            Format::IskraT7 => {
                let sign: i128 = if indicated < 0.0 { 0xFF00_0000 } else { 0 };
                integer_octets(sign | whole(indicated.abs() * 10_000.0).clamp(0, 10_000), registers)
            }
            _ => integer_octets(self.within_the_type(whole(indicated)), registers),
        }
    }

    fn within_the_type(&self, value: i128) -> i128 {
        let point = self.point;
        if let Some(field) = point.bits {
            return value.clamp(0, (1i128 << (field.width - 1)) - 1);
        }
        match point.negative_from {
            Some(from) if value < 0 => clamped(point.format, i128::from(from) - value),
            Some(from) => value.min(i128::from(from) - 1),
            None => not_a_sentinel(point, clamped(point.format, value)),
        }
    }
}

/// Three decimals, or as many as 23 bits leave.
fn iskra(value: f64, signed: bool) -> Vec<u8> {
    let (mut mantissa, mut exponent) = (whole(value * 1000.0), -3i8);
    while mantissa.abs() >= 1 << 23 {
        mantissa /= 10;
        exponent += 1;
    }
    let mantissa = if signed { mantissa } else { mantissa.max(0) };
    let low = integer_octets(mantissa, 2);
    [&exponent.to_be_bytes(), &low[1..]].concat()
}

/// A moment of 2026, another each second.
fn date(form: DateForm, step: i64) -> Vec<u8> {
    let part = |by: i64, least: i64, of: i64| {
        u16::try_from(least + step.div_euclid(by).rem_euclid(of)).unwrap_or_default()
    };
    let (second, minute, hour) = (part(1, 0, 60), part(60, 0, 60), part(3600, 0, 24));
    let (day, month) = (part(86_400, 1, 28), part(86_400 * 28, 1, 12));
    let bcd = |n: u16| n / 10 * 16 + n % 10;
    let registers: Vec<u16> = match form {
        DateForm::Unix => vec![0x6900, part(1, 0, 60_000)],
        DateForm::Iec => vec![26, month << 8 | day, hour << 8 | minute, second * 1000 + 7],
        DateForm::Cp56 => {
            vec![(second * 1000).swap_bytes(), minute << 8 | hour, day << 8 | month, 26 << 8]
        }
        DateForm::Bcd => vec![0x2600 | bcd(month), bcd(day) << 8 | bcd(hour), bcd(minute) << 8 | bcd(second)],
        DateForm::Fields => vec![2026, month, day, hour, minute, second],
    };
    registers.iter().flat_map(|register| register.to_be_bytes()).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a simulated value; saturates, and is clamped after")]
fn whole(value: f64) -> i128 {
    value.round() as i128
}

#[expect(clippy::cast_possible_truncation, reason = "what a meter with single precision would hold")]
fn float32(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others fit sixteen bits")]
fn clamped(format: Format, value: i128) -> i128 {
    let (least, most) = match format {
        Format::S16 => (i128::from(i16::MIN) + 2, i128::from(i16::MAX) - 2),
        Format::S32 => (i128::from(i32::MIN) + 2, i128::from(i32::MAX) - 2),
        Format::S64 => (i128::from(i64::MIN) + 2, i128::from(i64::MAX) - 2),
        Format::U32 => (0, i128::from(u32::MAX) - 2),
        Format::U64 => (0, i128::from(u64::MAX) - 2),
        _ => (0, i128::from(u16::MAX) - 2),
    };
    value.clamp(least, most)
}

fn not_a_sentinel(point: &Point, value: i128) -> i128 {
    let registers = usize::from(point.format.count());
    let bits = |value| {
        integer_octets(value, registers).iter().fold(0u64, |bits, octet| (bits << 8) | u64::from(*octet))
    };
    let is_one = |raw: u64| point.invalid.iter().any(|(sentinel, _)| *sentinel == Sentinel::Bits(raw));
    (value..).find(|value| !is_one(bits(*value))).unwrap_or(value)
}

fn integer_octets(value: i128, registers: usize) -> Vec<u8> {
    let octets = value.to_be_bytes();
    octets[octets.len() - registers * 2..].to_vec()
}

fn bcd_octets(value: i128, registers: usize) -> Vec<u8> {
    let digits = registers * 4;
    let text = format!("{:0digits$}", value.clamp(0, 10i128.pow(u32::try_from(digits).unwrap_or(4)) - 1));
    let nibbles: Vec<u8> = text.bytes().map(|digit| digit - b'0').collect();
    nibbles.chunks_exact(2).map(|pair| (pair[0] << 4) | pair[1]).collect()
}

impl Image {
    pub(super) fn get(&self, table: Table, address: u16) -> u16 {
        self.0.get(&(table, address)).copied().unwrap_or(0)
    }

    /// Writes a point's octets; what another point has written already stays, but for single bits.
    fn put(&mut self, point: &Point, octets: &[u8]) {
        if point.table.is_bits() {
            self.0.insert((point.table, point.address), u16::from(octets.last().copied().unwrap_or(0) & 1));
            return;
        }
        let shift = point.bit.or(point.bits.map(|field| field.shift));
        let octets = shift.map_or(octets.to_vec(), |shift| shifted(octets, shift));
        let mut registers: Vec<u16> =
            octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        if point.byte_order == Order::Little {
            registers.iter_mut().for_each(|register| *register = register.swap_bytes());
        }
        if point.word_order == Order::Little {
            registers.reverse();
        }
        let addresses = point.address..point.address.saturating_add(point.format.count());
        if shift.is_none() && addresses.clone().any(|address| self.0.contains_key(&(point.table, address))) {
            return;
        }
        for (address, register) in addresses.zip(registers) {
            *self.0.entry((point.table, address)).or_insert(0) |= register;
        }
    }
}

fn shifted(octets: &[u8], shift: u8) -> Vec<u8> {
    let bits = octets.iter().fold(0u64, |bits, octet| (bits << 8) | u64::from(*octet));
    integer_octets(i128::from(bits) << shift, octets.len() / 2)
}
