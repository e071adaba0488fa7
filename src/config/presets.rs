//! Upstreams of a few lines: a broker whose topics, payloads and limits are somebody else's.

use super::build::{Ground, duration, text};
use super::upstreams::{access, brokers_here, identity_of, secret};
use super::{encodings, endpoints};
use crate::encode::Encoding;
use crate::model::Name;
use crate::profile::yaml::{Node, Report};
use crate::upstream::mqtt::{Access, Config, Discovery, Hub, Layout, ThinEdge, Version};
use std::time::Duration;

/// How long readings may wait for each other where they go together.
const WAITS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// "AWS IoT Core message broker limits": topic and client id, octets.
const AWS_TOPIC: usize = 256;
const AWS_CLIENT_ID: usize = 128;
/// What a topic has behind `P`: `/d/` and a device's name.
const BELOW: usize = 3 + 64;

/// The preset of this word, or nothing where the word is none.
pub(super) fn build(
    word: &str,
    node: &Node,
    gateway: &Name,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Config> {
    match word {
        "thingsboard" => thingsboard(node, ground, report),
        "homeassistant" => home_assistant(node, gateway, ground, report),
        "aws-iot" => aws(node, gateway, ground, report),
        "azure-iot" => azure(node, ground, report),
        "azure-event-grid" => event_grid(node, gateway, ground, report),
        "thin-edge" => thin_edge(node, ground, report),
        _ => None,
    }
}

fn thingsboard(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Config> {
    let token = secret(node, ("token_file", "token_credential"), ground, report);
    if token.is_none() {
        report.at(
            &node.place,
            "`thingsboard` needs `token_file` or `token_credential`: the access token of the gateway's device",
        );
    }
    let access = Access { token, ..access(node, ground, report)? };
    let batch_every = waits(node, Duration::from_secs(1), report);
    Some(Config { access, layout: Layout::ThingsBoard, batch_every, ..Config::default() })
}

fn home_assistant(
    node: &Node,
    gateway: &Name,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Config> {
    let plain = Discovery::default();
    let prefix = text(node, "prefix").map_or(plain.prefix, str::to_owned);
    let access = access(node, ground, report)?;
    let layout = Layout::HomeAssistant(Discovery { prefix });
    Some(Config { access, layout, topic: topic(node, gateway), ..Config::default() })
}

fn aws(node: &Node, gateway: &Name, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Config> {
    let config = own(node, Layout::AwsIot, gateway, ground, report)?;
    secured("aws-iot", node, &config.access, report);
    if let Some(at) =
        node.get("keep_alive").filter(|_| !(30..=1200).contains(&config.access.keep_alive.as_secs()))
    {
        report.at(&at.place, format!("`keep_alive`: AWS IoT Core takes 30s to 1200s, found {}", at.found()));
    }
    if let Some(at) = node.get("topic").filter(|_| config.topic.len() + BELOW > AWS_TOPIC) {
        report.at(&at.place, format!("`topic`: AWS IoT Core takes {AWS_TOPIC} octets, device and all"));
    }
    let id = config.access.client_id.as_ref();
    if let Some(at) = node.get("client_id").filter(|_| id.is_some_and(|id| id.len() > AWS_CLIENT_ID)) {
        report.at(&at.place, format!("`client_id`: AWS IoT Core takes {AWS_CLIENT_ID} octets"));
    }
    Some(config)
}

fn event_grid(
    node: &Node,
    gateway: &Name,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Config> {
    let mut config = own(node, Layout::EventGrid, gateway, ground, report)?;
    config.access.version = Version::V5;
    secured("azure-event-grid", node, &config.access, report);
    if let Some(at) = node.get("keep_alive").filter(|_| config.access.keep_alive.as_secs() > 1160) {
        report.at(&at.place, format!("`keep_alive`: Event Grid takes 1160s at most, found {}", at.found()));
    }
    Some(config)
}

fn azure(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Config> {
    let device = text(node, "device")?.to_owned();
    let endpoint = endpoints::hub(text(node, "hub")?).ok()?;
    let key = secret(node, ("shared_key_file", "shared_key_credential"), ground, report);
    let tls = identity_of(node, ground, report);
    let has_certificate = tls.as_ref().is_some_and(|tls| tls.identity.is_some());
    if key.is_some() == has_certificate {
        let found = if has_certificate { "both are given" } else { "neither is given" };
        report.at(
            &node.place,
            format!("`azure-iot` needs `cert_file` with `key_file`, or `shared_key_file`: how the hub knows the device; {found}"),
        );
    }
    let hub = Hub { host: endpoint.host.clone(), device: device.clone() };
    let plain = Access::default();
    let access = Access {
        brokers: vec![endpoint],
        tls,
        username: Some(hub.username()),
        signing: key.is_some().then(|| hub.clone()),
        password: key,
        client_id: Some(device),
        keep_alive: duration(node, "keep_alive").unwrap_or(plain.keep_alive),
        ..plain
    };
    let batch_every = waits(node, Duration::from_secs(10), report);
    Some(Config { access, layout: Layout::AzureIot(hub), batch_every, ..Config::default() })
}

fn thin_edge(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Config> {
    let access = match node.get("url").or_else(|| node.get("urls")) {
        Some(_) => access(node, ground, report)?,
        None => brokers_here(node, ground, report),
    };
    let plain = ThinEdge::default();
    let kind = text(node, "type").map_or(plain.kind, str::to_owned);
    Some(Config { access, layout: Layout::ThinEdge(ThinEdge { kind }), ..Config::default() })
}

/// Our own topics at somebody's broker.
fn own(
    node: &Node,
    layout: Layout,
    gateway: &Name,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Config> {
    let plain = Config::default();
    Some(Config {
        access: access(node, ground, report)?,
        layout,
        topic: topic(node, gateway),
        batch_every: encodings::batch_every(node, report).unwrap_or(plain.batch_every),
        encoding: encodings::of(node, ground, report),
    })
}

pub(super) fn topic(node: &Node, gateway: &Name) -> String {
    let plain = Config { encoding: Encoding::Json, ..Config::default() };
    text(node, "topic").unwrap_or(&plain.topic).replace("{gateway}", gateway.as_str())
}

fn waits(node: &Node, plain: Duration, report: &mut Report<'_>) -> Duration {
    let (Some(every), Some(at)) = (duration(node, "every"), node.get("every")) else { return plain };
    if !WAITS.contains(&every) {
        report.at(&at.place, format!("`every`: expected 1s to 1h, found {}", at.found()));
    }
    every
}

/// The far end takes TLS and a certificate of ours, and nothing else.
fn secured(preset: &str, node: &Node, access: &Access, report: &mut Report<'_>) {
    match &access.tls {
        None => {
            let at = node.get("url").or_else(|| node.get("urls")).unwrap_or(node);
            report.at(&at.place, format!("`{preset}` is reached by TLS only: write mqtts://"));
        }
        Some(tls) if tls.identity.is_none() => {
            let message = format!("`{preset}` needs `cert_file` and `key_file`: how it knows who comes");
            report.at(&node.place, message);
        }
        Some(_) => {}
    }
}
