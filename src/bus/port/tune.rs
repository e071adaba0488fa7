//! What a driver is asked to do better than it does by itself: hand octets on at once, and not hang on closing.

use super::ioctl::{CLOSING_WAIT_NONE, LOW_LATENCY, SerialStruct, get_serial, set_serial};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;

/// Whether the driver is asked to hand octets on as they come (`ASYNC_LOW_LATENCY`). FTDI's then ends its
/// wait of 16 ms, so that a short answer is not half a transaction late; most others have nothing to gain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LowLatency {
    /// Where the driver lets us; it costs nothing.
    #[default]
    Auto,
    /// Or the port is not opened.
    On,
    /// The driver is left as it is.
    Off,
}

/// Asks for low latency, and for a close that does not wait for what an adapter that hangs will never send.
pub(super) fn tune(port: impl AsFd, wish: LowLatency) -> io::Result<()> {
    tune_with(wish, || get_serial(&port), |settings| set_serial(&port, settings))
}

fn tune_with(
    wish: LowLatency,
    get: impl Fn() -> Result<SerialStruct, Errno>,
    set: impl Fn(SerialStruct) -> Result<(), Errno>,
) -> io::Result<()> {
    // Only with CAP_SYS_ADMIN, and so not under the hardened unit: there a close may take the driver's 30 s.
    if let Ok(before) = get()
        && before.closing_wait != CLOSING_WAIT_NONE
    {
        let _ = set(SerialStruct { closing_wait: CLOSING_WAIT_NONE, ..before });
    }
    let asked = match wish {
        LowLatency::Off => return Ok(()),
        LowLatency::Auto | LowLatency::On => quicken(get, set),
    };
    match asked {
        Err(error) if wish == LowLatency::On => {
            let advice = "leave `low_latency` out, or write `auto`";
            let text = format!("the driver does not offer low latency (TIOCSSERIAL: {error}): {advice}");
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn quicken(
    get: impl Fn() -> Result<SerialStruct, Errno>,
    set: impl Fn(SerialStruct) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let before = get()?;
    if before.flags & LOW_LATENCY != 0 {
        return Ok(());
    }
    set(SerialStruct { flags: before.flags | LOW_LATENCY, ..before })?;
    // Most USB drivers say yes to whatever they do not know.
    if get()?.flags & LOW_LATENCY == 0 { Err(Errno::OPNOTSUPP) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A driver with settings, which refuses what only root may do.
    struct Driver {
        settings: RefCell<SerialStruct>,
        privileged: bool,
    }

    impl Driver {
        fn new(privileged: bool) -> Driver {
            let settings = SerialStruct { flags: 0x40, closing_wait: 3000, ..SerialStruct::default() };
            Driver { settings: RefCell::new(settings), privileged }
        }

        fn tune(&self, wish: LowLatency) -> io::Result<()> {
            let set = |settings: SerialStruct| {
                let for_root = settings.closing_wait != self.settings.borrow().closing_wait;
                if for_root && !self.privileged {
                    return Err(Errno::PERM);
                }
                self.settings.replace(settings);
                Ok(())
            };
            tune_with(wish, || Ok(*self.settings.borrow()), set)
        }
    }

    #[test]
    fn low_latency_is_asked_for_and_all_else_left_as_it_was() {
        let driver = Driver::new(true);
        driver.tune(LowLatency::Auto).unwrap();
        let after = *driver.settings.borrow();
        assert_eq!((after.flags, after.closing_wait), (0x40 | LOW_LATENCY, CLOSING_WAIT_NONE));
        let driver = Driver::new(true);
        driver.tune(LowLatency::Off).unwrap();
        assert_eq!(driver.settings.borrow().flags, 0x40);
    }

    #[test]
    fn what_only_root_may_do_does_not_spoil_what_everybody_may() {
        let driver = Driver::new(false);
        driver.tune(LowLatency::On).unwrap();
        let after = *driver.settings.borrow();
        assert_eq!((after.flags, after.closing_wait), (0x40 | LOW_LATENCY, 3000));
    }

    #[test]
    fn a_driver_without_it_is_an_error_only_where_it_was_demanded() {
        let none = |wish| tune_with(wish, || Err(Errno::NOTTY), |_| Err(Errno::NOTTY));
        none(LowLatency::Auto).unwrap();
        none(LowLatency::Off).unwrap();
        let deaf = |wish| tune_with(wish, || Ok(SerialStruct::default()), |_| Ok(()));
        deaf(LowLatency::Auto).unwrap();
        assert!(deaf(LowLatency::On).is_err());
        let error = none(LowLatency::On).unwrap_err().to_string();
        assert!(error.contains("does not offer low latency (TIOCSSERIAL: "), "{error}");
    }
}
