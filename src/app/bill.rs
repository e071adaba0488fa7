//! What the uplinks have cost this month, kept over a restart: `uplinks.json` in the spool's folder.
//!
//! `{"format":1,"uplinks":{NAME:{"since_day","octets","history","ever","counter","boot","told"}}}`. Written every ten
//! minutes, sooner when much has gone over them or a month or a stage of a budget begins, and at the end. After a crash the
//! interface's own counter, which goes on, makes good what was not written; a power cut takes what went over the
//! uplinks since the last writing.

use super::parts::Part;
use super::time::{Timeline, this_boot};
use crate::model::Event;
use crate::spool::document;
use crate::uplink::{Config, Ledger, Paths, Surroundings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const FILE: &str = "uplinks.json";
const FORMAT: u32 = 1;
const LARGEST: u64 = 1 << 20;
/// Flash wears: a writing for what is at most a hundredth of a small budget.
const EVERY: Duration = Duration::from_secs(600);
const MUCH: u64 = 500_000;

type Ledgers = BTreeMap<String, Ledger>;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    uplinks: Ledgers,
}

/// The paths, and what they have cost.
pub(super) struct Uplinks {
    pub(super) paths: Paths,
    bill: Bill,
}

impl Uplinks {
    /// With the part that keeps them, where there are any.
    pub(super) fn start(
        configs: &[Config],
        folder: &Path,
        time: &Timeline,
        events: &mpsc::Sender<Event>,
    ) -> (Uplinks, Option<Part>) {
        let (bill, stop) = (Bill::open(folder), CancellationToken::new());
        let around = Surroundings {
            clock: Arc::new(time.clone()),
            stamps: time.for_lines(),
            known: time.status(),
            events: events.clone(),
            boot: this_boot().to_string(),
            stop: stop.clone(),
        };
        let (paths, keeper) = Paths::start(configs.to_vec(), &bill.kept, around);
        (Uplinks { paths, bill }, keeper.map(|keeper| Part::task(stop, keeper)))
    }

    pub(super) fn keep(&mut self) {
        self.bill.keep(self.paths.ledgers());
    }

    pub(super) async fn close(self) {
        self.bill.close(self.paths.ledgers()).await;
    }
}

/// The file, and what stands in it.
#[derive(Debug)]
pub(super) struct Bill {
    path: PathBuf,
    kept: Ledgers,
    written: Instant,
    /// A slow card holds up nobody.
    writing: Option<JoinHandle<()>>,
}

impl Bill {
    fn open(folder: &Path) -> Bill {
        let path = folder.join(FILE);
        let kept = match document::read(&path, FORMAT, LARGEST) {
            Ok(Document { uplinks, .. }) => uplinks,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ledgers::new(),
            Err(error) => {
                let file = path.display();
                tracing::warn!(%file, %error, "what the uplinks have cost can't be read; the month is counted from now on");
                Ledgers::new()
            }
        };
        Bill { path, kept, written: Instant::now(), writing: None }
    }

    /// Begins to write what is known now, if it is time to and the last writing is over.
    fn keep(&mut self, now: Ledgers) {
        let busy = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if busy || now == self.kept || !(self.written.elapsed() >= EVERY || is_worth(&self.kept, &now)) {
            return;
        }
        let path = self.path.clone();
        (self.kept, self.written) = (now.clone(), Instant::now());
        self.writing = Some(tokio::task::spawn_blocking(move || write(&path, now)));
    }

    /// The last word.
    async fn close(mut self, now: Ledgers) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
        if now != self.kept {
            let _ = tokio::task::spawn_blocking(move || write(&self.path, now)).await;
        }
    }
}

fn is_worth(kept: &Ledgers, now: &Ledgers) -> bool {
    now.iter().any(|(name, ledger)| {
        kept.get(name).is_none_or(|old| {
            (old.since_day, old.told) != (ledger.since_day, ledger.told)
                || ledger.ever.saturating_sub(old.ever) >= MUCH
        })
    })
}

fn write(path: &Path, uplinks: Ledgers) {
    let octets = serde_json::to_vec_pretty(&Document { format: FORMAT, uplinks }).map_err(io::Error::from);
    if let Err(error) = octets.and_then(|octets| document::replace(path, &octets)) {
        let file = path.display();
        tracing::warn!(%file, %error, "what the uplinks have cost can't be kept for the next start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledgers(octets: u64) -> Ledgers {
        let ledger = Ledger { octets, ever: octets, boot: "b".to_owned(), ..Ledger::default() };
        Ledgers::from([("lte".to_owned(), ledger)])
    }

    #[tokio::test]
    async fn the_bill_is_there_after_a_restart_and_not_written_for_every_octet() {
        let dir = tempfile::tempdir().unwrap();
        let mut bill = Bill::open(dir.path());
        bill.keep(ledgers(100));
        bill.writing.take().unwrap().await.unwrap();
        bill.keep(ledgers(200));
        assert!(bill.writing.is_none(), "little, and soon");
        bill.keep(ledgers(600_000));
        bill.writing.take().unwrap().await.unwrap();
        bill.close(ledgers(600_001)).await;
        assert_eq!(Bill::open(dir.path()).kept, ledgers(600_001));
    }

    #[test]
    fn a_file_that_is_not_ours_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", r#"{"format":2,"uplinks":{}}"#, r#"{"format":1,"uplinks":[]}"#] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            assert!(Bill::open(dir.path()).kept.is_empty(), "{text}");
        }
    }
}
