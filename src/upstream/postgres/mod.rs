//! Upstream `postgres`: rows in a PostgreSQL or TimescaleDB, for the site that has a database and nothing else.
//!
//! # What stands there
//! A row a value in `linesman`, the key of which is (`gateway`, `device`, `point`, `ts`):
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `ts` | `timestamptz` | when the value was read, to the millisecond |
//! | `gateway`, `device`, `point` | `text` | whose it is |
//! | `value` | `numeric` | a number |
//! | `text` | `text` | a text, the word of an enumeration, `true` or `false` |
//! | `unit` | `text` | of `value`; null where it has none |
//! | `bad` | `text` | why there is no value; null where there is one |
//! | `clock_unsure` | `boolean` | `ts` was not known to be right |
//! | `epoch`, `seq` | `text`, `bigint` | the record's number; `epoch` is eight hexadecimal digits, as everywhere |
//!
//! Losses stand in a table of their own, `linesman_gaps` (`gateway`, `from_ts`, `to_ts`, `count`, `reason`, `told`): a sum
//! over readings must not stumble over rows that are none. Its key is all but `count` and `told`.
//!
//! `numeric` and not `double precision`, because values stay exact: a double has 15 digits, a 64-bit energy counter up to
//! 20, and 0.1 would be a little more than that. Who wants doubles all the same makes the table beforehand.
//!
//! # How they come there
//! One transaction a body: `COPY` into a table of this session alone, from there `INSERT … ON CONFLICT DO NOTHING`.
//! So a body is there whole or not at all, and what is sent twice is there once; when `COMMIT` has been answered the
//! database answers for it (`synchronous_commit` is turned on where the server has it off). Where two readings of a point
//! have the same millisecond, as a clock that was set back may bring it about, the first one stays.
//!
//! # What is refused, and what is away
//! Errors about the row itself (SQLSTATE classes 22 and 23, a view's check, a trigger's `RAISE`) are the record's fault:
//! halved, set aside, counted. All others are the database's (rights, a missing table, a full disk, a shutdown, a
//! deadlock, a statement that takes too long): the backlog waits.
//!
//! # TLS
//! PostgreSQL negotiates it inside its protocol: one request in plain text, one octet in answer, then the handshake
//! ("Message Flow", SSL Session Encryption). There is no falling back: to another machine it is TLS with a certificate that
//! is verified, or, where the owner says `insecure: true`, plain text.

mod rows;
mod said;
mod session;
mod table;

pub use table::Table;

use super::Secret;
use super::bodies::{Refusal, Sink};
use super::standing::ends;
use crate::encode::{Loss, Numbered, Payload, Refused};
use crate::model::{Site, Timestamp};
use crate::uplink::Link;
use crate::uplink::{Endpoint, Tls, Validity};
use session::Session;
use std::time::Duration;
use tokio::time::timeout;

pub const PORT: u16 = 5432;

/// Records in one body: some thousand rows, a fraction of a second of a small server's time.
const MOST: usize = 256;
/// Octets in one body.
const LARGEST: usize = 4 << 20;
/// Longer than the server may take for a statement (`session`): its own words are better than ours.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub to: Endpoint,
    pub database: String,
    pub user: String,
    /// For servers that ask for one.
    pub password: Option<Secret>,
    /// Not given: plain text.
    pub tls: Option<Tls>,
    pub table: Table,
    /// Tables that are not there are made.
    pub create: bool,
    /// The table is a hypertable of TimescaleDB, where the database has that.
    pub timescale: bool,
}

pub(super) struct PostgresSink {
    config: Config,
    /// Over which path the next session goes.
    link: Link,
    session: Option<Session>,
    /// Of the last session, for it is true of the next one too.
    validity: Validity,
    doubts: Vec<String>,
}

impl PostgresSink {
    pub(super) fn new(config: Config, link: Link) -> PostgresSink {
        PostgresSink { config, link, session: None, validity: Validity::default(), doubts: Vec::new() }
    }

    async fn attempt(&mut self, body: &[u8]) -> Result<(), Refusal> {
        // The server may have ended a session in which nothing was said for long: that is no outage.
        // And where another path is taken by now, the next one goes over that.
        let kept = self.session.take().filter(|session| session.is_open() && !self.link.has_moved());
        let mut session = match kept {
            Some(session) => session,
            None => {
                let dialler = self.link.dialler(&self.config.to);
                Session::open(&self.config, dialler).await.map_err(Refusal::Later)?
            }
        };
        (self.validity, self.doubts) = (session.validity, session.doubts.clone());
        let written = session.write(body).await;
        if matches!(written, Ok(()) | Err(Refusal::ForGood(_))) {
            self.session = Some(session);
        }
        written
    }
}

impl Sink for PostgresSink {
    fn most(&self) -> usize {
        MOST
    }

    fn largest(&self) -> usize {
        LARGEST
    }

    fn encode(&self, readings: &[Numbered<'_>], site: &Site, room: usize) -> Result<Payload, Refused> {
        rows::encode(readings, site, room)
    }

    fn gap(&self, _now: Timestamp, loss: &Loss<'_>, site: &Site) -> Option<Vec<u8>> {
        Some(rows::gap(loss, site).into_bytes())
    }

    async fn write(&mut self, body: Vec<u8>) -> Result<(), Refusal> {
        match timeout(PATIENCE, self.attempt(&body)).await {
            Ok(written) => written,
            Err(_) => {
                self.link.unanswered();
                Err(Refusal::Later(format!("{} does not answer", self.config.to)))
            }
        }
    }

    fn warnings(&self, now: Timestamp) -> Vec<String> {
        let Config { to, tls, .. } = &self.config;
        let open = (tls.is_none() && !to.is_loopback())
            .then(|| format!("readings and user name go to {to} in plain text: leave `insecure` out"));
        let Validity { theirs, ours } = self.validity;
        let theirs = theirs.and_then(|until| ends("the database's certificate", until, now));
        let ours = ours.and_then(|until| ends("our certificate (`cert_file`)", until, now));
        self.doubts.iter().cloned().chain([open, theirs, ours].into_iter().flatten()).collect()
    }
}
