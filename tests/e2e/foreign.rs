//! Meters and a broker that are not ours: every register's right value arrives in the documented JSON.

use crate::broker::{Broker, Gate};
use crate::gateway::Gateway;
use crate::inbox::Inbox;
use crate::meter::{Meters, profile};
use crate::outage::{LOAD, meters_for_load, under_load};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Keys whose values take more than their own registers, which the meters that are not ours do not know.
const BEYOND_THEM: [&str; 13] = [
    "scale_by:",
    "sign_by:",
    "unit_by:",
    "plus:",
    " bits:",
    "negative_from:",
    "internal:",
    "parameters:",
    "total: true",
    "type: iskra",
    "type: date",
    "type: bcd64",
    "invalid: [{",
];
/// A digit of a packed number, and a code beside a range, for which they have no value.
const NO_VALUE_FITS: [&str; 2] = ["mainone-xht-heat-meter", "wellpro-wp9038adam"];
/// Each so-manieth profile takes part: all of them are read elsewhere, from registers on file.
const EACH: usize = 5;

/// Shipped profiles of every kind, half of them for each line.
fn library() -> Vec<(String, PathBuf)> {
    let folder = profile("x").parent().unwrap().to_owned();
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| is_plain(&std::fs::read_to_string(path).unwrap()))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !NO_VALUE_FITS.contains(&name.as_str()))
        .collect();
    names.sort();
    assert!(names.len() >= 120, "{names:?}");
    names.into_iter().step_by(EACH).map(|name| (name.clone(), profile(&name))).collect()
}

fn is_plain(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.all(|line| BEYOND_THEM.iter().all(|key| !line.contains(key)))
}

/// The `devices:` of a line with one meter for each profile.
fn devices(profiles: &[(String, PathBuf)]) -> String {
    let mut yaml = String::new();
    for (unit, (name, _)) in (1..).zip(profiles) {
        // Every point every second, whatever the profile says of slow ones.
        writeln!(yaml, "      - {{ name: {name}, profile: {name}, unit: {unit}, every: 1s }}").unwrap();
    }
    yaml
}

