//! The upstreams: where each delivers to.

use super::build::{Ground, Once, duration, flag, name, text, whole};
use super::{databases, encodings, endpoints, less, presets, webs};
use crate::model::Name;
use crate::profile::yaml::{Node, Report, scalar};
use crate::uplink::{self, Endpoint, Identity, Tls, TlsError};
use crate::upstream::{Config, Kind, Order, Secret, file, mqtt, sparkplug};
use std::io::ErrorKind;
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
        let preset = Kind::PRESETS.iter().find_map(|word| Some((*word, node.get(word)?)));
        let kind = if let Some(mqtt) = node.get("mqtt") {
            mqtt_config(mqtt, gateway, ground, report).map(Kind::Mqtt)
        } else if let Some(spark) = node.get("sparkplug") {
            sparkplug_config(spark, gateway, ground, report).map(Kind::Sparkplug)
        } else if let Some((word, preset)) = preset {
            presets::build(word, preset, gateway, ground, report).map(Kind::Mqtt)
        } else if let Some(postgres) = node.get("postgres") {
            databases::postgres(postgres, ground, report).map(Kind::Postgres)
        } else if let Some(file) = node.get("file") {
            file_config(file, &mut files, ground, report).map(Kind::File)
        } else if let Some(kind) = webs::kind(node, ground, report) {
            kind
        } else {
            node.get("stdout").map(|_| Kind::Stdout)
        };
        if let (Some(name), Some(kind)) = (name, kind) {
            let mut config = ways(node, Config::new(name, kind), report);
            config.thin = less::rules(node, ground, report);
            config.wired_only = text(node, "history") == Some("wired-only");
            upstreams.push(config);
        }
    }
    upstreams
}

