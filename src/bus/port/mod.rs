//! A serial port by its name: found again under whatever name it has, opened, locked and set up.
//!
//! # Promises
//! - **The adapter that the name meant at first, or none.** See [`adapter`]: an adapter that is plugged in again
//!   is found under another `ttyUSBn`; another one is never taken for it.
//! - **Ours alone, or an error that names who has it.** The lock is `flock` and `TIOCEXCL`. The latter does not
//!   stop root, and a program that does not ask for the former is not stopped by it: what has the port open
//!   without a lock is no error, for it may only look on, but a warning in the log.
//! - **No call that waits for a line.** The port is opened without waiting for a carrier, never flushed (that is
//!   a `tcdrain`, which waits for what an adapter that hangs will never send), and what is not sent is thrown
//!   away before it is closed. What no program can help: a USB control message to an adapter that hangs returns
//!   after the kernel's 5 s, and so does a close after up to 30 s (`closing_wait`), where the driver keeps a
//!   queue that can't be emptied and the user may not tell it otherwise.
//! - **What the driver makes of it is its own affair.** Settings that read back otherwise are a remark, not an
//!   error: pseudo-terminals have neither parity nor 7 data bits.

mod adapter;
mod holder;
mod ioctl;
mod open;
pub(super) mod rs485;
mod sysfs;
pub(super) mod tune;

use self::adapter::{Adapter, Choice, Naming};
pub(super) use self::ioctl::transmitter_is_empty;
use super::SerialConfig;
use super::serial::SerialLink;
use rustix::fs::Stat;
use std::io;
use std::path::{Path, PathBuf};

/// A port as configured, and what is known of it from the openings before.
#[derive(Debug)]
pub struct Port {
    config: SerialConfig,
    /// `/`; for tests a folder with a `dev` and a `sys` of their own.
    root: PathBuf,
    known: Option<(Naming, Adapter)>,
    /// What was there when it was last tried to open.
    tried: Option<Sight>,
}

/// What decides how an opening goes: the device file behind the name, and what to make of it.
#[derive(Debug, PartialEq, Eq)]
struct Sight {
    file: Option<DeviceFile>,
    choice: Choice,
}

/// A device file; another one, or one with other permissions, differs in some of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DeviceFile {
    file: (u64, u64),
    device: u64,
    changed: (i128, i128),
}

/// Where an open port stands in the kernel's books.
#[derive(Debug, Clone)]
pub(super) struct Place {
    root: PathBuf,
    /// The kernel's name, `ttyUSB0`; none of a pseudo-terminal.
    name: Option<String>,
}

impl Place {
    pub(super) fn latency_timer(&self) -> Option<u32> {
        sysfs::latency_timer(&self.root, self.name.as_deref()?)
    }

    pub(super) fn driver(&self) -> Option<String> {
        sysfs::driver(&self.root, self.name.as_deref()?)
    }
}

impl Port {
    pub fn new(config: &SerialConfig) -> Port {
        Port::below(Path::new("/"), config)
    }

    /// With another folder in the place of `/`, under which `dev` and `sys` are.
    pub fn below(root: &Path, config: &SerialConfig) -> Port {
        Port { config: config.clone(), root: root.to_owned(), known: None, tried: None }
    }

    /// Opens the port, or says why not in words for whoever can change it.
    pub fn open(&mut self) -> io::Result<SerialLink> {
        let stat = rustix::fs::stat(&self.config.port).ok();
        let (choice, here) = self.choose(stat.as_ref());
        self.tried = Some(Sight { file: stat.as_ref().map(device_file), choice: choice.clone() });
        match choice {
            Choice::AsNamed => {
                let link = open::open(&self.config.port, &self.config, &self.place(here))?;
                self.remember(&link);
                Ok(link)
            }
            Choice::Instead(name) => {
                let path = self.root.join("dev").join(&name);
                tracing::info!(port = %self.config.port.display(), "the same adapter is {name} now");
                open::open(&path, &self.config, &self.place(Some(name)))
            }
            Choice::Refuse(why) => Err(io::Error::other(why)),
        }
    }

    /// Whether trying to open could go otherwise than it last did: the name leads to another device file, or
    /// to one again, or the adapter is there under another name. Cheap: to be asked ten times a second.
    pub fn has_news(&self) -> bool {
        let stat = rustix::fs::stat(&self.config.port).ok();
        let (choice, _) = self.choose(stat.as_ref());
        self.tried != Some(Sight { file: stat.as_ref().map(device_file), choice })
    }

    fn choose(&self, stat: Option<&Stat>) -> (Choice, Option<String>) {
        let here = stat.and_then(|stat| sysfs::name_of(&self.root, stat.st_rdev));
        let naming = self.known.as_ref().map_or_else(|| self.naming(here.as_deref()), |(naming, _)| *naming);
        let all_the_same = naming == Naming::Other || (naming == Naming::Kernel && self.known.is_none());
        if all_the_same {
            return (Choice::AsNamed, here);
        }
        let known = self.known.as_ref().map(|(_, adapter)| adapter);
        let choice = adapter::choose(naming, known, here.as_deref(), &sysfs::adapters(&self.root));
        (choice, here)
    }

    fn naming(&self, here: Option<&str>) -> Naming {
        let port = &self.config.port;
        if port.parent().is_some_and(|folder| folder.ends_with("by-id")) {
            Naming::ById
        } else if here.is_some() && port.file_name().and_then(|name| name.to_str()) == here {
            Naming::Kernel
        } else {
            Naming::Other
        }
    }

    /// The adapter is remembered from when it was first opened by its own name.
    fn remember(&mut self, link: &SerialLink) {
        let Some(name) = link.place().name.as_deref() else { return };
        let view = sysfs::adapters(&self.root);
        let Some((_, adapter)) = view.into_iter().find(|(other, _)| other == name) else { return };
        self.known = Some((self.naming(Some(name)), adapter));
    }

    fn place(&self, name: Option<String>) -> Place {
        Place { root: self.root.clone(), name }
    }
}

fn device_file(stat: &Stat) -> DeviceFile {
    DeviceFile {
        file: (stat.st_dev, stat.st_ino),
        device: stat.st_rdev,
        // As wide as any platform has them.
        changed: (i128::from(stat.st_ctime), i128::from(stat.st_ctime_nsec)),
    }
}

/// What to do about a port that can't be opened.
#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; only these have advice of their own")]
pub(super) fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{error}: is the adapter plugged in? `ls -l /dev/serial/by-id` shows those that are")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}: the user must be in the port's group, mostly `dialout`")
        }
        _ => error.to_string(),
    }
}
