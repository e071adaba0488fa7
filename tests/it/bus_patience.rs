//! What must end although the other side does its worst.

use crate::common::port::Pty;
use crate::common::running::{device, line_named, processor_of};
use linesman::bus::link::Link;
use linesman::bus::transact::{Conversation, Manners, Outcome};
use linesman::bus::{self, DeviceConfig, LineConfig, PortConfig, SerialConfig};
use linesman::modbus::rtu::Pace;
use linesman::modbus::{ReadFunction, ReadRequest};
use linesman::model::status::{BusCounters, LineState};
use linesman::model::{Bad, Mono, SystemClock};
use linesman::profile::{self, Every};
use linesman::sim::wire;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Generous: nothing here proves speed.
const END: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_line_stops_although_it_waits_for_a_device_that_may_take_an_hour() {
    let wire = wire::start(wire::WireConfig::new(Vec::new(), 9600)).unwrap();
    let port = wire.path().to_owned();
    let profile = profile::find("xy-md02-sht20", Path::new("."), &[]).unwrap();
    let every = Every::Period(Duration::from_millis(10));
    let patient = DeviceConfig {
        timeout: Duration::from_secs(3600),
        min_timeout: Duration::from_secs(3600),
        ..DeviceConfig::new("patient".parse().unwrap(), 1, profile, every)
    };
    let serial = SerialConfig::new(port, 9600);
    let (name, devices) = ("rs485".parse().unwrap(), vec![patient]);
    let config = LineConfig { name, port: PortConfig::Serial(serial), devices, max_probe: bus::MAX_PROBE };
    let (scans, _kept) = tokio::sync::mpsc::channel(10);
    let stop = CancellationToken::new();
    let running = bus::start(config, Arc::new(SystemClock), scans, stop.clone()).unwrap();
    let asked = async {
        while wire.statistics().requests == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(END, asked).await.expect("it is never asked");
    stop.cancel();
    let _ = tokio::time::timeout(END, running.ended).await.expect("the line does not stop");
}

/// A driver that takes no octets and never says that they have left; its clock moves only when somebody waits.
struct Hung {
    now: Mono,
    taken: usize,
    calls: usize,
}

impl Link for Hung {
    fn now(&self) -> Mono {
        self.now
    }

    fn read(&mut self, _: &mut [u8]) -> io::Result<Option<usize>> {
        self.calls += 1;
        Ok(None)
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        let takes = self.taken.min(octets.len());
        self.taken -= takes;
        Ok(takes)
    }

    fn output_is_empty(&self) -> bool {
        false
    }

    fn discard_input(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait_readable(&mut self, until: Mono) -> io::Result<bool> {
        self.calls += 1;
        self.now = self.now.max(until);
        Ok(false)
    }

    fn wait_writable(&mut self, until: Mono) -> io::Result<()> {
        self.calls += 1;
        self.now = self.now.max(until);
        Ok(())
    }
}

#[test]
fn a_driver_that_hangs_is_an_error_soon_and_nobody_goes_round_and_round() {
    let timeout = Duration::from_millis(300);
    let request = ReadRequest::new(ReadFunction::HoldingRegisters, 0, 2).unwrap();
    // It takes nothing, or the beginning of a question, or all of it and then sends none of that.
    for taken in [0, 3, 8] {
        let mut link = Hung { now: Mono(1_000_000_000), taken, calls: 0 };
        let mut talk = Conversation::new(Pace::new(9600, false, 1), link.now);
        let began = link.now;
        let mut counters = BusCounters::default();
        let came = talk.transact(&mut link, 1, request, Manners::new(timeout), &mut counters);
        let took = link.now.since(began);
        assert!(took <= 2 * timeout, "{taken} octets taken: {took:?}");
        assert!(link.calls < 20, "{taken} octets taken: {} calls", link.calls);
        match came {
            Ok((outcome, _)) => assert_eq!((taken, outcome), (8, Outcome::NoReply)),
            Err(error) => assert!(taken < 8 && error.kind() == io::ErrorKind::TimedOut, "{taken}: {error}"),
        }
    }
}

#[test]
fn a_port_that_takes_no_octets_is_said_to_be_down_and_is_asked_again_when_it_does() {
    let pty = Pty::open();
    // As much as the terminal holds: nobody reads on the other end.
    let other_end = pty.other_end();
    rustix::io::ioctl_fionbio(&other_end, true).unwrap();
    // The kernel hands it on to the other end by and by, and takes more: until it does so no longer.
    let mut refused = 0;
    while refused < 20 {
        refused = if rustix::io::write(&other_end, &[0; 512]).is_ok() { 0 } else { refused + 1 };
        std::thread::park_timeout(Duration::from_millis(if refused == 0 { 0 } else { 5 }));
    }
    let serial = SerialConfig::new(&pty.name, 115_200);
    let mut line =
        line_named("hung", PortConfig::Serial(serial), vec![device("a", 1, Duration::from_millis(100))]);
    let status = line.status("the line to be down", |status| status.state == LineState::Down);
    assert!(status.detail.clone().unwrap().contains("does not take octets"), "{status:?}");
    line.scan("a value that is not there", |scan| scan.fields[0].octets == Err(Bad::LineDown));
    assert!(processor_of("line-hung") < Duration::from_secs(1), "it went round and round");
    // Somebody reads again.
    let mut buffer = [0; 4096];
    rustix::io::ioctl_fionbio(&pty.master, true).unwrap();
    let end = std::time::Instant::now() + END;
    while line.running.status.borrow().devices[0].reason != Some(Bad::NoReply) {
        while rustix::io::read(&pty.master, &mut buffer).is_ok_and(|n| n > 0) {}
        assert!(std::time::Instant::now() < end, "it is not asked again: {:?}", line.running.status.borrow());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
