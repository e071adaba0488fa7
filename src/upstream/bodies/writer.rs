//! Reads, makes bodies, writes, settles; and what is done where that does not work.

use super::body::{Body, Settle};
use super::lanes::{Lane, Lanes, Ways};
use super::thinning::Thinning;
use super::{LONGEST_BUSY, Refusal, Sink};
use crate::spool::{Closed, Gap, Outcome, Stored};
use crate::upstream::backoff::Backoff;
use crate::upstream::proof::{Proof, Way};
use crate::upstream::{Work, unsent};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Octets that are read from the spool at a time.
pub(super) const OCTETS: usize = 256 << 10;
/// Whether a window's time is over is looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// How long what was there at the stop may take to be written.
const DRAIN: Duration = Duration::from_secs(2);
/// A lane of live records that has grown older than this is history.
const LIVE_MS: i64 = 30_000;

pub(in crate::upstream) async fn run<S: Sink>(sink: S, ways: Ways, work: Work) {
    let lanes = Lanes::new(ways, work.reader.cursor(), work.reader.head());
    let most = sink.most();
    let (backoff, proof) = (Backoff::default(), Proof::default());
    let thinning = work.thin.as_ref().map(Thinning::new);
    let mut writer = Writer {
        thinning,
        sink,
        lanes,
        most,
        gap_told: None,
        gaps_alone: false,
        gaps_unheard: false,
        was_away: false,
        doubt: None,
        doubts: Backoff::of(true),
        over: false,
        backoff,
        proof,
        work,
    };
    // Either nothing is left to do, or the spool is gone.
    if writer.run().await.is_ok() {
        writer.work.stop.cancelled().await;
    }
}

pub(super) struct Writer<S> {
    pub(super) sink: S,
    pub(super) lanes: Lanes,
    /// Records in the next body: halved by each refusal, doubled by each success.
    pub(super) most: usize,
    pub(super) gap_told: Option<u64>,
    /// A body with losses and records was refused: the losses go alone.
    pub(super) gaps_alone: bool,
    /// The far end took no announcement of some losses.
    pub(super) gaps_unheard: bool,
    /// It has been away since the last body was taken.
    pub(super) was_away: bool,
    /// The backlog is refused, and it is not known whether everything would be.
    pub(super) doubt: Option<String>,
    pub(super) doubts: Backoff,
    /// Told to stop, and there is nothing more to try.
    pub(super) over: bool,
    pub(super) backoff: Backoff,
    pub(super) proof: Proof,
    /// Where not everything goes.
    pub(super) thinning: Option<Thinning>,
    pub(super) work: Work,
}

/// The end of the task, as far as it has come.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    upto: u64,
    by: Instant,
}

/// What is to be written next.
struct Next {
    lane: Lane,
    records: Vec<Stored>,
    gaps: Vec<Gap>,
}

impl<S: Sink> Writer<S> {
    async fn run(&mut self) -> Result<(), Closed> {
        let mut stopping: Option<Stopping> = None;
        loop {
            if stopping.is_none() && self.work.stop.is_cancelled() {
                let (upto, by) = (self.work.reader.head(), Instant::now() + DRAIN);
                stopping = Some(Stopping { upto, by });
            }
            if self.over || stopping.is_some_and(|stopping| self.is_done(stopping)) {
                self.work.report.stopped(None);
                return Ok(());
            }
            let warnings = self.sink.warnings(self.work.clock.utc());
            self.work.report.warn(warnings.into_iter().chain(self.doubt.clone()).collect());
            // Before looking: what changes from here on wakes us.
            let mut account = self.work.reader.account();
            account.mark_unchanged();
            let (next, until) = self.next().await?;
            if let Some(next) = next {
                if !self.deliver(next).await? {
                    return Ok(());
                }
                continue;
            }
            let (newest, stop) = (self.lanes.newest(), self.work.stop.clone());
            tokio::select! {
                more = self.work.reader.beyond(newest) => more?,
                // There may be a loss to announce.
                changed = account.changed() => changed.map_err(|_| Closed)?,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
                () = stop.cancelled() => self.over |= stopping.is_some(),
            }
        }
    }

