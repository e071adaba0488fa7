//! A configuration in YAML, with a sentence at each thing that somebody may want to change: for `scan --write` and `init`.

use crate::bus::{self, ASSUMED_TURNAROUND, DeviceConfig, LineConfig, LineLoad, PortConfig, SerialConfig};
use crate::config;
use crate::model::Name;
use crate::profile::{Every, Parity, Profile};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Periods from which one is chosen, in seconds.
const PERIODS: [u64; 7] = [1, 2, 5, 10, 15, 30, 60];
/// A line that is no fuller than this has room for retries and for another meter.
const COMFORTABLE: f64 = 0.6;

/// What is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    /// Where this came from, in a sentence.
    pub origin: String,
    pub gateway: Option<String>,
    pub lines: Vec<LineDraft>,
    pub spool: String,
    /// `mqtt://HOST[:PORT]`; readings go to a file where there is none.
    pub mqtt: Option<String>,
    pub http: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct LineDraft {
    pub name: String,
    pub port: PortConfig,
    pub every: Option<Duration>,
    pub devices: Vec<DeviceDraft>,
    /// What is there and can't be on this line as it is: sentences, and the devices' own lines.
    pub remarks: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct DeviceDraft {
    pub name: String,
    /// Without one it is written as a comment.
    pub profile: Option<Arc<Profile>>,
    /// How the configuration calls the profile, where that is not its name.
    pub path: Option<String>,
    pub unit: u8,
    pub comment: String,
}

impl DeviceDraft {
    /// `{ name: …, profile: …, unit: … }`.
    pub(super) fn entry(&self) -> String {
        let profile = self.profile.as_ref().map_or("TODO", |profile| profile.name.as_str());
        let profile = self.path.as_deref().unwrap_or(profile);
        format!("{{ name: {}, profile: {}, unit: {} }}", scalar(&self.name), scalar(profile), self.unit)
    }
}

impl LineDraft {
    /// The shortest of the usual periods that leaves the line some room.
    fn period(&self) -> Duration {
        let fits = |seconds: &&u64| {
            let every = Duration::from_secs(**seconds);
            LineLoad::of(&self.line(every), ASSUMED_TURNAROUND).periodic <= COMFORTABLE
        };
        let seconds = PERIODS.iter().find(fits).copied().unwrap_or(PERIODS[PERIODS.len() - 1]);
        self.every.unwrap_or(Duration::from_secs(seconds))
    }

    fn line(&self, every: Duration) -> LineConfig {
        let device = |draft: &DeviceDraft| {
            let profile = draft.profile.as_ref()?;
            let mut config = DeviceConfig::new(
                Name::from_host(&draft.name),
                draft.unit,
                Arc::clone(profile),
                Every::Period(every),
            );
            for (point, wanted) in profile.points.iter().zip(&mut config.every) {
                *wanted = point.every.unwrap_or(*wanted);
            }
            Some(config)
        };
        let devices = self.devices.iter().filter_map(device).collect();
        LineConfig {
            name: Name::from_host(&self.name),
            port: self.port.clone(),
            devices,
            max_probe: bus::MAX_PROBE,
        }
    }

    /// A line of which no device is known is all comment: it can't run.
    fn yaml(&self) -> String {
        let known = self.devices.iter().any(|device| device.profile.is_some());
        let mut text = format!("  - name: {}\n    {}\n", scalar(&self.name), port(&self.port));
        let every = super::check::span(self.period());
        let _ = writeln!(text, "    every: {every:<22} # what a profile or a device does not say otherwise");
        let _ = writeln!(text, "    devices:");
        for device in &self.devices {
            let off = if device.profile.is_some() || !known { "" } else { "# " };
            let comment = if device.comment.is_empty() { "" } else { "  # " };
            let _ = writeln!(text, "      {off}- {}{comment}{}", device.entry(), device.comment);
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "      # {remark}");
        }
        if known { text } else { text.lines().map(|line| format!("# {line}\n")).collect() }
    }
}

/// `serial: { … }` or `tcp: { … }`.
fn port(port: &PortConfig) -> String {
    match port {
        PortConfig::Serial(serial) => format!("serial: {}", serial_entry(serial)),
        PortConfig::Tcp { address, .. } => format!("tcp: {{ address: {} }}", quoted(address)),
        PortConfig::RtuOverTcp { address } => format!("rtu_over_tcp: {{ address: {} }}", quoted(address)),
    }
}

fn serial_entry(serial: &SerialConfig) -> String {
    let parity = match serial.parity {
        Parity::None => "none",
        Parity::Even => "even",
        Parity::Odd => "odd",
    };
    let path = scalar(&serial.port.to_string_lossy());
    format!("{{ port: {path}, baud: {}, parity: {parity}, stop_bits: {} }}", serial.baud, serial.stop_bits)
}

/// The part that is the lines', ready to paste.
pub(super) fn lines(lines: &[LineDraft]) -> String {
    let all: String = lines.iter().map(LineDraft::yaml).collect();
    format!("lines:\n{all}")
}

