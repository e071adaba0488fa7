//! A serial line that exists only in memory, with a clock that moves when somebody waits.

use linesman::bus::link::Link;
use linesman::modbus::rtu::Pace;
use linesman::model::Mono;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Octets leave the driver one by one, as from a UART.
    Paced,
    /// Octets are gone as soon as they are written, as into a pseudo-terminal.
    Unpaced,
}

type Responder = Box<dyn FnMut(&[u8]) -> Vec<(Duration, Vec<u8>)>>;

pub struct VirtualLink {
    pace: Pace,
    now: Mono,
    pub peer: Peer,
    /// When each octet arrives, in order of time.
    arriving: VecDeque<(Mono, u8)>,
    /// What comes back for the next request, counted from when its last octet has left.
    next: Vec<(Duration, Vec<u8>)>,
    /// What arrives from when the next request's first octet leaves.
    interruption: Vec<u8>,
    pub responder: Option<Responder>,
    /// Frames sent, and when their first octet left.
    pub sent: Vec<(Mono, Vec<u8>)>,
    all_left: Mono,
    /// The shortest silence before a request, in time.
    shortest_silence: Option<Duration>,
    last_on_wire: Mono,
}

impl VirtualLink {
    pub fn new(pace: Pace) -> VirtualLink {
        let now = Mono(1_000_000_000);
        VirtualLink {
            pace,
            now,
            peer: Peer::Paced,
            arriving: VecDeque::new(),
            next: Vec::new(),
            interruption: Vec::new(),
            responder: None,
            sent: Vec::new(),
            all_left: now,
            shortest_silence: None,
            last_on_wire: now,
        }
    }

    pub fn time(&self) -> Mono {
        self.now
    }

    pub fn answer_next_with(&mut self, events: Vec<(Duration, Vec<u8>)>) {
        self.next = events;
    }

    pub fn interrupt_next_with(&mut self, octets: Vec<u8>) {
        self.interruption = octets;
    }

    pub fn arrive_from_now(&mut self, events: Vec<(Duration, Vec<u8>)>) {
        self.schedule(self.now, events);
    }

    fn schedule(&mut self, from: Mono, events: Vec<(Duration, Vec<u8>)>) {
        for (offset, octets) in events {
            for (index, octet) in octets.into_iter().enumerate() {
                self.arriving.push_back((from.plus(offset).plus(self.pace.octets(index + 1)), octet));
            }
        }
        self.arriving.make_contiguous().sort_by_key(|(at, _)| *at);
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
        self.now
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut n = 0;
        while n < buffer.len() && self.arriving.front().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((at, octet)) = self.arriving.pop_front() {
                self.last_on_wire = self.last_on_wire.max(at);
                buffer[n] = octet;
                n += 1;
            }
        }
        Ok((n > 0).then_some(n))
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let silence = self.now.since(self.last_on_wire);
        if !self.sent.is_empty() {
            self.shortest_silence =
                Some(self.shortest_silence.map_or(silence, |shortest| shortest.min(silence)));
        }
        self.sent.push((self.now, octets.to_vec()));
        let left = match self.peer {
            Peer::Paced => self.now.plus(self.pace.octets(octets.len())),
            Peer::Unpaced => self.now,
        };
        self.all_left = left;
        self.last_on_wire = self.last_on_wire.max(left);
        let mut events = std::mem::take(&mut self.next);
        if let Some(responder) = &mut self.responder {
            events.extend(responder(octets));
        }
        let interruption = std::mem::take(&mut self.interruption);
        self.schedule(self.now, vec![(Duration::ZERO, interruption)]);
        self.schedule(left, events);
        Ok(octets.len())
    }

    fn output_is_empty(&self) -> bool {
        self.now >= self.all_left
    }

    fn discard_input(&mut self) -> io::Result<()> {
        while self.arriving.front().is_some_and(|(at, _)| *at <= self.now) {
            self.arriving.pop_front();
        }
        Ok(())
    }

    fn wait_readable(&mut self, until: Mono) -> io::Result<bool> {
        match self.arriving.front() {
            Some((at, _)) if *at <= until => {
                self.now = self.now.max(*at);
                Ok(true)
            }
            Some(_) | None => {
                self.now = self.now.max(until);
                Ok(false)
            }
        }
    }

    fn wait_writable(&mut self, until: Mono) -> io::Result<()> {
        self.now = self.now.max(until);
        Ok(())
    }

    fn pause(&mut self, until: Mono) -> io::Result<()> {
        self.now = self.now.max(until);
        Ok(())
    }
}
