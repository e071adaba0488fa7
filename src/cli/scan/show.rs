//! What was found, for people, for programs, and as configuration.

use super::fit::LEAST_CONFIDENCE;
use super::identify::Identified;
use crate::bus::scan::{How, Settings};
use crate::bus::{PortConfig, SerialConfig};
use crate::cli::compose::{self, DeviceDraft, LineDraft};
use crate::cli::{network, quoted};
use crate::profile::Parity;
use std::path::Path;

/// So many profiles beside the best are named.
const ALSO: usize = 3;
/// From here on it is hardly another.
const NEARLY_SURE: f64 = 0.8;

/// One device on the port that was scanned.
#[derive(Debug, Clone)]
pub(super) struct Device {
    /// As it was given.
    pub port: String,
    pub identified: Identified,
}

impl Device {
    /// The profile, where one fits well enough to be named, and how sure that is.
    pub(super) fn best(&self) -> Option<(&std::sync::Arc<crate::profile::Profile>, f64)> {
        let fit = self.identified.fits.first().filter(|fit| fit.confidence >= LEAST_CONFIDENCE)?;
        let sound = self.identified.found.how == How::Answered && !self.has_two();
        sound.then_some((&fit.profile, fit.confidence))
    }

    fn has_two(&self) -> bool {
        self.identified.notes.iter().any(|note| note.starts_with("two devices"))
    }

    /// Other profiles that may be its own.
    fn also(&self) -> impl Iterator<Item = (&str, f64)> {
        let taken = usize::from(self.best().is_some());
        let worth = self.identified.fits.iter().skip(taken).filter(|fit| fit.confidence >= 0.05);
        worth.take(ALSO).map(|fit| (fit.profile.name.as_str(), fit.confidence))
    }

    fn name(&self) -> String {
        let known: Vec<&str> =
            self.identified.evidence.identity.iter().map(|(_, text)| text.as_str()).collect();
        known.join(", ")
    }

    /// One line.
    pub(super) fn line(&self) -> String {
        let found = &self.identified.found;
        let at = found.settings.map_or_else(String::new, |settings| format!(" at {settings}"));
        let what = match self.best() {
            Some((profile, confidence)) => {
                let model =
                    format!("{} ({} {}), {confidence:.2}", profile.name, profile.vendor, profile.model);
                if confidence < NEARLY_SURE { format!("perhaps {model}") } else { model }
            }
            None if found.how != How::Answered || self.has_two() => "no profile".to_owned(),
            None => "no profile of the library".to_owned(),
        };
        let mut text = format!("unit {}{at}: {what}", found.unit);
        let also: Vec<String> = self.also().map(|(name, sure)| format!("{name} {sure:.2}")).collect();
        if !also.is_empty() && self.best().is_none_or(|(_, confidence)| confidence < NEARLY_SURE) {
            text.push_str(&format!("\n  or {}", also.join(", ")));
        }
        if !self.name().is_empty() {
            text.push_str(&format!("\n  says it is {}", self.name()));
        }
        for note in &self.identified.notes {
            text.push_str(&format!("\n  {note}"));
        }
        text
    }

    /// `port, baud, parity, stop_bits, unit, profile, confidence, identity{}`, and then `also`, `notes`.
    pub(super) fn json(&self) -> String {
        let Identified { found, evidence, notes, .. } = &self.identified;
        let (baud, parity, stop) = found.settings.map_or(
            ("null".to_owned(), "null".to_owned(), "null".to_owned()),
            |Settings { baud, parity, stop_bits }| {
                (baud.to_string(), quoted(parity_word(parity)), stop_bits.to_string())
            },
        );
        let (profile, confidence) = self.best().map_or_else(
            || ("null".to_owned(), "0".to_owned()),
            |(profile, confidence)| (quoted(&profile.name), format!("{confidence}")),
        );
        let identity: Vec<String> =
            evidence.identity.iter().map(|(key, text)| format!("{}:{}", quoted(key), quoted(text))).collect();
        let also: Vec<String> = self
            .also()
            .map(|(name, sure)| format!("{{\"profile\":{},\"confidence\":{sure}}}", quoted(name)))
            .collect();
        let notes: Vec<String> = notes.iter().map(|note| quoted(note)).collect();
        format!(
            "{{\"port\":{},\"baud\":{baud},\"parity\":{parity},\"stop_bits\":{stop},\"unit\":{},\"profile\":{profile},\
             \"confidence\":{confidence},\"identity\":{{{}}},\"also\":[{}],\"notes\":[{}]}}",
            quoted(&self.port),
            found.unit,
            identity.join(","),
            also.join(","),
            notes.join(",")
        )
    }

