//! How often each point is read: what the owner says, what the profile says, and what points owe to others.

use super::{Every, Point, Profile, Units};
use crate::model::Name;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the owner's configuration says of a device that concerns its points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// For the device's points by name, …
    pub points: Vec<(Name, Every)>,
    /// … for all of them, …
    pub device: Option<Every>,
    /// … and where neither these nor the profile say anything.
    pub otherwise: Every,
    /// The units that readings leave in, where they are not the canonical ones.
    pub units: Units,
}

impl Wishes {
    /// The same period for all points, and canonical units.
    pub fn all(every: Every) -> Wishes {
        Wishes { points: Vec::new(), device: None, otherwise: every, units: Units::new() }
    }

    fn of(&self, point: &Point) -> Option<Every> {
        self.points.iter().find(|(name, _)| *name == point.name).map(|(_, every)| *every)
    }

    /// What is read of a device of which nothing more is known.
    pub fn usual(&self) -> Every {
        self.device.unwrap_or(self.otherwise)
    }

    /// The period of each point: the owner's for the point, for the device, the profile's, that of the line.
    pub fn periods(&self, profile: &Profile) -> Vec<Every> {
        let own = |point: &Point| self.of(point);
        // Whoever reads a device each second does not mean its maker's name; of a profile's file he sees what he does.
        let device = |point: &Point| match (point.every, self.device) {
            (Some(own), Some(device)) if profile.walks && length(own) > length(device) => Some(own),
            _ => self.device,
        };
        let period = |point: &Point| own(point).or(device(point)).or(point.every).unwrap_or(self.otherwise);
        let mut periods: Vec<Every> = profile.points.iter().map(period).collect();
        follow(profile, &mut periods, &|point| own(point).is_some() || point.every.is_some());
        periods
    }

    /// A profile that was found only now, in the owner's units and with its periods. Where a unit would take more digits
    /// than can be kept exactly the canonical ones stay.
    pub fn fit(&self, found: Profile) -> (Arc<Profile>, Vec<Every>) {
        let found = Arc::new(found);
        let profile = found.in_units(&self.units).unwrap_or(found);
        let periods = self.periods(&profile);
        (profile, periods)
    }
}

fn length(every: Every) -> Duration {
    match every {
        Every::Period(period) => period,
        Every::Continuous => Duration::ZERO,
    }
}

/// What others need and that has no period of its own is read as often as the first of them.
fn follow(profile: &Profile, periods: &mut [Every], has_own: &dyn Fn(&Point) -> bool) {
    let mut fastest: BTreeMap<usize, Every> = BTreeMap::new();
    for (point, every) in profile.points.iter().zip(periods.iter()) {
        for needed in point.needs().all() {
            let known = fastest.entry(needed).or_insert(*every);
            *known = if length(*every) < length(*known) { *every } else { *known };
        }
    }
    for (needed, every) in fastest {
        let follows = profile.points.get(needed).is_some_and(|point| !has_own(point));
        if let (true, Some(period)) = (follows, periods.get_mut(needed)) {
            *period = every;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::sunspec::Chain;

    fn seconds(n: u64) -> Every {
        Every::Period(Duration::from_secs(n))
    }

    #[test]
    fn what_was_found_is_read_as_the_owner_wishes_and_who_it_is_each_hour() {
        let wishes = Wishes {
            points: vec![("meter_active_power".parse().unwrap(), seconds(1))],
            device: Some(seconds(5)),
            otherwise: seconds(10),
            units: Units::from([("active-energy".to_owned(), "Wh".to_owned())]),
        };
        let (profile, every) = wishes.fit(Chain::usual().profile());
        let at = |name: &str| profile.points.iter().position(|point| point.name.as_str() == name).unwrap();
        let of = |name: &str| every[at(name)];
        assert_eq!((of("active_power_export"), of("meter_active_power")), (seconds(5), seconds(1)));
        assert_eq!(
            (of("serial_number"), of("meter_w_sf"), of("w_sf")),
            (seconds(3600), seconds(1), seconds(5))
        );
        assert_eq!(profile.points[at("energy_export")].unit, "Wh");
        let line = Wishes { device: None, ..wishes };
        assert_eq!((line.usual(), line.periods(&profile)[4]), (seconds(10), seconds(10)));
    }
}
