//! How long a pseudo-terminal of this machine takes from a write to a thread that waits for it.

use crate::rig::{Result, pause};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 500;

pub fn measure() -> Result<String> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut settings = tcgetattr(&slave)?;
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings)?;
    let (seen, arrivals) = mpsc::channel();
    let reader = std::thread::spawn(move || -> rustix::io::Result<()> {
        for _ in 0..ROUNDS {
            poll(&mut [PollFd::new(&master, PollFlags::IN)], None)?;
            // Nobody left to tell is the end as well.
            let _ = seen.send(Instant::now());
            rustix::io::read(&master, &mut [0; 16])?;
        }
        Ok(())
    });
    let mut took = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        pause(Duration::from_millis(1));
        let written = Instant::now();
        rustix::io::write(&slave, &[0])?;
        took.push(arrivals.recv()?.saturating_duration_since(written));
    }
    reader.join().map_err(|_| "the reading thread panicked")??;
    took.sort_unstable();
    let micros = |share: usize| took[took.len() * share / 100].as_micros();
    Ok(format!("terminal hand-over on this machine: median {} µs, 95 % {} µs", micros(50), micros(95)))
}
