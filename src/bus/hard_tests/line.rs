//! The owner of a line, with devices made of functions and a clock that is turned.

use crate::bus::owner::{Heard, Next, Owner, Question};
use crate::bus::plan::tests::{point, profile};
use crate::bus::transact::{Notes, Outcome, Trace};
use crate::bus::{DeviceConfig, Field, LineConfig, PortConfig, Scan, SerialConfig, Surroundings};
use crate::modbus::{Ask, Framing, ReadRequest};
use crate::model::status::{BusCounters, LineStatus};
use crate::model::{Bad, Clock, Event, EventKind, Mono, Timestamp};
use crate::profile::{Every, Format, Table};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Turned(AtomicU64);

impl Turned {
    fn to(&self, now: Mono) {
        self.0.fetch_max(now.0, Ordering::Relaxed);
    }
}

impl Clock for Turned {
    fn utc(&self) -> Timestamp {
        Timestamp(i64::try_from(self.mono().0 / 1_000_000).unwrap())
    }

    fn mono(&self) -> Mono {
        Mono(self.0.load(Ordering::Relaxed))
    }
}

pub(super) struct Line {
    owner: Owner,
    clock: Arc<Turned>,
    scans: mpsc::Receiver<Scan>,
    events: mpsc::Receiver<Event>,
    pub(super) status: watch::Receiver<LineStatus>,
    /// Every question put: when, to which device, what came, how long it took.
    pub(super) asked: Vec<(Mono, usize, Outcome, Duration)>,
}

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A device of so many registers in a row.
pub(super) fn device(unit: u8, registers: u16, every: Every) -> DeviceConfig {
    let points = (0..registers).map(|n| point(&format!("p{n}"), Table::HoldingRegister, n, Format::U16));
    let mut profile = profile(points.collect());
    profile.habits.max_registers = 125;
    DeviceConfig::new(format!("d{unit}").parse().unwrap(), unit, Arc::new(profile), every)
}

pub(super) fn every(span: Duration) -> Every {
    Every::Period(span)
}

impl Line {
    pub(super) fn new(devices: Vec<DeviceConfig>) -> Line {
        let clock = Arc::new(Turned::default());
        let serial = SerialConfig { framing: Framing::Rtu, ..SerialConfig::new("/dev/null", 9600) };
        let config = LineConfig {
            name: "l".parse().unwrap(),
            port: PortConfig::Serial(serial),
            devices,
            max_probe: crate::bus::MAX_PROBE,
        };
        let (scans_in, scans) = mpsc::channel(100_000);
        let (events_in, events) = mpsc::channel(100_000);
        let around = Surroundings {
            events: Some(events_in),
            ..Surroundings::new(Arc::clone(&clock) as Arc<dyn Clock>, scans_in, CancellationToken::new())
        };
        let (mut owner, running) = Owner::new(&config, around, oneshot::channel().1);
        owner.opened(&[]);
        owner.ledger.up();
        Line { owner, clock, scans, events, status: running.status, asked: Vec::new() }
    }

    pub(super) fn now(&self) -> Mono {
        self.clock.mono()
    }

    /// Lets the line run until then; `answer` says what comes of a question, and after how long.
    pub(super) fn run(
        &mut self,
        until: Duration,
        mut answer: impl FnMut(&Question, Mono) -> (Outcome, Duration),
    ) {
        let until = Mono(0).plus(until);
        while self.now() < until {
            let now = self.now();
            self.owner.ledger.beat();
            match self.owner.next(&|_, _| None) {
                Next::Ask(question) => {
                    let (outcome, took) = answer(&question, now);
                    self.clock.to(now.plus(took));
                    self.asked.push((now, question.index, outcome.clone(), took));
                    self.owner.heard(question, heard(outcome, now, self.now()));
                }
                Next::Wait(at) => {
                    assert!(at > now, "waits for what is past");
                    self.clock.to(at.min(until));
                }
                Next::Nothing => self.clock.to(now.plus(ms(100))),
            }
        }
    }

