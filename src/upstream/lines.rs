//! Upstreams that take lines of text one batch after the other: read, encode, write, acknowledge. A batch that is refused
//! for good is halved until the one record stands alone that is.

use super::Work;
use super::aside::Refused;
use super::backoff::Backoff;
use crate::encode::{Encoding, Loss, Number, Numbered};
use crate::model::{Reading, Site};
use crate::record;
use crate::spool::{Closed, Gap, Stored};
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
    /// This text will never be taken, whatever happens; another one may be.
    ForGood(String),
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

pub(super) async fn run<S: Sink>(sink: S, encoding: Encoding, work: Work) {
    let (at, sink, backoff) = (work.reader.cursor(), Some(sink), Backoff::default());
    let mut writer = Writer { sink, encoding, at, most: RECORDS, gap_told: None, backoff, work };
    // Either nothing is left to do, or the spool is gone.
    if writer.run().await.is_ok() {
        writer.work.stop.cancelled().await;
    }
}

struct Writer<S> {
    /// Away while it writes.
    sink: Option<S>,
    encoding: Encoding,
    /// Everything up to here is settled.
    at: u64,
    /// Records in the next batch: halved by each refusal, doubled by each success.
    most: usize,
    gap_told: Option<u64>,
    backoff: Backoff,
    work: Work,
}

impl<S: Sink> Writer<S> {
    async fn run(&mut self) -> Result<(), Closed> {
        let mut stop_at: Option<(u64, Instant)> = None;
        loop {
            if stop_at.is_none() && self.work.stop.is_cancelled() {
                stop_at = Some((self.work.reader.head(), Instant::now() + DRAIN));
            }
            if stop_at.is_some_and(|(head, by)| self.at >= head || Instant::now() >= by) {
                self.work.report.stopped(None);
                return Ok(());
            }
            // Before looking: what changes from here on wakes us.
            let mut account = self.work.reader.account();
            account.mark_unchanged();
            let records = self.work.reader.read(self.at, self.most, OCTETS).await?;
            let gaps = self.gaps().await?;
            if records.is_empty() && gaps.is_empty() {
                let stop = self.work.stop.clone();
                tokio::select! {
                    more = self.work.reader.beyond(self.at) => more?,
                    // There may be a loss to announce.
                    changed = account.changed() => changed.map_err(|_| Closed)?,
                    () = stop.cancelled() => if stop_at.is_some() { return Ok(()) },
                }
                continue;
            }
            if !self.deliver(&records, &gaps).await? {
                return Ok(());
            }
        }
    }

    /// Losses that are still to be announced.
    async fn gaps(&self) -> Result<Vec<Gap>, Closed> {
        let is_new = |gap: &Gap| self.gap_told.is_none_or(|told| gap.id > told);
        if !self.work.reader.account().borrow().gaps.iter().any(is_new) {
            return Ok(Vec::new());
        }
        let gaps = self.work.reader.gaps().await?;
        Ok(gaps.into_iter().filter(is_new).collect())
    }

    /// Writes what there is and settles it, or waits a while; `false` when the sink is gone.
    async fn deliver(&mut self, records: &[Stored], gaps: &[Gap]) -> Result<bool, Closed> {
        let batch = encode(&self.work, &self.encoding, records, gaps);
        let Some((taken, returned)) = write(self.sink.take(), batch.text.clone()).await else {
            return Err(Closed);
        };
        self.sink = Some(returned);
        match taken {
            Ok(()) => {
                self.backoff.worked();
                self.work.report.connected();
                self.most = (self.most * 2).min(RECORDS);
                self.settled(&batch, gaps).await?;
            }
            Err(Refusal::Gone(why)) => {
                self.work.report.stopped(Some(&why));
                return Ok(false);
            }
            // Half of it, and half of that, until the one that is refused stands alone. Gaps are never at fault.
            Err(Refusal::ForGood(_)) if records.len() > 1 => self.most = records.len() / 2,
            Err(Refusal::ForGood(why)) if records.len() == 1 => self.set_aside(records, batch, why).await?,
            Err(Refusal::Later(why) | Refusal::ForGood(why)) => {
                self.work.report.trouble(&why);
                let wait = self.backoff.after_failure(fastrand::f64());
                let _ = tokio::time::timeout(wait, self.work.stop.cancelled()).await;
            }
        }
        Ok(true)
    }

    async fn settled(&mut self, batch: &Batch, gaps: &[Gap]) -> Result<(), Closed> {
        for (upto, lost) in &batch.settle {
            match lost {
                None => self.work.reader.ack(*upto).await?,
                Some(reason) => self.work.reader.give_up(*upto, reason).await?,
            }
            self.at = *upto;
        }
        for gap in gaps {
            self.work.reader.announced(gap.id).await?;
            self.gap_told = Some(gap.id);
        }
        self.work.report.delivered(self.work.clock.utc());
        Ok(())
    }

    async fn set_aside(&mut self, records: &[Stored], batch: Batch, reason: String) -> Result<(), Closed> {
        let Some(stored) = records.first() else { return Ok(()) };
        let device = record::decode(&stored.octets).ok().map(|reading| reading.device);
        let number = Number { epoch: stored.epoch, seq: stored.seq };
        let at = self.work.clock.utc();
        self.work.aside.put(Refused { at, reason, device, number, payload: batch.text }).await;
        self.at = stored.position;
        self.work.reader.give_up(stored.position, "refused").await
    }
}

