//! Who else has a port: the answer to "device or resource busy".
//!
//! `/proc/locks` names the process that holds a lock, whoever may see that process; `/proc/PID/fd` shows what
//! a process has open, to its own user and to root. Under the hardened unit (`ProtectProc=invisible`, a user of
//! its own) the lock's process number is all there is to see.

use rustix::fs::{Dev, Stat, major, minor};
use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The character devices of pseudo-terminals, which exist once in each mounted `devpts`.
const UNIX98_PTY_SLAVES: std::ops::RangeInclusive<u32> = 136..=143;
/// What a process calls itself is not longer; another kernel's might be.
const LONGEST_NAME: usize = 64;

/// A process that has the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub pid: u32,
    /// What the kernel calls it, where this user may see that.
    pub name: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (process {})", self.pid),
            None => write!(f, "process {} (`ps -p {}` as root names it)", self.pid, self.pid),
        }
    }
}

/// The sentence for a port that can't be had.
pub(super) fn in_use(proc: &Path, port: &Path, device: &Stat) -> String {
    let mut by = with_lock(proc, device);
    if by.is_empty() {
        by = with_descriptor(proc, device);
    }
    let ourselves = std::process::id();
    if by.iter().any(|holder| holder.pid == ourselves) {
        return "in use by this program itself: is the port there twice, under two names?".to_owned();
    }
    if by.is_empty() {
        let port = port.display();
        return format!(
            "in use by another program, which this user may not see: `fuser -v {port}` as root names it"
        );
    }
    format!("in use by {}{}", list(&by), hint(&by))
}

/// The sentence for a port that others have open too, without a lock that would have stopped us.
pub(super) fn also_open(proc: &Path, device: &Stat) -> Option<String> {
    let ourselves = std::process::id();
    let mut by = with_descriptor(proc, device);
    by.retain(|holder| holder.pid != ourselves && !is_at_the_other_end(proc, holder.pid, device));
    let others = (!by.is_empty()).then(|| list(&by))?;
    Some(format!(
        "also open in {others}, which does not lock it: two that talk on one line garble each other{}",
        hint(&by)
    ))
}

fn list(holders: &[Holder]) -> String {
    holders.iter().map(Holder::to_string).collect::<Vec<_>>().join(", ")
}

/// What to do about the usual ones.
fn hint(holders: &[Holder]) -> &'static str {
    let is = |wanted: &[&str]| {
        holders.iter().any(|holder| holder.name.as_deref().is_some_and(|name| wanted.contains(&name)))
    };
    if is(&["ModemManager"]) {
        ". It takes every new port for a modem: install linesman's udev rules, or remove it"
    } else if is(&["agetty", "getty", "login"]) {
        ". It offers a login there: `systemctl mask --now serial-getty@NAME`"
    } else if is(&["brltty"]) {
        ". It takes the adapter for a Braille display: remove it"
    } else {
        ""
    }
}

/// The processes whose `flock` on this very file `/proc/locks` shows.
fn with_lock(proc: &Path, device: &Stat) -> Vec<Holder> {
    let Ok(locks) = fs::read_to_string(proc.join("locks")) else { return Vec::new() };
    let file = format!("{:02x}:{:02x}:{}", major(device.st_dev), minor(device.st_dev), device.st_ino);
    let pids = locks.lines().filter_map(|line| {
        // 4: FLOCK  ADVISORY  WRITE 10125 00:06:1234 0 EOF; one that waits has an arrow before FLOCK.
        let mut words = line.split_whitespace().skip(1);
        let flock = words.next()? == "FLOCK";
        let pid = words.nth(2)?.parse().ok()?;
        (flock && words.next()? == file).then_some(pid)
    });
    pids.map(|pid| holder(proc, pid)).collect()
}

/// The processes that are seen to have this device open.
fn with_descriptor(proc: &Path, device: &Stat) -> Vec<Holder> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut having: Vec<u32> = pids.filter(|pid| has_open(&proc.join(pid.to_string()), device)).collect();
    having.sort_unstable();
    having.into_iter().map(|pid| holder(proc, pid)).collect()
}

fn has_open(process: &Path, device: &Stat) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        let path = descriptor.path();
        // Only what is a device by its name is looked at closer: that could wait on a network file system.
        let is_a_device =
            fs::read_link(&path).is_ok_and(|target| target.components().any(|c| c.as_os_str() == "dev"));
        is_a_device && fs::metadata(&path).is_ok_and(|file| same(&file, device))
    })
}

