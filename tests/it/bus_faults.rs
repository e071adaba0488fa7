//! Faults of the field on real pseudo-terminals: what is said of them, how soon, and that no value is wrong.
//!
//! The limits are those that were promised; a machine that has other work may take three times as long, but not in
//! the long run (`tests/run --long`), which is to have it for itself.

use crate::common::running::{
    self, Line, PATIENCE, all_good, device, line, line_named, processor_of, with_faults,
};
use crate::common::{is_long, many, within};
use linesman::bus::{DeviceConfig, PortConfig, Scan, SerialConfig};
use linesman::model::status::DeviceState;
use linesman::model::{Event, EventKind, FindingKind, Timestamp, Value};
use linesman::sim::Meter;
use linesman::sim::wire::{self, WireConfig};
use linesman::{normalize, profile};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What a line with faults has said and read until it was enough.
struct Watched {
    events: Vec<Event>,
    scans: Vec<Scan>,
}

impl Watched {
    fn new() -> Watched {
        Watched { events: Vec::new(), scans: Vec::new() }
    }

    /// Takes what has come since.
    fn take(&mut self, line: &mut Line) {
        while let Ok(scan) = line.scans.try_recv() {
            self.scans.push(scan);
        }
        while let Ok(event) = line.events.try_recv() {
            self.events.push(event);
        }
    }

    /// Waits until this is so.
    fn until(&mut self, line: &mut Line, what: &str, so: impl Fn(&Watched) -> bool) {
        let end = Instant::now() + PATIENCE * if is_long() { 20 } else { 2 };
        while !so(self) {
            self.take(line);
            let status = line.running.status.borrow().clone();
            assert!(Instant::now() < end, "waited in vain for {what}: {:?} {status:?}", self.events);
            thread::park_timeout(ms(2));
        }
    }

    /// When this was said first.
    fn said(&self, kind: EventKind) -> Option<Timestamp> {
        self.events.iter().find(|event| event.kind == kind).map(|event| event.ts)
    }

    fn good(&self) -> usize {
        self.scans.iter().flat_map(|scan| &scan.fields).filter(|field| field.octets.is_ok()).count()
    }

    fn good_of(&self, device: &str) -> usize {
        let of_it = self.scans.iter().filter(|scan| scan.device.as_str() == device);
        of_it.flat_map(|scan| &scan.fields).filter(|field| field.octets.is_ok()).count()
    }
}

fn begins(kind: FindingKind) -> EventKind {
    EventKind::Begins(kind)
}

/// What the simulator's meter with this unit id shows at some second of the time that this scan took.
fn assert_is_true(scan: &Scan, unit: u8) {
    let meter = Meter::new(running::profile(), unit, 1);
    // The stamp is of the first answer's end: it was shown before, and another answer's values later, after what was asked
    // again. A second more, for the meter looks at its clock before it speaks.
    let took = i64::try_from(scan.took.as_millis()).unwrap();
    let shown: Vec<_> =
        (-1..=took / 1000 + 2).map(|second| meter.truth(Timestamp(scan.ts.0 + second * 1000))).collect();
    for (name, sample) in normalize::reading(scan, false).samples {
        let is = |value: &Value| shown.iter().flatten().any(|(of, shown)| *of == name && shown == value);
        let is_true = sample.as_ref().map_or(true, is);
        assert!(
            is_true,
            "unit {unit}: {name} {sample:?} where {shown:?} is shown, and the scan took {took} ms"
        );
    }
}

