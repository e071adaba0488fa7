//! The wire on record, as the lines see it: nothing is lost that there is room for, and nobody waits.

use linesman::bus::capture::{self, Capture, LIMIT, SMALLEST, StartError, Tap};
use linesman::bus::transact::Outcome;
use linesman::bus::{LineConfig, MAX_PROBE, PortConfig, SerialConfig};
use linesman::modbus::{Framing, ascii, mbap, rtu};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

const MS: i64 = 1_000_000;

fn line(name: &str, port: PortConfig) -> LineConfig {
    LineConfig { name: name.parse().unwrap(), port, devices: vec![], max_probe: MAX_PROBE }
}

fn serial(capture: &Capture, name: &str) -> Tap {
    capture.tap(&line(name, PortConfig::Serial(SerialConfig::new("/dev/ttyUSB0", 115_200))))
}

/// A question and its answer, which carries the number in it.
fn exchange(tap: &Tap, number: u16) {
    let at = i64::from(number) * 100 * MS;
    let [high, low] = number.to_be_bytes();
    tap.sent(at, &rtu::frame(1, &[3, 0, 0, 0, 1]));
    tap.heard(at + 20 * MS, &rtu::frame(1, &[3, 2, high, low]));
}

#[test]
fn lines_that_speak_at_once_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wire.pcapng");
    let (capture, recording) = capture::start(&path, LIMIT).unwrap();
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let tap = serial(&capture, name);
            scope.spawn(move || (0..200).for_each(|number| exchange(&tap, number)));
        }
        let tcp = PortConfig::Tcp { address: "10.0.0.5:502".to_owned(), in_flight: 1 };
        let tap = capture.tap(&line("lan", tcp));
        scope.spawn(move || {
            for number in 0..200u16 {
                let [high, low] = number.to_be_bytes();
                tap.sent(i64::from(number) * MS, &mbap::encode(number, 1, &[3, 0, 0, 0, 1]));
                tap.heard(i64::from(number) * MS, &mbap::encode(number, 1, &[3, 2, high, low]));
            }
        });
    });
    recording.finish().unwrap();
    let mut seen: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    let (contents, result) = capture::read(&path, None, |source, exchange| {
        seen.entry(source.name.clone()).or_default().push(exchange.outcome);
    });
    result.unwrap();
    assert_eq!((contents.lost, contents.packets), (0, 1600));
    let expected: Vec<Outcome> = (0..200u16).map(|n| Outcome::Data(n.to_be_bytes().to_vec())).collect();
    assert_eq!(seen.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "c", "lan"]);
    assert!(seen.values().all(|outcomes| *outcomes == expected), "{seen:?}");
}

#[test]
fn the_limit_is_kept_at_every_moment_while_lines_speak() {
    let folder = tempfile::tempdir().unwrap();
    let (path, older) = (folder.path().join("wire.pcapng"), folder.path().join("wire.pcapng.1"));
    let (capture, recording) = capture::start(&path, SMALLEST).unwrap();
    let size = |path: &Path| fs::metadata(path).map_or(0, |there| there.len());
    let (spoken, mut looked, mut most) = (AtomicBool::new(false), 0u64, 0);
    std::thread::scope(|scope| {
        let tap = serial(&capture, "a");
        let done = &spoken;
        scope.spawn(move || {
            (0..20_000).for_each(|number| exchange(&tap, number));
            done.store(true, Ordering::Relaxed);
        });
        while !spoken.load(Ordering::Relaxed) {
            // The older first: what is renamed between the two looks is then counted once, not twice.
            most = most.max(size(&older) + size(&path));
            looked += 1;
        }
    });
    recording.finish().unwrap();
    assert!(looked > 10 && most <= SMALLEST, "{most} octets, {looked} looks");
    let (mut numbers, mut lost) = (Vec::new(), 0);
    for file in [&older, &path] {
        assert!(size(file) <= SMALLEST / 2);
        let (contents, result) = capture::read(file, None, |_, exchange| {
            if let Outcome::Data(data) = exchange.outcome {
                numbers.push(u16::from_be_bytes([data[0], data[1]]));
            }
        });
        result.unwrap();
        assert_eq!(contents.cut_off_at, None);
        lost = contents.lost;
    }
    // What is there is in order, and ends with the last, unless the queue was full: then that was counted.
    assert!(numbers.is_sorted() && numbers.len() > 20, "{numbers:?}");
    assert!(numbers.last() == Some(&19_999) || lost > 0, "{numbers:?}");
}

