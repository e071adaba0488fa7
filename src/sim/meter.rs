//! One simulated meter: its registers at a given second, its truth, and its answers.

use super::identity;
use super::values::{mixed, plausible};
use crate::modbus::{Ask, ReadFunction, ReadRequest, encode_data_reply, encode_exception};
use crate::model::{Decimal, Name, Timestamp, Value};
use crate::profile::{Format, Order, Point, Profile, Sentinel, Table};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const ILLEGAL_FUNCTION: u8 = 1;
pub(super) const ILLEGAL_ADDRESS: u8 = 2;
const ILLEGAL_VALUE: u8 = 3;
/// What makes a twin's values others than its sister's.
const OTHER_VALUES: u64 = 0x5EED;
/// How long one set of values lasts.
const STEP_MS: i64 = 1000;

/// A meter made from a profile.
#[derive(Debug, Clone)]
pub struct Meter {
    profile: Arc<Profile>,
    unit: u8,
    seed: u64,
    /// It hears and speaks at this rate only; at any, where none is given.
    baud: Option<u32>,
    /// First and last readable address of each table.
    areas: BTreeMap<Table, (u32, u32)>,
    /// The registers of one step, kept for the next question.
    image: Option<(i64, Arc<Image>)>,
}

/// Registers and coils by table and address.
#[derive(Debug, Default)]
struct Image(BTreeMap<(Table, u16), u16>);

impl Meter {
    pub fn new(profile: Arc<Profile>, unit: u8, seed: u64) -> Meter {
        let mut areas: BTreeMap<Table, (u32, u32)> = BTreeMap::new();
        let points = profile.points.iter().map(|point| (point.table, point.address, point.format.count()));
        let marks = profile.identify.iter().map(|mark| (mark.table, mark.address, 1));
        for (table, address, count) in points.chain(marks) {
            let first = u32::from(address);
            let last = first + u32::from(count.max(1)) - 1;
            let area = areas.entry(table).or_insert((first, last));
            *area = (area.0.min(first), area.1.max(last));
        }
        Meter { profile, unit, seed, baud: None, areas, image: None }
    }

    /// The same meter, set to this baud rate.
    #[must_use]
    pub fn at_baud(self, baud: u32) -> Meter {
        Meter { baud: Some(baud), ..self }
    }

    pub fn baud(&self) -> Option<u32> {
        self.baud
    }

    pub fn unit(&self) -> u8 {
        self.unit
    }

    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// A second meter with the same profile and unit id, and other values.
    pub(super) fn twin(&self) -> Meter {
        let twin = Meter::new(Arc::clone(&self.profile), self.unit, self.seed.wrapping_add(OTHER_VALUES));
        Meter { baud: self.baud, ..twin }
    }

    /// The last two registers in a row that it has, as a request: what another master asks.
    pub(super) fn last_two_registers(&self) -> Option<ReadRequest> {
        let functions = [ReadFunction::HoldingRegisters, ReadFunction::InputRegisters];
        functions.into_iter().find_map(|function| {
            let (first, last) = self.areas.get(&table_of(function))?;
            let address = u16::try_from(last.checked_sub(1)?.max(*first)).ok()?;
            ReadRequest::new(function, address, 2).ok()
        })
    }

    /// The moment at which the values of `at` came to be.
    pub fn step_began(at: Timestamp) -> Timestamp {
        Timestamp(at.0.div_euclid(STEP_MS) * STEP_MS)
    }

    /// What every point shows at this moment, exactly.
    pub fn truth(&self, at: Timestamp) -> Vec<(Name, Value)> {
        let image = self.draw(at.0.div_euclid(STEP_MS));
        self.profile
            .points
            .iter()
            .filter_map(|point| Some((point.name.clone(), image.value(point)?)))
            .collect()
    }

    /// The reply PDU to a request PDU.
    pub fn answer(&mut self, pdu: &[u8], at: Timestamp) -> Vec<u8> {
        let function = pdu.first().copied().unwrap_or(0);
        let ask = match Ask::decode(pdu) {
            Ok(ask) => ask,
            Err(error) => return encode_exception(function, u8::from(error.exception())).to_vec(),
        };
        let Ask::Read(request) = ask else {
            return identity::answer(&self.profile, &ask).unwrap_or_default();
        };
        match self.data(&request, at) {
            Ok(data) => encode_data_reply(&request, &data),
            Err(code) => encode_exception(function, code).to_vec(),
        }
    }

