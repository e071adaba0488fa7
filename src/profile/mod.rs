//! What is written about a meter: its profile, read, checked, and found by name.
//!
//! ```text
//! path | own folder | library ──text──► yaml (tree with places) ──► walk against `format` ──► Profile
//! ```
//!
//! # Promises
//! - A profile is data, never code. It is parsed strictly once, at the door; the types here cannot
//!   hold a contradiction that the reader would not have refused.
//! - All problems at once, each at its line and column; no octets make the reader panic.
//! - Numbers are exact: what the file says of scale, offset, range and resolution is converted into
//!   the quantity's canonical unit by exact ratios, here and only here.
//!
//! [`mod@format`] is the table of keys, [`yaml`] the tools, [`library`] finds. Who adds a profile adds a
//! file in `profiles/`; the format is described there.

mod address;
mod derived;
mod doubts;
pub mod format;
pub mod glossary;
pub mod library;
mod links;
mod meaning;
mod octets;
mod point;
mod read;
mod units;
pub mod yaml;

pub use derived::{BitField, Factor, How, Needs, Operand, Parameter, SignBy, UnitBy, Write};
pub use doubts::doubts;
pub use library::{OWN_FOLDER, builtin, builtin_text, find, is_path, locate};
pub use read::{notation, parity, parse};
pub use units::Units;
pub use yaml::{Problem, Problems};

use crate::model::{Bad, Decimal, Name, Ratio};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// One of the four tables of the Modbus data model (Application Protocol V1.1b3, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Coil,
    DiscreteInput,
    InputRegister,
    HoldingRegister,
}

impl Table {
    /// The most that one read may ask for (V1.1b3, sections 6.1 to 6.4).
    pub const fn limit(self) -> u16 {
        match self {
            Table::Coil | Table::DiscreteInput => 2000,
            Table::InputRegister | Table::HoldingRegister => 125,
        }
    }

    /// The word that profiles and the command line use.
    pub const fn word(self) -> &'static str {
        match self {
            Table::Coil => "coil",
            Table::DiscreteInput => "discrete",
            Table::InputRegister => "input",
            Table::HoldingRegister => "holding",
        }
    }

    /// A coil or discrete input: one bit an address, not a register of sixteen.
    pub const fn is_bits(self) -> bool {
        matches!(self, Table::Coil | Table::DiscreteInput)
    }
}

/// Which register of several comes first, or which octet within a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    Big,
    Little,
}

/// How a point's octets stand for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Bool,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F32,
    F64,
    /// Four, eight or sixteen decimal digits of four bits each.
    Bcd16,
    Bcd32,
    Bcd64,
    /// Iskra's numbers: a signed decimal exponent in the high octet and a mantissa of 24 bits, unsigned …
    IskraT5,
    /// … or signed.
    IskraT6,
    /// Iskra's power factor: four decimals in the low register, 0xFF in the highest octet for export.
    IskraT7,
    Date(DateForm),
    /// So many registers of text, two octets each, padded with NUL or blanks.
    Text(u16),
    /// A bit field of sixteen bits.
    Bits,
}

/// How a date and time of day is written; without a time zone but for [`DateForm::Unix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateForm {
    /// Seconds since 1970 in 32 bits.
    Unix,
    /// Four registers: year; month, weekday, day; hour, minute; milliseconds. What IEC 870-5-4 calls CP56Time2a,
    /// as Schneider's meters write it (TI081).
    Iec,
    /// CP56Time2a as IEC 60870-5-101 has it, octet by octet, the low octet of the milliseconds first.
    Cp56,
    /// Three registers of two decimal digits an octet: year, month, day, hour, minute, second.
    Bcd,
    /// A register each: year, month, day, hour, minute, second.
    Fields,
}

impl Format {
    /// The word that profiles use.
    pub fn word(self) -> std::borrow::Cow<'static, str> {
        match self {
            Format::Bool => "bool".into(),
            Format::U16 => "u16".into(),
            Format::S16 => "s16".into(),
            Format::U32 => "u32".into(),
            Format::S32 => "s32".into(),
            Format::U64 => "u64".into(),
            Format::S64 => "s64".into(),
            Format::F32 => "f32".into(),
            Format::F64 => "f64".into(),
            Format::Bcd16 => "bcd16".into(),
            Format::Bcd32 => "bcd32".into(),
            Format::Bcd64 => "bcd64".into(),
            Format::IskraT5 => "iskra-t5".into(),
            Format::IskraT6 => "iskra-t6".into(),
            Format::IskraT7 => "iskra-t7".into(),
            Format::Date(DateForm::Unix) => "date-unix".into(),
            Format::Date(DateForm::Iec) => "date-iec".into(),
            Format::Date(DateForm::Cp56) => "date-cp56".into(),
            Format::Date(DateForm::Bcd) => "date-bcd".into(),
            Format::Date(DateForm::Fields) => "date-fields".into(),
            Format::Text(registers) => format!("string:{registers}").into(),
            Format::Bits => "bits".into(),
        }
    }

    /// How many addresses the value covers: registers, or one coil.
    pub const fn count(self) -> u16 {
        match self {
            Format::Bool | Format::U16 | Format::S16 | Format::Bcd16 | Format::Bits => 1,
            Format::U32 | Format::S32 | Format::F32 | Format::Bcd32 => 2,
            Format::IskraT5 | Format::IskraT6 | Format::IskraT7 | Format::Date(DateForm::Unix) => 2,
            Format::Date(DateForm::Bcd) => 3,
            Format::U64 | Format::S64 | Format::F64 | Format::Bcd64 => 4,
            Format::Date(DateForm::Iec | DateForm::Cp56) => 4,
            Format::Date(DateForm::Fields) => 6,
            Format::Text(registers) => registers,
        }
    }
}

