//! A device that says itself what it offers, on a line: walked, remembered, looked at again. On a clock that moves when
//! somebody waits.

use crate::common::hours::{Asked, Line, Replies, Seen, data, device, refusal, registers};
use linesman::bus::Scan;
use linesman::model::status::DeviceState;
use linesman::model::{Sample, Value};
use linesman::normalize;
use linesman::profile::sunspec::{self, BASES};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const TURNAROUND: Duration = Duration::from_millis(5);
const EVERY: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// Registers as a device has them; what it has not it refuses.
#[derive(Debug, Clone, Default)]
struct Device(BTreeMap<u16, u16>);

impl Device {
    fn new(base: u16, models: &[(u16, u16)], serial: &str) -> Device {
        let mut device = Device::default();
        device.put(base, &[0x5375, 0x6E53]);
        let mut at = base + 2;
        for (id, length) in models {
            device.put(at, &[*id, *length]);
            device.put(at + 2, &vec![0x8000; usize::from(*length)]);
            match id {
                1 => {
                    device.put(at + 2, &[0; 64]);
                    device.text(at + 2, "Acme");
                    device.text(at + 18, "X1");
                    device.text(at + 50, serial);
                }
                // 1.23 A, 2345 W, and 10 kWh that have been fed in.
                103 => {
                    device.put(at + 2, &[123, 123, 0xFFFF, 0xFFFF, 0xFFFE]);
                    device.put(at + 14, &[2345, 0]);
                    device.put(at + 24, &[0, 10_000, 0]);
                    device.put(at + 38, &[4]);
                }
                203 => device.put(at + 18, &[0xFF9C, 0, 0, 0, 1]),
                _ => {}
            }
            at += 2 + length;
        }
        device.put(at, &[0xFFFF, 0]);
        device
    }

    fn put(&mut self, address: u16, registers: &[u16]) {
        self.0.extend((address..).zip(registers.iter().copied()));
    }

    fn text(&mut self, address: u16, text: &str) {
        let mut octets = text.as_bytes().to_vec();
        octets.resize(octets.len().next_multiple_of(2), 0);
        let registers: Vec<u16> =
            octets.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        self.put(address, &registers);
    }

    fn answer(&self, asked: &Asked) -> Replies {
        let pdu = if (0..asked.request.count()).all(|n| self.0.contains_key(&(asked.request.address() + n))) {
            data(asked, |register| self.0[&register])
        } else {
            refusal(asked, 2)
        };
        vec![(TURNAROUND, pdu)]
    }
}

const USUAL: &[(u16, u16)] = &[(1, 66), (103, 50), (64_120, 7), (203, 105)];

fn inverter(unit: u8) -> linesman::bus::DeviceConfig {
    device(unit, &Arc::new(sunspec::unwalked()), EVERY)
}

/// The values of a scan that is all there is.
fn values(scan: &Scan) -> BTreeMap<String, Sample> {
    normalize::reading(scan, false)
        .samples
        .into_iter()
        .map(|(name, sample)| (name.to_string(), sample))
        .collect()
}

