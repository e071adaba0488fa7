//! The devices of a line: their profiles, their unit ids, and how often each point is read.

use super::build::{Ground, Once, duration, flag, name, whole};
use super::{DEFAULT_EVERY, adapt};
use crate::bus::{self, DeviceConfig};
use crate::model::{Decimal, Name};
use crate::profile::format::{TIMEOUTS, every};
use crate::profile::yaml::table::ScalarRule;
use crate::profile::yaml::{Entry, Node, Report, Scalar, nearest, scalar};
use crate::profile::{self, Every, Problem, Problems, Profile, Units, Wishes};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Parameters and their values.
type Values = Vec<(Name, Decimal)>;

/// The profiles that devices name, each read once.
#[derive(Debug)]
pub(super) struct Profiles<'a> {
    base: &'a Path,
    dirs: &'a [PathBuf],
    units: Units,
    known: BTreeMap<String, Option<Arc<Profile>>>,
    /// With parameters: devices that have the same share one.
    adapted: Vec<(Arc<Profile>, Values, Arc<Profile>)>,
    /// What goes on the wire for registers in the notation of manuals.
    wire: Vec<String>,
    /// What is allowed in them and most often a mistake.
    doubts: Vec<Problem>,
}

impl<'a> Profiles<'a> {
    /// In the owner's units.
    pub(super) fn new(base: &'a Path, dirs: &'a [PathBuf], units: Units) -> Profiles<'a> {
        let (known, adapted) = (BTreeMap::new(), Vec::new());
        Profiles { base, dirs, units, known, adapted, wire: Vec::new(), doubts: Vec::new() }
    }

    fn with_parameters(&mut self, profile: &Arc<Profile>, values: Values) -> Arc<Profile> {
        let same = |(of, with, _): &&(Arc<Profile>, Values, _)| Arc::ptr_eq(of, profile) && *with == values;
        if let Some((_, _, adapted)) = self.adapted.iter().find(same) {
            return Arc::clone(adapted);
        }
        let adapted = profile.with_parameters(&values);
        self.adapted.push((Arc::clone(profile), values, Arc::clone(&adapted)));
        adapted
    }

    pub(super) fn used(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.known.values().flatten()
    }

    /// What goes on the wire, and the doubts.
    pub(super) fn told(self) -> (Vec<String>, Vec<Problem>) {
        (self.wire, self.doubts)
    }

    fn read(&mut self, wanted: &str) -> Result<Arc<Profile>, Problems> {
        let source = profile::locate(wanted, self.base, self.dirs)?;
        let profile = source.parse()?;
        for (point, notation, table, address) in profile::notation(&source.text) {
            let table = table.word();
            self.wire.push(format!("{}: {point}: register {notation} is {table} {address}", source.file));
        }
        self.doubts.extend(profile::doubts(&source.file, &source.text, &profile).0);
        let profile = Arc::new(profile);
        let digits = "a unit of `units` would take more digits than can be kept exactly";
        profile.in_units(&self.units).ok_or_else(|| Problem::whole(&source.file, digits).into())
    }

    /// A profile's own problems are told once; that there is none is told at every device.
    fn get(&mut self, node: &Node, report: &mut Report<'_>) -> Option<Arc<Profile>> {
        let wanted = node.scalar()?.text.as_str();
        if let Some(Some(profile)) = self.known.get(wanted) {
            return Some(Arc::clone(profile));
        }
        match self.read(wanted) {
            Ok(profile) => {
                self.known.insert(wanted.to_owned(), Some(Arc::clone(&profile)));
                Some(profile)
            }
            Err(problems) => {
                match problems.0.as_slice() {
                    [whole] if whole.line == 0 => {
                        report.at_with(&node.place, &whole.message, whole.help.clone())
                    }
                    _ if self.known.contains_key(wanted) => {}
                    _ => report.adopt(problems),
                }
                self.known.insert(wanted.to_owned(), None);
                None
            }
        }
    }
}

