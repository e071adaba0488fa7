//! Meters on one pseudo-terminal, at the pace of a real line.

use super::fault::Faults;
use super::meter::Meter;
use super::pty::Pty;
use crate::modbus::rtu::{self, Pace};
use crate::modbus::{ReadFunction, ReadRequest, encode_exception};
use crate::model::{Clock, Mono, SystemClock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A read request on the wire: unit id, PDU of five octets, checksum.
const REQUEST: usize = 8;
/// The thread looks at its stop token this often.
const LOOK: Duration = Duration::from_millis(100);
/// More than this is no request.
const MOST: usize = 512;

/// What to simulate.
#[derive(Debug, Clone)]
pub struct WireConfig {
    pub meters: Vec<Meter>,
    pub baud: u32,
    /// A symlink to the terminal is put here.
    pub path: Option<PathBuf>,
    /// From a request's last octet to the reply's first.
    pub turnaround: Duration,
    pub faults: Faults,
}

/// What the wire has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    pub requests: u64,
    /// Replies sent, refusals among them.
    pub replies: u64,
    /// The shortest silence before a request, from the second one on: from just before the last octet was
    /// put on the line to when the request was seen there. So it is never too short; it may be too long by
    /// what the terminal takes to hand the request over and this thread to wake up.
    pub shortest_silence: Option<Duration>,
    /// How many of them were shorter than 3.5 characters.
    pub short_silences: u64,
    /// How much later than on a wire the replies' last octets were on the line, in all: this machine's own
    /// part of a cycle that is longer than it should be.
    pub lateness: Duration,
    /// Frames that were no request of a function we know.
    pub not_understood: u64,
}

/// A running wire; it ends when this is dropped.
#[derive(Debug)]
pub struct Wire {
    path: PathBuf,
    stop: CancellationToken,
    statistics: watch::Receiver<Statistics>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Opens the terminal and starts the meters' thread.
pub fn start(config: WireConfig) -> io::Result<Wire> {
    let pty = Pty::open(config.path.as_deref())?;
    let path = config.path.clone().unwrap_or_else(|| pty.name.clone());
    let stop = CancellationToken::new();
    let (publish, statistics) = watch::channel(Statistics::default());
    let mut bench = Bench::new(config, pty, publish, stop.clone());
    let thread = std::thread::Builder::new().name("wire".to_owned()).spawn(move || bench.run())?;
    Ok(Wire { path, stop, statistics, thread: Some(thread) })
}

impl Wire {
    /// Where the gateway opens it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn statistics(&self) -> Statistics {
        *self.statistics.borrow()
    }

