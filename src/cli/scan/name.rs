//! Who a device says it is, and which profile goes by that name.

use crate::bus::Failure;
use crate::bus::scan::Asks;
use crate::modbus::{Ask, IdLevel, IdentificationReply, ServerIdReply};
use crate::profile::Profile;
use std::time::Duration;

/// By key of the JSON: `vendor`, `product_code` …
pub(super) type Identity = Vec<(&'static str, String)>;

/// The objects of Read Device Identification that have a name (V1.1b3, 6.21).
const OBJECTS: [&str; 7] =
    ["vendor", "product_code", "revision", "url", "product_name", "model", "application"];
/// An identification has so many parts at most.
const PARTS: usize = 8;
/// What a letter of a name counts as at least, so that "em" or "3" is no name.
const SHORTEST: usize = 4;

/// Asks by both functions. What a device does not know it refuses, or is silent about.
pub(super) fn ask(device: &mut dyn Asks, unit: u8, patience: Duration) -> Result<Identity, Failure> {
    let mut identity = Identity::new();
    for level in [IdLevel::Regular, IdLevel::Basic] {
        match objects(device, unit, level, patience) {
            Ok(objects) => {
                identity = objects;
                break;
            }
            // The level is too high for it.
            Err(Failure::Exception { code: 2 | 3, .. }) => {}
            Err(failure @ Failure::Port { .. }) => return Err(failure),
            Err(_) => break,
        }
    }
    match device.ask(unit, Ask::ServerId, patience) {
        Ok(data) => {
            let text = ServerIdReply::parse(&data).text();
            if !text.is_empty() {
                identity.push(("server_id", text));
            }
        }
        Err(failure @ Failure::Port { .. }) => return Err(failure),
        Err(_) => {}
    }
    Ok(identity)
}

fn objects(device: &mut dyn Asks, unit: u8, level: IdLevel, patience: Duration) -> Result<Identity, Failure> {
    let (mut identity, mut object) = (Identity::new(), 0);
    for _ in 0..PARTS {
        let data = device.ask(unit, Ask::Identification { level, object }, patience)?;
        let Some(reply) = IdentificationReply::parse(&data) else { break };
        for (id, text) in reply.objects {
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            if let (Some(key), false) = (OBJECTS.get(usize::from(id)), text.trim().is_empty()) {
                identity.push((key, text.trim().to_owned()));
            }
        }
        match reply.more_follows {
            Some(next) if next > object => object = next,
            Some(_) | None => break,
        }
    }
    Ok(identity)
}

/// What the name says for this profile, in the unit of [`super::physics::Verdict::evidence`].
pub(super) fn evidence(identity: &Identity, profile: &Profile) -> f64 {
    let said: String = identity.iter().map(|(_, text)| plain(text)).collect::<Vec<_>>().join(" ");
    if said.is_empty() {
        return 0.0;
    }
    let has = |word: &str| !word.is_empty() && said.contains(&plain(word));
    let mut evidence = 0.0;
    if identity.iter().any(|(_, text)| *text == profile.name) {
        evidence += 8.0;
    }
    if has(&profile.vendor) {
        evidence += 1.5;
    }
    // A model's name has digits; each of several in a profile may be the one.
    let words = profile.model.split(|c: char| !c.is_alphanumeric() && c != '.');
    let model = words.filter(|word| word.len() >= SHORTEST && word.chars().any(|c| c.is_ascii_digit()));
    if model.into_iter().any(has) {
        evidence += 5.0;
    }
    evidence
}

/// Letters and digits only, all small.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;
    use std::path::Path;

    #[test]
    fn a_name_is_known_however_it_is_written() {
        let of = |name: &str, said: &str| {
            let profile = profile::find(name, Path::new("."), &[]).unwrap();
            evidence(&vec![("server_id", said.to_owned())], &profile)
        };
        assert!(of("eastron-sdm630", "EASTRON sdm-630 modbus") > 6.0);
        assert!(of("siemens-pac2200", "Siemens AG, SENTRON PAC2200") > 6.0);
        assert!(of("siemens-pac2200", "Siemens AG, PAC3200") < 2.0);
        assert!(of("eastron-sdm120", "eastron-sdm120") > 8.0);
        assert!(of("eastron-sdm120", "") == 0.0);
    }
}
