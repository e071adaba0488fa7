//! The line under measurement: ten simulated meters on a paced wire, the engine that polls them, and
//! what both were seen to do.

use crate::limit::{Best, Line, Span};
use linesman::bus::{self, DeviceConfig, LineConfig, PortConfig, SerialConfig};
use linesman::model::{Name, SystemClock};
use linesman::profile::{self, Every, Profile};
use linesman::sim::wire::{self, Statistics, WireConfig};
use linesman::sim::{Fault, Faults, Meter};
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub const METERS: u8 = 10;
pub const POINTS: usize = 30;
/// Registers of the four groups; thirty floats of two registers.
pub const GROUPS: [Span; 4] = [(0, 36), (70, 10), (200, 8), (342, 6)];
pub const TURNAROUND: Duration = Duration::from_millis(5);
/// The wire tells what it has seen when a reply is out, just after the gateway has its last octet. The
/// next reply is further away than this.
const UNTIL_TOLD: Duration = Duration::from_millis(2);
/// An engine that says nothing for so long is not waited for.
const SILENCE: Duration = Duration::from_secs(30);

/// The line's settings, and what is wrong with it.
#[derive(Debug, Clone)]
pub struct Rig {
    pub baud: u32,
    pub turnaround: Duration,
    /// As in `linesman simulate --fault`.
    pub faults: Vec<&'static str>,
    /// Of each point.
    pub every: Vec<Every>,
}

/// One scan as it arrived.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Since the start.
    pub at: Duration,
    /// Counted from zero.
    pub meter: usize,
    pub good: Vec<usize>,
    pub bad: Vec<usize>,
    /// What the wire had seen by then.
    pub wire: Statistics,
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Seen {
    pub heard: Vec<Heard>,
    pub wire: Statistics,
    /// The engine's own word: how late a scan began at most.
    pub lateness: Duration,
    pub took: Duration,
}

impl Rig {
    /// All points back to back, nothing wrong.
    pub fn new(baud: u32) -> Rig {
        Rig { baud, turnaround: TURNAROUND, faults: vec![], every: vec![Every::Continuous; POINTS] }
    }

    pub fn line(&self) -> Line {
        Line { baud: self.baud, turnaround: self.turnaround.as_secs_f64() }
    }

    /// The least that one meter's points cost.
    pub fn best(&self) -> Best {
        self.line().best(&GROUPS, &[])
    }

    /// Polls until `enough` says so of what was heard up to now.
    pub fn run(&self, mut enough: impl FnMut(&[Heard]) -> bool) -> Result<Seen> {
        let profile = profile()?;
        let wire = wire::start(self.wire(&profile)?)?;
        let config = self.config(&profile, &wire)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let (scans_in, mut scans) = mpsc::channel(64);
        let seen = runtime.block_on(async {
            let start = Instant::now();
            let line = bus::start(config, Arc::new(SystemClock), scans_in, stop.clone())?;
            let (mut heard, mut lateness): (Vec<Heard>, Duration) = (Vec::new(), Duration::ZERO);
            while !enough(&heard) {
                let patience = tokio::time::Instant::now() + SILENCE;
                let scan = timeout_at(patience, scans.recv()).await.map_err(|_| "the line says nothing")?;
                let (scan, at) = (scan.ok_or("the line has ended")?, start.elapsed());
                tokio::time::sleep(UNTIL_TOLD).await;
                heard.push(Heard::of(&scan, at, wire.statistics()));
                let late = line.status.borrow().devices.iter().map(|device| device.lateness).max();
                lateness = lateness.max(late.unwrap_or_default());
            }
            stop.cancel();
            scans.close();
            let _ = line.ended.await;
            Ok::<_, Box<dyn Error + Send + Sync>>((heard, lateness, start.elapsed()))
        })?;
        let statistics = wire.statistics();
        wire.stop()?;
        Ok(Seen { heard: seen.0, wire: statistics, lateness: seen.1, took: seen.2 })
    }

    fn wire(&self, profile: &Arc<Profile>) -> Result<WireConfig> {
        let faults = self.faults.iter().map(|fault| fault.parse::<Fault>());
        Ok(WireConfig {
            turnaround: self.turnaround,
            faults: Faults::new(faults.collect::<std::result::Result<_, _>>()?, 1),
            ..WireConfig::new(
                (1..=METERS).map(|unit| Meter::new(Arc::clone(profile), unit, 1)).collect(),
                self.baud,
            )
        })
    }

