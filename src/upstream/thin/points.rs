//! What is said by point: for all, or by the names of quantities, devices, points.

use std::collections::BTreeMap;

/// The most specific wins: `device.point`, the point, the device, the quantity, all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByPoint<T> {
    pub all: Option<T>,
    pub named: BTreeMap<String, T>,
}

impl<T> Default for ByPoint<T> {
    fn default() -> ByPoint<T> {
        ByPoint { all: None, named: BTreeMap::new() }
    }
}

impl<T> ByPoint<T> {
    pub fn of(&self, device: &str, point: &str, quantity: &str) -> Option<&T> {
        let one = |name: &str| self.named.get(name);
        one(&format!("{device}.{point}"))
            .or_else(|| one(point))
            .or_else(|| one(device))
            .or_else(|| one(quantity))
            .or(self.all.as_ref())
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.named.is_empty()
    }
}