    fn is_done(&self, stopping: Stopping) -> bool {
        let all = !self.lanes.has_backlog() && self.lanes.newest() >= stopping.upto;
        let all = all && self.thinning.as_ref().is_none_or(Thinning::has_nothing_ready);
        all || Instant::now() >= stopping.by
    }

    /// What goes next; or until when nothing does, if that is known.
    async fn next(&mut self) -> Result<(Option<Next>, Option<Instant>), Closed> {
        let gaps = self.work.gaps_after(self.gap_told).await?;
        if self.gaps_alone && !gaps.is_empty() {
            return Ok((Some(Next { lane: Lane::History, records: Vec::new(), gaps }), None));
        }
        loop {
            let (may, until) = self.lanes.turn_on(&self.work.link, Instant::now());
            for lane in may {
                let records = self.read(lane).await?;
                if records.is_empty() {
                    continue;
                }
                if lane == Lane::Live && self.has_aged(&records) {
                    self.cut();
                    continue;
                }
                return Ok((Some(Next { lane, records, gaps }), None));
            }
            if self.is_history_over().await? {
                self.lanes.join();
                self.thinning.as_mut().map(Thinning::join);
                continue;
            }
            let next = Next { lane: Lane::History, records: Vec::new(), gaps };
            let until = self.thinning.as_ref().filter(|t| t.is_gathering()).map_or(until, |_| {
                let soon = Instant::now() + LOOK;
                Some(until.map_or(soon, |until| until.min(soon)))
            });
            return Ok(((!next.gaps.is_empty()).then_some(next), until));
        }
    }

    async fn read(&mut self, lane: Lane) -> Result<Vec<Stored>, Closed> {
        let most = self.lanes.at_most(lane, self.most);
        match &mut self.thinning {
            Some(thinning) => thinning.read(lane, &mut self.lanes, most, &self.work).await,
            None => {
                let (after, upto) = self.lanes.span(lane);
                self.work.reader.read_until(after, upto, most, OCTETS).await
            }
        }
    }

    /// What waits is read again, with nothing remembered.
    pub(super) fn cut(&mut self) {
        self.lanes.cut(self.work.reader.cursor(), self.work.reader.head());
        self.thinning = self.work.thin.as_ref().map(Thinning::new);
    }

    /// Whether there is a backlog lane in which nothing is left.
    async fn is_history_over(&self) -> Result<bool, Closed> {
        if !self.lanes.has_backlog() {
            return Ok(false);
        }
        if self.thinning.as_ref().is_some_and(|thinning| thinning.has_some(Lane::History)) {
            return Ok(false);
        }
        let (after, upto) = self.lanes.span(Lane::History);
        Ok(self.work.reader.read_until(after, upto, 1, OCTETS).await?.is_empty())
    }

    fn has_aged(&self, live: &[Stored]) -> bool {
        let now = self.work.clock.utc().0;
        // Behind what is refused and not believed nothing would ever go.
        self.doubt.is_none() && live.first().is_some_and(|oldest| now.saturating_sub(oldest.ts_ms) > LIVE_MS)
    }

