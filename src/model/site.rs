//! What exists behind this gateway: for `P/meta`, for choosing live or history, for pages.

use super::Name;
use std::sync::Arc;
use std::time::Duration;

/// All devices, as the configuration and their profiles describe them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub gateway: Name,
    /// Eight hexadecimal digits over the configuration's meaning; shown in status.
    pub config_hash: String,
    pub devices: Vec<DeviceInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    pub name: Name,
    pub line: Name,
    pub unit: u8,
    /// The profile's name, its vendor and model.
    pub profile: String,
    pub vendor: String,
    pub model: String,
    /// The meter's serial number, once it has said one.
    pub identity: Option<String>,
    /// The shortest period of any of its points; zero for `every: continuous`.
    pub every: Duration,
    /// Shared by all devices of a profile: a large site has thousands of them.
    pub points: Arc<[PointInfo]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointInfo {
    pub name: Name,
    /// The canonical engineering unit the readings leave in; empty for enumerations, flags, texts.
    pub unit: String,
    pub quantity: String,
    pub phase: Option<String>,
    pub direction: Option<String>,
    /// The smallest step, as an exact decimal.
    pub resolution: Option<super::Decimal>,
    /// What the meter can measure, in `unit`.
    pub range: Option<(super::Decimal, super::Decimal)>,
    /// A counter that only rises.
    pub index: bool,
    pub form: Form,
}

/// What a point's good values are, for far ends that want to know before there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// A number that may have decimals.
    #[default]
    Number,
    /// A whole number of at most 64 bits, signed …
    Whole,
    /// … or unsigned.
    Unsigned,
    Flag,
    /// A text, or an enumeration's word.
    Text,
}

/// What happens when another meter answers under a device's unit id than the one that was known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IdentityRule {
    /// Its values are held until the owner has accepted it.
    #[default]
    Hold,
    /// It is accepted at once, with an event.
    Accept,
    /// Only the meter with this serial number is meant.
    Is(String),
}

impl Site {
    pub fn device(&self, name: &str) -> Option<&DeviceInfo> {
        self.devices.iter().find(|d| d.name.as_str() == name)
    }
}
