//! Meters that are not ours: pymodbus in a child process, serving the registers of profiles (`meter.py`).

use crate::gateway::{Kept, PATIENCE};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the meters of one line hold, as linesman should publish it: unit → point → value as JSON.
pub type Truth = BTreeMap<u64, BTreeMap<String, String>>;

/// A pymodbus server; it ends when it is dropped.
pub struct Meters {
    _child: Kept,
    /// The serial port to open, or `host:port`.
    pub place: String,
    pub truth: Truth,
}

impl Meters {
    /// Meters on a pseudo-terminal that appears at `link`.
    pub fn rtu(link: &Path, meters: &[(PathBuf, u8)]) -> Meters {
        Meters::start(&["--rtu", link.to_str().unwrap()], meters)
    }

    /// The same with ASCII frames.
    pub fn ascii(link: &Path, meters: &[(PathBuf, u8)]) -> Meters {
        Meters::start(&["--ascii", link.to_str().unwrap()], meters)
    }

    /// RTU frames behind one TCP port, as a device server passes them on.
    pub fn rtu_over_tcp(meters: &[(PathBuf, u8)]) -> Meters {
        Meters::start(&["--rtu-over-tcp"], meters)
    }

    /// Meters behind one TCP port.
    pub fn tcp(meters: &[(PathBuf, u8)]) -> Meters {
        Meters::start(&["--tcp"], meters)
    }

    /// Meters on a pseudo-terminal, each at a baud rate of its own, and what is wrong with the bus.
    pub fn at_rates(link: &Path, meters: &[(PathBuf, u8, u32)], wrong: &[&str]) -> Meters {
        let place = [&["--rtu", link.to_str().unwrap()], wrong].concat();
        let meters: Vec<String> = meters
            .iter()
            .map(|(profile, unit, baud)| format!("{}@{unit}/{baud}", profile.display()))
            .collect();
        Meters::start_as(&place, &meters)
    }

    fn start(place: &[&str], meters: &[(PathBuf, u8)]) -> Meters {
        let meters: Vec<String> =
            meters.iter().map(|(profile, unit)| format!("{}@{unit}", profile.display())).collect();
        Meters::start_as(place, &meters)
    }

    fn start_as(place: &[&str], meters: &[String]) -> Meters {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".venv/bin/python");
        assert!(python.exists(), "{} is missing: run tests/run once", python.display());
        let mut command = Command::new(python);
        command
            .arg(root.join("tests/e2e/meter.py"))
            .args(place)
            .args(meters)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Kept::spawn(&mut command).unwrap();
        let (lines, errors) = (child.output(), child.errors());
        let mut truth = Truth::new();
        loop {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                panic!("meter.py did not start:\n{}", errors.try_iter().collect::<Vec<_>>().join("\n"));
            };
            let said: Value = serde_json::from_str(&line).unwrap();
            if let Some(place) = said["ready"].as_str() {
                return Meters { _child: child, place: place.to_owned(), truth };
            }
            let values = said["values"].as_object().unwrap().iter();
            let values = values.map(|(point, value)| (point.clone(), value.as_str().unwrap().to_owned()));
            truth.insert(said["unit"].as_u64().unwrap(), values.collect());
        }
    }
}

/// A profile of the shipped library.
pub fn profile(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles").join(name).with_extension("yaml")
}

/// A small profile for load: ten registers in one block.
pub fn small_profile(folder: &Path) -> PathBuf {
    let path = folder.join("small.yaml");
    let points: Vec<String> = (0..10)
        .map(|n| format!("  value_{n}: {{ holding: {n}, type: u16, quantity: other, unit: \"1\" }}\n"))
        .collect();
    let head = "profile: 1\nvendor: Nobody\nmodel: Small\nkind: other\nsources: [\"this test\"]\npoints:\n";
    std::fs::write(&path, format!("{head}{}", points.concat())).unwrap();
    path
}
