//! A whole line with its devices over a wire and a clock that exist only in memory: an hour of polling passes in
//! a moment.

use super::wire::{VirtualClock, VirtualLink};
use linesman::bus::{self, DeviceConfig, LineConfig, Memory, PortConfig, Scan, SerialConfig, Surroundings};
use linesman::modbus::{ReadRequest, encode_data_reply, encode_exception, rtu};
use linesman::model::status::LineStatus;
use linesman::model::{Clock, Event, Mono};
use linesman::profile::{self, Every, Profile};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A question, as it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Since the line began.
    pub at: Duration,
    pub unit: u8,
    pub request: ReadRequest,
}

impl Asked {
    pub fn touches(&self, register: u16) -> bool {
        let first = self.request.address();
        (first..first + self.request.count()).contains(&register)
    }
}

/// What comes back: replies that are none, or PDUs, each so long after the question.
pub type Replies = Vec<(Duration, Vec<u8>)>;

/// The registers that a meter shows, given by address.
pub fn data(asked: &Asked, register: impl Fn(u16) -> u16) -> Vec<u8> {
    let first = asked.request.address();
    let octets: Vec<u8> =
        (first..first + asked.request.count()).flat_map(|at| register(at).to_be_bytes()).collect();
    encode_data_reply(&asked.request, &octets)
}

pub fn refusal(asked: &Asked, code: u8) -> Vec<u8> {
    encode_exception(asked.request.function().code(), code).to_vec()
}

/// What an hour, or a day, has shown.
pub struct Seen {
    pub scans: Vec<Scan>,
    pub asked: Vec<Asked>,
    pub events: Vec<Event>,
    pub status: LineStatus,
    /// What the line would remember over a restart.
    pub memory: Memory,
}

type Damage = Box<dyn FnMut(&mut Vec<u8>)>;

/// A line to be run.
pub struct Line {
    config: LineConfig,
    clock: Arc<VirtualClock>,
    link: VirtualLink,
    began: Mono,
    damage: Option<Damage>,
    memory: Memory,
    exchange: Option<(Duration, Vec<DeviceConfig>)>,
}

impl Line {
    /// At 9600 baud.
    pub fn new(devices: Vec<DeviceConfig>) -> Line {
        let serial = SerialConfig::new("/dev/none", 9600);
        let clock = Arc::new(VirtualClock::new());
        let link = VirtualLink::with_clock(serial.pace(), Arc::clone(&clock));
        let (name, port) = ("l".parse().unwrap(), PortConfig::Serial(serial));
        let config = LineConfig { name, port, devices, max_probe: bus::MAX_PROBE };
        let began = clock.mono();
        Line { config, clock, link, began, damage: None, memory: Memory::new(), exchange: None }
    }

    /// What happens to each reply on its way.
    pub fn damaging(mut self, damage: impl FnMut(&mut Vec<u8>) + 'static) -> Line {
        self.damage = Some(Box::new(damage));
        self
    }

    /// This was learned before.
    pub fn remembering(self, memory: Memory) -> Line {
        Line { memory, ..self }
    }

    /// At the first question after so long other devices are ordered.
    pub fn exchanging(self, after: Duration, devices: Vec<DeviceConfig>) -> Line {
        Line { exchange: Some((after, devices)), ..self }
    }

    /// The machine sleeps so long after the beginning, for so long.
    pub fn sleeping(mut self, after: Duration, span: Duration) -> Line {
        self.link.sleep = Some((self.began.plus(after), span));
        self
    }

    /// Runs for so long; the meters' answers are these.
    pub fn run(mut self, span: Duration, mut meters: impl FnMut(&Asked) -> Replies + 'static) -> Seen {
        let (scans_tx, mut scans) = mpsc::channel(1 << 20);
        let (events_tx, mut events) = mpsc::channel(1 << 16);
        let stop = CancellationToken::new();
        self.link.end = Some((self.began.plus(span), stop.clone()));
        let (began, clock, mut damage) = (self.began, Arc::clone(&self.clock), self.damage.take());
        let mut exchange = self.exchange.take();
        let orders: Arc<std::sync::OnceLock<mpsc::Sender<Vec<DeviceConfig>>>> = Arc::default();
        let to_line = Arc::clone(&orders);
        self.link.responder = Some(Box::new(move |frame: &[u8]| {
            let asked = read(frame, clock.mono().since(began));
            if exchange.as_ref().is_some_and(|(after, _)| asked.at >= *after) {
                let devices = exchange.take().map(|(_, devices)| devices);
                to_line.get().unwrap().try_send(devices.unwrap()).unwrap();
            }
            let replies = meters(&asked).into_iter().map(|(after, pdu)| {
                let mut frame = rtu::frame(asked.unit, &pdu);
                damage.iter_mut().for_each(|damage| damage(&mut frame));
                (after, frame)
            });
            replies.collect()
        }));
        let clock: Arc<dyn Clock> = self.clock.clone();
        let memory = std::mem::take(&mut self.memory);
        let around =
            Surroundings { events: Some(events_tx), memory, ..Surroundings::new(clock, scans_tx, stop) };
        let (running, run) = bus::line_over(&self.config, around, &mut self.link);
        orders.set(running.devices.clone()).unwrap();
        run();
        self.link.assert_silence_was_kept("an hour");
        Seen {
            scans: std::iter::from_fn(|| scans.try_recv().ok()).collect(),
            events: std::iter::from_fn(|| events.try_recv().ok()).collect(),
            asked: self.link.sent.iter().map(|(at, frame)| read(frame, at.since(began))).collect(),
            status: running.status.borrow().clone(),
            memory: running.memory.borrow().clone(),
        }
    }
}

fn read(frame: &[u8], at: Duration) -> Asked {
    let (unit, pdu) = rtu::unframe(frame).expect("a frame of ours");
    Asked { at, unit, request: ReadRequest::decode(pdu).expect("a reading question") }
}

impl Seen {
    /// The moment of a scan, since the line began.
    pub fn at(scan: &Scan) -> Duration {
        let clock = VirtualClock::new();
        Duration::from_millis(u64::try_from(scan.ts.0 - clock.utc().0).unwrap())
    }

    pub fn of<'a>(&'a self, device: &'a str) -> impl Iterator<Item = &'a Scan> {
        self.scans.iter().filter(move |scan| scan.device.as_str() == device)
    }
}

/// A profile of these points, written as in a profile.
pub fn profile_of(points: &[String]) -> Arc<Profile> {
    let lines: String =
        points.iter().enumerate().map(|(n, point)| format!("  p{n}: {{ {point} }}\n")).collect();
    let head = "profile: 1\nvendor: Nobody\nmodel: M\nkind: other\nsources: [\"this test\"]\npoints:\n";
    let profile = profile::parse("m", "m.yaml", &format!("{head}{lines}"));
    Arc::new(profile.unwrap_or_else(|problems| panic!("{problems}")))
}

/// So many registers in a row, one value each.
pub fn registers(count: u16) -> Arc<Profile> {
    registers_but(count, 0..0)
}

/// The same without these.
pub fn registers_but(count: u16, hole: std::ops::Range<u16>) -> Arc<Profile> {
    let point = |at| format!("holding: {at}, type: u16, quantity: other, unit: \"1\"");
    profile_of(&(0..count).filter(|at| !hole.contains(at)).map(point).collect::<Vec<_>>())
}

/// A device with this unit id, named after it.
pub fn device(unit: u8, profile: &Arc<Profile>, every: Duration) -> DeviceConfig {
    let name = format!("d{unit}").parse().unwrap();
    DeviceConfig::new(name, unit, Arc::clone(profile), Every::Period(every))
}
