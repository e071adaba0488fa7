//! The line engine on real pseudo-terminals.

use crate::common::is_long;
use crate::common::running::{PATIENCE, all_good, device, line, meters, profile};
use linesman::bus::{PortConfig, Scan, SerialConfig, Session};
use linesman::modbus::rtu::{self, Pace};
use linesman::modbus::{ReadFunction, ReadRequest};
use linesman::model::status::{DeviceState, LineState};
use linesman::model::{Bad, Clock, Mono, SystemClock};
use linesman::sim::Meter;
use linesman::sim::wire::{self, WireConfig};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn serial(port: &Path) -> SerialConfig {
    SerialConfig::new(port, 115_200)
}

/// A pseudo-terminal: the meters' end, the name of the other, and that other held open.
fn pty() -> (OwnedFd, PathBuf, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
    let slave =
        rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let mut settings = tcgetattr(&slave).unwrap();
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings).unwrap();
    (master, name, slave)
}

fn truth(unit: u8, address: u16) -> u16 {
    u16::from(unit) << 8 | (address & 0xFF)
}

/// Answers every request for one register, each at its own time; ends when the other side hangs up.
fn late_meters(master: &OwnedFd, longest: Duration, stop: &CancellationToken) {
    let mut dice = fastrand::Rng::with_seed(3);
    let mut due: Vec<(Instant, Vec<u8>)> = Vec::new();
    let mut heard = Vec::new();
    let mut buffer = [0; 256];
    while !stop.is_cancelled() {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 500_000 };
        let mut fds = [PollFd::new(master, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).unwrap() > 0 {
            let n = rustix::io::read(master, &mut buffer).unwrap();
            heard.extend_from_slice(&buffer[..n]);
        }
        while let Some(frame) = heard.get(..8).map(<[u8]>::to_vec) {
            heard.drain(..8);
            let (unit, pdu) = rtu::unframe(&frame).unwrap();
            let request = ReadRequest::decode(pdu).unwrap();
            let value = truth(unit, request.address()).to_be_bytes();
            let reply = rtu::frame(unit, &linesman::modbus::encode_data_reply(&request, &value));
            due.push((Instant::now() + longest.mul_f64(dice.f64()), reply));
        }
        due.sort_by_key(|(at, _)| *at);
        while due.first().is_some_and(|(at, _)| *at <= Instant::now()) {
            rustix::io::write(master, &due.remove(0).1).unwrap();
        }
    }
}

#[test]
fn no_value_is_wrong_on_a_real_terminal_with_replies_late_by_chance() {
    let timeout = Duration::from_millis(8);
    let (master, name, _held) = pty();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let meters = thread::spawn(move || late_meters(&master, timeout * 3, &stopped));
    let mut session = Session::open(&PortConfig::Serial(serial(&name))).unwrap();
    let mut dice = fastrand::Rng::with_seed(5);
    let (mut right, mut silent) = (0, 0);
    let questions = if is_long() { 5000 } else { 500 };
    for _ in 0..questions {
        // Many units and lengths, so that few questions must wait for a late answer to pass.
        let (unit, address, count) = (dice.u8(1..=247), dice.u16(..60_000), dice.u16(1..=12));
        let request = ReadRequest::new(ReadFunction::HoldingRegisters, address, count).unwrap();
        match session.read(unit, request, timeout) {
            Ok(data) => {
                assert_eq!(data[..2], truth(unit, address).to_be_bytes(), "unit {unit} register {address}");
                right += 1;
            }
            Err(_) => silent += 1,
        }
    }
    stop.cancel();
    meters.join().unwrap();
    assert!(right > questions / 10 && silent > questions / 10, "{right} right, {silent} silent");
}

fn all_are(scan: &Scan, bad: Bad) -> bool {
    scan.fields.iter().all(|field| field.octets == Err(bad))
}

