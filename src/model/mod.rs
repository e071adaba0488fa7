//! The shared words: names, quantities, exact values, readings, their quality, and time.
//!
//! Nothing here does I/O, starts a task or knows Modbus. What two rooms must agree on
//! stands here; what one room can keep to itself does not.

pub mod dating;
pub mod decimal;
pub mod finding;
pub mod name;
pub mod quality;
pub mod quantity;
pub mod reading;
pub mod site;
pub mod status;
pub mod time;

pub use dating::Dating;
pub use decimal::{Decimal, Ratio};
pub use finding::{Chronicle, Event, EventKind, Finding, FindingKind};
pub use name::Name;
pub use quality::Bad;
pub use reading::{Reading, Sample, Value};
pub use site::{DeviceInfo, Form, IdentityRule, PointInfo, Site};
pub use time::{BootId, BootStamp, Clock, Mono, SteadyClock, SystemClock, Timestamp};
