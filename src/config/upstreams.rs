//! The upstreams: where each delivers to.

use super::build::{Ground, Once, duration, name, text, whole};
use super::{encodings, endpoints};
use crate::model::Name;
use crate::profile::yaml::{Node, Report, scalar};
use crate::upstream::{Config, Kind, Order, file, mqtt};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

/// The field is 16 bits of seconds (MQTT 3.1.1, 3.1.2.10); below this every hiccup is a reconnect.
const KEEP_ALIVES: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(65_535);

pub(super) fn build(
    list: Option<&Node>,
    gateway: &Name,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Vec<Config> {
    let (mut names, mut files) = (Once::default(), Once::default());
    let mut upstreams = Vec::new();
    for node in list.map(Node::items).unwrap_or_default() {
        let name = name(node);
        if let (Some(name), Some(at)) = (&name, node.get("name")) {
            names.enter("the upstream", name.as_str(), &at.place, report);
        }
        let kind = if let Some(mqtt) = node.get("mqtt") {
            mqtt_config(mqtt, gateway, ground, report).map(Kind::Mqtt)
        } else if let Some(file) = node.get("file") {
            file_config(file, &mut files, ground, report).map(Kind::File)
        } else {
            node.get("stdout").map(|_| Kind::Stdout)
        };
        if let (Some(name), Some(kind)) = (name, kind) {
            upstreams.push(ways(node, Config::new(name, kind), report));
        }
    }
    upstreams
}

/// In which order and how fast; only a broker has two lanes.
fn ways(node: &Node, mut config: Config, report: &mut Report<'_>) -> Config {
    if matches!(config.kind, Kind::Mqtt(_)) {
        if text(node, "order") == Some("strict") {
            config.order = Order::Strict;
        }
        config.history_rate = whole(node, "history_rate").and_then(NonZeroU32::new);
        return config;
    }
    config.order = Order::Strict;
    let lines = config.kind.word();
    if let Some(order) = node.get("order").filter(|_| text(node, "order") == Some("live-first")) {
        report.at(&order.place, format!("`order: live-first`: `{lines}` is written oldest first"));
    }
    if let Some(rate) = node.get("history_rate") {
        report.at(
            &rate.place,
            format!("`history_rate` says nothing to `{lines}`, which is written as fast as it goes"),
        );
    }
    config
}

fn mqtt_config(
    node: &Node,
    gateway: &Name,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<mqtt::Config> {
    let plain = mqtt::Config::default();
    let (host, port) = endpoints::broker(text(node, "url")?).ok()?;
    let password_file = text(node, "password_file").map(|path| ground.base.join(path));
    if let (Some(path), Some(at)) = (&password_file, node.get("password_file")) {
        if !path.is_file() {
            let message = format!("there is no password file {} yet", path.display());
            ground.warnings.push(report.problem(&at.place, message, None));
        }
        if node.get("username").is_none() {
            report.at(
                &at.place,
                "`password_file` without `username`: MQTT has no password without a user name",
            );
        }
    }
    if let (Some(keep_alive), Some(at)) = (duration(node, "keep_alive"), node.get("keep_alive"))
        && !KEEP_ALIVES.contains(&keep_alive)
    {
        report.at(&at.place, format!("`keep_alive`: expected 5s to 65535s, found {}", at.found()));
    }
    let topic = text(node, "topic").unwrap_or(&plain.topic);
    Some(mqtt::Config {
        host,
        port,
        topic: topic.replace("{gateway}", gateway.as_str()),
        username: text(node, "username").map(str::to_owned),
        password_file,
        client_id: text(node, "client_id").map(str::to_owned),
        keep_alive: duration(node, "keep_alive").unwrap_or(plain.keep_alive),
        batch_every: encodings::batch_every(node, report).unwrap_or(plain.batch_every),
        encoding: encodings::of(node, ground, report),
        version: if text(node, "version") == Some("5") { mqtt::Version::V5 } else { plain.version },
    })
}

fn file_config(
    node: &Node,
    files: &mut Once,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<file::Config> {
    let plain = file::Config::default();
    let path = text(node, "path")?;
    files.enter("the file", path, &node.get("path")?.place, report);
    Some(file::Config {
        path: ground.base.join(path),
        max_size: node.get("max_size").and_then(|n| scalar::size(n.scalar()?).ok()).unwrap_or(plain.max_size),
        keep: whole(node, "keep").unwrap_or(plain.keep),
        encoding: encodings::of(node, ground, report),
    })
}

/// The spool's folder is its own: a file of ours in it would be counted, rotated and cleaned with it.
pub(super) fn outside_of(spool: &Path, list: Option<&Node>, base: &Path, report: &mut Report<'_>) {
    for node in list.map(Node::items).unwrap_or_default() {
        let path = node.get("file").and_then(|file| file.get("path"));
        if let Some(path) = path
            && let Some(scalar) = path.scalar()
            && base.join(&scalar.text).starts_with(spool)
        {
            let message =
                format!("`path`: {} is inside of the spool's folder {}", scalar.text, spool.display());
            report.at(&path.place, message);
        }
    }
}
