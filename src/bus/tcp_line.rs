//! The task of a Modbus TCP line: connects, asks who is due, until it is told to stop.
//!
//! Up to `in_flight` questions are under way at once, of one device or of several behind one gateway; an
//! answer finds its question by its transaction number. What comes after its time is counted and dropped.

use super::owner::{FIRST_RETRY, Heard, LOOK, Next, Owner, Question};
use super::resolve::Resolver;
use super::tcp::{TcpLink, outcome_of};
use super::transact::{Notes, Outcome, Trace};
use crate::modbus::mbap;
use crate::model::Mono;
use crate::model::status::BusCounters;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A far end that is away is tried again at least this often.
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// A sign of life at least this often, while nothing is due.
const BEAT: Duration = Duration::from_secs(1);
/// So many questions in a row without any answer, and so long, and the connection is made anew: device
/// servers are known to keep a connection up on which they have stopped to serve.
const DEAF_QUESTIONS: u32 = 6;
const DEAF_FOR: Duration = Duration::from_secs(10);
/// Where the new one is deaf as well it is the devices that are silent: each time it is given twice as long, up
/// to this. Else a dead meter behind a living server would have the line go down and up for ever.
const LONGEST_DEAF: Duration = Duration::from_secs(3600);
/// Questions that may still be answered late, of which the device's real delay is learned.
const MOST_LATE: usize = 16;

pub(super) async fn run(mut owner: Owner, address: &str, in_flight: usize) {
    let (mut retry, mut deaf_for) = (FIRST_RETRY, DEAF_FOR);
    let mut resolver = Resolver::new(address);
    while !owner.stopping() {
        let failure = match connect(&mut owner, &mut resolver).await {
            None => break,
            Some(Ok(link)) => {
                let link = link.with_tap(owner.tap.clone());
                let opened = owner.clock.mono();
                owner.opened(&[]);
                let mut talk = Talk::new(link, in_flight, opened, deaf_for);
                let ended = converse(&mut owner, &mut talk).await;
                deaf_for = talk.next_deaf_for();
                // A far end that accepts and closes at once must not keep us, and the journal, busy.
                if owner.clock.mono().since(opened) > LONGEST_RETRY {
                    retry = FIRST_RETRY;
                }
                talk.give_up(&mut owner, ended.is_ok());
                match ended {
                    Ok(()) => break,
                    Err(error) => error,
                }
            }
            Some(Err(error)) => error,
        };
        owner.down(&format!("{address}: {failure}"));
        wait_without_connection(&mut owner, retry).await;
        retry = (retry * 2).min(LONGEST_RETRY);
    }
    owner.stop_all();
}

/// Connects. `None` when the stop came first.
async fn connect(owner: &mut Owner, resolver: &mut Resolver) -> Option<io::Result<TcpLink>> {
    let mut connecting = Box::pin(TcpLink::open_found(resolver));
    let stop = owner.stop.clone();
    loop {
        tokio::select! {
            opened = &mut connecting => return Some(opened),
            () = stop.cancelled() => return None,
            () = sleep(LOOK) => owner.ledger.beat(),
        }
    }
}

/// A question under way.
struct Waiting {
    transaction: u16,
    question: Question,
    sent: Mono,
    deadline: Mono,
}

/// An open connection and what is under way on it.
struct Talk {
    link: TcpLink,
    waiting: Vec<Waiting>,
    in_flight: usize,
    /// Questions in a row that nobody answered, …
    deaf: u32,
    /// … and when the far end was last heard.
    heard: Mono,
    opened: Mono,
    deaf_for: Duration,
    /// Questions given up on this connection: transaction, unit id, when sent.
    late: VecDeque<(u16, u8, Mono)>,
}

