//! A batch → its readings. Nothing that the octets claim is believed before it is bounded.

use super::column::{self, EXPONENTS};
use super::schema::Names;
use super::wire::{self, Batch, Device, Words};
use super::{LARGEST_RAW, MOST_DECODED, reason};
use crate::encode::Number;
use crate::model::{Decimal, Name, Reading, Sample, Timestamp, Value};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

/// What a batch held, in the order of the sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    pub readings: Vec<(Reading, Number)>,
    /// It was sent from the backlog.
    pub backlog: bool,
    /// Values were rounded within tolerances.
    pub bounded: bool,
    pub schema: u32,
}

/// Why octets are no batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("no zstd frame: {0}")]
    Frame(String),
    #[error("more than {LARGEST_RAW} octets after decompression")]
    TooMuch,
    #[error("more readings or values than a batch may have")]
    TooMany,
    #[error("no batch: {0}")]
    Message(String),
    #[error("the schema {schema:08x} is not known: its meta document is needed")]
    Schema { schema: u32 },
    #[error("device {0} is not in the schema")]
    NoDevice(u32),
    #[error("{device}: {what}")]
    Device { device: String, what: &'static str },
}

/// Parts octets into zstd frames; line feeds between them are what `mosquitto_sub` writes behind each message.
pub fn frames(octets: &[u8]) -> impl Iterator<Item = Result<&[u8], Unreadable>> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        while let [b'\n' | b'\r', after @ ..] = rest {
            rest = after;
        }
        if rest.is_empty() {
            return None;
        }
        match zstd::zstd_safe::find_frame_compressed_size(rest) {
            Ok(length) if length > 0 && length <= rest.len() => {
                let (frame, after) = rest.split_at(length);
                rest = after;
                Some(Ok(frame))
            }
            Ok(_) => {
                rest = &[];
                Some(Err(Unreadable::Frame("it has no end".to_owned())))
            }
            Err(code) => {
                rest = &[];
                Some(Err(Unreadable::Frame(zstd::zstd_safe::get_error_name(code).to_owned())))
            }
        }
    })
}

/// The schema that a payload was made by; 0 where it brings its names.
pub fn schema_of(payload: &[u8]) -> Result<u32, Unreadable> {
    let raw = decompressed(payload)?;
    let batch = Batch::decode(raw.as_slice()).map_err(|error| Unreadable::Message(error.to_string()))?;
    Ok(batch.schema)
}

/// Decodes one payload. `names` must be those of its schema; a batch that brings its names needs none.
pub fn decode(payload: &[u8], names: Option<&Names>) -> Result<Decoded, Unreadable> {
    decode_message(&decompressed(payload)?, names)
}

/// The same of what the frame holds.
pub fn decode_message(raw: &[u8], names: Option<&Names>) -> Result<Decoded, Unreadable> {
    if raw.len() > LARGEST_RAW {
        return Err(Unreadable::TooMuch);
    }
    let batch = Batch::decode(raw).map_err(|error| Unreadable::Message(error.to_string()))?;
    let names = names.filter(|names| batch.schema != 0 && names.schema == batch.schema);
    let (mut readings, mut room) = (Vec::new(), MOST_DECODED);
    for octets in &batch.dev {
        let device =
            Device::decode(octets.as_slice()).map_err(|error| Unreadable::Message(error.to_string()))?;
        // An empty row costs as much as a sample, and so does an empty column.
        let cells = (u64::from(device.rows) + 1).saturating_mul(device.col.len() as u64 + 1);
        room = usize::try_from(cells)
            .ok()
            .and_then(|cells| room.checked_sub(cells))
            .ok_or(Unreadable::TooMany)?;
        let block = Block::of(device, &batch, names)?;
        block.readings(&batch, &mut readings)?;
    }
    readings.sort_by_key(|(_, number): &(Reading, Number)| number.seq);
    Ok(Decoded {
        readings,
        backlog: batch.flags & wire::BACKLOG != 0,
        bounded: batch.flags & wire::BOUNDED != 0,
        schema: batch.schema,
    })
}

