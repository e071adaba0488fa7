//! Lines that run on real pseudo-terminals, with the simulator's meters on the other end.

use linesman::bus::{self, DeviceConfig, LineConfig, PortConfig, Scan, SerialConfig, Surroundings};
use linesman::model::status::LineStatus;
use linesman::model::{Event, SystemClock};
use linesman::profile::{self, Every, Profile};
use linesman::sim::wire::{self, Wire, WireConfig};
use linesman::sim::{Faults, Meter};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long anything may take that must happen; never what is measured.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn profile() -> Arc<Profile> {
    profile::find("xy-md02-sht20", Path::new("."), &[]).unwrap()
}

pub fn device(name: &str, unit: u8, every: Duration) -> DeviceConfig {
    let device = DeviceConfig::new(name.parse().unwrap(), unit, profile(), Every::Period(every));
    DeviceConfig { timeout: Duration::from_millis(100), retries: 1, ..device }
}

/// Meters at 115 200 baud that answer after 2 ms, where nothing is wrong.
pub fn meters(path: &Path, units: &[u8]) -> Wire {
    with_faults(path, units, &[])
}

/// The same with what is wrong, as `linesman simulate --fault` has it.
pub fn with_faults(path: &Path, units: &[u8], faults: &[&str]) -> Wire {
    let meters = units.iter().map(|unit| Meter::new(profile(), *unit, 1)).collect();
    let (path, turnaround) = (Some(path.to_owned()), Duration::from_millis(2));
    let faults = Faults::new(faults.iter().map(|word| word.parse().unwrap()).collect(), 1);
    wire::start(WireConfig { path, turnaround, faults, ..WireConfig::new(meters, 115_200) }).unwrap()
}

pub struct Line {
    pub running: bus::Running,
    pub scans: mpsc::Receiver<Scan>,
    pub events: mpsc::Receiver<Event>,
    pub stop: CancellationToken,
}

/// A line at 115 200 baud.
pub fn line(port: &Path, devices: Vec<DeviceConfig>) -> Line {
    line_named("l", PortConfig::Serial(SerialConfig::new(port, 115_200)), devices)
}

pub fn line_named(name: &str, port: PortConfig, devices: Vec<DeviceConfig>) -> Line {
    let (scans_tx, scans) = mpsc::channel(1024);
    let (events_tx, events) = mpsc::channel(1024);
    let stop = CancellationToken::new();
    let config = LineConfig { name: name.parse().unwrap(), port, devices, max_probe: bus::MAX_PROBE };
    let around = Surroundings::new(Arc::new(SystemClock), scans_tx, stop.clone());
    let running = bus::start_in(config, Surroundings { events: Some(events_tx), ..around }).unwrap();
    Line { running, scans, events, stop }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Line {
    /// Waits for a status of which this is so: it follows the scans by a moment.
    pub fn status(&self, what: &str, so: impl Fn(&LineStatus) -> bool) -> LineStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.running.status.borrow().clone();
            if so(&status) {
                return status;
            }
            assert!(Instant::now() < end, "waited in vain for {what}: {status:?}");
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Waits for a scan of which this is so.
    pub fn scan(&mut self, what: &str, so: impl Fn(&Scan) -> bool) -> Scan {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.scans.try_recv() {
                Ok(scan) if so(&scan) => return scan,
                Ok(_) => {}
                Err(_) => {
                    assert!(Instant::now() < end, "waited in vain for {what}");
                    thread::park_timeout(Duration::from_millis(2));
                }
            }
        }
    }
}

pub fn all_good(scan: &Scan) -> bool {
    scan.fields.iter().all(|field| field.octets.is_ok())
}

/// The processor's time that the thread of this name has had.
pub fn processor_of(thread: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let stat = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    // The name, which is cut after 15 octets, stands in brackets before all numbers.
    let of_thread = stat.filter(|stat| stat.contains(&format!("({})", &thread[..thread.len().min(15)])));
    let ticks = of_thread.map(|stat| {
        let numbers: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        numbers[11].parse::<u32>().unwrap() + numbers[12].parse::<u32>().unwrap()
    });
    // A hundred of them are a second, on every architecture that we know.
    Duration::from_millis(10) * ticks.sum::<u32>()
}