/// In which order and how fast; lines of text have one lane, and so has remote write, which refuses what is out of order.
fn ways(node: &Node, mut config: Config, report: &mut Report<'_>) -> Config {
    if config.kind.has_lanes() {
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

/// A backlog that waits for a wire waits for ever where there is none.
pub(super) fn wired_only_without_wires(
    list: Option<&Node>,
    uplinks: &[uplink::Config],
    report: &mut Report<'_>,
) {
    if uplinks.iter().any(|uplink| !uplink.metered) {
        return;
    }
    for node in list.map(Node::items).unwrap_or_default() {
        let Some(at) = node.get("history").filter(|_| text(node, "history") == Some("wired-only")) else {
            continue;
        };
        let why = if uplinks.is_empty() { "there are no `uplinks`" } else { "every uplink is `metered`" };
        report.at(&at.place, format!("`history: wired-only`: {why}, so the backlog would wait for ever"));
    }
}

fn mqtt_config(
    node: &Node,
    gateway: &Name,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<mqtt::Config> {
    let plain = mqtt::Config::default();
    Some(mqtt::Config {
        access: access(node, ground, report)?,
        layout: plain.layout,
        topic: presets::topic(node, gateway),
        batch_every: encodings::batch_every(node, report).unwrap_or(plain.batch_every),
        encoding: encodings::of(node, ground, report),
    })
}

fn sparkplug_config(
    node: &Node,
    gateway: &Name,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<sparkplug::Config> {
    let plain = sparkplug::Config::default();
    let include_datatype = flag(node, "include_datatype");
    Some(sparkplug::Config {
        access: access(node, ground, report)?,
        group: text(node, "group").unwrap_or(&plain.group).to_owned(),
        node: text(node, "node").unwrap_or(gateway.as_str()).to_owned(),
        primary_host: text(node, "primary_host").map(str::to_owned),
        include_datatype: include_datatype.unwrap_or(plain.include_datatype),
    })
}

/// How a broker is reached and who we are there: the same keys wherever MQTT is spoken.
pub(super) fn access(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<mqtt::Access> {
    let (brokers, secure) = brokers(node, report)?;
    let tls = tls(node, ("mqtt", secure), ground, report);
    Some(mqtt::Access { brokers, tls, ..brokers_here(node, ground, report) })
}

/// Who we are at the broker of this machine.
pub(super) fn brokers_here(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> mqtt::Access {
    let plain = mqtt::Access::default();
    let password = password(node, ground, report);
    if let (Some(keep_alive), Some(at)) = (duration(node, "keep_alive"), node.get("keep_alive"))
        && !KEEP_ALIVES.contains(&keep_alive)
    {
        report.at(&at.place, format!("`keep_alive`: expected 5s to 65535s, found {}", at.found()));
    }
    mqtt::Access {
        username: text(node, "username").map(str::to_owned),
        password,
        client_id: text(node, "client_id").map(str::to_owned),
        keep_alive: duration(node, "keep_alive").unwrap_or(plain.keep_alive),
        version: if text(node, "version") == Some("5") { mqtt::Version::V5 } else { plain.version },
        ..plain
    }
}

fn password(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Secret> {
    const KEYS: (&str, &str) = ("password_file", "password_credential");
    let given = [KEYS.0, KEYS.1].into_iter().find_map(|key| Some((key, node.get(key)?)));
    if let (Some((key, at)), None) = (given, node.get("username")) {
        let message = format!("`{key}` without `username`: MQTT has no password without a user name");
        report.at(&at.place, message);
    }
    secret(node, KEYS, ground, report)
}

/// A secret out of a file, or from systemd.
pub(super) fn secret(
    node: &Node,
    (file_key, credential_key): (&str, &str),
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Secret> {
    let (file, credential) = (node.get(file_key), node.get(credential_key));
    let at = file.or(credential)?;
    if let (Some(_), Some(credential)) = (file, credential) {
        let message = format!("both `{file_key}` and `{credential_key}`: one of them is enough");
        report.at(&credential.place, message);
    }
    if let Some(name) = text(node, credential_key) {
        if name.contains('/') || name.is_empty() {
            let message =
                format!("`{credential_key}` is a name, as in LoadCredential=NAME:PATH, and no path");
            report.at(&at.place, message);
        }
        return Some(Secret::Credential(name.to_owned()));
    }
    let path = ground.base.join(text(node, file_key)?);
    if !path.is_file() {
        let message = format!("there is no file {} yet", path.display());
        ground.warnings.push(report.problem(&at.place, message, None));
    }
    Some(Secret::File(path))
}

/// Where to, in order, and whether by TLS.
fn brokers(node: &Node, report: &mut Report<'_>) -> Option<(Vec<Endpoint>, bool)> {
    let several = node.get("urls").map(Node::items).unwrap_or_default();
    let given: Vec<&Node> = node.get("url").into_iter().chain(several).collect();
    let parsed = |node: &&Node| endpoints::broker(&node.scalar()?.text).ok();
    let brokers: Vec<endpoints::Broker> = given.iter().map(parsed).collect::<Option<_>>()?;
    let secure = brokers.first()?.secure;
    let insecure = flag(node, "insecure").unwrap_or(false);
    for (broker, at) in brokers.iter().zip(&given) {
        if broker.secure != secure {
            report.at(&at.place, "all of `urls` are mqtts://, or all are mqtt://: readings that are worth TLS on one way are so on each");
        }
        if broker.is_open() && !insecure {
            let message = format!(
                "mqtt:// sends readings, user name and password to {} in plain text",
                broker.endpoint
            );
            let help = "use mqtts://, or say `insecure: true` where nobody else is on the way".to_owned();
            report.at_with_help(&at.place, message, help);
        }
    }
    Some((brokers.into_iter().map(|broker| broker.endpoint).collect(), secure))
}

/// TLS by the keys for it, where there is nothing else.
pub(super) fn identity_of(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Tls> {
    tls(node, ("mqtt", true), ground, report)
}

/// Files are read again at every connection; that they are right now is looked at here.
pub(super) fn tls(
    node: &Node,
    (scheme, secure): (&str, bool),
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Tls> {
    let file = |key: &str| text(node, key).map(|path| ground.base.join(path));
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    if !secure {
        for key in ["ca_file", "cert_file", "key_file"] {
            if let Some(at) = node.get(key) {
                let message = format!("`{key}` says nothing to {scheme}://: write {scheme}s:// for TLS");
                report.at(&at.place, message);
            }
        }
        return None;
    }
    let identity = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(Identity { cert_file, key_file }),
        (None, None) => None,
        (Some(_), None) => return lonely(node, "cert_file", "key_file", report),
        (None, Some(_)) => return lonely(node, "key_file", "cert_file", report),
    };
    let tls = Tls { ca_file, identity };
    if let Err(error) = tls.check() {
        let at =
            ["ca_file", "cert_file", "key_file"].into_iter().find_map(|key| node.get(key)).unwrap_or(node);
        let missing =
            matches!(&error, TlsError::Unreadable { error, .. } if error.kind() == ErrorKind::NotFound);
        if missing || matches!(error, TlsError::NoAuthorities) {
            ground.warnings.push(report.problem(&at.place, error.to_string(), None));
        } else {
            report.at(&at.place, error.to_string());
        }
    }
    Some(tls)
}

fn lonely(node: &Node, given: &str, missing: &str, report: &mut Report<'_>) -> Option<Tls> {
    let at = node.get(given)?;
    report.at(&at.place, format!("`{given}` without `{missing}`: a certificate of ours is both"));
    None
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
