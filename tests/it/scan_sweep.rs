//! The sweep of a scan over settings and unit ids, on a wire and a clock of the test's own.

use crate::common::wire::{Events, VirtualClock, VirtualLink};
use linesman::bus::Failure;
use linesman::bus::scan::{
    End, Found, How, Lane, Pastime, Ports, Progress, Settings, Sweep, Watch, Wishes, sweep,
};
use linesman::modbus::{ReadFunction, ReadRequest, rtu};
use linesman::model::{Clock, Mono};
use linesman::profile::Parity;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_millis(80);

/// What comes back for a question to this unit at these settings.
type Peer = Rc<RefCell<dyn FnMut(Settings, u8, &[u8]) -> Events>>;

/// What was sent, and at which settings.
type Sent = Rc<RefCell<Vec<(Settings, Vec<u8>)>>>;

/// A bus on which every opening is a new link to the same peers.
struct Bus {
    clock: Arc<VirtualClock>,
    peer: Peer,
    keeps_parity: bool,
    sent: Sent,
}

impl Ports for Bus {
    type Link = VirtualLink;

    fn open(&mut self, settings: Settings) -> Result<Option<VirtualLink>, Failure> {
        if settings.parity != Parity::None && !self.keeps_parity {
            return Ok(None);
        }
        let mut link = VirtualLink::with_clock(settings.pace(), Arc::clone(&self.clock));
        let (peer, sent) = (Rc::clone(&self.peer), Rc::clone(&self.sent));
        link.responder = Some(Box::new(move |frame| {
            let (unit, pdu) = rtu::unframe(frame).unwrap();
            sent.borrow_mut().push((settings, frame.to_vec()));
            (peer.borrow_mut())(settings, unit, pdu)
        }));
        Ok(Some(link))
    }
}

#[derive(Default)]
struct Seen {
    found: Vec<Found>,
    left_out: Vec<Settings>,
    seen_through: Vec<Settings>,
    /// Time that was said to be left at most, and questions asked, in the order of the questions.
    said: Vec<(Duration, usize)>,
}

impl Watch<Bus> for Seen {
    fn found(&mut self, lane: &mut Lane<Bus>, found: Found) -> Result<(), Failure> {
        assert_eq!(lane.settings(), found.settings, "the line can be used at once");
        self.found.push(found);
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        self.said.push((progress.time_left, progress.asked));
    }

    fn left_out(&mut self, settings: Settings) {
        self.left_out.push(settings);
    }

    fn seen_through(&mut self, settings: Settings) {
        self.seen_through.push(settings);
    }
}

struct Outcome {
    end: End,
    pastime: Pastime,
    seen: Seen,
    took: Duration,
    sent: Vec<(Settings, Vec<u8>)>,
}

impl Outcome {
    fn units(&self) -> Vec<(u32, u8, How)> {
        let mut units: Vec<_> =
            self.seen.found.iter().map(|f| (f.settings.unwrap().baud, f.unit, f.how)).collect();
        units.sort_by_key(|(_, unit, _)| *unit);
        units
    }
}

fn settings(baud: u32, parity: Parity) -> Settings {
    Settings { baud, parity, stop_bits: 1 }
}

fn all_settings() -> Vec<Settings> {
    let bauds = [9600, 19_200, 38_400, 115_200];
    let parities = [Parity::None, Parity::Even, Parity::Odd];
    bauds.iter().flat_map(|baud| parities.map(|parity| settings(*baud, parity))).collect()
}

fn run(
    units: &[u8],
    settings: &[Settings],
    keeps_parity: bool,
    peer: impl FnMut(Settings, u8, &[u8]) -> Events + 'static,
) -> Outcome {
    let clock = Arc::new(VirtualClock::new());
    let sent = Rc::new(RefCell::new(Vec::new()));
    let bus = Bus {
        clock: Arc::clone(&clock),
        peer: Rc::new(RefCell::new(peer)),
        keeps_parity,
        sent: Rc::clone(&sent),
    };
    let mut lane = Lane::new("bus", bus);
    let task = Sweep {
        wishes: Wishes::new(units, settings, &[]),
        patience: PATIENCE,
        talk_anyway: false,
        stop: CancellationToken::new(),
    };
    let (mut seen, began) = (Seen::default(), clock.mono());
    let (end, pastime) = sweep(&mut lane, &task, &mut seen).unwrap();
    let took = clock.mono().since(Mono(began.0));
    let sent = sent.borrow().clone();
    Outcome { end, pastime, seen, took, sent }
}