pub(super) fn build(
    line: &Node,
    profiles: &mut Profiles<'_>,
    names: &mut Once,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Vec<DeviceConfig> {
    let line_every = text_every(line);
    let is_tcp = line.get("tcp").is_some();
    let mut units = Once::default();
    let mut devices = Vec::new();
    for node in line.get("devices").map(Node::items).unwrap_or_default() {
        if let (Some(name), Some(at)) = (name(node), node.get("name")) {
            names.enter("the device", name.as_str(), &at.place, report);
        }
        let unit = unit(node, is_tcp, &mut units, report);
        let profile = node.get("profile").and_then(|at| profiles.get(at, report));
        let device = profile.and_then(|profile| device(node, &profile, line_every, profiles, ground, report));
        if let (Some(unit), Some(device)) = (unit, device) {
            devices.push(DeviceConfig { unit, ..device });
        }
    }
    devices
}

/// Everything but the unit id.
fn device(
    node: &Node,
    profile: &Arc<Profile>,
    line_every: Option<Every>,
    profiles: &mut Profiles<'_>,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<DeviceConfig> {
    let profile = profiles.with_parameters(profile, adapt::parameters(node, profile, report));
    let wishes = wishes(node, &profile, line_every, profiles.units.clone(), report);
    let min_gap = duration(node, "min_gap").unwrap_or(profile.habits.min_gap);
    if let (true, Some(at)) = (min_gap < profile.habits.min_gap, node.get("min_gap")) {
        let least = profile.habits.min_gap.as_millis();
        let message = format!("`min_gap` is below what the profile says the meter needs: {least}ms is kept");
        ground.warnings.push(report.problem(&at.place, message, None));
    }
    let (timeout, min_timeout) = timeouts(node, &profile, report);
    Some(DeviceConfig {
        name: name(node)?,
        unit: 0,
        enabled: flag(node, "enabled").unwrap_or(true),
        timeout,
        min_timeout,
        retries: whole(node, "retries").unwrap_or(bus::RETRIES),
        min_gap: min_gap.max(profile.habits.min_gap),
        identity: adapt::identity(node, &profile, report),
        every: wishes.periods(&profile),
        wishes: profile.walks.then(|| Arc::new(wishes)),
        profile,
    })
}

/// The longest and the shortest wait for a reply: the configuration wins over the profile.
fn timeouts(node: &Node, profile: &Profile, report: &mut Report<'_>) -> (Duration, Duration) {
    for key in ["timeout", "min_timeout"] {
        if let (Some(timeout), Some(at)) = (duration(node, key), node.get(key))
            && !TIMEOUTS.contains(&timeout)
        {
            report.at(&at.place, format!("`{key}`: expected 10ms to 60s, found {}", at.found()));
        }
    }
    let given = duration(node, "min_timeout");
    let timeout = duration(node, "timeout").or(profile.habits.timeout).unwrap_or(bus::TIMEOUT);
    if let (Some(least), Some(at)) = (given, node.get("min_timeout"))
        && least > timeout
    {
        let message = format!("`min_timeout`: expected at most `timeout`, found {}", at.found());
        report.at(&at.place, message);
    }
    let min_timeout = given.or(profile.habits.min_timeout).unwrap_or(bus::MIN_TIMEOUT);
    (timeout, min_timeout.min(timeout))
}

pub(super) static UNIT_ID: ScalarRule = ScalarRule {
    expected: "a unit id from 1 to 247",
    check: unit_id,
    types: &["integer"],
    pattern: None,
    words: None,
    limits: Some((1, 255)),
    example: r#"1"#,
};

/// Modbus over Serial Line V1.02, 2.2.
fn unit_id(given: &Scalar) -> Result<(), String> {
    match scalar::whole(given)? {
        1..=247 | 255 => Ok(()),
        0 => Err("0 is the broadcast address, to which no meter answers".to_owned()),
        248..=254 => Err("248 to 255 are reserved".to_owned()),
        _ => Err("the meter's menu or DIP switches show it".to_owned()),
    }
}

/// On TCP, 255 stands for the endpoint itself (Messaging on TCP/IP Implementation Guide V1.0b, 4.4.1.2).
fn unit(node: &Node, is_tcp: bool, units: &mut Once, report: &mut Report<'_>) -> Option<u8> {
    let at = node.get("unit")?;
    let unit: u8 = whole(node, "unit")?;
    if unit == 255 && !is_tcp {
        let message = format!("`unit`: expected a unit id from 1 to 247, found {}", at.found());
        report.at_with_help(&at.place, message, "248 to 255 are reserved on a serial line");
        return None;
    }
    if units.enter("on this line, unit id", &unit.to_string(), &at.place, report) { Some(unit) } else { None }
}

fn text_every(node: &Node) -> Option<Every> {
    every(node.get("every")?.scalar()?).ok()
}

/// A point in the configuration's device wins over the device, that over the profile's point, that over the line.
fn wishes(
    node: &Node,
    profile: &Profile,
    line: Option<Every>,
    units: Units,
    report: &mut Report<'_>,
) -> Wishes {
    let own = node.get("points").map(Node::entries).unwrap_or_default();
    let names: BTreeSet<&str> = if profile.walks {
        profile::sunspec::names().collect()
    } else {
        profile.points.iter().map(|point| point.name.as_str()).collect()
    };
    let known = |name: &str| names.contains(name) || profile.walks && profile::sunspec::may_have(name);
    for entry in own.iter().filter(|entry| !known(&entry.key)) {
        let message = format!("the profile {} has no point `{}`", profile.name, entry.key.escape_debug());
        match nearest(&entry.key, names.iter().copied()) {
            Some(near) => report.at_with_help(&entry.at, message, format!("did you mean `{near}`?")),
            None => report.at_with_help(
                &entry.at,
                message,
                format!("`linesman profiles show {}` lists them", profile.name),
            ),
        }
    }
    let every = |entry: &Entry| Some((entry.key.parse().ok()?, text_every(&entry.value)?));
    Wishes {
        points: own.iter().filter_map(every).collect(),
        device: text_every(node),
        otherwise: line.unwrap_or(Every::Period(DEFAULT_EVERY)),
        units,
    }
}
