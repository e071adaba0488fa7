//! What an uplink has cost this month, and what that leaves: pure, given counters and the time.

use super::config::Budget;
use crate::model::Timestamp;
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;
/// Of a budget, in percent: from here on batches stretch.
const STRETCH_AT: u128 = 80;

/// How much of its budget an uplink has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    #[default]
    Free,
    /// 80 %: batches go less often.
    Stretched,
    /// 100 %: alarms only.
    Spent,
}

/// The account of one uplink, as it is kept over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// The first day of the month that is counted, in days since 1970 UTC; 0 until the date was known.
    pub since_day: i64,
    /// Both directions, with IP and TLS.
    pub octets: u64,
    /// Of these, the backlog, as far as we know ourselves.
    pub history: u64,
    /// Octets in all, since this account began.
    pub ever: u64,
    /// What the interface's counter said last, and in which run of the kernel.
    pub counter: u64,
    pub boot: String,
    /// The stage that was announced.
    pub told: Stage,
}

impl Ledger {
    /// The counter stands so now. One that is lower than before began anew: a modem was plugged in again.
    pub fn count(&mut self, counter: u64, boot: &str) {
        let more = match self.boot.as_str() {
            // What was before us is nobody's account.
            "" => 0,
            last if last == boot => counter.checked_sub(self.counter).unwrap_or(counter),
            _ => counter,
        };
        (self.octets, self.ever) = (self.octets.saturating_add(more), self.ever.saturating_add(more));
        self.counter = counter;
        if self.boot != boot {
            boot.clone_into(&mut self.boot);
        }
    }

    /// Begins a new month when it is time, never an old one: a clock that is set back gives nothing back.
    pub fn turn(&mut self, now: Timestamp, reset_day: u8) {
        let day = month_of(now, reset_day);
        if self.since_day == 0 {
            self.since_day = day;
        } else if day > self.since_day {
            let Ledger { ever, counter, boot, .. } = std::mem::take(self);
            *self = Ledger { since_day: day, ever, counter, boot, ..Ledger::default() };
        }
    }

    pub fn stage(&self, budget: Option<Budget>) -> Stage {
        let Some(Budget { month, .. }) = budget else { return Stage::Free };
        if self.octets >= month {
            Stage::Spent
        } else if u128::from(self.octets) * 100 >= u128::from(month) * STRETCH_AT {
            Stage::Stretched
        } else {
            Stage::Free
        }
    }

    pub fn left(&self, budget: Budget) -> u64 {
        budget.month.saturating_sub(self.octets)
    }

    /// Whether the backlog may take more: it has taken no more than half of what there was without it.
    pub fn has_room_for_history(&self, budget: Option<Budget>) -> bool {
        budget.is_none_or(|budget| self.history < self.left(budget))
    }
}

/// The day on which the month began that this moment is in, in days since 1970.
pub(super) fn month_of(now: Timestamp, reset_day: u8) -> i64 {
    let today = now.0.div_euclid(DAY_MS);
    let (year, month, _) = civil(today);
    let begins = first_day(year, month, reset_day);
    if begins <= today {
        return begins;
    }
    let (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
    first_day(year, month, reset_day)
}

/// The reset day of that month, or its last where it is shorter.
fn first_day(year: i64, month: i64, reset_day: u8) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let last = days(next_year, next, 1) - 1;
    (days(year, month, 1) + i64::from(reset_day.max(1)) - 1).min(last)
}

/// Days since 1970 of a date in the proleptic Gregorian calendar. Years that begin in March put the leap day last, and
/// eras of 400 years have 146 097 days.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let in_era = year - era * 400;
    let in_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

