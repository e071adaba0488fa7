//! What does not stop a session and should not stay so.

use crate::model::Name;
use crate::upstream::proof::Way;
use std::collections::BTreeMap;

/// A line a device, with all of its topics that are refused.
pub(super) fn refusals(
    unwanted: &BTreeMap<(Name, Way), &'static str>,
    topic_of: impl Fn(Way, &Name) -> String,
) -> Vec<String> {
    let mut devices: BTreeMap<&Name, (Vec<String>, &str)> = BTreeMap::new();
    for ((device, way), why) in unwanted {
        let (topics, reason) = devices.entry(device).or_default();
        topics.push(topic_of(*way, device));
        *reason = why;
    }
    let said = devices.into_iter().map(|(device, (topics, why))| {
        format!("the broker refuses what {device} says on {}: {why}", topics.join(" and "))
    });
    said.collect()
}
