//! A device that begins with `SunS`: the chain of its models says what it is.
//!
//! It is looked for once the name and the fingerprints have been asked. What it finds goes before all profiles of the
//! library but one: that to which the device's own name or a fingerprint points, and which fits when it is read as a
//! whole. Whoever has written that knew the device, and mostly more of it than SunSpec has.

use super::fit::{Evidence, Fit};
use crate::profile::sunspec::Chain;
use std::sync::Arc;

/// A marker, a chain of whole links and a model that is known are no chance; but nobody has looked at the label.
const CONFIDENCE: f64 = 0.99;

/// The fit of such a device.
pub(super) fn fit(chain: &Chain) -> Fit {
    let profile = Arc::new(chain.profile());
    let known = profile.points.len();
    Fit { profile, evidence: f64::from(u8::MAX), quality: 1.0, known, confidence: CONFIDENCE }
}

/// What the common model says, as far as the device has not said it in another way.
pub(super) fn add_name(chain: &Chain, evidence: &mut Evidence) {
    let said = [
        ("vendor", &chain.manufacturer),
        ("model", &chain.model),
        ("revision", &chain.version),
        ("serial_number", &chain.serial),
    ];
    for (key, text) in said {
        if !text.is_empty() && evidence.identity.iter().all(|(known, _)| *known != key) {
            evidence.identity.push((key, text.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::scan::{Asks, Found, How};
    use crate::bus::{Failure, WireCost};
    use crate::cli::scan::identify::{Identified, identify};
    use crate::modbus::{Ask, AskReply};
    use crate::model::Timestamp;
    use crate::profile::{self, Profile, sunspec};
    use crate::sim::Meter;
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_764_072_345_000);

    /// Registers of its maker's own, and a SunSpec map far above them; how often each question was asked.
    struct Both {
        own: Option<Meter>,
        map: Meter,
        asked: BTreeMap<Vec<u8>, usize>,
    }

    impl Asks for Both {
        fn ask(&mut self, unit: u8, ask: Ask, _: Duration) -> Result<Vec<u8>, Failure> {
            *self.asked.entry(ask.pdu().to_vec()).or_default() += 1;
            let high = matches!(&ask, Ask::Read(request) if request.address() >= 40_000);
            let meter = if high { &mut self.map } else { self.own.as_mut().unwrap_or(&mut self.map) };
            let pdu = meter.answer(&ask.pdu(), NOW);
            match ask.read_reply(&pdu).unwrap() {
                AskReply::Data(data) => Ok(data.to_vec()),
                AskReply::Exception(code) => Err(Failure::Exception { unit, code }),
            }
        }
    }

    fn known(own: Option<&str>) -> Identified {
        let find = |name: &str| profile::find(name, Path::new("."), &[]).unwrap();
        let library: Vec<Arc<Profile>> =
            ["abb-b23-b24", "eastron-sdm120", "eastron-sdm630"].map(find).to_vec();
        let own = own.map(|name| Meter::new(find(name), 1, 3));
        let map = Meter::new(Arc::new(sunspec::unwalked()), 1, 3);
        let mut device = Both { own, map, asked: BTreeMap::new() };
        let found = Found { settings: None, unit: 1, how: How::Answered, latency: Duration::from_millis(5) };
        let identified = identify(&mut device, found, WireCost::tcp(), &library).unwrap();
        let marker = [3, 0x9C, 0x40, 0, 2].to_vec();
        assert_eq!(device.asked.get(&marker), Some(&1), "{:?}", device.asked);
        identified
    }

    fn names(identified: &Identified) -> Vec<&str> {
        identified.fits.iter().map(|fit| fit.profile.name.as_str()).collect()
    }

    #[test]
    fn a_chain_goes_before_the_library_but_not_before_a_profile_that_the_device_names() {
        let plain = known(None);
        assert_eq!(names(&plain)[0], "sunspec");
        assert_eq!((plain.fits[0].confidence, plain.fits[0].profile.vendor.as_str()), (0.99, "linesman"));
        assert!(plain.evidence.identity.contains(&("serial_number", "SIM0001".to_owned())));
        let both = known(Some("eastron-sdm630"));
        assert_eq!(names(&both)[..2], ["eastron-sdm630", "sunspec"]);
        assert!(both.notes.iter().any(|note| note.contains("models 1, 103, 64120, 203 at 40000")));
    }
}
