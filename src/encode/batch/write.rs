//! Readings → the messages of a batch.

use super::column::{Column, Fineness};
use super::reason;
use super::schema::{Described, Schema};
use super::wire::{self, Batch, Device, Quality, Words};
use crate::encode::Numbered;
use crate::model::{Name, Sample, Value};
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;

/// Up to this, a scan's length is not told, as in JSON.
const TOOK_WORTH_TELLING: Duration = Duration::from_millis(1000);

/// All readings must have the epoch and the trust in the clock of the first.
pub(super) fn batch(readings: &[Numbered<'_>], schema: &Schema, backlog: bool) -> Batch {
    let Some(first) = readings.first() else { return Batch::default() };
    let mut rows: BTreeMap<(usize, &Name), Vec<Numbered<'_>>> = BTreeMap::new();
    for one in readings {
        let place = schema.find(&one.reading.device).map_or(usize::MAX, |(index, _)| index);
        rows.entry((place, &one.reading.device)).or_default().push(*one);
    }
    let dt_ms = most_common(rows.values().filter_map(|rows| usual_step(&stamps(rows))));
    let base = Base { t0_ms: first.reading.ts.0, dt_ms, seq: first.number.seq };
    let devices: Vec<(Device, bool)> = rows.values().map(|rows| device(rows, base, schema)).collect();
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    let flags = flag(backlog, wire::BACKLOG)
        | flag(first.reading.clock_unsure, wire::CLOCK_UNSURE)
        | flag(devices.iter().any(|(_, rounded)| *rounded), wire::BOUNDED);
    Batch {
        t0_ms: base.t0_ms,
        dt_ms,
        dev: devices.iter().map(|(device, _)| device.encode_to_vec()).collect(),
        schema: schema.id,
        seq: base.seq,
        flags,
        epoch: first.number.epoch,
    }
}

#[derive(Clone, Copy)]
struct Base {
    t0_ms: i64,
    dt_ms: u32,
    seq: u64,
}

fn device(rows: &[Numbered<'_>], base: Base, schema: &Schema) -> (Device, bool) {
    let mut out = Device { rows: u32::try_from(rows.len()).unwrap_or(u32::MAX), ..Device::default() };
    let known = rows.first().and_then(|one| schema.find(&one.reading.device));
    match known {
        Some((index, _)) if schema.id != 0 => out.id = u32::try_from(index).unwrap_or(u32::MAX),
        Some(_) | None => {
            out.name = rows.first().map_or_else(String::new, |one| one.reading.device.to_string())
        }
    }
    put_rows(&mut out, rows, base);
    let table = Table::of(rows, known.map(|(_, described)| described), schema.id == 0);
    let rounded = put_columns(&mut out, &table, rows.len());
    (out, rounded)
}

/// Stamps, sequence numbers and lengths of the scans.
fn put_rows(out: &mut Device, rows: &[Numbered<'_>], base: Base) {
    let stamps = stamps(rows);
    let numbers: Vec<i64> = rows.iter().map(|one| one.number.seq.cast_signed()).collect();
    // Zero stands for the batch's, so a step of zero can't be told and is not wanted either.
    out.dt_ms = usual_step(&stamps).filter(|step| *step != base.dt_ms).unwrap_or(0);
    out.dt = beside(&stamps, base.t0_ms, if out.dt_ms == 0 { base.dt_ms } else { out.dt_ms });
    out.dseq = usual_step(&numbers).unwrap_or(0);
    out.seq = beside(&numbers, base.seq.cast_signed(), out.dseq);
    let told = |one: &Numbered<'_>| match one.reading.took {
        took if took > TOOK_WORTH_TELLING => u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        _ => 0,
    };
    out.took = rows.iter().map(told).collect();
    wire::trim(&mut out.took);
}

fn stamps(rows: &[Numbered<'_>]) -> Vec<i64> {
    rows.iter().map(|one| one.reading.ts.0).collect()
}

/// The step that is found most often; `None` where there is no step.
fn usual_step(list: &[i64]) -> Option<u32> {
    let steps = list.windows(2).map(|pair| match pair {
        [before, after] => u32::try_from(after.wrapping_sub(*before)).unwrap_or(0),
        _ => 0,
    });
    (list.len() > 1).then(|| most_common(steps))
}

/// How each entry differs from a steady step; the first from `base`.
fn beside(list: &[i64], base: i64, step: u32) -> Vec<i64> {
    let (mut expected, mut out) = (base, Vec::with_capacity(list.len()));
    for entry in list {
        out.push(entry.wrapping_sub(expected));
        expected = entry.wrapping_add(i64::from(step));
    }
    wire::trim(&mut out);
    out
}

fn most_common(list: impl Iterator<Item = u32>) -> u32 {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for entry in list {
        *counts.entry(entry).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(entry, _)| entry)
}

/// One device's samples, a column a point.
struct Table<'a> {
    /// By place: the schema's points, then those that it does not know.
    columns: BTreeMap<u32, Cells<'a>>,
    extra: Vec<&'a Name>,
}

struct Cells<'a> {
    fineness: Fineness,
    /// A row each; `None`: not due.
    samples: Vec<Option<&'a Sample>>,
}

impl<'a> Table<'a> {
    fn of(rows: &[Numbered<'a>], described: Option<&Described>, nameless: bool) -> Table<'a> {
        let mut table = Table { columns: BTreeMap::new(), extra: Vec::new() };
        let points = described.map(|described| described.points.as_slice()).unwrap_or_default();
        for (row, one) in rows.iter().enumerate() {
            let mut at = 0;
            for (name, sample) in &one.reading.samples {
                let next = points.get(at).is_some_and(|(point, _)| point == name).then_some(at);
                let index = next.or_else(|| points.iter().position(|(point, _)| point == name));
                at = index.map_or(at, |index| index + 1);
                let fineness = index.and_then(|index| points.get(index)).map(|(_, f)| *f).unwrap_or_default();
                let named = if nameless { None } else { index };
                let place = named.unwrap_or_else(|| {
                    let known = if nameless { 0 } else { points.len() };
                    known + table.extra_place(name)
                });
                let place = u32::try_from(place).unwrap_or(u32::MAX);
                let cells = table
                    .columns
                    .entry(place)
                    .or_insert_with(|| Cells { fineness, samples: vec![None; rows.len()] });
                if let Some(cell) = cells.samples.get_mut(row) {
                    *cell = Some(sample);
                }
            }
        }
        table
    }

    fn extra_place(&mut self, name: &'a Name) -> usize {
        self.extra.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.extra.push(name);
            self.extra.len() - 1
        })
    }
}

/// `true` when something was rounded.
fn put_columns(out: &mut Device, table: &Table<'_>, rows: usize) -> bool {
    let mut rounded = false;
    let mut patterns: BTreeMap<Vec<u32>, Vec<u32>> = BTreeMap::new();
    for (index, cells) in (0u32..).zip(table.columns.values()) {
        let values: Vec<&Value> =
            cells.samples.iter().filter_map(|cell| cell.and_then(|s| s.as_ref().ok())).collect();
        let column = Column::of(&values, cells.fineness);
        let (order, differences) = column.differences();
        out.col.push(wire::pack(&differences));
        out.exp.push(column.exp);
        out.step.push(column.step);
        out.order.push(order);
        rounded |= column.rounded;
        if !column.words.is_empty() {
            out.words.push(Words { col: index, json: column.words });
        }
        let runs = runs(&cells.samples);
        if !runs.is_empty() {
            patterns.entry(runs).or_default().push(index);
        }
    }
    out.q = patterns.into_iter().map(|(run, col)| Quality { col, run }).collect();
    if out.step.iter().all(|step| *step == 1) {
        out.step.clear();
    }
    if out.order.iter().all(|order| *order == 1) {
        out.order.clear();
    }
    wire::trim(&mut out.exp);
    if table.columns.keys().copied().ne(0..u32::try_from(table.columns.len()).unwrap_or(u32::MAX)) {
        out.point = table.columns.keys().copied().collect();
    }
    out.extra = table.extra.iter().map(|name| name.to_string()).collect();
    debug_assert!(table.columns.values().all(|cells| cells.samples.len() == rows));
    rounded
}

/// Codes and how long each lasts, the good ones at the end cut off.
fn runs(samples: &[Option<&Sample>]) -> Vec<u32> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for sample in samples {
        let code = match sample {
            None => reason::NOT_DUE,
            Some(Ok(_)) => reason::GOOD,
            Some(Err(bad)) => reason::code(*bad),
        };
        match runs.last_mut() {
            Some((last, length)) if *last == code => *length += 1,
            Some(_) | None => runs.push((code, 1)),
        }
    }
    if runs.last().is_some_and(|(code, _)| *code == reason::GOOD) {
        runs.pop();
    }
    runs.into_iter().flat_map(|(code, length)| [code, length]).collect()
}
