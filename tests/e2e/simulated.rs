//! `linesman simulate` read by masters that are not ours: pymodbus over every framing, and mbpoll.

use crate::gateway::{Kept, PATIENCE, until};
use crate::meter::profile;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

const UNIT: u8 = 5;

/// The simulator as a child process.
struct Simulated {
    child: Kept,
    lines: mpsc::Receiver<String>,
    /// The serial port, or `host:port`.
    place: String,
    pid: Pid,
}

impl Simulated {
    fn start(meter: &Path, flags: &[&str]) -> Simulated {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
        command.arg("simulate").arg("--profile").arg(format!("{}@{UNIT}", meter.display())).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command.spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
        let mut child = Kept::of(process);
        let (lines, errors) = (child.output(), child.errors());
        let Ok(first) = lines.recv_timeout(PATIENCE) else {
            panic!("it did not start:\n{}", errors.try_iter().collect::<Vec<_>>().join("\n"));
        };
        // `tcp://127.0.0.1:1502…: meters`, or `/dev/port at …`.
        let place = match first.strip_prefix("tcp://127.0.0.1:") {
            Some(rest) => format!("127.0.0.1:{}", rest.split([' ', ':']).next().unwrap()),
            None => first.split(' ').next().unwrap().to_owned(),
        };
        Simulated { child, lines, place, pid }
    }

    /// Asks it to end, and gives its last line.
    fn stop(mut self) -> String {
        kill_process(self.pid, Signal::TERM).unwrap();
        let last = self.lines.recv_timeout(PATIENCE).expect("a last line");
        assert!(until("its end", || self.child.ended()).success());
        last
    }
}

/// A meter of the library that answers function 08 too.
fn meter(folder: &Path) -> PathBuf {
    let text = fs::read_to_string(profile("eastron-sdm120")).unwrap();
    let with = text.replacen("modbus: { ", "modbus: { diagnostics: true, ", 1);
    assert_ne!(text, with, "the profile has no `modbus:` to add to");
    let path = folder.join("acme-x1.yaml");
    fs::write(&path, with).unwrap();
    path
}

fn asked_by_pymodbus(kind: &str, place: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/run once", python.display());
    let mut command = Command::new(python);
    let output = command
        .arg(root.join("tests/e2e/master.py"))
        .args([kind, place, &UNIT.to_string()])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{kind} {place}:\n{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_all_is_said(kind: &str, said: &Value) {
    let volts = said["volts"].as_f64().unwrap_or_else(|| panic!("{kind}: {said}"));
    assert!((220.0..240.0).contains(&volts), "{kind}: {volts}");
    assert!(said["server_id"].as_str().unwrap().starts_with("Eastron SDM120"), "{kind}: {said}");
    assert_eq!(said["running"], true, "{kind}: {said}");
    assert_eq!(said["echo"], "5aa5", "{kind}: {said}");
    assert_eq!(said["basic"].as_object().unwrap().len(), 3, "{kind}: {said}");
    assert_eq!((&said["basic"]["0"], &said["basic"]["1"]), (&"Eastron".into(), &"acme-x1".into()), "{kind}");
    assert_eq!(said["regular"].as_object().unwrap().len(), 5, "{kind}: {said}");
    assert_eq!(said["specific"]["5"], said["regular"]["5"], "{kind}: {said}");
    assert_eq!(said["no_such_object"], "exception 2", "{kind}: {said}");
}

#[test]
fn a_foreign_master_reads_and_identifies_the_simulated_meter_over_every_framing() {
    let folder = tempfile::tempdir().unwrap();
    let meter = meter(folder.path());
    let port = folder.path().join("rs485");
    let port = port.to_str().unwrap();
    let serial = ["--baud", "19200", "--turnaround", "2", "--pty", port];
    let tcp = ["--tcp", "127.0.0.1:0"];
    let ascii = ["--framing", "ascii", "--data-bits", "7", "--parity", "even"];
    for (kind, flags) in [
        ("rtu", serial.to_vec()),
        ("ascii", [&serial[..], &ascii[..]].concat()),
        ("tcp", [&tcp[..], &["--shuffle"]].concat()),
        ("rtu-over-tcp", [&tcp[..], &["--framing", "rtu"]].concat()),
        ("ascii-over-tcp", [&tcp[..], &ascii[..2]].concat()),
    ] {
        let simulated = Simulated::start(&meter, &flags);
        assert_all_is_said(kind, &asked_by_pymodbus(kind, &simulated.place));
        let last = simulated.stop();
        assert!(last.starts_with("requests: 7, replies: 7, not understood: 0"), "{kind}: {last}");
        assert_eq!(last.contains("none measured"), kind.contains("tcp"), "{kind}: {last}");
    }
}

#[test]
fn a_meter_without_diagnostics_refuses_them_as_one_that_does_not_know_them() {
    let simulated = Simulated::start(&profile("eastron-sdm120"), &["--tcp", "127.0.0.1:0"]);
    let said = asked_by_pymodbus("tcp", &simulated.place);
    assert_eq!(said["echo"], "exception 1", "{said}");
}

#[test]
fn mbpoll_reads_the_simulated_line_and_its_server_id() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("rs485");
    let flags = ["--baud", "19200", "--pty", port.to_str().unwrap(), "--fault", "strict"];
    let simulated = Simulated::start(&meter(folder.path()), &flags);
    let mbpoll = |flags: &[&str]| {
        let common = ["-m", "rtu", "-a", "5", "-b", "19200", "-P", "none", "-0"];
        let output = Command::new("mbpoll").args(common).args(flags).arg(&port).output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
        said
    };
    let said = mbpoll(&["-t", "3:float", "-B", "-r", "0", "-c", "1", "-1", "-q"]);
    let volts = said.lines().find_map(|line| line.strip_prefix("[0]:")).unwrap_or_else(|| panic!("{said}"));
    let volts: f64 = volts.trim().parse().unwrap();
    assert!((220.0..240.0).contains(&volts), "{said}");
    let said = mbpoll(&["-u"]);
    assert!(said.contains("SDM120"), "{said}");
    assert!(simulated.stop().contains("too soon: 0"));
}