    /// The process sleeps until then.
    pub(super) fn pause(&mut self, until: Duration) {
        self.clock.to(Mono(0).plus(until));
    }

    pub(super) fn scans(&mut self) -> Vec<Scan> {
        std::iter::from_fn(|| self.scans.try_recv().ok()).collect()
    }

    pub(super) fn events(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|event| event.kind).collect()
    }
}

fn heard(outcome: Outcome, sent: Mono, ended: Mono) -> Heard {
    let answered = matches!(outcome, Outcome::Data(_) | Outcome::Exception(_));
    let trace = Trace { sent, last_octet_left: sent, first_heard: answered.then_some(ended), ended };
    let counted = BusCounters { requests: 1, ..BusCounters::default() };
    Heard { outcome, trace, counted, notes: Notes::default() }
}

pub(super) fn request(question: &Question) -> ReadRequest {
    match question.ask {
        Ask::Read(request) => request,
        other @ (Ask::Echo(_) | Ask::ServerId | Ask::Identification { .. }) => panic!("{other:?} is no read"),
    }
}

pub(super) fn data(question: &Question) -> Outcome {
    Outcome::Data(vec![1; request(question).reply_data_octets()])
}

pub(super) fn silence(question: &Question) -> (Outcome, Duration) {
    (Outcome::NoReply, question.manners.timeout)
}

#[test]
fn a_device_that_was_told_to_be_lost_is_told_to_be_found_also_when_the_line_was_away_meanwhile() {
    let mut line = Line::new(vec![device(1, 4, every(seconds(1)))]);
    line.run(seconds(10), |question, _| (data(question), ms(20)));
    line.run(seconds(60), |question, _| silence(question));
    line.owner.down("pulled out");
    line.owner.opened(&[]);
    line.owner.ledger.up();
    line.run(seconds(120), |question, _| silence(question));
    line.owner.down("pulled out");
    line.owner.opened(&[]);
    line.owner.ledger.up();
    line.run(seconds(240), |question, _| (data(question), ms(20)));
    let events = line.events();
    let count = |kind| events.iter().filter(|event| **event == kind).count();
    assert_eq!((count(EventKind::DeviceLost), count(EventKind::DeviceFound)), (1, 1), "{events:?}");
}

#[test]
fn after_a_power_cut_the_whole_line_is_soon_back() {
    let devices = (1..=10).map(|unit| device(unit, 4, every(seconds(1)))).collect();
    let mut line = Line::new(devices);
    let back = Mono(0).plus(seconds(120));
    line.run(
        seconds(600),
        |question, at| {
            if at < back { silence(question) } else { (data(question), ms(20)) }
        },
    );
    let first = |index| {
        let of = |(_, of, outcome, _): &&(Mono, usize, Outcome, Duration)| {
            *of == index && matches!(outcome, Outcome::Data(_))
        };
        line.asked.iter().find(of).map_or(seconds(9999), |(at, ..)| at.since(back))
    };
    let times: Vec<Duration> = (0..10).map(first).collect();
    assert!(times.iter().all(|time| *time <= seconds(30)), "{times:?}");
}

#[test]
fn the_load_of_a_line_on_which_nothing_is_asked_any_more_is_none() {
    let mut line = Line::new(vec![device(1, 4, every(seconds(1)))]);
    line.run(seconds(120), |question, _| (data(question), ms(500)));
    assert!(line.status.borrow().load_permille > 400);
    line.owner.down("pulled out");
    for second in 121..300 {
        line.clock.to(Mono(0).plus(seconds(second)));
        let until = line.now().plus(seconds(1));
        line.owner.say_that_the_line_is_down(until);
    }
    assert_eq!(line.status.borrow().load_permille, 0);
}