    /// Hangs up, and says whether the meters had trouble.
    pub fn stop(mut self) -> io::Result<()> {
        self.stop.cancel();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the meters' thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Bench {
    config: WireConfig,
    pace: Pace,
    pty: Pty,
    clock: Arc<dyn Clock>,
    started: Mono,
    heard: Vec<u8>,
    /// When the octets heard so far have all passed the wire.
    passed: Mono,
    /// When the wire was last in use.
    last_used: Option<Mono>,
    seen: Statistics,
    publish: watch::Sender<Statistics>,
    stop: CancellationToken,
}

impl Bench {
    fn new(
        config: WireConfig,
        pty: Pty,
        publish: watch::Sender<Statistics>,
        stop: CancellationToken,
    ) -> Bench {
        let clock = Arc::new(SystemClock);
        let now = clock.mono();
        Bench {
            pace: Pace::new(config.baud, false, 1),
            config,
            pty,
            clock,
            started: now,
            heard: Vec::new(),
            passed: now,
            last_used: None,
            seen: Statistics::default(),
            publish,
            stop,
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        while !self.stop.is_cancelled() {
            let now = self.clock.mono();
            if !self.wait_readable(now.plus(LOOK))? {
                self.forget_what_is_no_request();
                continue;
            }
            self.listen()?;
            while let Some(request) = self.whole_request() {
                self.serve(&request)?;
            }
        }
        Ok(())
    }

    fn listen(&mut self) -> io::Result<()> {
        let mut buffer = [0; MOST];
        match rustix::io::read(&self.pty.master, &mut buffer) {
            Ok(n) => {
                let now = self.clock.mono();
                if self.heard.is_empty() {
                    self.note_silence(now);
                    self.passed = now;
                }
                // Written at once, but an octet takes its time on a wire.
                self.passed = self.passed.max(now).plus(self.pace.octets(n));
                self.last_used = Some(self.passed);
                self.heard.extend_from_slice(&buffer[..n]);
                self.heard.truncate(MOST);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn note_silence(&mut self, now: Mono) {
        if let Some(last) = self.last_used {
            let silence = now.since(last);
            self.seen.short_silences += u64::from(silence < self.pace.silence());
            self.seen.shortest_silence = Some(self.seen.shortest_silence.map_or(silence, |s| s.min(silence)));
        }
    }

    /// A request by its length and checksum, as a server on a wire knows it by the silence after it.
    fn whole_request(&mut self) -> Option<Vec<u8>> {
        let known = self.heard.get(1).is_some_and(|code| ReadFunction::from_code(*code).is_some());
        let length = if known { REQUEST } else { self.heard.len() };
        let frame = self.heard.get(..length)?;
        if rtu::unframe(frame).is_ok() {
            return Some(self.heard.drain(..length).collect());
        }
        None
    }

    fn forget_what_is_no_request(&mut self) {
        if !self.heard.is_empty() {
            self.heard.clear();
            self.seen.not_understood += 1;
            self.publish.send_replace(self.seen);
        }
    }

    fn serve(&mut self, request: &[u8]) -> io::Result<()> {
        self.seen.requests += 1;
        let reply = self.reply(request);
        self.wait_until(self.passed)?;
        if self.config.faults.echoes() {
            self.send(request, self.clock.mono())?;
        }
        if let Some((octets, delay)) = reply {
            let begin = self.passed.plus(self.config.turnaround).plus(delay);
            self.wait_until(begin)?;
            self.send(&octets, begin)?;
            self.seen.replies += 1;
        }
        self.publish.send_replace(self.seen);
        Ok(())
    }

    /// The reply's octets as they will be on the wire, and how much later than usual.
    fn reply(&mut self, request: &[u8]) -> Option<(Vec<u8>, Duration)> {
        let (unit, pdu) = rtu::unframe(request).ok()?;
        let since_start = self.clock.mono().since(self.started);
        let faults = &mut self.config.faults;
        let meter = self.config.meters.iter_mut().find(|meter| meter.unit() == unit)?;
        if faults.is_silent(unit, since_start) {
            return None;
        }
        let refused =
            ReadRequest::decode(pdu).ok().and_then(|r| faults.refuses(unit, r.address(), r.count()));
        let answer = match refused {
            Some(code) => encode_exception(pdu.first().copied().unwrap_or(0), code).to_vec(),
            None => meter.answer(pdu, self.clock.utc()),
        };
        let mut octets = rtu::frame(unit, &answer);
        if faults.breaks_checksum(unit)
            && let Some(last) = octets.last_mut()
        {
            *last ^= 0x5A;
        }
        let mut whole = faults.noise(unit);
        whole.append(&mut octets);
        Some((whole, faults.lateness(unit)))
    }

    /// Octet by octet: each is there when its last bit has passed.
    fn send(&mut self, octets: &[u8], begin: Mono) -> io::Result<()> {
        for (index, octet) in octets.iter().enumerate() {
            self.wait_until(begin.plus(self.pace.octets(index + 1)))?;
            // Before the write: the gateway may have read the octet before this thread runs again.
            let now = self.clock.mono();
            self.last_used = Some(now);
            if index + 1 == octets.len() {
                self.seen.lateness += now.since(begin.plus(self.pace.octets(octets.len())));
            }
            match rustix::io::write(&self.pty.master, std::slice::from_ref(octet)) {
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait_until(&self, until: Mono) -> io::Result<()> {
        while self.clock.mono() < until && !self.stop.is_cancelled() {
            let span = until.since(self.clock.mono()).min(LOOK);
            match poll(&mut [], Some(&timespec(span))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait_readable(&self, until: Mono) -> io::Result<bool> {
        let timeout = timespec(until.since(self.clock.mono()));
        match poll(&mut [PollFd::new(&self.pty.master, PollFlags::IN)], Some(&timeout)) {
            Ok(n) => Ok(n > 0),
            // As if something were there: reading finds out.
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn timespec(span: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(span.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;
    use std::fs::File;
    use std::io::{Read, Write};

    /// Asks for one register and reads the whole answer.
    fn ask(line: &mut File) {
        line.write_all(&rtu::frame(1, &[4, 0, 0, 0, 1])).unwrap();
        line.read_exact(&mut [0; 7]).unwrap();
    }

    #[tokio::test]
    async fn a_request_that_follows_too_soon_is_counted() {
        let meter = Meter::new(profile::find("eastron-sdm120", Path::new("."), &[]).unwrap(), 1, 1);
        let faults = Faults::new(vec![], 1);
        let turnaround = Duration::ZERO;
        let wire =
            start(WireConfig { meters: vec![meter], baud: 600, path: None, turnaround, faults }).unwrap();
        let mut line = File::options().read(true).write(true).open(wire.path()).unwrap();
        ask(&mut line);
        let silence = Pace::new(600, false, 1).silence();
        tokio::time::sleep(silence * 2).await;
        ask(&mut line);
        // At once: within the 58 ms of 3.5 characters.
        ask(&mut line);
        ask(&mut line);
        // What was seen is told after the reply is out.
        let mut told = wire.statistics.clone();
        let seen = *told.wait_for(|seen| seen.replies == 4).await.unwrap();
        assert_eq!((seen.replies, seen.short_silences), (4, 2), "{seen:?}");
        assert!(seen.shortest_silence.unwrap() < silence);
    }
}