fn decompressed(payload: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let told = |error: std::io::Error| Unreadable::Frame(error.to_string());
    let mut decoder = zstd::stream::read::Decoder::with_buffer(payload).map_err(told)?.single_frame();
    // Level 19 needs 8 MiB of window at most; a frame that asks for more is none of ours.
    decoder.window_log_max(23).map_err(told)?;
    let mut raw = Vec::new();
    decoder.by_ref().take(LARGEST_RAW as u64 + 1).read_to_end(&mut raw).map_err(told)?;
    if raw.len() > LARGEST_RAW { Err(Unreadable::TooMuch) } else { Ok(raw) }
}

/// One device's columns, named.
struct Block {
    device: Device,
    name: Name,
    points: Vec<Name>,
    rows: usize,
}

impl Block {
    fn of(device: Device, batch: &Batch, names: Option<&Names>) -> Result<Block, Unreadable> {
        let bad = |what| Unreadable::Device { device: device.name.clone(), what };
        let (name, known) = if device.name.is_empty() {
            let names = names.ok_or(Unreadable::Schema { schema: batch.schema })?;
            let info = names.device(device.id).ok_or(Unreadable::NoDevice(device.id))?;
            (info.name.clone(), &*info.points)
        } else {
            // A device that the schema knows is told by its place, so this one has no points there.
            (device.name.parse().map_err(|_| bad("its name is none"))?, [].as_slice())
        };
        let columns = 0..u32::try_from(device.col.len()).map_err(|_| Unreadable::TooMany)?;
        let places: Vec<u32> = if device.point.is_empty() { columns.collect() } else { device.point.clone() };
        if places.len() != device.col.len() {
            return Err(bad("as many points as columns are needed"));
        }
        let point = |place: &u32| -> Option<Name> {
            let place = usize::try_from(*place).ok()?;
            let own = || device.extra.get(place.checked_sub(known.len())?)?.parse().ok();
            known.get(place).map(|point| point.name.clone()).or_else(own)
        };
        let points = places.iter().map(point).collect::<Option<Vec<Name>>>();
        let points = points.ok_or_else(|| bad("a column has no point"))?;
        let rows = usize::try_from(device.rows).map_err(|_| Unreadable::TooMany)?;
        Ok(Block { device, name, points, rows })
    }

    fn bad(&self, what: &'static str) -> Unreadable {
        Unreadable::Device { device: self.name.to_string(), what }
    }

    fn readings(&self, batch: &Batch, out: &mut Vec<(Reading, Number)>) -> Result<(), Unreadable> {
        let dt_ms = if self.device.dt_ms == 0 { batch.dt_ms } else { self.device.dt_ms };
        let stamps = summed(&self.device.dt, batch.t0_ms, dt_ms, self.rows);
        let seqs = summed(&self.device.seq, batch.seq.cast_signed(), self.device.dseq, self.rows);
        let codes = self.codes()?;
        let words: BTreeMap<u32, &Words> = self.device.words.iter().map(|words| (words.col, words)).collect();
        let mut columns = Vec::with_capacity(self.points.len());
        for (index, codes) in codes.iter().enumerate() {
            let words = u32::try_from(index).ok().and_then(|index| words.get(&index).copied());
            columns.push(self.samples(index, codes, words)?.into_iter());
        }
        for (row, (stamp, seq)) in stamps.into_iter().zip(seqs).enumerate() {
            let took = self.device.took.get(row).copied().unwrap_or_default();
            let samples = self.points.iter().zip(&mut columns);
            let samples =
                samples.filter_map(|(name, column)| Some((name.clone(), column.next()??))).collect();
            let reading = Reading {
                device: self.name.clone(),
                ts: Timestamp(stamp),
                took: Duration::from_millis(took),
                boot: None,
                clock_unsure: batch.flags & wire::CLOCK_UNSURE != 0,
                samples,
            };
            out.push((reading, Number { epoch: batch.epoch, seq: seq.cast_unsigned() }));
        }
        Ok(())
    }

