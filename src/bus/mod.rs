//! Carries out polls on one line: ports, timing, attribution, planning, scheduling, device health.
//! (The room's page is the line engineer's to write; these types are what other rooms see.)

use crate::model::{Bad, Name, Timestamp};
use crate::profile::{Every, Parity, Profile};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One line as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct LineConfig {
    pub name: Name,
    pub port: PortConfig,
    pub devices: Vec<DeviceConfig>,
}

/// What the line is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortConfig {
    Serial(SerialConfig),
    /// Modbus TCP (MBAP); host and port.
    Tcp {
        address: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialConfig {
    pub port: PathBuf,
    pub baud: u32,
    pub parity: Parity,
    pub stop_bits: u8,
}

/// One installed meter, with everything about it resolved: profile loaded, periods decided.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceConfig {
    pub name: Name,
    pub unit: u8,
    pub enabled: bool,
    pub profile: Arc<Profile>,
    /// A period per point of the profile, in profile order: the configuration's point wins over
    /// its device, that over the profile's point, that over the line.
    pub every: Vec<Every>,
    /// Longest wait for a reply's first octet.
    pub timeout: Duration,
    pub retries: u8,
    /// At least the profile's.
    pub min_gap: Duration,
}

/// One poll's octets, stamped, as they came.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub device: Name,
    pub profile: Arc<Profile>,
    pub ts: Timestamp,
    pub took: Duration,
    /// The points that were due, in profile order.
    pub fields: Vec<Field>,
}

/// One point's octets: 2 × registers as they stood on the wire, or one octet 0/1 for a coil.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Index into the profile's points.
    pub point: usize,
    pub octets: Result<Vec<u8>, Bad>,
}
