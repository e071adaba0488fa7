//! `linesman init`: five questions, or a flag for each, and a commented configuration that runs.

use super::check::many;
use super::compose::{self, DeviceDraft, Draft, LineDraft};
use super::{Exit, complain, network, say, scan};
use crate::bus::{PortConfig, SerialConfig};
use crate::config::{self, Overlays};
use crate::model::Name;
use crate::profile::{self, Parity, Profile};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What somebody says who has no broker.
const NO_BROKER: &str = "none";
const SCAN: &str = "scan";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to write; one that is there stays as it is.
    #[arg(value_name = "FILE", default_value = "linesman.yaml")]
    file: PathBuf,
    /// Where the meters are: a serial port, `tcp://HOST[:PORT]`, or `rtu+tcp://HOST:PORT` (a device server).
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// A meter: its profile and unit id, as in `eastron-sdm630@1`; once for each. Or `scan`: look who is there.
    #[arg(long = "device", value_name = "PROFILE@UNIT")]
    devices: Vec<String>,
    /// Baud rate, data bits, parity and stop bits, as in `9600 8N1`; the first profile's factory settings unless given.
    #[arg(long, value_name = "SETTINGS", value_parser = line_settings)]
    settings: Option<LineSettings>,
    /// Where readings go: `mqtt://HOST[:PORT]`, or `none` for a file.
    #[arg(long, value_name = "URL")]
    mqtt: Option<String>,
    /// The gateway's name in all topics; the host's unless given.
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
}

/// Baud rate, parity, stop bits.
type LineSettings = (u32, Parity, u8);

/// What was answered, by flags or by a person.
#[derive(Debug, Clone, Default)]
struct Answers {
    port: String,
    devices: Vec<String>,
    settings: Option<LineSettings>,
    mqtt: Option<String>,
    gateway: Option<String>,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    if arguments.file.symlink_metadata().is_ok() {
        let file = arguments.file.display();
        complain(&format_args!("linesman init: {file} is there already, and stays as it is"));
        return Exit::Usage;
    }
    let answers = match answers(&arguments) {
        Ok(answers) => answers,
        Err(why) => {
            complain(&format_args!("linesman init: {why}"));
            return Exit::Usage;
        }
    };
    let lines = match lines(&answers) {
        Ok(lines) => lines,
        Err((exit, why)) => {
            complain(&format_args!("linesman init: {why}"));
            return exit;
        }
    };
    let draft = Draft {
        origin: ", made by `linesman init`".to_owned(),
        gateway: answers.gateway,
        lines,
        spool: "spool".to_owned(),
        mqtt: answers.mqtt,
        http: Some("127.0.0.1:8580".to_owned()),
    };
    finish(&arguments.file, &compose::file(&draft))
}

fn finish(path: &Path, text: &str) -> Exit {
    if let Err(error) = compose::write(path, text) {
        complain(&format_args!("linesman init: {}: {error}", path.display()));
        return Exit::Io;
    }
    let file = path.display();
    match config::load(path, &Overlays::default()) {
        Ok(config) => {
            let devices = config.lines.iter().map(|line| line.devices.len()).sum();
            say(&format_args!(
                "written: {file}, with {}; `linesman check --config {file}` says what it comes to, \
                 `linesman run --config {file}` runs it",
                many(devices, "device")
            ));
            Exit::Done
        }
        Err(problems) => {
            complain(&format_args!("written: {file}, but it can't run yet:\n{problems}"));
            Exit::Config
        }
    }
}

/// By flags where there is one of them, or nobody to ask; else by questions.
fn answers(arguments: &Arguments) -> Result<Answers, String> {
    let Arguments { port, devices, settings, mqtt, gateway, .. } = arguments;
    let given =
        port.is_some() || !devices.is_empty() || settings.is_some() || mqtt.is_some() || gateway.is_some();
    if !given && io::stdin().is_terminal() {
        return ask(&mut io::stdin().lock(), &mut io::stdout(), &ports());
    }
    let missing = |flag: &str| format!("nobody to ask: {flag} is missing (see linesman init --help)");
    if devices.is_empty() {
        return Err(missing("--device PROFILE@UNIT, or --device scan,"));
    }
    Ok(Answers {
        port: port.clone().ok_or_else(|| missing("--port"))?,
        devices: devices.clone(),
        settings: *settings,
        mqtt: mqtt.as_deref().map(broker).transpose()?.flatten(),
        gateway: gateway.as_deref().map(gateway_name).transpose()?,
    })
}

/// Somebody at a terminal.
struct Talk<'a> {
    from: &'a mut dyn BufRead,
    to: &'a mut dyn Write,
}

impl Talk<'_> {
    fn say(&mut self, text: &str) {
        let _ = writeln!(self.to, "{text}");
    }

    /// Until the answer is one; an empty line takes what stands in brackets.
    fn ask(
        &mut self,
        text: &str,
        usual: &str,
        right: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, String> {
        loop {
            let shown = if usual.is_empty() { String::new() } else { format!(" [{usual}]") };
            let _ = write!(self.to, "{text}{shown}: ").and_then(|()| self.to.flush());
            let mut line = String::new();
            if self.from.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
                return Err("no answer".to_owned());
            }
            let answer = if line.trim().is_empty() { usual } else { line.trim() };
            match right(answer) {
                Ok(()) => return Ok(answer.to_owned()),
                Err(why) => self.say(&format!("  {why}")),
            }
        }
    }
}

