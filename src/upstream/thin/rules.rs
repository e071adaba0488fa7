//! What the owner wants, and what that means for one point.

use super::points::ByPoint;
use super::{MAX_SILENCE, window::millis};
use crate::encode::batch::is_counter;
use crate::model::decimal::NumberError;
use crate::model::{Decimal, DeviceInfo, Name, Reading, Sample, Site, Value};
use std::time::Duration;

/// As configured for one upstream; the default sends everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    pub only: ByPoint<()>,
    pub deadband: ByPoint<Amount>,
    pub max_silence: ByPoint<Duration>,
    pub aggregate: ByPoint<Aggregate>,
    /// What an aggregate spans.
    pub window: Duration,
}

/// How much a value may differ from the one sent last and still be left away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// In the unit in which the point's readings leave.
    Absolute(Decimal),
    /// Per cent of the span of the profile's `range`, or of the last value sent where there is none.
    Percent(Decimal),
}

/// What a window keeps of a number. Of whatever else it keeps the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Last,
    Mean,
    Min,
    Max,
}

/// What holds for one point of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) wanted: bool,
    band: Option<Band>,
    silence_ms: i64,
    pub(super) aggregate: Option<Aggregate>,
    pub(super) resolution: Option<Decimal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Band {
    /// Any difference goes.
    Exact,
    Absolute(Decimal),
    OfLast(Decimal),
}

impl Rules {
    /// Whether there is anything to do.
    pub fn is_plain(&self) -> bool {
        self.only.is_empty() && self.deadband.is_empty() && self.aggregate.is_empty()
    }

    /// What is left of a reading whose points are chosen, and nothing else done with.
    pub fn choose(&self, reading: &mut Reading, site: &Site) {
        let (device, info) = (reading.device.clone(), site.device(reading.device.as_str()));
        reading.samples.retain(|(point, _)| self.rule(&device, point, info).wanted);
    }

    /// Whether a device's readings go by windows.
    pub(super) fn is_windowed(&self, device: &Name, info: Option<&DeviceInfo>) -> bool {
        let points = info.map(|info| info.points.iter()).unwrap_or_default();
        let mut rules = points.map(|point| self.rule(device, &point.name, info));
        rules.any(|rule| rule.wanted && rule.aggregate.is_some())
    }

    pub(super) fn rule(&self, device: &Name, point: &Name, info: Option<&DeviceInfo>) -> Rule {
        let info = info.and_then(|device| device.points.iter().find(|info| info.name == *point));
        let quantity = info.map_or("", |info| info.quantity.as_str());
        let names = (device.as_str(), point.as_str(), quantity);
        let counts = info.is_some_and(is_counter);
        let range = info.and_then(|info| info.range);
        let band = self.deadband.of(names.0, names.1, names.2).map(|amount| match (amount, range) {
            _ if counts => Band::Exact,
            (Amount::Absolute(most), _) => Band::Absolute(*most),
            (Amount::Percent(share), Some((least, most))) => {
                // What cannot be computed is exact.
                let span = most.checked_sub(least).and_then(|span| share_of(span, *share));
                span.map_or(Band::Exact, Band::Absolute)
            }
            (Amount::Percent(share), None) => Band::OfLast(*share),
        });
        let silence = self.max_silence.of(names.0, names.1, names.2).copied().unwrap_or(MAX_SILENCE);
        let aggregate = self.aggregate.of(names.0, names.1, names.2).copied();
        Rule {
            wanted: self.only.is_empty() || self.only.of(names.0, names.1, names.2).is_some(),
            band,
            silence_ms: millis(silence),
            aggregate: aggregate.map(|word| if counts { Aggregate::Last } else { word }),
            resolution: info.and_then(|info| info.resolution),
        }
    }
}

fn share_of(whole: Decimal, share: Decimal) -> Result<Decimal, NumberError> {
    whole.checked_mul(share)?.checked_mul(Decimal::new(1, -2))
}

impl Rule {
    /// Whether a sample goes, where this one was the last that went, at that time.
    pub(super) fn lets_go(&self, sample: &Sample, at: i64, sent: Option<&(Sample, i64)>) -> bool {
        let (Some(band), Some((last, when))) = (self.band, sent) else { return true };
        // What is older than what went cannot be judged by it.
        at < *when || at.saturating_sub(*when) >= self.silence_ms || band.is_left_by(sample, last)
    }
}

impl Band {
    fn is_left_by(self, sample: &Sample, last: &Sample) -> bool {
        let (Ok(Value::Number(now)), Ok(Value::Number(before))) = (sample, last) else {
            return sample != last;
        };
        let most = match self {
            Band::Exact => return now != before,
            Band::Absolute(most) => Ok(most),
            Band::OfLast(share) => share_of(*before, share),
        };
        // Where a difference has no exact value it is a large one.
        let difference = now.checked_sub(*before);
        let (Ok(most), Ok(difference)) = (most, difference) else { return now != before };
        size(difference) > size(most)
    }
}

fn size(number: Decimal) -> Decimal {
    if number < Decimal::ZERO { Decimal::new(-number.mantissa(), number.exponent()) } else { number }
}
