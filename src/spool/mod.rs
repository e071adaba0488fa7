//! Keeps records until they are acknowledged, and as local history after.
//!
//! The room knows octets, positions and times. It does not know what a record says, whose reading it is,
//! or how it is forwarded; of the room `record` it uses the packing, octets in and octets out.
//!
//! # The contract
//! - **At least once.** A cursor moves only when its upstream settles records, and what is written of it to
//!   disk never goes beyond what is committed. For each upstream, in records, at every instant:
//!   `sampled = delivered + pending + left_out + dropped{reason}`. All of these are checkpointed with each
//!   commit, so they are kept across restarts and crashes.
//! - **A power cut loses at most `commit_every`** (or 256 KiB before packing, whichever comes first): records are
//!   committed in groups, by one write and one `fdatasync`. The window that it took is announced as a gap
//!   (`power-cut`) whose count is not known; so is that of a `kill -9` and of a panic.
//! - **Order per device is kept.** Duplicates are at most what was in flight, per crash, each with its
//!   (`epoch`, `seq`). Live records may be settled before the backlog: the ranges beyond the cursor are kept, and
//!   not read again.
//! - **The disk cap is never exceeded.** Segments are allocated before they are used. What gives way is the
//!   oldest segment (`drop-oldest`), or the new record (`refuse-new`); whatever an upstream had not had from it
//!   is counted as its loss, and a **gap** (from, to, count, reason) waits until it is announced.
//! - **Starts from any octets in its folder**, in bounded time and memory, without deleting good records: it reads
//!   the headers, the last segment and the cursors. Damage costs the records that it touches and what builds
//!   upon them, up to the device's next key frame; reading goes on at the next valid frame, a copy of the damaged
//!   octets is kept aside, and what is missing is counted as `damaged`.
//! - **An ill disk stops nobody.** While it takes nothing (`fdatasync` fails, it is full by others, read-only, has
//!   no inodes, the folder is missing or not writable), records wait in memory up to a bound; the oldest beyond it are
//!   counted as `disk-ill`. It is tried again every second. A failed `fdatasync` is never tried again on the same
//!   file: what is not committed is written to a new segment from memory. If the folder can't be reached at the start,
//!   everything is in memory until it can, and then goes behind what it holds.
//! - **A card that stalls, in whichever call, stalls nobody else.** Records are taken, live ones are read from memory
//!   and settled, all is counted; after three seconds the status says so. What waits until the disk is back: history
//!   that is no longer in memory, commits, new upstreams, the end, and the announcement of losses.
//! - **Polling does not depend on storage or upstream**: who hands over a record waits for a queue, never for
//!   the disk.
//! - **One process at a time**: the folder is locked.
//!
//! # Positions, epochs, sequences
//! A *position* numbers all records that ever passed through this folder, from 1, without gaps; cursors
//! count in positions. An *epoch* is drawn at random at each start and a *sequence* counts from 1 within it:
//! the pair names a record to the outside for ever, also when a power cut took the record from disk after it
//! had been delivered (its position may be given again, its pair never is).
//!
//! # Format, version 1
//! All integers little endian; *varint* is LEB128. `DIR/lock` is the lock and holds the owner's process id.
//! Everything else is in `DIR/v1/`, so that another version, older or newer, finds its own folder and leaves this
//! one alone. Where a newer version has written segments into `v1` all the same, `v1-2` is begun beside it (and
//! so on), and `v1` is left as it is.
//!
//! **Segment** `NNNNNNNNNNNNNNNNNNNN.seg` (the first position, twenty digits), at most 512 KiB and 60 000 positions,
//! allocated and filled with zeros:
//!
//! | octets | meaning |
//! | --- | --- |
//! | 0–6 | `LMSPOOL` |
//! | 7 | version, `1`; another one is a newer version's, whose header has its checksum at the same place |
//! | 8–15 | first position |
//! | 16–19 | epoch of all its records |
//! | 20–23 | zero |
//! | 24–31 | sequence of the first position; sequence − position is the same throughout |
//! | 32–39 | time of the first record, ms since 1970 UTC |
//! | 40–59 | zero |
//! | 60–63 | CRC-32C of octets 0–59 |
//! | 64– | frames, one after the other; a length of zero ends them |
//!
//! **Frame**:
//!
//! | octets | meaning |
//! | --- | --- |
//! | varint, 1–3 octets | length of the body, 1 to 131 088 |
//! | 2 | position, its lower 16 bits |
//! | 4 | CRC-32C of: the segment's first position (8 octets, not stored here), the length and position as they stand, the body |
//! | … | body |
//!
//! A body whose first octet is 255 is an **anchor** and has no record: epoch u32, sequence u64, position u64, time
//! i64 of the record that follows. One stands before the first record and before every 64th after it, so that a
//! damaged header costs nobody their numbers. Every other body is one packed record, whose layout stands on the
//! page of the room [`record`](crate::record); its first octet is never above 127. Positions rise, but some may be
//! missing: those were lost before they were written.
//!
//! **Cursor** `NAME.cursor`: two slots of 4096 octets, written in turn; the valid one with the higher generation
//! counts, so a torn write leaves the other. A slot holds the acknowledged prefix, up to 16 ranges beyond it, all
//! counts, and the gaps that are not announced yet. Its layout stands in the page of `cursor.rs`. A new one is
//! `NAME.cursor.new` until it is whole.
//!
//! **`clean`**: the newest position as text, written at a clean end and removed at the next start. Where it is
//! missing or says another number, the process before has ended without a word.
//!
//! **`damaged/`**: at most eight pieces of what should have been records (the segment's name and the offset), and
//! files with a segment's name that are none. They count against the cap and are the first to give way.
//!
//! # Why
//! One owner in a thread of its own keeps the books and touches no file; for each job that does, it lends the whole log
//! to a second thread, the hand: a card may take seconds to sync. What happens until it is back is noted in memory
//! (`meanwhile.rs`) and put into it then: so there is one log, synchronous and without a lock, and its
//! operations have one order. Octets written to flash are what wears it: so records are packed, committed in groups, and
//! written over zeros that are there already, which changes nothing in the file system's own books. The lower
//! two octets of a position in each frame cost less than 0.1 octets a reading and let a damaged segment be read
//! from any place on.

