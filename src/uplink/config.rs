//! One uplink as configured.

use crate::model::Name;
use std::num::NonZeroU64;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub name: Name,
    /// As `/sys/class/net` has it.
    pub interface: String,
    /// Octets are paid: probed rarely, kept alive slowly.
    pub metered: bool,
    pub budget: Option<Budget>,
    /// The longest silence on a connection over this path; the upstream's own where not given.
    pub keep_alive: Option<Duration>,
    /// How often live readings go together; the upstream's own where not given.
    pub batch: Option<Duration>,
    pub allow: Allow,
    /// How long what was sent may wait for the far end's kernel before the path is dead.
    pub user_timeout: Duration,
    /// How long it must have worked before connections return to it.
    pub stable_for: Duration,
    /// How often it is probed while it is not in use.
    pub probe_every: Duration,
    /// Octets of the backlog a second at most.
    pub history_rate: Option<NonZeroU64>,
}

/// What a month may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Octets.
    pub month: u64,
    /// The day of the month on which the operator begins to count anew; in a month that is shorter, its last.
    pub reset_day: u8,
}

/// What may go over an uplink. Status goes always: who is connected says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow {
    /// Events and announcements of losses.
    pub alarm: bool,
    pub live: bool,
    pub history: bool,
}

impl Allow {
    pub const ALL: Allow = Allow { alarm: true, live: true, history: true };
}

impl Config {
    /// What holds where the owner says nothing, by class: a metered path is patient and rarely bothered.
    pub fn new(name: Name, interface: String, metered: bool) -> Config {
        let by_class = |wired, other| Duration::from_secs(if metered { other } else { wired });
        Config {
            name,
            interface,
            metered,
            budget: None,
            // Verizon's guidelines: no keep-alive under five minutes.
            keep_alive: metered.then_some(Duration::from_secs(600)),
            batch: None,
            allow: Allow::ALL,
            user_timeout: by_class(20, 30),
            stable_for: Duration::from_secs(300),
            probe_every: by_class(10, 900),
            // 32 kbit/s.
            history_rate: if metered { NonZeroU64::new(4000) } else { None },
        }
    }
}
