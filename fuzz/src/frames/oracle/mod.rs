//! What may be believed of what came.

mod behind;

use super::super::spec::{self, Reply};
use super::super::wire::{Heard, Source, Wire};
use super::scenario::{Line, Question, Reaction};
use linesman::bus::transact::{Manners, Notes, Outcome, Trace};
use linesman::modbus::{Ask, Framing};
use linesman::model::Mono;
use linesman::model::status::BusCounters;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Longer than this nothing of one question may hold up a line, beyond what its manners and the wire need:
/// a line that is not silent before (1 s) and behind (1 s), a driver that is slow (0.5 s), a rest, …
const MOST_HELD_UP: Duration = Duration::from_millis(2600);
/// … and an answer that has begun and dribbles.
const MOST_DRIBBLE: Duration = Duration::from_secs(6);
/// More noise than this before an answer is more than a line has.
const MOST_NOISE: usize = 100;
/// What a diagnosis is given at once.
const MOST_NOTES: usize = 16;

/// One question as it was put.
pub struct Asked {
    unit: u8,
    ask: Ask,
    manners: Manners,
    pub frame: Vec<u8>,
    /// What the device answers, if it does.
    answer: Option<(Reply, Vec<u8>)>,
    undamaged: bool,
    in_time: Rc<RefCell<bool>>,
    /// How many octets had been read before it was sent.
    heard_before: usize,
    /// None where the port went away.
    outcome: Option<Outcome>,
}

impl Asked {
    pub fn new(line: &Line, question: &Question, reaction: &Reaction) -> Asked {
        let frame = spec::frame(line.framing, question.unit, &spec::question(&question.ask));
        let reply = question.answer.as_ref().map(|answer| answer.reply.clone());
        Asked {
            unit: question.unit,
            ask: question.ask,
            manners: question.manners,
            frame,
            answer: reply.zip(reaction.answer.clone()),
            undamaged: question.is_undamaged(line),
            in_time: Rc::clone(&reaction.in_time),
            heard_before: 0,
            outcome: None,
        }
    }

    /// The engine says that nothing more comes for it.
    fn is_settled(&self) -> bool {
        match self.outcome {
            Some(Outcome::Data(_) | Outcome::Exception(_) | Outcome::TwoAnswers) => true,
            Some(Outcome::Garbled { whole }) => whole,
            Some(Outcome::NoReply) | None => false,
        }
    }
}

/// A valid frame that came and answers the question.
struct Found {
    reply: Reply,
    span: (usize, usize),
    sources: Vec<Source>,
}

impl Found {
    fn is_our_echo(&self) -> bool {
        self.sources.iter().all(|source| matches!(source, Source::Echo(_)))
    }

    /// The answer to another question than this one, and nothing else.
    fn is_another_ones(&self, number: usize) -> bool {
        self.sources.iter().all(|source| matches!(source, Source::Answer(of) if *of != number))
    }

    fn is_the_answer(&self, number: usize) -> bool {
        self.sources.iter().all(|source| *source == Source::Answer(number))
    }
}

pub struct Judge {
    line: Line,
    history: Vec<Asked>,
    /// A stranger has answered in the device's place, or seemed to: what the engine concluded from it cannot
    /// be right, and what it does later cannot be held against it.
    deceived: bool,
    last_gap: Duration,
}

impl Judge {
    pub fn new(line: Line) -> Judge {
        Judge { line, history: Vec::new(), deceived: false, last_gap: Duration::ZERO }
    }

    pub fn asked(&self) -> usize {
        self.history.len()
    }

    /// Who was asked last, and what.
    pub fn last_asked(&self) -> Option<(u8, Ask)> {
        self.history.last().map(|asked| (asked.unit, asked.ask))
    }

    /// The port went away under the last question.
    pub fn is_lost(&self) -> bool {
        self.history.last().is_some_and(|asked| asked.outcome.is_none())
    }