mod aside;
mod config;
mod current;
mod cursor;
mod disk;
pub mod document;
mod error;
mod format;
mod gaps;
mod hand;
mod home;
mod inspect;
mod log;
mod meanwhile;
mod owner;
mod ranges;
mod read_back;
mod recover;
mod request;
mod room;
mod segment;
#[cfg(test)]
mod tests;
mod transfer;

pub use config::{Config, WhenFull};
pub use cursor::{Account, Outcome};
pub use error::{Closed, CommitError, OpenError};
pub use gaps::Gap;
pub use inspect::{Damage, Inspection, inspect, inspect_between};
pub use transfer::{TransferError, export, import};

use disk::Disk;
use request::{Question, Request};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// Requests waiting for the owner: a burst of scans from every line while the disk syncs, each of them a batch
/// of records when they come thick and fast.
const REQUESTS: usize = 256;

/// One record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub position: u64,
    pub epoch: u32,
    pub seq: u64,
    pub ts_ms: i64,
    pub octets: Arc<[u8]>,
}

/// What the spool says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Records on disk and in memory, acknowledged or not.
    pub records: u64,
    /// Octets on disk.
    pub octets: u64,
    pub oldest_ts: Option<i64>,
    /// `false` while the disk does not take what it is given.
    pub healthy: bool,
    pub detail: Option<String>,
    /// Records since the folder was made.
    pub appended: u64,
    /// Rises at least once a second while the owner turns.
    pub heartbeat: u64,
}

