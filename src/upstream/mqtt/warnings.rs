//! What does not stop a session and should not stay so.

use crate::model::{Name, Timestamp};
use crate::uplink::{Endpoint, Validity};
use crate::upstream::proof::Way;
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;
/// A certificate is warned of when so many days are left, and again, and again: the words change with each.
const DAYS: [i64; 3] = [1, 7, 30];

/// `plain` is where readings go in plain text.
pub(in crate::upstream) fn standing(
    plain: Option<&Endpoint>,
    validity: Validity,
    now: Timestamp,
) -> Vec<String> {
    let open = plain.filter(|to| !to.is_loopback());
    let open =
        open.map(|to| format!("readings, user name and password go to {to} in plain text: use mqtts://"));
    let theirs = validity.theirs.and_then(|until| ends("the broker's certificate", until, now));
    let ours = validity.ours.and_then(|until| ends("our certificate (`cert_file`)", until, now));
    [open, theirs, ours].into_iter().flatten().collect()
}

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

fn ends(whose: &str, until: Timestamp, now: Timestamp) -> Option<String> {
    let left = until.0.saturating_sub(now.0);
    if left <= 0 {
        return Some(format!("{whose} has expired: no new connection will be made with it"));
    }
    let days = DAYS.into_iter().find(|days| left <= days * DAY_MS)?;
    let days = if days == 1 { "a day".to_owned() } else { format!("{days} days") };
    Some(format!("{whose} ends in less than {days}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_thirty_seven_and_one_day_ahead() {
        let said = |days: i64| {
            let validity = Validity { ours: Some(Timestamp(days * DAY_MS - 1)), theirs: None };
            standing(None, validity, Timestamp(0)).pop().unwrap_or_default()
        };
        assert_eq!(said(31), "");
        assert!(said(30).ends_with("less than 30 days"));
        assert_eq!(said(30), said(8));
        assert!(said(7).ends_with("less than 7 days"));
        assert!(said(1).ends_with("less than a day"));
        assert!(said(0).contains("has expired"));
    }

    #[test]
    fn plain_text_is_warned_of_where_it_leaves_the_machine() {
        let to = |host: &str| Endpoint { host: host.to_owned(), port: 1883 };
        assert_eq!(standing(Some(&to("127.0.0.1")), Validity::default(), Timestamp(0)), [""; 0]);
        let said = standing(Some(&to("10.0.0.1")), Validity::default(), Timestamp(0));
        assert!(said[0].contains("10.0.0.1:1883 in plain text"), "{said:?}");
    }
}