    /// A code a row for each column.
    fn codes(&self) -> Result<Vec<Vec<u32>>, Unreadable> {
        let mut codes = vec![vec![reason::GOOD; self.rows]; self.points.len()];
        let mut given = BTreeSet::new();
        for quality in &self.device.q {
            // Else a few octets could ask for any amount of work.
            if quality.col.is_empty() || !quality.col.iter().all(|col| given.insert(*col)) {
                return Err(self.bad("reasons for no column, or twice for one"));
            }
            let mut pattern = Vec::with_capacity(self.rows);
            for pair in quality.run.chunks(2) {
                let (&[code, length] | &[code, length, ..]) = pair else {
                    return Err(self.bad("a run without a length"));
                };
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > self.rows - pattern.len() {
                    return Err(self.bad("runs are longer than there are rows"));
                }
                pattern.resize(pattern.len() + length, code);
            }
            for col in &quality.col {
                let place = usize::try_from(*col).ok().and_then(|col| codes.get_mut(col));
                let place = place.ok_or_else(|| self.bad("a reason without its column"))?;
                place[..pattern.len()].copy_from_slice(&pattern);
            }
        }
        Ok(codes)
    }

    /// A sample a row; `None` where the point was not due.
    fn samples(
        &self,
        index: usize,
        codes: &[u32],
        words: Option<&Words>,
    ) -> Result<Vec<Option<Sample>>, Unreadable> {
        let count = codes.iter().filter(|code| **code == reason::GOOD).count();
        let octets = self.device.col.get(index).map(Vec::as_slice).unwrap_or_default();
        let differences = wire::unpack(octets).ok_or_else(|| self.bad("a column is cut off"))?;
        if differences.len() > count {
            return Err(self.bad("more values than rows"));
        }
        let order = self.device.order.get(index).copied().unwrap_or(1);
        if order > 2 {
            return Err(self.bad("an order that is not known"));
        }
        let mut numbers = column::restored(&differences, order, count).into_iter();
        let values = self.values(index, words)?;
        let mut samples = Vec::with_capacity(codes.len());
        for code in codes {
            samples.push(match *code {
                reason::NOT_DUE => None,
                reason::GOOD => Some(Ok(values
                    .value(numbers.next().unwrap_or_default())
                    .ok_or_else(|| self.bad("a word that is not in the list"))?)),
                code => Some(Err(reason::bad(code))),
            });
        }
        Ok(samples)
    }

    fn values(&self, index: usize, words: Option<&Words>) -> Result<Values, Unreadable> {
        if let Some(words) = words {
            let words = words.json.iter().map(|word| literal(word)).collect::<Option<_>>();
            return Ok(Values::Words(words.ok_or_else(|| self.bad("a word that is no JSON literal"))?));
        }
        let exp = self.device.exp.get(index).copied().unwrap_or_default();
        let step = self.device.step.get(index).copied().unwrap_or(1);
        if EXPONENTS.contains(&exp) {
            Ok(Values::Numbers { step, exp })
        } else {
            Err(self.bad("an exponent out of bounds"))
        }
    }
}

/// What a column's numbers stand for.
enum Values {
    Numbers { step: u64, exp: i32 },
    Words(Vec<Value>),
}

impl Values {
    fn value(&self, number: i64) -> Option<Value> {
        match self {
            // 63 bits by 64 fit into 127.
            Values::Numbers { step, exp } => {
                Some(Value::Number(Decimal::new(i128::from(number) * i128::from(*step), *exp)))
            }
            Values::Words(words) => words.get(usize::try_from(number).ok()?).cloned(),
        }
    }
}

fn literal(word: &str) -> Option<Value> {
    match word {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        text if text.starts_with('"') => Some(Value::Text(serde_json::from_str::<String>(text).ok()?.into())),
        number => Some(Value::Number(number.parse().ok()?)),
    }
}

fn summed(differences: &[i64], first: i64, step: u32, rows: usize) -> Vec<i64> {
    let mut at = first;
    let mut out = Vec::with_capacity(rows);
    for row in 0..rows {
        let step = if row == 0 { 0 } else { i64::from(step) };
        at = at.wrapping_add(step).wrapping_add(differences.get(row).copied().unwrap_or_default());
        out.push(at);
    }
    out
}
