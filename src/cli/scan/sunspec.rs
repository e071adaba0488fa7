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