    pub fn hears(
        &mut self,
        mut asked: Asked,
        wire: &Wire,
        started: Mono,
        came: Option<(Outcome, Trace)>,
        notes: &Notes,
        counters: (&BusCounters, &BusCounters),
    ) {
        self.notes_are_few(notes);
        self.nothing_is_counted_twice(wire, counters.1);
        self.it_ends(&asked, started, wire.time());
        if wire.was_sent() {
            assert_eq!(wire.written, asked.frame, "the question is sent as it is");
            self.silence_was_kept(&asked, wire, notes);
        }
        asked.heard_before = wire.heard_before;
        let Some((outcome, trace)) = came else {
            if !wire.written.is_empty() {
                // Nobody knows whether it was heard.
                self.last_gap = self.last_gap.max(asked.manners.min_gap);
            }
            self.history.push(asked);
            return;
        };
        assert!(wire.was_sent(), "{outcome:?} of a question that was not sent");
        self.times_are_in_order(wire, &trace, &outcome);
        self.is_counted_for_what_it_is(&outcome, counters.0, counters.1);
        asked.outcome = Some(outcome);
        self.is_explained(&asked, wire);
        self.undisturbed_is_believed(&asked, wire, &trace);
        self.last_gap = asked.manners.min_gap;
        self.history.push(asked);
    }

    pub fn heard_nothing_wrong(&self, wire: &Wire, notes: &Notes, counters: &BusCounters, by: Mono) {
        assert!(wire.time() <= by, "listening ends when it is told to");
        self.notes_are_few(notes);
        self.nothing_is_counted_twice(wire, counters);
    }

    fn notes_are_few(&self, notes: &Notes) {
        assert!(notes.strays.len() <= MOST_NOTES && notes.late.len() <= MOST_NOTES, "{notes:?}");
        let was_silent =
            |unit: u8| self.history.iter().any(|asked| asked.unit == unit && !asked.is_settled());
        assert!(notes.late.iter().all(|(unit, _)| was_silent(*unit)), "{notes:?}: {}", self.story());
    }

    fn nothing_is_counted_twice(&self, wire: &Wire, counters: &BusCounters) {
        let counted = counters.noise_octets + counters.unsolicited_octets;
        assert!(counted <= wire.heard.len() as u64, "{} octets came: {counters:?}", wire.heard.len());
    }

    fn it_ends(&self, asked: &Asked, started: Mono, ended: Mono) {
        let before = self.history.iter().map(|before| before.manners.longest).max().unwrap_or_default();
        // Until no late answer can come any more, …
        let blocked = Duration::from_secs(1).max(before * 3) + self.line.longest_frame();
        // … and what the question itself takes.
        let gap = self.line.silence.max(asked.manners.min_gap).max(self.last_gap);
        let wire = self.line.longest_frame() * 3 + self.line.habits.pace.octets(asked.frame.len());
        let most =
            blocked + gap + wire + asked.manners.timeout + self.line.silence + MOST_HELD_UP + MOST_DRIBBLE;
        let took = ended.since(started);
        let told = || format!("{:?} of unit {}{}", asked.ask, asked.unit, self.story());
        assert!(took <= most, "a question took {took:?}, {most:?} at most: {}", told());
    }

    fn silence_was_kept(&self, asked: &Asked, wire: &Wire, notes: &Notes) {
        let least = self.line.silence.max(asked.manners.min_gap).max(self.last_gap);
        let told = || format!("{:?} of silence, {least:?} wanted: {}", wire.silence, self.story());
        assert!(notes.babble || wire.silence >= least, "{}", told());
    }

    fn times_are_in_order(&self, wire: &Wire, trace: &Trace, outcome: &Outcome) {
        let in_order = trace.sent <= trace.last_octet_left
            && trace.first_heard.is_none_or(|at| at >= wire.left && at <= trace.ended)
            && trace.ended <= wire.time();
        let answered = !matches!(outcome, Outcome::NoReply | Outcome::Garbled { .. });
        assert!(in_order && (trace.first_heard.is_some() || !answered), "{trace:?} of {outcome:?}");
        assert!(!self.line.habits.paced || trace.last_octet_left == wire.left, "{trace:?}, {:?}", wire.left);
    }

    fn is_counted_for_what_it_is(&self, outcome: &Outcome, before: &BusCounters, after: &BusCounters) {
        let answered = matches!(outcome, Outcome::Data(_) | Outcome::Exception(_) | Outcome::TwoAnswers);
        let refused = matches!(outcome, Outcome::Exception(_));
        let silent = matches!(outcome, Outcome::NoReply);
        let counted = [
            after.requests - before.requests,
            after.replies - before.replies,
            after.exceptions - before.exceptions,
            after.timeouts - before.timeouts,
        ];
        let right = [true, answered, refused, silent].map(u64::from);
        assert_eq!(counted, right, "requests, replies, exceptions, timeouts of {outcome:?}");
    }

