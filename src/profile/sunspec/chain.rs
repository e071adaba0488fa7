//! What a walk has found: the models of a device and where they stand.

use super::table::{self, Layout};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Of more models than this no device is made.
pub(super) const MOST_MODELS: usize = 40;
/// The common model.
pub(super) const COMMON: u16 = 1;
/// The id of the end.
pub(super) const END: u16 = 0xFFFF;
/// `SunS` takes two registers.
pub(super) const MARKER_LENGTH: u16 = 2;
/// A model's id and its length.
pub(super) const HEADER_LENGTH: u16 = 2;

/// The first value and its scale factor.
const LEAST_LENGTH: u16 = 5;

/// A model of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub id: u16,
    /// Of the register that holds the id.
    pub address: u16,
    /// Registers behind the header.
    pub length: u16,
}

/// The models of a device, as they were found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chain {
    /// Where `SunS` stands.
    pub base: u16,
    pub models: Vec<Model>,
    /// What the first common model says; empty where it says nothing.
    pub manufacturer: String,
    pub model: String,
    pub version: String,
    pub serial: String,
    /// Why the chain has no end, where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_off: Option<String>,
}

/// What stands at an address while a chain is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Pair([u16; 2]),
    End,
}

impl Mark {
    pub(super) fn is(self, found: &[u16]) -> bool {
        match self {
            Mark::Pair(pair) => found == pair,
            Mark::End => found.first() == Some(&END),
        }
    }
}

/// A model that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub model: Model,
    pub layout: Layout,
    /// Which of its kind it is, counted from 1, and the kind; nothing before the names of the first of all.
    pub prefix: Option<(&'static str, usize)>,
}

impl Used {
    /// The name of one of its points.
    pub(super) fn name(&self, plain: &str) -> String {
        match self.prefix {
            None => plain.to_owned(),
            Some((kind, 1)) => format!("{kind}_{plain}"),
            Some((kind, number)) => format!("{kind}{number}_{plain}"),
        }
    }
}

impl Chain {
    /// The models that are read, in the order of the chain.
    pub(super) fn used(&self) -> Vec<Used> {
        let mut used: Vec<Used> = Vec::new();
        let (mut counts, mut common): (Vec<&str>, Option<Model>) = (Vec::new(), None);
        // Since the last common model: what is there already.
        let mut here: Vec<&str> = Vec::new();
        for model in &self.models {
            let Some(layout) = table::layout_of(model.id) else { continue };
            let Some(kind) = layout.kind() else {
                common = Some(*model);
                here.clear();
                continue;
            };
            if here.contains(&kind) && used.iter().any(|before| self.is_twin(before, model, layout)) {
                continue;
            }
            here.push(kind);
            counts.push(kind);
            let number = counts.iter().filter(|counted| **counted == kind).count();
            let prefix = (counts.len() > 1).then_some((kind, number));
            let who = common.take().map(|model| Used { model, layout: Layout::Common, prefix });
            used.extend(who);
            used.push(Used { model: *model, layout, prefix });
        }
        used
    }

    /// Integers and floats of one device: nothing but models that are not read stands between them.
    fn is_twin(&self, before: &Used, model: &Model, layout: Layout) -> bool {
        let between = self.models.iter().any(|other| {
            other.id == COMMON && (before.model.address..model.address).contains(&other.address)
        });
        !between && before.layout != layout && before.layout.kind() == layout.kind()
    }

    /// Whether there is anything to read.
    pub fn has_points(&self) -> bool {
        self.models.iter().any(|model| {
            model.length >= LEAST_LENGTH && table::layout_of(model.id).and_then(Layout::kind).is_some()
        })
    }

    /// Whether a walk could have found this: what was kept on a disk may be anything.
    pub fn is_sound(&self) -> bool {
        let mut next = u32::from(self.base) + u32::from(MARKER_LENGTH);
        let linked = self.models.iter().all(|model| {
            let here = u32::from(model.address) == next && model.length > 0;
            next += u32::from(HEADER_LENGTH) + u32::from(model.length);
            here && next <= 65_536
        });
        let first = self.models.first().is_some_and(|model| model.id == COMMON);
        // An end has a header too.
        let ends = self.broken_off.is_some() || next + u32::from(HEADER_LENGTH) <= 65_536;
        linked && ends && first && self.models.len() <= MOST_MODELS && self.has_points()
    }

    /// What shows that the chain is still this: the marker, the headers of what is read, and that it ends where it did,
    /// for a model that was added moves its end. By address; of the end only the id counts.
    pub(super) fn marks(&self) -> Vec<(u16, Mark)> {
        let marker = (self.base, Mark::Pair(super::walk::MARKER));
        let used = self.used().into_iter().map(|used| used.model);
        let headers = used.map(|model| (model.address, Mark::Pair([model.id, model.length])));
        std::iter::once(marker).chain(headers).chain(self.end().map(|end| (end, Mark::End))).collect()
    }

    /// Where the end stands.
    pub(super) fn end(&self) -> Option<u16> {
        let last = self.models.last()?;
        last.address.checked_add(HEADER_LENGTH)?.checked_add(last.length)
    }

    /// An inverter of three phases with a meter behind it, which says nothing of itself.
    pub fn usual() -> Chain {
        Chain::of(40_000, &[(COMMON, 66), (103, 50), (203, 105)])
    }

    /// These models, ids and lengths, one after the other.
    pub fn of(base: u16, models: &[(u16, u16)]) -> Chain {
        let mut at = base.saturating_add(MARKER_LENGTH);
        let place = |(id, length): &(u16, u16)| {
            let model = Model { id: *id, address: at, length: *length };
            at = at.saturating_add(HEADER_LENGTH).saturating_add(*length);
            model
        };
        Chain { base, models: models.iter().map(place).collect(), ..Chain::default() }
    }
}

/// `Acme X1: models 1, 103, 203 at 40000`.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{} {}", self.manufacturer, self.model);
        if !name.trim().is_empty() {
            write!(f, "{}: ", name.trim())?;
        }
        let ids: Vec<String> = self.models.iter().map(|model| model.id.to_string()).collect();
        write!(f, "models {} at {}", ids.join(", "), self.base)?;
        match &self.broken_off {
            Some(why) => write!(f, "; then {why}"),
            None => Ok(()),
        }
    }
}