    fn data(&mut self, request: &ReadRequest, at: Timestamp) -> Result<Vec<u8>, u8> {
        let table = table_of(request.function());
        let area = *self.areas.get(&table).ok_or(ILLEGAL_FUNCTION)?;
        let habits = &self.profile.habits;
        if !table.is_bits() && request.count() > habits.max_registers {
            return Err(ILLEGAL_VALUE);
        }
        let first = u32::from(request.address());
        let last = first + u32::from(request.count()) - 1;
        let in_hole = habits
            .holes
            .iter()
            .any(|hole| u32::from(*hole.start()) <= last && u32::from(*hole.end()) >= first);
        if first < area.0 || last > area.1 || in_hole {
            return Err(ILLEGAL_ADDRESS);
        }
        let image = self.image(at);
        let addresses = request.address()..=u16::try_from(last).map_err(|_| ILLEGAL_ADDRESS)?;
        let values: Vec<u16> = addresses.map(|address| image.get(table, address)).collect();
        if table.is_bits() {
            return Ok(values.chunks(8).map(packed).collect());
        }
        Ok(values.iter().flat_map(|value| value.to_be_bytes()).collect())
    }

    fn image(&mut self, at: Timestamp) -> Arc<Image> {
        let step = at.0.div_euclid(STEP_MS);
        match &self.image {
            Some((drawn, image)) if *drawn == step => Arc::clone(image),
            Some(_) | None => {
                let image = Arc::new(self.draw(step));
                self.image = Some((step, Arc::clone(&image)));
                image
            }
        }
    }

    fn draw(&self, step: i64) -> Image {
        let mut image = Image::default();
        for mark in &self.profile.identify {
            image.0.insert((mark.table, mark.address), mark.equals);
        }
        for (index, point) in self.profile.points.iter().enumerate() {
            let seed = self.seed.wrapping_add(u64::from(self.unit));
            let raw = raw_bits(point, seed, index, step);
            image.put(point, &raw);
        }
        image
    }
}

fn packed(bits: &[u16]) -> u8 {
    bits.iter().enumerate().fold(0, |octet, (index, bit)| octet | (u8::from(*bit != 0) << index))
}

fn table_of(function: ReadFunction) -> Table {
    match function {
        ReadFunction::Coils => Table::Coil,
        ReadFunction::DiscreteInputs => Table::DiscreteInput,
        ReadFunction::HoldingRegisters => Table::HoldingRegister,
        ReadFunction::InputRegisters => Table::InputRegister,
    }
}

/// The octets of a point, highest first, before the meter's own order.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are integers")]
fn raw_bits(point: &Point, seed: u64, index: usize, step: i64) -> Vec<u8> {
    let registers = usize::from(point.format.count());
    if let Format::Text(_) = point.format {
        let text = format!("SIM{:04}", mixed(seed, index) % 10_000);
        return text.bytes().chain(std::iter::repeat(0)).take(registers * 2).collect();
    }
    if !point.words.is_empty() {
        let at = usize::try_from(mixed(seed, index) % 1009).unwrap_or(0) % point.words.len();
        return integer_octets(i128::from(point.words[at].0), registers);
    }
    if point.bit.is_some() || matches!(point.format, Format::Bool | Format::Bits) {
        return integer_octets(i128::from(mixed(seed, index) & 1), registers);
    }
    let indicated = indication(point, plausible(point, seed, index, step));
    match point.format {
        Format::F32 => float32(indicated).to_be_bytes().to_vec(),
        Format::F64 => indicated.to_be_bytes().to_vec(),
        Format::Bcd16 | Format::Bcd32 => bcd_octets(whole(indicated), registers),
        _ => integer_octets(not_a_sentinel(point, clamped(point.format, whole(indicated))), registers),
    }
}

