//! What an input means: the line, the questions, and what comes for each.

use super::super::choices::Choices;
use super::super::spec::{self, Reply};
use super::super::wire::{self, Coming, Habits, Source};
use linesman::bus::transact::{Manners, Tempo};
use linesman::modbus::rtu::Pace;
use linesman::modbus::{Ask, Framing, IdLevel, ReadFunction, ReadRequest};
use linesman::model::Mono;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// After no answer a late one is reckoned with for so long at least, or for so many timeouts: that is what
/// the engine promises to stand, and devices here keep to it.
const LATEST: Duration = Duration::from_secs(1);
const LATEST_TIMEOUTS: u32 = 3;
/// The longest frames.
const LONGEST_RTU: usize = 256;
const LONGEST_ASCII: usize = 513;

/// One line and its port.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub framing: Framing,
    pub tempo: Tempo,
    pub habits: Habits,
    /// The silence that there must be before each frame.
    pub silence: Duration,
    pub echo: bool,
}

impl Line {
    pub fn choose(choices: &mut Choices<'_>) -> Line {
        let kind = choices.up_to(2);
        let baud = choices.one_of(&[9600, 115_200, 1200, 19_200, 300]);
        let paced = !choices.flag();
        let latency = Duration::from_millis(choices.one_of(&[0, 0, 1, 4, 16]));
        let read_most = choices.one_of(&[520, 1, 3, 8, 64]);
        let write_most = choices.one_of(&[520, 1, 5]);
        let echo = choices.flag();
        let pace = Pace::new(baud, false, 1);
        let (framing, tempo) = match kind {
            0 => (Framing::Rtu, Tempo::serial(pace, Framing::Rtu)),
            1 => (Framing::Ascii, Tempo::serial(pace, Framing::Ascii)),
            _ => (Framing::Rtu, Tempo::rtu_over_tcp()),
        };
        // Start bit, eight data bits, stop bit: ten bits a character.
        let character = Duration::from_nanos(10_000_000_000 / u64::from(baud));
        let silence = match kind {
            0 if baud > 19_200 => Duration::from_micros(1750),
            0 => character * 7 / 2,
            1 => character * 2,
            _ => Duration::ZERO,
        };
        let habits = Habits { pace: tempo.pace, paced, latency, write_most, read_most };
        Line { framing, tempo, habits, silence, echo }
    }

    /// How long the longest frame takes.
    pub fn longest_frame(&self) -> Duration {
        self.habits.pace.octets(match self.framing {
            Framing::Rtu => LONGEST_RTU,
            Framing::Ascii => LONGEST_ASCII,
        })
    }
}

/// What happens to octets on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Whole,
    /// One bit of one octet is turned.
    Hit {
        at: u8,
        bit: u8,
    },
    /// Only so many octets come, at least one.
    Cut(u8),
}

impl Fate {
    fn choose(choices: &mut Choices<'_>) -> Fate {
        match choices.up_to(7) {
            6 => Fate::Hit { at: choices.octet(), bit: choices.octet() % 8 },
            7 => Fate::Cut(choices.octet()),
            _ => Fate::Whole,
        }
    }

    fn befall(self, frame: &mut Vec<u8>) {
        match self {
            Fate::Whole => {}
            Fate::Hit { at, bit } => {
                let at = usize::from(at) % frame.len();
                frame[at] ^= 1 << bit;
            }
            Fate::Cut(to) => frame.truncate(1 + usize::from(to) % frame.len()),
        }
    }
}

/// What the device does that is asked.
#[derive(Debug, Clone)]
pub struct Answer {
    pub reply: Reply,
    /// From our last octet to its first.
    pub delay: Duration,
    pub fate: Fate,
    /// It pauses for so long within its frame, after so many octets.
    pause: (u8, Duration),
}

/// Somebody else's octets.
#[derive(Debug, Clone)]
struct Stranger {
    /// Counted from our last octet, or from our first.
    from_the_first: bool,
    offset: Duration,
    octets: Vec<u8>,
    /// Between its octets, beyond what the wire needs.
    apart: Duration,
}

