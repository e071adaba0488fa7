//! Upstreams that take one body after the other, and answer each: lines for a file, a request for a database.
//!
//! # Promises
//! - **A body is settled whole or not at all.** When [`Sink::write`] returns, the far end is responsible for all of it.
//!   What was sent and not answered is sent again: the far end may have it twice, with the same (`epoch`, `seq`), or
//!   series and stamp, and nothing is missing.
//! - **No record blocks the others.** A body that is refused for good is halved until the one record stands alone, which
//!   is set aside and counted, as long as the far end takes somebody else's: see [`Proof`](super::proof). One that refuses
//!   everything is away, and the backlog waits.
//! - **What has come too late costs itself.** A far end that says that something is older than what it takes is believed:
//!   the body is halved to that record, which is set aside and counted as `too-late`.
//! - **What is sampled now does not wait for the backlog**, where the order is `live-first`: bodies of the two lanes take
//!   turns, and history keeps to its rate. Where it is `strict` there is one lane, oldest first.
//! - **Every loss is announced**, in front of the records that follow it, as the sink's format has room for it.
//!
//! A sink says what a body is made of ([`Sink::encode`]), how large it may be, and what became of it ([`Refusal`]); when and
//! what to send is decided here.

mod body;
mod lanes;
mod refusals;
mod text;
mod thinning;
mod writer;

pub(super) use lanes::Ways;
pub(super) use text::{TextSink, WriteText};
pub(super) use writer::run;

use crate::encode::{Loss, Numbered, Payload, Refused};
use crate::model::{Site, Timestamp};
use std::future::Future;
use std::io;
use std::time::Duration;

/// Nobody is away for longer than this because of one answer.
const LONGEST_BUSY: Duration = Duration::from_secs(15 * 60);

/// Takes bodies and keeps them.
pub(super) trait Sink: Send + 'static {
    /// Records in one body, at most.
    fn most(&self) -> usize {
        256
    }

    /// Octets in one body, at most; one record that needs more is given up as `too-large`.
    fn largest(&self) -> usize {
        usize::MAX
    }

    /// Whether what is encoded may stand one behind the other in one body.
    fn joins(&self) -> bool {
        true
    }

    /// As many of these readings as fit into so many octets, from the first on.
    fn encode(&self, readings: &[Numbered<'_>], site: &Site, room: usize) -> Result<Payload, Refused>;

    /// The announcement of a loss; `None` where the format has no room for one.
    fn gap(&self, now: Timestamp, loss: &Loss<'_>, site: &Site) -> Option<Vec<u8>>;

    /// When this returns well, the far end is responsible for the body.
    fn write(&mut self, body: Vec<u8>) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// A body as it is set aside, for a person to read.
    fn legible(&self, body: &[u8]) -> String {
        String::from_utf8_lossy(body).into_owned()
    }

    /// What does not stop anything and should not stay so.
    fn warnings(&self, _now: Timestamp) -> Vec<String> {
        Vec::new()
    }
}

/// Why a body was not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Tried again later.
    Later(String),
    /// Tried again later, and not before this time: it says so itself. So much of it as [`LONGEST_BUSY`] is believed.
    Busy(String, Duration),
    /// This body will never be taken, whatever happens; another one may be.
    ForGood(String),
    /// Something in it is older than what the far end keeps or may add to, and no body with it will ever be taken. It says
    /// so itself, so that nobody else has to be asked.
    TooLate(String),
    /// This sink is gone for good.
    Gone(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Later(error.to_string())
    }
}
