//! Octets as they stood on the wire → a raw number or text, by format and order.

use crate::model::{Bad, Decimal};
use crate::profile::{Format, Order, Point, Sentinel};

/// What the registers say, before scale and unit.
pub(super) enum Raw {
    /// The bits as unsigned, for sentinels, words and flags; and the number they stand for.
    Integer {
        bits: u64,
        value: i128,
    },
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
    if matches!(point.format, Format::Text(_)) {
        return Ok(Raw::Text(text(&ordered)));
    }
    let bits = ordered.iter().fold(0u64, |bits, octet| (bits << 8) | u64::from(*octet));
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
        Format::Bcd16 | Format::Bcd32 if point.invalid.contains(&Sentinel::Bits(bits)) => integer(bits, 0),
        Format::Bcd16 => integer(bits, bcd(bits, 4)?),
        Format::Bcd32 => integer(bits, bcd(bits, 8)?),
        Format::Text(_) => Raw::Text(text(&ordered)),
    })
}

fn integer(bits: u64, value: i128) -> Raw {
    Raw::Integer { bits, value }
}

fn float(bits: u64, value: Option<Decimal>) -> Raw {
    value.map_or(Raw::NotFinite, |value| Raw::Float { bits, value })
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
fn bcd(bits: u64, digits: u32) -> Result<i128, Bad> {
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
