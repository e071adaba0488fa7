//! `linesman scan` as a person runs it, on pseudo-terminals with simulated meters that do not say who they are.

use linesman::config::{self, Overlays};
use linesman::profile;
use linesman::sim::wire::{self, Wire, WireConfig};
use linesman::sim::{Faults, Meter, tcp};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Profile, unit id, baud rate.
type Site<'a> = &'a [(&'a str, u8, u32)];

fn meters(path: &Path, site: Site<'_>, faults: &[&str]) -> Wire {
    let meter = |(name, unit, baud): &(&str, u8, u32)| {
        let profile = profile::find(name, Path::new("."), &[]).unwrap();
        Meter::new(profile, *unit, 1).at_baud(*baud)
    };
    let faults = faults.iter().chain(&["nameless"]).map(|word| word.parse().unwrap()).collect();
    wire::start(WireConfig {
        path: Some(path.to_owned()),
        turnaround: Duration::from_millis(2),
        faults: Faults::new(faults, 1),
        ..WireConfig::new(site.iter().map(meter).collect(), site[0].2)
    })
    .unwrap()
}

fn scan(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.current_dir(folder).env_clear().arg("scan").args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

/// The devices, by unit id.
fn devices(done: &Output) -> Vec<Value> {
    let mut all: Vec<Value> =
        text(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    all.sort_by_key(|device| device["unit"].as_u64());
    all
}

/// Profile, unit id, baud rate of each.
fn told(devices: &[Value]) -> Vec<(&str, u8, u32)> {
    let of = |device: &Value, key: &str| device[key].as_u64().unwrap();
    devices
        .iter()
        .map(|device| {
            let (unit, baud) = (of(device, "unit"), of(device, "baud"));
            (device["profile"].as_str().unwrap_or("none"), unit.try_into().unwrap(), baud.try_into().unwrap())
        })
        .collect()
}

const TEN: Site<'_> = &[
    ("eastron-sdm630", 1, 38_400),
    ("eastron-sdm120", 2, 38_400),
    ("eastron-sdm72d-m-v2", 3, 38_400),
    ("abb-b23-b24", 4, 115_200),
    ("carlo-gavazzi-em330-em340", 5, 38_400),
    ("janitza-umg96rm", 7, 115_200),
    ("keller-series-30-33x", 8, 38_400),
    ("siemens-pac2200", 11, 115_200),
    ("schneider-iem3155-iem3255", 12, 38_400),
    ("tuf-2000m", 13, 115_200),
];

#[test]
fn ten_meters_at_two_baud_rates_are_all_found_with_their_profiles_and_the_configuration_loads() {
    let folder = tempfile::tempdir().unwrap();
    let wire = meters(&folder.path().join("tty"), TEN, &[]);
    let arguments = ["tty", "--units", "1-14", "--bauds", "38400,115200", "--listen", "100ms", "--json"];
    let more = ["--write", "linesman.yaml", "--mqtt", "mqtt://127.0.0.1:1883", "--capture", "wire.pcapng"];
    let done = scan(folder.path(), &[&arguments[..], &more].concat());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let devices = devices(&done);
    assert_eq!(told(&devices), TEN, "{}", text(&done.stdout));
    for device in &devices {
        let keys = ["port", "parity", "stop_bits", "confidence", "identity"];
        assert!(keys.iter().all(|key| device.get(*key).is_some_and(|value| !value.is_null())), "{device}");
        let confidence = device["confidence"].as_f64().unwrap();
        assert!((0.5..1.0).contains(&confidence), "{device}");
    }
    assert!(text(&done.stderr).contains("tty: 10 devices; "), "{}", text(&done.stderr));
    assert_eq!(wire.statistics().too_soon, 0);

    // The six of one rate are devices, the four of the other a comment: a line has one.
    let config = config::load(&folder.path().join("linesman.yaml"), &Overlays::default()).unwrap();
    let profiles: Vec<&str> = config.lines[0].devices.iter().map(|d| d.profile.name.as_str()).collect();
    let of_one: Vec<&str> =
        TEN.iter().filter(|(_, _, baud)| *baud == 38_400).map(|(name, _, _)| *name).collect();
    let written = std::fs::read_to_string(folder.path().join("linesman.yaml")).unwrap();
    let mut sorted = profiles.clone();
    sorted.sort_unstable();
    let mut wanted = of_one.clone();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted, "{written}");
    assert!(written.contains("# - { name: tuf-2000m-13, profile: tuf-2000m, unit: 13 }  # 115200 8N1 now"));

    // What was asked is on record, at both rates.
    let captured = std::fs::read(folder.path().join("wire.pcapng")).unwrap();
    let captured = String::from_utf8_lossy(&captured);
    assert!(captured.contains("115200 8N1") && captured.contains("38400 8N1"));

    let again = scan(folder.path(), &["tty", "--write", "linesman.yaml"]);
    assert_eq!(again.status.code(), Some(64));
    assert!(text(&again.stderr).contains("is there already, and stays as it is"));
}

#[test]
fn one_meter_at_another_baud_rate_is_found_once_and_at_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let site: Site<'_> =
        &[("eastron-sdm120", 1, 57_600), ("eastron-sdm120", 2, 115_200), ("eastron-sdm120", 3, 57_600)];
    let _wire = meters(&folder.path().join("tty"), site, &[]);
    // Three parities are asked for, of which a pseudo-terminal keeps none.
    let arguments = ["tty", "--units", "1-4", "--bauds", "115200,57600", "--listen", "100ms", "--json"];
    let done = scan(folder.path(), &arguments);
    assert_eq!(told(&devices(&done)), site);
    assert!(
        text(&done.stderr).contains("left out, since the driver does not keep them"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn two_meters_with_one_unit_id_are_said_and_none_of_them_is_taken_for_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let site: Site<'_> = &[("eastron-sdm120", 1, 115_200), ("eastron-sdm120", 2, 115_200)];
    let _wire = meters(&folder.path().join("tty"), site, &["2:twin"]);
    let arguments = ["tty", "--units", "1-3", "--bauds", "115200", "--listen", "100ms", "--json"];
    let done = scan(folder.path(), &arguments);
    let devices = devices(&done);
    assert_eq!(told(&devices), [("eastron-sdm120", 1, 115_200), ("none", 2, 115_200)]);
    assert_eq!(devices[1]["confidence"], 0);
    let notes = devices[1]["notes"].to_string();
    assert!(notes.contains("two devices answer under unit id 2"), "{notes}");
}

#[test]
fn where_another_master_talks_nothing_is_asked_and_what_passes_by_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let site: Site<'_> = &[("eastron-sdm120", 1, 115_200)];
    let wire = meters(&folder.path().join("tty"), site, &["master"]);
    let arguments =
        ["tty", "--bauds", "9600,115200", "--parities", "none", "--listen", "1500ms", "--for", "2s"];
    let done = scan(folder.path(), &[&arguments[..], &["--json"]].concat());
    let (said, devices) = (text(&done.stderr), devices(&done));
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains("another master is talking here at 115200 8N1; only listening"), "{said}");
    assert!(said.contains("overheard: unit 1, holding "), "{said}");
    assert_eq!((devices.len(), devices[0]["unit"].as_u64()), (1, Some(1)), "{devices:?}");
    assert_eq!(wire.statistics().requests, 0, "nothing was asked");

    // Unless somebody insists.
    let arguments =
        ["tty", "--bauds", "115200", "--units", "1", "--listen", "1500ms", "--talk-anyway", "--json"];
    let done = scan(folder.path(), &arguments);
    assert_eq!(told(&self::devices(&done)), site, "{}", text(&done.stderr));
    assert!(wire.statistics().requests > 0);
}

#[test]
fn told_to_listen_only_it_asks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let wire = meters(&folder.path().join("tty"), &[("eastron-sdm120", 1, 115_200)], &[]);
    let done =
        scan(folder.path(), &["tty", "--bauds", "115200", "--listen-only", "--for", "300ms", "--json"]);
    assert_eq!((done.status.code(), text(&done.stdout).as_str()), (Some(0), ""));
    assert_eq!(wire.statistics().requests, 0);
}

