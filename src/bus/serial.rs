//! An open serial port as a [`Link`]: read and written through a descriptor of our own with `ppoll`, whose time
//! limits are finer than a runtime's. How it is found, opened and set up: [`super::port`].
//!
//! The port is never flushed: that is a `tcdrain`, which blocks, with some adapters for seconds.

use super::SerialConfig;
use super::link::Link;
use super::port::rs485::{Left, Transmitter, Turn};
use super::port::{Place, Port, transmitter_is_empty};
use crate::modbus::rtu::Pace;
use crate::model::{Clock, Mono, SystemClock};
use crate::profile::Parity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{ControlModes, QueueSelector, ioctl_tiocnxcl, tcflush, tcgetattr};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio_serial::{ClearBuffer, SerialPort};
use tokio_util::sync::CancellationToken;

/// The kernel may be this late with a timer; the default of 50 µs is multiplied by power saving.
const TIMER_SLACK_NS: u64 = 1_000;

/// The stop is looked at this often, …
const LOOK: Duration = Duration::from_millis(100);
/// No wait is waited out awake for longer than this, however late the kernel is.
const MOST_AWAKE: Duration = Duration::from_micros(150);
/// … and a wait that ends within this is let end: mostly the transaction is finished by it.
const ENOUGH_TO_FINISH: Duration = Duration::from_millis(300);

/// While a frame of ours is on the line, no more than this is kept of what is heard: our echo is no longer.
const LONGEST_ECHO: usize = 1024;

pub struct SerialLink {
    /// Ours, non-blocking: reads and writes.
    fd: OwnedFd,
    /// Holds the settings and the lock, and knows the output queue.
    port: Box<dyn SerialPort>,
    clock: SystemClock,
    /// Waiting ends with an error soon after this.
    stop: CancellationToken,
    pace: Pace,
    /// Where a write is more than a write: the transmitter is turned on and off.
    turn: Option<Turn>,
    /// What came while we sent: our echo, perhaps.
    heard: Vec<u8>,
    /// The driver has said that the other end is gone; what came before is still read.
    hung_up: bool,
    remarks: Vec<String>,
    place: Place,
    /// How much later than asked the kernel wakes us, smoothed.
    oversleeps: Duration,
}

impl std::fmt::Debug for SerialLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SerialLink").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl SerialConfig {
    /// How fast octets go on this line.
    pub fn pace(&self) -> Pace {
        Pace::new(self.baud, self.parity != Parity::None, self.stop_bits).with_data_bits(self.data_bits)
    }
}

impl SerialLink {
    /// Opens a port once. Whoever opens it again keeps a [`Port`], which remembers the adapter.
    pub fn open(config: &SerialConfig) -> io::Result<SerialLink> {
        Port::new(config).open()
    }

    pub(super) fn new(
        fd: OwnedFd,
        port: Box<dyn SerialPort>,
        config: &SerialConfig,
        turn: Option<Turn>,
        remarks: Vec<String>,
        place: Place,
    ) -> io::Result<SerialLink> {
        // Only finer timing is lost where this is not allowed.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NS));
        let mut link = SerialLink {
            fd,
            port,
            clock: SystemClock,
            stop: CancellationToken::new(),
            pace: config.pace(),
            turn,
            heard: Vec::new(),
            hung_up: false,
            remarks,
            place,
            oversleeps: Duration::ZERO,
        };
        if let Some(turn) = turn {
            turn.rest(&mut Line(&mut link))?;
        }
        Ok(link)
    }

