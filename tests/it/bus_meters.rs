//! Meters with faults of their own on real pseudo-terminals: one that goes in the middle of its answer, one that
//! dribbles, two of one unit id, values that change while they are read, answers that get lost.

use crate::common::running::{
    Line, PATIENCE, all_good, device, line, line_named, meters, processor_of, with_faults,
};
use crate::common::station::{Station, frame_of, says};
use crate::common::{is_long, many, within};
use linesman::bus::{DeviceConfig, PortConfig, Scan, SerialConfig, Session};
use linesman::modbus::{ReadFunction, ReadRequest};
use linesman::model::status::LineState;
use linesman::model::{Bad, Clock, EventKind, FindingKind, SystemClock};
use linesman::profile::{self, Every};
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A device whose answers a busy machine may keep back for a while.
fn patient(name: &str, unit: u8, every: u64) -> DeviceConfig {
    let timeout = Duration::from_secs(2);
    DeviceConfig { timeout, min_timeout: timeout, ..device(name, unit, ms(every)) }
}

/// Waits until this is so: how long it took.
fn until(what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::park_timeout(ms(1));
    }
    began.elapsed()
}

/// This process has a terminal open of which the other end is gone. (Its name may be another one's already.)
fn holds_what_is_gone(terminal: &Path) -> bool {
    let all = fs::read_dir("/proc/self/fd").unwrap().filter_map(|one| fs::read_link(one.ok()?.path()).ok());
    let gone = format!("{} (deleted)", terminal.display());
    all.map(|target| target.display().to_string()).any(|target| target == gone)
}

#[test]
fn a_port_that_goes_in_the_middle_of_an_answer_is_closed_at_once_and_the_other_line_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (path, beside) = (folder.path().join("rs485"), folder.path().join("other"));
    let _other = meters(&beside, &[1]);
    let mut other = line(&beside, vec![patient("b", 1, 50)]);
    other.scan("the other line", all_good);
    let right = |unit: u8, request: &ReadRequest| frame_of(unit, request, |at| 100 + at);
    let mut line: Option<Line> = None;
    for octets in 0..=9 {
        let mut first = true;
        // The first answer is whole, of the second only so many octets come.
        let station = Station::start(&path, move |unit, request| match std::mem::take(&mut first) {
            true => says(right(unit, request)),
            false => {
                let mut cut = right(unit, request);
                cut.truncate(octets);
                ControlFlow::Break(vec![(ms(2), cut)])
            }
        });
        let plugged = Instant::now();
        let serial = || PortConfig::Serial(SerialConfig::new(&path, 115_200));
        let line = line.get_or_insert_with(|| line_named("cut", serial(), vec![device("a", 1, ms(50))]));
        let good = line.scan("a value", |scan| scan.fields.iter().any(|field| field.octets.is_ok()));
        let found = plugged.elapsed();
        assert!(found <= within(Duration::from_secs(5)), "read again after {found:?}");
        assert_right(&good, |register| 100 + register);
        until("the port to go", || station.has_hung_up());
        let closed = until("the port to be closed", || !holds_what_is_gone(&station.terminal));
        assert!(closed <= within(Duration::from_secs(1)), "{octets} octets: closed after {closed:?}");
        line.scan("the line to be down", |scan| scan.fields.iter().any(|f| f.octets == Err(Bad::LineDown)));
    }
    // Nobody plugs anything in.
    let (used, since) = (processor_of("line-cut"), Instant::now());
    until("time to pass", || since.elapsed() > Duration::from_secs(2));
    let share = (processor_of("line-cut") - used).as_secs_f64() / since.elapsed().as_secs_f64();
    assert!(share <= if is_long() { 0.02 } else { 0.06 }, "{share} of a core");
    let scans: Vec<Scan> = std::iter::from_fn(|| other.scans.try_recv().ok()).collect();
    assert!(scans.len() > 40 && scans.iter().all(all_good), "{} scans of the other line", scans.len());
    let late = lateness(&scans, 50);
    if is_long() {
        println!(
            "ten unplugs in mid-answer: {:.1} % of a core, the other line late by {late:?}",
            share * 100.0
        );
    }
    assert!(late <= if is_long() { ms(20) } else { ms(500) }, "the other line was late: {late:?}");
    assert_eq!(other.running.status.borrow().state, LineState::Up);
}

