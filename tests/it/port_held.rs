//! A port that another program has: who it is, said in words.

use crate::common::port::{Pty, config};
use linesman::bus::{Port, PortConfig, Session};
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::ErrorKind;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that must happen; never what is measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that does not outlive its test.
struct Kept(Child);

impl Kept {
    fn spawn(command: &mut Command) -> Kept {
        Kept(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn end(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_port_that_another_process_has_locked_is_in_use_by_its_name_and_number() {
    let pty = Pty::open();
    let name = pty.name.to_str().unwrap();
    let arguments = ["read", name, "--unit", "1", "--holding", "0", "--timeout", "60s"];
    let holder = Kept::spawn(Command::new(env!("CARGO_BIN_EXE_linesman")).args(arguments));
    // It asks, so it has the port. Without an end that is open, there would be nothing to wait for.
    let open = pty.other_end();
    poll(&mut [PollFd::new(&pty.master, PollFlags::IN)], None).unwrap();
    drop(open);
    let mut port = Port::new(&config(&pty.name));
    let error = port.open().unwrap_err();
    let wanted = format!("in use by linesman (process {})", holder.0.id());
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::ResourceBusy, wanted.clone()));
    let error = Session::open(&PortConfig::Serial(config(&pty.name))).unwrap_err();
    assert_eq!(error.to_string(), format!("{name}: {wanted}"));
    holder.end();
    port.open().unwrap();
}

#[test]
fn a_port_that_another_process_has_open_without_a_lock_is_opened_with_a_warning() {
    let pty = Pty::open();
    let holder = Kept::spawn(Command::new("cat").stdin(File::from(pty.other_end())));
    let mut port = Port::new(&config(&pty.name));
    let said = port.open().unwrap().remarks().join("\n");
    assert!(said.starts_with(&format!("also open in cat (process {})", holder.0.id())), "{said}");
    assert!(said.contains("does not lock it"), "{said}");
    holder.end();
    assert_eq!(port.open().unwrap().remarks(), [""; 0]);
}

#[test]
fn a_port_that_is_opened_twice_by_one_program_is_said_to_be() {
    let pty = Pty::open();
    let _first = Port::new(&config(&pty.name)).open().unwrap();
    let error = Port::new(&config(&pty.name)).open().unwrap_err().to_string();
    assert!(error.contains("in use by this program itself"), "{error}");
}

#[test]
fn a_simulator_at_the_other_end_is_no_reason_for_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let arguments = ["simulate", "--profile", "xy-md02-sht20@1", "--pty", path.to_str().unwrap()];
    let _meters = Kept::spawn(Command::new(env!("CARGO_BIN_EXE_linesman")).args(arguments));
    let end = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < end, "no simulated meters");
        thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(Port::new(&config(&path)).open().unwrap().remarks(), [""; 0]);
}
