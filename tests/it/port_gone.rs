//! An adapter that is pulled out: noticed at once, let go, and no trace of it left.

use crate::common::is_long;
use crate::common::port::{Pty, config};
use linesman::bus::Port;
use linesman::bus::link::Link as _;
use linesman::profile;
use linesman::sim::wire::{self, Wire, WireConfig};
use linesman::sim::{Faults, Meter};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that must happen; never what is measured.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_port_that_is_gone_is_an_error_for_whoever_waits_reads_or_writes() {
    let pty = Pty::open();
    let mut link = Port::new(&config(&pty.name)).open().unwrap();
    let far = link.now().plus(PATIENCE * 60);
    drop(pty);
    let mut buffer = [0; 16];
    // Whatever order they come in: none of them waits, and none says that all is well.
    assert!(link.wait_readable(far).and_then(|_| link.read(&mut buffer)).is_err());
    assert!(link.wait_writable(far).is_err());
    assert!(link.write(&[1]).is_err());
    let error = link.read(&mut buffer).unwrap_err();
    assert!(error.to_string().contains("the port is gone"), "{error}");
}

#[test]
fn a_wait_that_has_begun_ends_when_the_port_goes() {
    let pty = Pty::open();
    let mut link = Port::new(&config(&pty.name)).open().unwrap();
    let waiting = thread::spawn(move || {
        let far = link.now().plus(PATIENCE * 60);
        let mut buffer = [0; 16];
        let mut rounds = 0;
        while rounds < 1000 {
            rounds += 1;
            if link.wait_readable(far).and_then(|_| link.read(&mut buffer)).is_err() {
                break;
            }
        }
        rounds
    });
    pty.say(&[1, 2, 3]);
    drop(pty);
    let rounds = waiting.join().unwrap();
    assert!(rounds < 10, "it went round {rounds} times instead of noticing");
}

/// `linesman run` and what it says, line by line.
struct Gateway {
    child: Child,
    said: mpsc::Receiver<String>,
    heard: Vec<String>,
}

impl Gateway {
    fn start(folder: &Path) -> Gateway {
        let mut child = Command::new(env!("CARGO_BIN_EXE_linesman"))
            .args(["run", "--config", "linesman.yaml"])
            .current_dir(folder)
            .env_remove("NOTIFY_SOCKET")
            .env("LINESMAN_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (say, said) = mpsc::channel();
        thread::spawn(move || errors.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Gateway { child, said, heard: Vec::new() }
    }

    /// Waits until it has said this.
    fn says(&mut self, what: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let line = self
                .said
                .recv_timeout(rest)
                .unwrap_or_else(|_| panic!("no {what:?} after {:#?}", self.heard));
            let found = line.contains(what);
            self.heard.push(line);
            if found {
                return;
            }
        }
    }

    /// What its descriptors lead to.
    fn descriptors(&self) -> Vec<String> {
        let folder = format!("/proc/{}/fd", self.child.id());
        let entries = fs::read_dir(folder).unwrap();
        let targets = entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        targets.map(|target| target.display().to_string()).collect()
    }

    /// Waits until so many of its descriptors are of this terminal. (Others it may have from a test beside this
    /// one, which was just opening a terminal when it was started.)
    fn holds(&self, terminal: &str, wanted: usize) {
        let end = Instant::now() + PATIENCE;
        loop {
            let open = self.descriptors();
            if open.iter().filter(|target| target.split(' ').next() == Some(terminal)).count() == wanted {
                return;
            }
            assert!(Instant::now() < end, "{wanted} of {terminal} wanted: {open:?}");
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn meter(path: &Path) -> Wire {
    let profile = profile::find("xy-md02-sht20", Path::new("."), &[]).unwrap();
    let (meters, path) = (vec![Meter::new(profile, 1, 1)], Some(path.to_owned()));
    let (turnaround, faults) = (Duration::from_millis(1), Faults::new(vec![], 1));
    wire::start(WireConfig { path, turnaround, faults, ..WireConfig::new(meters, 115_200) }).unwrap()
}

/// The terminal's own name.
fn terminal(path: &Path) -> String {
    fs::read_link(path).unwrap().display().to_string()
}

#[test]
fn pulled_out_and_plugged_in_again_and_again_it_goes_on_and_keeps_no_descriptor() {
    let cycles = if is_long() { 1000 } else { 20 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let config = format!(
        "gateway: {{ id: g }}\nlines:\n  - name: l\n    serial: {{ port: {}, baud: 115200 }}\n    devices:\n      \
         - {{ name: d, profile: xy-md02-sht20, unit: 1, every: 50ms, timeout: 1s }}\nspool: {{ dir: spool }}\n\
         upstreams: [{{ name: out, stdout: {{}} }}]\n",
        path.display()
    );
    fs::write(folder.path().join("linesman.yaml"), config).unwrap();
    let mut plugged = Some(meter(&path));
    let mut gateway = Gateway::start(folder.path());
    gateway.says("device answers");
    gateway.holds(&terminal(&path), 2);
    let at_first = gateway.descriptors().len();
    for cycle in 0..cycles {
        let before = terminal(&path);
        if cycle % 2 == 0 {
            // Under another name, which is there before the old one is gone.
            plugged.replace(meter(&path)).unwrap().stop().unwrap();
        } else {
            plugged.take().unwrap().stop().unwrap();
            gateway.says("line is down");
            gateway.holds(&before, 0);
            plugged = Some(meter(&path));
        }
        gateway.says("device answers");
        gateway.heard.clear();
    }
    gateway.holds(&terminal(&path), 2);
    let at_last = gateway.descriptors();
    assert!(at_last.len() <= at_first + 2, "{at_first} descriptors at first, at last {at_last:?}");
    assert!(gateway.child.try_wait().unwrap().is_none(), "it has ended");
}
