//! `linesman check`: all that is wrong with a configuration and its profiles; opens no port and no socket.

use super::plan::is_full;
use super::{ConfigArguments, Exit};
use crate::bus::{ASSUMED_TURNAROUND, DeviceConfig, LineConfig, LineLoad, PortConfig};
use crate::config::{self, Config, Overlays};
use crate::modbus::Framing;
use crate::profile::{Every, Parity};
use crate::upstream::{self, Kind, mqtt};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    from: ConfigArguments,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let config = match load(arguments.from) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let loads: Vec<LineLoad> =
        config.lines.iter().map(|line| LineLoad::of(line, ASSUMED_TURNAROUND)).collect();
    let doubts = config.warnings.iter().map(ToString::to_string);
    let mut doubts = doubts.chain(loads.iter().filter_map(heavy));
    let warned = doubts.try_for_each(|w| writeln!(io::stderr().lock(), "warning: {w}"));
    let said = io::stdout().lock().write_all(summary(&config, &loads).as_bytes());
    if warned.and(said).is_ok() { Exit::Done } else { Exit::Io }
}

/// The configuration, or all that is wrong with it on standard error.
pub(super) fn load(from: ConfigArguments) -> Result<Config, Exit> {
    let overlays = Overlays::from_environment(from.set);
    config::load(&from.config, &overlays).map_err(|problems| {
        let count = many(problems.len(), "problem");
        match writeln!(io::stderr().lock(), "{problems}\n{count}") {
            Ok(()) => Exit::Config,
            Err(_) => Exit::Io,
        }
    })
}

/// A line that is asked for more than it can carry well.
fn heavy(load: &LineLoad) -> Option<String> {
    let percent = load.periodic * 100.0;
    let what = if !load.unmet.is_empty() {
        "and some periods cannot be kept"
    } else if is_full(load) {
        "which leaves little for retries and another meter"
    } else {
        return None;
    };
    Some(format!("line {}: load {percent:.0} %, {what}: `linesman plan` says what would help", load.name))
}

/// What the configuration comes to, for somebody who wants to see that it was understood.
fn summary(config: &Config, loads: &[LineLoad]) -> String {
    let mut text = format!("gateway {}, configuration {}\n", config.gateway, config.hash);
    for (line, load) in config.lines.iter().zip(loads) {
        text.push_str(&line_summary(line, load));
    }
    for (n, wire) in config.wire.iter().enumerate() {
        let head = if n == 0 { "on the wire, counted from 0:\n" } else { "" };
        let _ = writeln!(text, "{head}  {wire}");
    }
    let spool = &config.spool;
    let age = spool.max_age.map_or_else(String::new, |age| format!(", {}", span(age)));
    let _ = writeln!(
        text,
        "spool {}: at most {} MiB{age}, durable every {}",
        spool.dir.display(),
        spool.max_size >> 20,
        span(spool.commit_every)
    );
    for upstream in &config.upstreams {
        let _ = writeln!(text, "upstream {}: {}", upstream.name, target(upstream));
    }
    let _ = match &config.http {
        Some(http) => writeln!(text, "http {}", http.listen),
        None => writeln!(text, "http: no listener"),
    };
    let devices = config.lines.iter().flat_map(|line| &line.devices);
    let points: usize = devices.clone().map(|device| device.profile.points.len()).sum();
    let (lines, devices) = (many(config.lines.len(), "line"), many(devices.count(), "device"));
    let _ = writeln!(text, "good: {lines}, {devices}, {}", many(points, "point"));
    text
}

/// What a line is made of, in few words.
pub(super) fn port(line: &LineConfig) -> String {
    match &line.port {
        PortConfig::Serial(serial) => {
            let parity = match serial.parity {
                Parity::None => 'N',
                Parity::Even => 'E',
                Parity::Odd => 'O',
            };
            let (port, bits) = (serial.port.display(), serial.data_bits);
            let framing = if serial.framing == Framing::Ascii { ", ASCII" } else { "" };
            format!("{port}, {} {bits}{parity}{}{framing}", serial.baud, serial.stop_bits)
        }
        PortConfig::Tcp { address, .. } => format!("tcp {address}"),
        PortConfig::RtuOverTcp { address } => format!("RTU over tcp {address}"),
    }
}

fn line_summary(line: &LineConfig, load: &LineLoad) -> String {
    let mut text = format!("line {}: {}\n", line.name, port(line));
    for device in &line.devices {
        let off = if device.enabled { "" } else { ", not enabled" };
        let (name, unit, profile) = (&device.name, device.unit, &device.profile.name);
        let points = if device.is_unwalked() { unwalked(device) } else { periods(device) };
        let _ = writeln!(text, "  {name}: unit {unit}, {profile}, {points}{off}");
    }
    let _ = match load.continuous {
        Some(_) => writeln!(text, "  load 100 % by design, {:.0} % of it periodic", load.periodic * 100.0),
        None => writeln!(text, "  load {:.0} %", load.periodic * 100.0),
    };
    text
}

fn unwalked(device: &DeviceConfig) -> String {
    let usual = device.wishes.as_ref().map(|wishes| wishes.usual());
    let every = usual.map_or_else(String::new, |usual| match usual {
        Every::Period(period) => format!("; read every {}", span(period)),
        Every::Continuous => "; read continuously".to_owned(),
    });
    format!("points are found when the device answers{every}")
}

/// `34 points every 1s, 4 every 60s`.
fn periods(device: &DeviceConfig) -> String {
    let mut counts: BTreeMap<Duration, usize> = BTreeMap::new();
    for every in &device.every {
        let period = match every {
            Every::Period(period) => *period,
            Every::Continuous => Duration::ZERO,
        };
        *counts.entry(period).or_default() += 1;
    }
    let mut parts = Vec::new();
    for (period, count) in counts {
        let points = if parts.is_empty() { if count == 1 { " point" } else { " points" } } else { "" };
        let how =
            if period.is_zero() { "continuously".to_owned() } else { format!("every {}", span(period)) };
        parts.push(format!("{count}{points} {how}"));
    }
    parts.join(", ")
}

fn target(upstream: &upstream::Config) -> String {
    match &upstream.kind {
        Kind::Mqtt(mqtt) => {
            format!("{}, topic {}", brokers(&mqtt.access), mqtt.topic)
        }
        Kind::Sparkplug(spark) => {
            format!("{}, group {}, edge node {}", brokers(&spark.access), spark.group, spark.node)
        }
        Kind::Postgres(config) => {
            format!("postgresql://{}/{}, table {}", config.to, config.database, config.table)
        }
        Kind::File(file) => format!("file {}", file.path.display()),
        Kind::Stdout => "standard output".to_owned(),
        Kind::Influx(web) | Kind::Http(web) | Kind::Prometheus(web) => {
            let scheme = if web.tls.is_some() { "https" } else { "http" };
            format!("{} {scheme}://{}{}", upstream.kind.word(), web.endpoint, web.path)
        }
    }
}

fn brokers(access: &mqtt::Access) -> String {
    let scheme = if access.tls.is_some() { "mqtts" } else { "mqtt" };
    let brokers: Vec<String> = access.brokers.iter().map(|to| format!("{scheme}://{to}")).collect();
    brokers.join(", then ")
}

pub(super) fn many(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// A span as the configuration writes it.
pub(super) fn span(span: Duration) -> String {
    let ms = span.as_millis();
    for (unit, size) in [("d", 86_400_000_u128), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms >= size && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}