#[derive(Debug, Clone)]
pub struct Question {
    pub unit: u8,
    pub ask: Ask,
    pub manners: Manners,
    pub answer: Option<Answer>,
    echo: Fate,
    strangers: Vec<Stranger>,
    /// So long after the question is begun the port goes away.
    pub gone: Option<Duration>,
    pub reopen: bool,
    /// So long nothing is asked afterwards.
    pub idle: Duration,
}

impl Question {
    pub fn choose(choices: &mut Choices<'_>, line: &Line, before: Option<(u8, Ask)>) -> Question {
        // One like the one before is what its late answer could be taken for.
        let (unit, ask) = match (choices.up_to(8), before) {
            (8, _) => (choices.octet(), choose_ask(choices)),
            (0 | 1, Some((unit, ask))) => (unit, ask_alike(choices, ask)),
            (2, Some((unit, _))) => (unit, choose_ask(choices)),
            (3, Some((unit, ask))) => (1 + unit % 3, ask_alike(choices, ask)),
            (few, _) => (u8::try_from(1 + few % 3).expect("1 to 3"), choose_ask(choices)),
        };
        let timeout = Duration::from_millis(choices.one_of(&[100, 1000, 20, 300]));
        let longest = timeout * choices.one_of(&[1, 1, 5]);
        let min_gap = Duration::from_millis(choices.one_of(&[0, 0, 0, 20, 1500]));
        let manners = Manners { timeout, longest, min_gap };
        let answer = choose_answer(choices, &ask, manners);
        let echo = Fate::choose(choices);
        let strangers = (0..choices.up_to(3)).map(|_| Stranger::choose(choices, line, unit, &ask)).collect();
        let trouble = choices.octet();
        let gone = (trouble & 0xF == 1).then(|| Duration::from_micros(500 * u64::from(choices.octet())));
        let reopen = trouble & 0xF == 2;
        let idle = Duration::from_millis(choices.one_of(&[0, 0, 0, 2, 60, 1100]));
        Question { unit, ask, manners, answer, echo, strangers, gone, reopen, idle }
    }

    /// Nothing is damaged on its way, and the port stays.
    pub fn is_undamaged(&self, line: &Line) -> bool {
        (!line.echo || self.echo == Fate::Whole)
            && self.gone.is_none()
            && self.answer.as_ref().is_some_and(|answer| answer.fate == Fate::Whole)
    }
}

fn choose_ask(choices: &mut Choices<'_>) -> Ask {
    match choices.up_to(7) {
        5 => Ask::Echo(choices.word()),
        6 => Ask::ServerId,
        7 => Ask::Identification { level: choices.one_of(&IdLevel::ALL), object: choices.octet() },
        which => {
            let function = ReadFunction::ALL[which % 4];
            let most = function.limit();
            let count = match choices.up_to(3) {
                0 => 1 + u16::from(choices.octet()) % 16,
                1 => 17 + u16::from(choices.octet()) % 8,
                2 => 2,
                _ => 1 + choices.word() % most,
            };
            // An address whose upper octet is what an answer's count of octets is makes the question begin
            // like its answer.
            let like_an_answer = u16::try_from(spec::data_octets(function, count)).expect("at most 250") << 8;
            let address = match choices.up_to(3) {
                0 => u16::from(choices.octet()),
                1 | 2 => like_an_answer,
                _ => choices.word(),
            };
            let request = ReadRequest::new(function, address.min(u16::MAX - count), count);
            Ask::Read(request.expect("within limits"))
        }
    }
}

/// The same question of another place.
fn ask_alike(choices: &mut Choices<'_>, ask: Ask) -> Ask {
    match ask {
        Ask::Read(request) => {
            let address = (request.address() ^ u16::from(choices.octet())).min(u16::MAX - request.count());
            Ask::Read(ReadRequest::new(request.function(), address, request.count()).expect("within limits"))
        }
        Ask::Echo(word) => Ask::Echo(word ^ u16::from(choices.octet())),
        Ask::ServerId => ask,
        Ask::Identification { level, object } => {
            Ask::Identification { level, object: object ^ choices.octet() }
        }
    }
}

