//! The arrows between the rooms, and what every source file owes its reader.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms it may name. `*` may name every room.
/// This table may change: on purpose, with a reason in the commit.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("profile", &["model"]),
    ("modbus", &[]),
    ("bus", &["model", "profile", "modbus"]),
    ("normalize", &["model", "profile", "bus"]), // of bus, its types only
    ("record", &["model"]),
    ("spool", &["record"]), // of record, the packing only: octets in, octets out
    ("encode", &["model"]),
    ("upstream", &["model", "record", "encode", "spool", "uplink"]),
    ("uplink", &["model"]),
    ("rules", &["model"]),
    ("control", &["model", "profile", "bus"]),
    ("serve", &["model", "modbus", "record", "spool", "control"]),
    ("sim", &["model", "profile", "modbus"]),
    ("config", &["*"]),
    ("app", &["*"]),
    ("cli", &["*"]),
    ("lib", &["*"]),
    ("main", &["*"]),
];

/// Longest source file, counted up to its tests.
const LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The room a file belongs to: the first folder below `src`, or the file itself.
fn room(path: &Path) -> String {
    let relative = path.strip_prefix(root()).unwrap().with_extension("");
    relative.iter().next().unwrap().to_str().unwrap().to_owned()
}

/// A line without its comment: what is said in prose is no arrow.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The rooms that a line of code names, by `crate::room`, `crate::{room, …}` or, from the binary, `linesman::room`.
fn named(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for prefix in ["crate::", "linesman::"] {
        for rest in code(line).split(prefix).skip(1) {
            let group = rest.strip_prefix('{').map(|rest| rest.split('}').next().unwrap_or(rest));
            for path in group.unwrap_or(rest).split(',').take(if group.is_some() { usize::MAX } else { 1 }) {
                let word: String =
                    path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !word.is_empty() {
                    rooms.push(word);
                }
            }
        }
    }
    rooms
}

/// The arrows of one file that are not in the table.
fn forbidden(file: &str, room: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{file}: the room {room} is not in the table of arrows")];
    };
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        if code(line).contains("super::super") {
            found.push(format!("{place}: super::super hides an arrow; write crate::room"));
        }
        for target in named(line) {
            let known = ARROWS.iter().any(|(name, _)| *name == target);
            if known && target != room && !allowed.contains(&"*") && !allowed.contains(&target.as_str()) {
                found.push(format!("{place}: {room} may not name {target}"));
            }
        }
    }
    found
}

#[test]
fn the_arrows_between_rooms_are_those_of_the_table() {
    let mut found = Vec::new();
    for path in sources(&root()) {
        let text = fs::read_to_string(&path).unwrap();
        found.extend(forbidden(&path.display().to_string(), &room(&path), &text));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn an_arrow_that_is_not_in_the_table_is_found_in_every_spelling() {
    for spelling in [
        "use crate::bus::Scan;",
        "use crate::{model::Name, bus::Scan};",
        "fn f(scan: &crate::bus::Scan) {}",
        "use linesman::bus::Scan;",
        "use super::super::bus::Scan;",
    ] {
        assert!(!forbidden("a.rs", "spool", spelling).is_empty(), "{spelling}");
        let inside = spelling.contains("super::super");
        assert_eq!(forbidden("a.rs", "app", spelling).is_empty(), !inside, "{spelling}");
    }
    assert!(forbidden("a.rs", "spool", "// as crate::bus does").is_empty());
    assert!(!forbidden("a.rs", "attic", "").is_empty(), "a room that nobody has drawn");
}

#[test]
fn every_file_opens_with_a_sentence_about_its_job() {
    for path in sources(&root()) {
        let text = fs::read_to_string(&path).unwrap();
        let empty = text.trim().is_empty();
        assert!(empty || text.starts_with("//! "), "{}: say in `//!` what this file is for", path.display());
    }
}

#[test]
fn no_file_is_longer_than_a_sitting() {
    for path in sources(&root()) {
        let text = fs::read_to_string(&path).unwrap();
        let product = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().lines().count();
        assert!(product <= LINES, "{}: {product} lines before its tests, {LINES} at most", path.display());
    }
}

/// The only file that may have `unsafe` in it.
const UNSAFE: &str = "src/bus/port/ioctl.rs";

/// The lines with `unsafe` as a word of the code, and whether a sentence about safety stands just above.
fn unsafe_lines(text: &str) -> Vec<(usize, bool)> {
    let lines: Vec<&str> = text.lines().collect();
    let is_word = |line: &str| {
        let mut words = code(line).split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == "unsafe")
    };
    let explained = |number: usize| {
        let above = lines[..number].iter().rev().take_while(|line| line.trim().starts_with("//"));
        above.into_iter().any(|line| line.trim().starts_with("// SAFETY: "))
    };
    let found = lines.iter().enumerate().filter(|(_, line)| is_word(line));
    found.map(|(number, _)| (number + 1, explained(number))).collect()
}

#[test]
fn unsafe_stands_in_one_file_and_each_with_its_reason() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all: Vec<PathBuf> = vec![crate_root.join("build.rs")];
    for folder in ["src", "tests", "benches"] {
        all.extend(sources(&crate_root.join(folder)));
    }
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        let ours = path == crate_root.join(UNSAFE);
        let here = path == crate_root.join(file!());
        for (line, explained) in unsafe_lines(&text) {
            assert!(ours && explained || here, "{}:{line}: `unsafe`", path.display());
        }
        assert!(!ours || !unsafe_lines(&text).is_empty(), "{UNSAFE} has none: forbid it in Cargo.toml");
    }
}

