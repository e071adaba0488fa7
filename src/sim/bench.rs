//! The thread behind a wire: hears requests as they pass, and speaks octet by octet.

use super::frames::{Ear, Heard, MOST, Request};
use super::pause::{LOOK, Waiter, timespec};
use super::pty::Pty;
use super::station::Station;
use super::wire::{Statistics, WireConfig};
use crate::modbus::Framing;
use crate::modbus::rtu::Pace;
use crate::model::{Clock, Mono, SystemClock};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Octets are handed over for at least this much of the wire's time at once, as by a port with a FIFO:
/// a wake-up for each would be too many at 115 200 baud.
const HANDED_OVER: Duration = Duration::from_micros(200);
/// Around the moment at which a request may follow, the thread does not sleep: so it sees one when it comes.
const PRICKED_BEFORE: Duration = Duration::from_micros(60);
const PRICKED_AFTER: Duration = Duration::from_micros(200);
/// We may see a request this much later than it was written; a busy machine exceeds it.
const SEEN_LATE: Duration = Duration::from_micros(500);
/// What was begun and not gone on with for so long is no request.
const FORGOTTEN: Duration = Duration::from_millis(5);
/// How often another master asks.
const ANOTHER_MASTER: Duration = Duration::from_millis(500);
/// Octets that somebody babbles between two looks.
const BABBLED: usize = 16;

/// The last octet on the wire.
#[derive(Debug, Clone, Copy)]
struct LastUse {
    at: Mono,
    by_master: bool,
}

#[derive(Debug)]
pub(super) struct Bench {
    pty: Pty,
    pace: Pace,
    framing: Framing,
    station: Station,
    turnaround: Duration,
    waiter: Waiter,
    started: Mono,
    ear: Ear,
    /// When the octets heard so far have all passed the wire.
    passed: Mono,
    last_used: Option<LastUse>,
    /// The request that is being heard began too soon.
    too_soon: bool,
    /// The pace at which another master speaks, and whoever has no rate of its own.
    usual: Pace,
    /// Some meter has a rate of its own: then the terminal's own matters.
    minds_the_rate: bool,
    /// When another master asks next.
    another: Option<Mono>,
    seen: Statistics,
    publish: watch::Sender<Statistics>,
}

impl Bench {
    pub(super) fn new(
        config: WireConfig,
        pty: Pty,
        publish: watch::Sender<Statistics>,
        stop: CancellationToken,
    ) -> Bench {
        let waiter = Waiter::new(stop);
        let now = waiter.now();
        let station = Station::new(config.meters, config.faults.clone(), config.turnaround);
        Bench {
            pty,
            pace: config.pace,
            framing: config.framing,
            another: config.faults.has_another_master().then(|| now.plus(ANOTHER_MASTER)),
            usual: config.pace,
            minds_the_rate: station.minds_the_rate(),
            station,
            turnaround: config.turnaround,
            waiter,
            started: now,
            ear: Ear::new(config.framing),
            passed: now,
            last_used: None,
            too_soon: false,
            seen: Statistics::default(),
            publish,
        }
    }

    pub(super) fn run(&mut self) -> io::Result<()> {
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        while !self.waiter.stop.is_cancelled() {
            let now = self.waiter.now();
            if let Some(end) = self.station.faults.babbles_until(now.since(self.started)) {
                self.babble(self.started.plus(end))?;
            } else if self.another.is_some_and(|due| due <= now) {
                self.another_master()?;
            } else {
                self.attend(now)?;
            }
        }
        Ok(())
    }

    /// Waits for a request, for a while, and answers it.
    fn attend(&mut self, now: Mono) -> io::Result<()> {
        let look = now.plus(LOOK);
        if !self.readable(self.another.map_or(look, |due| due.min(look)))? {
            self.forget_what_was_left();
            return Ok(());
        }
        self.listen()?;
        while let Some(heard) = self.ear.take() {
            match heard {
                Heard::Request(request) => self.serve(&request)?,
                Heard::Nonsense => self.not_understood(),
            }
        }
        Ok(())
    }