/// Who made a pseudo-terminal holds our end too, so that it lives on between two openings: a simulated meter.
fn is_at_the_other_end(proc: &Path, pid: u32, device: &Stat) -> bool {
    let Ok(descriptors) = fs::read_dir(proc.join(pid.to_string()).join("fd")) else { return false };
    let mut targets = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    UNIX98_PTY_SLAVES.contains(&major(device.st_rdev)) && targets.any(|target| target.ends_with("ptmx"))
}

fn same(file: &fs::Metadata, device: &Stat) -> bool {
    let number: Dev = device.st_rdev;
    let same_file = (file.dev(), file.ino()) == (device.st_dev, device.st_ino);
    let pty = UNIX98_PTY_SLAVES.contains(&major(number));
    file.file_type().is_char_device() && file.rdev() == number && (same_file || !pty)
}

fn holder(proc: &Path, pid: u32) -> Holder {
    let name = fs::read_to_string(proc.join(pid.to_string()).join("comm")).ok();
    let name = name.map(|name| name.trim().chars().take(LONGEST_NAME).collect::<String>());
    Holder { pid, name: name.filter(|name| !name.is_empty()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder like `/proc`, and the device `/dev/null` as a port.
    fn proc(locks: &str) -> (tempfile::TempDir, Stat) {
        let proc = tempfile::tempdir().unwrap();
        fs::write(proc.path().join("locks"), locks).unwrap();
        (proc, rustix::fs::stat("/dev/null").unwrap())
    }

    fn process(proc: &Path, pid: u32, name: &str, open: &[&str]) {
        let folder = proc.join(pid.to_string());
        fs::create_dir_all(folder.join("fd")).unwrap();
        fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
        for (number, target) in open.iter().enumerate() {
            symlink(target, folder.join("fd").join(number.to_string())).unwrap();
        }
    }

    fn lock(device: &Stat, kind: &str, pid: u32) -> String {
        let (major, minor) = (major(device.st_dev), minor(device.st_dev));
        format!("1: {kind}  ADVISORY  WRITE {pid} {major:02x}:{minor:02x}:{} 0 EOF\n", device.st_ino)
    }

    #[test]
    fn the_process_with_the_lock_is_named_before_those_that_only_have_it_open() {
        let (folder, device) = proc("");
        process(folder.path(), 4321, "mbpoll", &["/dev/null"]);
        process(folder.path(), 77, "cat", &["/dev/null"]);
        process(folder.path(), 78, "sh", &["/dev/zero", "/etc/passwd"]);
        let port = Path::new("/dev/ttyUSB0");
        let said = in_use(folder.path(), port, &device);
        assert_eq!(said, "in use by cat (process 77), mbpoll (process 4321)");
        let mut elsewhere = device;
        elsewhere.st_ino += 1;
        let locks = [
            lock(&elsewhere, "FLOCK", 78),
            lock(&device, "POSIX", 78),
            lock(&device, "-> FLOCK", 78),
            lock(&device, "FLOCK", 4321),
        ]
        .concat();
        fs::write(folder.path().join("locks"), locks).unwrap();
        assert_eq!(in_use(folder.path(), port, &device), "in use by mbpoll (process 4321)");
    }

    #[test]
    fn what_cannot_be_seen_is_said_to_be_so() {
        let (folder, device) = proc("");
        let said = in_use(folder.path(), Path::new("/dev/ttyUSB0"), &device);
        assert!(said.contains("which this user may not see: `fuser -v /dev/ttyUSB0` as root"), "{said}");
        fs::write(folder.path().join("locks"), lock(&device, "FLOCK", 4321)).unwrap();
        let said = in_use(folder.path(), Path::new("/dev/ttyUSB0"), &device);
        assert!(said.starts_with("in use by process 4321 (`ps -p 4321` as root"), "{said}");
    }

    #[test]
    fn the_usual_culprits_come_with_advice() {
        for (name, advice) in
            [("ModemManager", "udev rules"), ("agetty", "serial-getty"), ("brltty", "remove")]
        {
            let (folder, device) = proc("");
            process(folder.path(), 5, name, &["/dev/null"]);
            let said = in_use(folder.path(), Path::new("/dev/ttyS0"), &device);
            assert!(said.contains(name) && said.contains(advice), "{said}");
            let said = also_open(folder.path(), &device).unwrap();
            assert!(
                said.contains(name) && said.contains("does not lock it") && said.contains(advice),
                "{said}"
            );
        }
    }

    #[test]
    fn a_port_that_is_there_twice_is_our_own_fault() {
        let (folder, device) = proc("");
        process(folder.path(), std::process::id(), "linesman", &["/dev/null"]);
        assert!(in_use(folder.path(), Path::new("/dev/a"), &device).contains("this program itself"));
        assert_eq!(also_open(folder.path(), &device), None);
    }
}
