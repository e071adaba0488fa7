//! Meters on a real pseudo-terminal that answer whatever a test wants, and may hang up in the middle of it.

use super::port::Pty;
use linesman::modbus::{ReadRequest, encode_data_reply, rtu};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What is said to a question: octets, each so long after those before.
pub type Saying = Vec<(Duration, Vec<u8>)>;

/// A frame of these registers.
pub fn frame_of(unit: u8, request: &ReadRequest, registers: impl Fn(u16) -> u16) -> Vec<u8> {
    let all = request.address()..request.address() + request.count();
    let octets: Vec<u8> = all.flat_map(|at| registers(at).to_be_bytes()).collect();
    rtu::frame(unit, &encode_data_reply(request, &octets))
}

/// The same and nothing else.
pub fn says(frame: Vec<u8>) -> ControlFlow<Saying, Saying> {
    ControlFlow::Continue(vec![(Duration::ZERO, frame)])
}

/// Ends when it is dropped, or when it has hung up.
pub struct Station {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    /// The terminal's own name.
    pub terminal: PathBuf,
}

impl Station {
    /// At this path; a question is one for registers. What breaks the flow is the last that is said before the
    /// port is gone.
    pub fn start(
        path: &Path,
        answer: impl FnMut(u8, &ReadRequest) -> ControlFlow<Saying, Saying> + Send + 'static,
    ) -> Station {
        let pty = Pty::open();
        let (terminal, stop) = (pty.name.clone(), CancellationToken::new());
        let held = pty.other_end();
        let new = path.with_extension("new");
        symlink(&terminal, &new).unwrap();
        fs::rename(&new, path).unwrap();
        let (stopped, path) = (stop.clone(), path.to_owned());
        let thread = thread::spawn(move || {
            serve(&pty.master, answer, &stopped);
            // The kernel gives the terminal's name to whoever opens the next one.
            fs::remove_file(&path).unwrap();
            drop((held, pty));
        });
        Station { stop, thread: Some(thread), terminal }
    }
}

impl Station {
    pub fn has_hung_up(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    master: &OwnedFd,
    mut answer: impl FnMut(u8, &ReadRequest) -> ControlFlow<Saying, Saying>,
    stop: &CancellationToken,
) {
    let (mut heard, mut buffer) = (Vec::new(), [0; 256]);
    while !stop.is_cancelled() {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if poll(&mut [PollFd::new(master, PollFlags::IN)], Some(&timeout)).unwrap() > 0 {
            let Ok(n) = rustix::io::read(master, &mut buffer) else { return };
            heard.extend_from_slice(&buffer[..n]);
        }
        while let Some(frame) = heard.get(..8).map(<[u8]>::to_vec) {
            heard.drain(..8);
            let (unit, pdu) = rtu::unframe(&frame).unwrap();
            let request = ReadRequest::decode(pdu).unwrap();
            match answer(unit, &request) {
                ControlFlow::Continue(saying) => say(master, saying),
                ControlFlow::Break(saying) => return say(master, saying),
            }
        }
    }
}

fn say(master: &OwnedFd, saying: Saying) {
    for (after, octets) in saying {
        let at = Instant::now() + after;
        while Instant::now() < at {
            thread::park_timeout(at.saturating_duration_since(Instant::now()));
        }
        // Where nobody listens any more nothing is said.
        let _ = rustix::io::write(master, &octets);
    }
}