    fn listen(&mut self) -> io::Result<()> {
        // Before reading: what is read was written before this.
        let now = self.waiter.now();
        let mut buffer = [0; MOST];
        let n = match rustix::io::read(&self.pty.master, &mut buffer) {
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.follow_the_rate();
        self.forget_what_was_left();
        if self.ear.is_empty() {
            self.note_silence(now);
            self.passed = now;
        }
        // Written at once, but an octet takes its time on a wire.
        self.passed = self.passed.max(now).plus(self.pace.octets(n));
        self.last_used = Some(LastUse { at: self.passed, by_master: true });
        self.ear.hear(buffer.get(..n).unwrap_or_default());
        Ok(())
    }

    /// A pseudo-terminal has no rate, but remembers the one that its user has set.
    fn follow_the_rate(&mut self) {
        if self.minds_the_rate
            && let Ok(settings) = rustix::termios::tcgetattr(&self.pty.master)
        {
            self.pace = self.pace.at_baud(settings.output_speed());
        }
    }

    /// Is the silence long enough?
    ///
    /// The count is fair. After a meter's octet: our stamp is taken before the octet is written, so the
    /// master cannot have it earlier, and the request is seen only after it was written, so the measured
    /// silence is never shorter than the master's own. Whoever keeps 3.5 characters is never counted,
    /// however busy the machine, and no tolerance is needed. After the master's own octets (nobody has
    /// answered) our stamp may be as much too late as we have seen that request late, so that much is
    /// allowed; a master without a response timeout undercuts it all the same.
    ///
    /// A violation is missed only by as much as we see the request late, which is why the thread is awake
    /// when one may come.
    fn note_silence(&mut self, now: Mono) {
        let Some(last) = self.last_used else { return };
        let silence = now.since(last.at);
        self.seen.shortest_silence = Some(self.seen.shortest_silence.map_or(silence, |s| s.min(silence)));
        let allowed = if last.by_master { SEEN_LATE } else { Duration::ZERO };
        self.too_soon = silence + allowed < self.silence();
        self.seen.too_soon += u64::from(self.too_soon);
    }

    /// ASCII frames need none (Serial Line V1.02, 2.5.2).
    fn silence(&self) -> Duration {
        if self.framing == Framing::Rtu { self.pace.silence() } else { Duration::ZERO }
    }

    fn forget_what_was_left(&mut self) {
        let limit = (self.pace.silence() * 2).max(FORGOTTEN);
        let is_old = self.waiter.now().since(self.passed) > limit;
        // In ASCII up to a second may pass between two characters (2.5.2).
        if self.framing == Framing::Rtu && is_old && self.ear.forget() {
            self.not_understood();
        }
    }

    fn not_understood(&mut self) {
        self.seen.not_understood += 1;
        self.publish.send_replace(self.seen);
    }

    fn serve(&mut self, request: &Request) -> io::Result<()> {
        self.seen.requests += 1;
        let since_start = self.waiter.now().since(self.started);
        let ignored = self.too_soon && self.station.faults.insists_on_silence(request.unit)
            || self.station.is_deaf(request.unit, self.pace.baud());
        let to = (0, request.unit);
        let answer = if ignored {
            None
        } else {
            self.station.answer(to, &request.pdu, since_start, SystemClock.utc())
        };
        let passed = self.passed;
        if self.station.faults.echoes() {
            // While it is sent, not after.
            let taken = u64::try_from(self.pace.octets(request.octets.len()).as_nanos()).unwrap_or(0);
            self.speak(&request.octets, Mono(passed.0.saturating_sub(taken)))?;
            self.last_used = Some(LastUse { at: self.waiter.now().max(passed), by_master: true });
        }
        if let Some(answer) = answer {
            let mut at = passed;
            for part in self.station.on_a_line(answer, self.framing, self.pace.silence()) {
                at = at.plus(part.pause);
                self.speak(&part.octets, at)?;
                at = at.plus(self.pace.octets(part.octets.len()));
            }
            self.seen.replies += 1;
        }
        self.publish.send_replace(self.seen);
        Ok(())
    }

    /// Octets in a row from this moment on: none is there before its last bit has passed.
    fn speak(&mut self, octets: &[u8], begin: Mono) -> io::Result<()> {
        let mut at_once = 1;
        while self.pace.octets(at_once) < HANDED_OVER && at_once < MOST {
            at_once += 1;
        }
        // The first goes alone, so that a turnaround can be measured.
        let (first, rest) = octets.split_at(octets.len().min(1));
        let mut passed = 0;
        for handed_over in std::iter::once(first).chain(rest.chunks(at_once)) {
            passed += handed_over.len();
            self.waiter.until(begin.plus(self.pace.octets(passed)));
            // Before the write: the gateway may have read the octet before this thread runs again.
            let now = self.waiter.now();
            self.last_used = Some(LastUse { at: now, by_master: false });
            if passed == octets.len() {
                self.seen.lateness += now.since(begin.plus(self.pace.octets(passed)));
            }
            match rustix::io::write(&self.pty.master, handed_over) {
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whoever listens at another rate hears octets, and others.
    fn another_master(&mut self) -> io::Result<()> {
        self.follow_the_rate();
        let misheard = self.pace.baud() != self.usual.baud();
        let mut dialogue = self.station.others_dialogue(self.framing, SystemClock.utc());
        if misheard {
            dialogue = dialogue.map(|frame| self.station.faults.random(frame.len()));
        }
        let [request, reply] = dialogue;
        let begin = self.waiter.now();
        self.speak(&request, begin)?;
        let passed = begin.plus(self.pace.octets(request.len()));
        self.speak(&reply, passed.plus(self.turnaround.max(self.pace.silence())))?;
        self.another = Some(begin.plus(ANOTHER_MASTER));
        self.collide()
    }

    fn babble(&mut self, end: Mono) -> io::Result<()> {
        let mut at = self.waiter.now();
        while at < end && !self.waiter.stop.is_cancelled() {
            let octets = self.station.faults.random(BABBLED);
            self.speak(&octets, at)?;
            at = at.plus(self.pace.octets(octets.len()));
            self.collide()?;
        }
        Ok(())
    }

    /// What is said while others speak, nobody understands.
    fn collide(&mut self) -> io::Result<()> {
        let mut lost = self.ear.forget();
        let mut buffer = [0; MOST];
        loop {
            match rustix::io::read(&self.pty.master, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(_) => lost = true,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if lost {
            self.not_understood();
        }
        Ok(())
    }

    /// Whether something can be read before then.
    fn readable(&self, until: Mono) -> io::Result<bool> {
        if let Some(last) = self.last_used {
            let expected = last.at.plus(self.silence());
            let from = last.at.plus(self.silence().saturating_sub(PRICKED_BEFORE));
            if from <= until && self.waiter.now() < expected.plus(PRICKED_AFTER) {
                if self.poll(from)? {
                    return Ok(true);
                }
                while self.waiter.now() < expected.plus(PRICKED_AFTER) {
                    if self.poll(from)? {
                        return Ok(true);
                    }
                }
            }
        }
        self.poll(until)
    }

    fn poll(&self, until: Mono) -> io::Result<bool> {
        let timeout = timespec(until.since(self.waiter.now()));
        match poll(&mut [PollFd::new(&self.pty.master, PollFlags::IN)], Some(&timeout)) {
            Ok(n) => Ok(n > 0),
            // As if something were there: reading finds out.
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
