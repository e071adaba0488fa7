//! What a point's value owes to other points and to the installation.

use super::{Point, Profile};
use crate::model::quantity::Conversion;
use crate::model::{Decimal, Name};
use std::sync::Arc;

/// A number that the installation adds and the meter does not say: a transformer's ratio, litres a pulse.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: Name,
    /// The configuration's, else the profile's default; none where neither gives one.
    pub value: Option<Decimal>,
    pub least: Option<Decimal>,
    pub most: Option<Decimal>,
    pub about: String,
}

/// What scales a value beside `scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor {
    pub of: Operand,
    pub how: How,
}

/// Where a factor comes from: an index into the profile's points or parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    Point(usize),
    Parameter(usize),
}

/// What a factor does to the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum How {
    #[default]
    Times,
    Divided,
    /// × 10^n, n a whole number, perhaps negative.
    Exponent,
    /// ÷ 10^n.
    Decimals,
}

/// The point that says whether a value is negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignBy {
    pub point: usize,
    /// Its codes that mean negative; where it has none, all but zero.
    pub negative: Vec<i128>,
}

/// The point whose code says in which unit a value is.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitBy {
    pub point: usize,
    /// From each code's unit to the canonical one.
    pub units: Vec<(i128, Conversion)>,
}

/// Some bits of a register, as a number of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitField {
    /// The lowest bit.
    pub shift: u8,
    pub width: u8,
}

/// What could be written. It allows nothing by itself: the owner has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Write {
    /// In the canonical unit.
    pub least: Option<Decimal>,
    pub most: Option<Decimal>,
    pub step: Option<Decimal>,
    /// Function 15 or 16, where 05 or 06 would do as well.
    pub multiple: bool,
}

impl Point {
    /// The points that this one's value is made with: what has to come from the same scan, then what may be
    /// older where it is read more rarely.
    pub fn needs(&self) -> Needs {
        let same_scan = self.sign_by.iter().map(|sign| sign.point).chain(self.plus.iter().copied());
        let factors = self.scale_by.iter().filter_map(|factor| match factor.of {
            Operand::Point(point) => Some(point),
            Operand::Parameter(_) => None,
        });
        let cached = factors.chain(self.unit_by.iter().map(|unit| unit.point));
        Needs { same_scan: same_scan.collect(), cached: cached.collect() }
    }

    /// What its total is called beside it; the reader has checked that it is a name.
    pub fn total_name(&self) -> Option<Name> {
        format!("{}_total", self.name).parse().ok()
    }

    /// Its octets alone say what it is worth.
    pub fn stands_alone(&self) -> bool {
        self.scale_by.is_empty() && self.sign_by.is_none() && self.unit_by.is_none() && self.plus.is_empty()
    }
}

/// Indices into the profile's points.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    pub same_scan: Vec<usize>,
    pub cached: Vec<usize>,
}

impl Needs {
    pub fn all(&self) -> impl Iterator<Item = usize> {
        self.same_scan.iter().chain(&self.cached).copied()
    }
}

impl Profile {
    /// The same with these values for its parameters; itself where there are none to set.
    pub fn with_parameters(self: &Arc<Profile>, values: &[(Name, Decimal)]) -> Arc<Profile> {
        if values.is_empty() {
            return Arc::clone(self);
        }
        let mut profile = Profile::clone(self);
        for parameter in &mut profile.parameters {
            let given = values.iter().find(|(name, _)| *name == parameter.name);
            parameter.value = given.map(|(_, value)| *value).or(parameter.value);
        }
        Arc::new(profile)
    }
}