    /// From the stop on nothing is waited for any more, however long a device's timeout is.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken) -> SerialLink {
        self.stop = stop;
        self
    }

    /// What was remarkable about opening it, in sentences: who else has it open, what the driver made otherwise.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// How many milliseconds an FTDI adapter holds octets back before it hands on less than a full packet: 16
    /// unless told otherwise; 1 is right. Read anew each time, since a udev rule may act late.
    pub fn latency_timer(&self) -> Option<u32> {
        self.place.latency_timer()
    }

    /// The driver's name, such as `ftdi_sio`; pseudo-terminals and UARTs of the board have none to tell.
    pub fn driver(&self) -> Option<String> {
        self.place.driver()
    }

    /// What the driver has made of the settings: the rate, and whether there is a parity bit. A pseudo-terminal has none.
    pub(super) fn reads_back(&self) -> io::Result<(u32, bool)> {
        let settings = tcgetattr(&self.fd)?;
        Ok((settings.output_speed(), settings.control_modes.contains(ControlModes::PARENB)))
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    fn wait_for(&mut self, events: PollFlags, until: Mono) -> io::Result<bool> {
        loop {
            let rest = until.since(self.now());
            if self.stop.is_cancelled() && rest > ENOUGH_TO_FINISH {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "told to stop"));
            }
            let (began, nap) = (self.now(), rest.min(LOOK).saturating_sub(self.oversleeps));
            match self.poll(events, nap)? {
                seen if !seen.is_empty() => return Ok(true),
                _ if self.now() >= until => return Ok(false),
                _ => {}
            }
            self.slept(began.plus(nap), nap);
        }
    }

    /// The kernel wakes later than it was asked to, some hundredths of a millisecond, with each silence that is
    /// kept: so it is asked so much sooner, and the rest is waited out awake.
    fn slept(&mut self, wanted: Mono, nap: Duration) {
        if !nap.is_zero() {
            let over = self.now().since(wanted).min(MOST_AWAKE);
            self.oversleeps = (self.oversleeps * 7 + over) / 8;
        }
    }

    /// What is so within the time; an error when the port has gone and nothing is left to read.
    fn poll(&mut self, events: PollFlags, rest: Duration) -> io::Result<PollFlags> {
        let mut fds = [PollFd::new(&self.fd, events)];
        match poll(&mut fds, Some(&timespec(rest))) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(PollFlags::empty()),
            Err(errno) => return Err(errno.into()),
        }
        let seen = fds[0].revents();
        let gone = seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        if gone && !(seen & events).contains(PollFlags::IN) {
            return Err(gone_away());
        }
        self.hung_up = self.hung_up || gone;
        Ok(seen)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.fd, buffer) {
            // Zero octets are how an adapter that was pulled out says so.
            Ok(0) => Err(gone_away()),
            Ok(n) => Ok(Some(n)),
            // Or else it would be asked for ever whether there is more of nothing.
            Err(Errno::AGAIN) if self.hung_up => Err(gone_away()),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(lost(errno)),
        }
    }

    fn send(&mut self, octets: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.fd, octets) {
            Ok(n) => Ok(n),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(lost(errno)),
        }
    }

    /// Before our last octet has left only our echo can be heard; all else is noise.
    fn keep_only_an_echo(&mut self, sent: &[u8]) {
        if !sent.starts_with(&self.heard) {
            self.heard.clear();
        }
    }
}

fn gone_away() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the port is gone")
}

/// An adapter that was pulled out, or a driver that gave up.
fn lost(errno: Errno) -> io::Error {
    match errno {
        Errno::IO | Errno::NXIO | Errno::NODEV => {
            io::Error::new(io::ErrorKind::UnexpectedEof, format!("the port is gone ({errno})"))
        }
        _ => errno.into(),
    }
}

fn timespec(span: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(span.subsec_nanos()),
    }
}

impl Link for SerialLink {
    fn now(&self) -> Mono {
        self.clock.mono()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if self.heard.is_empty() {
            return self.receive(buffer);
        }
        let n = self.heard.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.heard.drain(..n)) {
            *to = from;
        }
        Ok(Some(n))
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let Some(turn) = self.turn else { return self.send(octets) };
        self.heard.clear();
        let (on_wire, one) = (self.pace.octets(octets.len()), self.pace.octets(1));
        turn.send(&mut Line(self), octets, on_wire, one)?;
        self.keep_only_an_echo(octets);
        Ok(octets.len())
    }

    fn output_is_empty(&self) -> bool {
        self.port.bytes_to_write().is_ok_and(|waiting| waiting == 0)
    }

    fn discard_input(&mut self) -> io::Result<()> {
        self.heard.clear();
        self.port.clear(ClearBuffer::Input).map_err(io::Error::from)
    }

    fn wait_readable(&mut self, until: Mono) -> io::Result<bool> {
        if self.heard.is_empty() { self.wait_for(PollFlags::IN, until) } else { Ok(true) }
    }

    fn wait_writable(&mut self, until: Mono) -> io::Result<()> {
        self.wait_for(PollFlags::OUT, until).map(drop)
    }

    fn pause(&mut self, until: Mono) -> io::Result<()> {
        // On a line that babbles nothing else is waited for, and so nowhere else the stop would be seen.
        if self.stop.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "told to stop"));
        }
        std::thread::park_timeout(until.since(self.now()));
        Ok(())
    }
}

impl Drop for SerialLink {
    fn drop(&mut self) {
        // All are kindnesses that a port that is gone can't take.
        // What a driver that hangs has not sent, a close would wait for.
        let _ = tcflush(&self.fd, QueueSelector::OFlush);
        if let Some(turn) = self.turn {
            let _ = turn.rest(&mut Line(self));
        }
        // It would outlive us as long as any other program has the port open, and keep us out.
        let _ = ioctl_tiocnxcl(&self.fd);
    }
}

