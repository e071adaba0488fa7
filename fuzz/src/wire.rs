//! A line that exists only in memory, with a clock that moves when somebody waits. It knows of every octet
//! where it came from and when it was read: so it is known afterwards what could be believed.

use linesman::bus::link::Link;
use linesman::modbus::rtu::Pace;
use linesman::model::Mono;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// So many calls in a row in which nothing moves are a loop without end.
const MOST_IDLE_CALLS: u32 = 10_000;

/// Where an octet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Noise, other devices, other masters, whoever.
    Stranger,
    /// Our own question with this number, heard again.
    Echo(usize),
    /// What the device that was asked has answered to the question with this number.
    Answer(usize),
}

/// An octet that was read.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    pub octet: u8,
    pub source: Source,
    /// When it was read.
    pub read: Mono,
}

/// An octet on its way to us.
pub type Coming = (Mono, u8, Source);

/// How the port and its driver behave.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    pub pace: Pace,
    /// Octets leave one by one as from a UART; otherwise at once, as into a pseudo-terminal.
    pub paced: bool,
    /// What has arrived is handed over at multiples of this only, as by a USB adapter; zero for at once.
    pub latency: Duration,
    /// At most so many octets are taken by one write, …
    pub write_most: usize,
    /// … and given by one read.
    pub read_most: usize,
}

pub struct Wire {
    habits: Habits,
    now: Mono,
    coming: VecDeque<Coming>,
    pub heard: Vec<Heard>,
    /// What was written since the last [`Wire::ready_for`], when that began, and how many octets had been
    /// read before.
    pub written: Vec<u8>,
    pub began: Mono,
    pub heard_before: usize,
    /// Nothing was on its way to us then.
    pub quiet_before: bool,
    /// When the last octet of it has left.
    pub left: Mono,
    /// From the last octet on the line to the beginning of the frame.
    pub silence: Duration,
    last_on_wire: Mono,
    /// The frame that is expected, and what comes of it.
    reaction: Option<(usize, Reaction)>,
    /// From then on the port is not there.
    pub gone_at: Option<Mono>,
    idle_calls: u32,
}

/// What the line answers once a frame has been written: given when that began and when its last octet has left.
pub type Reaction = Box<dyn FnOnce(Mono, Mono) -> Vec<Coming>>;

impl Wire {
    pub fn new(habits: Habits) -> Wire {
        let now = Mono(1_000_000_000);
        Wire {
            habits,
            now,
            coming: VecDeque::new(),
            heard: Vec::new(),
            written: Vec::new(),
            began: now,
            heard_before: 0,
            quiet_before: true,
            left: now,
            silence: Duration::MAX,
            last_on_wire: now,
            reaction: None,
            gone_at: None,
            idle_calls: 0,
        }
    }

    pub fn time(&self) -> Mono {
        self.now
    }

    /// A frame of so many octets is about to be written.
    pub fn ready_for(&mut self, octets: usize, reaction: Reaction) {
        self.written.clear();
        self.reaction = Some((octets, reaction));
    }

    /// Whether the frame was written to its end.
    pub fn was_sent(&self) -> bool {
        self.reaction.is_none()
    }

    /// What is still on its way to us.
    pub fn to_come(&self) -> impl Iterator<Item = (u8, Source)> {
        self.coming.iter().map(|(_, octet, source)| (*octet, *source))
    }

    pub fn bring(&mut self, octets: impl IntoIterator<Item = Coming>) {
        let latency = u64::try_from(self.habits.latency.as_nanos()).unwrap_or(u64::MAX);
        let delivered = |at: Mono| if latency == 0 { at } else { Mono(at.0.div_ceil(latency) * latency) };
        self.coming.extend(octets.into_iter().map(|(at, octet, source)| (delivered(at), octet, source)));
        self.coming.make_contiguous().sort_by_key(|(at, _, _)| *at);
    }

    fn there(&self) -> bool {
        self.coming.front().is_some_and(|(at, _, _)| *at <= self.now)
    }

    /// The last octet that has come so far, read or not.
    fn last_arrival(&self) -> Mono {
        let come = self.coming.iter().take_while(|(at, _, _)| *at <= self.now).last();
        come.map_or(self.last_on_wire, |(at, _, _)| self.last_on_wire.max(*at))
    }

    fn is_there(&mut self) -> io::Result<()> {
        if self.gone_at.is_some_and(|at| self.now >= at) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the port is gone"));
        }
        self.idle_calls += 1;
        assert!(self.idle_calls < MOST_IDLE_CALLS, "nothing moves any more at {:?}", self.now);
        Ok(())
    }

    fn move_to(&mut self, at: Mono) {
        let at = self.gone_at.map_or(at, |gone| at.min(gone)).max(self.now);
        if at > self.now {
            (self.now, self.idle_calls) = (at, 0);
        }
    }
}

impl Link for Wire {
    fn now(&self) -> Mono {
        self.now
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.is_there()?;
        let mut n = 0;
        while n < buffer.len().min(self.habits.read_most) && self.there() {
            let Some((arrived, octet, source)) = self.coming.pop_front() else { break };
            self.last_on_wire = self.last_on_wire.max(arrived);
            self.heard.push(Heard { octet, source, read: self.now });
            buffer[n] = octet;
            n += 1;
        }
        if n > 0 {
            self.idle_calls = 0;
        }
        Ok((n > 0).then_some(n))
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.is_there()?;
        let taken = octets.len().min(self.habits.write_most);
        if self.written.is_empty() {
            self.silence = self.now.since(self.last_arrival());
            (self.began, self.left) = (self.now, self.now);
            (self.heard_before, self.quiet_before) = (self.heard.len(), self.coming.is_empty());
        }
        self.written.extend_from_slice(&octets[..taken]);
        if self.habits.paced {
            self.left = self.began.plus(self.habits.pace.octets(self.written.len()));
        }
        self.last_on_wire = self.last_on_wire.max(self.left);
        if self.reaction.as_ref().is_some_and(|(whole, _)| self.written.len() >= *whole)
            && let Some((_, reaction)) = self.reaction.take()
        {
            let coming = reaction(self.began, self.left);
            self.bring(coming);
        }
        Ok(taken)
    }

    fn output_is_empty(&self) -> bool {
        self.now >= self.left
    }

    fn discard_input(&mut self) -> io::Result<()> {
        self.is_there()?;
        while self.there() {
            let Some((arrived, ..)) = self.coming.pop_front() else { break };
            self.last_on_wire = self.last_on_wire.max(arrived);
        }
        Ok(())
    }

    fn wait_readable(&mut self, until: Mono) -> io::Result<bool> {
        self.is_there()?;
        let next = self.coming.front().map(|(at, _, _)| *at).filter(|at| *at <= until.max(self.now));
        self.move_to(next.unwrap_or(until));
        self.is_there()?;
        Ok(self.there())
    }

    fn wait_writable(&mut self, until: Mono) -> io::Result<()> {
        self.is_there()?;
        self.move_to(until);
        self.is_there()
    }

    fn pause(&mut self, until: Mono) -> io::Result<()> {
        self.is_there()?;
        self.move_to(until);
        self.is_there()
    }
}
