//! Upstream `sparkplug`: an edge node of Sparkplug B 3.0.0 over MQTT 3.1.1 or 5.
//!
//! The group is given, the gateway is the edge node, each meter is a device of it. What the specification asks of an edge
//! node, assertion by assertion, stands in `docs/sparkplug.md`, which a test prints.
//!
//! # Promises
//! - **Births first.** A session begins with its Will (NDEATH), the subscription to its commands, and, where a primary host is
//!   named, the wait for it; then NBIRTH, a DBIRTH for each device, and only then data. Numbers (`seq`) have no gap.
//! - **Aliases stay.** A point's alias is given once and written down before it is said; so is the number of the session
//!   (`bdSeq`), which counts the CONNECTs, over restarts and `kill -9` too (`kept.rs`).
//! - **Delivered, or counted.** Sparkplug's data goes with QoS 0, which nobody acknowledges. A broker reads what a connection
//!   brings in its order; so behind what was handed over goes a PINGREQ, and when its answer is there the broker has read
//!   all that stood before it: that is when records are settled, and not before. What a broken session left open, at most
//!   [`flight::MOST`] records, goes again, as history, with the same alias and timestamp. What the broker does with it is
//!   the broker's promise, as it is behind a PUBACK.
//! - **Live first.** As by MQTT: live records at once, the backlog beside them as `is_historical`, no more than 500 metrics in a
//!   message. What is historical never moves a value that is shown as the current one.
//! - **By exception.** A metric is said when it has changed since it was last said, its birth included. A record in which
//!   nothing was new counts as left out. The first of a backlog is said whole.
//! - **A lost meter is dead.** It is said by DDEATH when an event, a line that is down, or two silent scans in a row tell of it,
//!   and by DBIRTH when it answers again. Backlog of one that is lost goes between a DBIRTH and a DDEATH.
//! - **Asked to be born again, it is**: data stops at once and the births come anew; when many hosts ask, once a second.
//! - **Every loss is announced**, as a metric of the node, and so are events, for Sparkplug has no topic for either.
//! - **Nothing is written to a meter.** Commands but `Node Control/Rebirth` are passed over, and DCMD is not subscribed to.
//!
//! # What is said
//! NBIRTH: `bdSeq`, `Node Control/Rebirth`, and with an alias `Node Info/Software`, `Node Info/Version`, `Queue/Pending`
//! (records that wait), `Losses/Records` and `Losses/Last` (JSON, the gap of `P/event`), `Events/Last` (JSON, as in `P/event`).
//! DBIRTH: each point by its name, with `engUnit` where it has a unit. A bad value is null with `Quality` 0, or 500 where
//! nobody was heard; one that is good again says 192 once. Which datatype a point has: `values.rs`.
//!
//! # The primary host
//! Its STATE counts per connection: a broker retains the newest. Offline, with a timestamp that is not older than the last
//! online's, ends the session with NDEATH, and the next broker is tried. Where there is but one, the session waits.
//!
//! # What is refused for good
//! QoS 0 has no refusals: a broker that has rights withheld from us drops what it has read and says nothing, or closes the
//! connection. What was in flight when two sessions in a row broke goes
//! alone in the next; a record that breaks that one too is set aside (`trials.rs` of MQTT). Should births break sessions,
//! the third says no values. A birth is never parted: a device whose birth is larger than what the broker takes stays
//! unborn, and its records are given up as `too-large`.

mod alone;
mod births;
mod config;
mod ending;
mod feed;
mod flight;
mod host;
mod kept;
mod known;
mod lanes;
mod said;
mod session;
mod settling;
mod topics;
mod values;
mod wire;

pub use config::Config;

use super::Work;
use super::backoff::Backoff;
use super::bodies::Ways;
use super::mqtt::trials::Trials;
use super::mqtt::walk::{self, Ended, Sessions};
use crate::model::Timestamp;
use crate::uplink::Endpoint;
use kept::Kept;
use known::Known;
use session::Session;

/// What is known from one session to the next.
struct Node {
    config: Config,
    ways: Ways,
    kept: Kept,
    known: Known,
    trials: Trials,
    /// What was told last of events and losses, and how many records are lost.
    event: Option<(Timestamp, String)>,
    loss: Option<(Timestamp, String)>,
    /// Sessions in a row that broke before all were born.
    stillborn: u32,
}

/// Connects, delivers, backs off, until told to stop.
pub(super) async fn run(config: Config, ways: Ways, mut work: Work) {
    let access = config.access.clone();
    let node = Node {
        kept: Kept::load(&work.folder, &work.name),
        known: Known::default(),
        trials: Trials::default(),
        event: None,
        loss: None,
        stillborn: 0,
        config,
        ways,
    };
    walk::keep_up(&access, &mut work, node).await;
}

impl Sessions for Node {
    async fn session(&mut self, broker: &Endpoint, work: &mut Work, backoff: &mut Backoff) -> Ended {
        Session::run(broker, work, self, backoff).await
    }

    fn suspects(&self) -> bool {
        self.trials.suspect().is_some() || self.stillborn > 0
    }
}
