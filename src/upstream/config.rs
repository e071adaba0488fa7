//! One upstream as configured: one variant and one arm per kind.

use super::{file, mqtt};
use crate::model::Name;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub name: Name,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Mqtt(mqtt::Config),
    File(file::Config),
    Stdout,
}

impl Kind {
    /// Every kind by its word, in declaration order. Tests walk this list.
    pub const ALL: &'static [&'static str] = &["mqtt", "file", "stdout"];

    pub const fn word(&self) -> &'static str {
        match self {
            Kind::Mqtt(_) => "mqtt",
            Kind::File(_) => "file",
            Kind::Stdout => "stdout",
        }
    }
}
