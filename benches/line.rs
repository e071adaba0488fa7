//! The cycle of a full serial line against what the wire needs.
//!
//! Three meters, all points back to back, on a pseudo-terminal that is paced like a wire. A read of n
//! registers needs `T(n) = (8 + 5 + 2n)·c + t3.5 + turnaround`, where the turnaround is measured from our
//! last octet to the reply's first and so holds the meter's own t3.5 (design: it is counted once).

#![allow(clippy::print_stdout)] // a bench prints figures

use linesman::bus::{self, DeviceConfig, LineConfig, PortConfig, SerialConfig, plan_points};
use linesman::modbus::rtu::Pace;
use linesman::model::SystemClock;
use linesman::profile::{self, Every, Profile};
use linesman::sim::wire::{self, Statistics, WireConfig};
use linesman::sim::{Faults, Meter};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PROFILE: &str = "eastron-sdm120";
const METERS: u8 = 3;
const TURNAROUND: Duration = Duration::from_millis(5);
const MEASURE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let text = profile::builtin_text(PROFILE).ok_or("no such profile")?;
    let profile = profile::parse(PROFILE, PROFILE, text).map_err(|problems| problems.to_string())?;
    let profile = Arc::new(profile);
    let blocks = plan_points(&profile, &(0..profile.points.len()).collect::<Vec<_>>()).len();
    println!(
        "{METERS} × {PROFILE}: {blocks} requests each, turnaround {TURNAROUND:?}, 8N1, {MEASURE:?} each"
    );
    println!(
        "{:>7} {:>11} {:>9} {:>10} {:>7} {:>7} {:>22}",
        "baud", "formula ms", "mean ms", "worst ms", "ratio", "cycles", "shortest silence"
    );
    for baud in [9600, 19_200, 38_400, 115_200] {
        measure(&profile, baud)?;
    }
    Ok(())
}

fn measure(profile: &Arc<Profile>, baud: u32) -> Result<(), Box<dyn Error>> {
    let (cycles, seen) = run(profile, baud)?;
    let pace = Pace::new(baud, false, 1);
    let formula = cycle_by_formula(profile, pace);
    let count = u32::try_from(cycles.len())?;
    let mean = cycles.iter().sum::<Duration>() / count;
    let worst = cycles.iter().max().copied().unwrap_or_default();
    let silence = seen.shortest_silence.unwrap_or_default();
    println!(
        "{baud:>7} {:>11.2} {:>9.2} {:>10.2} {:>7.4} {:>7} {:>10.2} of {:.2} chars",
        ms(formula),
        ms(mean),
        ms(worst),
        mean.as_secs_f64() / formula.as_secs_f64(),
        count,
        silence.as_secs_f64() / pace.character().as_secs_f64(),
        pace.silence().as_secs_f64() / pace.character().as_secs_f64()
    );
    Ok(())
}

fn cycle_by_formula(profile: &Profile, pace: Pace) -> Duration {
    let all: Vec<usize> = (0..profile.points.len()).collect();
    let one = |octets: usize| pace.octets(8 + 5 + octets) + pace.silence() + TURNAROUND;
    let blocks = plan_points(profile, &all);
    blocks.iter().map(|block| one(block.request.reply_data_octets())).sum::<Duration>() * u32::from(METERS)
}

/// The time from each scan of the last meter to the next one, and what the wire saw.
fn run(profile: &Arc<Profile>, baud: u32) -> Result<(Vec<Duration>, Statistics), Box<dyn Error>> {
    let wire = wire::start(WireConfig {
        meters: (1..=METERS).map(|unit| Meter::new(Arc::clone(profile), unit, 1)).collect(),
        baud,
        path: None,
        turnaround: TURNAROUND,
        faults: Faults::new(Vec::new(), 1),
    })?;
    let device = |unit: u8| -> Result<DeviceConfig, Box<dyn Error>> {
        let name = format!("m{unit}").parse()?;
        let device = DeviceConfig::new(name, unit, Arc::clone(profile), Every::Continuous);
        Ok(DeviceConfig { retries: 0, ..device })
    };
    let port = SerialConfig::new(wire.path(), baud);
    let config = LineConfig {
        name: "bench".parse()?,
        port: PortConfig::Serial(port),
        devices: (1..=METERS).map(device).collect::<Result<_, _>>()?,
        max_probe: bus::MAX_PROBE,
    };
    let (scans_in, mut scans) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let line = bus::start(config, bus::capture::Tap::none(), Arc::new(SystemClock), scans_in, stop.clone())?;
    let last = format!("m{METERS}");
    let (mut cycles, mut before) = (Vec::new(), None);
    let start = Instant::now();
    while start.elapsed() < MEASURE {
        let scan = scans.blocking_recv().ok_or("the line has ended")?;
        if scan.fields.iter().any(|field| field.octets.is_err()) {
            return Err(format!("{}: a reply went wrong", scan.device).into());
        }
        if scan.device.as_str() == last {
            let now = Instant::now();
            cycles.extend(before.replace(now).map(|before: Instant| now - before));
        }
    }
    stop.cancel();
    drop(scans);
    let _ = line.ended.blocking_recv();
    let seen = wire.statistics();
    wire.stop()?;
    Ok((cycles, seen))
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
