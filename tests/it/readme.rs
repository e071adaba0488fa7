//! The README is read by people who will type what it says: its configurations load, its links lead somewhere.

use linesman::config::{self, Overlays};
use linesman::profile;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The fenced blocks of one language, without the indentation that a list gave them.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let fence = line.trim_start();
        if fence != format!("```{language}") {
            continue;
        }
        let indent = line.len() - fence.len();
        let body = lines.by_ref().take_while(|line| line.trim() != "```");
        blocks.push(body.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect());
    }
    blocks
}

/// The library by kind, in three columns side by side; and how many profiles have several sources.
fn counts() -> (String, usize) {
    let mut kinds: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut several = 0;
    for name in profile::builtin() {
        let profile = profile::parse(name, name, profile::builtin_text(name).unwrap()).unwrap();
        several += usize::from(profile.sources.len() > 1);
        let confirmed = profile.points.iter().filter(|point| !point.unverified).count();
        for kind in [profile.kind.as_str(), "**all**"] {
            let sums = kinds.entry(kind.to_owned()).or_default();
            *sums = [sums[0] + 1, sums[1] + profile.points.len(), sums[2] + confirmed];
        }
    }
    let mut cells: Vec<(String, [usize; 3])> = kinds.into_iter().collect();
    cells.sort_by_key(|(_, [devices, points, _])| std::cmp::Reverse((*devices, *points)));
    let rows = cells.len().div_ceil(3);
    let mut table = format!(
        "{}|\n{}|\n",
        "| kind | devices | points | confirmed ".repeat(3),
        "| --- | ---: | ---: | ---: ".repeat(3)
    );
    for row in 0..rows {
        for column in 0..3 {
            match cells.get(column * rows + row) {
                Some((kind, [devices, points, confirmed])) => {
                    table += &format!("| {kind} | {devices} | {points} | {confirmed} ");
                }
                None => table += "| | | | ",
            }
        }
        table += "|\n";
    }
    (table, several)
}

#[test]
fn the_library_is_counted_in_the_readme_as_it_is() {
    let (counts, several) = counts();
    assert!(page("README.md").contains(&format!(" {several} of them from two sources or more")), "{several}");
    assert!(counts.lines().count() > 4, "{counts}");
    assert!(page("README.md").contains(&format!("\n\n{counts}\n")), "put this into README.md:\n{counts}");
}

/// Text and target of every link to a file of this repository.
fn links(page: &str) -> Vec<(String, String)> {
    let mut links = Vec::new();
    for (start, _) in page.match_indices("](") {
        let text = page[..start].rsplit('[').next().unwrap_or_default().to_owned();
        let target = page[start + 2..].split(')').next().unwrap_or_default();
        if !target.contains("://") {
            links.push((text, target.split('#').next().unwrap_or_default().to_owned()));
        }
    }
    links
}

#[test]
fn every_configuration_in_the_readme_and_of_payloads_loads() {
    let mut found = blocks(&page("README.md"), "yaml");
    assert!(!found.is_empty(), "the blocks were not found");
    let payloads = blocks(&page("docs/payloads.md"), "yaml");
    assert!(!payloads.is_empty(), "docs/payloads.md shows no configuration");
    found.extend(payloads);
    for block in found {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("linesman.yaml");
        fs::write(&file, &block).unwrap();
        fs::create_dir(folder.path().join("secrets")).unwrap();
        fs::write(folder.path().join("secrets/mqtt"), "a password").unwrap();
        let loaded = config::load(&file, &Overlays::default());
        let config = loaded.unwrap_or_else(|problems| panic!("{problems}\nin the README's\n{block}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn the_upstream_that_the_sparkplug_page_shows_loads() {
    let found = blocks(&page("docs/sparkplug.md"), "yaml");
    assert_eq!(found.len(), 1);
    let line = "lines:\n  - name: a\n    tcp: { address: \"10.0.0.5\" }\n    devices:\n      - { name: m, profile: eastron-sdm630, unit: 1 }\n";
    let loaded = config::parse("page", &format!("{line}{}", found[0]), &Overlays::default(), root(), &[]);
    assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
}

#[test]
fn the_readme_is_no_longer_than_two_hundred_lines() {
    assert!(page("README.md").lines().count() <= 200);
}

#[test]
fn every_link_leads_to_a_file_and_every_promise_to_its_test() {
    for (folder, name) in [
        ("", "README.md"),
        ("systemd/", "systemd/README.md"),
        ("tests/", "tests/README.md"),
        ("profiles/", "profiles/README.md"),
        ("docs/", "docs/capture.md"),
        ("docs/", "docs/payloads.md"),
        ("docs/", "docs/commissioning.md"),
    ] {
        for (text, target) in links(&page(name)) {
            let path = root().join(folder).join(&target);
            assert!(path.exists(), "{name}: {target} is not there");
            if let Some(test) = text.strip_prefix('`').and_then(|text| text.strip_suffix('`'))
                && target.ends_with(".rs")
            {
                let source = fs::read_to_string(&path).unwrap();
                assert!(source.contains(&format!("fn {test}(")), "{name}: {target} has no test {test}");
            }
        }
    }
    let readme = page("README.md");
    let promises = readme.split("## Five promises").nth(1).unwrap().split("\n## ").next().unwrap();
    for number in 1..=5 {
        let promise = promises.split(&format!("\n{number}. ")).nth(1).unwrap();
        let promise = promise.split(&format!("\n{}. ", number + 1)).next().unwrap();
        assert!(promise.contains("](tests/"), "promise {number} has no test");
    }
}

/// The words that follow `linesman` where a command is shown.
fn commands(page: &str) -> Vec<String> {
    let shown = page.split('`').skip(1).step_by(2).flat_map(str::lines);
    let words = shown
        .filter_map(|line| line.trim().strip_prefix("linesman "))
        .map(|rest| rest.split(' ').next().unwrap());
    words.map(str::to_owned).collect()
}

#[test]
fn the_commands_that_the_pages_show_exist() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_linesman")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let known: Vec<&str> =
        help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let shown = commands(&page("README.md"));
    assert!(shown.len() >= 8, "{shown:?}");
    let others = ["systemd/README.md", "docs/capture.md", "docs/commissioning.md", "docs/payloads.md"]
        .map(page)
        .map(|page| commands(&page));
    for command in shown.into_iter().chain(others.concat()) {
        assert!(known.contains(&command.as_str()), "linesman has no command {command}: {known:?}");
    }
}
