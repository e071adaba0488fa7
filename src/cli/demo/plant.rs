//! The demo's plant: six simulated meters on two pseudo-terminals, and the configuration that polls them.

use crate::cli::compose;
use crate::encode::json::{self, Number};
use crate::model::{Clock, Reading, SystemClock, Timestamp};
use crate::profile;
use crate::sim::fault::Kind;
use crate::sim::wire::WireConfig;
use crate::sim::{self, Fault, Faults, Meter};
use std::error::Error;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the `file` upstream writes.
pub(super) const READINGS: &str = "readings.jsonl";
/// What the simulated meters really showed, second by second.
pub(super) const TRUTH: &str = "truth.jsonl";
/// When the one meter dies and returns, in seconds after the start.
const DEAD: (u64, u64) = (6, 13);
pub(super) const DEAD_WORDS: &str = "from second 6 to second 13";
const DEAD_DEVICE: &str = "boiler";
const BAUD: u32 = 9600;
/// What a meter takes to think of its answer.
const TURNAROUND: Duration = Duration::from_millis(15);
/// The truth has no place in the gateway's numbering.
const NO_NUMBER: Number = Number { epoch: 0, seq: 0 };

/// One meter of the plant.
struct Installed {
    device: &'static str,
    profile: &'static str,
    unit: u8,
    every: &'static str,
}

/// One line of the plant, by name.
type Wire = (&'static str, &'static [Installed]);

const PLANT: &[Wire] = &[
    (
        "energy",
        &[
            Installed { device: "incomer", profile: "eastron-sdm630", unit: 1, every: "2s" },
            Installed { device: "workshop", profile: "abb-b23-b24", unit: 2, every: "2s" },
            Installed { device: "office", profile: "eastron-sdm120", unit: 3, every: "2s" },
        ],
    ),
    (
        "process",
        &[
            Installed { device: DEAD_DEVICE, profile: "keller-series-30-33x", unit: 1, every: "1s" },
            Installed { device: "hall", profile: "xy-md02-sht20", unit: 2, every: "1s" },
            Installed { device: "cooling", profile: "tuf-2000m", unit: 3, every: "1s" },
        ],
    ),
];

/// The running simulation.
pub(super) struct Plant {
    wires: Vec<sim::wire::Wire>,
    meters: Vec<(&'static str, Meter)>,
    truth: PathBuf,
    since: Timestamp,
}

impl Plant {
    pub(super) fn start(dir: &Path) -> Result<Plant, Box<dyn Error>> {
        let since = SystemClock.utc();
        let (mut wires, mut meters) = (Vec::new(), Vec::new());
        for (line, installed) in PLANT {
            let mut on_this_wire = Vec::new();
            for meter in *installed {
                let profile = profile::find(meter.profile, dir, &[])?;
                let simulated = Meter::new(profile, meter.unit, u64::from(meter.unit));
                meters.push((meter.device, simulated.clone()));
                on_this_wire.push(simulated);
            }
            wires.push(sim::wire::start(WireConfig {
                path: Some(dir.join(line)),
                turnaround: TURNAROUND,
                faults: Faults::new(faults_of(installed), 1),
                ..WireConfig::new(on_this_wire, BAUD)
            })?);
        }
        Ok(Plant { wires, meters, truth: dir.join(TRUTH), since })
    }

    /// What there is to see, a line each.
    pub(super) fn describe(&self) -> Vec<String> {
        let wires = self.wires.iter().zip(PLANT).flat_map(|(wire, (line, installed))| {
            let head = format!("line {line}: {} at {BAUD} baud, 8N1", wire.path().display());
            let meters =
                installed.iter().map(|m| format!("  {:<10} {}, unit {}", m.device, m.profile, m.unit));
            std::iter::once(head).chain(meters)
        });
        let dies = format!("{DEAD_DEVICE} will be silent {DEAD_WORDS}");
        wires.chain(std::iter::once(dies)).collect()
    }

    /// Hangs up, and writes down what the meters really showed.
    pub(super) fn stop(self) -> io::Result<()> {
        let until = SystemClock.utc();
        self.wires.into_iter().try_for_each(sim::wire::Wire::stop)?;
        let mut out = BufWriter::new(fs::File::create(&self.truth)?);
        for (device, meter) in &self.meters {
            let mut at = Meter::step_began(self.since);
            while at <= until {
                let line = json::reading(&truth_of(device, meter, at)?, NO_NUMBER, Some("demo"));
                writeln!(out, "{line}")?;
                at = Timestamp(at.0 + 1000);
            }
        }
        out.flush()
    }
}

fn faults_of(installed: &[Installed]) -> Vec<Fault> {
    let dead = installed.iter().filter(|meter| meter.device == DEAD_DEVICE);
    dead.map(|meter| Fault { unit: Some(meter.unit), kind: Kind::Dead(Some(DEAD)) }).collect()
}

/// The truth in the form of a reading, so that the two files can be laid side by side.
fn truth_of(device: &str, meter: &Meter, at: Timestamp) -> io::Result<Reading> {
    Ok(Reading {
        device: device.parse().map_err(io::Error::other)?,
        ts: at,
        took: Duration::ZERO,
        clock_unsure: false,
        boot: None,
        samples: meter.truth(at).into_iter().map(|(name, value)| (name, Ok(value))).collect(),
    })
}

/// Writes the configuration that polls the plant; it stays, to be looked at and tried with `run`.
pub(super) fn write_configuration(dir: &Path, mqtt: Option<&str>) -> io::Result<PathBuf> {
    let mut yaml = String::from(
        "# The demo's configuration: what `linesman demo` runs.\ngateway: { id: demo }\nlines:\n",
    );
    for (line, installed) in PLANT {
        let port = dir.join(line);
        yaml += &format!("  - name: {line}\n    serial: {{ port: {port:?}, baud: {BAUD} }}\n    devices:\n");
        for Installed { device, profile, unit, every } in *installed {
            yaml +=
                &format!("      - {{ name: {device}, profile: {profile}, unit: {unit}, every: {every} }}\n");
        }
    }
    yaml += "spool: { dir: ./spool, max_size: 64MiB, commit_every: 1s }\nupstreams:\n";
    yaml += &format!("  - name: readings\n    file: {{ path: ./{READINGS} }}\n");
    if let Some(url) = mqtt {
        yaml += &format!("  - name: broker\n    mqtt: {{ url: {url:?}{} }}\n", compose::insecure(url));
    }
    let file = dir.join("linesman.yaml");
    fs::write(&file, yaml)?;
    Ok(file)
}
