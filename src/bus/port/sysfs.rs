//! What the kernel says about serial ports in `/sys`. Every function takes the root folder, `/` but for tests.

use super::adapter::{Adapter, View, tells_apart, without_shared_numbers};
use rustix::fs::{Dev, major, minor};
use std::fs;
use std::path::{Path, PathBuf};

/// The kernel's name of a serial port, such as `ttyUSB0`, by its device number. Pseudo-terminals have none.
pub(super) fn name_of(root: &Path, device: Dev) -> Option<String> {
    let link = root.join(format!("sys/dev/char/{}:{}", major(device), minor(device)));
    Some(fs::canonicalize(link).ok()?.file_name()?.to_str()?.to_owned())
}

/// Every USB serial adapter that is there.
pub(super) fn adapters(root: &Path) -> View {
    let Ok(entries) = fs::read_dir(root.join("sys/class/tty")) else { return View::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut view: View = names.filter_map(|name| Some((name.clone(), adapter(root, &name)?))).collect();
    view.sort_by(|(one, _), (two, _)| one.cmp(two));
    without_shared_numbers(view)
}

/// What the device behind a port is; none for a UART of the board and for what is no hardware.
fn adapter(root: &Path, name: &str) -> Option<Adapter> {
    let port = fs::canonicalize(device(root, name)).ok()?;
    let interface = port.ancestors().find(|folder| folder.join("bInterfaceNumber").is_file())?;
    let usb = interface.parent()?;
    let model = format!("{}:{}", attribute(usb, "idVendor")?, attribute(usb, "idProduct")?);
    let all = fs::canonicalize(root.join("sys/devices")).ok()?;
    Some(Adapter {
        model,
        serial: attribute(usb, "serial").filter(|serial| tells_apart(serial)),
        device: usb.strip_prefix(all).unwrap_or(usb).display().to_string(),
        interface: attribute(interface, "bInterfaceNumber")?,
        port: attribute(&port, "port_number").unwrap_or_default(),
    })
}

/// How many milliseconds an FTDI adapter holds octets back before it hands on less than a full packet: 16
/// unless somebody has told it otherwise. Other adapters have no such attribute.
pub(super) fn latency_timer(root: &Path, name: &str) -> Option<u32> {
    attribute(&device(root, name), "latency_timer")?.parse().ok()
}

/// The driver's name, such as `ftdi_sio`.
pub(super) fn driver(root: &Path, name: &str) -> Option<String> {
    let driver = fs::canonicalize(device(root, name).join("driver")).ok()?;
    Some(driver.file_name()?.to_str()?.to_owned())
}

fn device(root: &Path, name: &str) -> PathBuf {
    root.join("sys/class/tty").join(name).join("device")
}

fn attribute(folder: &Path, name: &str) -> Option<String> {
    Some(fs::read_to_string(folder.join(name)).ok()?.trim().to_owned())
}

/// A folder with ports as `/sys` shows them, for the tests of this room.
#[cfg(test)]
pub(super) mod fake {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// An FT232R-like adapter in a socket, as `ttyUSB…`.
    pub fn plug(root: &Path, name: &str, socket: &str, serial: Option<&str>) {
        let usb = root.join("sys/devices/pci0/usb1").join(socket);
        let port = usb.join(format!("{socket}:1.0")).join(name);
        let tty = port.join("tty").join(name);
        fs::create_dir_all(&tty).unwrap();
        fs::write(usb.join("idVendor"), "0403\n").unwrap();
        fs::write(usb.join("idProduct"), "6001\n").unwrap();
        if let Some(serial) = serial {
            fs::write(usb.join("serial"), format!("{serial}\n")).unwrap();
        }
        fs::write(usb.join(format!("{socket}:1.0/bInterfaceNumber")), "00\n").unwrap();
        fs::write(port.join("port_number"), "0\n").unwrap();
        fs::write(port.join("latency_timer"), "16\n").unwrap();
        let driver = root.join("sys/bus/usb-serial/drivers/ftdi_sio");
        fs::create_dir_all(&driver).unwrap();
        symlink(driver, port.join("driver")).unwrap();
        symlink("../..", tty.join("device")).unwrap();
        fs::create_dir_all(root.join("sys/class/tty")).unwrap();
        symlink(tty, root.join("sys/class/tty").join(name)).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_read_with_number_and_socket() {
        let root = tempfile::tempdir().unwrap();
        fake::plug(root.path(), "ttyUSB0", "1-1", Some("A5XK3RJT"));
        fake::plug(root.path(), "ttyUSB1", "1-2", Some("0001"));
        let view = adapters(root.path());
        let names: Vec<&str> = view.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ttyUSB0", "ttyUSB1"]);
        let first = &view[0].1;
        assert_eq!(first.to_string(), "0403:6001 number A5XK3RJT in socket 1-1");
        assert_eq!((first.device.as_str(), first.interface.as_str()), ("pci0/usb1/1-1", "00"));
        assert_eq!((first.port.as_str(), view[1].1.serial.as_deref()), ("0", None));
    }

    #[test]
    fn what_is_no_usb_adapter_has_no_identity() {
        let root = tempfile::tempdir().unwrap();
        let uart = root.path().join("sys/devices/platform/serial8250");
        fs::create_dir_all(uart.join("tty/ttyS0")).unwrap();
        fs::create_dir_all(root.path().join("sys/class/tty/tty0")).unwrap();
        std::os::unix::fs::symlink(uart.join("tty/ttyS0"), root.path().join("sys/class/tty/ttyS0")).unwrap();
        std::os::unix::fs::symlink("../..", uart.join("tty/ttyS0/device")).unwrap();
        assert!(adapters(root.path()).is_empty());
        assert!(adapters(&root.path().join("nowhere")).is_empty());
    }

    #[test]
    fn an_ftdi_adapter_says_how_long_it_holds_octets_back() {
        let root = tempfile::tempdir().unwrap();
        fake::plug(root.path(), "ttyUSB0", "1-1", None);
        assert_eq!(latency_timer(root.path(), "ttyUSB0"), Some(16));
        assert_eq!(driver(root.path(), "ttyUSB0").as_deref(), Some("ftdi_sio"));
        assert_eq!(latency_timer(root.path(), "ttyS0"), None);
        assert_eq!(driver(root.path(), "ttyS0"), None);
    }
}
