//! Captures that must be read the same for ever, ours and others': `golden/capture`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/capture")
}

fn replay(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.current_dir(folder).env_clear().arg("replay").args(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn every_capture_is_read_as_it_always_was() {
    let mut captures: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension().is_some_and(|extension| extension.to_str().unwrap().starts_with("pcap"))
        })
        .collect();
    captures.sort();
    assert!(captures.len() >= 7, "{captures:?}");
    for path in captures {
        let name = path.file_name().unwrap().to_str().unwrap();
        let done = replay(&folder(), &[name, "--profile", "meter.yaml", "--json"]);
        let said = format!("{}exit {}\n", text(&done.stderr), done.status.code().unwrap());
        let expected = |extension| fs::read_to_string(path.with_extension(extension)).unwrap();
        assert_eq!(text(&done.stdout), expected("jsonl"), "{name}");
        assert_eq!(said, expected("said"), "{name}");
    }
}

#[test]
fn for_people_each_exchange_is_a_line() {
    let done = replay(&folder(), &["big-endian.pcapng", "--profile", "./meter.yaml", "--line", "ttyS0"]);
    let out = text(&done.stdout);
    for wanted in [
        "2025-11-21 23:00:00.030000  ttyS0  unit 1  input 0+4  voltage 230.5 V, power 1000 W\n",
        "2025-11-21 23:00:00.120000  ttyS0  unit 1  input 72+4  (exception-2)\n",
        "2025-11-21 23:00:00.600000  ttyS0  unit 1  input 0+4  (no-reply)\n",
    ] {
        assert!(out.contains(wanted), "{wanted} is not in\n{out}");
    }
    assert!(text(&done.stderr).contains("passed over: 1\n"));
    let one = replay(&folder(), &["big-endian.pcapng", "--profile", "meter.yaml", "--unit", "2"]);
    assert_eq!(
        text(&one.stdout),
        "2025-11-21 23:00:00.101000  interface-1  unit 2  holding 5+2  mode manual, count 7\n"
    );
    // A profile that names nothing of what was asked: the octets are shown as they are.
    let other = replay(&folder(), &["big-endian.pcapng", "--profile", "xy-md02-sht20", "--unit", "2"]);
    assert!(text(&other.stdout).ends_with("unit 2  holding 5+2  00 02 00 07\n"), "{}", text(&other.stdout));
    assert!(text(&other.stderr).contains("that the profile does not name: 1\n"));
}

#[test]
fn what_is_asked_wrongly_is_said() {
    for (arguments, code, said) in [
        (&["no-such-file", "--profile", "meter.yaml"][..], 74, "no-such-file: No such file"),
        (&["ours.pcapng"], 64, "--profile"),
        (&["ours.pcapng", "--profile", "no-such-meter"], 78, "no-such-meter"),
        (&["wireshark.pcapng", "--as-transcript"], 74, "no question on a serial line"),
        (&["big-endian.pcapng", "--as-transcript"], 64, "--line takes one of interface-1, ttyS0"),
    ] {
        let done = replay(&folder(), arguments);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {}", text(&done.stderr));
        assert!(text(&done.stderr).contains(said), "{arguments:?}: {}", text(&done.stderr));
    }
}