#[test]
fn nobody_is_no_error_and_no_port_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let _wire = meters(&folder.path().join("tty"), &[("eastron-sdm120", 1, 115_200)], &[]);
    let arguments = ["tty", "--bauds", "115200", "--units", "9", "--parities", "none", "--listen", "10ms"];
    let done = scan(folder.path(), &arguments);
    assert_eq!((done.status.code(), text(&done.stdout).as_str()), (Some(0), ""), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("tty: 0 devices"));
    for (arguments, code) in [
        (&["not-there"][..], 74),
        (&["tcp://127.0.0.1:1"], 74),
        (&["tty", "--units", "0-3"], 64),
        (&["tty", "--parities", "evn"], 64),
        (&["tty", "--write", "a.yaml", "--mqtt", "http://x"], 64),
        (&[], 64),
    ] {
        assert_eq!(scan(folder.path(), arguments).status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn on_a_network_the_devices_behind_a_host_are_found() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stop = CancellationToken::new();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let place = format!("tcp://{}", listener.local_addr().unwrap());
    let meter =
        |(name, unit): (&str, u8)| Meter::new(profile::find(name, Path::new("."), &[]).unwrap(), unit, 1);
    let all = [("siemens-pac2200", 1), ("janitza-umg96rm", 9)].map(meter).to_vec();
    let faults = Faults::new(vec!["nameless".parse().unwrap()], 1);
    let config = tcp::TcpConfig { faults, ..tcp::TcpConfig::new(all) };
    runtime.spawn(tcp::serve_with(listener, config, stop.clone()));
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&place, "--units", "1-12", "--timeout", "60ms", "--json", "--write", "linesman.yaml"];
    let done = scan(folder.path(), &arguments);
    stop.cancel();
    let devices = devices(&done);
    let found: Vec<_> =
        devices.iter().map(|d| (d["profile"].as_str().unwrap(), d["unit"].as_u64().unwrap())).collect();
    assert_eq!(found, [("siemens-pac2200", 1), ("janitza-umg96rm", 9)], "{}", text(&done.stderr));
    assert!(devices[0]["baud"].is_null() && devices[0]["port"] == place.as_str());
    let config = config::load(&folder.path().join("linesman.yaml"), &Overlays::default()).unwrap();
    assert_eq!(config.lines[0].devices.len(), 2);
}