fn ask(from: &mut dyn BufRead, to: &mut dyn Write, ports: &[String]) -> Result<Answers, String> {
    let mut talk = Talk { from, to };
    if ports.len() > 1 {
        talk.say(&format!("serial ports here:\n  {}", ports.join("\n  ")));
    }
    let usual = ports.first().map_or("", String::as_str);
    let port = talk.ask("1/5 where are the meters? a serial port, or tcp://HOST[:PORT]", usual, &|port| {
        if port.is_empty() {
            Err("a port, such as /dev/ttyUSB0".to_owned())
        } else {
            network::port(port).map(|_| ())
        }
    })?;
    let meters = "2/5 which? `scan` looks who is there; or PROFILE@UNIT, more with commas between them";
    let devices =
        split(&talk.ask(meters, SCAN, &|text| split(text).iter().try_for_each(|text| known(text)))?);
    let settings = ask_settings(&mut talk, &port, &devices)?;
    let mqtt =
        talk.ask("4/5 which MQTT broker? mqtt://HOST[:PORT], or none for a file", NO_BROKER, &|url| {
            broker(url).map(|_| ())
        })?;
    let host = config::host_name();
    let gateway =
        talk.ask("5/5 the gateway's name?", host.as_str(), &|name| gateway_name(name).map(|_| ()))?;
    Ok(Answers { port, devices, settings, mqtt: broker(&mqtt)?, gateway: Some(gateway) })
}

fn ask_settings(talk: &mut Talk<'_>, port: &str, devices: &[String]) -> Result<Option<LineSettings>, String> {
    let known = if devices.iter().any(|device| device == SCAN) {
        "found by the scan"
    } else if network::is_network(port) {
        "none by TCP"
    } else {
        let (baud, parity, stop) = factory(devices);
        let usual = format!("{baud} 8{}{stop}", letter(parity));
        let text = "3/5 baud rate, parity, stop bits?";
        return talk
            .ask(text, &usual, &|text| line_settings(text).map(|_| ()))
            .map(|text| line_settings(&text).ok());
    };
    talk.say(&format!("3/5 baud rate and parity: {known}"));
    Ok(None)
}

