//! `linesman scan`: who is on a line or behind a host, what it is, and the configuration for it. Reads only.

mod fit;
mod identify;
mod line;
mod name;
mod network;
mod physics;
mod screen;
mod show;
mod sunspec;

use super::{CaptureArguments, Exit, complain, compose, say};
use crate::bus::Failure;
use crate::bus::capture::{Capture, Recording};
use crate::bus::scan::{End, Pastime, Settings};
use crate::config;
use crate::profile::{self, Parity, Profile};
use screen::Screen;
use show::Device;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What meters are set to, the most usual first; what the library's leave the factory with comes before.
const BAUDS: &str = "9600,19200,38400,115200,57600,4800,2400,1200";
/// A master that polls at all mostly does so within this, …
const LISTEN: Duration = Duration::from_secs(2);
/// … and has been round once within this.
const LISTEN_FOR: Duration = Duration::from_secs(60);
/// Unit ids that devices can have (Serial Line V1.02, 2.2).
const UNITS: &str = "1-247";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Serial ports, `tcp://HOST[:PORT]`, or `rtu+tcp://HOST:PORT` for RTU frames through a device server.
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<String>,
    /// Which unit ids, as in `1-20,100`.
    #[arg(long, value_name = "UNITS", default_value = UNITS, value_parser = units)]
    units: Units,
    /// Which baud rates; a comma between them.
    #[arg(long, value_name = "BAUDS", default_value = BAUDS, value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(50..=4_000_000))]
    bauds: Vec<u32>,
    /// Which parities: none, even, odd.
    #[arg(long, value_name = "PARITIES", default_value = "none,even,odd", value_delimiter = ',', value_parser = parity)]
    parities: Vec<Parity>,
    /// One stop bit finds devices with two as well.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    stop_bits: u8,
    /// How long an answer's first octet is waited for; 80ms on a line and 500ms on a network unless given. It
    /// becomes longer by itself when somebody answers late.
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    timeout: Option<Duration>,
    /// Ask everybody in three ways: for devices that say nothing to a question that they don't know.
    #[arg(long)]
    thorough: bool,
    /// How long to listen for another master before anything is asked.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = config::duration)]
    listen: Duration,
    /// Only listen: ask nothing.
    #[arg(long)]
    listen_only: bool,
    /// How long to listen where nothing may be asked.
    #[arg(long = "for", value_name = "DURATION", default_value = "1m", value_parser = config::duration)]
    listen_for: Duration,
    /// Ask also where another master talks.
    #[arg(long, conflicts_with = "listen_only")]
    talk_anyway: bool,
    /// One JSON object a device and line, as soon as it is known.
    #[arg(long)]
    json: bool,
    /// Write a complete configuration here; a file that is there stays as it is.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// With --write: the broker that readings go to, as in `mqtt://127.0.0.1:1883`.
    #[arg(long, value_name = "URL", requires = "write", value_parser = broker)]
    mqtt: Option<String>,
    #[command(flatten)]
    capture: CaptureArguments,
}

/// Unit ids in their order.
#[derive(Debug, Clone)]
struct Units(Vec<u8>);

fn units(text: &str) -> Result<Units, String> {
    let right = || format!("{text:?}: expected unit ids from 1 to 247, as in 1-20,100");
    let one = |text: &str| text.trim().parse::<u8>().ok().filter(|unit| (1..=247).contains(unit));
    let mut units = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = one(from).zip(one(to)).filter(|(from, to)| from <= to).ok_or_else(right)?;
        units.extend((from..=to).filter(|unit| !units.contains(unit)).collect::<Vec<u8>>());
    }
    Ok(Units(units))
}

fn parity(word: &str) -> Result<Parity, String> {
    profile::parity(word).ok_or_else(|| "none, even or odd".to_owned())
}

pub(super) fn broker(url: &str) -> Result<String, String> {
    config::broker(url).map(|_| url.to_owned())
}

impl Arguments {
    /// As without flags.
    fn usual(port: &str) -> Arguments {
        Arguments {
            ports: vec![port.to_owned()],
            units: Units((1..=247).collect()),
            bauds: BAUDS.split(',').filter_map(|baud| baud.parse().ok()).collect(),
            parities: vec![Parity::None, Parity::Even, Parity::Odd],
            stop_bits: 1,
            timeout: None,
            thorough: false,
            listen: LISTEN,
            listen_only: false,
            listen_for: LISTEN_FOR,
            talk_anyway: false,
            json: false,
            write: None,
            mqtt: None,
            capture: CaptureArguments { capture: None, capture_size: 0 },
        }
    }

    /// All settings to try, as they were given.
    fn settings(&self) -> Vec<Settings> {
        let of = |baud: &u32| {
            let (baud, stop_bits) = (*baud, self.stop_bits);
            self.parities
                .iter()
                .map(move |parity| Settings { baud, parity: *parity, stop_bits })
                .collect::<Vec<_>>()
        };
        self.bauds.iter().flat_map(of).collect()
    }
}

/// What all parts of a scan share.
struct Context<'a> {
    arguments: &'a Arguments,
    library: Vec<Arc<Profile>>,
    stop: CancellationToken,
    capture: Option<Capture>,
    screen: Screen,
    devices: Vec<Device>,
}

