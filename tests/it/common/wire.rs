//! A serial line that exists only in memory, with a clock that moves when somebody waits.

use linesman::bus::link::Link;
use linesman::modbus::rtu::Pace;
use linesman::model::{Clock, Mono, Timestamp};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Some moment of 2025, when the clock shows no time passed yet.
const BEGAN: i64 = 1_763_766_000_000;

/// Stands still until somebody waits.
#[derive(Debug)]
pub struct VirtualClock(AtomicU64);

impl VirtualClock {
    pub fn new() -> VirtualClock {
        VirtualClock(AtomicU64::new(1_000_000_000))
    }

    /// Never back.
    pub fn move_to(&self, at: Mono) {
        self.0.fetch_max(at.0, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn utc(&self) -> Timestamp {
        Timestamp(BEGAN + i64::try_from(self.mono().0 / 1_000_000).unwrap())
    }

    fn mono(&self) -> Mono {
        Mono(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Octets leave the driver one by one, as from a UART.
    Paced,
    /// Octets are gone as soon as they are written, as into a pseudo-terminal.
    Unpaced,
}

/// What comes back for a frame: octets, each so long after the frame's last octet has left.
pub type Events = Vec<(Duration, Vec<u8>)>;
type Responder = Box<dyn FnMut(&[u8]) -> Events>;

pub struct VirtualLink {
    pace: Pace,
    clock: Arc<VirtualClock>,
    pub peer: Peer,
    /// The adapter hears itself: each octet of ours comes back as it leaves.
    pub echoes: bool,
    /// When each octet arrives, in order of time.
    arriving: VecDeque<(Mono, u8)>,
    /// What comes back for the next request, counted from when its last octet has left.
    next: Events,
    /// What arrives from when the next request's first octet leaves.
    interruption: Vec<u8>,
    pub responder: Option<Responder>,
    /// Stops whoever runs on this line, at this moment.
    pub end: Option<(Mono, CancellationToken)>,
    /// The machine sleeps at this moment, for so long.
    pub sleep: Option<(Mono, Duration)>,
    /// Frames sent, and when their first octet left.
    pub sent: Vec<(Mono, Vec<u8>)>,
    all_left: Mono,
    /// The shortest silence before a request, in time.
    shortest_silence: Option<Duration>,
    last_on_wire: Mono,
}

impl std::fmt::Debug for VirtualLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualLink").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl VirtualLink {
    pub fn new(pace: Pace) -> VirtualLink {
        VirtualLink::with_clock(pace, Arc::new(VirtualClock::new()))
    }

    pub fn with_clock(pace: Pace, clock: Arc<VirtualClock>) -> VirtualLink {
        let now = clock.mono();
        VirtualLink {
            pace,
            clock,
            peer: Peer::Paced,
            echoes: false,
            arriving: VecDeque::new(),
            next: Vec::new(),
            interruption: Vec::new(),
            responder: None,
            end: None,
            sleep: None,
            sent: Vec::new(),
            all_left: now,
            shortest_silence: None,
            last_on_wire: now,
        }
    }

    pub fn time(&self) -> Mono {
        self.clock.mono()
    }

    pub fn answer_next_with(&mut self, events: Events) {
        self.next = events;
    }

    pub fn interrupt_next_with(&mut self, octets: Vec<u8>) {
        self.interruption = octets;
    }

    pub fn arrive_from_now(&mut self, events: Events) {
        self.schedule(self.time(), events);
    }

    fn schedule(&mut self, from: Mono, events: Events) {
        let mut in_order = true;
        for (offset, octets) in events {
            for (index, octet) in octets.into_iter().enumerate() {
                let at = from.plus(offset).plus(self.pace.octets(index + 1));
                in_order &= self.arriving.back().is_none_or(|(last, _)| *last <= at);
                self.arriving.push_back((at, octet));
            }
        }
        if !in_order {
            self.arriving.make_contiguous().sort_by_key(|(at, _)| *at);
        }
    }

    fn wait(&mut self, until: Mono) {
        self.clock.move_to(until);
        if let Some((_, span)) = self.sleep.take_if(|(at, _)| *at <= until) {
            self.clock.move_to(until.plus(span));
        }
        if let Some((end, stop)) = &self.end
            && self.time() >= *end
        {
            stop.cancel();
        }
    }

    /// 3.5 characters between any two frames, but where the line never fell silent for a second.
    pub fn assert_silence_was_kept(&self, whose: &str) {
        if let Some(shortest) = self.shortest_silence {
            assert!(shortest >= self.pace.silence(), "{whose}: {shortest:?} of silence before a request");
        }
    }
}

impl Link for VirtualLink {
    fn now(&self) -> Mono {
        self.time()
    }

    /// The year 2025 began at this clock's zero.
    fn utc_nanos(&self) -> i64 {
        1_735_689_600_000_000_000 + i64::try_from(self.time().0).unwrap()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let (mut n, now) = (0, self.time());
        while n < buffer.len() && self.arriving.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((at, octet)) = self.arriving.pop_front() {
                self.last_on_wire = self.last_on_wire.max(at);
                buffer[n] = octet;
                n += 1;
            }
        }
        Ok((n > 0).then_some(n))
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let now = self.time();
        let silence = now.since(self.last_on_wire);
        if !self.sent.is_empty() {
            self.shortest_silence =
                Some(self.shortest_silence.map_or(silence, |shortest| shortest.min(silence)));
        }
        self.sent.push((now, octets.to_vec()));
        let left = match self.peer {
            Peer::Paced => now.plus(self.pace.octets(octets.len())),
            Peer::Unpaced => now,
        };
        self.all_left = left;
        self.last_on_wire = self.last_on_wire.max(left);
        let mut events = std::mem::take(&mut self.next);
        if let Some(responder) = &mut self.responder {
            events.extend(responder(octets));
        }
        let interruption = std::mem::take(&mut self.interruption);
        self.schedule(now, vec![(Duration::ZERO, interruption)]);
        if self.echoes {
            self.schedule(now, vec![(Duration::ZERO, octets.to_vec())]);
        }
        self.schedule(left, events);
        Ok(octets.len())
    }

    fn output_is_empty(&self) -> bool {
        self.time() >= self.all_left
    }

    fn discard_input(&mut self) -> io::Result<()> {
        let now = self.time();
        while self.arriving.front().is_some_and(|(at, _)| *at <= now) {
            self.arriving.pop_front();
        }
        Ok(())
    }

    fn wait_readable(&mut self, until: Mono) -> io::Result<bool> {
        match self.arriving.front() {
            Some((at, _)) if *at <= until => {
                let at = *at;
                self.wait(at);
                Ok(true)
            }
            Some(_) | None => {
                self.wait(until);
                Ok(false)
            }
        }
    }

    fn wait_writable(&mut self, until: Mono) -> io::Result<()> {
        self.wait(until);
        Ok(())
    }

    fn pause(&mut self, until: Mono) -> io::Result<()> {
        self.wait(until);
        Ok(())
    }
}

/// So that what was sent can be looked at afterwards.
impl Link for &mut VirtualLink {
    fn now(&self) -> Mono {
        VirtualLink::now(self)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        VirtualLink::read(self, buffer)
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        VirtualLink::write(self, octets)
    }

    fn output_is_empty(&self) -> bool {
        VirtualLink::output_is_empty(self)
    }

    fn discard_input(&mut self) -> io::Result<()> {
        VirtualLink::discard_input(self)
    }

    fn wait_readable(&mut self, until: Mono) -> io::Result<bool> {
        VirtualLink::wait_readable(self, until)
    }

    fn wait_writable(&mut self, until: Mono) -> io::Result<()> {
        VirtualLink::wait_writable(self, until)
    }

    fn pause(&mut self, until: Mono) -> io::Result<()> {
        VirtualLink::pause(self, until)
    }
}