#[test]
fn unsafe_is_found_wherever_it_stands() {
    let text = "// unsafe\nfn a() { unsafe { b() } }\n#![expect(unsafe_code)]\n// SAFETY: it is.\n// So.\nunsafe { c() }\n";
    assert_eq!(unsafe_lines(text), [(2, false), (6, true)]);
}

/// The constructors of queues in a file's code before its tests, each with what stands between its parentheses.
fn queues(text: &str) -> Vec<(usize, String)> {
    let code_of_it = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for (number, line) in code_of_it.lines().enumerate() {
        for kind in ["unbounded_channel", "sync_channel", "mpsc::channel", "broadcast::channel"] {
            let Some((_, rest)) = code(line).split_once(kind) else { continue };
            // Named without being called: in a `use`, or as a type.
            if line.trim_start().starts_with("use ") || !rest.contains('(') {
                continue;
            }
            let length =
                rest.rsplit_once('(').map_or("", |(_, rest)| rest.split([')', ',']).next().unwrap_or(""));
            found.push((number + 1, format!("{kind}({length})")));
        }
    }
    found
}

/// Whether a constant of that name stands in the file under a sentence that says why it is so long.
fn is_explained(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let at =
        lines.iter().position(|line| line.trim_start_matches("pub ").starts_with(&format!("const {name}:")));
    at.is_some_and(|at| at > 0 && lines[at - 1].starts_with("///"))
}

#[test]
fn every_queue_is_bounded_by_a_constant_with_a_sentence() {
    let (mut found, mut seen) = (Vec::new(), 0);
    for path in sources(&root()) {
        if path.components().any(|part| part.as_os_str().to_string_lossy().ends_with("_tests")) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (line, queue) in queues(&text) {
            seen += 1;
            let length = queue.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
            // A queue of no length is a handshake.
            if queue.starts_with("unbounded") || (length != "0" && !is_explained(&text, length)) {
                found.push(format!("{}:{line}: {queue}", path.display()));
            }
        }
    }
    assert!(found.is_empty() && seen >= 6, "{seen} queues\n{}", found.join("\n"));
}

#[test]
fn a_queue_without_a_bound_or_a_sentence_is_found() {
    let text =
        "let a = mpsc::unbounded_channel();\nlet b = mpsc::channel(7);\nlet c = mpsc::channel::<u8>(BARE);\n";
    let found: Vec<String> = queues(text).into_iter().map(|(_, queue)| queue).collect();
    assert_eq!(found, ["unbounded_channel()", "mpsc::channel(7)", "mpsc::channel(BARE)"]);
    assert!(!is_explained("const BARE: usize = 7;", "BARE") && !is_explained("", "7"));
    assert!(is_explained("/// So many, because.\nconst GOOD: usize = 7;", "GOOD"));
}
