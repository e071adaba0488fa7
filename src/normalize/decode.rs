//! Octets as they stood on the wire → a raw number, text or date, by format and order.

use super::date;
use crate::model::{Bad, Decimal};
use crate::profile::{BitField, Format, Order, Point, Sentinel};

/// What the registers say, before scale and unit.
pub(super) enum Raw {
    /// The bits as unsigned, for sentinels, words and flags; and the number they stand for.
    Integer {
        bits: u64,
        value: i128,
    },
    /// A number that brings its own decimal point.
    Float {
        bits: u64,
        value: Decimal,
    },
    /// Not-a-number or infinite.
    NotFinite,
    Text(String),
}

pub(super) fn raw(point: &Point, octets: &[u8]) -> Result<Raw, Bad> {
    if point.table.is_bits() {
        let [bit] = octets else { return Err(Bad::Garbled) };
        return Ok(integer(u64::from(*bit & 1), i128::from(*bit & 1)));
    }
    if octets.len() != usize::from(point.format.count()) * 2 {
        return Err(Bad::Garbled);
    }
    let ordered = high_first(octets, point.word_order, point.byte_order);
    let bits = ordered.iter().fold(0u64, |bits, octet| (bits << 8) | u64::from(*octet));
    if let Some(field) = point.bits {
        return Ok(some_bits(point.format, field, bits));
    }
    let [a, b, c, d, e, f, g, h] = bits.to_be_bytes();
    Ok(match point.format {
        Format::Bool => integer(bits, i128::from(bits != 0)),
        Format::U16 | Format::U32 | Format::U64 | Format::Bits => integer(bits, i128::from(bits)),
        Format::S16 => integer(bits, i128::from(i16::from_be_bytes([g, h]))),
        Format::S32 => integer(bits, i128::from(i32::from_be_bytes([e, f, g, h]))),
        Format::S64 => integer(bits, i128::from(i64::from_be_bytes([a, b, c, d, e, f, g, h]))),
        Format::F32 => float(bits, Decimal::from_f32(f32::from_be_bytes([e, f, g, h]))),
        Format::F64 => float(bits, Decimal::from_f64(f64::from_be_bytes([a, b, c, d, e, f, g, h]))),
        // A sentinel is often one that is no BCD (0xFFFF): the profile knows better than the digits.
        Format::Bcd16 | Format::Bcd32 | Format::Bcd64 if sentinel(point, bits).is_some() => integer(bits, 0),
        Format::Bcd16 => integer(bits, bcd(bits, 4)?),
        Format::Bcd32 => integer(bits, bcd(bits, 8)?),
        Format::Bcd64 => integer(bits, bcd(bits, 16)?),
        Format::IskraT5 => decimal(bits, e, i128::from(u32::from_be_bytes([0, f, g, h]))),
        Format::IskraT6 => decimal(bits, e, i128::from(i32::from_be_bytes([f, g, h, 0]) >> 8)),
        Format::IskraT7 => power_factor(bits, e, u16::from_be_bytes([g, h])),
        Format::Date(form) => Raw::Text(date::text(form, &ordered)?),
        Format::Text(_) => Raw::Text(text(&ordered)),
    })
}

/// The reason that these raw bits stand for, where they are a sentinel.
pub(super) fn sentinel(point: &Point, bits: u64) -> Option<Bad> {
    point.invalid.iter().find(|(raw, _)| *raw == Sentinel::Bits(bits)).map(|(_, reason)| *reason)
}

fn integer(bits: u64, value: i128) -> Raw {
    Raw::Integer { bits, value }
}

fn float(bits: u64, value: Option<Decimal>) -> Raw {
    value.map_or(Raw::NotFinite, |value| Raw::Float { bits, value })
}

/// Two's complement within the field where the type is signed.
fn some_bits(format: Format, field: BitField, all: u64) -> Raw {
    let width = u32::from(field.width);
    let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
    let bits = all.checked_shr(u32::from(field.shift)).unwrap_or(0) & mask;
    let negative = matches!(format, Format::S16 | Format::S32 | Format::S64) && bits >> (width - 1) == 1;
    let value = i128::from(bits) - if negative { 1i128 << width } else { 0 };
    Raw::Integer { bits, value }
}

/// Iskra's T5 and T6: the highest octet is a decimal exponent in two's complement.
fn decimal(bits: u64, exponent: u8, mantissa: i128) -> Raw {
    Raw::Float { bits, value: Decimal::new(mantissa, i32::from(i8::from_be_bytes([exponent]))) }
}

/// Iskra's T7: four decimals, 0xFF above them for export.
fn power_factor(bits: u64, sign: u8, value: u16) -> Raw {
    let value = i128::from(value);
    Raw::Float { bits, value: Decimal::new(if sign == 0xFF { -value } else { value }, -4) }
}

/// The octets with the highest first, whatever order the meter has.
fn high_first(octets: &[u8], words: Order, bytes: Order) -> Vec<u8> {
    let mut registers: Vec<[u8; 2]> = octets.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
    if bytes == Order::Little {
        registers.iter_mut().for_each(|register| register.reverse());
    }
    if words == Order::Little {
        registers.reverse();
    }
    registers.concat()
}

/// Packed decimal: one digit in four bits; ten to fifteen are no digits.
pub(super) fn bcd(bits: u64, digits: u32) -> Result<i128, Bad> {
    (0..digits).rev().try_fold(0i128, |value, digit| match (bits >> (4 * digit)) & 0xF {
        nibble @ 0..=9 => Ok(value * 10 + i128::from(nibble)),
        _ => Err(Bad::Garbled),
    })
}

/// Text as people read it: up to the first NUL, without padding, and nothing that a terminal or a page
/// would take for a command.
fn text(octets: &[u8]) -> String {
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    let text = String::from_utf8_lossy(&octets[..end]);
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}
