//! One upstream as configured.

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
