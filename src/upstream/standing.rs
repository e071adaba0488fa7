//! Warnings that stand as long as their reason does: plain text, and certificates that end.

use crate::model::Timestamp;
use crate::uplink::{Endpoint, Validity};

const DAY_MS: i64 = 86_400_000;
/// A certificate is warned of when so many days are left, and again, and again: the words change with each.
const DAYS: [i64; 3] = [1, 7, 30];

/// Of a far end, by its word (`broker`), and of what would be safer (`mqtts://`). `plain` is where readings go in plain text.
pub(super) fn standing(
    (whose, safer): (&str, &str),
    plain: Option<&Endpoint>,
    validity: Validity,
    now: Timestamp,
) -> Vec<String> {
    let open = plain.filter(|to| !to.is_loopback());
    let open =
        open.map(|to| format!("readings, user name and password go to {to} in plain text: use {safer}"));
    let theirs = validity.theirs.and_then(|until| ends(&format!("the {whose}'s certificate"), until, now));
    let ours = validity.ours.and_then(|until| ends("our certificate (`cert_file`)", until, now));
    [open, theirs, ours].into_iter().flatten().collect()
}

pub(super) fn ends(whose: &str, until: Timestamp, now: Timestamp) -> Option<String> {
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

    const BROKER: (&str, &str) = ("broker", "mqtts://");

    #[test]
    fn a_certificate_is_warned_of_thirty_seven_and_one_day_ahead() {
        let said = |days: i64| {
            let validity = Validity { ours: Some(Timestamp(days * DAY_MS - 1)), theirs: None };
            standing(BROKER, None, validity, Timestamp(0)).pop().unwrap_or_default()
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
        assert_eq!(standing(BROKER, Some(&to("127.0.0.1")), Validity::default(), Timestamp(0)), [""; 0]);
        let said = standing(BROKER, Some(&to("10.0.0.1")), Validity::default(), Timestamp(0));
        assert!(said[0].contains("10.0.0.1:1883 in plain text"), "{said:?}");
    }
}
