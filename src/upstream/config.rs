//! One upstream as configured: one variant and one arm per kind.

use super::{file, mqtt};
use crate::model::Name;
use std::num::NonZeroU32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub name: Name,
    pub kind: Kind,
    pub order: Order,
    /// Records of the backlog a second, at most; as many as go when not given.
    pub history_rate: Option<NonZeroU32>,
    /// The backlog waits for an uplink that is not metered.
    pub wired_only: bool,
}

impl Config {
    pub fn new(name: Name, kind: Kind) -> Config {
        Config { name, kind, order: Order::default(), history_rate: None, wired_only: false }
    }
}

/// In which order records leave where there is a backlog. What is written line by line is always `Strict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// What is sampled now goes at once, the backlog beside it.
    #[default]
    LiveFirst,
    /// Oldest first.
    Strict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are a few of them, made once")]
pub enum Kind {
    Mqtt(mqtt::Config),
    File(file::Config),
    Stdout,
}

impl Kind {
    /// Every kind by its word, in declaration order. Tests walk this list.
    pub const ALL: &'static [&'static str] = &[
        "mqtt",
        "thingsboard",
        "homeassistant",
        "aws-iot",
        "azure-iot",
        "azure-event-grid",
        "thin-edge",
        "file",
        "stdout",
    ];
    /// Those of them that are `mqtt` in somebody else's words.
    pub const PRESETS: &'static [&'static str] =
        &["thingsboard", "homeassistant", "aws-iot", "azure-iot", "azure-event-grid", "thin-edge"];

    pub const fn word(&self) -> &'static str {
        match self {
            Kind::Mqtt(config) => config.layout.word(),
            Kind::File(_) => "file",
            Kind::Stdout => "stdout",
        }
    }
}
