//! What a meter says where it has nothing to say: no shipped profile lets that pass for a number.

use crate::common::octets::on_the_wire;
use linesman::model::Bad;
use linesman::normalize;
use linesman::profile::{self, Format, Sentinel};
use std::path::Path;

/// Not numbers, whatever a profile says of them.
fn never_numbers(format: Format) -> Vec<u64> {
    let single = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|n| u64::from(n.to_bits()));
    let double = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(f64::to_bits);
    // Signalling, and with all bits set, too.
    match (format == Format::F32, format == Format::F64) {
        (true, _) => [&single[..], &[0x7F80_0001, 0xFFFF_FFFF]].concat(),
        (_, true) => [&double[..], &[0x7FF0_0000_0000_0001, u64::MAX]].concat(),
        (false, false) => Vec::new(),
    }
}

#[test]
fn no_sentinel_of_any_register_of_any_shipped_profile_is_a_number() {
    let (mut named, mut floats) = (0, 0);
    for name in profile::builtin() {
        let profile = profile::find(name, Path::new("."), &[]).unwrap();
        // What needs other registers is bad without them anyway.
        for point in profile.points.iter().filter(|point| point.stands_alone()) {
            let of_profile = point.invalid.iter().filter_map(|(sentinel, bad)| match sentinel {
                Sentinel::Bits(bits) => Some((*bits, *bad)),
                Sentinel::Nan => None,
            });
            let of_profile: Vec<(u64, Bad)> = of_profile.collect();
            let of_format = never_numbers(point.format).into_iter().map(|bits| (bits, Bad::Invalid));
            let of_format: Vec<(u64, Bad)> = of_format.collect();
            (named, floats) = (named + of_profile.len(), floats + of_format.len());
            for (bits, bad) in of_profile.into_iter().chain(of_format) {
                let sample = normalize::sample(point, &on_the_wire(point, bits));
                assert_eq!(sample, Err(bad), "{name} {}: {bits:#x}", point.name);
            }
        }
    }
    assert!(named >= 20 && floats >= 100, "{named} sentinels, {floats} of floats");
}
