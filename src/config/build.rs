//! From the checked tree to the configuration: what the table alone cannot say.

use super::devices::Profiles;
use super::{Config, adapt, devices, endpoints, uplinks, upstreams};
use crate::bus::{self, LineConfig, PortConfig};
use crate::model::Name;
use crate::profile::Profile;
use crate::profile::yaml::{Content, Node, Place, Problem, Report, nearest, scalar};
use crate::{app, serve, spool};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The spool's commit interval: below a second flash wears, beyond a minute a power cut costs too much.
const COMMIT_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// Below a second probes are polls; beyond an hour nobody waits for a meter to be found again.
const MAX_PROBES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// What every part of the building needs: where paths start, and what was doubtful.
pub(super) struct Ground<'a> {
    pub(super) base: &'a Path,
    pub(super) warnings: Vec<Problem>,
    /// Every point of a device that is configured.
    pub(super) points: BTreeSet<Name>,
    /// The devices, and the points of each.
    pub(super) devices: BTreeMap<Name, Arc<Profile>>,
}

impl Ground<'_> {
    /// Whether this is a device, or one's point as `device.point`.
    pub(super) fn has(&self, name: &str) -> bool {
        let (device, point) =
            name.split_once('.').map_or((name, None), |(device, point)| (device, Some(point)));
        let profile =
            self.devices.iter().find(|(name, _)| name.as_str() == device).map(|(_, profile)| profile);
        profile.is_some_and(|profile| {
            point.is_none_or(|point| profile.points.iter().any(|known| known.name.as_str() == point))
        })
    }

    /// The `device.point` that is most like this one.
    pub(super) fn nearest_of(&self, device: &str, point: &str) -> Option<String> {
        let device = nearest(device, self.devices.keys().map(Name::as_str))?;
        let (_, profile) = self.devices.iter().find(|(name, _)| name.as_str() == device)?;
        let point = nearest(point, profile.points.iter().map(|known| known.name.as_str()))?;
        Some(format!("{device}.{point}"))
    }
}

/// What the walk has refused is left out here without another word.
pub(super) fn config(root: &Node, base: &Path, dirs: &[PathBuf], report: &mut Report<'_>) -> Config {
    let mut ground = Ground { base, warnings: Vec::new(), points: BTreeSet::new(), devices: BTreeMap::new() };
    let units = adapt::units(root.get("units"), report);
    let mut profiles = Profiles::new(base, dirs, units);
    let gateway = gateway(root);
    let lines = lines(root.get("lines"), &mut profiles, &mut ground, report);
    let devices = lines.iter().flat_map(|line| &line.devices);
    ground.points =
        devices.flat_map(|device| device.profile.points.iter().map(|point| point.name.clone())).collect();
    let devices = lines.iter().flat_map(|line| &line.devices);
    ground.devices = devices.map(|device| (device.name.clone(), Arc::clone(&device.profile))).collect();
    let spool = spool(root.get("spool"), base, report);
    let upstreams = upstreams::build(root.get("upstreams"), &gateway, &mut ground, report);
    let uplinks = uplinks::build(root.get("uplinks"), report);
    upstreams::wired_only_without_wires(root.get("upstreams"), &uplinks, report);
    upstreams::outside_of(&spool.dir, root.get("upstreams"), base, report);
    if upstreams.is_empty() && root.get("upstreams").is_none_or(|list| list.items().is_empty()) {
        let place = root.entry("upstreams").map_or(&root.place, |entry| &entry.at);
        ground.warnings.push(report.problem(
            place,
            "there is no upstream: readings are kept and go nowhere",
            None,
        ));
    }
    let http = root
        .get("http")
        .and_then(|http| text(http, "listen"))
        .and_then(|listen| endpoints::listen(listen).ok());
    let hash = hash(root, profiles.used());
    let (wire, doubts) = profiles.told();
    ground.warnings.extend(doubts);
    Config {
        gateway,
        lines,
        spool,
        upstreams,
        uplinks,
        http: http.map(|listen| serve::Config { listen }),
        clock: clock(root.get("clock"), base, report),
        hash,
        wire,
        warnings: ground.warnings,
    }
}

pub(super) fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key)?.scalar().map(|scalar| scalar.text.as_str())
}

pub(super) fn whole<T: TryFrom<i128>>(node: &Node, key: &str) -> Option<T> {
    scalar::whole(node.get(key)?.scalar()?).ok().and_then(|n| T::try_from(n).ok())
}

pub(super) fn flag(node: &Node, key: &str) -> Option<bool> {
    scalar::flag(node.get(key)?.scalar()?)
}

pub(super) fn duration(node: &Node, key: &str) -> Option<Duration> {
    scalar::duration(node.get(key)?.scalar()?).ok()
}

pub(super) fn name(node: &Node) -> Option<Name> {
    text(node, "name").and_then(|name| name.parse().ok())
}

fn gateway(root: &Node) -> Name {
    let given = root.get("gateway").and_then(|gateway| text(gateway, "id")).and_then(|id| id.parse().ok());
    given.unwrap_or_else(host_name)
}

/// What a gateway is called that nobody has given a name.
pub fn host_name() -> Name {
    Name::from_host(&rustix::system::uname().nodename().to_string_lossy())
}

