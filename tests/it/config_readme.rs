//! What the documents show as a configuration is one.

use linesman::config::{self, Overlays};
use std::fs;
use std::path::{Path, PathBuf};

/// The ```yaml blocks that are whole configurations, with the profiles exchanged for one that is here.
fn configurations(document: &str) -> Vec<String> {
    let blocks = document.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole = blocks.filter(|block| block.contains("lines:"));
    whole.map(|block| block.lines().map(with_a_profile_of_ours).collect::<Vec<_>>().join("\n")).collect()
}

fn with_a_profile_of_ours(line: &str) -> String {
    let Some((before, after)) = line.split_once("profile: ") else { return line.to_owned() };
    let rest = after.find([',', ' ', '}']).map_or("", |end| &after[end..]);
    format!("{before}profile: acme-x1{rest}")
}

#[test]
fn the_configurations_of_the_readme_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let dirs = [PathBuf::from(root).join("tests/it/golden/config/profiles")];
    let found = configurations(&readme);
    assert!(!found.is_empty(), "the README shows no configuration");
    for text in found {
        let config = config::parse("README.md", &text, &Overlays::default(), root, &dirs);
        assert!(config.is_ok(), "{}\n{text}", config.unwrap_err());
    }
}

/// Those that show upstreams alone, beside a line that is here.
#[test]
fn the_upstreams_of_the_pages_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dirs = [PathBuf::from(root).join("tests/it/golden/config/profiles")];
    let page = fs::read_to_string(root.join("docs/web.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let upstreams: Vec<&str> = blocks.filter(|block| block.starts_with("upstreams:")).collect();
    assert_eq!(upstreams.len(), 3);
    let line = "lines:\n  - { name: l, serial: { port: /dev/x }, devices: [ { name: d, profile: acme-x1, unit: 1 } ] }\n";
    for text in upstreams {
        let text = format!("gateway: {{ id: g }}\n{line}{text}");
        let config = config::parse("docs/web.md", &text, &Overlays::default(), root, &dirs);
        assert!(config.is_ok(), "{}\n{text}", config.unwrap_err());
    }
}

/// The upstreams that the README's table shows, a line each.
fn upstreams(document: &str) -> Vec<String> {
    let table = document.split("## Where it delivers to").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = table.unwrap_or_default().lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    rows.filter_map(|row| Some(row.split('|').nth(2)?.trim().trim_matches('`').to_owned()))
        .filter(|cell| cell != "beside `name:")
        .collect()
}

#[test]
fn every_upstream_of_the_readme_checks_as_it_stands_and_every_kind_has_its_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let dirs = [PathBuf::from(root).join("tests/it/golden/config/profiles")];
    let found = upstreams(&readme);
    for kind in linesman::upstream::Kind::ALL.iter().filter(|kind| **kind != "stdout") {
        assert!(found.iter().any(|row| row.starts_with(&format!("{kind}: "))), "{kind} has no row");
    }
    for upstream in found {
        let text = format!(
            "lines:\n  - name: l\n    serial: {{ port: /dev/ttyS0 }}\n    devices:\n      - {{ name: a, profile: acme-x1, unit: 1 }}\nupstreams:\n  - name: u\n    {upstream}\n"
        );
        let config = config::parse("README.md", &text, &Overlays::default(), root, &dirs);
        assert!(config.is_ok(), "{}\n{text}", config.unwrap_err());
    }
}