    fn draft(&self) -> DeviceDraft {
        let unit = self.identified.found.unit;
        let (profile, comment) = match self.best() {
            Some((profile, confidence)) => {
                let also: Vec<&str> = self.also().map(|(name, _)| name).collect();
                let or = if confidence < NEARLY_SURE && !also.is_empty() {
                    format!("; or {}", also.join(", "))
                } else {
                    String::new()
                };
                let doubt = if confidence < NEARLY_SURE { "perhaps " } else { "" };
                (Some(profile), format!("{doubt}{} {}, {confidence:.2}{or}", profile.vendor, profile.model))
            }
            None => (
                None,
                self.identified.notes.first().cloned().unwrap_or_else(|| {
                    "which profile? `linesman profiles list`, `linesman read … --all-orders`".to_owned()
                }),
            ),
        };
        let stem = profile.map_or("device", |profile| profile.name.as_str());
        let name = format!("{}-{unit}", stem.chars().take(58).collect::<String>());
        DeviceDraft { name, profile: profile.cloned(), path: None, unit, comment }
    }
}

fn parity_word(parity: Parity) -> &'static str {
    match parity {
        Parity::None => "none",
        Parity::Even => "even",
        Parity::Odd => "odd",
    }
}

/// The lines of a configuration, one for each port. Names of devices are unique among all of them.
pub(super) fn lines(devices: &[Device]) -> Vec<LineDraft> {
    let mut ports: Vec<&str> = Vec::new();
    for device in devices {
        if !ports.contains(&device.port.as_str()) {
            ports.push(&device.port);
        }
    }
    let (mut serial, mut lan, mut taken) = (0, 0, Vec::new());
    let mut drafts = Vec::new();
    for port in ports {
        let here: Vec<&Device> = devices.iter().filter(|device| device.port == port).collect();
        let name = if network::is_network(port) {
            lan += 1;
            format!("lan-{lan}")
        } else {
            serial += 1;
            format!("rs485-{serial}")
        };
        drafts.push(line(name, port, &here, &mut taken));
    }
    drafts
}

fn line(name: String, port: &str, here: &[&Device], taken: &mut Vec<String>) -> LineDraft {
    let mut draft = |device: &Device| {
        let mut draft = device.draft();
        if taken.contains(&draft.name) {
            draft.name = format!("{}-{name}", draft.name).chars().take(64).collect();
        }
        taken.push(draft.name.clone());
        draft
    };
    let Some(settings) = most_common(here) else {
        let config = network::port(port).ok().flatten();
        let port = config.unwrap_or_else(|| PortConfig::Serial(SerialConfig::new(Path::new(port), 9600)));
        let devices = here.iter().map(|device| draft(device)).collect();
        return LineDraft { name, port, every: None, devices, remarks: Vec::new() };
    };
    let at = |device: &&&Device| device.identified.found.settings == Some(settings);
    let devices = here.iter().filter(at).map(|device| draft(device)).collect();
    let mut remarks = Vec::new();
    for device in here.iter().filter(|device| !at(device)) {
        if remarks.is_empty() {
            remarks.push(format!(
                "These have other settings, and a line has one. Set them to {settings} at the device, then take away the #:"
            ));
        }
        let at = device.identified.found.settings.map_or_else(String::new, |settings| settings.to_string());
        let draft = draft(device);
        remarks.push(format!("- {}  # {at} now; {}", draft.entry(), draft.comment));
    }
    let path = compose::stable(Path::new(port));
    LineDraft { name, port: PortConfig::Serial(settings.of_port(&path)), every: None, devices, remarks }
}

/// The settings of most devices; of the first, where there are as many of others.
fn most_common(here: &[&Device]) -> Option<Settings> {
    let count = |settings: Settings| {
        here.iter().filter(|device| device.identified.found.settings == Some(settings)).count()
    };
    let all = here.iter().filter_map(|device| device.identified.found.settings);
    all.rev().max_by_key(|settings| count(*settings))
}
