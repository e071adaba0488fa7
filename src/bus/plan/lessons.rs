//! What a device has taught about itself that its profile does not say.

use crate::profile::Table;
use std::collections::BTreeSet;

/// Learned of one device, from its refusals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lessons {
    /// Addresses that must not be read in passing: table, first, last (both belong to it).
    pub holes: BTreeSet<(Table, u16, u16)>,
    /// Points (indices into the profile's) that are asked by themselves, and whose registers nobody else reads
    /// in passing.
    pub alone: BTreeSet<usize>,
    /// Most registers in one read, where that is less than the profile says.
    pub max_registers: Option<u16>,
}
