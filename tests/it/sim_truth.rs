//! The simulator is the oracle of other tests: here it is held against what reads it.

use linesman::bus::{self, Field, Lessons, Scan, Terms, WireCost, plan_points};
use linesman::model::{Name, Timestamp, Value};
use linesman::sim::{Faults, Meter};
use linesman::{normalize, profile};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_modbus::client::{Reader, tcp};
use tokio_modbus::slave::Slave;
use tokio_util::sync::CancellationToken;

/// Reads all points the way the engine does, without a wire.
fn read(meter: &mut Meter, at: Timestamp) -> Scan {
    let profile = Arc::clone(meter.profile());
    let all: Vec<usize> = (0..profile.points.len()).collect();
    let mut fields = Vec::new();
    let lessons = Lessons::default();
    let terms = Terms { cost: WireCost::tcp(), turnaround: Duration::ZERO, lessons: &lessons };
    for block in plan_points(&profile, &all, &terms) {
        let reply = meter.answer(&block.request.pdu(), at);
        let decoded = linesman::modbus::decode_reply(&block.request, &reply).unwrap();
        let linesman::modbus::ReplyPdu::Data(data) = decoded else {
            panic!("{}: refused {:?}", profile.name, block.request)
        };
        for index in &block.points {
            let octets = block.octets_of(&profile.points[*index], data).unwrap();
            fields.push(Field { point: *index, octets: Ok(octets) });
        }
    }
    Scan { device: "d".parse().unwrap(), profile, ts: at, took: Duration::ZERO, fields }
}

/// Reads the profile's simulated meter at some seconds, and compares digit by digit.
fn compare(profile: &Arc<profile::Profile>) {
    let name = &profile.name;
    for unit in [1, 7] {
        let mut meter = Meter::new(Arc::clone(profile), unit, 42);
        for second in [0, 1, 1_800_000_000, 1_800_000_008] {
            let at = Timestamp(second * 1000 + 321);
            let truth: BTreeMap<Name, Value> = meter.truth(at).into_iter().collect();
            let reading = normalize::reading(&read(&mut meter, at), false);
            let shown = profile.points.iter().filter(|point| !point.internal).count();
            assert_eq!(reading.samples.len(), shown, "{name}");
            for (point, sample) in reading.samples {
                assert_eq!(sample.as_ref().ok(), truth.get(&point), "{name} {point} at {second}");
            }
        }
    }
}

#[test]
fn every_shipped_profile_reads_from_its_simulated_meter_exactly_what_it_shows() {
    let names: Vec<&str> = profile::builtin().collect();
    assert!(names.len() >= 14);
    for name in names {
        compare(&profile::find(name, Path::new("."), &[]).unwrap());
    }
}

#[test]
fn a_profile_with_every_key_of_the_format_reads_exactly_what_its_simulated_meter_shows() {
    let text = include_str!("golden/format/everything.yaml");
    let profile =
        Arc::new(profile::parse("everything", "everything.yaml", text).unwrap_or_else(|e| panic!("{e}")));
    compare(&profile);
    let truth: Vec<_> =
        [1, 7, 9].map(|unit| Meter::new(Arc::clone(&profile), unit, 3).truth(Timestamp(0))).concat();
    let good = |name: &str| truth.iter().filter(|(point, _)| point.as_str() == name).count();
    for point in profile.points.iter().filter(|point| !point.internal) {
        assert_eq!(good(point.name.as_str()), 3, "{}: the simulator shows a value that is none", point.name);
    }
}

async fn served(stop: CancellationToken) -> SocketAddr {
    let profile = profile::find("eastron-sdm120", Path::new("."), &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let faults = Faults::new(vec![], 1);
    tokio::spawn(linesman::sim::tcp::serve(
        listener,
        vec![Meter::new(profile, 5, 1)],
        faults,
        Duration::ZERO,
        stop,
    ));
    address
}

#[tokio::test]
async fn a_foreign_client_reads_the_simulated_meter() {
    let stop = CancellationToken::new();
    let address = served(stop.clone()).await;
    let mut client = tcp::connect_slave(address, Slave(5)).await.unwrap();
    let registers = client.read_input_registers(0, 2).await.unwrap().unwrap();
    let bits = u32::from(registers[0]) << 16 | u32::from(registers[1]);
    let volts = f32::from_bits(bits);
    assert!((220.0..240.0).contains(&volts), "{volts}");
    let refused = client.read_input_registers(60_000, 2).await.unwrap();
    assert_eq!(refused, Err(tokio_modbus::ExceptionCode::IllegalDataAddress));
    let refused = client.read_coils(0, 1).await.unwrap();
    assert_eq!(refused, Err(tokio_modbus::ExceptionCode::IllegalFunction));
    stop.cancel();
}

#[tokio::test]
async fn the_engine_reads_modbus_tcp() {
    let stop = CancellationToken::new();
    let address = served(stop.clone()).await;
    let session = tokio::task::spawn_blocking(move || {
        let port = bus::PortConfig::Tcp { address: address.to_string(), in_flight: 1 };
        let mut session = bus::Session::open(&port).unwrap();
        let request =
            linesman::modbus::ReadRequest::new(linesman::modbus::ReadFunction::InputRegisters, 0, 2).unwrap();
        let good = session.read(5, request, Duration::from_secs(5)).unwrap();
        let silent = session.read(6, request, Duration::from_millis(50)).is_err();
        let again = session.read(5, request, Duration::from_secs(5)).unwrap();
        (good.len(), silent, again.len())
    });
    assert_eq!(session.await.unwrap(), (4, true, 4));
    stop.cancel();
}

#[test]
fn a_simulated_sunspec_device_shows_exactly_what_is_read_from_it() {
    let meter = Meter::new(Arc::new(profile::sunspec::unwalked()), 1, 42);
    assert!(meter.profile().points.len() > 100);
    compare(meter.profile());
}