/// Every value that is there is the register's; the registers are 1 and 2.
fn assert_right(scan: &Scan, value: impl Fn(u16) -> u16) {
    for field in &scan.fields {
        let right = value(1 + u16::try_from(field.point).unwrap()).to_be_bytes();
        assert!(field.octets.as_ref().map_or(true, |octets| *octets == right), "{scan:?}");
    }
}

/// How much later than its period a device was read, at worst of all but one percent.
fn lateness(scans: &[Scan], period: i64) -> Duration {
    let mut late: Vec<i64> = scans.windows(2).map(|pair| pair[1].ts.0 - pair[0].ts.0 - period).collect();
    late.sort_unstable();
    ms(u64::try_from(late[late.len() * 99 / 100]).unwrap_or(0))
}

#[test]
fn on_a_line_with_an_echo_no_poll_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let wire = with_faults(&path, &[1, 2], &["echo"]);
    let mut line = line(&path, vec![patient("a", 1, 20), patient("b", 2, 20)]);
    for _ in 0..many(200) {
        let scan = line.scan("a scan", |_| true);
        assert!(all_good(&scan), "{scan:?}");
    }
    let status = line.status("an echo of each question", |status| status.counters.echoes > 100);
    assert!(status.findings.iter().any(|finding| finding.kind == FindingKind::Echo), "{status:?}");
    assert_eq!((status.counters.foreign_frames, wire.statistics().not_understood), (0, 0));
}

#[test]
fn an_answer_that_dribbles_up_to_twenty_milliseconds_an_octet_is_taken_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let mut dice = fastrand::Rng::with_seed(8);
    let value = |unit: u8, at: u16| u16::from(unit) << 8 | (at & 0xFF);
    let _station = Station::start(&path, move |unit, request| {
        let frame = frame_of(unit, request, |at| value(unit, at));
        ControlFlow::Continue(frame.into_iter().map(|octet| (ms(dice.u64(0..=20)), vec![octet])).collect())
    });
    let serial = SerialConfig::new(&path, 9600);
    let mut session = Session::open(&PortConfig::Serial(serial)).unwrap();
    let (mut whole, questions) = (0, many(30));
    for question in 0..u16::try_from(questions).unwrap() {
        let (unit, address) = (1 + u8::try_from(question % 200).unwrap(), question * 7);
        let request = ReadRequest::new(ReadFunction::HoldingRegisters, address, 2).unwrap();
        if let Ok(data) = session.read(unit, request, Duration::from_secs(1)) {
            let right = [value(unit, address), value(unit, address + 1)].map(u16::to_be_bytes).concat();
            assert_eq!(data, right, "unit {unit}, register {address}");
            whole += 1;
        }
    }
    // A machine that is busy may make twenty milliseconds more than fifty.
    let least = if is_long() { questions } else { questions * 9 / 10 };
    assert!(whole >= least, "{whole} of {questions}");
}

#[test]
fn a_second_meter_of_one_unit_id_that_answers_now_and_then_is_told_within_ten_polls() {
    for (each, apart) in [(2, 0), (3, 0), (7, 0), (3, 4)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rs485");
        let polls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&polls);
        let _station = Station::start(&path, move |unit, request| {
            let mut saying = vec![(ms(1), frame_of(unit, request, |_| 7))];
            if (count.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(each) {
                saying.push((ms(apart), frame_of(unit, request, |_| 9)));
            }
            ControlFlow::Continue(saying)
        });
        let mut line = line(&path, vec![device("double", 1, ms(60))]);
        let mut said = None;
        until("two answers to be told", || {
            let asked = polls.load(Ordering::SeqCst);
            while let Ok(event) = line.events.try_recv() {
                if event.kind == EventKind::Begins(FindingKind::TwoAnswers) {
                    said.get_or_insert((event.ts, asked));
                }
            }
            said.is_some()
        });
        let (at, asked) = said.unwrap();
        assert!(asked <= 10, "told after {asked} polls, where each {each}th is answered twice");
        let mut after = 0;
        while after < many(20) {
            let scan = line.scan("a scan", |_| true);
            let good = scan.fields.iter().filter_map(|field| field.octets.as_ref().ok());
            // The second one comes behind the first: what was believed before it was told is the first one's.
            assert!(apart > 0 || good.clone().all(|octets| octets == &[0, 7]), "{scan:?}");
            assert!(scan.ts <= at || good.count() == 0, "believed although told: {scan:?}");
            after += usize::from(scan.ts > at);
        }
    }
}