/// Canonical value → what the register holds, as far as a float goes: the truth is read back from it.
fn indication(point: &Point, value: f64) -> f64 {
    let (top, bottom) = (point.scale.numerator(), point.scale.denominator());
    let scale = Decimal::new(top, 0).to_f64() / Decimal::new(bottom, 0).to_f64();
    let indicated = (value - point.offset.to_f64()) / scale;
    // A meter shows some digits, not all that a double has.
    (indicated * 1000.0).round() / 1000.0
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
    if point.invalid.contains(&Sentinel::Bits(bits(value))) { value + 1 } else { value }
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
    fn get(&self, table: Table, address: u16) -> u16 {
        self.0.get(&(table, address)).copied().unwrap_or(0)
    }

    /// Writes a point's octets; what another point has written already stays, but for single bits.
    fn put(&mut self, point: &Point, octets: &[u8]) {
        if point.table.is_bits() {
            self.0.insert((point.table, point.address), u16::from(octets.last().copied().unwrap_or(0) & 1));
            return;
        }
        if let Some(bit) = point.bit {
            let flag = u16::from(octets.last().copied().unwrap_or(0) & 1);
            let at = point.address + register_of_bit(point, bit);
            *self.0.entry((point.table, at)).or_insert(0) |= flag << (bit % 16);
            return;
        }
        let mut registers: Vec<u16> =
            octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        if point.byte_order == Order::Little {
            registers.iter_mut().for_each(|register| *register = register.swap_bytes());
        }
        if point.word_order == Order::Little {
            registers.reverse();
        }
        let addresses = point.address..point.address.saturating_add(point.format.count());
        if addresses.clone().any(|address| self.0.contains_key(&(point.table, address))) {
            return;
        }
        for (address, register) in addresses.zip(registers) {
            self.0.insert((point.table, address), register);
        }
    }

    /// A point's value, read back from the registers as the meter's manual would have it done.
    fn value(&self, point: &Point) -> Option<Value> {
        let registers: Vec<u16> = (0..point.format.count())
            .map(|n| self.get(point.table, point.address.saturating_add(n)))
            .collect();
        if point.table.is_bits() {
            return Some(Value::Bool(registers.first().is_some_and(|bit| *bit != 0)));
        }
        let little = |order| order == Order::Little;
        let mut ordered = registers;
        if little(point.word_order) {
            ordered.reverse();
        }
        if little(point.byte_order) {
            ordered.iter_mut().for_each(|register| *register = register.swap_bytes());
        }
        let bits = ordered.iter().fold(0u64, |bits, register| (bits << 16) | u64::from(*register));
        if let Format::Text(_) = point.format {
            let octets: Vec<u8> = ordered.iter().flat_map(|register| register.to_be_bytes()).collect();
            let text: String =
                octets.iter().take_while(|octet| **octet != 0).map(|octet| char::from(*octet)).collect();
            return Some(Value::Text(text.trim().into()));
        }
        if let Some(bit) = point.bit {
            return Some(Value::Bool((bits >> bit) & 1 == 1));
        }
        if !point.words.is_empty() {
            return point
                .words
                .iter()
                .find(|(code, _)| *code == bits)
                .map(|(_, word)| Value::Text(Arc::clone(word)));
        }
        if point.format == Format::Bool {
            return Some(Value::Bool(bits != 0));
        }
        let indicated = number(point.format, bits)?;
        let value = indicated.scaled(point.scale).ok()?.checked_add(point.offset).ok()?;
        let value = point.resolution.map_or(Ok(value), |step| value.rounded_to(step)).ok()?;
        Some(Value::Number(value))
    }
}

/// Which of a point's registers, counted from its address, holds this bit.
fn register_of_bit(point: &Point, bit: u8) -> u16 {
    let from_low = u16::from(bit / 16);
    if point.word_order == Order::Little {
        from_low
    } else {
        point.format.count().saturating_sub(1 + from_low)
    }
}

fn number(format: Format, bits: u64) -> Option<Decimal> {
    let signed = |width: u32| {
        let (bits, half, full) = (i128::from(bits), 1i128 << (width - 1), 1i128 << width);
        Decimal::new(if bits >= half { bits - full } else { bits }, 0)
    };
    match format {
        Format::S16 => Some(signed(16)),
        Format::S32 => Some(signed(32)),
        Format::S64 => Some(signed(64)),
        Format::F32 => Decimal::from_f32(f32::from_bits(u32::try_from(bits).ok()?)),
        Format::F64 => Decimal::from_f64(f64::from_bits(bits)),
        Format::Bcd16 | Format::Bcd32 => format!("{bits:x}").parse().ok(),
        Format::U16 | Format::U32 | Format::U64 | Format::Bits => Some(Decimal::from(bits)),
        Format::Bool | Format::Text(_) => None,
    }
}
