//! An adapter that is plugged in again, and one that only looks like it.

use crate::common::port::{Machine, Plugged, config};
use linesman::bus::link::Link as _;
use linesman::bus::{Port, SerialLink};
use std::io;
use std::path::Path;
use std::time::Duration;

const NUMBER: Option<&str> = Some("A5XK3RJT");
const OTHER: Option<&str> = Some("FTB6SPL3");

fn port(machine: &Machine, name: &Path) -> Port {
    Port::below(machine.root(), &config(name))
}

/// What comes out of the port that was opened is what the meters on this adapter say.
fn hears(link: &mut SerialLink, meters: &Plugged) -> bool {
    let name = meters.pty.name.display().to_string();
    meters.pty.say(name.as_bytes());
    let mut buffer = [0; 64];
    let until = link.now().plus(Duration::from_secs(10));
    while link.wait_readable(until).unwrap() {
        if let Some(n) = link.read(&mut buffer).unwrap() {
            return buffer[..n] == *name.as_bytes();
        }
    }
    false
}

fn refusal(result: io::Result<SerialLink>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn an_adapter_that_comes_back_under_another_name_is_found() {
    let machine = Machine::new();
    for serial in [NUMBER, None] {
        let first = machine.plug("ttyUSB0", "1-1", serial);
        let mut port = port(&machine, &machine.dev("ttyUSB0"));
        assert!(hears(&mut port.open().unwrap(), &first));
        assert!(!port.has_news(), "the same as it was");
        drop(first);
        assert!(port.has_news(), "it is gone");
        assert!(refusal(port.open()).contains("No such file"));
        assert!(!port.has_news(), "it is still gone");
        let again = machine.plug("ttyUSB1", "1-1", serial);
        assert!(port.has_news(), "it is back");
        assert!(hears(&mut port.open().unwrap(), &again));
        drop(again);
        let home = machine.plug("ttyUSB0", "1-1", serial);
        assert!(hears(&mut port.open().unwrap(), &home));
    }
}

#[test]
fn an_adapter_with_a_number_is_found_in_another_socket_too() {
    let machine = Machine::new();
    let first = machine.plug("ttyUSB0", "1-1", NUMBER);
    let mut port = port(&machine, &machine.dev("ttyUSB0"));
    drop(port.open().unwrap());
    drop(first);
    let _stranger = machine.plug("ttyUSB1", "1-1", OTHER);
    assert!(refusal(port.open()).contains("No such file"));
    let moved = machine.plug("ttyUSB2", "1-4", NUMBER);
    assert!(hears(&mut port.open().unwrap(), &moved));
}

#[test]
fn another_adapter_that_got_the_name_is_not_taken_for_the_first() {
    let machine = Machine::new();
    let first = machine.plug("ttyUSB0", "1-1", NUMBER);
    let mut port = port(&machine, &machine.dev("ttyUSB0"));
    drop(port.open().unwrap());
    drop(first);
    let _stranger = machine.plug("ttyUSB0", "1-2", OTHER);
    let why = refusal(port.open());
    let wanted =
        "it was 1a86:7523 number A5XK3RJT in socket 1-1, now it is 1a86:7523 number FTB6SPL3 in socket 1-2";
    assert!(why.contains(wanted), "{why}");
    assert!(!port.has_news());
    let back = machine.plug("ttyUSB1", "1-1", NUMBER);
    assert!(port.has_news(), "it is back beside the other");
    assert!(hears(&mut port.open().unwrap(), &back));
}

#[test]
fn two_adapters_without_numbers_that_change_names_a_hundred_times_are_never_mixed_up() {
    let machine = Machine::new();
    let (mut one, mut two) =
        (port(&machine, &machine.dev("ttyUSB0")), port(&machine, &machine.dev("ttyUSB1")));
    let names =
        [("ttyUSB0", "ttyUSB1"), ("ttyUSB1", "ttyUSB0"), ("ttyUSB2", "ttyUSB0"), ("ttyUSB1", "ttyUSB2")];
    for round in 0..100 {
        let (first, second) = names[round % names.len()];
        let left = machine.plug(first, "1-1", None);
        let right = machine.plug(second, "1-2", None);
        assert!(hears(&mut one.open().unwrap(), &left), "round {round}");
        assert!(hears(&mut two.open().unwrap(), &right), "round {round}");
    }
}

#[test]
fn a_name_by_id_that_means_two_adapters_is_refused_and_one_by_path_is_not() {
    let machine = Machine::new();
    let left = machine.plug("ttyUSB0", "1-1", None);
    machine.point_by_id_at(&left);
    let mut by_id = port(&machine, &machine.by_id());
    let mut by_path = port(&machine, &machine.by_path("1-1"));
    assert!(hears(&mut by_id.open().unwrap(), &left));
    let right = machine.plug("ttyUSB1", "1-2", None);
    machine.point_by_id_at(&right);
    let why = refusal(by_id.open());
    assert!(why.contains("2 adapters at once (ttyUSB0, ttyUSB1)") && why.contains("by-path"), "{why}");
    assert!(hears(&mut by_path.open().unwrap(), &left));
    drop(left);
    assert!(by_id.has_news());
    let why = refusal(by_id.open());
    assert!(why.contains("may be another adapter than before"), "{why}");
    let back = machine.plug("ttyUSB0", "1-1", None);
    drop(right);
    machine.point_by_id_at(&back);
    assert!(hears(&mut by_id.open().unwrap(), &back));
}

#[test]
fn a_name_of_the_owners_means_what_it_means() {
    let machine = Machine::new();
    let own = machine.root().join("dev/rs485-1");
    let first = machine.plug("ttyUSB0", "1-1", NUMBER);
    std::os::unix::fs::symlink(machine.dev("ttyUSB0"), &own).unwrap();
    let mut port = port(&machine, &own);
    let mut link = port.open().unwrap();
    assert!(hears(&mut link, &first));
    assert_eq!(link.latency_timer(), Some(16));
    drop(first);
    let other = machine.plug("ttyUSB0", "1-2", OTHER);
    assert!(port.has_news());
    assert!(hears(&mut port.open().unwrap(), &other));
}
