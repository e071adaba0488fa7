//! A chain as a profile: its points where they stand in this device, and everything else a hole.

use super::chain::{Chain, END, HEADER_LENGTH, Used};
use super::table::{self, Kind, Layout, Row};
use super::{NAME, unwalked};
use crate::model::quantity;
use crate::model::{Bad, Decimal, Name, Ratio};
use crate::profile::{
    Every, Factor, Fingerprint, Format, Habits, How, Operand, Point, Profile, Sentinel, Table,
};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Who a device is changes rarely.
const WHO_EVERY: Duration = Duration::from_secs(3600);
/// A scale factor is a power of ten from -10 to 10.
const WIDEST_EXPONENT: i64 = 10;

impl Chain {
    /// What the device offers.
    pub fn profile(&self) -> Profile {
        let used = self.used();
        let (mut points, mut spans) = (Vec::new(), Vec::new());
        for used in &used {
            let first = points.len();
            add(used, &mut points);
            spans.extend(points.get(first..).and_then(span));
        }
        let first = used.iter().find_map(|used| used.layout.kind());
        let said = |text: &str, otherwise: String| if text.is_empty() { otherwise } else { text.to_owned() };
        let plain = unwalked();
        Profile {
            name: NAME.to_owned(),
            vendor: said(&self.manufacturer, plain.vendor.clone()),
            model: said(&self.model, plain.model.clone()),
            kind: if first == Some("meter") { "energy-meter" } else { "inverter" }.to_owned(),
            habits: Habits { holes: holes(spans), ..Habits::default() },
            identity: points.iter().position(|point: &Point| point.name.as_str() == "serial_number"),
            points,
            ..plain
        }
    }

    /// The same as a device has it, for the simulator: with the marker, the headers, and the registers between.
    pub fn simulated(&self) -> Profile {
        let mut marks: Vec<(u16, u16)> = Vec::new();
        let mut put = |address: u16, registers: &[u16]| {
            marks.extend(registers.iter().zip(address..).map(|(register, address)| (address, *register)));
        };
        put(self.base, &super::walk::MARKER);
        for model in &self.models {
            put(model.address, &[model.id, model.length]);
        }
        if let Some(end) = self.end() {
            put(end, &[END, 0]);
        }
        if let Some(common) = self.models.first() {
            for (offset, text, length) in [
                (2, &self.manufacturer, 16),
                (18, &self.model, 16),
                (42, &self.version, 8),
                (50, &self.serial, 16),
            ] {
                if !text.is_empty() {
                    put(common.address.saturating_add(offset), &registers(text, length));
                }
            }
        }
        let mark =
            |(address, equals): (u16, u16)| Fingerprint { table: Table::HoldingRegister, address, equals };
        Profile {
            identify: marks.into_iter().map(mark).collect(),
            habits: Habits::default(),
            ..self.profile()
        }
    }
}

/// Text as registers, padded with NUL.
fn registers(text: &str, count: usize) -> Vec<u16> {
    let octets: Vec<u8> = text.bytes().chain(std::iter::repeat(0)).take(count * 2).collect();
    octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

/// Models of one phase have no others, of two no third.
fn has_phase(id: u16, phase: &str) -> bool {
    match id {
        101 | 111 | 201 | 211 => !["l2", "l3", "l2-l3", "l3-l1"].contains(&phase),
        102 | 112 | 202 | 212 => !["l3", "l2-l3", "l3-l1"].contains(&phase),
        _ => true,
    }
}

/// The points of one model, in the order of their registers.
fn add(used: &Used, points: &mut Vec<Point>) {
    let end = HEADER_LENGTH.saturating_add(used.model.length);
    let first = points.len();
    let there = |row: &&Row| {
        let exponent = row.exponent.is_none_or(|at| at < end);
        let phase = row.phase.is_none_or(|phase| has_phase(used.model.id, phase));
        row.offset.saturating_add(row.kind.format().count()) <= end && exponent && phase
    };
    let rows: Vec<&Row> = table::rows_of(used.layout).filter(there).collect();
    for row in &rows {
        let exponent = row.exponent.and_then(|at| rows.iter().position(|other| other.offset == at));
        points.extend(point(used, row, exponent.map(|at| first + at)));
    }
}

fn point(used: &Used, row: &Row, exponent: Option<usize>) -> Option<Point> {
    let name: Name = used.name(row.name).parse().ok()?;
    let address = used.model.address.checked_add(row.offset)?;
    let mandatory = row.mandatory.contains(&used.model.id);
    let (format, words) = (row.kind.format(), words(row));
    let plain = Point::new(name, Table::HoldingRegister, address, format);
    let sentinels =
        sentinels(row.kind, mandatory).into_iter().map(|bits| (Sentinel::Bits(bits), Bad::Invalid));
    if row.kind == Kind::Exponent {
        let most = Decimal::new(i128::from(WIDEST_EXPONENT), 0);
        let least = Decimal::new(-i128::from(WIDEST_EXPONENT), 0);
        return Some(Point {
            invalid: sentinels.collect(),
            range: Some((least, most)),
            internal: true,
            // What it scales says that it has no factor.
            optional: true,
            ..plain
        });
    }
    let quantity = quantity::find(row.quantity)?;
    let conversion = quantity.conversion(row.unit);
    let is_number = words.is_empty() && !matches!(format, Format::Text(_));
    Some(Point {
        scale: conversion.map_or(Ratio::ONE, |conversion| conversion.ratio),
        quantity: quantity.name.to_owned(),
        unit: if is_number { quantity.unit.to_owned() } else { String::new() },
        phase: row.phase.map(str::to_owned),
        direction: row.direction.map(str::to_owned),
        invalid: sentinels.collect(),
        words,
        scale_by: exponent
            .map(|at| Factor { of: Operand::Point(at), how: How::Exponent })
            .into_iter()
            .collect(),
        index: row.counter,
        every: (used.layout == Layout::Common).then_some(Every::Period(WHO_EVERY)),
        optional: !mandatory,
        ..plain
    })
}

fn words(row: &Row) -> Vec<(u64, Arc<str>)> {
    table::words_of(row).map(|word| (word.code, Arc::from(word.word))).collect()
}

/// The values that stand for none. A counter that need not be there is absent while it is 0.
fn sentinels(kind: Kind, mandatory: bool) -> Vec<u64> {
    match kind {
        Kind::U16 => vec![0xFFFF],
        Kind::S16 | Kind::Exponent => vec![0x8000],
        Kind::U32 => vec![0xFFFF_FFFF],
        Kind::Acc32 if mandatory => vec![0xFFFF_FFFF],
        Kind::Acc32 => vec![0, 0xFFFF_FFFF],
        // That a float is no number needs no mention; a text says nothing when it is empty.
        Kind::F32 | Kind::Text(_) => Vec::new(),
    }
}

/// From a model's first register that is read to behind its last one.
fn span(points: &[Point]) -> Option<(u32, u32)> {
    let end = |point: &Point| u32::from(point.address) + u32::from(point.format.count());
    Some((u32::from(points.first()?.address), points.iter().map(end).max()?))
}

/// All that lies between these, the headers of the models among it, so that no read leaves its model.
fn holes(spans: Vec<(u32, u32)>) -> Vec<RangeInclusive<u16>> {
    let (mut holes, mut next) = (Vec::new(), 0);
    for (from, to) in spans {
        if let (true, Ok(first), Ok(last)) = (from > next, u16::try_from(next), u16::try_from(from - 1)) {
            holes.push(first..=last);
        }
        next = to;
    }
    if let Ok(first) = u16::try_from(next) {
        holes.push(first..=u16::MAX);
    }
    holes
}
