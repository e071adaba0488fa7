//! Whatever stands in a file, reading it ends with an answer.

use linesman::config::{self, Overlays};
use linesman::profile::{self, yaml::node};
use proptest::prelude::*;
use std::path::Path;

const CONFIG: &str = r#"gateway: { id: plant-7 }
lines:
  - name: rs485-1
    serial: { port: /dev/ttyUSB0, baud: 9600, parity: none, stop_bits: 1, framing: rtu }
    every: 30s
    devices:
      - { name: incomer, profile: &p acme-x1, unit: 1, every: 1s, points: { power: { every: 5s } } }
      - { name: second, profile: *p, unit: 0x10, timeout: 300ms, retries: 2, min_gap: 50ms }
spool: { dir: spool, max_size: 1GiB, max_age: 30d, commit_every: 5s, when_full: drop-oldest }
upstreams:
  - name: scada
    mqtt: { url: "mqtt://127.0.0.1:1883", topic: "linesman/{gateway}", encoding: json }
http: { listen: "127.0.0.1:8580" }
"#;

const PROFILE: &str = include_str!("golden/config/profiles/acme-x1.yaml");

/// One octet or one stretch replaced, doubled or left out.
fn mutated(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let len = text.len();
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..4),
        "[-:{}\\[\\],&*#|>'\"%@!? \t\r\n0-9a-z.]{0,6}".prop_map(String::into_bytes),
        Just(b"9999999999999999999999999999999999999999".to_vec()),
        Just(b"1e400".to_vec()),
        Just(b"-0x8000".to_vec()),
        Just("\u{feff}µ°".as_bytes().to_vec()),
    ];
    (0..len, 0..12usize, piece).prop_map(move |(at, cut, piece)| {
        let mut octets = text.as_bytes().to_vec();
        octets.splice(at..(at + cut).min(len), piece);
        octets
    })
}

fn read_config(octets: Vec<u8>) {
    if let Ok(text) = node::decode("linesman.yaml", octets) {
        let profiles = [Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/config/profiles")];
        let answer = config::parse("linesman.yaml", &text, &Overlays::default(), Path::new(""), &profiles);
        let _ = answer.map_err(|problems| {
            assert!(!problems.is_empty());
            problems.to_string()
        });
    }
}

fn read_profile(octets: Vec<u8>) {
    if let Ok(text) = node::decode("profile.yaml", octets) {
        let _ = profile::parse("profile", "profile.yaml", &text).map_err(|problems| {
            assert!(!problems.is_empty());
            problems.to_string()
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mutated_configuration_never_panics(octets in mutated(CONFIG)) {
        read_config(octets);
    }

    #[test]
    fn a_mutated_profile_never_panics(octets in mutated(PROFILE)) {
        read_profile(octets);
    }

    #[test]
    fn any_octets_at_all_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_config(octets.clone());
        read_profile(octets);
    }
}

#[test]
fn the_texts_that_are_mutated_are_right() {
    let profiles = [Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/config/profiles")];
    let config = config::parse("c", CONFIG, &Overlays::default(), Path::new(""), &profiles);
    assert_eq!(config.map(|c| c.lines.len()).map_err(|p| p.to_string()), Ok(1));
    assert_eq!(profile::parse("p", "p", PROFILE).map(|_| ()).map_err(|p| p.to_string()), Ok(()));
}

#[test]
fn a_bomb_of_aliases_is_refused_at_once() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{before}]\n"));
    }
    let problems = profile::parse("bomb", "bomb.yaml", &bomb).unwrap_err().to_string();
    assert!(problems.contains("this alias repeats too much"), "{problems}");
}

#[test]
fn nesting_and_size_have_their_limits() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let problems = profile::parse("deep", "deep.yaml", &deep).unwrap_err().to_string();
    assert!(problems.contains("nested deeper than 32 levels"), "{problems}");
    let large = format!("vendor: {}\n", "x".repeat(9 << 20));
    let problems = profile::parse("large", "large.yaml", &large).unwrap_err().to_string();
    assert!(problems.contains("larger than 8 MiB"), "{problems}");
}