    /// What is believed must have come whole, after our last octet had left, and not merely be our echo or the
    /// answer to another question.
    fn is_explained(&mut self, asked: &Asked, wire: &Wire) {
        let number = self.history.len();
        let since = wire.heard.get(wire.heard_before..).unwrap_or_default();
        let from = since.iter().position(|heard| heard.read >= wire.left).unwrap_or(since.len());
        let window = since.get(from..).unwrap_or_default();
        let strangers = since.iter().any(|heard| heard.source == Source::Stranger);
        let wanted = match asked.outcome.as_ref() {
            Some(Outcome::Data(data)) => Reply::Data(data.clone()),
            Some(Outcome::Exception(code)) => Reply::Exception(*code),
            Some(Outcome::TwoAnswers) => {
                let found = self.found(asked, window);
                let differ = found.windows(2).any(|pair| pair[0].reply != pair[1].reply);
                let before = self.has_second_answer(asked.unit, wire);
                let told = || format!("{}{}", self.story(), shown(since, wire));
                assert!(differ || before, "two answers, where {} came: {}", found.len(), told());
                self.deceived |= strangers;
                return;
            }
            Some(Outcome::NoReply | Outcome::Garbled { .. }) | None => {
                self.deceived |= strangers && asked.is_settled();
                return;
            }
        };
        let mut found = self.found(asked, window);
        self.nobody_else_has_answered(asked, &wanted, &found, window, wire);
        found.retain(|found| found.reply == wanted);
        assert!(!found.is_empty(), "{wanted:?} for {:?} never came: {}", asked.ask, shown(since, wire));
        found.retain(|found| !found.is_our_echo());
        let echo_only = found.is_empty() && !self.deceived;
        assert!(
            !echo_only,
            "our echo taken for the answer {wanted:?}: {}{}",
            self.story(),
            shown(since, wire)
        );
        let own = found.is_empty() || found.iter().any(|found| !found.is_another_ones(number));
        // A late echo of the same word says what one in time would say, and no value is wrong by it; with words
        // taken by chance it happens once in 65 536. Only that nothing else is still to come is then no longer so.
        self.deceived |= !own && matches!(asked.ask, Ask::Echo(_));
        assert!(
            own || self.deceived,
            "{wanted:?} answers another question, not {:?} of unit {}: {}{}",
            asked.ask,
            asked.unit,
            self.story(),
            shown(since, wire)
        );
        self.deceived |= strangers && !found.iter().any(|found| found.is_the_answer(number));
    }

    /// The questions so far, and what came of them.
    fn story(&self) -> String {
        let one = |(n, asked): (usize, &Asked)| {
            format!("\n  {n}: unit {} {:?} {:?}: {:?}", asked.unit, asked.ask, asked.manners, asked.outcome)
        };
        self.history.iter().enumerate().map(one).collect()
    }

    /// Every frame in there that answers the question.
    fn found(&self, asked: &Asked, window: &[Heard]) -> Vec<Found> {
        let octets: Vec<u8> = window.iter().map(|heard| heard.octet).collect();
        let mut found = Vec::new();
        for (from, to) in self.spans(asked, &octets) {
            let frame = spec::unframe(self.line.framing, &octets[from..to]);
            if let Some((unit, pdu)) = frame
                && unit == asked.unit
                && let Some(reply) = spec::reply(&asked.ask, &pdu)
            {
                let sources = window[from..to].iter().map(|heard| heard.source).collect();
                found.push(Found { reply, span: (from, to), sources });
            }
        }
        found
    }

    /// Where a frame of this unit and function may stand.
    fn spans(&self, asked: &Asked, octets: &[u8]) -> Vec<(usize, usize)> {
        let function = spec::function(&asked.ask);
        let ends = |at: usize, byte: u8| octets.get(at).is_some_and(|octet| *octet == byte);
        match self.line.framing {
            Framing::Rtu => {
                let begins = |at: &usize| {
                    octets[*at] == asked.unit && (ends(at + 1, function) || ends(at + 1, function | 0x80))
                };
                let starts = (0..octets.len()).filter(begins);
                let frames = |at: usize| spec::ends(&octets[at..]).map(move |length| (at, at + length));
                starts.flat_map(frames).collect()
            }
            Framing::Ascii => {
                let starts = (0..octets.len()).filter(|at| ends(*at, b':'));
                let length = |at: usize| octets[at..].iter().position(|octet| *octet == b'\n');
                starts.filter_map(|at| Some((at, at + length(at)? + 1))).collect()
            }
        }
    }