fn split(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The serial ports of this machine, by the names that stay where there are such.
fn ports() -> Vec<String> {
    let names = |folder: &str, so: fn(&str) -> bool| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(so))
            .map(|entry| entry.path().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let by_id = names("/dev/serial/by-id", |_| true);
    if !by_id.is_empty() {
        return by_id;
    }
    names("/dev", |name| ["ttyUSB", "ttyACM", "ttyAMA", "ttyRS485"].iter().any(|stem| name.starts_with(stem)))
}

fn broker(url: &str) -> Result<Option<String>, String> {
    if url == NO_BROKER {
        Ok(None)
    } else {
        scan::broker(url).map(Some).map_err(|right| format!("{url}: expected {right}"))
    }
}

fn gateway_name(name: &str) -> Result<String, String> {
    name.parse::<Name>().map(|name| name.to_string()).map_err(|why| format!("{name:?}: {why}"))
}

/// `9600 8N1`.
fn line_settings(text: &str) -> Result<LineSettings, String> {
    let right = || {
        format!(
            "{text:?}: expected settings as in 9600 8N1 (N, E or O for the parity, then 1 or 2 stop bits)"
        )
    };
    let (baud, bits) = text.trim().split_once([' ', ',']).ok_or_else(right)?;
    let baud = baud.parse().ok().filter(|baud| (50..=4_000_000).contains(baud)).ok_or_else(right)?;
    let mut letters = bits.trim().chars();
    let (data, parity, stop) = (letters.next(), letters.next(), letters.next());
    let parity = match parity.map(|parity| parity.to_ascii_uppercase()) {
        Some('N') => Parity::None,
        Some('E') => Parity::Even,
        Some('O') => Parity::Odd,
        Some(_) | None => return Err(right()),
    };
    let stop = stop.and_then(|stop| stop.to_digit(10)).and_then(|stop| u8::try_from(stop).ok());
    let stop = stop.filter(|stop| (1..=2).contains(stop) && data == Some('8') && letters.next().is_none());
    Ok((baud, parity, stop.ok_or_else(right)?))
}

fn letter(parity: Parity) -> char {
    match parity {
        Parity::None => 'N',
        Parity::Even => 'E',
        Parity::Odd => 'O',
    }
}

/// A profile and a unit id.
fn device(text: &str) -> Result<(Arc<Profile>, u8), String> {
    let (name, unit) = text.rsplit_once('@').unwrap_or((text, "1"));
    let unit = unit.parse().ok().filter(|unit| (1..=247).contains(unit));
    let unit = unit.ok_or_else(|| format!("{text}: the unit id is 1 to 247, as in {name}@1"))?;
    let profile = profile::find(name, Path::new("."), &[PathBuf::from(profile::OWN_FOLDER)]);
    profile.map(|profile| (profile, unit)).map_err(|problems| problems.to_string())
}

fn known(text: &str) -> Result<(), String> {
    if text == SCAN { Ok(()) } else { device(text).map(|_| ()) }
}

/// What the first of them leaves the factory with.
fn factory(devices: &[String]) -> LineSettings {
    let serial = devices.iter().find_map(|text| device(text).ok()?.0.serial);
    serial.map_or((9600, Parity::None, 1), |serial| (serial.baud, serial.parity, serial.stop_bits))
}

fn lines(answers: &Answers) -> Result<Vec<LineDraft>, (Exit, String)> {
    if answers.devices.iter().any(|device| device == SCAN) {
        let lines = scan::survey(&answers.port).map_err(|failure| (Exit::Io, failure.to_string()))?;
        let found = lines.iter().any(|line| line.devices.iter().any(|device| device.profile.is_some()));
        return if found {
            Ok(lines)
        } else {
            Err((Exit::Io, format!("{}: no device with a known profile", answers.port)))
        };
    }
    let mut drafts: Vec<DeviceDraft> = Vec::new();
    for text in &answers.devices {
        let (profile, unit) = device(text).map_err(|why| (Exit::Config, why))?;
        if drafts.iter().any(|other| other.unit == unit) {
            return Err((Exit::Usage, format!("{text}: two devices have unit id {unit}")));
        }
        let given = text.rsplit_once('@').map_or(text.as_str(), |(name, _)| name);
        let path = profile::is_path(given).then(|| given.to_owned());
        let name = format!("{}-{unit}", profile.name.chars().take(58).collect::<String>());
        let comment = format!("{} {}", profile.vendor, profile.model);
        drafts.push(DeviceDraft { name, profile: Some(profile), path, unit, comment });
    }
    let (name, port) = match network::port(&answers.port).map_err(|why| (Exit::Usage, why))? {
        Some(port) => ("lan-1", port),
        None => {
            let (baud, parity, stop_bits) = answers.settings.unwrap_or_else(|| factory(&answers.devices));
            let path = compose::stable(Path::new(&answers.port));
            (
                "rs485-1",
                PortConfig::Serial(SerialConfig { parity, stop_bits, ..SerialConfig::new(path, baud) }),
            )
        }
    };
    Ok(vec![LineDraft { name: name.to_owned(), port, every: None, devices: drafts, remarks: Vec::new() }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(said: &str) -> (Result<Answers, String>, String) {
        let mut shown = Vec::new();
        let answers = ask(&mut said.as_bytes(), &mut shown, &["/dev/ttyUSB0".to_owned()]);
        (answers, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn five_questions_with_an_answer_each_that_is_asked_for_until_it_is_one() {
        let (answers, shown) = asked(
            "\neastron-sdm63@1\neastron-sdm630@1,eastron-sdm120@2\n19200 8E1\nhttp://x\nmqtt://b\nplant-7\n",
        );
        let answers = answers.unwrap();
        assert_eq!(answers.port, "/dev/ttyUSB0");
        assert_eq!(answers.devices, ["eastron-sdm630@1", "eastron-sdm120@2"]);
        assert_eq!(answers.settings, Some((19_200, Parity::Even, 1)));
        assert_eq!(
            (answers.mqtt.as_deref(), answers.gateway.as_deref()),
            (Some("mqtt://b"), Some("plant-7"))
        );
        assert!(
            shown.contains("did you mean `eastron-sdm630`?") && shown.contains("http://x: expected"),
            "{shown}"
        );
        for n in 1..=5 {
            assert!(shown.contains(&format!("{n}/5 ")), "{shown}");
        }
    }

    #[test]
    fn empty_lines_take_what_is_usual_and_an_end_is_no_answer() {
        let (answers, shown) = asked("\nxy-md02-sht20\n\n\n\n");
        let answers = answers.unwrap();
        assert_eq!((answers.settings, answers.mqtt), (Some((9600, Parity::None, 1)), None));
        assert!(shown.contains("[9600 8N1]"), "{shown}");
        let (answers, shown) = asked("\n\n\n\n");
        assert!(shown.contains("found by the scan"), "{shown}");
        assert_eq!(answers.unwrap().devices, ["scan"]);
        assert_eq!(asked("\n").0.unwrap_err(), "no answer");
    }

    #[test]
    fn settings_are_written_as_everywhere() {
        assert_eq!(line_settings("9600 8N1"), Ok((9600, Parity::None, 1)));
        assert_eq!(line_settings("19200,8e2"), Ok((19_200, Parity::Even, 2)));
        for wrong in ["9600", "9600 7E1", "9600 8X1", "9600 8N3", "fast 8N1", "9600 8N1x"] {
            assert!(line_settings(wrong).is_err(), "{wrong}");
        }
    }
}