/// A raw value that means "no value here".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentinel {
    /// The raw register bits, as unsigned, before scale and sign.
    Bits(u64),
    /// Any not-a-number of a float format.
    Nan,
}

/// How often a point is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    Period(Duration),
    /// Back to back, round robin with the line's other continuous devices.
    Continuous,
}

/// One thing to read from a meter.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub name: Name,
    pub table: Table,
    /// Zero-based, as on the wire.
    pub address: u16,
    pub format: Format,
    pub word_order: Order,
    pub byte_order: Order,
    /// From the raw number to the profile's unit, times the conversion to the canonical unit:
    /// one exact step.
    pub scale: Ratio,
    /// Added after `scale`, in the canonical unit.
    pub offset: Decimal,
    /// Readings are rounded to a multiple of this, in the canonical unit.
    pub resolution: Option<Decimal>,
    /// What it measures, kebab-case; `other` is never converted.
    pub quantity: String,
    /// The canonical unit that readings leave in.
    pub unit: String,
    pub phase: Option<String>,
    pub direction: Option<String>,
    /// What the meter can measure, in the canonical unit; outside is `out-of-range`.
    pub range: Option<(Decimal, Decimal)>,
    /// Raw values that are none, and the reason they stand for.
    pub invalid: Vec<(Sentinel, Bad)>,
    /// Raw code to word; a code not listed is `out-of-range`.
    pub words: Vec<(u64, Arc<str>)>,
    /// One bit of the raw value, as a flag.
    pub bit: Option<u8>,
    /// Some bits of the raw value, as a number or a code.
    pub bits: Option<BitField>,
    /// Raw values from this one on are negative: -(raw - this).
    pub negative_from: Option<u64>,
    pub scale_by: Vec<Factor>,
    pub sign_by: Option<SignBy>,
    pub unit_by: Option<UnitBy>,
    /// Points whose values are added, by index.
    pub plus: Vec<usize>,
    pub index: bool,
    /// Where the counter begins again, in the canonical unit; the span of its type where nothing is said.
    pub rollover: Option<Decimal>,
    /// A total that goes on over rollover and reset stands beside the counter.
    pub total: bool,
    /// Read for other points only: no part of a reading, unless it is bad.
    pub internal: bool,
    pub write: Option<Write>,
    /// The profile's own wish; the configuration's device wins over it.
    pub every: Option<Every>,
    /// Not confirmed by a second source.
    pub unverified: bool,
}

impl Point {
    /// A register as it is: nothing is scaled, nothing is known of it.
    pub fn new(name: Name, table: Table, address: u16, format: Format) -> Point {
        Point {
            name,
            table,
            address,
            format,
            word_order: Order::Big,
            byte_order: Order::Big,
            scale: Ratio::ONE,
            offset: Decimal::ZERO,
            resolution: None,
            quantity: "other".to_owned(),
            unit: String::new(),
            phase: None,
            direction: None,
            range: None,
            invalid: Vec::new(),
            words: Vec::new(),
            bit: None,
            bits: None,
            negative_from: None,
            scale_by: Vec::new(),
            sign_by: None,
            unit_by: None,
            plus: Vec::new(),
            index: false,
            rollover: None,
            total: false,
            internal: false,
            write: None,
            every: None,
            unverified: false,
        }
    }
}

/// Serial settings as they leave the factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactorySerial {
    pub baud: u32,
    pub parity: Parity,
    pub stop_bits: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parity {
    #[default]
    None,
    Even,
    Odd,
}

/// How this model wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habits {
    /// Most registers in one read, 1–125.
    pub max_registers: u16,
    /// Reads begin at a multiple of this.
    pub align: u16,
    /// Addresses that must not be read, not even in passing.
    pub holes: Vec<RangeInclusive<u16>>,
    /// Silence the meter needs between its reply and the next request, beyond 3.5 characters.
    pub min_gap: Duration,
    /// It answers function 08, Return Query Data.
    pub diagnostics: bool,
    /// The longest and the shortest wait for its reply, where this model needs other bounds than most.
    pub timeout: Option<Duration>,
    pub min_timeout: Option<Duration>,
}

/// One fact that tells this model from others: all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    pub table: Table,
    pub address: u16,
    pub equals: u16,
}

/// What one meter model offers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Profile {
    /// The file's name without `.yaml`.
    pub name: String,
    pub vendor: String,
    pub model: String,
    pub kind: String,
    pub sources: Vec<String>,
    pub serial: Option<FactorySerial>,
    pub unit_id: Option<u8>,
    pub habits: Habits,
    pub identify: Vec<Fingerprint>,
    pub parameters: Vec<Parameter>,
    /// The point that tells one meter of this model from another.
    pub identity: Option<usize>,
    /// In the file's order.
    pub points: Vec<Point>,
}
