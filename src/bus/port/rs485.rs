//! Turning an RS-485 transmitter on and off, where the hardware does not do it by itself.
//!
//! Most USB adapters switch by themselves: then nothing is configured. A UART with a transceiver behind its RTS
//! line needs the kernel (`mode: kernel`, exact) or, where the driver can't, this program (`mode: rts`).
//!
//! In `mode: rts` a write lasts until the last bit has left and RTS is back: a meter may answer 3.5 characters
//! later, and must find the line free. So the engine, which takes the end of the write for the moment at which
//! the last octet has left, is right without knowing of all this. The same holds for a kernel's
//! `delay_before`, which it could not know of either. It costs precision that only a kernel has: the turn is as
//! late as this thread is woken, some 0.1 ms, more on a busy machine; over USB another 1 to 4 ms.

use super::ioctl::{
    RS485_ENABLED, RS485_RTS_AFTER_SEND, RS485_RTS_ON_SEND, RS485_RX_DURING_TX, SerialRs485, set_rs485,
};
use crate::model::Mono;
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Linux' serial core allows no longer ones.
pub const LONGEST_DELAY: Duration = Duration::from_millis(100);

/// A driver that knows when the last bit has left is asked so often, …
const STEP: Duration = Duration::from_micros(100);
/// … and no longer than this after it must have: what then still waits, waits for ever.
const PATIENCE: Duration = Duration::from_millis(50);
/// How much longer than the wire needs the driver may take to accept a frame.
const WRITE_PATIENCE: Duration = Duration::from_millis(500);

/// Who turns the transmitter on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rs485Mode {
    /// The driver (`TIOCSRS485`).
    Kernel,
    /// This program, by the RTS line.
    Rts,
}

/// How an RS-485 transmitter is turned on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rs485Config {
    pub mode: Rs485Mode,
    /// RTS is asserted while sending; otherwise while not.
    pub rts_on_send: bool,
    /// From turning on to the first bit, in whole milliseconds, up to [`LONGEST_DELAY`].
    pub delay_before: Duration,
    /// From the last bit to turning off.
    pub delay_after: Duration,
    /// The receiver hears what is sent. Only for the kernel: by RTS alone nobody can stop it.
    pub rx_during_tx: bool,
}

impl Rs485Config {
    /// RTS asserted while sending, no delays.
    pub fn new(mode: Rs485Mode) -> Rs485Config {
        Rs485Config {
            mode,
            rts_on_send: true,
            delay_before: Duration::ZERO,
            delay_after: Duration::ZERO,
            rx_during_tx: false,
        }
    }

    fn for_the_kernel(&self) -> SerialRs485 {
        let level = if self.rts_on_send { RS485_RTS_ON_SEND } else { RS485_RTS_AFTER_SEND };
        let hears = if self.rx_during_tx { RS485_RX_DURING_TX } else { 0 };
        SerialRs485 {
            flags: RS485_ENABLED | level | hears,
            delay_rts_before_send: milliseconds(self.delay_before),
            delay_rts_after_send: milliseconds(self.delay_after),
            ..SerialRs485::default()
        }
    }
}