impl Context<'_> {
    fn tell(&mut self, port: &str, identified: identify::Identified) {
        let device = Device { port: port.to_owned(), identified };
        self.screen.clear();
        if self.arguments.json {
            say(&device.json())
        } else {
            say(&device.line())
        }
        self.devices.push(device);
    }

    fn found(&self, port: &str) -> usize {
        self.devices.iter().filter(|device| device.port == port).count()
    }
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let there = arguments.write.as_deref().filter(|path| path.symlink_metadata().is_ok());
    if let Some(path) = there {
        complain(&format_args!("linesman scan: {} is there already, and stays as it is", path.display()));
        return Exit::Usage;
    }
    let (capture, recording) = match arguments.capture.start() {
        Ok(capture) => capture.unzip(),
        Err(exit) => return exit,
    };
    let stop = CancellationToken::new();
    // Held to the end: it hears the signals.
    let _runtime = match listening(&stop) {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("linesman scan: cannot listen to signals: {error}"));
            return Exit::Failed;
        }
    };
    let library = library(&mut |warning| complain(&format_args!("linesman scan: {warning}")));
    let (screen, devices) = (Screen::new(), Vec::new());
    let mut context = Context { arguments: &arguments, library, stop, capture, screen, devices };
    let mut exit = Exit::Done;
    for port in &arguments.ports {
        if let Err(failure) = scan(port, &mut context) {
            context.screen.say(&format_args!("linesman scan: {failure}"));
            exit = Exit::Io;
        }
    }
    let written = conclude(&mut context);
    drop(context);
    let captured = finish(recording);
    [exit, written, captured].into_iter().find(|exit| *exit != Exit::Done).unwrap_or(Exit::Done)
}

/// Who is there, for `init`: as a scan without flags, told on standard error.
pub(super) fn survey(port: &str) -> Result<Vec<compose::LineDraft>, Failure> {
    let arguments = Arguments::usual(port);
    let stop = CancellationToken::new();
    let _runtime = listening(&stop).map_err(|error| Failure::Port {
        port: port.to_owned(),
        why: format!("cannot listen to signals: {error}"),
    })?;
    let library = library(&mut |warning| complain(&format_args!("linesman init: {warning}")));
    let (screen, devices) = (Screen::new(), Vec::new());
    let mut context = Context { arguments: &arguments, library, stop, capture: None, screen, devices };
    scan(port, &mut context)?;
    Ok(show::lines(&context.devices))
}

fn listening(stop: &CancellationToken) -> std::io::Result<tokio::runtime::Runtime> {
    let runtime = super::runtime(1)?;
    let orders = {
        let _inside = runtime.enter();
        super::run::listen_to_signals(stop)?
    };
    drop(orders);
    Ok(runtime)
}

/// The library, and the owner's own profiles, which win over those of the same name.
fn library(warn: &mut dyn FnMut(&dyn std::fmt::Display)) -> Vec<Arc<Profile>> {
    let dirs = [PathBuf::from(profile::OWN_FOLDER)];
    let mut names = profile::library::own(&dirs);
    names.extend(profile::builtin().map(str::to_owned));
    names.sort_unstable();
    names.dedup();
    let mut library = Vec::new();
    for name in names {
        match profile::find(&name, Path::new("."), &dirs) {
            Ok(profile) => library.push(profile),
            Err(problems) => warn(&problems),
        }
    }
    library
}

fn scan(port: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    let before = context.devices.len();
    let network = super::network::port(port).map_err(|why| Failure::Port { port: port.to_owned(), why })?;
    let (end, pastime) = match network {
        Some(config) => network::scan(port, config, context)?,
        None => line::scan(port, context)?,
    };
    let count = super::check::many(context.devices.len() - before, "device");
    let stopped = if end == End::Stopped { ", stopped before the end" } else { "" };
    context.screen.say(&format_args!("{port}: {count}{stopped}{}", effort(pastime)));
    Ok(())
}

/// What the search itself took, and what it had to take.
fn effort(pastime: Pastime) -> String {
    if pastime.questions == 0 {
        return String::new();
    }
    let ratio = pastime.took.as_secs_f64() / pastime.least.as_secs_f64().max(1e-9);
    format!(
        "; {} questions in {}, {ratio:.2} times what they must take",
        pastime.questions,
        screen::time(pastime.took)
    )
}

/// The configuration, shown or written.
fn conclude(context: &mut Context<'_>) -> Exit {
    context.screen.clear();
    let arguments = context.arguments;
    let lines = show::lines(&context.devices);
    let Some(path) = &arguments.write else {
        if !arguments.json && !lines.is_empty() {
            say(&format_args!("\n{}", compose::lines(&lines)));
        }
        return Exit::Done;
    };
    if lines.is_empty() {
        complain(&"linesman scan: nobody was found, so nothing is written");
        return Exit::Done;
    }
    let draft = compose::Draft {
        origin: ", made by `linesman scan`".to_owned(),
        lines,
        spool: "spool".to_owned(),
        mqtt: arguments.mqtt.clone(),
        ..compose::Draft::default()
    };
    match compose::write(path, &compose::file(&draft)) {
        Ok(()) => {
            complain(&format_args!("written: {0}; `linesman run --config {0}` runs it", path.display()));
            Exit::Done
        }
        Err(error) => {
            complain(&format_args!("linesman scan: {}: {error}", path.display()));
            Exit::Io
        }
    }
}

fn finish(recording: Option<Recording>) -> Exit {
    match recording.map_or(Ok(()), Recording::finish) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format_args!("linesman scan: the capture is not whole: {error}"));
            Exit::Io
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_numbers_and_spans_each_once() {
        assert_eq!(units("1-3,7,2").unwrap().0, [1, 2, 3, 7]);
        assert_eq!(units("1-247").unwrap().0.len(), 247);
        for wrong in ["", "0", "248", "5-3", "a", "1,,2", "1-300"] {
            assert!(units(wrong).unwrap_err().contains("1 to 247"), "{wrong}");
        }
    }
}
