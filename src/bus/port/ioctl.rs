//! The requests to a serial driver that no crate makes. This is the only file of the program with `unsafe`
//! in it, and a test (`tests/it/architecture.rs`) holds it to be.
//!
//! The structures are those of Linux's `include/uapi/linux/serial.h`, which never change: they are what
//! programs and kernels of different ages agree upon.

#![expect(unsafe_code, reason = "an ioctl hands the kernel a pointer, and nobody checks what it points to")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unnecessary_cast,
    reason = "the C libraries differ about the type of a request's number; the number fits"
)]

use rustix::io::Result;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl};
use std::os::fd::AsFd;

const GET_SERIAL: Opcode = libc::TIOCGSERIAL as Opcode;
const SET_SERIAL: Opcode = libc::TIOCSSERIAL as Opcode;
const SET_RS485: Opcode = libc::TIOCSRS485 as Opcode;
const GET_LINE_STATUS: Opcode = libc::TIOCSERGETLSR as Opcode;

/// `TIOCSER_TEMT`: the transmitter's shift register is empty too.
const TRANSMITTER_EMPTY: u32 = 1;

/// `ASYNC_LOW_LATENCY`: octets are handed on as they come.
pub(super) const LOW_LATENCY: i32 = 1 << 13;
/// `ASYNC_CLOSING_WAIT_NONE`: closing does not wait until everything has been sent.
pub(super) const CLOSING_WAIT_NONE: u16 = 65535;

pub(super) const RS485_ENABLED: u32 = 1 << 0;
pub(super) const RS485_RTS_ON_SEND: u32 = 1 << 1;
pub(super) const RS485_RTS_AFTER_SEND: u32 = 1 << 2;
pub(super) const RS485_RX_DURING_TX: u32 = 1 << 4;

/// `struct serial_rs485`; delays in milliseconds.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SerialRs485 {
    pub flags: u32,
    pub delay_rts_before_send: u32,
    pub delay_rts_after_send: u32,
    pub padding: [u32; 5],
}

/// `struct serial_struct`. Only two fields concern us; the others go back as they came.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SerialStruct {
    pub kind: i32,
    pub line: i32,
    pub port: u32,
    pub irq: i32,
    pub flags: i32,
    pub xmit_fifo_size: i32,
    pub custom_divisor: i32,
    pub baud_base: i32,
    pub close_delay: u16,
    pub io_type: u8,
    pub reserved_char: u8,
    pub hub6: i32,
    /// In hundredths of a second; 0 for ever, 65535 not at all.
    pub closing_wait: u16,
    pub closing_wait2: u16,
    /// A pointer of the kernel's that it gives nobody: as wide as one.
    pub iomem_base: usize,
    pub iomem_reg_shift: u16,
    pub port_high: u32,
    pub iomap_base: libc::c_ulong,
}

/// `TIOCGSERIAL`. `ENOTTY` where the driver has no such settings (pseudo-terminals).
pub(super) fn get_serial(port: impl AsFd) -> Result<SerialStruct> {
    let mut settings = SerialStruct::default();
    // SAFETY: TIOCGSERIAL writes one `struct serial_struct`, whose layout `SerialStruct` has (tested below),
    // into memory that is ours, initialised, and outlives the call. Any octets are a valid `SerialStruct`.
    unsafe { ioctl(port, Updater::<GET_SERIAL, SerialStruct>::new(&mut settings)) }?;
    Ok(settings)
}

/// `TIOCSSERIAL`. `EPERM` where the change is not for users without `CAP_SYS_ADMIN`.
pub(super) fn set_serial(port: impl AsFd, settings: SerialStruct) -> Result<()> {
    // SAFETY: TIOCSSERIAL reads one `struct serial_struct`, whose layout `SerialStruct` has, from memory that
    // outlives the call, and writes nothing. The pointer in it is not followed: drivers compare it at most.
    unsafe { ioctl(port, Setter::<SET_SERIAL, SerialStruct>::new(settings)) }
}

/// `TIOCSRS485`. Returns what the driver made of it; `ENOTTY` or `EINVAL` where it has no RS-485 mode.
pub(super) fn set_rs485(port: impl AsFd, mut settings: SerialRs485) -> Result<SerialRs485> {
    // SAFETY: TIOCSRS485 reads one `struct serial_rs485` and writes it back, with the layout of `SerialRs485`
    // (tested below), in memory that is ours and outlives the call. It holds no pointer.
    unsafe { ioctl(port, Updater::<SET_RS485, SerialRs485>::new(&mut settings)) }?;
    Ok(settings)
}

/// `TIOCSERGETLSR`: whether the last bit has left. `ENOTTY` where the driver does not know.
pub(in crate::bus) fn transmitter_is_empty(port: impl AsFd) -> Result<bool> {
    let mut status: libc::c_uint = 0;
    // SAFETY: TIOCSERGETLSR writes one `unsigned int`, into one that is ours, initialised, and outlives the
    // call.
    unsafe { ioctl(port, Updater::<GET_LINE_STATUS, libc::c_uint>::new(&mut status)) }?;
    Ok(status & TRANSMITTER_EMPTY != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    fn the_structures_are_laid_out_as_the_kernel_has_them() {
        assert_eq!(size_of::<SerialRs485>(), 32);
        assert_eq!(offset_of!(SerialRs485, delay_rts_after_send), 8);
        let wide = size_of::<usize>() == 8;
        assert_eq!(size_of::<SerialStruct>(), if wide { 72 } else { 60 });
        for (field, offset, in_32_bits) in [
            (offset_of!(SerialStruct, flags), 16, 16),
            (offset_of!(SerialStruct, close_delay), 32, 32),
            (offset_of!(SerialStruct, hub6), 36, 36),
            (offset_of!(SerialStruct, closing_wait), 40, 40),
            (offset_of!(SerialStruct, iomem_base), 48, 44),
            (offset_of!(SerialStruct, iomem_reg_shift), 56, 48),
            (offset_of!(SerialStruct, port_high), 60, 52),
            (offset_of!(SerialStruct, iomap_base), 64, 56),
        ] {
            assert_eq!(field, if wide { offset } else { in_32_bits });
        }
    }

    #[test]
    fn a_pseudo_terminal_has_none_of_these_and_says_so() {
        let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
        let notty = rustix::io::Errno::NOTTY;
        assert_eq!(get_serial(&master), Err(notty));
        assert_eq!(set_serial(&master, SerialStruct::default()), Err(notty));
        assert_eq!(set_rs485(&master, SerialRs485::default()), Err(notty));
        assert_eq!(transmitter_is_empty(&master), Err(notty));
    }
}