fn milliseconds(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// Turns the driver's RS-485 mode on. Returns what it made otherwise than was asked, in words.
pub(super) fn by_kernel(port: impl AsFd, config: &Rs485Config) -> io::Result<Option<String>> {
    let asked = config.for_the_kernel();
    let got = set_rs485(port, asked).map_err(|errno| no_mode(&errno.to_string(), errno))?;
    if got.flags & RS485_ENABLED == 0 {
        return Err(no_mode("it left it off", Errno::OPNOTSUPP));
    }
    Ok(differences(asked, got))
}

fn no_mode(why: &str, errno: Errno) -> io::Error {
    let advice = match errno {
        Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => {
            ": use `mode: rts`, or leave rs485 out with an adapter that switches by itself, as most USB ones do"
        }
        _ => "",
    };
    let text = format!("the driver has no RS-485 mode (TIOCSRS485: {why}){advice}");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// Drivers put right what they can't do, and say nothing.
fn differences(asked: SerialRs485, got: SerialRs485) -> Option<String> {
    let flag = |name, bit| {
        let (wanted, is) = (asked.flags & bit != 0, got.flags & bit != 0);
        (wanted != is).then(|| format!("{name}: {is}"))
    };
    let delay = |name, wanted: u32, is: u32| (wanted != is).then(|| format!("{name}: {is}ms"));
    let found: Vec<String> = [
        flag("rts_on_send", RS485_RTS_ON_SEND),
        flag("rx_during_tx", RS485_RX_DURING_TX),
        delay("delay_before", asked.delay_rts_before_send, got.delay_rts_before_send),
        delay("delay_after", asked.delay_rts_after_send, got.delay_rts_after_send),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!found.is_empty())
        .then(|| format!("the driver's RS-485 mode differs from what was asked: {}", found.join(", ")))
}

/// Whether everything has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bus) enum Left {
    All,
    NotYet,
    /// The driver's queue is empty, and of the hardware's it does not know.
    Perhaps,
}

/// What a turn of sending needs of a port, and of time: so that a test can be both.
pub(in crate::bus) trait Transmitter {
    fn now(&self) -> Mono;
    fn set_rts(&mut self, asserted: bool) -> io::Result<()>;
    /// Hands octets to the driver; as many as it takes now.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize>;
    /// Waits until the driver takes octets or the time has come.
    fn wait_writable(&mut self, until: Mono) -> io::Result<()>;
    /// Waits; an error when the port goes meanwhile.
    fn wait(&mut self, until: Mono) -> io::Result<()>;
    fn left(&self) -> Left;
}

/// One frame's way onto the wire, where a write is not simply a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bus) struct Turn {
    /// RTS is ours, with this level while sending.
    rts: Option<bool>,
    before: Duration,
    after: Duration,
}

impl Turn {
    /// None where a write is simply a write.
    pub(in crate::bus) fn new(config: &Rs485Config) -> Option<Turn> {
        let (before, after) = (config.delay_before, config.delay_after);
        match config.mode {
            Rs485Mode::Rts => Some(Turn { rts: Some(config.rts_on_send), before, after }),
            Rs485Mode::Kernel if before.is_zero() => None,
            Rs485Mode::Kernel => Some(Turn { rts: None, before, after: Duration::ZERO }),
        }
    }

    /// RTS as it is while nobody sends.
    pub(in crate::bus) fn rest<T: Transmitter>(&self, port: &mut T) -> io::Result<()> {
        self.rts.map_or(Ok(()), |level| port.set_rts(!level))
    }

    /// Sends all octets, which take the wire so long, and returns when the line is free again.
    pub(in crate::bus) fn send<T: Transmitter>(
        &self,
        port: &mut T,
        octets: &[u8],
        on_wire: Duration,
        one_octet: Duration,
    ) -> io::Result<()> {
        let sent = self.turn_on(port).and_then(|()| self.push_out(port, octets, on_wire, one_octet));
        // Whatever happened: a transmitter that stays on silences the whole line.
        let turned_off = self.rest(port);
        sent.and(turned_off)
    }

    fn turn_on<T: Transmitter>(&self, port: &mut T) -> io::Result<()> {
        let Some(level) = self.rts else { return Ok(()) };
        port.set_rts(level)?;
        let on = port.now();
        if self.before.is_zero() { Ok(()) } else { port.wait(on.plus(self.before)) }
    }