fn encode(work: &Work, encoding: &Encoding, records: &[Stored], gaps: &[Gap]) -> Batch {
    let site = std::sync::Arc::clone(&work.site.borrow());
    let mut batch = Batch { text: String::new(), settle: Vec::new() };
    for gap in gaps {
        let loss = Loss { from: gap.from, to: gap.to, count: gap.count, reason: &gap.reason };
        match encoding.gap(work.clock.utc(), &loss, &site) {
            Some(text) => batch.text.push_str(&text),
            None => tracing::warn!(upstream = %work.name, ?loss, "a loss that the template can't announce"),
        }
    }
    let mut run: Vec<(u64, Reading, Number)> = Vec::new();
    for stored in records {
        match record::decode(&stored.octets) {
            Ok(mut reading) => {
                work.dating.borrow().date(&mut reading);
                run.push((stored.position, reading, Number { epoch: stored.epoch, seq: stored.seq }));
            }
            Err(error) => {
                batch.put(work, encoding, &site, std::mem::take(&mut run));
                tracing::warn!(upstream = %work.name, position = stored.position, %error, "record given up");
                batch.settled(stored.position, Some("undecodable"));
            }
        }
    }
    batch.put(work, encoding, &site, run);
    batch
}

impl Batch {
    /// Writes readings behind what there is; what cannot be written is given up by name.
    fn put(&mut self, work: &Work, encoding: &Encoding, site: &Site, run: Vec<(u64, Reading, Number)>) {
        let readings: Vec<Numbered<'_>> =
            run.iter().map(|(_, reading, number)| Numbered { reading, number: *number }).collect();
        let mut at = 0;
        while let Some((position, _, _)) = run.get(at) {
            match encoding.encode(readings.get(at..).unwrap_or_default(), site, usize::MAX) {
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

/// Files and pipes may block for seconds: off the runtime's own threads.
async fn write<S: Sink>(sink: Option<S>, text: String) -> Option<(Result<(), Refusal>, S)> {
    let mut sink = sink?;
    tokio::task::spawn_blocking(move || (sink.write(&text), sink)).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Chronicle, Dating, Reading, Site, SystemClock, Timestamp, Value};
    use crate::upstream::aside::Aside;
    use crate::upstream::report::Report;
    use std::path::Path;
    use std::sync::{Arc, Mutex};
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    /// Takes whole batches, unless one of its records is poison.
    #[derive(Clone, Default)]
    struct Squeamish {
        taken: Arc<Mutex<String>>,
        asked: Arc<Mutex<usize>>,
    }

    impl Sink for Squeamish {
        fn write(&mut self, lines: &str) -> Result<(), Refusal> {
            *self.asked.lock().unwrap() += 1;
            if lines.contains("\"n\":13,") || lines.contains("\"n\":13}") {
                return Err(Refusal::ForGood("thirteen".to_owned()));
            }
            self.taken.lock().unwrap().push_str(lines);
            Ok(())
        }
    }

    fn reading(n: u64) -> Vec<u8> {
        record::encode(&Reading {
            device: "m".parse().unwrap(),
            ts: Timestamp(5),
            took: Duration::ZERO,
            clock_unsure: false,
            boot: None,
            samples: vec![("n".parse().unwrap(), Ok(Value::Number(n.into())))],
        })
    }

    fn work(spool: &crate::spool::Spool, dir: &Path, stop: CancellationToken) -> Work {
        let (name, reader) = ("u".parse().unwrap(), spool.reader("u").unwrap());
        let site = Site { gateway: "g".parse().unwrap(), config_hash: String::new(), devices: Vec::new() };
        let (report, _) = Report::new(&name, "file", reader.account());
        Work {
            aside: Aside::new(&dir.join("refused"), &name),
            folder: dir.to_owned(),
            site: watch::channel(Arc::new(site)).1,
            version: "0",
            clock: Arc::new(SystemClock),
            dating: watch::channel(Arc::new(Dating::default())).1,
            events: watch::channel(Chronicle::default()).1,
            told: 0,
            name,
            reader,
            stop,
            report,
        }
    }

    #[tokio::test]
    async fn a_batch_that_is_refused_for_good_is_halved_until_the_one_record_is_found_and_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            crate::spool::Config { dir: dir.path().join("spool"), ..crate::spool::Config::default() };
        let spool = crate::spool::start(config, &["u".to_owned()]).unwrap();
        let records = (1..=40).map(|n| (5, reading(n))).collect();
        spool.writer().append_all(records).await.unwrap();
        spool.commit().await.unwrap();
        let (sink, stop) = (Squeamish::default(), CancellationToken::new());
        let running = tokio::spawn(run(sink.clone(), Encoding::Json, work(&spool, dir.path(), stop.clone())));
        let mut account = spool.reader("u").unwrap().account();
        account.wait_for(|account| account.cursor == 40 && account.gaps.is_empty()).await.unwrap();
        stop.cancel();
        running.await.unwrap();
        let taken = sink.taken.lock().unwrap().clone();
        let numbers: Vec<u64> = taken
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter_map(|line| line["values"]["n"].as_u64())
            .collect();
        assert_eq!(numbers, (1..=40).filter(|n| *n != 13).collect::<Vec<_>>());
        assert!(taken.contains(r#""type":"gap""#) && taken.contains(r#""reason":"refused""#), "{taken}");
        assert!(*sink.asked.lock().unwrap() < 25, "halving is quick");
        let account = account.borrow().clone();
        assert_eq!((account.delivered, account.dropped.get("refused")), (39, Some(&1)));
        let aside = std::fs::read_to_string(dir.path().join("refused/u.jsonl")).unwrap();
        assert!(aside.contains("thirteen") && aside.contains(r#"\"n\":13"#), "{aside}");
    }
}