/// Trailing zeros say nothing about the value.
fn shortest(number: &str) -> &str {
    if number.contains('.') && !number.starts_with('"') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

/// Waits until each point of each meter has arrived once, and holds it against what the meter holds.
fn assert_all_arrive(inbox: &mut Inbox, profiles: &[(String, PathBuf)], meters: &Meters) {
    for (unit, (name, _)) in (1..).zip(profiles) {
        let truth = &meters.truth[&unit];
        let mut seen = BTreeMap::new();
        let mut bad = BTreeMap::new();
        let mut looked = 0;
        inbox.until(&format!("every point of {name}"), |records| {
            for record in records[looked..].iter().filter(|record| record.device == *name) {
                seen.extend(record.values());
                bad.extend(record.bad());
            }
            looked = records.len();
            (truth.keys().all(|point| seen.contains_key(point) || bad.contains_key(point))).then_some(())
        });
        let wrong: Vec<String> = truth
            .iter()
            .filter(|(point, value)| seen.get(*point).map(|seen| shortest(seen)) != Some(shortest(value)))
            .map(|(point, value)| {
                format!("{point}: {value} expected, {:?} {:?}", seen.get(point), bad.get(point))
            })
            .collect();
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
        assert_eq!(seen.len(), truth.len(), "{name} has points that its profile does not name");
    }
}

/// The same profiles with their unit ids.
fn units(profiles: &[(String, PathBuf)]) -> Vec<(PathBuf, u8)> {
    profiles.iter().map(|(_, path)| path.clone()).zip(1..).collect()
}

#[test]
fn every_register_of_foreign_meters_arrives_at_a_foreign_broker_with_its_right_value() {
    let folder = tempfile::tempdir().unwrap();
    let library = library();
    let (serial, lan) = library.split_at(library.len() / 2);
    let port = folder.path().join("rs485-1");
    let on_serial = Meters::rtu(&port, &units(serial));
    let on_lan = Meters::tcp(&units(lan));
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let _gateway = Gateway::start(
        folder.path(),
        &format!(
            r#"gateway: {{ id: plant-7 }}
lines:
  - name: rs485-1
    serial: {{ port: {port}, baud: 9600, parity: none, stop_bits: 1 }}
    devices:
{serial}  - name: lan
    tcp: {{ address: "{lan_at}" }}
    devices:
{lan}spool: {{ dir: spool }}
upstreams:
  - name: scada
    mqtt: {{ url: "mqtt://127.0.0.1:{broker}" }}
"#,
            port = on_serial.place,
            serial = devices(serial),
            lan_at = on_lan.place,
            lan = devices(lan),
            broker = broker.port(),
        ),
    );
    assert_all_arrive(&mut inbox, serial, &on_serial);
    assert_all_arrive(&mut inbox, lan, &on_lan);
    let (_, status) = inbox.others.iter().find(|(topic, _)| topic == "status").expect("a status");
    assert!(status.contains(r#""online":true"#), "{status}");
    assert!(inbox.others.iter().any(|(topic, meta)| topic == "meta" && meta.contains(&library[0].0)));
}

#[test]
fn foreign_meters_are_read_as_right_with_ascii_frames_through_a_device_server_and_four_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let library = library();
    let (ascii, rest) = library.split_at(library.len() / 3);
    let (served, lan) = rest.split_at(rest.len() / 2);
    let on_ascii = Meters::ascii(&folder.path().join("rs485-1"), &units(ascii));
    let on_server = Meters::rtu_over_tcp(&units(served));
    // Several units behind one connection.
    let on_lan = Meters::tcp(&units(lan));
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let _gateway = Gateway::start(
        folder.path(),
        &format!(
            r#"gateway: {{ id: plant-7 }}
lines:
  - name: rs485-1
    serial: {{ port: {port}, baud: 9600, framing: ascii }}
    devices:
{ascii}  - name: server
    rtu_over_tcp: {{ address: "{server_at}" }}
    devices:
{served}  - name: lan
    tcp: {{ address: "{lan_at}", in_flight: 4 }}
    devices:
{lan}spool: {{ dir: spool }}
upstreams:
  - name: scada
    mqtt: {{ url: "mqtt://127.0.0.1:{broker}" }}
"#,
            port = on_ascii.place,
            ascii = devices(ascii),
            server_at = on_server.place,
            served = devices(served),
            lan_at = on_lan.place,
            lan = devices(lan),
            broker = broker.port(),
        ),
    );
    assert_all_arrive(&mut inbox, ascii, &on_ascii);
    assert_all_arrive(&mut inbox, served, &on_server);
    assert_all_arrive(&mut inbox, lan, &on_lan);
}

#[test]
fn nothing_but_reads_is_ever_sent_to_a_meter() {
    let folder = tempfile::tempdir().unwrap();
    let small = crate::meter::small_profile(folder.path());
    let meters = meters_for_load(&small);
    let port = meters.place.rsplit(':').next().unwrap().parse().unwrap();
    let gate = Gate::before(port);
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let place = format!("127.0.0.1:{}", gate.port());
    let gateway = Gateway::start(folder.path(), &under_load(&small, &place, broker.port()));
    inbox.until("two hundred scans", |records| (records.len() > 200).then_some(()));
    gateway.kill();
    let heard = gate.heard();
    let mut rest = &heard[..];
    let mut requests = 0;
    // The header: transaction, protocol 0, length of what follows, unit; then the function code.
    while let [_, _, 0, 0, high, low, unit, function, ..] = rest {
        assert!((1..=4).contains(function), "function {function} was sent to unit {unit}");
        let length = 6 + usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(length..).unwrap_or_default();
        requests += 1;
    }
    assert!(requests > 200, "{requests} requests of {LOAD} meters, {} octets not understood", rest.len());
}
