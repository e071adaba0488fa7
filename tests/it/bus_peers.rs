//! Meters that are not ours: servers of `tokio-modbus` on a serial line, behind a device server, and on TCP.

use crate::common::hours::{device, profile_of};
use crate::common::is_long;
use crate::common::port::Pty;
use crate::common::running::{Line, line_named};
use linesman::bus::{DeviceConfig, IN_FLIGHT, PortConfig, Scan, SerialConfig};
use linesman::model::Bad;
use linesman::profile::{Profile, Table};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::server::{Service, rtu, rtu_over_tcp, tcp};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_util::sync::CancellationToken;

/// Units that are there.
const UNITS: std::ops::RangeInclusive<u8> = 1..=4;

/// Every register and coil says whose it is, and where.
fn register(unit: u8, address: u16) -> u16 {
    u16::from(unit) << 12 | address
}

fn coil(unit: u8, address: u16) -> bool {
    (u16::from(unit) + address).is_multiple_of(3)
}

/// Meters with a thousand of each kind.
struct Meters;

impl Service for Meters {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else it is, it writes or is not for these")]
    fn call(&self, asked: SlaveRequest<'static>) -> Self::Future {
        let unit = asked.slave;
        if !UNITS.contains(&unit) {
            return ready(Ok(None));
        }
        let registers = |at: u16, count: u16| (at..at + count).map(|at| register(unit, at)).collect();
        let coils = |at: u16, count: u16| (at..at + count).map(|at| coil(unit, at)).collect();
        ready(match asked.request {
            Request::ReadHoldingRegisters(at, count) => {
                Ok(Some(Response::ReadHoldingRegisters(registers(at, count))))
            }
            Request::ReadInputRegisters(at, count) => {
                Ok(Some(Response::ReadInputRegisters(registers(at, count))))
            }
            Request::ReadCoils(at, count) => Ok(Some(Response::ReadCoils(coils(at, count)))),
            Request::ReadDiscreteInputs(at, count) => {
                Ok(Some(Response::ReadDiscreteInputs(coils(at, count))))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

/// Some of everything, near and far.
fn profile() -> Arc<Profile> {
    let one = |table: &str, at: u16, kind: &str| {
        format!("{table}: {at}, type: {kind}, quantity: other, unit: \"1\"")
    };
    let coil = |table: &str, at: u16| format!("{table}: {at}, type: bool, quantity: status");
    let mut points = Vec::new();
    for at in [0, 1, 2, 40, 200, 322] {
        points.push(one("holding", at, "u16"));
        points.push(one("input", 2 * at, "u32"));
        points.push(one("holding", 400 + 4 * at, "u64"));
        points.push(coil("coil", 3 * at + 1));
        points.push(coil("discrete", at + 7));
    }
    profile_of(&points)
}

fn devices(patience: Duration) -> Vec<DeviceConfig> {
    let profile = profile();
    let every = Duration::from_millis(40);
    let known = UNITS.map(|unit| device(unit, &profile, every));
    // And one that is not there.
    let all = known.chain([device(9, &profile, every)]);
    // A busy machine makes its peers slow, not dead.
    all.map(|device| DeviceConfig { timeout: patience, min_timeout: patience, ..device }).collect()
}

fn assert_is_true(scan: &Scan) {
    let unit: u8 = scan.device.as_str()[1..].parse().unwrap();
    for field in &scan.fields {
        let point = &scan.profile.points[field.point];
        let truth: Vec<u8> = match point.table {
            Table::Coil | Table::DiscreteInput => vec![u8::from(coil(unit, point.address))],
            Table::HoldingRegister | Table::InputRegister => (0..point.format.count())
                .flat_map(|at| register(unit, point.address + at).to_be_bytes())
                .collect(),
        };
        match &field.octets {
            Ok(octets) => assert_eq!(*octets, truth, "unit {unit}: {}", point.name),
            Err(bad) => assert!(unit == 9 && matches!(bad, Bad::NoReply | Bad::DeviceLost), "{scan:?}"),
        }
    }
}

/// Reads all of them for a while, from a thread that may wait.
async fn assert_all_are_read(name: &'static str, port: PortConfig, patience: Duration) {
    let count = if is_long() { 2000 } else { 200 };
    let mut line: Line = line_named(name, port, devices(patience));
    let read = tokio::task::spawn_blocking(move || {
        let mut of_unit = [0usize; 10];
        for _ in 0..count {
            let scan = line.scan("a scan", |_| true);
            assert_is_true(&scan);
            of_unit[usize::from(scan.device.as_str()[1..].parse::<u8>().unwrap())] += 1;
        }
        of_unit
    });
    let of_unit = read.await.unwrap();
    assert!(UNITS.into_iter().all(|unit| of_unit[usize::from(unit)] > count / 8), "{name}: {of_unit:?}");
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn connected(stream: TcpStream, _: SocketAddr) -> std::io::Result<Option<(Meters, TcpStream)>> {
    Ok(Some((Meters, stream)))
}

#[tokio::test(flavor = "multi_thread")]
async fn several_units_behind_one_connection_are_read_one_by_one_and_four_at_once() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move { tcp::Server::new(listener).serve(&connected, |_| {}).await });
    for in_flight in [IN_FLIGHT, 4] {
        let port = PortConfig::Tcp { address: address.clone(), in_flight };
        assert_all_are_read("tcp", port, Duration::from_millis(300)).await;
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_units_behind_a_device_server_are_read() {
    let (listener, address) = listener().await;
    let server =
        tokio::spawn(async move { rtu_over_tcp::Server::new(listener).serve(&connected, |_| {}).await });
    assert_all_are_read("server", PortConfig::RtuOverTcp { address }, Duration::from_millis(300)).await;
    server.abort();
}

/// Two terminals whose meters' ends are joined: what is written into one comes out of the other.
fn joined(one: &Pty, other: &Pty, stop: &CancellationToken) {
    let mut buffer = [0; 512];
    while !stop.is_cancelled() {
        for (from, to) in [(one, other), (other, one)] {
            let look = Timespec { tv_sec: 0, tv_nsec: 200_000 };
            if poll(&mut [PollFd::new(&from.master, PollFlags::IN)], Some(&look)).unwrap() > 0
                && let Ok(n) = rustix::io::read(&from.master, &mut buffer)
            {
                to.say(&buffer[..n]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_units_on_a_serial_line_are_read() {
    let (ours, theirs) = (Pty::open(), Pty::open());
    let serial = tokio_serial::SerialStream::open(&tokio_serial::new(theirs.name.to_string_lossy(), 115_200));
    let server = tokio::spawn(rtu::Server::new(serial.unwrap()).serve_forever(Meters));
    let port = PortConfig::Serial(SerialConfig::new(&ours.name, 115_200));
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let cable = thread::spawn(move || joined(&ours, &theirs, &stopped));
    assert_all_are_read("serial", port, Duration::from_millis(300)).await;
    stop.cancel();
    server.abort();
    cable.join().unwrap();
}