#[test]
fn no_value_is_wrong_where_everything_goes_wrong_by_chance() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let faults =
        ["crc=0.1", "drop=0.05", "noise=0.3", "garble=0.05", "short=0.05", "foreign=0.3", "jitter=20"];
    // What the simulator puts before an answer comes from the unit after the one that was asked, with values of nobody. Those
    // units are not asked here: on a machine that is so busy that the line gives up and goes on to them meanwhile, no
    // master could tell that from an answer.
    let units: Vec<u8> = (1..=16).map(|n| 2 * n).collect();
    let wire = with_faults(&path, &units, &faults);
    let devices = units.iter().map(|unit| device(&format!("d{unit}"), *unit, ms(200))).collect();
    let mut line = line(&path, devices);
    let mut watched = Watched::new();
    watched.until(&mut line, "many transactions", |_| wire.statistics().requests >= many(500) as u64);
    for scan in &watched.scans {
        assert_is_true(scan, scan.device.as_str()[1..].parse().unwrap());
    }
    assert!(watched.good() > many(300), "{} good values", watched.good());
    assert_eq!(wire.statistics().too_soon, 0);
}

#[test]
fn two_meters_with_one_unit_id_are_told_and_neither_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let _wire = with_faults(&path, &[1, 2], &["1:twin"]);
    let mut line = line(&path, vec![device("double", 1, ms(30)), device("single", 2, ms(30))]);
    let mut watched = Watched::new();
    watched.until(&mut line, "many scans", |watched| watched.scans.len() >= many(500));
    let said = watched.said(begins(FindingKind::TwoAnswers)).expect("two answers are told");
    let of_it = watched.scans.iter().filter(|scan| scan.device.as_str() == "double");
    assert!(of_it.clone().filter(|scan| scan.ts <= said).count() <= 10, "told after ten polls");
    // On a busy machine the second answer may come so late that the first poll does not show it.
    let believed =
        of_it.filter(|scan| scan.ts > said && scan.fields.iter().any(|field| field.octets.is_ok()));
    assert_eq!(believed.count(), 0, "a value is believed");
    assert_eq!(
        watched.good_of("single"),
        2 * watched.scans.iter().filter(|s| s.device.as_str() == "single").count()
    );
    let finding = &line.running.status.borrow().devices[0].findings;
    assert!(
        finding.iter().any(|finding| finding.text.contains("two devices have this unit id")),
        "{finding:?}"
    );
}

#[test]
fn a_line_that_babbles_is_told_costs_little_and_is_read_again_when_it_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    // Whole seconds since the wire was there.
    let (from, to) = (1, 5);
    let _wire = with_faults(&path, &[1], &[&format!("babble@{from}-{to}")]);
    let began = Instant::now();
    let serial = PortConfig::Serial(SerialConfig::new(&path, 115_200));
    let mut line = line_named("babble", serial, vec![device("a", 1, ms(100))]);
    let mut watched = Watched::new();
    watched.until(&mut line, "a good value", |watched| watched.good() > 0);
    watched
        .until(&mut line, "babble to be told", |watched| watched.said(begins(FindingKind::Babble)).is_some());
    let told = began.elapsed().saturating_sub(Duration::from_secs(from));
    assert!(told <= within(Duration::from_secs(3)), "told after {told:?}");
    let (used, since) = (processor_of("line-babble"), Instant::now());
    let end = began + Duration::from_secs(to);
    while Instant::now() < end {
        thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
    let (used, span) = (processor_of("line-babble") - used, since.elapsed());
    let share = used.as_secs_f64() / span.as_secs_f64();
    if is_long() {
        println!("babble at 115200 baud: told after {told:?}, {:.1} % of a core", share * 100.0);
    }
    assert!(share <= if is_long() { 0.1 } else { 0.3 }, "{used:?} of {span:?}");
    let count = watched.scans.len();
    watched.until(&mut line, "a good value after it", |watched| watched.scans[count..].iter().any(all_good));
    let found = end.elapsed();
    assert!(found <= within(Duration::from_secs(5)), "read again after {found:?}");
    watched.until(&mut line, "the end of babble", |watched| {
        watched.said(EventKind::Ends(FindingKind::Babble)).is_some()
    });
    watched.scans.iter().for_each(|scan| assert_is_true(scan, 1));
}