fn number(scan: &Scan, name: &str) -> String {
    match &values(scan)[name] {
        Ok(Value::Number(number)) => number.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

fn addresses(seen: &Seen) -> Vec<(u16, u16)> {
    seen.asked.iter().map(|asked| (asked.request.address(), asked.request.count())).collect()
}

#[test]
fn a_device_is_walked_and_read_while_its_neighbour_keeps_its_turn() {
    let every = Duration::from_millis(200);
    let line = Line::new(vec![inverter(1), device(2, &registers(4), every)]);
    let inverter = Device::new(40_000, USUAL, "4711");
    let seen = line.run(MINUTE, move |asked| {
        if asked.unit == 1 { inverter.answer(asked) } else { vec![(TURNAROUND, data(asked, |n| n))] }
    });
    let scans: Vec<&Scan> = seen.of("d1").collect();
    assert!(Seen::at(scans[0]) < Duration::from_secs(2) && scans.len() >= 12, "{}", scans.len());
    assert_eq!(number(scans[0], "current_l1"), "1.23");
    assert_eq!(number(scans[0], "active_power_export"), "2345");
    assert_eq!(number(scans[0], "energy_export"), "10");
    assert_eq!(number(scans[0], "meter_active_power"), "-1000");
    let first = values(scans[0]);
    assert_eq!(first["serial_number"], Ok(Value::Text("4711".into())));
    assert_eq!(first["state"], Ok(Value::Text("mppt".into())));
    assert!(
        !first.contains_key("temperature_other") && !first.contains_key("tmp_sf"),
        "what it lacks: {first:?}"
    );
    // Each block within one model.
    for (address, count) in addresses(&seen).into_iter().filter(|(address, _)| *address >= 40_000) {
        let ends = [40_002, 40_070, 40_122, 40_131, 40_238];
        assert!(!ends.iter().any(|end| address < *end && *end < address + count), "{address}+{count}");
    }
    let neighbour: Vec<Duration> = seen.of("d2").map(Seen::at).collect();
    let gaps = neighbour.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.max().unwrap() < every * 2, "a walk goes question by question");
    assert_eq!(
        seen.memory["d1"].chain.as_ref().unwrap().to_string(),
        "Acme X1: models 1, 103, 64120, 203 at 40000"
    );
}

#[test]
fn a_device_that_is_silent_where_it_has_nothing_is_found_at_each_base() {
    for base in BASES {
        let line = Line::new(vec![inverter(1)]);
        let inverter = Device::new(base, &[(1, 65), (103, 50)], "");
        let seen = line.run(MINUTE, move |asked| {
            if inverter.0.contains_key(&asked.request.address()) {
                inverter.answer(asked)
            } else {
                Vec::new()
            }
        });
        assert!(seen.of("d1").count() >= 5, "{base}: {:?}", addresses(&seen));
    }
}

#[test]
fn a_dead_device_costs_one_question_and_then_probes() {
    let line = Line::new(vec![inverter(1), device(2, &registers(4), Duration::from_secs(1))]);
    let seen = line.run(MINUTE * 10, |asked| {
        if asked.unit == 1 { Vec::new() } else { vec![(TURNAROUND, data(asked, |n| n))] }
    });
    let dead = seen.asked.iter().filter(|asked| asked.unit == 1).count();
    assert!((10..60).contains(&dead), "{dead}");
    assert!(seen.of("d1").next().is_none());
    assert_eq!(seen.status.devices[0].state, DeviceState::Quarantined);
    assert_eq!(seen.status.devices[1].state, DeviceState::Ok);
}

#[test]
fn a_device_of_another_kind_is_asked_ever_more_rarely_and_says_why() {
    let line = Line::new(vec![inverter(1)]);
    let seen = line.run(MINUTE * 10, |asked| vec![(TURNAROUND, refusal(asked, 2))]);
    assert!(seen.asked.len() < 3 * 25, "{}", seen.asked.len());
    assert_eq!(seen.status.devices[0].state, DeviceState::Degraded);
    assert_eq!(
        seen.status.devices[0].reason.map(|bad| bad.word().into_owned()).as_deref(),
        Some("exception-2")
    );
    let told: Vec<String> = seen.events.iter().map(|event| event.text.clone()).collect();
    assert_eq!(told.len(), 1, "said once: {told:?}");
    assert!(told[0].contains("SunSpec is switched off in it"), "{told:?}");
    assert_eq!(seen.status.devices[0].findings[0].kind.word(), "no-models");
}

#[test]
fn what_was_found_is_looked_at_by_its_headers_after_a_restart_and_read_at_once() {
    let inverter_1 = Device::new(40_000, USUAL, "4711");
    let answers = inverter_1.clone();
    let first = Line::new(vec![inverter(1)]).run(MINUTE, move |asked| answers.answer(asked));
    let line = Line::new(vec![inverter(1)]).remembering(first.memory);
    let seen = line.run(MINUTE, move |asked| inverter_1.answer(asked));
    let headers = [(40_000, 2), (40_002, 2), (40_070, 2), (40_131, 2), (40_238, 2)];
    assert_eq!(addresses(&seen)[..5], headers);
    assert_eq!(number(seen.of("d1").next().unwrap(), "meter_active_power"), "-1000");
    let headers = addresses(&seen).iter().filter(|(address, _)| *address == 40_070).count();
    assert_eq!(headers, 1, "as long as it answers it is not looked at again");
}

#[test]
fn no_value_is_read_where_it_stood_before_the_device_was_exchanged() {
    let old = Device::new(40_000, USUAL, "4711");
    let answers = old.clone();
    let memory = Line::new(vec![inverter(1)]).run(MINUTE, move |asked| answers.answer(asked)).memory;
    // The same models elsewhere: the old addresses can all be read, and hold something else.
    let new = Device::new(40_000, &[(1, 66), (64_120, 7), (103, 50), (203, 105), (64_121, 20)], "4712");
    let seen = Line::new(vec![inverter(1)]).remembering(memory).run(MINUTE, move |asked| new.answer(asked));
    let scans: Vec<&Scan> = seen.of("d1").collect();
    assert!(scans.len() >= 10);
    for scan in scans {
        assert_eq!(number(scan, "active_power_export"), "2345");
    }
    assert_eq!(seen.memory["d1"].chain.as_ref().unwrap().serial, "4712");
}

#[test]
fn after_a_silence_the_headers_come_before_any_value() {
    let (old, new) = (Device::new(40_000, USUAL, "4711"), Device::new(0, USUAL, "4712"));
    let quiet = Duration::from_secs(60)..Duration::from_secs(120);
    let seen = Line::new(vec![inverter(1)]).run(MINUTE * 4, move |asked| match asked.at {
        at if quiet.contains(&at) => Vec::new(),
        at if at < quiet.start => old.answer(asked),
        _ => new.answer(asked),
    });
    let back: Vec<&Asked> = seen.asked.iter().filter(|asked| asked.at >= MINUTE * 2).collect();
    assert_eq!((back[0].request.address(), back[0].request.count()), (40_000, 2));
    let good = seen
        .of("d1")
        .filter(|scan| Seen::at(scan) >= MINUTE * 2)
        .map(|scan| number(scan, "active_power_export"));
    assert!(good.collect::<Vec<_>>().iter().all(|value| value == "2345"));
    assert_eq!(seen.memory["d1"].chain.as_ref().unwrap().base, 0);
}

#[test]
fn while_a_header_is_not_answered_no_value_is_read() {
    let old = Device::new(40_000, USUAL, "4711");
    let memory = Line::new(vec![inverter(1)]).run(MINUTE, move |asked| old.answer(asked)).memory;
    let new = Device::new(40_000, &[(1, 66), (64_120, 7), (103, 50), (203, 105), (64_121, 20)], "4712");
    // Time enough for every retry within a turn.
    let slow = device(1, &Arc::new(sunspec::unwalked()), MINUTE / 2);
    let seen = Line::new(vec![slow]).remembering(memory).run(MINUTE * 12, move |asked| {
        let lost = asked.at < MINUTE * 4 && asked.request.address() == 40_070;
        if lost { Vec::new() } else { new.answer(asked) }
    });
    let good: Vec<String> = seen
        .of("d1")
        .filter(|scan| values(scan).values().any(Result::is_ok))
        .map(|scan| number(scan, "active_power_export"))
        .collect();
    assert!(good.len() > 10 && good.iter().all(|value| value == "2345"), "{good:?}");
}

#[test]
fn a_meter_that_was_exchanged_within_a_moment_is_known_by_its_number_or_by_what_it_refuses() {
    // By its number, which is read each hour; then by refusals, at once.
    for (more, within) in [(0, Duration::from_secs(3700)), (100, Duration::from_secs(70))] {
        let old = Device::new(40_000, USUAL, "4711");
        let new = Device::new(40_000, &[(1, 66), (103, 50), (64_120, 7 + more), (203, 105)], "4712");
        let new = RefCell::new(new);
        if more > 0 {
            // What stood between the models before is refused.
            new.borrow_mut().0.retain(|address, _| !(40_135..40_200).contains(address));
        }
        let new = Rc::new(new);
        let seen = Line::new(vec![inverter(1)]).run(MINUTE * 70, move |asked| {
            if asked.at < MINUTE { old.answer(asked) } else { new.borrow().answer(asked) }
        });
        let walked = seen.asked.iter().find(|asked| asked.at > MINUTE && asked.request.address() == 40_000);
        assert!(walked.unwrap().at < within, "{more}: {:?}", walked.unwrap().at);
    }
}