fn choose_answer(choices: &mut Choices<'_>, ask: &Ask, manners: Manners) -> Option<Answer> {
    let reply = match choices.up_to(9) {
        0 | 1 => return None,
        2 => Reply::Exception(choices.octet()),
        // The very octets of the question, where they are an answer too.
        3 => spec::reply(ask, &spec::question(ask)).unwrap_or_else(|| data(choices, ask)),
        _ => data(choices, ask),
    };
    let delay = delay(choices.octet(), LATEST.max(manners.longest * LATEST_TIMEOUTS));
    let fate = Fate::choose(choices);
    let pause = match choices.up_to(3) {
        3 => (choices.octet(), Duration::from_millis(u64::from(choices.octet() % 30))),
        _ => (0, Duration::ZERO),
    };
    Some(Answer { reply, delay, fate, pause })
}

/// Small delays in small steps, up to the longest.
fn delay(octet: u8, longest: Duration) -> Duration {
    let share = u32::from(octet) * u32::from(octet);
    longest * share / (255 * 255)
}

/// What a device may answer to this.
fn data(choices: &mut Choices<'_>, ask: &Ask) -> Reply {
    let seed = choices.some(16);
    let some = |n: usize| (0..n).map(|at| seed.get(at % 16).copied().unwrap_or(0x5A)).collect::<Vec<u8>>();
    Reply::Data(match ask {
        Ask::Read(request) => some(spec::data_octets(request.function(), request.count())),
        Ask::Echo(word) => word.to_be_bytes().to_vec(),
        Ask::ServerId => some(1 + usize::from(choices.octet()) % 250),
        Ask::Identification { level, object } => {
            let mut objects = vec![0x81, 0, 0, 1];
            let text = some(usize::from(choices.octet()) % 240);
            objects.push(if *level == IdLevel::Specific { *object } else { 0 });
            objects.push(u8::try_from(text.len()).expect("below 240"));
            objects.extend(text);
            objects
        }
    })
}

/// The PDU that says this.
fn pdu_of(ask: &Ask, reply: &Reply) -> Vec<u8> {
    let function = spec::function(ask);
    match (reply, ask) {
        (Reply::Exception(code), _) => vec![function | 0x80, *code],
        (Reply::Data(data), Ask::Read(_) | Ask::ServerId) => {
            let count = u8::try_from(data.len()).expect("at most 250 octets");
            [&[function, count][..], data].concat()
        }
        (Reply::Data(data), Ask::Echo(_)) => [&[function, 0, 0][..], data].concat(),
        (Reply::Data(data), Ask::Identification { level, .. }) => {
            let code = if *level == IdLevel::Specific { 4 } else { 1 };
            [&[function, 14, code][..], data].concat()
        }
    }
}

impl Stranger {
    fn choose(choices: &mut Choices<'_>, line: &Line, unit: u8, ask: &Ask) -> Stranger {
        let kind = choices.octet();
        let offset = match kind & 0xC0 {
            0 => line.habits.pace.octets(usize::from(choices.octet())),
            _ => delay(choices.octet(), Duration::from_millis(500)),
        };
        let framed = |unit, pdu: &[u8]| spec::frame(line.framing, unit, pdu);
        let (mut octets, mut apart) = (Vec::new(), Duration::ZERO);
        match kind & 7 {
            0 => octets.extend(choices.some(40)),
            1 => octets.extend(framed(choices.octet(), choices.some(40))),
            2 => octets.extend(framed(choices.octet(), &spec::question(&choose_ask(choices)))),
            3 => octets.extend(framed(unit, &pdu_of(ask, &data(choices, ask)))),
            4 => {
                let other = choose_ask(choices);
                octets.extend(framed(1 + choices.octet() % 3, &pdu_of(&other, &data(choices, &other))));
            }
            5 => {
                let (octet, n) = (choices.octet(), usize::from(choices.octet()));
                octets.extend(std::iter::repeat_n(octet, n * n / 32));
                apart = line.habits.pace.octets(choices.up_to(7)) / 2;
            }
            6 => {
                octets.extend(framed(unit, &pdu_of(ask, &data(choices, ask))));
                Fate::Hit { at: choices.octet(), bit: 0 }.befall(&mut octets);
                Fate::Cut(choices.octet()).befall(&mut octets);
            }
            _ => octets.extend(framed(unit, &[spec::function(ask) | 0x80, choices.octet()])),
        }
        Stranger { from_the_first: kind & 0x20 != 0, offset, octets, apart }
    }
}

