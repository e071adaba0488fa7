//! What a transaction needs of a serial port, and of time: so that tests can be both.

use crate::model::Mono;
use std::io;

/// A half-duplex octet line with a clock.
pub trait Link {
    fn now(&self) -> Mono;

    /// The wall clock at this moment, in nanoseconds since 1970: only for the record of the wire.
    fn utc_nanos(&self) -> i64 {
        super::capture::utc_nanos()
    }

    /// What has arrived, without waiting: `None` when nothing has. An error, or an end of file, means
    /// that the port is gone.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Hands octets to the driver; as many as it takes now.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize>;

    /// Nothing waits in the driver any more to be sent.
    fn output_is_empty(&self) -> bool;

    /// Forgets what the driver has received and nobody has read.
    fn discard_input(&mut self) -> io::Result<()>;

    /// Waits until octets are there or the time has come; `true` when octets are there.
    fn wait_readable(&mut self, until: Mono) -> io::Result<bool>;

    /// Waits until the driver takes octets or the time has come.
    fn wait_writable(&mut self, until: Mono) -> io::Result<()>;

    /// Rests, whatever arrives: the driver keeps it, or drops what it has no room for.
    fn pause(&mut self, until: Mono) -> io::Result<()> {
        std::thread::park_timeout(until.since(self.now()));
        Ok(())
    }
}