/// The running spool.
#[derive(Debug)]
pub struct Spool {
    requests: mpsc::Sender<Request>,
    epoch: u32,
    head: watch::Receiver<u64>,
    status: watch::Receiver<Status>,
    accounts: watch::Receiver<BTreeMap<String, watch::Receiver<Account>>>,
    owner: Option<JoinHandle<()>>,
}

/// Locks the folder, recovers what is in it, and starts the owner's thread.
///
/// An upstream that has no cursor yet starts with the oldest record if the folder has no cursor at all,
/// and with the next one otherwise: a second upstream is not sent the first one's history.
pub fn start(config: Config, upstreams: &[String]) -> Result<Spool, OpenError> {
    start_on(disk::RealDisk, config, upstreams)
}

fn start_on<D>(disk: D, config: Config, upstreams: &[String]) -> Result<Spool, OpenError>
where
    D: Disk + Send + 'static,
    D::File: Send,
{
    let log = log::Log::open(config, upstreams, disk)?;
    let no_thread = |source| OpenError::Folder { dir: PathBuf::from("spool thread"), source };
    let (requests, requests_in) = mpsc::channel(REQUESTS);
    let epoch = log.epoch;
    let owner = owner::Owner::new(log, hand::Hand::start().map_err(no_thread)?, requests_in);
    let (head, status, accounts) = (owner.head(), owner.status(), owner.accounts());
    let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(move || owner.run());
    Ok(Spool { requests, epoch, head, status, accounts, owner: Some(thread.map_err(no_thread)?) })
}

impl Spool {
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    pub fn writer(&self) -> Writer {
        Writer { requests: self.requests.clone() }
    }

    /// `None` for a name that was not among the upstreams.
    pub fn reader(&self, upstream: &str) -> Option<Reader> {
        let account = self.accounts.borrow().get(upstream)?.clone();
        let (requests, head) = (self.requests.clone(), self.head.clone());
        let exhausted = AtomicU64::new(0);
        Some(Reader { requests, name: upstream.to_owned(), head, exhausted, account })
    }

    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// These upstreams from now on. A cursor that is no longer named stays on disk, for its return.
    pub async fn set_upstreams(&self, names: &[String]) {
        let (done, answer) = oneshot::channel();
        let request = Request::SetUpstreams { names: names.to_vec(), done };
        if self.requests.send(request).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Returns when everything appended so far is durable.
    pub async fn commit(&self) -> Result<(), CommitError> {
        let (done, answer) = oneshot::channel();
        self.requests.send(Request::Commit { done }).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)?.map_err(CommitError::Disk)
    }

    /// Commits, saves the cursors, unlocks.
    pub async fn close(mut self) -> Result<(), CommitError> {
        let result = self.commit().await;
        let (done, answer) = oneshot::channel();
        if self.requests.send(Request::Close { done }).await.is_ok() {
            let _ = answer.await;
        }
        if let Some(owner) = self.owner.take()
            && owner.join().is_err()
        {
            return Err(Closed.into());
        }
        result
    }
}

/// Where records come in.
#[derive(Debug, Clone)]
pub struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    /// Hands a record over; it is kept in memory at once and on disk with the next commit.
    pub async fn append(&self, ts_ms: i64, octets: Vec<u8>) -> Result<(), Closed> {
        self.append_all(vec![(ts_ms, octets)]).await
    }

    /// The same with several at once, in this order: the owner, and whoever waits for records, wake once.
    pub async fn append_all(&self, records: Vec<(i64, Vec<u8>)>) -> Result<(), Closed> {
        self.requests.send(Request::Append { records }).await.map_err(|_| Closed)
    }
}

/// One upstream's view.
#[derive(Debug)]
pub struct Reader {
    requests: mpsc::Sender<Request>,
    name: String,
    head: watch::Receiver<u64>,
    /// The head up to which a read has found nothing more: positions there may all be lost.
    exhausted: AtomicU64,
    account: watch::Receiver<Account>,
}

