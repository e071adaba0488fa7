//! Serial ports that are pseudo-terminals, and a machine into whose sockets adapters are plugged.

use linesman::bus::SerialConfig;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, major, minor, stat};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A pseudo-terminal in raw mode: the meters' end and the name of the other. Closing it is pulling the plug.
pub struct Pty {
    pub master: OwnedFd,
    pub name: PathBuf,
}

impl Pty {
    pub fn open() -> Pty {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
        let pty = Pty { master, name };
        let slave = pty.other_end();
        let mut settings = tcgetattr(&slave).unwrap();
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings).unwrap();
        pty
    }

    pub fn other_end(&self) -> OwnedFd {
        rustix::fs::open(&self.name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    pub fn say(&self, octets: &[u8]) {
        assert_eq!(rustix::io::write(&self.master, octets).unwrap(), octets.len());
    }
}

pub fn config(port: &Path) -> SerialConfig {
    SerialConfig::new(port, 9600)
}

/// `/dev` and `/sys` of a machine, in a folder.
pub struct Machine {
    root: TempDir,
}

/// An adapter in a socket. Dropped, it is pulled out, and its names are gone.
pub struct Plugged {
    pub pty: Pty,
    nodes: Vec<PathBuf>,
    folder: PathBuf,
}

impl Machine {
    pub fn new() -> Machine {
        let machine = Machine { root: tempfile::tempdir().unwrap() };
        for folder in
            ["dev/serial/by-id", "dev/serial/by-path", "sys/class/tty", "sys/dev/char", "sys/devices"]
        {
            fs::create_dir_all(machine.root().join(folder)).unwrap();
        }
        machine
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// An adapter of one model, which the kernel gives this name.
    pub fn plug(&self, name: &str, socket: &str, serial: Option<&str>) -> Plugged {
        let pty = Pty::open();
        let device = stat(&pty.name).unwrap().st_rdev;
        let folder = self.root().join("sys/devices/pci0/usb1").join(socket);
        let interface = folder.join(format!("{socket}:1.0"));
        let tty = interface.join(name).join("tty").join(name);
        fs::create_dir_all(&tty).unwrap();
        fs::write(folder.join("idVendor"), "1a86\n").unwrap();
        fs::write(folder.join("idProduct"), "7523\n").unwrap();
        if let Some(serial) = serial {
            fs::write(folder.join("serial"), format!("{serial}\n")).unwrap();
        }
        fs::write(interface.join("bInterfaceNumber"), "00\n").unwrap();
        fs::write(interface.join(name).join("port_number"), "0\n").unwrap();
        fs::write(interface.join(name).join("latency_timer"), "16\n").unwrap();
        symlink("../..", tty.join("device")).unwrap();
        let nodes = vec![
            self.root().join("sys/class/tty").join(name),
            self.root().join(format!("sys/dev/char/{}:{}", major(device), minor(device))),
            self.root().join("dev").join(name),
            self.by_path(socket),
        ];
        for (node, target) in nodes.iter().zip([&tty, &tty, &pty.name, &pty.name]) {
            symlink(target, node).unwrap();
        }
        Plugged { pty, nodes, folder }
    }

    pub fn dev(&self, name: &str) -> PathBuf {
        self.root().join("dev").join(name)
    }

    pub fn by_path(&self, socket: &str) -> PathBuf {
        self.root().join("dev/serial/by-path").join(format!("pci0-usb-{socket}"))
    }

    /// The name that udev gives a model without a serial number: that of whichever came last.
    pub fn by_id(&self) -> PathBuf {
        self.root().join("dev/serial/by-id/usb-1a86_USB_Serial-if00-port0")
    }

    pub fn point_by_id_at(&self, plugged: &Plugged) {
        let _ = fs::remove_file(self.by_id());
        symlink(&plugged.pty.name, self.by_id()).unwrap();
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        for node in &self.nodes {
            let _ = fs::remove_file(node);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
