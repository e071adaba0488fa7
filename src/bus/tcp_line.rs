//! The task of a Modbus TCP line: connects, asks who is due, until it is told to stop.
//!
//! Up to `in_flight` questions are under way at once, of one device or of several behind one gateway; an
//! answer finds its question by its transaction number. What comes after its time is counted and dropped.

use super::owner::{FIRST_RETRY, Heard, LOOK, Next, Owner, Question};
use super::tcp::{TcpLink, outcome_of};
use super::transact::{Notes, Outcome, Trace};
use crate::modbus::mbap;
use crate::model::Mono;
use crate::model::status::BusCounters;
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

pub(super) async fn run(mut owner: Owner, address: &str, in_flight: usize) {
    let mut retry = FIRST_RETRY;
    while !owner.stopping() {
        let failure = match connect(&mut owner, address).await {
            None => break,
            Some(Ok(link)) => {
                let link = link.with_tap(owner.tap.clone());
                let opened = owner.clock.mono();
                owner.up(&[]);
                let mut talk =
                    Talk { link, waiting: Vec::with_capacity(in_flight), in_flight, deaf: 0, heard: opened };
                let ended = converse(&mut owner, &mut talk).await;
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
async fn connect(owner: &mut Owner, address: &str) -> Option<io::Result<TcpLink>> {
    let mut connecting = Box::pin(TcpLink::open(address));
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
}

async fn converse(owner: &mut Owner, talk: &mut Talk) -> io::Result<()> {
    let stop = owner.stop.clone();
    while !owner.stopping() {
        owner.ledger.beat();
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
    }
    Ok(())
}

impl Talk {
    /// Asks as much as may be under way; returns when there is more to ask.
    async fn ask(&mut self, owner: &mut Owner) -> io::Result<Mono> {
        while self.waiting.len() < self.in_flight {
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
            return;
        };
        let waiting = self.waiting.swap_remove(at);
        let mut counted = BusCounters { requests: 1, ..BusCounters::default() };
        let outcome = outcome_of(&waiting.question.ask, adu, &mut counted);
        conclude(owner, waiting, outcome, Some(now), counted);
    }

    /// Questions whose time is over.
    fn expire(&mut self, owner: &mut Owner) -> io::Result<()> {
        let now = owner.clock.mono();
        while let Some(at) = self.waiting.iter().position(|waiting| waiting.deadline <= now) {
            let waiting = self.waiting.swap_remove(at);
            self.deaf += 1;
            let counted = BusCounters { requests: 1, timeouts: 1, ..BusCounters::default() };
            conclude(owner, waiting, Outcome::NoReply, None, counted);
        }
        if self.deaf >= DEAF_QUESTIONS && now.since(self.heard) >= DEAF_FOR {
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
        let next = owner.say_that_the_line_is_down(until);
        let wait = next.since(owner.clock.mono()).clamp(Duration::from_millis(1), BEAT);
        let _ = timeout(wait, stop.cancelled()).await;
    }
}
