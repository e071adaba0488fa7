//! The demo's plant: six simulated meters on two pseudo-terminals, and the configuration that polls them.

use crate::config;
use crate::model::{Clock, SystemClock, Timestamp};
use crate::profile;
use crate::sim::{self, Meter};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
                let profile = profile::find(meter.profile, dir, &[]).map_err(|problems| problems.to_string())?;
                let simulated = Meter::new(profile, meter.unit, u64::from(meter.unit));
                meters.push((meter.device, simulated.clone()));
                on_this_wire.push(simulated);
            }
            let _ = (line, &mut wires, BAUD);
        }
        Ok(Plant { wires, meters, truth: dir.join(TRUTH), since })
    }
}

/// Writes the configuration that polls the plant; it stays, to be looked at and tried with `run`.
pub(super) fn write_configuration(dir: &Path, mqtt: Option<&str>) -> io::Result<PathBuf> {
    let mut yaml = String::from("# The demo's configuration: what `linesman demo` runs.\ngateway: { id: demo }\nlines:\n");
    for (line, installed) in PLANT {
        yaml += &format!("  - name: {line}\n    serial: {{ port: ./{line}, baud: {BAUD} }}\n    devices:\n");
        for Installed { device, profile, unit, every } in *installed {
            yaml += &format!("      - {{ name: {device}, profile: {profile}, unit: {unit}, every: {every} }}\n");
        }
    }
    yaml += "spool: { dir: ./spool, max_size: 64MiB, commit_every: 1s }\nupstreams:\n";
    yaml += &format!("  - name: readings\n    file: {{ path: ./{READINGS} }}\n");
    if let Some(url) = mqtt {
        yaml += &format!("  - name: broker\n    mqtt: {{ url: {url:?} }}\n");
    }
    let file = dir.join("linesman.yaml");
    fs::write(&file, yaml)?;
    Ok(file)
}