/// Twenty lines at once, half of them with nothing but garbage, half of them silent.
#[test]
fn garbage_and_silence_are_told_apart_within_three_polls() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for unit in 1..=20u8 {
        let path = folder.path().join(format!("rs485-{unit}"));
        let (fault, kind) = match unit % 2 {
            0 => ("garble=1", FindingKind::NoValidFrame),
            _ => ("dead", FindingKind::Silence),
        };
        let wire = with_faults(&path, &[unit], &[fault]);
        all.push((line(&path, vec![device("a", unit, ms(50))]), wire, kind, Watched::new()));
    }
    let end = Instant::now() + PATIENCE;
    while !all.is_empty() {
        assert!(Instant::now() < end, "nothing is said of {} lines", all.len());
        all.retain_mut(|(line, _, kind, watched)| {
            // Before what it has said: a question more is asked a second later.
            let polls = line.running.status.borrow().counters.requests;
            watched.take(line);
            let said: Vec<EventKind> =
                watched.events.iter().map(|event| event.kind).filter(is_a_finding).collect();
            if !said.is_empty() {
                assert_eq!(said, [begins(*kind)], "{:?}", watched.events);
                assert!(polls <= 3, "{kind} after {polls} polls");
                assert_eq!(watched.good(), 0);
            }
            said.is_empty()
        });
        thread::park_timeout(ms(2));
    }
}

fn is_a_finding(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Begins(_))
}

#[test]
fn another_master_is_told_and_what_it_is_answered_is_none_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let began = Instant::now();
    let _wire = with_faults(&path, &[1, 2], &["master"]);
    let mut line = line(&path, vec![device("d1", 1, ms(40)), device("d2", 2, ms(40))]);
    let mut watched = Watched::new();
    watched.until(&mut line, "another master to be told", |watched| {
        watched.said(begins(FindingKind::AnotherMaster)).is_some()
    });
    assert!(began.elapsed() <= within(Duration::from_secs(10)), "told after {:?}", began.elapsed());
    watched.until(&mut line, "many scans", |watched| watched.scans.len() >= many(200));
    for scan in &watched.scans {
        assert_is_true(scan, scan.device.as_str()[1..].parse().unwrap());
    }
    // What it asks collides with what we ask now and then.
    assert!(watched.good() >= many(200) * 2 * 8 / 10, "{} good values", watched.good());
}

#[test]
fn one_bad_register_costs_itself_and_the_others_at_most_a_sample() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let profile = profile::find("eastron-sdm120", Path::new("."), &[]).unwrap();
    let bad = profile.points.iter().position(|point| point.name.as_str() == "active_power").unwrap();
    let fault = format!("exception=2@{}", profile.points[bad].address);
    let wire = {
        let faults = linesman::sim::Faults::new(vec![fault.parse().unwrap()], 1);
        let meters = vec![Meter::new(profile.clone(), 1, 1)];
        wire::start(WireConfig { path: Some(path.clone()), faults, ..WireConfig::new(meters, 115_200) })
            .unwrap()
    };
    let every = linesman::profile::Every::Period(ms(300));
    let mut line = line(&path, vec![DeviceConfig::new("a".parse().unwrap(), 1, profile.clone(), every)]);
    let mut watched = Watched::new();
    watched.until(&mut line, "some scans", |watched| watched.scans.len() >= many(10));
    for point in 0..profile.points.len() {
        let is_bad = |scan: &&Scan| scan.fields[point].octets.is_err();
        let lost = watched.scans.iter().filter(is_bad).count();
        let most = if point == bad { watched.scans.len() } else { 1 };
        assert!(lost <= most && (point != bad || lost == most), "{}: {lost}", profile.points[point].name);
    }
    let status = line.status("the refusal", |status| !status.devices[0].refused.is_empty());
    assert_eq!(status.devices[0].refused, [(profile.points[bad].name.clone(), 2)]);
    assert_eq!(status.devices[0].state, DeviceState::Degraded);
    let counters = status.devices[0].counters;
    let most = u64::from(u32::try_from(profile.points.len()).unwrap().next_power_of_two().trailing_zeros());
    assert!(counters.exceptions <= most + 2, "{counters:?}");
    assert_eq!(wire.statistics().not_understood, 0);
}
