//! A serial port as a [`Link`]: opened and configured by `tokio-serial`, read and written through a
//! descriptor of our own with `ppoll`, whose time limits are finer than a runtime's.
//!
//! The port is never flushed: that is a `tcdrain`, which blocks, with some adapters for seconds.

use super::SerialConfig;
use super::link::Link;
use crate::modbus::rtu::Pace;
use crate::model::{Clock, Mono, SystemClock};
use crate::profile::Parity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio_serial::{ClearBuffer, DataBits, FlowControl, SerialPort, StopBits};
use tokio_util::sync::CancellationToken;

/// The kernel may be this late with a timer; the default of 50 µs is multiplied by power saving.
const TIMER_SLACK_NS: u64 = 1_000;

/// The stop is looked at this often, …
const LOOK: Duration = Duration::from_millis(100);
/// … and a wait that ends within this is let end: mostly the transaction is finished by it.
const ENOUGH_TO_FINISH: Duration = Duration::from_millis(300);

pub struct SerialLink {
    /// Ours, non-blocking: reads and writes.
    fd: OwnedFd,
    /// Holds the settings and the lock, and knows the output queue.
    port: Box<dyn SerialPort>,
    clock: SystemClock,
    /// Waiting ends with an error soon after this.
    stop: CancellationToken,
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
    pub fn open(config: &SerialConfig) -> io::Result<SerialLink> {
        // Before the port is locked against others, ourselves among them.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&config.port, flags, Mode::empty())?;
        if !rustix::termios::isatty(&fd) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no serial port"));
        }
        let parity = match config.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        };
        let stop_bits = if config.stop_bits == 2 { StopBits::Two } else { StopBits::One };
        let port = tokio_serial::new(config.port.to_string_lossy(), config.baud)
            .data_bits(if config.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
            .parity(parity)
            .stop_bits(stop_bits)
            .flow_control(FlowControl::None)
            .open()
            .map_err(|error| in_use(error.into()))?;
        // Only finer timing is lost where this is not allowed.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NS));
        Ok(SerialLink { fd, port, clock: SystemClock, stop: CancellationToken::new() })
    }

    /// From the stop on nothing is waited for any more, however long a device's timeout is.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> SerialLink {
        SerialLink { stop, ..self }
    }

    fn wait_for(&self, events: PollFlags, until: Mono) -> io::Result<bool> {
        loop {
            let rest = until.since(self.now());
            if self.stop.is_cancelled() && rest > ENOUGH_TO_FINISH {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "told to stop"));
            }
            let timeout = timespec(rest.min(LOOK));
            let mut fds = [PollFd::new(&self.fd, events)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) if self.now() < until => {}
                Ok(n) => return Ok(n > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The path was there a moment ago, so a port that "is not there" now is one that another program holds.
fn in_use(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        io::Error::new(io::ErrorKind::ResourceBusy, error.to_string())
    } else {
        error
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
        match rustix::io::read(&self.fd, buffer) {
            // Zero octets are how an adapter that was pulled out says so.
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the port is gone")),
            Ok(n) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.fd, octets) {
            Ok(n) => Ok(n),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn output_is_empty(&self) -> bool {
        self.port.bytes_to_write().is_ok_and(|waiting| waiting == 0)
    }

    fn discard_input(&mut self) -> io::Result<()> {
        self.port.clear(ClearBuffer::Input).map_err(io::Error::from)
    }

    fn wait_readable(&mut self, until: Mono) -> io::Result<bool> {
        self.wait_for(PollFlags::IN, until)
    }

    fn wait_writable(&mut self, until: Mono) -> io::Result<()> {
        self.wait_for(PollFlags::OUT, until).map(drop)
    }
}
