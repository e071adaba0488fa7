//! From `SunS` to the chain's end: what is read next, and what the answer means.

use super::chain::{COMMON, Chain, END, HEADER_LENGTH, MARKER_LENGTH, MOST_MODELS, Mark, Model};
use std::collections::VecDeque;
use std::fmt;

/// `SunS`.
pub(super) const MARKER: [u16; 2] = [0x5375, 0x6E53];
/// Where it may stand, the most usual place first (Device Information Model Specification V1.1, section 6.2).
pub const BASES: [u16; 3] = [40_000, 50_000, 0];
/// A walk takes so many reads at the most: those that look whether a known chain still holds, the bases, the headers,
/// and who the device is.
pub const MOST_READS: usize = (1 + MOST_MODELS + 1) + BASES.len() + (MOST_MODELS + 1) + 1;
/// Manufacturer, model, options, version, serial number: 64 registers from here.
const NAMES_AT: u16 = 2;
const NAMES_LENGTH: u16 = 64;
/// Illegal data address: there is nothing there, and not only for now.
const ILLEGAL_ADDRESS: u8 = 2;

/// Holding registers to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    pub address: u16,
    pub count: u16,
}

/// Why there is no chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// No `SunS` at any base; the exception where all of them were refused.
    NoMarker(Option<u8>),
    /// The first model is another one.
    NotCommon { found: u16 },
    /// A model's header was refused.
    Refused { address: u16, code: u8 },
    /// A model has no registers.
    NoLength { id: u16, address: u16 },
    /// A model ends beyond the last register.
    Beyond { id: u16, address: u16 },
    /// It goes on and on.
    Endless,
    /// A chain with an end, and no inverter or meter in it.
    NothingKnown,
    /// The answer was no answer to the question.
    Short,
}