    /// What came whole, in time and alone is not missed.
    fn undisturbed_is_believed(&self, asked: &Asked, wire: &Wire, trace: &Trace) {
        let Some((reply, frame)) = &asked.answer else { return };
        // Nobody can tell it from our echo where there may be one; nor what has our question in it.
        let ours = |at: usize| frame[at..].starts_with(&asked.frame);
        let ambiguous = !self.line.echo && *frame == asked.frame || (1..frame.len()).any(ours);
        // While an older question of this unit and function may be answered, so may its refusal be this.
        let function = spec::function(&asked.ask);
        let older = |before: &Asked| {
            before.unit == asked.unit && spec::function(&before.ask) == function && !before.is_settled()
        };
        let in_doubt = matches!(reply, Reply::Exception(_)) && self.history.iter().any(older);
        if !asked.undamaged || !wire.quiet_before || !*asked.in_time.borrow() || ambiguous || in_doubt {
            return;
        }
        let since = wire.heard.get(wire.heard_before..).unwrap_or_default();
        let Some(noise) = self.tolerable_noise(asked, since, wire) else { return };
        if noise && *frame == asked.frame {
            // The echo may have been disturbed: then this is taken for it.
            return;
        }
        let came = match asked.outcome.as_ref() {
            Some(Outcome::Data(data)) => Some(Reply::Data(data.clone())),
            Some(Outcome::Exception(code)) => Some(Reply::Exception(*code)),
            Some(Outcome::TwoAnswers) if noise || self.has_second_answer(asked.unit, wire) => return,
            Some(Outcome::NoReply | Outcome::Garbled { .. } | Outcome::TwoAnswers) | None => None,
        };
        let told = || format!("{:?}, {}", asked.outcome, shown(since, wire));
        assert_eq!(came.as_ref(), Some(reply), "nothing stood in the way: {}", told());
        let own = |heard: &&Heard| heard.source == Source::Answer(self.history.len());
        let first = since.iter().find(own).map(|heard| heard.read.max(wire.left));
        assert!(noise || trace.first_heard == first, "when its first octet came: {trace:?} {}", told());
    }

    /// Whether strangers are heard too; none where what they say may be in the answer's way. Noise before it is
    /// not, where nothing in it begins like it; nor is anything behind it.
    fn tolerable_noise(&self, asked: &Asked, since: &[Heard], wire: &Wire) -> Option<bool> {
        let answer = Source::Answer(self.history.len());
        // What was not read any more counts too: the engine may have given up before.
        let heard = since.iter().map(|heard| (heard.octet, heard.source));
        let all: Vec<(u8, Source)> = heard.chain(wire.to_come()).collect();
        if all.iter().all(|(_, source)| *source != Source::Stranger) {
            return Some(false);
        }
        let from = all.iter().position(|(_, source)| *source == answer)?;
        let to = all.iter().rposition(|(_, source)| *source == answer)? + 1;
        let whole = all[from..to].iter().all(|(_, source)| *source == answer);
        let echo = all[..from].iter().take_while(|(_, source)| matches!(source, Source::Echo(_))).count();
        let octets: Vec<u8> = all[echo..to].iter().map(|(octet, _)| *octet).collect();
        let noise = from - echo;
        let begin = if self.line.framing == Framing::Rtu { asked.unit } else { b':' };
        let harmless = noise <= MOST_NOISE && !octets[..noise].contains(&begin);
        // By chance, or somebody's cunning, noise and the answer's beginning may make a frame.
        let frame = |at: usize| spec::ends(&octets[at..]).next().is_some();
        let by_chance = self.line.framing == Framing::Rtu && (0..noise).any(frame);
        (whole && harmless && !by_chance).then_some(true)
    }
}

/// For whoever looks into a finding: what came, with the times of its reading from when our last octet had left.
fn shown(heard: &[Heard], wire: &Wire) -> String {
    let mut text = format!("sent {:02x?}", wire.written);
    let mut last = None;
    for octet in heard {
        let early = octet.read < wire.left;
        if last != Some((octet.source, early)) {
            let at = i128::from(octet.read.0) - i128::from(wire.left.0);
            text.push_str(&format!("\n  {:>9} us {:?}:", at / 1000, octet.source));
            last = Some((octet.source, early));
        }
        text.push_str(&format!(" {:02x}", octet.octet));
    }
    text
}
