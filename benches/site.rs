//! What the small site costs: two 9600-baud lines, ten meters, one MQTT broker, the real binary.
//!
//! Prints resident memory, processor time and the binary's size. The meters are simulated by other
//! processes on pseudo-terminals that are paced like a wire, so their cost is not in the figures.
//! Needs `mosquitto` (`tests/run` installs it).

#![allow(clippy::print_stdout, clippy::cast_precision_loss)] // a bench prints figures

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

const LINESMAN: &str = env!("CARGO_BIN_EXE_linesman");
/// Start, first connection, first scans: not counted.
const SETTLE: Duration = Duration::from_secs(5);
const MEASURE: Duration = Duration::from_secs(30);
/// `sysconf(_SC_CLK_TCK)`: 100 on every Linux that people run.
const TICKS_PER_SECOND: f64 = 100.0;

/// Killed when the bench ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    let broker = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let conf = dir.join("broker.conf");
    fs::write(&conf, format!("listener {broker} 127.0.0.1\nallow_anonymous true\n"))?;
    let mosquitto = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|path| Path::new(path).exists());
    let _broker = spawn(Command::new(mosquitto.unwrap_or("mosquitto")).arg("-c").arg(&conf))?;
    let ports = [dir.join("line-0"), dir.join("line-1")];
    let _meters = ports.iter().map(|port| meters(port)).collect::<Result<Vec<_>, _>>()?;
    ports.iter().try_for_each(|port| wait_for(port))?;
    let config = dir.join("linesman.yaml");
    fs::write(&config, configuration(dir, &ports, broker, every))?;
    let readings = dir.join("readings.jsonl");
    let gateway = spawn(Command::new(LINESMAN).arg("run").arg("--config").arg(&config))?;
    let pid = gateway.0.id();
    wait_for(&readings)?;
    pause(SETTLE);
    let (before, lines, start) = (processor_ticks(pid)?, lines_of(&readings), Instant::now());
    pause(MEASURE);
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (processor_ticks(pid)? - before) / TICKS_PER_SECOND / seconds * 100.0;
    Ok((resident_mebibytes(pid)?, cpu, (lines_of(&readings) - lines) / seconds))
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

fn spawn(command: &mut Command) -> Result<Running, Box<dyn Error>> {
    Ok(Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
}

fn pause(span: Duration) {
    let start = Instant::now();
    while start.elapsed() < span {
        park_timeout(span.saturating_sub(start.elapsed()));
    }
}

fn wait_for(path: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while !path.exists() {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(format!("{} did not appear", path.display()).into());
        }
        pause(Duration::from_millis(20));
    }
    Ok(())
}

/// User and system time so far (proc(5), `/proc/PID/stat`, fields 14 and 15).
fn processor_ticks(pid: u32) -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    Ok(fields[11].parse::<f64>()? + fields[12].parse::<f64>()?)
}

fn resident_mebibytes(pid: u32) -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse::<f64>()? / 1024.0)
}

fn lines_of(path: &Path) -> f64 {
    fs::read(path).map_or(0, |text| text.split(|octet| *octet == b'\n').count()) as f64
}
