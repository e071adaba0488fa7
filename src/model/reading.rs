//! A reading: one scan of one device in engineering units.

use super::{Bad, BootStamp, Decimal, Name, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// A good value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Number(Decimal),
    Bool(bool),
    /// A string register's text, or an enumeration's word.
    Text(Arc<str>),
}

/// One point's value, or the reason there is none.
pub type Sample = Result<Value, Bad>;

/// One scan of one device, normalised: what becomes one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub device: Name,
    /// When the last octet of the scan's first reply arrived; for a scan without any reply,
    /// when its first request was given up.
    pub ts: Timestamp,
    /// The other blocks of the scan were read within this time after `ts`.
    pub took: Duration,
    /// The wall clock was not known to be right when the reading was taken.
    pub clock_unsure: bool,
    /// Then the same moment by the clock that was right: with it `ts` can be set right later.
    pub boot: Option<BootStamp>,
    /// The points that were due, in profile order.
    pub samples: Vec<(Name, Sample)>,
}
