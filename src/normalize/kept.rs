//! What survives a restart, by device: exact decimals as texts.

use super::counter::{Counter, Fallen};
use crate::model::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub type Kept = BTreeMap<String, KeptDevice>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeptDevice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The checksum of what the profile means by the serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_meaning: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, KeptCounter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCounter {
    /// The last value, if it is of the meter that is meant now.
    pub last: Option<String>,
    pub total: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallen: Option<KeptFallen>,
    /// The checksum of what the profile means by the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<u32>,
}

/// It reads less than it did, and has not risen by itself since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFallen {
    pub from: String,
    pub low: String,
    pub risen: bool,
}

impl KeptCounter {
    pub(super) fn of(counter: &Counter) -> KeptCounter {
        let fallen = |fallen: Fallen| KeptFallen {
            from: fallen.from.to_string(),
            low: fallen.low.to_string(),
            risen: fallen.risen,
        };
        KeptCounter {
            last: counter.last.map(|last| last.to_string()),
            total: counter.total.to_string(),
            fallen: counter.fallen.map(fallen),
            meaning: counter.meaning,
        }
    }

    /// None where it is not understood.
    pub(super) fn counter(&self) -> Option<Counter> {
        let number = |text: &String| text.parse::<Decimal>().ok();
        let fallen = |kept: &KeptFallen| {
            Some(Fallen { from: number(&kept.from)?, low: number(&kept.low)?, risen: kept.risen })
        };
        let last = self.last.as_ref().and_then(number);
        let mut counter = Counter::new(number(&self.total)?);
        (counter.last, counter.meaning) = (last, self.meaning);
        counter.fallen = self.fallen.as_ref().and_then(fallen);
        Some(counter)
    }
}