impl Reader {
    /// Another view of the same upstream: one may wait for new records while the other reads old ones.
    #[must_use]
    pub fn another(&self) -> Reader {
        let (requests, name, head) = (self.requests.clone(), self.name.clone(), self.head.clone());
        Reader { requests, name, head, exhausted: AtomicU64::new(0), account: self.account.clone() }
    }

    /// The position up to which everything is settled; 0 at the very beginning.
    pub fn cursor(&self) -> u64 {
        self.account.borrow().cursor
    }

    /// The newest position.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    pub fn account(&self) -> watch::Receiver<Account> {
        self.account.clone()
    }

    /// Records after this position that this upstream has not settled yet, oldest first; those not yet
    /// committed are among them, and what is lost is skipped. At least one record if there is any, however
    /// large.
    pub async fn read(&self, after: u64, at_most: usize, octets: usize) -> Result<Vec<Stored>, Closed> {
        self.read_until(after, u64::MAX, at_most, octets).await
    }

    /// The same, up to this position and not beyond: the backlog below where live records begin.
    pub async fn read_until(
        &self,
        after: u64,
        upto: u64,
        at_most: usize,
        octets: usize,
    ) -> Result<Vec<Stored>, Closed> {
        let (done, answer) = oneshot::channel();
        let question = Question { name: self.name.clone(), after, upto, at_most, octets };
        self.requests.send(Request::Read { question, done }).await.map_err(|_| Closed)?;
        let found = answer.await.map_err(|_| Closed)?;
        if found.records.is_empty() && upto >= found.head {
            self.exhausted.fetch_max(found.head, Ordering::Relaxed);
        }
        Ok(found.records)
    }

    /// Waits until something was appended later than this position, and later than the last read that
    /// found nothing: else a reader would ask again and again for positions that are lost.
    pub async fn beyond(&mut self, position: u64) -> Result<(), Closed> {
        let position = position.max(self.exhausted.load(Ordering::Relaxed));
        self.head.wait_for(|head| *head > position).await.map(drop).map_err(|_| Closed)
    }

    /// What of these positions is not settled yet is settled this way: in any order, with holes between. What
    /// lies beyond the cursor is remembered as ranges, so that live records that have arrived are not sent
    /// again with the backlog.
    pub async fn settle(
        &self,
        positions: impl IntoIterator<Item = RangeInclusive<u64>>,
        outcome: Outcome,
    ) -> Result<(), Closed> {
        let ranges = positions.into_iter().map(RangeInclusive::into_inner).collect();
        let request = Request::Settle { name: self.name.clone(), ranges, outcome };
        self.requests.send(request).await.map_err(|_| Closed)
    }

    /// The far end has taken everything up to here.
    pub async fn ack(&self, upto: u64) -> Result<(), Closed> {
        self.settle([0..=upto], Outcome::Delivered).await
    }

    /// A filter left nothing of these to send.
    pub async fn leave_out(&self, upto: u64) -> Result<(), Closed> {
        self.settle([0..=upto], Outcome::LeftOut).await
    }

    /// These will never be delivered, for this reason: counted, and gone on. A gap record says so.
    pub async fn give_up(&self, upto: u64, reason: &str) -> Result<(), Closed> {
        self.settle([0..=upto], Outcome::Dropped(reason.to_owned())).await
    }

    /// Losses that the far end has not been told of, oldest first; [`Account::gaps`] says when there are some.
    /// What is handed out here no longer grows: a loss that goes on becomes another gap.
    pub async fn gaps(&self) -> Result<Vec<Gap>, Closed> {
        let (done, answer) = oneshot::channel();
        self.requests.send(Request::Gaps { name: self.name.clone(), done }).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }

    /// The far end has taken the announcement of this gap ([`Gap::id`]); durable with the next commit.
    pub async fn announced(&self, gap: u64) -> Result<(), Closed> {
        let request = Request::Announced { name: self.name.clone(), gap };
        self.requests.send(request).await.map_err(|_| Closed)
    }
}
