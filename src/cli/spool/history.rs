//! Least, most and mean of each point for each step of time: pure, one step of each point in memory.

use crate::model::{Decimal, Name, Ratio, Reading, Value};
use std::collections::BTreeMap;

/// What one point did in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// When the step begins, ms since 1970 UTC.
    pub ts: i64,
    pub device: Name,
    pub point: Name,
    pub least: Decimal,
    pub most: Decimal,
    pub mean: Decimal,
    pub count: u64,
}

#[derive(Debug)]
struct Sum {
    ts: i64,
    least: Decimal,
    most: Decimal,
    /// `None` once it has more digits than can be kept exactly.
    sum: Option<Decimal>,
    last: Decimal,
    count: u64,
}

/// Takes readings in order and gives back steps that are over. A clock that was set back begins a step anew.
#[derive(Debug)]
pub(super) struct Steps {
    step: i64,
    sums: BTreeMap<(Name, Name), Sum>,
}

impl Steps {
    pub(super) fn new(step_ms: i64) -> Steps {
        Steps { step: step_ms.max(1), sums: BTreeMap::new() }
    }

    pub(super) fn add(
        &mut self,
        reading: &Reading,
        wanted: impl Fn(&Name) -> bool,
        mut over: impl FnMut(Step),
    ) {
        let ts = reading.ts.0.div_euclid(self.step).saturating_mul(self.step);
        for (point, sample) in &reading.samples {
            let Ok(Value::Number(value)) = sample else { continue };
            if !wanted(point) {
                continue;
            }
            let key = (reading.device.clone(), point.clone());
            match self.sums.get_mut(&key) {
                Some(sum) if sum.ts == ts => sum.add(*value),
                Some(sum) => {
                    let ended = std::mem::replace(sum, Sum::of(ts, *value));
                    over(ended.step(key));
                }
                None => drop(self.sums.insert(key, Sum::of(ts, *value))),
            }
        }
    }

    /// Steps that have not ended.
    pub(super) fn rest(self) -> impl Iterator<Item = Step> {
        self.sums.into_iter().map(|(key, sum)| sum.step(key))
    }
}

impl Sum {
    fn of(ts: i64, value: Decimal) -> Sum {
        Sum { ts, least: value, most: value, sum: Some(value), last: value, count: 1 }
    }

    fn add(&mut self, value: Decimal) {
        self.least = self.least.min(value);
        self.most = self.most.max(value);
        self.sum = self.sum.and_then(|sum| sum.checked_add(value).ok());
        self.last = value;
        self.count += 1;
    }

    fn step(self, (device, point): (Name, Name)) -> Step {
        let Sum { ts, least, most, sum, last, count } = self;
        let each = Ratio::new(1, i128::from(count)).ok();
        let mean = sum.zip(each).and_then(|(sum, each)| sum.scaled(each).ok());
        // A sum of such sizes has no exact mean that could be told; any of its values is as good.
        Step { ts, device, point, least, most, mean: mean.unwrap_or(last), count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use std::time::Duration;

    fn reading(ts: i64, value: &str) -> Reading {
        let samples = vec![
            ("v".parse().unwrap(), Ok(Value::Number(value.parse().unwrap()))),
            ("on".parse().unwrap(), Ok(Value::Bool(true))),
        ];
        let (device, ts, took) = ("m".parse().unwrap(), Timestamp(ts), Duration::ZERO);
        Reading { device, ts, took, clock_unsure: false, boot: None, samples }
    }

    #[test]
    fn each_step_has_its_least_most_and_mean() {
        let mut steps = Steps::new(60_000);
        let mut over = Vec::new();
        for (ts, value) in [(-1, "7"), (0, "1.5"), (59_999, "2.5"), (30_000, "-1"), (60_000, "4"), (10, "5")]
        {
            steps.add(&reading(ts, value), |_| true, |step| over.push(step));
        }
        over.extend(steps.rest());
        let seen: Vec<String> =
            over.iter().map(|s| format!("{} {} {} {} {}", s.ts, s.least, s.most, s.mean, s.count)).collect();
        assert_eq!(seen, ["-60000 7 7 7 1", "0 -1 2.5 1 3", "60000 4 4 4 1", "0 5 5 5 1"]);
    }
}
