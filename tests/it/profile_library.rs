//! Every shipped profile, and how profiles are found.

use linesman::profile::{self, builtin, builtin_text, notation};
use std::fs;
use std::path::Path;

#[test]
fn every_shipped_profile_is_right_and_says_where_its_facts_come_from() {
    for name in builtin() {
        let text = builtin_text(name).unwrap();
        let file = format!("profiles/{name}.yaml");
        let profile = profile::parse(name, &file, text).map_err(|problems| problems.to_string()).unwrap();
        assert!(!profile.sources.is_empty(), "{file} has no sources");
        assert!(notation(text).is_empty(), "{file}: shipped profiles use addresses as on the wire");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}");
        assert!(!profile.points.is_empty(), "{file} has no point");
    }
}

#[test]
fn the_owners_profile_wins_over_the_shipped_one_and_a_path_over_both() {
    let text = include_str!("golden/config/profiles/acme-x1.yaml");
    let (base, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dirs = [own.path().to_path_buf()];
    let vendor = |wanted: &str| profile::find(wanted, base.path(), &dirs).map(|p| p.vendor.clone());
    fs::write(base.path().join("acme-x1.yaml"), text.replace("Acme", "Path")).unwrap();
    assert!(vendor("acme-x1").is_err(), "a bare name is no file beside the configuration");
    fs::write(own.path().join("acme-x1.yaml"), text.replace("Acme", "Own")).unwrap();
    assert_eq!(vendor("acme-x1").unwrap(), "Own");
    assert_eq!(vendor("./acme-x1.yaml").unwrap(), "Path");
    assert_eq!(vendor("acme-x1.yaml").unwrap(), "Path");
    if let Some(shipped) = builtin().next() {
        assert_ne!(vendor(shipped).unwrap(), "Own");
        fs::write(own.path().join(format!("{shipped}.yaml")), text.replace("Acme", "Own")).unwrap();
        assert_eq!(vendor(shipped).unwrap(), "Own");
    }
}

#[test]
fn an_endless_file_is_refused() {
    let problems = profile::find("/dev/zero", Path::new(""), &[]).unwrap_err();
    assert!(problems.to_string().contains("larger than"), "{problems}");
}
