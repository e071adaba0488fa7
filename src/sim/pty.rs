//! A pseudo-terminal pair in raw mode, with a name of our choosing.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The meters' end, and the symlink at which the gateway finds the other one.
#[derive(Debug)]
pub(super) struct Pty {
    pub master: OwnedFd,
    /// Held open, so that the meters' end does not hang up between two openings of the other.
    _slave: OwnedFd,
    link: Option<PathBuf>,
    /// The terminal's own name.
    pub name: PathBuf,
}

impl Pty {
    pub(super) fn open(link: Option<&Path>) -> io::Result<Pty> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = PathBuf::from(OsStr::from_bytes(ptsname(&master, Vec::new())?.as_bytes()));
        let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut settings = tcgetattr(&slave)?;
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        if let Some(link) = link {
            place_link(&name, link)?;
        }
        Ok(Pty { master, _slave: slave, link: link.map(Path::to_owned), name })
    }
}

/// Puts the link there in one step; never in the place of something that is no link.
fn place_link(name: &Path, link: &Path) -> io::Result<()> {
    if link.symlink_metadata().is_ok_and(|there| !there.is_symlink()) {
        let text = format!("{} is there already and is no link", link.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let beside = link.with_extension(format!("new-{}", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    std::os::unix::fs::symlink(name, &beside)?;
    std::fs::rename(&beside, link)
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Only our own: another wire may have put its link there since.
        if let Some(link) = &self.link
            && std::fs::read_link(link).is_ok_and(|target| target == self.name)
        {
            let _ = std::fs::remove_file(link);
        }
    }
}
