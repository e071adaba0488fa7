//! One simulated meter: its registers at a given second, its truth, and its answers.

use super::draw::{self, Image};
use super::{identity, truth};
use crate::modbus::{Ask, ReadFunction, ReadRequest, encode_data_reply, encode_exception};
use crate::model::{Name, Timestamp, Value};
use crate::profile::sunspec::Chain;
use crate::profile::{Profile, Table};
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

impl Meter {
    /// A device that says itself what it offers is one with an inverter, a vendor's own model, and a meter.
    pub fn new(profile: Arc<Profile>, unit: u8, seed: u64) -> Meter {
        let unwalked = profile.walks && profile.points.is_empty();
        let profile = if unwalked { Arc::new(example(unit).simulated()) } else { profile };
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
        let shown = self.profile.points.iter().filter(|point| !point.internal);
        shown
            .filter_map(|point| Some((point.name.clone(), truth::value(&self.profile, point, &image)?)))
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
        draw::image(&self.profile, self.seed.wrapping_add(u64::from(self.unit)), step)
    }
}

fn example(unit: u8) -> Chain {
    Chain {
        manufacturer: "linesman".to_owned(),
        model: "simulated inverter".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        serial: format!("SIM{unit:04}"),
        ..Chain::of(40_000, &[(1, 66), (103, 50), (64_120, 7), (203, 105)])
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