impl Broken {
    /// The exception that it came to, if it did.
    pub fn exception(self) -> Option<u8> {
        match self {
            Broken::NoMarker(code) => code,
            Broken::Refused { code, .. } => Some(code),
            Broken::NotCommon { .. }
            | Broken::NoLength { .. }
            | Broken::Beyond { .. }
            | Broken::Endless
            | Broken::NothingKnown
            | Broken::Short => None,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::NoMarker(None) => f.write_str(
                "no `SunS` at holding 40000, 50000 or 0: no SunSpec device, or SunSpec is switched off in it",
            ),
            Broken::NoMarker(Some(code)) => write!(
                f,
                "holding 40000, 50000 and 0 are refused with exception {code}: no SunSpec device, or SunSpec is switched off in it"
            ),
            Broken::NotCommon { found } => {
                write!(f, "`SunS` is there, but the first model is {found} instead of 1")
            }
            Broken::Refused { address, code } => {
                write!(f, "the header of the model at {address} is refused with exception {code}")
            }
            Broken::NoLength { id, address } => write!(f, "model {id} at {address} has a length of 0"),
            Broken::Beyond { id, address } => write!(f, "model {id} at {address} ends beyond register 65535"),
            Broken::Endless => write!(f, "more than {MOST_MODELS} models without an end"),
            Broken::NothingKnown => {
                f.write_str("no model of an inverter or meter (101-103, 111-113, 201-204, 211-214)")
            }
            Broken::Short => f.write_str("an answer of another length than was asked for"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// What should stand here and there: the chain that was known.
    Check(VecDeque<(u16, Mark)>),
    /// Which of the bases.
    Marker(usize),
    Header(u16),
    /// Who it is, behind the header of the common model here.
    Names(Model),
    Over(Result<(), Broken>),
}

/// A walk along a device's models, read by read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    bases: Vec<u16>,
    step: Step,
    /// What was known before, …
    known: Option<Chain>,
    /// … and whether it still holds.
    holds: bool,
    chain: Chain,
    /// What the bases were refused with.
    refused: Option<u8>,
    /// Some base was read, and holds something else.
    other: bool,
}

impl Walk {
    /// Of a device that nobody knows. `first` says with which of the bases it begins: one that says nothing to a wrong
    /// one is found in turn.
    pub fn new(first: usize) -> Walk {
        let mut bases = BASES.to_vec();
        bases.rotate_left(first % BASES.len());
        Walk {
            bases,
            step: Step::Marker(0),
            known: None,
            holds: false,
            chain: Chain::default(),
            refused: None,
            other: false,
        }
    }

    /// Of one that is known: looks whether it still is, and walks where it is not, or where it had no end.
    pub fn again(known: &Chain) -> Walk {
        if known.broken_off.is_some() {
            return Walk::anew(known);
        }
        let step = Step::Check(known.marks().into());
        Walk { step, known: Some(known.clone()), holds: true, ..Walk::anew(known) }
    }

    /// Of one that was known and may be another now.
    pub fn anew(known: &Chain) -> Walk {
        let mut walk = Walk::new(0);
        walk.bases.retain(|base| *base != known.base);
        walk.bases.insert(0, known.base);
        walk
    }

    /// What to read next; nothing when it is over.
    pub fn next(&self) -> Option<Read> {
        match &self.step {
            Step::Check(marks) => {
                marks.front().map(|(address, _)| Read { address: *address, count: MARKER_LENGTH })
            }
            Step::Marker(at) => self.bases.get(*at).map(|base| Read { address: *base, count: MARKER_LENGTH }),
            Step::Header(address) => Some(Read { address: *address, count: HEADER_LENGTH }),
            Step::Names(model) => Some(Read { address: model.address + NAMES_AT, count: NAMES_LENGTH }),
            Step::Over(_) => None,
        }
    }

    /// The read was answered with these octets, two a register, the high one first.
    pub fn answered(&mut self, octets: &[u8]) {
        let Some(read) = self.next() else { return };
        let registers: Vec<u16> =
            octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        if registers.len() != usize::from(read.count) || !octets.len().is_multiple_of(2) {
            return self.over(Err(Broken::Short));
        }
        match (std::mem::replace(&mut self.step, Step::Over(Ok(()))), registers.as_slice()) {
            (Step::Check(mut marks), found) => {
                let as_known = marks.pop_front().is_some_and(|(_, mark)| mark.is(found));
                self.checked(marks, as_known);
            }
            (Step::Marker(at), found) => self.marker(at, found == MARKER),
            (Step::Header(address), [id, length]) => self.header(address, *id, *length),
            (Step::Names(model), _) => self.names(model, octets),
            (Step::Header(_) | Step::Over(_), _) => self.over(Err(Broken::Short)),
        }
    }

    /// The read was refused with this exception.
    pub fn refused(&mut self, code: u8) {
        match std::mem::replace(&mut self.step, Step::Over(Ok(()))) {
            Step::Check(_) => self.checked(VecDeque::new(), false),
            Step::Marker(at) => {
                self.refused.get_or_insert(code);
                self.next_base(at);
            }
            Step::Header(address) => {
                self.break_off(Broken::Refused { address, code }, code == ILLEGAL_ADDRESS)
            }
            // It may take fewer registers at once; what it is called can be done without.
            Step::Names(model) => self.go_on_behind(model),
            over @ Step::Over(_) => self.step = over,
        }
    }

    /// What was found; nothing while it is under way.
    pub fn outcome(&self) -> Option<Result<&Chain, Broken>> {
        match &self.step {
            Step::Over(Ok(())) if self.holds => self.known.as_ref().map(Ok),
            Step::Over(Ok(())) => Some(Ok(&self.chain)),
            Step::Over(Err(broken)) => Some(Err(*broken)),
            Step::Check(_) | Step::Marker(_) | Step::Header(_) | Step::Names(_) => None,
        }
    }

    /// Whether the chain that was known still holds.
    pub fn is_as_known(&self) -> bool {
        self.holds && matches!(self.step, Step::Over(Ok(())))
    }

    fn checked(&mut self, rest: VecDeque<(u16, Mark)>, as_known: bool) {
        if !as_known {
            self.holds = false;
            self.step = Step::Marker(0);
        } else if rest.is_empty() {
            self.over(Ok(()));
        } else {
            self.step = Step::Check(rest);
        }
    }

    fn marker(&mut self, at: usize, found: bool) {
        let base = self.bases.get(at).copied().unwrap_or_default();
        if found {
            self.chain = Chain { base, ..Chain::default() };
            self.step = Step::Header(base + MARKER_LENGTH);
        } else {
            self.other = true;
            self.next_base(at);
        }
    }

    fn next_base(&mut self, at: usize) {
        if at + 1 < self.bases.len() {
            self.step = Step::Marker(at + 1);
        } else {
            self.over(Err(Broken::NoMarker(self.refused.filter(|_| !self.other))));
        }
    }

    fn header(&mut self, address: u16, id: u16, length: u16) {
        if id == END {
            return self.end();
        }
        if self.chain.models.is_empty() && id != COMMON {
            return self.over(Err(Broken::NotCommon { found: id }));
        }
        if length == 0 {
            return self.break_off(Broken::NoLength { id, address }, true);
        }
        // The last register of all may be its last.
        if u32::from(address) + u32::from(HEADER_LENGTH) + u32::from(length) > 65_536 {
            return self.break_off(Broken::Beyond { id, address }, true);
        }
        if self.chain.models.len() >= MOST_MODELS {
            return self.break_off(Broken::Endless, true);
        }
        let model = Model { id, address, length };
        self.chain.models.push(model);
        if self.chain.models.len() == 1 && length >= NAMES_LENGTH {
            self.step = Step::Names(model);
        } else {
            self.go_on_behind(model);
        }
    }

    fn go_on_behind(&mut self, model: Model) {
        let next = u32::from(model.address) + u32::from(HEADER_LENGTH) + u32::from(model.length);
        match u16::try_from(next).ok().filter(|next| *next < u16::MAX) {
            Some(next) => self.step = Step::Header(next),
            // No room for another header.
            None => self.break_off(Broken::Beyond { id: END, address: u16::MAX }, true),
        }
    }

    fn names(&mut self, model: Model, octets: &[u8]) {
        let text = |register: usize, count: usize| {
            octets.get(register * 2..(register + count) * 2).map(text).unwrap_or_default()
        };
        self.chain.manufacturer = text(0, 16);
        self.chain.model = text(16, 16);
        self.chain.version = text(40, 8);
        self.chain.serial = text(48, 16);
        self.go_on_behind(model);
    }

    fn end(&mut self) {
        let found = if self.chain.has_points() { Ok(()) } else { Err(Broken::NothingKnown) };
        self.over(found);
    }

    /// What stands before a break is good, if something does and the break is not only for now.
    fn break_off(&mut self, why: Broken, for_good: bool) {
        if for_good && self.chain.has_points() {
            self.chain.broken_off = Some(why.to_string());
            self.over(Ok(()));
        } else {
            self.over(Err(why));
        }
    }

    fn over(&mut self, found: Result<(), Broken>) {
        self.step = Step::Over(found);
    }
}

/// As points of type `string` are read: padded with NUL or blanks.
pub fn text(octets: &[u8]) -> String {
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    String::from_utf8_lossy(&octets[..end])
        .chars()
        .filter(|c| !c.is_control())
        .collect::<String>()
        .trim()
        .to_owned()
}
