//! What is wrong on a line, in words that an electrician can act on; and events, which tell of a change.

use super::{Name, Timestamp};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// A kind of trouble. Its [`word`](FindingKind::word) is what status and payloads show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// No octets at all.
    Silence,
    /// Octets, but never a valid frame.
    NoValidFrame,
    /// Two devices under one unit id.
    TwoAnswers,
    AnotherMaster,
    /// The adapter hears itself.
    Echo,
    /// Octets without end.
    Babble,
    /// More damaged answers than this device usually has.
    ErrorsRising,
    /// Answers later than it used to.
    Slower,
    /// The adapter holds octets back.
    LatencyTimer,
    /// More is asked than the line can carry.
    Overload,
    /// The port is not as it should be: another program has it open as well, the driver made other settings.
    Port,
    /// A device that should say itself what it offers does not.
    NoModels,
}

impl FindingKind {
    pub const fn word(self) -> &'static str {
        match self {
            FindingKind::Silence => "silence",
            FindingKind::NoValidFrame => "no-valid-frame",
            FindingKind::TwoAnswers => "two-answers",
            FindingKind::AnotherMaster => "another-master",
            FindingKind::Echo => "echo",
            FindingKind::Babble => "babble",
            FindingKind::ErrorsRising => "errors-rising",
            FindingKind::Slower => "slower",
            FindingKind::LatencyTimer => "latency-timer",
            FindingKind::Overload => "overload",
            FindingKind::Port => "port",
            FindingKind::NoModels => "no-models",
        }
    }

    /// Worth knowing, but nothing is wrong for it.
    pub const fn is_a_hint(self) -> bool {
        matches!(self, FindingKind::Echo | FindingKind::LatencyTimer)
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: FindingKind,
    pub since: Timestamp,
    /// What it is, and what to do.
    pub text: String,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    LineDown,
    LineUp,
    DeviceLost,
    DeviceFound,
    /// Another meter than the one that was known answers; its values are held.
    OtherMeter,
    /// A meter answers and does not say who it is; its values are held.
    NamelessMeter,
    /// Another meter has taken the place of the one that was known.
    MeterExchanged,
    CounterReset,
    /// A counter that was taken for reset is where it stood before.
    CounterBack,
    /// Connections go over another uplink.
    UplinkChanged,
    /// 80 % of an uplink's budget are used.
    BudgetLow,
    /// All of an uplink's budget is used.
    BudgetSpent,
    /// A finding began.
    Begins(FindingKind),
    /// A finding is over.
    Ends(FindingKind),
}

impl EventKind {
    /// The word of the contract; a finding's own word stands beside it.
    pub const fn word(self) -> &'static str {
        match self {
            EventKind::LineDown => "line-down",
            EventKind::LineUp => "line-up",
            EventKind::DeviceLost => "device-lost",
            EventKind::DeviceFound => "device-found",
            EventKind::OtherMeter => "other-meter",
            EventKind::NamelessMeter => "nameless-meter",
            EventKind::MeterExchanged => "meter-exchanged",
            EventKind::CounterReset => "counter-reset",
            EventKind::CounterBack => "counter-back",
            EventKind::UplinkChanged => "uplink-changed",
            EventKind::BudgetLow => "budget-low",
            EventKind::BudgetSpent => "budget-spent",
            EventKind::Begins(_) | EventKind::Ends(_) => "finding",
        }
    }

    /// What [`Event::line`] names: `line`, or `uplink`.
    pub const fn place(self) -> &'static str {
        if matches!(self, EventKind::UplinkChanged | EventKind::BudgetLow | EventKind::BudgetSpent) {
            "uplink"
        } else {
            "line"
        }
    }
}

/// Something that changed on a line, or an uplink, told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub ts: Timestamp,
    pub kind: EventKind,
    /// Where: see [`EventKind::place`].
    pub line: Name,
    /// None where it concerns the whole line.
    pub device: Option<Name>,
    pub text: String,
}

/// Events kept for those who have not heard them yet.
const KEPT: usize = 64;

/// The latest events, numbered from 1 on: each upstream tells those that it has not told. Kept in memory: one
/// that nobody could be told before a restart is in the log alone.
#[derive(Debug, Clone, Default)]
pub struct Chronicle {
    last: u64,
    events: VecDeque<(u64, Arc<Event>)>,
}

impl Chronicle {
    pub fn add(&mut self, event: Event) {
        self.last += 1;
        self.events.push_back((self.last, Arc::new(event)));
        if self.events.len() > KEPT {
            self.events.pop_front();
        }
    }

    /// The first event after this number, with its own.
    pub fn after(&self, number: u64) -> Option<(u64, Arc<Event>)> {
        self.events.iter().find(|(of, _)| *of > number).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_away_hears_the_latest_events_in_order() {
        let mut chronicle = Chronicle::default();
        assert_eq!(chronicle.after(0), None);
        for n in 0..100 {
            let (kind, line) = (EventKind::LineUp, "a".parse().unwrap());
            chronicle.add(Event { ts: Timestamp(n), kind, line, device: None, text: String::new() });
        }
        let (mut number, mut heard) = (0, Vec::new());
        while let Some((of, event)) = chronicle.after(number) {
            number = of;
            heard.push(event.ts.0);
        }
        assert_eq!(heard, (36..100).collect::<Vec<_>>());
        assert_eq!(number, 100);
    }
}