#[test]
fn a_port_that_vanishes_is_let_go_and_opened_again_when_its_path_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rs485");
    let first = meters(&path, &[1]);
    let mut line = line(&path, vec![device("a", 1, Duration::from_millis(50))]);
    line.scan("a first scan", all_good);
    first.stop().unwrap();
    line.scan("the line being down", |scan| all_are(scan, Bad::LineDown));
    let status = line.status("the line to say that it is down", |status| status.state == LineState::Down);
    assert_eq!(status.devices[0].state, DeviceState::LineDown);
    assert!(status.detail.unwrap().contains("rs485"));
    let _second = meters(&path, &[1]);
    line.scan("scans after the return", all_good);
    line.status("the line to say that it is up", |status| status.state == LineState::Up);
    line.stop.cancel();
}

#[test]
fn a_dead_device_costs_few_questions_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rs485");
    let wire = meters(&path, &[1, 3]);
    let every = Duration::from_millis(100);
    let devices = vec![device("a", 1, every), device("dead", 2, every), device("b", 3, every)];
    let mut line = line(&path, devices);
    // Four seconds' worth of scans of each of the living, whatever the clock says meanwhile.
    let (mut a, mut b, mut dead, mut stamps) = (0, 0, 0, Vec::new());
    while a < 40 || b < 40 {
        let scan = line.scan("a scan", |_| true);
        match scan.device.as_str() {
            "a" => {
                a += 1;
                stamps.push(scan.ts.0);
            }
            "b" => b += 1,
            _ => dead += 1,
        }
    }
    assert!(dead <= 4, "the dead one was asked {dead} times");
    // A period that is missed shows as a step of two: the dead one's probes, or a busy machine, may cost some.
    let missed = stamps.windows(2).filter(|pair| pair[1] - pair[0] > 190).count();
    assert!(missed <= stamps.len() / 4, "{missed} periods missed: {stamps:?}");
    line.status("quarantine", |status| status.devices[1].state == DeviceState::Quarantined);
    drop(wire);
    let _alive = meters(&path, &[1, 2, 3]);
    line.scan("the dead one's return", |scan| scan.device.as_str() == "dead" && all_good(scan));
    line.stop.cancel();
}

#[test]
fn a_line_that_is_told_to_stop_ends_soon_whatever_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rs485");
    for port_is_there in [true, false] {
        let _wire = port_is_there.then(|| meters(&path, &[1]));
        let mut line = line(&path, vec![device("dead", 9, Duration::from_millis(10))]);
        line.scan("a scan", |_| true);
        line.stop.cancel();
        let end = Instant::now() + PATIENCE;
        while line.running.ended.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            assert!(Instant::now() < end, "the line's owner did not end");
            thread::park_timeout(Duration::from_millis(2));
        }
    }
}

#[test]
fn the_wire_paces_octets_and_the_engine_keeps_silence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rs485");
    let wire = {
        let meters = vec![Meter::new(profile(), 1, 1)];
        let (path, turnaround) = (Some(path.clone()), Duration::from_millis(3));
        wire::start(WireConfig { path, turnaround, ..WireConfig::new(meters, 9600) }).unwrap()
    };
    let config = SerialConfig { baud: 9600, ..serial(&path) };
    let mut session = Session::open(&PortConfig::Serial(config)).unwrap();
    let request = ReadRequest::new(ReadFunction::InputRegisters, 1, 2).unwrap();
    let pace = Pace::new(9600, false, 1);
    let before: Mono = SystemClock.mono();
    for _ in 0..20 {
        assert_eq!(session.read(1, request, Duration::from_secs(1)).unwrap().len(), 4);
    }
    let took = SystemClock.mono().since(before);
    let octets = pace.octets(8 + 9) + Duration::from_millis(3);
    assert!(took >= octets * 20, "{took:?} is faster than the wire");
    let seen = wire.statistics();
    assert_eq!((seen.requests, seen.replies, seen.not_understood), (20, 20, 0));
    assert!(seen.shortest_silence.unwrap() >= pace.silence(), "{seen:?}");
}