    fn config(&self, profile: &Arc<Profile>, wire: &wire::Wire) -> Result<LineConfig> {
        let device = |unit: u8| -> Result<DeviceConfig> {
            let mut device = DeviceConfig::new(name(unit)?, unit, Arc::clone(profile), Every::Continuous);
            device.every.clone_from(&self.every);
            Ok(device)
        };
        Ok(LineConfig {
            name: "bench".parse()?,
            port: PortConfig::Serial(SerialConfig::new(wire.path(), self.baud)),
            devices: (1..=METERS).map(device).collect::<Result<_>>()?,
            max_probe: bus::MAX_PROBE,
        })
    }
}

impl Heard {
    fn of(scan: &bus::Scan, at: Duration, wire: Statistics) -> Heard {
        let which = |good: bool| {
            let fields = scan.fields.iter().filter(move |field| field.octets.is_ok() == good);
            fields.map(|field| field.point).collect()
        };
        let digits = scan.device.as_str().trim_start_matches('m');
        let unit: usize = digits.parse().unwrap_or_default();
        Heard { at, meter: unit.saturating_sub(1), good: which(true), bad: which(false), wire }
    }
}

impl Seen {
    /// When each time all of these points of a meter had been got once more: the ends of its cycles.
    pub fn completions(&self, meter: usize, points: &BTreeSet<usize>) -> Vec<Duration> {
        completions(&self.heard, meter, points)
    }

    /// The cycles of these meters, from each end to the next one.
    pub fn cycles(&self, meters: &[usize], points: &BTreeSet<usize>) -> Vec<Duration> {
        let ends = |meter: &usize| self.completions(*meter, points);
        let between = |ends: Vec<Duration>| ends.windows(2).map(|two| two[1] - two[0]).collect::<Vec<_>>();
        meters.iter().map(ends).flat_map(between).collect()
    }

    /// Samples of these meters that did not come, but for one point.
    pub fn lost(&self, meters: &[usize], but: Option<usize>) -> u64 {
        let heard = self.heard.iter().filter(|heard| meters.contains(&heard.meter));
        heard.map(|heard| heard.bad.iter().filter(|point| Some(**point) != but).count() as u64).sum()
    }
}

pub fn completions(heard: &[Heard], meter: usize, points: &BTreeSet<usize>) -> Vec<Duration> {
    let (mut missing, mut ends) = (points.clone(), Vec::new());
    for heard in heard.iter().filter(|heard| heard.meter == meter) {
        missing.retain(|point| !heard.good.contains(point));
        if missing.is_empty() {
            ends.push(heard.at);
            missing.clone_from(points);
        }
    }
    ends
}

/// Every meter's, or all but these.
pub fn meters_but(dead: &[usize]) -> Vec<usize> {
    (0..usize::from(METERS)).filter(|meter| !dead.contains(meter)).collect()
}

pub fn all_points() -> BTreeSet<usize> {
    (0..POINTS).collect()
}

/// The first register of a point.
pub fn address_of(point: usize) -> u16 {
    let registers = GROUPS.iter().flat_map(|(first, count)| (*first..first + count).step_by(2));
    registers.clone().nth(point).unwrap_or_default()
}

/// Registers between the groups can be read; nothing else is said of this meter.
fn profile() -> Result<Arc<Profile>> {
    let head = "profile: 1\nvendor: Bench\nmodel: Four groups\nkind: energy-meter\npoints:\n";
    let point = |point: usize| {
        format!("  p{point}: {{ input: {}, type: f32, quantity: other }}\n", address_of(point))
    };
    let text = head.to_owned() + &(0..POINTS).map(point).collect::<String>();
    let parsed = profile::parse("four-groups", "four-groups.yaml", &text);
    Ok(Arc::new(parsed.map_err(|problems| problems.to_string())?))
}

fn name(unit: u8) -> Result<Name> {
    Ok(format!("m{unit}").parse()?)
}

/// Sleeps at least so long.
pub fn pause(span: Duration) {
    let start = Instant::now();
    while start.elapsed() < span {
        std::thread::park_timeout(span.saturating_sub(start.elapsed()));
    }
}

pub fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

pub fn mean(spans: &[Duration]) -> Duration {
    let count = u32::try_from(spans.len().max(1)).unwrap_or(u32::MAX);
    spans.iter().sum::<Duration>() / count
}