/// What a meter says that has every register and this value in each.
fn answer(unit: u8, pdu: &[u8], word: u16) -> Vec<u8> {
    let Ok(request) = ReadRequest::decode(pdu) else { return rtu::frame(unit, &[pdu[0] | 0x80, 1]) };
    let data: Vec<u8> = word.to_be_bytes().repeat(usize::from(request.count()));
    rtu::frame(unit, &linesman::modbus::encode_data_reply(&request, &data))
}

fn after(ms: u64, octets: Vec<u8>) -> Events {
    vec![(Duration::from_millis(ms), octets)]
}

#[test]
fn a_whole_sweep_finds_everybody_once_in_hardly_more_than_its_questions_must_take() {
    let at: BTreeMap<u8, Settings> = (0..10)
        .map(|n| {
            let here = if n < 6 { settings(9600, Parity::None) } else { settings(19_200, Parity::Even) };
            (1 + n * 27, here)
        })
        .collect();
    let (meters, units) = (at.clone(), (1..=247).collect::<Vec<u8>>());
    let outcome = run(&units, &all_settings(), true, move |here, unit, pdu| match meters.get(&unit) {
        Some(own) if *own == here => after(10, answer(unit, pdu, 7)),
        _ => Vec::new(),
    });
    let wanted: Vec<_> = at.iter().map(|(unit, at)| (at.baud, *unit, How::Answered)).collect();
    assert_eq!((outcome.end, outcome.units()), (End::Done, wanted));
    // The least by other means than the sweep's own: each frame's time on the wire, and for a silent one the wait.
    let wait = |here: &Settings| PATIENCE + here.pace().octets(5);
    let least: Duration =
        outcome.sent.iter().map(|(here, frame)| here.pace().octets(frame.len()) + wait(here)).sum();
    let ratio = outcome.took.as_secs_f64() / least.as_secs_f64();
    println!("{} questions in {:?}: {ratio:.3} × the least", outcome.sent.len(), outcome.took);
    assert!(ratio <= 1.2, "{ratio}");
    let own = outcome.pastime.took.as_secs_f64() / outcome.pastime.least.as_secs_f64();
    assert!((1.0..=1.2).contains(&own), "{own}");
    // Nobody who has answered is asked again, and nothing but reads is sent.
    for (unit, home) in &at {
        let last = outcome.sent.iter().rfind(|(_, frame)| frame[0] == *unit).unwrap();
        assert_eq!(last.0, *home, "unit {unit}");
    }
    assert!(outcome.sent.iter().all(|(_, frame)| matches!(frame[1], 1..=4 | 0x11 | 0x2B)));
    // What was said to be left at the beginning was about right.
    let (said, _) = outcome.seen.said[0];
    assert!(
        said >= outcome.took * 9 / 10 && said <= outcome.took * 12 / 10,
        "{said:?} of {:?}",
        outcome.took
    );
}

#[test]
fn where_somebody_answers_the_others_there_are_found_before_other_settings_are_gone_through() {
    let units: Vec<u8> = (1..=40).collect();
    let home = settings(38_400, Parity::Odd);
    let outcome = run(&units, &all_settings(), true, move |here, unit, pdu| {
        if here == home && [3, 31].contains(&unit) { after(5, answer(unit, pdu, 1)) } else { Vec::new() }
    });
    assert_eq!(outcome.units(), [(38_400, 3, How::Answered), (38_400, 31, How::Answered)]);
    assert_eq!(outcome.seen.seen_through, [home]);
    let first_of = |unit: u8| outcome.sent.iter().position(|(at, f)| *at == home && f[0] == unit).unwrap();
    let between = &outcome.sent[first_of(3)..first_of(31)];
    assert!(between.iter().all(|(at, _)| *at == home));
}

