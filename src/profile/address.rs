//! Addresses as manuals and profiles write them.

use super::Table;
use super::yaml::{Scalar, scalar};
use std::ops::RangeInclusive;

/// The first digit names the table, the rest counts from one.
pub(super) fn register(scalar: &Scalar) -> Result<(Table, u16), String> {
    let text = scalar.text.as_str();
    if !matches!(text.len(), 5 | 6) || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(
            "zero-based addresses as on the wire stand after `holding:`, `input:`, `coil:`, `discrete:`"
                .to_owned(),
        );
    }
    let (table, number) = text.split_at(1);
    let table =
        match table {
            "0" => Table::Coil,
            "1" => Table::DiscreteInput,
            "3" => Table::InputRegister,
            "4" => Table::HoldingRegister,
            _ => return Err(
                "the first digit is 0 (coil), 1 (discrete input), 3 (input register) or 4 (holding register)"
                    .to_owned(),
            ),
        };
    let number: u32 = number.parse().map_err(|_| String::new())?;
    let address =
        number.checked_sub(1).ok_or_else(|| "registers in this notation count from 1".to_owned())?;
    u16::try_from(address)
        .map(|address| (table, address))
        .map_err(|_| "the last register is 65536".to_owned())
}

/// `108-199`, or one address.
pub(super) fn hole(scalar: &Scalar) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = scalar.text.split_once('-').unwrap_or((&scalar.text, &scalar.text));
    let address = |text: &str| {
        let plain = Scalar { text: text.trim().to_owned(), plain: true };
        scalar::whole(&plain).ok().and_then(|n| u16::try_from(n).ok())
    };
    match (address(first), address(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(first), Some(last)) => Err(format!("write \"{last}-{first}\"")),
        (Some(_) | None, Some(_) | None) => Err(String::new()),
    }
}