/// Tells of names and other things that may stand only once.
#[derive(Debug, Default)]
pub(super) struct Once(BTreeMap<String, Place>);

impl Once {
    /// False when it was there already, which is then reported.
    pub(super) fn enter(&mut self, what: &str, value: &str, place: &Place, report: &mut Report<'_>) -> bool {
        let Some(first) = self.0.get(value) else {
            self.0.insert(value.to_owned(), place.clone());
            return true;
        };
        let line = first.line;
        let first = if first.overlay.is_some() { String::new() } else { format!(" (first in line {line})") };
        report.at(place, format!("{what} `{value}` is there twice{first}"));
        false
    }
}

fn lines(
    list: Option<&Node>,
    profiles: &mut Profiles<'_>,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Vec<LineConfig> {
    let (mut names, mut ports, mut device_names) = (Once::default(), Once::default(), Once::default());
    let mut lines = Vec::new();
    for node in list.map(Node::items).unwrap_or_default() {
        let name = name(node);
        if let (Some(name), Some(place)) = (&name, node.get("name").map(|n| &n.place)) {
            names.enter("the line", name.as_str(), place, report);
        }
        let port = port(node, &mut ports, ground, report);
        let devices = devices::build(node, profiles, &mut device_names, ground, report);
        if let (Some(name), Some(port)) = (name, port) {
            let max_probe = max_probe(node, report);
            lines.push(LineConfig { name, port, devices, max_probe });
        }
    }
    lines
}

fn port(
    line: &Node,
    ports: &mut Once,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<PortConfig> {
    if let Some(tcp) = line.get("tcp") {
        let address = endpoints::address(text(tcp, "address")?).ok()?;
        ports.enter("the endpoint", &address, &tcp.get("address")?.place, report);
        let in_flight = whole(tcp, "in_flight").unwrap_or(bus::IN_FLIGHT);
        return Some(PortConfig::Tcp { address, in_flight });
    }
    if let Some(tcp) = line.get("rtu_over_tcp") {
        let address = endpoints::address(text(tcp, "address")?).ok()?;
        ports.enter("the endpoint", &address, &tcp.get("address")?.place, report);
        return Some(PortConfig::RtuOverTcp { address });
    }
    super::serial::build(line.get("serial")?, ports, ground, report).map(PortConfig::Serial)
}

fn max_probe(line: &Node, report: &mut Report<'_>) -> Duration {
    let (Some(given), Some(at)) = (duration(line, "max_probe"), line.get("max_probe")) else {
        return bus::MAX_PROBE;
    };
    if !MAX_PROBES.contains(&given) {
        report.at(&at.place, format!("`max_probe`: expected 1s to 1h, found {}", at.found()));
    }
    given
}

fn spool(node: Option<&Node>, base: &Path, report: &mut Report<'_>) -> spool::Config {
    let plain = spool::Config::default();
    let Some(node) = node else { return plain };
    if let (Some(every), Some(given)) = (duration(node, "commit_every"), node.get("commit_every"))
        && !COMMIT_EVERY.contains(&every)
    {
        report.at(&given.place, format!("`commit_every`: expected 1s to 60s, found {}", given.found()));
    }
    spool::Config {
        dir: text(node, "dir").map_or(plain.dir, |dir| base.join(dir)),
        max_size: node.get("max_size").and_then(|n| scalar::size(n.scalar()?).ok()).unwrap_or(plain.max_size),
        max_age: duration(node, "max_age").or(plain.max_age),
        commit_every: duration(node, "commit_every").unwrap_or(plain.commit_every),
        when_full: match text(node, "when_full") {
            Some("refuse-new") => spool::WhenFull::RefuseNew,
            _ => plain.when_full,
        },
    }
}

fn clock(node: Option<&Node>, base: &Path, report: &mut Report<'_>) -> app::time::Config {
    let Some(node) = node else { return app::time::Config::default() };
    let trust_always = text(node, "trust") == Some("always");
    if let Some(file) = node.get("sync_file").filter(|_| trust_always) {
        report.at(&file.place, "`sync_file` has nothing to say with `trust: always`: leave one of them out");
    }
    let sync_file = text(node, "sync_file").map(|path| base.join(path));
    app::time::Config { trust_always, sync_file }
}

/// Over the tree with its keys in order, and over what the profiles mean.
fn hash<'p>(root: &Node, profiles: impl Iterator<Item = &'p Arc<Profile>>) -> String {
    let mut text = String::new();
    canonical(root, &mut text);
    let sum = profiles.fold(crc32c::crc32c(text.as_bytes()), |sum, profile| {
        crc32c::crc32c_append(sum, format!("{profile:?}").as_bytes())
    });
    format!("{sum:08x}")
}

fn canonical(node: &Node, text: &mut String) {
    match &node.content {
        Content::Scalar(scalar) => text.push_str(&format!("{:?}", scalar.text)),
        Content::List(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Content::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
            text.push('{');
            for entry in sorted {
                text.push_str(&format!("{:?}:", entry.key));
                canonical(&entry.value, text);
                text.push(',');
            }
            text.push('}');
        }
    }
}
