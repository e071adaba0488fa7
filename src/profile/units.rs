//! The owner's choice of unit: a profile whose readings leave in another unit than the canonical one.

use super::point::power_of_ten_below;
use super::{Point, Profile, UnitBy, Write};
use crate::model::Decimal;
use crate::model::quantity::{self, Conversion};
use std::collections::BTreeMap;
use std::sync::Arc;

/// By quantity, the unit that its readings leave in; both as the table of quantities has them.
pub type Units = BTreeMap<String, String>;

impl Profile {
    /// The same in the owner's units; itself where they change nothing. `None` where a scale would have more
    /// digits than can be kept exactly.
    pub fn in_units(self: &Arc<Profile>, units: &Units) -> Option<Arc<Profile>> {
        let concerned = |point: &Point| units.get(&point.quantity).is_some_and(|unit| *unit != point.unit);
        if !self.points.iter().any(concerned) {
            return Some(Arc::clone(self));
        }
        let mut profile = Profile::clone(self);
        for point in profile.points.iter_mut().filter(|point| concerned(point) && !point.unit.is_empty()) {
            let quantity = quantity::find(&point.quantity)?;
            let unit = units.get(&point.quantity)?;
            let conversion = quantity.conversion(unit)?.back()?;
            convert(point, &conversion)?;
            point.unit = quantity.sign_of(unit)?.to_owned();
        }
        Some(Arc::new(profile))
    }
}

/// From the canonical unit by one more exact step.
fn convert(point: &mut Point, by: &Conversion) -> Option<()> {
    let step = |step: Decimal| step.scaled(by.ratio).ok();
    if let Some(units) = &point.unit_by {
        // There the code's unit is converted, and scale and offset are in that.
        let units = units.units.iter().map(|(code, unit)| Some((*code, unit.then(by)?)));
        let units = units.collect::<Option<Vec<_>>>()?;
        point.unit_by = point.unit_by.take().map(|given| UnitBy { units, ..given });
    } else {
        point.scale = point.scale.checked_mul(by.ratio).ok()?;
        point.offset = by.apply(point.offset)?;
    }
    point.resolution = match point.resolution {
        Some(given) if by.exact => Some(step(given)?),
        Some(given) => Some(power_of_ten_below(step(given)?)),
        None if by.exact => None,
        None => Some(Decimal::new(1, -9)),
    };
    point.range = match point.range {
        Some((least, most)) => Some((by.apply(least)?, by.apply(most)?)),
        None => None,
    };
    point.rollover = point.rollover.and_then(step);
    point.write = point.write.map(|write| Write {
        least: write.least.and_then(|n| by.apply(n)),
        most: write.most.and_then(|n| by.apply(n)),
        step: write.step.and_then(step),
        ..write
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(points: &str, units: &[(&str, &str)]) -> Arc<Profile> {
        let text = format!("profile: 1\nvendor: A\nmodel: B\nkind: other\npoints:\n{points}");
        let profile = Arc::new(crate::profile::parse("p", "p.yaml", &text).unwrap());
        let units =
            units.iter().map(|(quantity, unit)| ((*quantity).to_owned(), (*unit).to_owned())).collect();
        profile.in_units(&units).unwrap()
    }

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn scale_offset_range_and_resolution_follow_the_unit_exactly() {
        let profile = chosen(
            "  e: { holding: 0, type: u32, quantity: active-energy, unit: Wh, resolution: 10, index: true, rollover: 1000 }
  t: { holding: 2, type: s16, quantity: temperature, unit: °C, scale: 0.1, range: [-40, 85], resolution: 0.1 }
  u: { holding: 3, type: s16, quantity: voltage, unit: V }
",
            &[("active-energy", "Wh"), ("temperature", "°F")],
        );
        let [e, t, u] = profile.points.as_slice() else { panic!() };
        assert_eq!(
            (e.unit.as_str(), e.scale),
            ("Wh", "1".parse().unwrap()),
            "there and back again is nothing"
        );
        assert_eq!((e.resolution, e.rollover), (Some(d("10")), Some(d("1000"))));
        assert_eq!((t.unit.as_str(), t.scale, t.offset), ("°F", "0.18".parse().unwrap(), d("32")));
        assert_eq!(t.range, Some((d("-40"), d("185"))));
        assert_eq!(u.unit, "V");
    }

    #[test]
    fn what_nobody_chooses_otherwise_is_the_same_profile() {
        let profile = chosen("  u: { holding: 3, type: s16, quantity: voltage, unit: V }\n", &[]);
        assert!(Arc::ptr_eq(
            &profile,
            &profile.in_units(&Units::from([("voltage".into(), "V".into())])).unwrap()
        ));
    }
}
