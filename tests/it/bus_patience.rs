//! What must end although the other side does its worst.

use linesman::bus::{self, DeviceConfig, LineConfig, PortConfig, SerialConfig};
use linesman::model::SystemClock;
use linesman::profile::{self, Every};
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
    let running =
        bus::start(config, bus::capture::Tap::none(), Arc::new(SystemClock), scans, stop.clone()).unwrap();
    let asked = async {
        while wire.statistics().requests == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(END, asked).await.expect("it is never asked");
    stop.cancel();
    let _ = tokio::time::timeout(END, running.ended).await.expect("the line does not stop");
}