/// The port below a turn of sending: what [`Link::write`] is made of.
struct Line<'a>(&'a mut SerialLink);

impl Transmitter for Line<'_> {
    fn now(&self) -> Mono {
        self.0.clock.mono()
    }

    fn set_rts(&mut self, asserted: bool) -> io::Result<()> {
        self.0.port.write_request_to_send(asserted).map_err(|error| {
            let advice =
                "`rs485: { mode: rts }` needs one; leave rs485 out with an adapter that switches by itself";
            io::Error::new(
                io::ErrorKind::Unsupported,
                format!("the port has no RTS line ({error}): {advice}"),
            )
        })
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.send(octets)
    }

    fn wait_writable(&mut self, until: Mono) -> io::Result<()> {
        self.0.wait_for(PollFlags::OUT, until).map(drop)
    }

    /// Listens meanwhile: what comes now is no answer.
    fn wait(&mut self, until: Mono) -> io::Result<()> {
        let mut buffer = [0; 256];
        loop {
            let rest = until.since(self.now());
            if rest.is_zero() {
                return Ok(());
            }
            if self.0.poll(PollFlags::IN, rest)?.contains(PollFlags::IN)
                && let Some(n) = self.0.receive(&mut buffer)?
            {
                let room = LONGEST_ECHO.saturating_sub(self.0.heard.len());
                self.0.heard.extend_from_slice(&buffer[..n.min(room)]);
            }
        }
    }

    fn left(&self) -> Left {
        match (self.0.output_is_empty(), transmitter_is_empty(&self.0.fd)) {
            (false, _) | (_, Ok(false)) => Left::NotYet,
            (true, Ok(true)) => Left::All,
            (true, Err(_)) => Left::Perhaps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Rs485Config, Rs485Mode};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    /// A port that takes some milliseconds to send, and the meters' end of it.
    fn slow_port() -> (OwnedFd, SerialLink) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let mut link = SerialLink::open(&SerialConfig::new(name, 9600)).unwrap();
        let delay_before = Duration::from_millis(5);
        link.turn = Turn::new(&Rs485Config { delay_before, ..Rs485Config::new(Rs485Mode::Kernel) });
        (master, link)
    }

    const FRAME: [u8; 8] = [1, 3, 0, 0, 0, 2, 0xC4, 0x0B];

    #[test]
    fn a_write_lasts_until_the_last_octet_has_left_where_the_transmitter_is_turned_on_for_it() {
        let (master, mut link) = slow_port();
        let before = link.now();
        assert_eq!(link.write(&FRAME).unwrap(), FRAME.len());
        let took = link.now().since(before);
        assert!(took >= link.pace.octets(8) + Duration::from_millis(5), "{took:?}");
        let mut sent = [0; 8];
        assert_eq!(rustix::io::read(&master, &mut sent).unwrap(), 8);
        assert_eq!(sent, FRAME);
    }

    #[test]
    fn what_is_heard_meanwhile_is_our_echo_or_nothing() {
        let (master, mut link) = slow_port();
        let mut buffer = [0; 5];
        rustix::io::write(&master, &FRAME).unwrap();
        link.write(&FRAME).unwrap();
        let now = link.now();
        assert!(link.wait_readable(now).unwrap());
        assert_eq!(link.read(&mut buffer).unwrap(), Some(5));
        assert_eq!(link.read(&mut buffer).unwrap(), Some(3));
        assert_eq!((link.read(&mut buffer).unwrap(), &buffer[..3]), (None, &FRAME[5..]));
        // As the answer to an older question would look.
        rustix::io::write(&master, &[1, 3, 4, 0, 0, 0, 0, 0xFA, 0x33]).unwrap();
        link.write(&FRAME).unwrap();
        let now = link.now();
        assert!(!link.wait_readable(now).unwrap());
        assert_eq!(link.read(&mut buffer).unwrap(), None);
    }

    #[test]
    fn the_stop_ends_the_rests_on_a_line_that_babbles() {
        let (_master, link) = slow_port();
        let stop = CancellationToken::new();
        let mut link = link.until(stop.clone());
        let until = link.now().plus(Duration::from_millis(1));
        assert!(link.pause(until).is_ok());
        stop.cancel();
        assert!(link.pause(until).is_err());
    }

    #[test]
    fn a_port_that_has_hung_up_and_has_nothing_more_to_say_is_gone() {
        let (_master, mut link) = slow_port();
        assert_eq!(link.receive(&mut [0; 4]).unwrap(), None);
        link.hung_up = true;
        assert!(link.receive(&mut [0; 4]).is_err());
    }
}
