//! The thread of a line on which frames are told apart by time or by marks: a serial port, or RTU frames
//! through a device server. Opens it, asks who is due, until it is told to stop.

use super::SerialConfig;
use super::link::Link;
use super::owner::{FIRST_RETRY, Heard, LOOK, Next, Owner, Question};
use super::serial::SerialLink;
use super::socket::SocketLink;
use super::transact::{Conversation, Tempo};
use crate::model::FindingKind;
use crate::model::status::BusCounters;
use std::io;
use std::time::Duration;

/// A port that is away is looked for at least this often: an adapter that is plugged in again is soon
/// noticed, and a look costs little.
const LONGEST_WAIT_FOR_PORT: Duration = Duration::from_secs(1);
/// A connection costs the far end something.
const LONGEST_WAIT_FOR_CONNECTION: Duration = Duration::from_secs(5);

/// What an adapter says of itself.
type Hints = Vec<(FindingKind, String)>;

/// Runs a serial line until its stop token says so.
pub(super) fn run(owner: Owner, config: &SerialConfig) {
    let stop = owner.stop.clone();
    let tempo = Tempo::serial(config.pace(), config.framing);
    let name = config.port.display().to_string();
    let open = || Ok((SerialLink::open(config)?.until(stop.clone()), Hints::new()));
    converse_on(owner, tempo, &name, LONGEST_WAIT_FOR_PORT, open);
}

/// Runs a line of RTU frames through a device server.
pub(super) fn run_over_tcp(owner: Owner, address: &str) {
    let stop = owner.stop.clone();
    let open = || Ok((SocketLink::open(address, stop.clone())?, Hints::new()));
    converse_on(owner, Tempo::rtu_over_tcp(), address, LONGEST_WAIT_FOR_CONNECTION, open);
}

fn converse_on<L: Link>(
    mut owner: Owner,
    tempo: Tempo,
    name: &str,
    longest_wait: Duration,
    open: impl Fn() -> io::Result<(L, Hints)>,
) {
    let mut talk = Conversation::new(tempo, owner.clock.mono());
    let mut retry = FIRST_RETRY;
    while !owner.stopping() {
        let failure = match open() {
            Ok((mut link, hints)) => {
                let opened = owner.clock.mono();
                talk.reopened(opened);
                owner.up(&hints);
                // The port is closed before anything else is done: an adapter that is plugged in again gets
                // its old name only while nobody holds the old one.
                let ended = converse(&mut owner, &mut link, &mut talk);
                drop(link);
                // A port that opens and goes at once must not keep us, and the journal, busy.
                if owner.clock.mono().since(opened) > longest_wait {
                    retry = FIRST_RETRY;
                }
                match ended {
                    Ok(()) => break,
                    Err(_) if owner.stopping() => break,
                    Err(error) => error.to_string(),
                }
            }
            Err(_) if owner.stopping() => break,
            Err(error) => advice(&error),
        };
        owner.down(&format!("{name}: {failure}"));
        wait_without_port(&mut owner, retry);
        retry = (retry * 2).min(longest_wait);
    }
    owner.stop_all();
}

/// Until the port goes or the stop comes.
fn converse<L: Link>(owner: &mut Owner, link: &mut L, talk: &mut Conversation) -> io::Result<()> {
    while !owner.stopping() {
        owner.ledger.beat();
        let now = link.now();
        let next = owner.next(&|unit, block| talk.blocked_until(unit, block.request, now));
        match next {
            Next::Ask(question) => ask(owner, link, talk, question)?,
            Next::Wait(until) => {
                let mut counted = BusCounters::default();
                let result = talk.listen_until(link, until.min(now.plus(LOOK)), &mut counted);
                hear_out(owner, talk, &counted);
                result?;
            }
            Next::Nothing => {
                let mut counted = BusCounters::default();
                let result = talk.listen_until(link, now.plus(LOOK), &mut counted);
                hear_out(owner, talk, &counted);
                result?;
            }
        }
    }
    Ok(())
}

/// What came while nothing was asked.
fn hear_out(owner: &mut Owner, talk: &mut Conversation, counted: &BusCounters) {
    owner.ledger.add(None, counted);
    owner.noticed(&talk.take_notes());
}

fn ask<L: Link>(
    owner: &mut Owner,
    link: &mut L,
    talk: &mut Conversation,
    question: Question,
) -> io::Result<()> {
    let mut counted = BusCounters::default();
    match talk.transact(link, question.unit, question.request, question.manners, &mut counted) {
        Ok((outcome, trace)) => {
            let notes = talk.take_notes();
            owner.heard(question, Heard { outcome, trace, counted, notes });
            Ok(())
        }
        Err(error) => {
            if owner.stopping() {
                // The stop cut it short, not the port.
                owner.cut_short(&question);
            } else {
                owner.lost(&question, &counted);
            }
            Err(error)
        }
    }
}

fn wait_without_port(owner: &mut Owner, span: Duration) {
    let until = owner.clock.mono().plus(span);
    while owner.clock.mono() < until && !owner.stopping() {
        let next = owner.say_that_the_line_is_down(until);
        let wait = next.since(owner.clock.mono()).min(LOOK);
        // Nobody unparks this thread: it is a sleep that a later version may cut short.
        std::thread::park_timeout(wait.max(Duration::from_millis(1)));
    }
}

/// What to do about a port that can't be opened.
#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; only these have advice of their own")]
pub(super) fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{error}: is the adapter plugged in? `ls -l /dev/serial/by-id` shows those that are")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}: the user must be in the port's group, mostly `dialout`")
        }
        io::ErrorKind::ResourceBusy => format!("{error}: another program uses the port"),
        _ => error.to_string(),
    }
}
