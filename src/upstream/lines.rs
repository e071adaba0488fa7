//! Upstreams that take lines of text one batch after the other: read, encode, write, acknowledge.

use super::Work;
use super::backoff::Backoff;
use crate::encode::{Encoding, Number, Numbered};
use crate::model::Reading;
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

/// Records with what each became: a line, or nothing.
struct Batch {
    text: String,
    /// Up to which position, and why those have no line.
    settle: Vec<(u64, Option<&'static str>)>,
}

pub(super) async fn run<S: Sink>(sink: S, encoding: Encoding, mut work: Work) {
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
        let batch = encode(&work, &encoding, &records);
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

fn encode(work: &Work, encoding: &Encoding, records: &[Stored]) -> Batch {
    let mut batch = Batch { text: String::new(), settle: Vec::new() };
    let mut run: Vec<(u64, Reading, Number)> = Vec::new();
    for stored in records {
        match record::decode(&stored.octets) {
            Ok(reading) => {
                run.push((stored.position, reading, Number { epoch: stored.epoch, seq: stored.seq }));
            }
            Err(error) => {
                batch.put(work, encoding, std::mem::take(&mut run));
                tracing::warn!(upstream = %work.name, position = stored.position, %error, "record given up");
                batch.settled(stored.position, Some("undecodable"));
            }
        }
    }
    batch.put(work, encoding, run);
    batch
}

impl Batch {
    /// Writes readings behind what there is; what cannot be written is given up by name.
    fn put(&mut self, work: &Work, encoding: &Encoding, run: Vec<(u64, Reading, Number)>) {
        let site = std::sync::Arc::clone(&work.site.borrow());
        let readings: Vec<Numbered<'_>> =
            run.iter().map(|(_, reading, number)| Numbered { reading, number: *number }).collect();
        let mut at = 0;
        while let Some((position, _, _)) = run.get(at) {
            match encoding.encode(readings.get(at..).unwrap_or_default(), &site, usize::MAX) {
                Ok(payload) if payload.taken > 0 => {
                    self.text.push_str(&String::from_utf8_lossy(&payload.octets));
                    at += payload.taken;
                    let upto = run.get(at - 1).map_or(*position, |(position, _, _)| *position);
                    self.settled(upto, None);
                }
                refused => {
                    let word = refused.err().map_or("unwritten", |why| {
                        tracing::warn!(upstream = %work.name, position, %why, "record given up");
                        why.word()
                    });
                    self.settled(*position, Some(word));
                    at += 1;
                }
            }
        }
    }

    fn settled(&mut self, upto: u64, lost: Option<&'static str>) {
        match self.settle.last_mut() {
            Some((before, same)) if *same == lost => *before = upto,
            Some(_) | None => self.settle.push((upto, lost)),
        }
    }
}

async fn settle(reader: &spool::Reader, runs: &[(u64, Option<&'static str>)]) -> Result<(), Closed> {
    for (upto, lost) in runs {
        match lost {
            None => reader.ack(*upto).await?,
            Some(reason) => reader.give_up(*upto, reason).await?,
        }
    }
    Ok(())
}

/// Files and pipes may block for seconds: off the runtime's own threads.
async fn write<S: Sink>(sink: Option<S>, text: String) -> Option<(Result<(), Refusal>, S)> {
    let mut sink = sink?;
    tokio::task::spawn_blocking(move || (sink.write(&text), sink)).await.ok()
}
