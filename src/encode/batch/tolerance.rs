//! How much of a value may be lost to save octets.

use crate::model::{Decimal, PointInfo};
use std::collections::BTreeMap;

/// Counters are exact whatever is set: what they count is billed by their differences.
const COUNTERS: &[&str] = &[
    "active-energy",
    "reactive-energy",
    "apparent-energy",
    "dc-energy",
    "heat-energy",
    "charge",
    "volume",
    "mass",
];

/// ± so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerance {
    /// In the unit in which the point's readings leave.
    Absolute(Decimal),
    /// Per cent of the span of the profile's `range`; points without a range stay exact.
    Percent(Decimal),
}

/// By point, else by quantity, else for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tolerances {
    pub all: Option<Tolerance>,
    /// Names of points, and of quantities.
    pub named: BTreeMap<String, Tolerance>,
}

impl Tolerances {
    /// The most by which this point's values may be off; `None`: not at all.
    pub fn of(&self, point: &PointInfo) -> Option<Decimal> {
        if is_counter(point) {
            return None;
        }
        let named = self.named.get(point.name.as_str()).or_else(|| self.named.get(&point.quantity));
        let most = match named.copied().or(self.all)? {
            Tolerance::Absolute(most) => most,
            Tolerance::Percent(share) => {
                let (least, most) = point.range?;
                let span = most.checked_sub(least).ok()?;
                span.checked_mul(share).ok()?.checked_mul(Decimal::new(1, -2)).ok()?
            }
        };
        (most > Decimal::ZERO).then_some(most)
    }
}

/// Whether no tolerance applies to this point.
pub fn is_counter(point: &PointInfo) -> bool {
    point.index || COUNTERS.contains(&point.quantity.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::site;

    #[test]
    fn a_point_wins_over_its_quantity_and_that_over_all_and_counters_are_exact() {
        let mut point = site().devices[0].points[0].clone();
        point.range = Some(("-100".parse().unwrap(), "300".parse().unwrap()));
        let absolute = |text: &str| Tolerance::Absolute(text.parse().unwrap());
        let mut set =
            Tolerances { all: Some(Tolerance::Percent("0.25".parse().unwrap())), ..Tolerances::default() };
        assert_eq!(set.of(&point), Some("1".parse().unwrap()));
        set.named.insert("voltage".into(), absolute("0.5"));
        assert_eq!(set.of(&point), Some("0.5".parse().unwrap()));
        set.named.insert("u".into(), absolute("0"));
        assert_eq!(set.of(&point), None);
        set.named.clear();
        point.index = true;
        assert_eq!(set.of(&point), None);
        (point.index, point.range) = (false, None);
        assert_eq!(set.of(&point), None);
    }
}
