//! `linesman init` as a script runs it: flags instead of questions, and a file that runs as it is.

use linesman::config::{self, Overlays};
use linesman::profile::{self, Parity};
use linesman::sim::Meter;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn init(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.current_dir(folder).env_clear().arg("init").args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_flag_for_each_question_makes_a_commented_configuration_that_loads() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--port", "/dev/ttyUSB0", "--device", "eastron-sdm630@1", "--device", "xy-md02-sht20@2"];
    let more = ["--settings", "19200 8E1", "--mqtt", "mqtt://10.0.0.1", "--gateway", "plant-7"];
    let done = init(folder.path(), &[&flags[..], &more].concat());
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let path = folder.path().join("linesman.yaml");
    let config = config::load(&path, &Overlays::default()).unwrap();
    assert_eq!((config.gateway.as_str(), config.lines[0].devices.len()), ("plant-7", 2));
    let linesman::bus::PortConfig::Serial(serial) = &config.lines[0].port else { panic!("{config:?}") };
    assert_eq!((serial.baud, serial.parity, serial.stop_bits), (19_200, Parity::Even, 1));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().filter(|line| line.starts_with('#')).count() >= 5, "{text}");
    let again = init(folder.path(), &flags);
    assert_eq!(again.status.code(), Some(64));
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "a file that is there stays as it is");
}

#[test]
fn what_is_missing_or_wrong_is_said_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let ok = ["--port", "/dev/x", "--device"];
    for (arguments, code, wanted) in [
        (vec![], 64, "--device PROFILE@UNIT"),
        (vec!["--device", "eastron-sdm630@1"], 64, "--port is missing"),
        ([&ok[..], &["eastron-sdm63@1"]].concat(), 78, "did you mean `eastron-sdm630`?"),
        ([&ok[..], &["eastron-sdm630@300"]].concat(), 78, "the unit id is 1 to 247"),
        (
            [&ok[..], &["eastron-sdm630@1", "--device", "eastron-sdm120@1"]].concat(),
            64,
            "two devices have unit id 1",
        ),
        ([&ok[..], &["eastron-sdm630@1", "--settings", "9600 7E1"]].concat(), 64, "as in 9600 8N1"),
        ([&ok[..], &["eastron-sdm630@1", "--mqtt", "http://x"]].concat(), 64, "expected"),
    ] {
        let done = init(folder.path(), &arguments);
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
    assert!(!folder.path().join("linesman.yaml").exists());
}

#[test]
fn it_looks_who_is_there_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let meter =
        |(name, unit): (&str, u8)| Meter::new(profile::find(name, Path::new("."), &[]).unwrap(), unit, 1);
    // The line is gone through to the end: on a network, since on a serial line that takes minutes.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let place = format!("tcp://{}", listener.local_addr().unwrap());
    let all = (1..=247).map(|unit| meter(("xy-md02-sht20", unit))).collect();
    let config = linesman::sim::tcp::TcpConfig::new(all);
    runtime.spawn(linesman::sim::tcp::serve_with(
        listener,
        config,
        tokio_util::sync::CancellationToken::new(),
    ));
    let done = init(folder.path(), &["--port", &place, "--device", "scan"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let config = config::load(&folder.path().join("linesman.yaml"), &Overlays::default()).unwrap();
    assert_eq!(config.lines[0].devices[0].profile.name, "xy-md02-sht20");
    // A port that is not there is no configuration.
    let done = init(folder.path(), &["other.yaml", "--port", "not-there", "--device", "scan"]);
    assert_eq!(done.status.code(), Some(74));
}