async fn converse(owner: &mut Owner, talk: &mut Talk) -> io::Result<()> {
    let stop = owner.stop.clone();
    while !owner.stopping() {
        owner.ledger.beat();
        if talk.waiting.is_empty() {
            owner.follow_orders();
        }
        let wake = talk.ask(owner).await?;
        let first = talk.waiting.iter().map(|waiting| waiting.deadline).min();
        let until = first.map_or(wake, |first| first.min(wake));
        let span = until.since(owner.clock.mono()).min(BEAT);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            received = timeout(span, talk.link.receive()) => if let Ok(received) = received { received? },
        }
        while let Some(adu) = talk.link.next()? {
            talk.take(owner, &adu);
        }
        talk.expire(owner)?;
        owner.ledger.up();
    }
    Ok(())
}

impl Talk {
    fn new(link: TcpLink, in_flight: usize, opened: Mono, deaf_for: Duration) -> Talk {
        let waiting = Vec::with_capacity(in_flight);
        let late = VecDeque::with_capacity(MOST_LATE);
        Talk { link, waiting, in_flight, deaf: 0, heard: opened, opened, deaf_for, late }
    }

    /// How long the next connection may be deaf.
    fn next_deaf_for(&self) -> Duration {
        let was_deaf = self.heard == self.opened && self.deaf >= DEAF_QUESTIONS;
        if was_deaf { (self.deaf_for * 2).min(LONGEST_DEAF) } else { DEAF_FOR }
    }

    /// Asks as much as may be under way; returns when there is more to ask.
    async fn ask(&mut self, owner: &mut Owner) -> io::Result<Mono> {
        while self.waiting.len() < self.in_flight && !owner.has_orders() {
            match owner.next(&|_, _| None) {
                Next::Ask(question) => {
                    let sent = owner.clock.mono();
                    let asked = self.link.send(question.unit, &question.ask).await;
                    let deadline = sent.plus(question.manners.timeout);
                    // Remembered also when it could not be sent, so that the scan is not left open.
                    let transaction = *asked.as_ref().unwrap_or(&0);
                    self.waiting.push(Waiting { transaction, question, sent, deadline });
                    asked?;
                }
                Next::Wait(until) => return Ok(until),
                Next::Nothing => break,
            }
        }
        Ok(owner.clock.mono().plus(BEAT))
    }

    /// An answer, or a late one.
    fn take(&mut self, owner: &mut Owner, adu: &mbap::Adu) {
        let now = owner.clock.mono();
        (self.deaf, self.heard) = (0, now);
        let fits =
            |waiting: &Waiting| waiting.transaction == adu.transaction && waiting.question.unit == adu.unit;
        let Some(at) = self.waiting.iter().position(fits) else {
            owner.ledger.add(None, &BusCounters { foreign_frames: 1, ..BusCounters::default() });
            self.learn_from_the_late(owner, adu, now);
            return;
        };
        let waiting = self.waiting.swap_remove(at);
        let mut counted = BusCounters { requests: 1, ..BusCounters::default() };
        let outcome = outcome_of(&waiting.question.ask, adu, &mut counted);
        conclude(owner, waiting, outcome, Some(now), counted);
    }

    /// A device that answers after its time lives, and is slower than was thought: else it would be given too
    /// short a time for ever.
    fn learn_from_the_late(&mut self, owner: &mut Owner, adu: &mbap::Adu, now: Mono) {
        let fits =
            |(transaction, unit, _): &(u16, u8, Mono)| (*transaction, *unit) == (adu.transaction, adu.unit);
        let Some(at) = self.late.iter().position(fits) else { return };
        if let Some((_, unit, sent)) = self.late.remove(at) {
            owner.noticed(&Notes { late: vec![(unit, now.since(sent))], ..Notes::default() });
        }
    }