/// The other way round.
fn civil(day: i64) -> (i64, i64, i64) {
    let from_march = day + 719_468;
    let (era, day) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn on(year: i64, month: i64, day: i64) -> Timestamp {
        Timestamp(days(year, month, day) * DAY_MS + 12 * 3_600_000)
    }

    fn begins(year: i64, month: i64, day: i64, reset_day: u8) -> (i64, i64, i64) {
        civil(month_of(on(year, month, day), reset_day))
    }

    #[test]
    fn a_month_begins_on_its_reset_day_or_on_its_last() {
        assert_eq!(begins(2025, 11, 26, 1), (2025, 11, 1));
        assert_eq!(begins(2025, 11, 26, 26), (2025, 11, 26));
        assert_eq!(begins(2025, 11, 26, 27), (2025, 10, 27));
        assert_eq!(begins(2025, 1, 5, 15), (2024, 12, 15));
        assert_eq!(begins(2025, 2, 28, 31), (2025, 2, 28));
        assert_eq!(begins(2024, 3, 30, 31), (2024, 2, 29));
        assert_eq!(civil(month_of(Timestamp(-1), 1)), (1969, 12, 1));
    }

    #[test]
    fn what_the_interface_counted_is_on_the_account_whatever_happens_in_between() {
        let mut ledger = Ledger::default();
        ledger.count(5000, "a");
        assert_eq!(ledger.octets, 0, "what was before us is nobody's account");
        ledger.count(5100, "a");
        ledger.count(40, "a");
        assert_eq!(ledger.octets, 140, "the counter began anew");
        ledger.count(60, "b");
        assert_eq!(ledger.octets, 200, "the machine began anew");
    }

    #[test]
    fn a_new_month_begins_at_nothing_and_an_old_one_never_comes_back() {
        let mut ledger = Ledger::default();
        ledger.turn(on(2025, 11, 20), 1);
        ledger.count(0, "a");
        ledger.count(700, "a");
        (ledger.told, ledger.history) = (Stage::Stretched, 7);
        ledger.turn(on(2025, 10, 1), 1);
        assert_eq!((ledger.octets, ledger.told), (700, Stage::Stretched));
        ledger.turn(on(2025, 12, 1), 1);
        assert_eq!((ledger.octets, ledger.history, ledger.told, ledger.ever), (0, 0, Stage::Free, 700));
        ledger.count(710, "a");
        assert_eq!(ledger.octets, 10);
    }

    #[test]
    fn at_eighty_percent_it_is_told_and_at_a_hundred_nothing_is_left() {
        let budget = Some(Budget { month: 1000, reset_day: 1 });
        let stage = |octets| Ledger { octets, ..Ledger::default() }.stage(budget);
        assert_eq!([stage(0), stage(799), stage(800)], [Stage::Free, Stage::Free, Stage::Stretched]);
        assert_eq!(
            [stage(999), stage(1000), stage(u64::MAX)],
            [Stage::Stretched, Stage::Spent, Stage::Spent]
        );
        assert_eq!(Ledger { octets: u64::MAX, ..Ledger::default() }.stage(None), Stage::Free);
    }

    proptest! {
        #[test]
        fn a_month_begins_before_its_days_at_most_thirty_one_and_the_next_one_where_it_ends(
            day in -200_000_i64..200_000, reset_day in 1_u8..=31,
        ) {
            let at = |day: i64| Timestamp(day * DAY_MS);
            prop_assert_eq!(days(civil(day).0, civil(day).1, civil(day).2), day);
            let begins = month_of(at(day), reset_day);
            prop_assert!(begins <= day && day - begins <= 31);
            prop_assert_eq!(month_of(at(begins), reset_day), begins);
            let tomorrow = month_of(at(day + 1), reset_day);
            prop_assert!(tomorrow == begins || tomorrow == day + 1);
        }

        /// History takes a piece whenever it may, live takes what it takes.
        #[test]
        fn history_never_takes_more_than_half_of_what_is_left(
            month in 1_000_u64..1_000_000, steps in proptest::collection::vec((0_u64..500, 1_u64..500), 1..400),
        ) {
            let budget = Budget { month, reset_day: 1 };
            let mut ledger = Ledger::default();
            let mut live = 0;
            for (other, piece) in steps {
                live += other;
                ledger.octets += other;
                if ledger.has_room_for_history(Some(budget)) {
                    ledger.history += piece;
                    ledger.octets += piece;
                    let without = month.saturating_sub(live);
                    prop_assert!(ledger.history <= without / 2 + piece);
                }
            }
        }
    }
}
