//! Opening: without waiting, locked against others, set up, and what is remarkable about it.

use super::rs485::{self, Rs485Mode, Turn};
use super::tune::tune;
use super::{Place, holder};
use crate::bus::SerialConfig;
use crate::bus::serial::SerialLink;
use crate::modbus::Framing;
use crate::profile::Parity;
use rustix::fs::{FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::termios::{ControlModes, InputModes, OptionalActions, tcgetattr, tcsetattr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use tokio_serial::{DataBits, FlowControl, SerialPort, StopBits};

const PROC: &str = "/proc";

/// UARTs read each other up to some 2 % apart.
const BAUD_PERCENT: u64 = 2;

pub(super) fn open(path: &Path, config: &SerialConfig, place: &Place) -> io::Result<SerialLink> {
    // Before the port is locked against others, ourselves among them.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| refused(errno, path))?;
    if !rustix::termios::isatty(&fd) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no serial port"));
    }
    let device = rustix::fs::fstat(&fd)?;
    let port = lock_and_set(&fd, path, config, &device)?;
    if config.framing == Framing::Rtu {
        take_octets_as_they_come(&fd)?;
    }
    let mut remarks: Vec<String> = holder::also_open(Path::new(PROC), &device).into_iter().collect();
    remarks.extend(baud_differs(&fd, config.baud));
    tune(&fd, config.low_latency)?;
    let turn = match &config.rs485 {
        None => None,
        Some(rs485) => {
            match rs485.mode {
                Rs485Mode::Kernel => remarks.extend(rs485::by_kernel(&fd, rs485)?),
                Rs485Mode::Rts if !rs485.rts_on_send => keep_rts_on_close(&fd)?,
                Rs485Mode::Rts => {}
            }
            Turn::new(rs485)
        }
    };
    SerialLink::new(fd, port, config, turn, remarks, place.clone())
}

/// `EBUSY` is the exclusive use (`TIOCEXCL`) of somebody else's.
fn refused(errno: Errno, path: &Path) -> io::Error {
    match (errno, rustix::fs::stat(path)) {
        (Errno::BUSY, Ok(device)) => busy(path, &device),
        _ => errno.into(),
    }
}

fn busy(path: &Path, device: &Stat) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, holder::in_use(Path::new(PROC), path, device))
}

fn lock_and_set(
    fd: &OwnedFd,
    path: &Path,
    config: &SerialConfig,
    device: &Stat,
) -> io::Result<Box<dyn SerialPort>> {
    let parity = match config.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let stop_bits = if config.stop_bits == 2 { StopBits::Two } else { StopBits::One };
    tokio_serial::new(same_file(fd, path).to_string_lossy(), config.baud)
        .data_bits(if config.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
        .parity(parity)
        .stop_bits(stop_bits)
        .flow_control(FlowControl::None)
        .open()
        .map_err(|error| match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
            // What serialport says of a lock that is taken is that there is no such device.
            Err(Errno::AGAIN) => busy(path, device),
            _ => error.into(),
        })
}

/// The file that is open already, whatever its name leads to by now.
fn same_file(fd: &OwnedFd, path: &Path) -> PathBuf {
    let own = Path::new(PROC).join("self/fd").join(fd.as_raw_fd().to_string());
    if own.exists() { own } else { path.to_owned() }
}

/// Drivers write back the speed that their divider makes of the wanted one.
fn baud_differs(fd: &OwnedFd, wanted: u32) -> Option<String> {
    let got = u64::from(tcgetattr(fd).ok()?.output_speed());
    let wanted = u64::from(wanted);
    let far = got.abs_diff(wanted) * 100 > wanted * BAUD_PERCENT;
    (far && got != 0)
        .then(|| format!("the driver runs at {got} baud instead of {wanted}: too far for a meter"))
}

/// What the receiver doubts is passed on all the same: the frame's checksum is the better judge, and judges by what
/// has come. An octet of wrong parity would else be a NUL, with some adapters each octet of the same packet,
/// and one with a wrong stop bit would be missing. Two NULs, with one between them, the checksum takes for right once
/// in some hundred cases instead of once in 65 536. ASCII frames are judged by a mere sum, and a NUL is no digit of theirs:
/// there it stays.
fn take_octets_as_they_come(fd: &OwnedFd) -> io::Result<()> {
    let mut settings = tcgetattr(fd)?;
    settings.input_modes.remove(InputModes::INPCK | InputModes::IGNPAR | InputModes::PARMRK);
    Ok(tcsetattr(fd, OptionalActions::Now, &settings)?)
}

/// Closing lets RTS go, which is what turns such a transmitter on.
fn keep_rts_on_close(fd: &OwnedFd) -> io::Result<()> {
    let mut settings = tcgetattr(fd)?;
    settings.control_modes.remove(ControlModes::HUPCL);
    Ok(tcsetattr(fd, OptionalActions::Now, &settings)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_that_is_too_far_off_is_remarked() {
        let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
        let mut settings = tcgetattr(&master).unwrap();
        settings.set_speed(9600).unwrap();
        tcsetattr(&master, OptionalActions::Now, &settings).unwrap();
        assert_eq!(baud_differs(&master, 9600), None);
        assert_eq!(baud_differs(&master, 9500), None);
        assert!(baud_differs(&master, 12_345).unwrap().contains("9600 baud instead of 12345"));
    }
}
