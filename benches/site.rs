//! What the small site costs: two 9600-baud lines, ten meters, one MQTT broker, the real binary.
//!
//! Prints resident memory, processor time and the binary's size. The meters are simulated by other
//! processes on pseudo-terminals that are paced like a wire, so their cost is not in the figures.
//! Needs `mosquitto` (`tests/run` installs it).

#![allow(clippy::print_stdout, clippy::cast_precision_loss)] // a bench prints figures

#[path = "common/process.rs"]
mod process;

use process::{ARENAS, LINESMAN, Running, broker, mebibytes, pause, processor_seconds, spawn, wait_for};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Start, first connection, first scans: not counted.
const SETTLE: Duration = Duration::from_secs(5);
const MEASURE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    println!("small site: 2 lines at 9600 baud, 10 meters, MQTT; {} s each", MEASURE.as_secs());
    println!("binary: {:.1} MB", fs::metadata(LINESMAN)?.len() as f64 / 1e6);
    println!("{:<16} {:>8} {:>8} {:>10}", "polling", "RSS MiB", "CPU %", "records/s");
    for (name, every) in [("every 10 s", "10s"), ("back to back", "continuous")] {
        let (rss, cpu, rate) = measure(&dir.path().join(every), every)?;
        println!("{name:<16} {rss:>8.1} {cpu:>8.2} {rate:>10.1}");
    }
    Ok(())
}

fn measure(dir: &Path, every: &str) -> Result<(f64, f64, f64), Box<dyn Error>> {
    fs::create_dir_all(dir)?;
    let (_broker, broker) = broker(dir, "")?;
    let ports = [dir.join("line-0"), dir.join("line-1")];
    let _meters = ports.iter().map(|port| meters(port)).collect::<Result<Vec<_>, _>>()?;
    ports.iter().try_for_each(|port| wait_for("the meters", || port.exists()))?;
    let config = dir.join("linesman.yaml");
    fs::write(&config, configuration(dir, &ports, broker, every))?;
    let readings = dir.join("readings.jsonl");
    let gateway =
        spawn(Command::new(LINESMAN).arg("run").arg("--config").arg(&config).env(ARENAS.0, ARENAS.1))?;
    let pid = gateway.pid();
    wait_for("the first reading", || readings.exists())?;
    pause(SETTLE);
    let (before, lines, start) = (processor_seconds(pid)?, lines_of(&readings), Instant::now());
    pause(MEASURE);
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (processor_seconds(pid)? - before) / seconds * 100.0;
    Ok((mebibytes(pid, "VmRSS")?, cpu, (lines_of(&readings) - lines) / seconds))
}

fn meters(port: &Path) -> Result<Running, Box<dyn Error>> {
    let mut command = Command::new(LINESMAN);
    command.arg("simulate").arg("--pty").arg(port).args(["--baud", "9600"]);
    for unit in 1..=5 {
        command.arg("--profile").arg(format!("eastron-sdm120@{unit}"));
    }
    spawn(&mut command)
}

fn configuration(dir: &Path, ports: &[PathBuf], broker: u16, every: &str) -> String {
    let mut yaml = String::from("gateway: { id: bench }\nlines:\n");
    for (line, port) in ports.iter().enumerate() {
        let port = port.display();
        yaml += &format!("  - name: line-{line}\n    serial: {{ port: {port}, baud: 9600 }}\n    devices:\n");
        for unit in 1..=5 {
            yaml += &format!(
                "      - {{ name: m{line}-{unit}, profile: eastron-sdm120, unit: {unit}, every: {every} }}\n"
            );
        }
    }
    yaml += &format!("spool: {{ dir: {}, max_size: 64MiB }}\n", dir.join("spool").display());
    yaml += &format!("upstreams:\n  - name: scada\n    mqtt: {{ url: \"mqtt://127.0.0.1:{broker}\" }}\n");
    yaml + &format!("  - name: local\n    file: {{ path: {} }}\n", dir.join("readings.jsonl").display())
}

fn lines_of(path: &Path) -> f64 {
    fs::read(path).map_or(0, |text| text.split(|octet| *octet == b'\n').count()) as f64
}