#[test]
fn a_parity_that_the_driver_does_not_keep_is_left_out_so_that_nobody_is_found_thrice() {
    let outcome = run(&[1, 2], &all_settings(), false, |here, unit, pdu| {
        if here.baud == 9600 && unit == 2 { after(5, answer(unit, pdu, 1)) } else { Vec::new() }
    });
    assert_eq!(outcome.units(), [(9600, 2, How::Answered)]);
    assert_eq!(outcome.seen.left_out.len(), 8, "{:?}", outcome.seen.left_out);
}

#[test]
fn who_answers_later_than_is_waited_for_is_found_all_the_same() {
    let units: Vec<u8> = (1..=20).collect();
    let one = [settings(9600, Parity::None)];
    let outcome =
        run(
            &units,
            &one,
            true,
            |_, unit, pdu| {
                if unit == 7 { after(230, answer(unit, pdu, 1)) } else { Vec::new() }
            },
        );
    assert_eq!(outcome.units(), [(9600, 7, How::Answered)]);
    let latency = outcome.seen.found[0].latency;
    assert!(latency >= Duration::from_millis(230) && latency < Duration::from_millis(300), "{latency:?}");
}

#[test]
fn two_devices_under_one_unit_id_are_known_by_their_answers_or_by_the_damage() {
    let units: Vec<u8> = (1..=10).collect();
    let outcome = run(&units, &[settings(9600, Parity::None)], true, |_, unit, pdu| match unit {
        // One after the other …
        3 => vec![
            (Duration::from_millis(5), answer(unit, pdu, 1)),
            (Duration::from_millis(14), answer(unit, pdu, 2)),
        ],
        // … or both at once.
        6 => after(5, vec![0x55; 9]),
        8 => after(5, answer(unit, pdu, 1)),
        _ => Vec::new(),
    });
    assert_eq!(
        outcome.units(),
        [(9600, 3, How::TwoAnswers), (9600, 6, How::Damaged), (9600, 8, How::Answered)]
    );
}

#[test]
fn another_master_that_turns_up_ends_the_sweep() {
    let units: Vec<u8> = (1..=50).collect();
    let question = ReadRequest::new(ReadFunction::HoldingRegisters, 0, 2).unwrap();
    let outcome = run(&units, &[settings(9600, Parity::None)], true, move |_, unit, _| {
        if unit > 10 { after(20, rtu::frame(99, &question.pdu())) } else { Vec::new() }
    });
    assert_eq!(outcome.end, End::AnotherMaster(settings(9600, Parity::None)));
    assert!(outcome.sent.iter().all(|(_, frame)| frame[0] <= 13), "it fell silent at once");
}

#[test]
fn a_line_that_is_full_of_noise_is_gone_through_without_finding_anybody() {
    let units: Vec<u8> = (1..=100).collect();
    let outcome = run(&units, &[settings(9600, Parity::None)], true, |_, unit, _| {
        after(u64::from(unit % 30), vec![0xFF, 0x00, unit])
    });
    assert_eq!((outcome.end, outcome.units()), (End::Done, Vec::new()));
    assert!(outcome.took < PATIENCE * 100 * 4, "{:?}", outcome.took);
}

#[test]
fn told_to_stop_it_stops_with_what_it_has() {
    let stop = CancellationToken::new();
    let (told, clock) = (stop.clone(), Arc::new(VirtualClock::new()));
    let peer = move |_: Settings, unit: u8, pdu: &[u8]| {
        if unit == 5 {
            told.cancel();
        }
        if unit == 2 { after(5, answer(unit, pdu, 1)) } else { Vec::new() }
    };
    let sent = Rc::default();
    let bus = Bus { clock, peer: Rc::new(RefCell::new(peer)), keeps_parity: true, sent };
    let wishes = Wishes::new(&(1..=9).collect::<Vec<u8>>(), &[settings(9600, Parity::None)], &[]);
    let task = Sweep { wishes, patience: PATIENCE, talk_anyway: false, stop };
    let mut seen = Seen::default();
    let (end, _) = sweep(&mut Lane::new("bus", bus), &task, &mut seen).unwrap();
    assert_eq!((end, seen.found.len()), (End::Stopped, 1));
    assert!(seen.said.len() <= 6);
}
