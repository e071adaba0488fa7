//! Upstreams that take lines of JSON one batch after the other: read, encode, write, acknowledge.

use super::Work;
use super::backoff::Backoff;
use crate::encode::json::{self, Number};
use crate::spool::{Closed, Stored};
use crate::{record, spool};
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// A batch is at most so many records and octets.
const RECORDS: usize = 256;
const OCTETS: usize = 256 << 10;
/// How long what was there at the stop may take to be written.
const DRAIN: Duration = Duration::from_secs(2);

/// Takes text and keeps it: when `write` returns, the far end is responsible.
pub(super) trait Sink: Send + 'static {
    fn write(&mut self, lines: &str) -> Result<(), Refusal>;
}

#[derive(Debug)]
pub(super) enum Refusal {
    /// Tried again later.
    Later(String),
    /// This sink is gone for good.
    Gone(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Later(error.to_string())
    }
}

/// Records with what each became: a line, or nothing that could be read.
struct Batch {
    text: String,
    /// Up to which position, and whether those have a line.
    settle: Vec<(u64, bool)>,
}

pub(super) async fn run<S: Sink>(sink: S, mut work: Work) {
    let mut sink = Some(sink);
    let (mut at, mut backoff) = (work.reader.cursor(), Backoff::default());
    let mut stop_at: Option<(u64, Instant)> = None;
    loop {
        if stop_at.is_none() && work.stop.is_cancelled() {
            stop_at = Some((work.reader.head(), Instant::now() + DRAIN));
        }
        if stop_at.is_some_and(|(head, by)| at >= head || Instant::now() >= by) {
            work.report.stopped(None);
            return;
        }
        let Ok(records) = work.reader.read(at, RECORDS, OCTETS).await else { return };
        if records.is_empty() {
            let stop = work.stop.clone();
            tokio::select! {
                more = work.reader.beyond(at) => if more.is_err() { return },
                () = stop.cancelled() => if stop_at.is_some() { return },
            }
            continue;
        }
        let batch = encode(&work, &records);
        let Some((taken, returned)) = write(sink.take(), batch.text).await else { return };
        sink = Some(returned);
        match taken {
            Ok(()) => {
                backoff.worked();
                work.report.connected();
                at = batch.settle.last().map_or(at, |(upto, _)| *upto);
                if settle(&work.reader, &batch.settle).await.is_err() {
                    return;
                }
                work.report.delivered(work.clock.utc());
            }
            Err(Refusal::Gone(why)) => {
                work.report.stopped(Some(&why));
                return work.stop.cancelled().await;
            }
            Err(Refusal::Later(why)) => {
                work.report.trouble(&why);
                let wait = backoff.after_failure(fastrand::f64());
                let _ = tokio::time::timeout(wait, work.stop.cancelled()).await;
            }
        }
    }
}

fn encode(work: &Work, records: &[Stored]) -> Batch {
    let gateway = work.site.borrow().gateway.clone();
    let mut batch = Batch { text: String::new(), settle: Vec::new() };
    for stored in records {
        let readable = match record::decode(&stored.octets) {
            Ok(mut reading) => {
                work.dating.borrow().date(&mut reading);
                let number = Number { epoch: stored.epoch, seq: stored.seq };
                batch.text.push_str(&json::reading(&reading, number, Some(gateway.as_str())));
                batch.text.push('\n');
                true
            }
            Err(error) => {
                tracing::warn!(upstream = %work.name, position = stored.position, %error, "record given up");
                false
            }
        };
        match batch.settle.last_mut() {
            Some((upto, same)) if *same == readable => *upto = stored.position,
            Some(_) | None => batch.settle.push((stored.position, readable)),
        }
    }
    batch
}

async fn settle(reader: &spool::Reader, runs: &[(u64, bool)]) -> Result<(), Closed> {
    for (upto, readable) in runs {
        if *readable {
            reader.ack(*upto).await?;
        } else {
            reader.give_up(*upto, "undecodable").await?;
        }
    }
    Ok(())
}

/// Files and pipes may block for seconds: off the runtime's own threads.
async fn write<S: Sink>(sink: Option<S>, text: String) -> Option<(Result<(), Refusal>, S)> {
    let mut sink = sink?;
    tokio::task::spawn_blocking(move || (sink.write(&text), sink)).await.ok()
}
