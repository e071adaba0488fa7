//! What must end although the other side does its worst.

use linesman::bus::{self, DeviceConfig, LineConfig, PortConfig, SerialConfig};
use linesman::model::SystemClock;
use linesman::profile::{self, Every, Parity};
use linesman::sim::{Faults, wire};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Generous: nothing here proves speed.
const END: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_line_stops_although_it_waits_for_a_device_that_may_take_an_hour() {
    let faults = Faults::new(Vec::new(), 1);
    let (meters, turnaround) = (Vec::new(), Duration::ZERO);
    let wire = wire::start(wire::WireConfig { meters, baud: 9600, path: None, turnaround, faults }).unwrap();
    let port = wire.path().to_owned();
    let profile = profile::find("xy-md02-sht20", Path::new("."), &[]).unwrap();
    let patient = DeviceConfig {
        name: "patient".parse().unwrap(),
        unit: 1,
        enabled: true,
        every: vec![Every::Period(Duration::from_millis(10)); profile.points.len()],
        profile,
        timeout: Duration::from_secs(3600),
        retries: 0,
        min_gap: Duration::ZERO,
    };
    let serial = SerialConfig { port, baud: 9600, parity: Parity::None, stop_bits: 1 };
    let (name, devices) = ("rs485".parse().unwrap(), vec![patient]);
    let config = LineConfig { name, port: PortConfig::Serial(serial), devices };
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