#[test]
fn a_tap_into_nothing_takes_everything() {
    let tap = Tap::none();
    assert!(!tap.records());
    exchange(&tap, 1);
    let folder = tempfile::tempdir().unwrap();
    let (capture, recording) = capture::start(&folder.path().join("wire.pcapng"), LIMIT).unwrap();
    let tap = serial(&capture, "a");
    recording.finish().unwrap();
    // The capture has ended before the line.
    exchange(&tap, 1);
}

#[test]
fn a_capture_that_can_not_be_written_any_more_ends_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let path = inside.join("wire.pcapng");
    let (capture, recording) = capture::start(&path, SMALLEST).unwrap();
    let tap = serial(&capture, "a");
    fs::remove_dir_all(&inside).unwrap();
    (0..2000).for_each(|number| exchange(&tap, number));
    let error = recording.finish().unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    exchange(&tap, 1);
}

#[test]
fn a_file_that_is_no_capture_of_ours_is_left_alone_and_the_command_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter"), "a letter").unwrap();
    let config = "lines: []\nspool: { dir: spool }\nupstreams: [ { name: out, stdout: {} } ]\n";
    fs::write(folder.path().join("linesman.yaml"), config).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
        let done = command.current_dir(folder.path()).env_clear().args(arguments).output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let read = ["read", "tcp://127.0.0.1:1", "--unit", "1", "--input", "0", "--capture"];
    let (code, said) = run(&[&read[..], &["letter"]].concat());
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("letter: exists and is no capture of linesman's"), "{said}");
    assert_eq!(fs::read(folder.path().join("letter")).unwrap(), b"a letter");
    let (code, said) = run(&[&read[..], &["wire", "--capture-size", "1KiB"]].concat());
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("at least 65536 octets"), "{said}");
    let start = capture::start(&folder.path().join("letter"), LIMIT).unwrap_err();
    assert!(matches!(start, StartError::NotOurs { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_mutation_of_a_capture_makes_reading_panic(
        which in 0usize..5,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let names = ["ours.pcapng", "wireshark.pcapng", "classic.pcap", "big-endian.pcapng", "rewritten.pcapng"];
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/capture").join(names[which]);
        let mut octets = fs::read(golden).unwrap();
        for (at, value) in flips {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        octets.truncate(cut.index(octets.len()) + 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wire");
        fs::write(&path, &octets).unwrap();
        let mut exchanges = 0;
        let (contents, result) = capture::read(&path, None, |_, _| exchanges += 1);
        prop_assert!(exchanges <= contents.packets);
        if let Err(error) = result {
            let said = error.to_string();
            prop_assert!(said.starts_with(&format!("{}: octet ", path.display())), "{said}");
        }
    }
}

#[test]
fn an_ascii_line_is_read_back_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wire.pcapng");
    let (capture, recording) = capture::start(&path, LIMIT).unwrap();
    let serial =
        SerialConfig { framing: Framing::Ascii, data_bits: 7, ..SerialConfig::new("/dev/ttyS0", 9600) };
    let tap = capture.tap(&line("a", PortConfig::Serial(serial)));
    tap.sent(0, &ascii::frame(1, &[3, 0, 0, 0, 1]));
    // In pieces, as an adapter delivers them.
    for (at, piece) in ascii::frame(1, &[3, 2, 0, 42]).chunks(6).enumerate() {
        tap.heard(i64::try_from(40 + 10 * at).unwrap() * MS, piece);
    }
    tap.sent(100 * MS, &ascii::frame(1, &[3, 0, 0, 0, 1]));
    drop((tap, capture));
    recording.finish().unwrap();
    let mut outcomes = Vec::new();
    let (contents, result) = capture::read(&path, None, |_, exchange| outcomes.push(exchange.outcome));
    result.unwrap();
    assert!(contents.sources[0].ascii, "{contents:?}");
    assert_eq!(outcomes, [Outcome::Data(vec![0, 42]), Outcome::NoReply]);
    let mut replay = Command::new(env!("CARGO_BIN_EXE_linesman"));
    let done = replay.args(["replay", path.to_str().unwrap(), "--as-transcript"]).output().unwrap();
    assert_eq!(done.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&done.stderr).contains("speaks ASCII"), "{done:?}");
}