    /// Questions whose time is over.
    fn expire(&mut self, owner: &mut Owner) -> io::Result<()> {
        let now = owner.clock.mono();
        while let Some(at) = self.waiting.iter().position(|waiting| waiting.deadline <= now) {
            let waiting = self.waiting.swap_remove(at);
            self.deaf += 1;
            if self.late.len() == MOST_LATE {
                self.late.pop_front();
            }
            self.late.push_back((waiting.transaction, waiting.question.unit, waiting.sent));
            let counted = BusCounters { requests: 1, timeouts: 1, ..BusCounters::default() };
            conclude(owner, waiting, Outcome::NoReply, None, counted);
        }
        if self.deaf >= DEAF_QUESTIONS && now.since(self.heard) >= self.deaf_for {
            let why = "nothing is answered on this connection: it is made anew";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(())
    }

    /// The connection ends with questions under way.
    fn give_up(&mut self, owner: &mut Owner, by_the_stop: bool) {
        for waiting in self.waiting.drain(..) {
            if by_the_stop {
                owner.cut_short(&waiting.question);
            } else {
                owner.lost(&waiting.question, &BusCounters { requests: 1, ..BusCounters::default() });
            }
        }
    }
}

fn conclude(
    owner: &mut Owner,
    waiting: Waiting,
    outcome: Outcome,
    heard: Option<Mono>,
    counted: BusCounters,
) {
    let Waiting { question, sent, .. } = waiting;
    let (index, now) = (question.index, owner.clock.mono());
    let trace = Trace { sent, last_octet_left: sent, first_heard: heard, ended: now };
    owner.heard(question, Heard { outcome, trace, counted, notes: Notes::default() });
    owner.let_rest(index, now);
}

async fn wait_without_connection(owner: &mut Owner, span: Duration) {
    let stop = owner.stop.clone();
    let until: Mono = owner.clock.mono().plus(span);
    while owner.clock.mono() < until && !owner.stopping() {
        owner.follow_orders();
        let next = owner.say_that_the_line_is_down(until);
        let wait = next.since(owner.clock.mono()).clamp(Duration::from_millis(1), BEAT);
        let _ = timeout(wait, stop.cancelled()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::plan::tests::{point, profile};
    use crate::bus::{DeviceConfig, LineConfig, PortConfig, start};
    use crate::model::SystemClock;
    use crate::profile::{Every, Format, Table};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    /// A device that answers the first questions at once and all others so much later.
    async fn slower(listener: TcpListener, quick: u32, later: Duration) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut question, mut count) = ([0; 12], 0);
        while stream.read_exact(&mut question).await.is_ok() {
            count += 1;
            if count > quick {
                sleep(later).await;
            }
            let transaction = u16::from_be_bytes([question[0], question[1]]);
            let answer = mbap::encode(transaction, question[6], &[3, 2, 0, 7]);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    #[tokio::test]
    async fn a_device_that_has_become_slower_than_it_ever_was_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // Long after the least that is waited, long before the most.
        tokio::spawn(slower(listener, 10, Duration::from_millis(300)));
        let profile = profile(vec![point("p", Table::HoldingRegister, 0, Format::U16)]);
        let every = Every::Period(Duration::from_millis(10));
        let device = DeviceConfig::new("d".parse().unwrap(), 1, Arc::new(profile), every);
        let port = PortConfig::Tcp { address, in_flight: 1 };
        let config = LineConfig {
            name: "l".parse().unwrap(),
            port,
            devices: vec![device],
            max_probe: Duration::from_millis(100),
        };
        let (scans_in, mut scans) = tokio::sync::mpsc::channel(1000);
        let stop = CancellationToken::new();
        let running = start(config, Arc::new(SystemClock), scans_in, stop.clone()).unwrap();
        let (mut quick, mut slow) = (0, 0);
        let both = async {
            while slow < 3 {
                let scan = scans.recv().await.unwrap();
                let good = scan.fields.iter().all(|field| field.octets.is_ok());
                if quick < 10 {
                    quick += u32::from(good);
                } else {
                    slow += u32::from(good);
                }
            }
        };
        timeout(Duration::from_secs(60), both).await.expect("it is given too short a time for ever");
        stop.cancel();
        let _ = running.ended.await;
    }
}