/// A whole file.
pub(super) fn file(draft: &Draft) -> String {
    let mut text = format!(
        "# linesman's configuration{}. `linesman check --config THIS` says what it comes to,\n\
         # `linesman run --config THIS` runs it. All keys: README.md, and `linesman schema config` for editors.\n",
        draft.origin
    );
    text.push_str(&match &draft.gateway {
        Some(name) => format!("gateway: {{ id: {} }}\n", scalar(name)),
        None => {
            "# gateway: { id: plant-7 }         # in all topics; the host's name unless given\n".to_owned()
        }
    });
    text.push_str("\n# One for each serial port or Modbus TCP host. Within a serial line all have one baud rate and parity.\n");
    text.push_str(&lines(&draft.lines));
    let _ = writeln!(
        text,
        "\n# Readings stay here until each upstream has acknowledged them, and as history after that.\n\
         spool: {{ dir: {}, max_size: 1GiB, max_age: 30d }}",
        scalar(&draft.spool)
    );
    text.push_str("\n# Where readings go; each gets all of them, and none waits for another.\nupstreams:\n");
    text.push_str(&match &draft.mqtt {
        Some(url) => format!(
            "  - name: broker\n    mqtt: {{ url: {}{} }}  # also: topic, username, password_file, client_id\n\
             \x20 # - {{ name: readings, file: {{ path: readings.jsonl }} }}\n",
            quoted(url),
            insecure(url)
        ),
        None => "  - { name: readings, file: { path: readings.jsonl } }\n\
                 \x20 # - { name: broker, mqtt: { url: \"mqtt://127.0.0.1:1883\" } }\n"
            .to_owned(),
    });
    text.push_str("\n# Health, metrics and status on site; no key, no listener.\n");
    text.push_str(&match &draft.http {
        Some(listen) => format!("http: {{ listen: {} }}\n", quoted(listen)),
        None => "# http: { listen: \"127.0.0.1:8580\" }\n".to_owned(),
    });
    text
}

/// Writes a file that is not there yet.
/// What a plain broker on another machine takes beside its URL; the warning about it stays.
pub(super) fn insecure(url: &str) -> &'static str {
    if config::broker(url).is_ok_and(|broker| broker.is_open()) { ", insecure: true" } else { "" }
}

pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

/// The name of a serial port that stays when adapters change places, where there is one.
pub(super) fn stable(port: &Path) -> std::path::PathBuf {
    let target = std::fs::canonicalize(port).ok();
    let links = ["/dev/serial/by-id"].iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut names: Vec<_> = links.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let same = |path: &std::path::PathBuf| target.is_some() && std::fs::canonicalize(path).ok() == target;
    // Wherever the gateway is started from.
    let absolute = || std::path::absolute(port).unwrap_or_else(|_| port.to_owned());
    names.into_iter().find(same).unwrap_or_else(absolute)
}

/// A text as YAML takes it for a text: bare where nothing in it has a meaning.
fn scalar(text: &str) -> String {
    let bare = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    let word = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    let meant = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if bare && word && !meant.iter().any(|m| m.eq_ignore_ascii_case(text)) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

fn quoted(text: &str) -> String {
    super::quoted(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overlays};
    use crate::profile;

    fn draft() -> Draft {
        let device = |name: &str, profile: Option<&str>, unit| DeviceDraft {
            name: name.to_owned(),
            profile: profile.map(|name| profile::find(name, Path::new("."), &[]).unwrap()),
            path: None,
            unit,
            comment: "found".to_owned(),
        };
        let serial = LineDraft {
            name: "rs485-1".to_owned(),
            port: PortConfig::Serial(SerialConfig::new("/dev/serial/by-id/usb-x: y#1", 9600)),
            every: None,
            devices: vec![device("a", Some("eastron-sdm630"), 1), device("b", None, 2)],
            remarks: vec!["two more".to_owned()],
        };
        let lan = LineDraft {
            name: "lan-1".to_owned(),
            port: PortConfig::Tcp { address: "10.0.0.5:502".to_owned(), in_flight: 1 },
            devices: vec![device("c", None, 1)],
            ..serial.clone()
        };
        Draft { lines: vec![serial, lan], spool: "spool".to_owned(), ..Draft::default() }
    }

    #[test]
    fn what_is_written_loads_whatever_is_left_out() {
        for (mqtt, http, gateway) in
            [(None, None, None), (Some("mqtt://broker:1884"), Some("127.0.0.1:8580"), Some("7"))]
        {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let draft = Draft { mqtt: own(mqtt), http: own(http), gateway: own(gateway), ..draft() };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("linesman.yaml");
            write(&path, &file(&draft)).unwrap();
            let config =
                config::load(&path, &Overlays::default()).unwrap_or_else(|e| panic!("{e}\n{}", file(&draft)));
            assert_eq!((config.lines.len(), config.lines[0].devices.len()), (1, 1), "the known ones");
            assert_eq!(config.http.is_some(), http.is_some());
            assert_eq!(write(&path, "").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
    }

    #[test]
    fn a_line_is_asked_as_often_as_leaves_it_room() {
        let mut line = draft().lines.remove(0);
        let one = line.period();
        line.devices = (1..=20).map(|unit| DeviceDraft { unit, ..line.devices[0].clone() }).collect();
        assert!(one <= Duration::from_secs(2) && line.period() > one * 2, "{one:?} {:?}", line.period());
        let load = LineLoad::of(&line.line(line.period()), ASSUMED_TURNAROUND);
        assert!(load.periodic <= COMFORTABLE && load.unmet.is_empty());
    }
}
