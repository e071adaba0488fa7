//! What `systemd/linesman.service` owes its installer, checked where no systemd is at hand.

use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The settings of a unit, comments left out.
fn settings(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter(|line| !line.starts_with(['#', '[']))
        .filter_map(|line| line.split_once('='))
        .collect()
}

#[test]
fn the_unit_says_what_the_daemon_relies_on() {
    let text = read("linesman.service");
    let settings = settings(&text);
    for wanted in [
        ("Type", "notify"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("RestartPreventExitStatus", "78"),
        ("Restart", "always"),
        ("DevicePolicy", "closed"),
        ("LimitNOFILE", "8192"),
        ("CapabilityBoundingSet", ""),
    ] {
        assert!(settings.contains(&wanted), "{}={} is missing", wanted.0, wanted.1);
    }
    assert!(settings.iter().any(|(key, _)| *key == "WatchdogSec"));
}

#[test]
fn a_reload_checks_the_new_configuration_before_it_asks_for_it() {
    let text = read("linesman.service");
    let reloads: Vec<_> = settings(&text).into_iter().filter(|(key, _)| *key == "ExecReload").collect();
    assert_eq!(reloads.len(), 2);
    assert!(reloads[0].1.contains(" check "), "{}", reloads[0].1);
    assert!(reloads[1].1.contains("-HUP"), "{}", reloads[1].1);
}

#[test]
fn nothing_in_the_unit_stops_a_start_for_want_of_a_file_or_blocks_a_public_broker() {
    let text = read("linesman.service");
    for (key, value) in settings(&text) {
        let forbidden = ["LoadCredential", "IPAddressDeny", "IPAddressAllow", "ProcSubset"].contains(&key);
        assert!(!forbidden, "{key}={value} belongs in a drop-in");
        assert!(!value.contains("network-online.target"), "meters are read without a network too");
    }
}

#[test]
fn every_example_drop_in_is_named_in_the_installers_page() {
    let page = read("README.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/drop-ins");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&name), "systemd/README.md does not name {name}");
    }
}