    /// Writes what there is and settles it, or waits a while; `false` when the sink is gone.
    async fn deliver(&mut self, next: Next) -> Result<bool, Closed> {
        let Next { lane, records, gaps } = next;
        let body = Body::of(&self.sink, &self.work, &records, &gaps);
        let Some(written) = self.write(body.octets.clone()).await else { return Ok(true) };
        match written {
            Ok(()) => {
                if !body.octets.is_empty() {
                    self.worked();
                    if lane == Lane::History {
                        if self.lanes.has_backlog() {
                            self.work.link.history_went(body.octets.len(), Instant::now());
                        }
                        self.doubt = None;
                        self.doubts.worked();
                    }
                    self.work.report.delivered(self.work.clock.utc());
                }
                self.most = (self.most * 2).min(self.sink.most());
                self.settled(lane, &body, &records).await?;
            }
            Err(Refusal::Gone(why)) => {
                self.work.report.stopped(Some(&why));
                return Ok(false);
            }
            Err(Refusal::ForGood(why) | Refusal::TooLate(why)) if !body.gaps.is_empty() => {
                self.gaps_refused(&body, &why);
            }
            // Half of it, and half of that, until the one that is refused stands alone.
            Err(Refusal::ForGood(_) | Refusal::TooLate(_)) if body.covers > 1 => self.most = body.covers / 2,
            Err(refusal) => match (refusal, records.into_iter().next()) {
                (Refusal::ForGood(why), Some(stored)) => self.refused(lane, stored, body, why).await?,
                (Refusal::TooLate(why), Some(stored)) => {
                    self.worked();
                    self.give_up(lane, stored, body, (why, "too-late")).await?;
                }
                (Refusal::Busy(why, wait), _) => self.away(&why, wait.min(LONGEST_BUSY)).await,
                (
                    Refusal::Later(why) | Refusal::ForGood(why) | Refusal::TooLate(why) | Refusal::Gone(why),
                    _,
                ) => {
                    self.away(&why, Duration::ZERO).await;
                }
            },
        }
        Ok(true)
    }

    /// `None` where it was given up because of the stop. What says nothing is not sent.
    pub(super) async fn write(&mut self, body: Vec<u8>) -> Option<Result<(), Refusal>> {
        if body.is_empty() {
            return Some(Ok(()));
        }
        let stop = self.work.stop.clone();
        tokio::select! {
            written = self.sink.write(body) => Some(written),
            () = async { stop.cancelled().await; sleep(DRAIN).await } => {
                self.over = true;
                None
            }
        }
    }

    pub(super) fn worked(&mut self) {
        self.backoff.worked();
        self.work.report.connected();
        // One that did not take them may do so now.
        if std::mem::take(&mut self.was_away) && std::mem::take(&mut self.gaps_unheard) {
            self.gap_told = None;
        }
    }

    /// Waits for the far end to come back, so long at least. What has come by then is live again.
    async fn away(&mut self, why: &str, least: Duration) {
        (self.was_away, self.doubt) = (true, None);
        self.pause(why, least).await;
        self.cut();
    }

    /// Once told to stop, nobody waits, and nobody tries again.
    pub(super) async fn pause(&mut self, why: &str, least: Duration) {
        self.work.report.trouble(why);
        let wait = self.backoff.after_failure(fastrand::f64()).max(least);
        self.work.pause(wait).await;
        self.over |= self.work.stop.is_cancelled();
    }

    /// Whether it is for the losses in it or for the records is found out by sending the losses alone. A far end that takes
    /// none is told no more of these for now: they stay counted, and the records go on.
    fn gaps_refused(&mut self, body: &Body, why: &str) {
        self.gaps_alone = body.covers > 0;
        if self.gaps_alone {
            return;
        }
        tracing::warn!(upstream = %self.work.name, why, "the far end does not take the announcement of a loss; it is tried again when it has been away, or at the next start");
        self.gap_told = body.gaps.last().copied().or(self.gap_told);
        self.gaps_unheard = true;
    }

    async fn settled(&mut self, lane: Lane, body: &Body, records: &[Stored]) -> Result<(), Closed> {
        let now = Instant::now();
        for device in &body.devices {
            self.proof.taken((Way::BODIES, Some(device)), now);
        }
        match &mut self.thinning {
            Some(thinning) => {
                let mut rest = records.iter();
                for Settle { records, lost, .. } in &body.settle {
                    thinning.ended(lane, rest.by_ref().take(*records), &outcome(*lost));
                }
                self.lanes.settled(lane, self.lanes.span(lane).0, body.covers, now);
                thinning.settle(lane, &self.work).await?;
            }
            None => {
                let mut from = self.lanes.first(lane);
                for Settle { upto, lost, .. } in &body.settle {
                    self.work.reader.settle([from..=*upto], outcome(*lost)).await?;
                    from = upto.saturating_add(1);
                }
                if let Some(last) = body.settle.last() {
                    self.lanes.settled(lane, last.upto, body.covers, now);
                }
            }
        }
        for gap in &body.gaps {
            self.work.reader.announced(*gap).await?;
            self.gap_told = Some(*gap);
        }
        self.gaps_alone &= body.gaps.is_empty();
        Ok(())
    }
}