/// Ten requests a scan; each value needs four registers, of which a request has room for ten.
fn counters() -> Arc<profile::Profile> {
    let point =
        |n: u16| format!("  p{n}: {{ holding: {}, type: u64, quantity: other, unit: \"1\" }}\n", 4 * n);
    let points: String = (0..20).map(point).collect();
    let text = format!(
        "profile: 1\nvendor: Nobody\nmodel: M\nkind: other\nsources: [\"this test\"]\nmodbus: {{ max_registers: 10 \
         }}\npoints:\n{points}"
    );
    Arc::new(profile::parse("m", "m.yaml", &text).unwrap_or_else(|problems| panic!("{problems}")))
}

#[test]
fn no_value_of_several_registers_is_of_two_moments_where_all_change_with_every_question() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let (mut dice, mut count) = (fastrand::Rng::with_seed(17), 0u16);
    let asked = Arc::new(AtomicU32::new(0));
    let questions = Arc::clone(&asked);
    let _station = Station::start(&path, move |unit, request| {
        count = count.wrapping_add(1);
        questions.fetch_add(1, Ordering::SeqCst);
        let mut frame = frame_of(unit, request, |_| count);
        match dice.u8(..20) {
            0 => frame.clear(),
            1 => frame[5] ^= 4,
            2 => frame.truncate(9),
            _ => {}
        }
        ControlFlow::Continue(vec![(ms(1), frame)])
    });
    let every = Every::Period(ms(100));
    let config =
        DeviceConfig { timeout: ms(100), ..DeviceConfig::new("m".parse().unwrap(), 1, counters(), every) };
    let mut line = line(&path, vec![config]);
    let mut values = 0;
    while asked.load(Ordering::SeqCst) < u32::try_from(many(500)).unwrap() {
        let scan = line.scan("a scan", |_| true);
        for octets in scan.fields.iter().filter_map(|field| field.octets.as_ref().ok()) {
            assert!(octets.len() == 8 && octets.chunks(2).all(|word| word == &octets[..2]), "{octets:?}");
            values += 1;
        }
    }
    assert!(values > many(400), "{values} values");
}

/// Twenty meters that are asked every three seconds; three of ten answers get lost, some on their way to us, some are
/// not even begun.
#[test]
fn where_three_of_ten_answers_are_lost_on_a_real_terminal_most_samples_come() {
    const PERIOD: u64 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rs485");
    let mut dice = fastrand::Rng::with_seed(14);
    let _station = Station::start(&path, move |unit, request| {
        let mut frame = frame_of(unit, request, |at| u16::from(unit) << 8 | at);
        match dice.u8(..10) {
            0..2 => frame.clear(),
            2 => frame[4] ^= 0x10,
            _ => {}
        }
        ControlFlow::Continue(vec![(ms(1), frame)])
    });
    let devices: Vec<DeviceConfig> = (1..=20u8)
        .map(|unit| DeviceConfig { retries: 2, ..device(&format!("d{unit}"), unit, ms(PERIOD)) })
        .collect();
    let (began, mut line) = (SystemClock.utc().0, line(&path, devices));
    let (period, periods) = (i64::try_from(PERIOD).unwrap(), i64::try_from(many(5)).unwrap());
    let (mut got, mut now) = (BTreeSet::new(), began);
    while now < began + period * (periods + 1) {
        let scan = line.scan("a scan", |_| true);
        now = now.max(scan.ts.0);
        let unit: u8 = scan.device.as_str()[1..].parse().unwrap();
        assert_right(&scan, |register| u16::from(unit) << 8 | register);
        // What comes twice in one period counts once. Each has its own moment to begin.
        let turn = (scan.ts.0 - began - period * i64::from(unit - 1) / 20) / period;
        let good = scan.fields.iter().filter(|field| field.octets.is_ok() && turn < periods);
        got.extend(good.map(|field| (unit, turn, field.point)));
    }
    let (got, due) = (got.len(), many(5) * 20 * 2);
    if is_long() {
        println!("three of ten answers lost: {got} of {due} samples");
    }
    assert!(got * 100 >= due * if is_long() { 97 } else { 90 }, "{got} of {due}");
}
