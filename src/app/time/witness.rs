//! Who can say that the wall clock is right.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Made by systemd-timesyncd when it has set the clock (systemd-timesyncd.service(8)); below /run, so it is this boot's.
const TIMESYNC: &str = "/run/systemd/timesync/synchronized";
/// systemd runs this machine (sd_booted(3)): then there is somebody to ask.
const SYSTEMD: &str = "/run/systemd/system";
/// `timedatectl` waits for a bus that may not be there yet; it is asked again later.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A process each second only to ask would cost more than the polling.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// When the wall clock is taken for right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Always: somebody sets it by hand.
    pub trust_always: bool,
    /// A file that is there once the clock is right, made by whoever sets it; asked instead of the system.
    pub sync_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Right,
    NotYet,
    /// There is nobody on this machine who ever could.
    NobodyCanTell,
}

/// Asks; may wait for some seconds, so never on the runtime's own threads.
#[derive(Debug)]
pub(super) struct Witness {
    config: Config,
    timesync: PathBuf,
    systemd: PathBuf,
    program: PathBuf,
    asked: Option<Instant>,
}

impl Witness {
    pub(super) fn new(config: Config) -> Witness {
        Witness::at(config, Path::new(TIMESYNC), Path::new(SYSTEMD), Path::new("timedatectl"))
    }

    fn at(config: Config, timesync: &Path, systemd: &Path, program: &Path) -> Witness {
        let (timesync, systemd, program) = (timesync.to_owned(), systemd.to_owned(), program.to_owned());
        Witness { config, timesync, systemd, program, asked: None }
    }

    /// `None` when it is not yet time to ask again.
    pub(super) fn ask(&mut self) -> Option<Word> {
        if self.config.trust_always {
            return Some(Word::Right);
        }
        if let Some(file) = &self.config.sync_file {
            return Some(if file.exists() { Word::Right } else { Word::NotYet });
        }
        if self.timesync.exists() {
            return Some(Word::Right);
        }
        if !self.systemd.exists() {
            return Some(Word::NobodyCanTell);
        }
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return None;
        }
        let word = if says_yes(&self.program) { Word::Right } else { Word::NotYet };
        self.asked = Some(Instant::now());
        Some(word)
    }
}

/// `NTPSynchronized` of org.freedesktop.timedate1: the kernel's own word, whoever disciplines its clock.
fn says_yes(program: &Path) -> bool {
    let child = Command::new(program)
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let said = child.stdout.as_mut().is_some_and(|pipe| first_word(pipe).is_ok_and(|word| word == b"yes"));
    // It has said all that it has to say, or takes too long.
    let _ = child.kill();
    let _ = child.wait();
    said
}

/// What comes first, if it comes in time; one word is one write.
fn first_word(pipe: &mut ChildStdout) -> io::Result<Vec<u8>> {
    let within = Timespec::try_from(ANSWER_WITHIN).map_err(io::Error::other)?;
    let mut watched = [PollFd::new(&*pipe, PollFlags::IN)];
    if poll(&mut watched, Some(&within))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut octets = [0; 16];
    let count = pipe.read(&mut octets)?;
    Ok(octets.get(..count).unwrap_or_default().trim_ascii().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("timedatectl");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_file_of_timesyncd_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let (file, none) = (dir.path().join("synchronized"), dir.path().join("none"));
        let mut witness = Witness::at(Config::default(), &file, dir.path(), &none);
        assert_eq!(witness.ask(), Some(Word::NotYet));
        fs::write(&file, "").unwrap();
        assert_eq!(witness.ask(), Some(Word::Right));
    }

    #[test]
    fn timedatectl_is_asked_where_systemd_runs_and_not_each_second() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("none");
        for (says, word) in [("echo yes", Word::Right), ("echo no", Word::NotYet), ("exit 1", Word::NotYet)] {
            let program = script(dir.path(), says);
            let mut witness = Witness::at(Config::default(), &none, dir.path(), &program);
            assert_eq!(witness.ask(), Some(word), "{says}");
            assert_eq!(witness.ask(), None, "asked again at once");
        }
        let program = script(dir.path(), "echo yes");
        assert_eq!(
            Witness::at(Config::default(), &none, &none, &program).ask(),
            Some(Word::NobodyCanTell),
            "without systemd there is no timedate1"
        );
    }

    #[test]
    fn the_owner_may_name_a_file_or_trust_the_clock_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gps-has-fix");
        let config = Config { sync_file: Some(file.clone()), ..Config::default() };
        let mut witness = Witness::new(config);
        assert_eq!(witness.ask(), Some(Word::NotYet));
        fs::write(&file, "").unwrap();
        assert_eq!(witness.ask(), Some(Word::Right));
        let mut witness = Witness::new(Config { trust_always: true, ..Config::default() });
        assert_eq!(witness.ask(), Some(Word::Right));
    }
}