    fn push_out<T: Transmitter>(
        &self,
        port: &mut T,
        octets: &[u8],
        on_wire: Duration,
        one_octet: Duration,
    ) -> io::Result<()> {
        // A kernel that turns the transmitter on waits before the first bit, after it took the octets.
        let kernels_delay = if self.rts.is_none() { self.before } else { Duration::ZERO };
        let from = port.now();
        hand_over(port, octets, from.plus(on_wire).plus(WRITE_PATIENCE))?;
        // A driver that took the octets slowly has been sending them meanwhile.
        let ends = from.plus(kernels_delay).plus(on_wire).max(port.now());
        port.wait(ends)?;
        let give_up = ends.plus(PATIENCE);
        loop {
            match port.left() {
                Left::All => break,
                Left::NotYet if port.now() < give_up => port.wait(port.now().plus(STEP))?,
                Left::NotYet => break,
                Left::Perhaps => {
                    port.wait(port.now().plus(one_octet))?;
                    break;
                }
            }
        }
        if self.after.is_zero() { Ok(()) } else { port.wait(port.now().plus(self.after)) }
    }
}

fn hand_over<T: Transmitter>(port: &mut T, octets: &[u8], give_up: Mono) -> io::Result<()> {
    let mut rest = octets;
    while !rest.is_empty() {
        let taken = port.write(rest)?;
        rest = rest.get(taken..).unwrap_or_default();
        if taken == 0 {
            if port.now() >= give_up {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the port does not take octets"));
            }
            port.wait_writable(give_up)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCTET: Duration = Duration::from_millis(1);
    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// A UART that sends an octet each millisecond, and writes down when RTS moved.
    struct Uart {
        now: Mono,
        rts: Vec<(Duration, bool)>,
        first_bit: Option<Duration>,
        free: Mono,
        /// Octets that fit into its queue at once.
        room: usize,
        knows: bool,
        /// How long after our request the kernel's own delay lets the first bit leave.
        delay: Duration,
        gone: bool,
    }

    fn uart() -> Uart {
        Uart {
            now: Mono(0),
            rts: Vec::new(),
            first_bit: None,
            free: Mono(0),
            room: 64,
            knows: true,
            delay: Duration::ZERO,
            gone: false,
        }
    }

    impl Uart {
        fn at(&self) -> Duration {
            self.now.since(Mono(0))
        }

        fn send(&mut self, config: &Rs485Config, octets: usize) -> io::Result<()> {
            let turn = Turn::new(config).unwrap();
            let on_wire = OCTET * u32::try_from(octets).unwrap();
            turn.send(self, &vec![0x55; octets], on_wire, OCTET)
        }
    }

    impl Transmitter for Uart {
        fn now(&self) -> Mono {
            self.now
        }

        fn set_rts(&mut self, asserted: bool) -> io::Result<()> {
            self.rts.push((self.at(), asserted));
            Ok(())
        }

        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            if self.gone {
                return Err(Errno::IO.into());
            }
            let waiting = usize::try_from(self.free.since(self.now).as_millis()).unwrap();
            let taken = octets.len().min(self.room.saturating_sub(waiting));
            if taken > 0 && self.first_bit.is_none() {
                self.first_bit = Some(self.at() + self.delay);
            }
            let from = self.free.max(self.now.plus(self.delay));
            self.free = from.plus(OCTET * u32::try_from(taken).unwrap());
            Ok(taken)
        }

        fn wait_writable(&mut self, _until: Mono) -> io::Result<()> {
            self.now = self.now.plus(OCTET);
            Ok(())
        }

        fn wait(&mut self, until: Mono) -> io::Result<()> {
            self.now = self.now.max(until);
            Ok(())
        }

        fn left(&self) -> Left {
            match (self.knows, self.now >= self.free) {
                (true, true) => Left::All,
                (_, false) => Left::NotYet,
                (false, true) => Left::Perhaps,
            }
        }
    }

    #[test]
    fn rts_is_up_before_the_first_bit_and_down_after_the_last() {
        let mut uart = uart();
        let config =
            Rs485Config { delay_before: MS(2), delay_after: MS(1), ..Rs485Config::new(Rs485Mode::Rts) };
        uart.send(&config, 8).unwrap();
        assert_eq!(uart.first_bit, Some(MS(2)));
        assert_eq!(uart.rts, [(MS(0), true), (MS(11), false)]);
    }

    #[test]
    fn rts_is_down_before_a_meter_may_answer() {
        let mut uart = uart();
        uart.send(&Rs485Config::new(Rs485Mode::Rts), 8).unwrap();
        assert_eq!(uart.rts, [(MS(0), true), (MS(8), false)]);
        // A driver that does not know of its last bit is given one character more, of the 3.5 there are.
        let mut uart = Uart { knows: false, ..super::tests::uart() };
        uart.send(&Rs485Config::new(Rs485Mode::Rts), 8).unwrap();
        assert_eq!(uart.rts, [(MS(0), true), (MS(9), false)]);
    }

    #[test]
    fn the_other_polarity_is_the_other_level() {
        let mut uart = uart();
        let config = Rs485Config { rts_on_send: false, ..Rs485Config::new(Rs485Mode::Rts) };
        uart.send(&config, 1).unwrap();
        assert_eq!(uart.rts, [(MS(0), false), (MS(1), true)]);
        Turn::new(&config).unwrap().rest(&mut uart).unwrap();
        assert_eq!(uart.rts.last(), Some(&(MS(1), true)));
    }

    #[test]
    fn a_frame_longer_than_the_drivers_queue_is_sent_in_one_turn() {
        let mut uart = Uart { room: 4, ..uart() };
        uart.send(&Rs485Config::new(Rs485Mode::Rts), 20).unwrap();
        assert_eq!(uart.rts, [(MS(0), true), (MS(20), false)]);
    }

    #[test]
    fn a_port_that_goes_or_hangs_while_it_sends_is_not_left_transmitting() {
        let mut uart = Uart { gone: true, ..uart() };
        uart.send(&Rs485Config::new(Rs485Mode::Rts), 8).unwrap_err();
        assert_eq!(uart.rts, [(MS(0), true), (MS(0), false)]);
        let mut uart = Uart { room: 0, ..super::tests::uart() };
        let error = uart.send(&Rs485Config::new(Rs485Mode::Rts), 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(uart.rts.last().map(|(_, level)| *level), Some(false));
    }

    #[test]
    fn a_kernels_delay_is_waited_out_and_its_rts_left_alone() {
        let config = Rs485Config { delay_before: MS(3), ..Rs485Config::new(Rs485Mode::Kernel) };
        let mut uart = Uart { delay: MS(3), ..uart() };
        uart.send(&config, 8).unwrap();
        assert_eq!((uart.rts.is_empty(), uart.at()), (true, MS(11)));
        assert_eq!(Turn::new(&Rs485Config::new(Rs485Mode::Kernel)), None);
    }

    #[test]
    fn the_kernel_is_asked_in_its_own_flags() {
        let config = Rs485Config { delay_before: MS(1), ..Rs485Config::new(Rs485Mode::Kernel) };
        let asked = config.for_the_kernel();
        assert_eq!((asked.flags, asked.delay_rts_before_send, asked.delay_rts_after_send), (0b011, 1, 0));
        let config =
            Rs485Config { rts_on_send: false, rx_during_tx: true, ..Rs485Config::new(Rs485Mode::Kernel) };
        assert_eq!(config.for_the_kernel().flags, 0b1_0101);
    }

    #[test]
    fn what_the_driver_makes_otherwise_is_said() {
        let config = Rs485Config { delay_before: MS(100), ..Rs485Config::new(Rs485Mode::Kernel) };
        let asked = config.for_the_kernel();
        assert_eq!(differences(asked, asked), None);
        let got = SerialRs485 { flags: 0b1_0101, delay_rts_before_send: 0, ..asked };
        let said = differences(asked, got).unwrap();
        assert!(said.ends_with("asked: rts_on_send: false, rx_during_tx: true, delay_before: 0ms"), "{said}");
    }

    #[test]
    fn a_driver_without_rs485_is_said_to_have_none_and_what_to_do() {
        let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
        let said = by_kernel(&master, &Rs485Config::new(Rs485Mode::Kernel)).unwrap_err().to_string();
        assert!(said.starts_with("the driver has no RS-485 mode (TIOCSRS485: "), "{said}");
        assert!(said.contains("mode: rts"), "{said}");
    }
}