#[test]
fn behind_a_device_server_the_meters_are_found_and_the_configuration_speaks_rtu_over_tcp() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stop = CancellationToken::new();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let profile = profile::find("eastron-sdm120", Path::new("."), &[]).unwrap();
    runtime.spawn(tcp::serve_rtu(
        listener,
        tcp::TcpConfig::new(vec![Meter::new(profile, 3, 1)]),
        stop.clone(),
    ));
    let folder = tempfile::tempdir().unwrap();
    let place = format!("rtu+tcp://{address}");
    let done = scan(
        folder.path(),
        &[&place, "--units", "1-4", "--timeout", "60ms", "--json", "--write", "linesman.yaml"],
    );
    let read = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
        command.arg("read").arg(&place).args(arguments).output().unwrap()
    };
    let value = read(&["--unit", "3", "--input", "0", "--type", "f32", "--json"]);
    stop.cancel();
    let devices = devices(&done);
    assert_eq!(devices.len(), 1, "{}", text(&done.stderr));
    assert_eq!((&devices[0]["profile"], &devices[0]["unit"]), (&"eastron-sdm120".into(), &3.into()));
    let config = config::load(&folder.path().join("linesman.yaml"), &Overlays::default()).unwrap();
    assert_eq!(config.lines[0].port, linesman::bus::PortConfig::RtuOverTcp { address });
    assert_eq!(value.status.code(), Some(0), "{}", text(&value.stderr));
}

#[test]
fn ctrl_c_ends_it_with_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let _wire = meters(&folder.path().join("tty"), &[("xy-md02-sht20", 1, 9600)], &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.current_dir(folder.path()).env_clear().args(["scan", "tty", "--listen", "1ms", "--json"]);
    command.args(["--write", "linesman.yaml"]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The first device is known long before the other 246 units and seven rates have been asked.
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("tty: 1 device, stopped before the end"), "{}", text(&done.stderr));
    let config = config::load(&folder.path().join("linesman.yaml"), &Overlays::default()).unwrap();
    assert_eq!(config.lines[0].devices[0].profile.name, "xy-md02-sht20", "{first}");
}