/// When each unit has said all that it has to say: devices answer in the order in which they are asked.
type Free = Rc<RefCell<BTreeMap<u8, Mono>>>;

/// What comes for one question, once it was put.
pub struct Reaction {
    line: Line,
    question: Question,
    number: usize,
    free: Free,
    /// The answer's frame before anything befalls it.
    pub answer: Option<Vec<u8>>,
    /// Whether the answer was in time: found out when the question is put.
    pub in_time: Rc<RefCell<bool>>,
}

impl Reaction {
    pub fn new(line: &Line, question: &Question, number: usize, free: Free) -> Reaction {
        let framed =
            |answer: &Answer| spec::frame(line.framing, question.unit, &pdu_of(&question.ask, &answer.reply));
        let answer = question.answer.as_ref().map(framed);
        Reaction { line: *line, question: question.clone(), number, free, answer, in_time: Rc::default() }
    }

    fn coming(self, began: Mono, left: Mono) -> Vec<Coming> {
        let mut coming = Vec::new();
        if self.line.echo {
            let question = spec::question(&self.question.ask);
            let mut echo = spec::frame(self.line.framing, self.question.unit, &question);
            self.question.echo.befall(&mut echo);
            coming.extend(self.spread(began, &echo, Duration::ZERO, Source::Echo(self.number)));
        }
        for stranger in &self.question.strangers {
            let from = if stranger.from_the_first { began } else { left };
            let at = from.plus(stranger.offset);
            coming.extend(self.spread(at, &stranger.octets, stranger.apart, Source::Stranger));
        }
        coming.extend(self.answered(left));
        coming
    }

    fn answered(&self, left: Mono) -> Vec<Coming> {
        let (Some(answer), Some(frame)) = (&self.question.answer, &self.answer) else { return Vec::new() };
        let mut free = self.free.borrow_mut();
        let from = left.plus(answer.delay).max(free.get(&self.question.unit).copied().unwrap_or_default());
        let mut octets = frame.clone();
        answer.fate.befall(&mut octets);
        let mut coming = self.spread(from, &octets, Duration::ZERO, Source::Answer(self.number));
        let (after, pause) = answer.pause;
        let after = 1 + usize::from(after) % octets.len();
        coming.iter_mut().skip(after).for_each(|(at, _, _)| *at = at.plus(pause));
        let (first, last) = (coming[0].0, coming[coming.len() - 1].0);
        let patience = LATEST.max(self.question.manners.longest * LATEST_TIMEOUTS);
        let latency = self.line.habits.latency;
        // No device is slower than the engine reckons with.
        if last.plus(latency) >= left.plus(patience).plus(self.line.longest_frame()) {
            return Vec::new();
        }
        free.insert(self.question.unit, last);
        *self.in_time.borrow_mut() = first.plus(latency) < left.plus(self.question.manners.timeout);
        coming
    }

    fn spread(&self, from: Mono, octets: &[u8], apart: Duration, source: Source) -> Vec<Coming> {
        let each = if self.line.habits.paced { self.line.habits.pace.character() } else { Duration::ZERO };
        let mut at = from;
        let one = |octet: &u8| {
            at = at.plus(each).plus(apart);
            (at, *octet, source)
        };
        octets.iter().map(one).collect()
    }
}

impl From<Reaction> for wire::Reaction {
    fn from(reaction: Reaction) -> wire::Reaction {
        Box::new(move |began, left| reaction.coming(began, left))
    }
}