pub(super) fn outcome(lost: Option<&'static str>) -> Outcome {
    lost.map_or(Outcome::Delivered, unsent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Encoding;
    use crate::model::{Chronicle, Clock as _, Dating, Reading, Site, SystemClock, Timestamp, Value};
    use crate::record;
    use crate::upstream::Order;
    use crate::upstream::aside::Aside;
    use crate::upstream::bodies::{TextSink, WriteText};
    use crate::upstream::report::Report;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::sync::{Arc, Mutex};
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    type Dislike = fn(&str) -> bool;

    /// Takes whole bodies, unless it does not like one of its lines.
    #[derive(Clone)]
    struct Squeamish {
        taken: Arc<Mutex<String>>,
        asked: Arc<Mutex<usize>>,
        dislikes: Arc<Mutex<Dislike>>,
        /// Takes nothing and says nothing until this ends.
        busy: Arc<AtomicBool>,
    }

    impl Squeamish {
        fn new(dislikes: Dislike) -> Squeamish {
            let dislikes = Arc::new(Mutex::new(dislikes));
            Squeamish { taken: Arc::default(), asked: Arc::default(), dislikes, busy: Arc::default() }
        }

        /// The numbers of what was taken, in that order.
        fn numbers(&self) -> Vec<u64> {
            let taken = self.taken.lock().unwrap();
            let lines = taken.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.filter_map(|line| line["values"]["n"].as_u64()).collect()
        }
    }

    impl WriteText for Squeamish {
        fn write(&mut self, lines: &[u8]) -> Result<(), Refusal> {
            let lines = std::str::from_utf8(lines).unwrap();
            *self.asked.lock().unwrap() += 1;
            while self.busy.load(Relaxed) {
                std::thread::yield_now();
            }
            let dislikes = *self.dislikes.lock().unwrap();
            if lines.lines().any(dislikes) {
                return Err(Refusal::ForGood("thirteen".to_owned()));
            }
            self.taken.lock().unwrap().push_str(lines);
            Ok(())
        }
    }

    fn reading(device: &str, n: u64) -> Vec<u8> {
        record::encode(&Reading {
            device: device.parse().unwrap(),
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
            lost: std::collections::BTreeSet::new(),
            told: 0,
            name,
            reader,
            link: crate::uplink::Link::default(),
            stop,
            report,
            thin: None,
        }
    }

    struct Running {
        spool: crate::spool::Spool,
        dir: tempfile::TempDir,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    /// A backlog of these devices' readings, and a sink that begins to take it.
    async fn deliver(devices: &[&str], sink: &Squeamish, order: Order) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let config =
            crate::spool::Config { dir: dir.path().join("spool"), ..crate::spool::Config::default() };
        let spool = crate::spool::start(config, &["u".to_owned()]).unwrap();
        let records = devices.iter().zip(1..).map(|(device, n)| (5, reading(device, n))).collect();
        spool.writer().append_all(records).await.unwrap();
        spool.commit().await.unwrap();
        let stop = CancellationToken::new();
        let text = TextSink::new(sink.clone(), Encoding::Json);
        let ways = Ways { order, history_rate: None };
        let task = tokio::spawn(run(text, ways, work(&spool, dir.path(), stop.clone())));
        Running { spool, dir, stop, task }
    }

    impl Running {
        async fn until(&self, so: impl FnMut(&crate::spool::Account) -> bool) -> crate::spool::Account {
            let mut account = self.spool.reader("u").unwrap().account();
            account.wait_for(so).await.unwrap().clone()
        }

        async fn end(self) -> tempfile::TempDir {
            self.stop.cancel();
            self.task.await.unwrap();
            self.dir
        }
    }

    #[tokio::test]
    async fn a_body_that_is_refused_for_good_is_halved_until_the_one_record_is_found_and_set_aside() {
        let sink = Squeamish::new(|line| line.contains("\"n\":13}"));
        let running = deliver(&["m"; 40], &sink, Order::Strict).await;
        let account = running.until(|account| account.cursor == 40 && account.gaps.is_empty()).await;
        let dir = running.end().await;
        assert_eq!(sink.numbers(), (1..=40).filter(|n| *n != 13).collect::<Vec<_>>());
        let taken = sink.taken.lock().unwrap().clone();
        assert!(taken.contains(r#""type":"gap""#) && taken.contains(r#""reason":"refused""#), "{taken}");
        assert!(*sink.asked.lock().unwrap() < 25, "halving is quick");
        assert_eq!((account.delivered, account.dropped.get("refused")), (39, Some(&1)));
        let aside = std::fs::read_to_string(dir.path().join("refused/u.jsonl")).unwrap();
        assert!(aside.contains("thirteen") && aside.contains(r#"\"n\":13"#), "{aside}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_far_end_that_refuses_everything_is_away_and_the_backlog_waits() {
        let sink = Squeamish::new(|_| true);
        let devices: Vec<&str> = ["a", "b"].into_iter().cycle().take(60).collect();
        let running = deliver(&devices, &sink, Order::Strict).await;
        while *sink.asked.lock().unwrap() < 60 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let account = running.until(|_| true).await;
        assert_eq!((account.delivered, account.dropped.get("refused"), account.pending), (0, Some(&3), 57));
        *sink.dislikes.lock().unwrap() = |_| false;
        running.until(|account| account.delivered == 57).await;
        assert_eq!(sink.numbers(), (4..=60).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_is_refused_for_ever_costs_the_others_nothing_however_many_of_its_records_come_first()
     {
        let sink = Squeamish::new(|line| line.contains("\"device\":\"a\""));
        let devices: Vec<&str> = std::iter::repeat_n("a", 20).chain(["b"; 20]).collect();
        let running = deliver(&devices, &sink, Order::Strict).await;
        let account = running.until(|account| account.pending == 0).await;
        assert_eq!((account.delivered, account.dropped.get("refused")), (20, Some(&20)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_far_end_that_takes_no_announcement_of_a_loss_still_gets_the_records() {
        let sink = Squeamish::new(|line| line.contains("\"gap\"") || line.contains("\"n\":3}"));
        let running = deliver(&["m"; 10], &sink, Order::Strict).await;
        let account = running.until(|account| account.pending == 0).await;
        assert_eq!((account.delivered, account.dropped.get("refused")), (9, Some(&1)));
        assert_eq!(account.gaps.len(), 1, "it is not forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sampled_now_does_not_wait_behind_a_backlog_that_is_refused() {
        // All that was there before, of the one device that there is.
        let sink = Squeamish::new(|line| line.contains("\"device\":\"old\""));
        let running = deliver(&["old"; 30], &sink, Order::LiveFirst).await;
        running.until(|account| account.dropped.get("refused") == Some(&3)).await;
        let now = SystemClock.utc().0;
        running.spool.writer().append(now, reading("old-too", 31)).await.unwrap();
        running.until(|account| account.delivered == 1).await;
        // That somebody is taken proves that the others are at fault.
        let account = running.until(|account| account.pending == 0).await;
        assert_eq!((account.delivered, account.dropped.get("refused")), (1, Some(&30)));
    }

    #[tokio::test]
    async fn what_comes_during_the_backlog_does_not_wait_for_its_end() {
        let sink = Squeamish::new(|_| false);
        sink.busy.store(true, Relaxed);
        let running = deliver(&["m"; 5000], &sink, Order::LiveFirst).await;
        while *sink.asked.lock().unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let now = SystemClock.utc().0;
        for n in 5001..=5010 {
            running.spool.writer().append(now, reading("m", n)).await.unwrap();
        }
        sink.busy.store(false, Relaxed);
        running.until(|account| account.delivered == 5010).await;
        let numbers = sink.numbers();
        let live = numbers.iter().position(|n| *n == 5010).unwrap();
        assert!(live < 4000, "{live}");
        let (live, history): (Vec<u64>, Vec<u64>) = numbers.iter().partition(|n| **n > 5000);
        assert!(live.is_sorted() && history.is_sorted());
        assert_eq!(numbers.len(), 5010);
    }
}