/// Several questions under way, answers in any order and of any kind, the line away now and then: then fair
/// weather, in which everybody must be back.
#[test]
fn whatever_comes_every_scan_is_whole_and_every_device_gets_its_turn() {
    for seed in 0..12 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let devices: Vec<DeviceConfig> =
            (1..=dice.u8(1..5)).map(|unit| any_device(unit, &mut dice)).collect();
        let sizes: Vec<usize> = devices.iter().map(|device| device.every.len()).collect();
        let mut line = Line::new(devices);
        line.storm(seed, &mut dice, sizes.len());
        let calm = line.now();
        let mut last = vec![calm; sizes.len()];
        let mut whole = |line: &mut Line| {
            let now = line.now();
            for scan in line.scans() {
                let unit: usize = scan.device.as_str()[1..].parse().unwrap();
                let whole = scan.fields.len() == sizes[unit - 1];
                // Or it brings what the one before it lacked.
                let lacks = |field: &Field| matches!(field.octets, Err(Bad::NoReply | Bad::Garbled));
                assert!(whole || !scan.fields.iter().any(lacks), "seed {seed}: {scan:?}");
                last[unit - 1] = now;
            }
        };
        for second in 1..=90 {
            let until = Duration::from_nanos(calm.0) + seconds(second);
            line.run(until, |question, _| (data(question), ms(3)));
            whole(&mut line);
        }
        for (index, at) in last.iter().enumerate() {
            let since = line.now().since(*at);
            assert!(since < seconds(5), "seed {seed}: device {index} of {sizes:?}: no scan for {since:?}");
        }
    }
}

fn any_device(unit: u8, dice: &mut fastrand::Rng) -> DeviceConfig {
    let mut config = device(unit, dice.u16(1..30), every(ms(dice.u64(100..3000))));
    if dice.u8(0..3) == 0 {
        config.every = vec![Every::Continuous; config.every.len()];
    }
    config
}

impl Line {
    fn storm(&mut self, seed: u64, dice: &mut fastrand::Rng, devices: usize) {
        let in_flight = dice.usize(1..5);
        let mut under_way: Vec<(Question, Mono)> = Vec::new();
        for _ in 0..3000 {
            let now = self.now();
            let next = if under_way.len() < in_flight { Some(self.owner.next(&|_, _| None)) } else { None };
            match next {
                Some(Next::Ask(question)) => {
                    under_way.push((question, now));
                    continue;
                }
                Some(Next::Wait(at)) => {
                    assert!(at > now, "seed {seed}: waits for what is past");
                    if under_way.is_empty() {
                        self.clock.to(at);
                        continue;
                    }
                }
                Some(Next::Nothing) => {
                    assert!(
                        !under_way.is_empty(),
                        "seed {seed}: nothing to do, nothing under way of {devices}"
                    );
                }
                None => {}
            }
            if dice.u8(0..100) == 0 {
                self.goes_away(&mut under_way, dice);
                continue;
            }
            let (question, sent) = under_way.swap_remove(dice.usize(0..under_way.len()));
            let outcome = anything(&question, dice);
            self.clock.to(now.plus(ms(dice.u64(1..300))));
            self.owner.heard(question, heard(outcome, sent, self.now()));
        }
        self.goes_away(&mut under_way, dice);
    }

    fn goes_away(&mut self, under_way: &mut Vec<(Question, Mono)>, dice: &mut fastrand::Rng) {
        for (question, _) in under_way.drain(..) {
            self.owner.lost(&question, &BusCounters::default());
        }
        self.owner.down("away");
        self.clock.to(self.now().plus(ms(dice.u64(0..3000))));
        let until = self.now().plus(ms(200));
        self.owner.say_that_the_line_is_down(until);
        self.clock.to(until);
        self.owner.opened(&[]);
        self.owner.ledger.up();
    }
}

fn anything(question: &Question, dice: &mut fastrand::Rng) -> Outcome {
    match dice.u8(0..9) {
        0..=3 => data(question),
        4 => Outcome::Exception(dice.u8(1..12)),
        5 | 6 => Outcome::NoReply,
        7 => Outcome::Garbled { whole: dice.bool() },
        _ => Outcome::TwoAnswers,
    }
}
