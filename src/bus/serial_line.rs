//! The thread of a line on which frames are told apart by time or by marks: a serial port, or RTU frames
//! through a device server. Opens it, asks who is due, until it is told to stop.

use super::link::Link;
use super::owner::{FIRST_RETRY, Heard, LOOK, Next, Owner, Question};
use super::port::{Port, advice};
use super::resolve::Resolver;
use super::serial::SerialLink;
use super::socket::SocketLink;
use super::transact::{Conversation, Tempo};
use super::{PortConfig, SerialConfig};
use crate::model::status::BusCounters;
use crate::model::{FindingKind, Mono};
use std::io;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A port that is away is looked for at least this often: an adapter that is plugged in again is soon
/// noticed, and a look costs little.
const LONGEST_WAIT_FOR_PORT: Duration = Duration::from_secs(1);
/// A connection costs the far end something.
const LONGEST_WAIT_FOR_CONNECTION: Duration = Duration::from_secs(5);

/// An adapter holds octets back for so many milliseconds at the most, or it costs the line a good part.
const GOOD_LATENCY_TIMER: u32 = 4;

/// What an adapter says of itself.
type Hints = Vec<(FindingKind, String)>;

/// How a line's port or connection is opened.
trait Door {
    type Link: Link;

    fn open(&mut self, stop: &CancellationToken) -> io::Result<(Self::Link, Hints)>;

    /// Whether trying again could go otherwise than it last did: then nobody waits any longer.
    fn has_news(&self) -> bool {
        false
    }
}

impl Door for Port {
    type Link = SerialLink;

    fn open(&mut self, stop: &CancellationToken) -> io::Result<(SerialLink, Hints)> {
        let link = Port::open(self)?;
        let mut hints = Hints::new();
        if !link.remarks().is_empty() {
            hints.push((FindingKind::Port, link.remarks().join("; ")));
        }
        if let Some(ms) = link.latency_timer().filter(|ms| *ms > GOOD_LATENCY_TIMER) {
            let text = format!(
                "the adapter's latency timer is {ms} ms: each answer comes that much later; the udev rule that is shipped sets it to 1"
            );
            hints.push((FindingKind::LatencyTimer, text));
        }
        Ok((link.until(stop.clone()), hints))
    }

    fn has_news(&self) -> bool {
        Port::has_news(self)
    }
}

/// A device server's address.
struct Server(Resolver);

impl Door for Server {
    type Link = SocketLink;

    fn open(&mut self, stop: &CancellationToken) -> io::Result<(SocketLink, Hints)> {
        Ok((SocketLink::open_found(&mut self.0, stop.clone())?, Hints::new()))
    }
}

/// A wire that is there from the start, and only once.
struct Given<L>(Option<L>);

impl<L: Link> Door for Given<L> {
    type Link = L;

    fn open(&mut self, _stop: &CancellationToken) -> io::Result<(L, Hints)> {
        let link =
            self.0.take().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the wire is gone"))?;
        Ok((link, Hints::new()))
    }
}

/// Runs a line over a wire that is no port of this machine.
pub(super) fn run_over<L: Link>(owner: Owner, config: &PortConfig, link: L) {
    let tempo = match config {
        PortConfig::Serial(serial) => Tempo::serial(serial.pace(), serial.framing),
        PortConfig::RtuOverTcp { .. } | PortConfig::Tcp { .. } => Tempo::rtu_over_tcp(),
    };
    converse_on(owner, tempo, "the wire", LONGEST_WAIT_FOR_PORT, Given(Some(link)));
}

/// Runs a serial line until its stop token says so.
pub(super) fn run(owner: Owner, config: &SerialConfig) {
    let tempo = Tempo::serial(config.pace(), config.framing);
    let name = config.port.display().to_string();
    converse_on(owner, tempo, &name, LONGEST_WAIT_FOR_PORT, Port::new(config));
}

/// Runs a line of RTU frames through a device server.
pub(super) fn run_over_tcp(owner: Owner, address: &str) {
    let door = Server(Resolver::new(address));
    converse_on(owner, Tempo::rtu_over_tcp(), address, LONGEST_WAIT_FOR_CONNECTION, door);
}

