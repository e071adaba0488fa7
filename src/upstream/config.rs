//! One upstream as configured: one variant and one arm per kind.

use super::{file, mqtt, postgres, sparkplug, thin, web};
use crate::model::Name;
use std::num::NonZeroU32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub name: Name,
    pub kind: Kind,
    pub order: Order,
    /// Records of the backlog a second, at most; as many as go when not given.
    pub history_rate: Option<NonZeroU32>,
    /// What is not sent of all that.
    pub thin: thin::Rules,
    /// The backlog waits for an uplink that is not metered.
    pub wired_only: bool,
}

impl Config {
    pub fn new(name: Name, kind: Kind) -> Config {
        let (order, thin) = (Order::default(), thin::Rules::default());
        Config { name, kind, order, history_rate: None, thin, wired_only: false }
    }
}

/// In which order records leave where there is a backlog. Lines of text and remote write are always `Strict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// What is sampled now goes at once, the backlog beside it.
    #[default]
    LiveFirst,
    /// Oldest first.
    Strict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Mqtt(mqtt::Config),
    Sparkplug(sparkplug::Config),
    Postgres(postgres::Config),
    File(file::Config),
    Stdout,
    Influx(web::Config),
    Http(web::Config),
    Prometheus(web::Config),
}

impl Kind {
    /// Every kind by its word, in declaration order. Tests walk this list.
    pub const ALL: &'static [&'static str] = &[
        "mqtt",
        "sparkplug",
        "thingsboard",
        "homeassistant",
        "aws-iot",
        "azure-iot",
        "azure-event-grid",
        "thin-edge",
        "postgres",
        "file",
        "stdout",
        "influx",
        "http",
        "prometheus",
    ];
    /// Those of them that are `mqtt` in somebody else's words.
    pub const PRESETS: &'static [&'static str] =
        &["thingsboard", "homeassistant", "aws-iot", "azure-iot", "azure-event-grid", "thin-edge"];

    /// Whether live readings may go beside a backlog. Text is written oldest first, and remote write refuses what is out of
    /// order.
    pub const fn has_lanes(&self) -> bool {
        match self {
            Kind::Mqtt(_) | Kind::Sparkplug(_) | Kind::Postgres(_) | Kind::Influx(_) | Kind::Http(_) => true,
            Kind::File(_) | Kind::Stdout | Kind::Prometheus(_) => false,
        }
    }

    pub const fn word(&self) -> &'static str {
        match self {
            Kind::Mqtt(config) => config.layout.word(),
            Kind::Sparkplug(_) => "sparkplug",
            Kind::Postgres(_) => "postgres",
            Kind::File(_) => "file",
            Kind::Stdout => "stdout",
            Kind::Influx(_) => "influx",
            Kind::Http(_) => "http",
            Kind::Prometheus(_) => "prometheus",
        }
    }
}