fn converse_on<D: Door>(mut owner: Owner, tempo: Tempo, name: &str, longest_wait: Duration, mut door: D) {
    let mut talk = Conversation::new(tempo, owner.clock.mono()).with_tap(owner.tap.clone());
    let mut retry = FIRST_RETRY;
    while !owner.stopping() {
        let failure = match door.open(&owner.stop) {
            Ok((mut link, hints)) => {
                let opened = owner.clock.mono();
                talk.reopened(opened);
                owner.opened(&hints);
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
        wait_without(&mut owner, &door, retry);
        retry = (retry * 2).min(longest_wait);
    }
    owner.stop_all();
}

/// Until the port goes or the stop comes.
fn converse<L: Link>(owner: &mut Owner, link: &mut L, talk: &mut Conversation) -> io::Result<()> {
    while !owner.stopping() {
        owner.ledger.beat();
        owner.follow_orders();
        let now = link.now();
        match owner.next(&|unit, block| talk.blocked_until(unit, block.request, now)) {
            Next::Ask(question) => ask(owner, link, talk, question)?,
            Next::Wait(until) => listen(owner, link, talk, until.min(now.plus(LOOK)))?,
            Next::Nothing => listen(owner, link, talk, now.plus(LOOK))?,
        }
        owner.ledger.up();
    }
    Ok(())
}

fn listen<L: Link>(owner: &mut Owner, link: &mut L, talk: &mut Conversation, until: Mono) -> io::Result<()> {
    let mut counted = BusCounters::default();
    let result = talk.listen_until(link, until, &mut counted);
    hear_out(owner, talk, &counted);
    result
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
    match talk.transact(link, question.unit, question.ask, question.manners, &mut counted) {
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

/// Until it is time to try again, or worth it.
fn wait_without<D: Door>(owner: &mut Owner, door: &D, span: Duration) {
    let until = owner.clock.mono().plus(span);
    let soonest = owner.clock.mono().plus(FIRST_RETRY);
    while owner.clock.mono() < until && !owner.stopping() {
        if owner.clock.mono() >= soonest && door.has_news() {
            return;
        }
        owner.follow_orders();
        let next = owner.say_that_the_line_is_down(until);
        let wait = next.since(owner.clock.mono()).min(LOOK);
        // Nobody unparks this thread: it is a sleep that a later version may cut short.
        std::thread::park_timeout(wait.max(Duration::from_millis(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::resolve::tests::never;
    use crate::bus::{LineConfig, MAX_PROBE, Surroundings};
    use crate::model::SystemClock;
    use std::sync::Arc;
    use std::time::Instant;
    use tokio::sync::{mpsc, oneshot};

    #[test]
    fn a_line_whose_name_server_hangs_shows_that_it_lives_and_stops_when_it_is_told_to() {
        let port = PortConfig::RtuOverTcp { address: "server:502".to_owned() };
        let (devices, max_probe) = (Vec::new(), MAX_PROBE);
        let config = LineConfig { name: "l".parse().unwrap(), port, devices, max_probe };
        let stop = CancellationToken::new();
        let around = Surroundings::new(Arc::new(SystemClock), mpsc::channel(1).0, stop.clone());
        let (ended_in, ended) = oneshot::channel();
        let (owner, running) = Owner::new(&config, around, ended);
        let line = std::thread::spawn(move || {
            let _ended = ended_in;
            let door = Server(Resolver::by("server:502", never));
            converse_on(owner, Tempo::rtu_over_tcp(), "server:502", LONGEST_WAIT_FOR_CONNECTION, door);
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let until = |is: &dyn Fn() -> bool| {
            while !is() {
                assert!(Instant::now() < deadline, "the name server holds the line up");
                std::thread::park_timeout(Duration::from_millis(1));
            }
        };
        until(&|| running.status.borrow().detail.as_ref().is_some_and(|why| why.contains("name server")));
        stop.cancel();
        until(&|| line.is_finished());
    }
}
