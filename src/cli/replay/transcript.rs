//! Exchanges of a serial line → a transcript: what went wrong in the field becomes a test case.
//!
//! The form is that of `tests/it/golden/wire`; `tests/it/bus_wire.rs` says what each step means. What must
//! come of a question (`=`) is what the octets say by the rules of the line engine. Times are those of the
//! capture, counted from when the question's last octet had left.

use super::show;
use crate::bus::capture::{Exchange, Source};
use crate::bus::transact::Outcome;
use crate::modbus::rtu::Pace;
use std::fmt::Write;
use std::time::Duration;

/// What the player waits for an answer, if nothing else is said; and how it takes a line that says nothing
/// of its pace.
const TIMEOUT_MS: i64 = 100;
const PACE: Pace = Pace::new(9600, false, 1);
/// Beyond the latest answer.
const MARGIN_MS: i64 = 20;
/// So long the engine listens whether a frame goes on.
const FRAME_GAP_MS: i64 = 50;
const MS: i64 = 1_000_000;

/// A transcript of these exchanges, which are one line's.
pub(super) fn of(file: &str, source: &Source, exchanges: &[Exchange], timeout: Option<Duration>) -> String {
    // Where octets take no time, or nobody knows how much, answers are timed from the question's beginning.
    let unpaced = source.unpaced || source.pace.is_none();
    let mut script = Script { pace: source.pace.unwrap_or(PACE), unpaced, timeout: 0, text: String::new() };
    script.timeout = timeout.map_or_else(|| script.long_enough(exchanges), nanos);
    script.head(file, source);
    exchanges.iter().for_each(|exchange| script.exchange(exchange));
    script.text
}

struct Script {
    pace: Pace,
    unpaced: bool,
    /// How long an answer is waited for.
    timeout: i64,
    text: String,
}

impl Script {
    fn say(&mut self, step: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{step}");
    }

    fn head(&mut self, file: &str, source: &Source) {
        let description =
            if source.description.is_empty() { "no settings known" } else { &source.description };
        self.say(format_args!("# Line {} ({description}) in {file}.", source.name));
        if let Some(settings) = source.pace.and_then(|_| source.description.rsplit(", ").next()) {
            let words: Vec<&str> = settings.split(' ').take(2).collect();
            self.say(format_args!("baud {}", words.join(" ")));
        }
        if self.timeout != TIMEOUT_MS * MS {
            self.say(format_args!("timeout {}ms", self.timeout / MS));
        }
        if self.unpaced {
            self.say(format_args!("unpaced"));
        }
    }

    /// Where nobody says what the timeout was: long enough for all that came of the questions.
    fn long_enough(&self, exchanges: &[Exchange]) -> i64 {
        let latest = exchanges.iter().filter_map(|exchange| {
            let (at, _) = exchange.heard.get(exchange.taken.checked_sub(1)?)?;
            Some(at.saturating_sub(self.left(exchange)))
        });
        let milliseconds = latest.max().unwrap_or(0) / MS + MARGIN_MS;
        milliseconds.max(TIMEOUT_MS).saturating_mul(MS)
    }

    /// When the question's last octet had left.
    fn left(&self, exchange: &Exchange) -> i64 {
        let takes = if self.unpaced { 0 } else { took(self.pace, &exchange.frame) };
        exchange.asked.saturating_add(takes)
    }

    fn exchange(&mut self, exchange: &Exchange) {
        let (unit, request) = (exchange.unit, exchange.request);
        if exchange.in_doubt {
            self.say(format_args!("# unit {unit}: an answer that could be a late one to another question"));
            return;
        }
        let table = show::table(exchange);
        self.say(format_args!("ask {unit} {table} {} {}", request.address(), request.count()));
        self.say(format_args!("> {}", show::hexadecimal(&exchange.frame)));
        let (during, after) = exchange.heard.split_at(exchange.taken.min(exchange.heard.len()));
        let (mut early, mut late) = (Vec::new(), Vec::new());
        for (index, (at, octets)) in during.iter().enumerate() {
            let ahead = if self.unpaced { 0 } else { exchange.early(index, self.pace) };
            let (before, rest) = octets.split_at(ahead);
            early.extend_from_slice(before);
            late.push((at.saturating_add(took(self.pace, before)), rest));
        }
        if !early.is_empty() {
            self.say(format_args!("^ {}", show::hexadecimal(&early)));
        }
        let end = self.arrive(late, self.left(exchange));
        self.outcome(&exchange.outcome);
        if !after.is_empty() {
            let from = match exchange.outcome {
                Outcome::Data(_) | Outcome::Exception(_) | Outcome::TwoAnswers => exchange.at.max(end),
                Outcome::NoReply => self.left(exchange).saturating_add(self.timeout),
                Outcome::Garbled { .. } => end.saturating_add(FRAME_GAP_MS * MS),
            };
            let end = self.arrive(after.iter().map(|(at, octets)| (*at, octets.as_slice())), from);
            self.say(format_args!("idle {}ms", end.saturating_sub(from) / MS + MARGIN_MS));
        }
    }

    /// Pieces as they arrive from a moment on, each stamped with its first octet; returns when the last
    /// octet has arrived.
    fn arrive<'a>(&mut self, pieces: impl IntoIterator<Item = (i64, &'a [u8])>, from: i64) -> i64 {
        let mut cursor = from;
        for (at, octets) in pieces {
            if octets.is_empty() {
                continue;
            }
            let pause = at.saturating_sub(took(self.pace, &octets[..1])).saturating_sub(cursor).max(0);
            // Tenths of a millisecond are finer than an adapter tells.
            if pause >= MS / 10 {
                self.say(format_args!("~ {}.{}ms", pause / MS, pause % MS / (MS / 10)));
            }
            self.say(format_args!("< {}", show::hexadecimal(octets)));
            cursor = cursor.saturating_add(pause).saturating_add(took(self.pace, octets));
        }
        cursor
    }

    fn outcome(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Data(data) => self.say(format_args!("= data {}", show::hexadecimal(data))),
            Outcome::Exception(code) => self.say(format_args!("= exception {code}")),
            Outcome::NoReply => self.say(format_args!("= no-reply")),
            Outcome::Garbled { .. } => self.say(format_args!("= garbled")),
            Outcome::TwoAnswers => self.say(format_args!("= two-answers")),
        }
    }
}

fn took(pace: Pace, octets: &[u8]) -> i64 {
    nanos(pace.octets(octets.len()))
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::{ReadFunction, ReadRequest, rtu};
    use proptest::prelude::*;

    fn source(description: &str, pace: Option<Pace>, unpaced: bool) -> Source {
        let (name, description) = ("rs485-1".into(), description.into());
        Source { name, description, serial: true, pace, unpaced, ascii: false }
    }

    fn exchange(asked: i64, heard: Vec<(i64, Vec<u8>)>, taken: usize, outcome: Outcome) -> Exchange {
        let request = ReadRequest::new(ReadFunction::InputRegisters, 0, 1).unwrap();
        let frame = rtu::frame(1, &request.pdu());
        let at = heard.first().map_or(asked, |(at, _)| *at);
        Exchange { unit: 1, request, asked, at, outcome, frame, heard, taken, in_doubt: false }
    }

    #[test]
    fn a_transcript_tells_times_from_when_the_question_had_left() {
        let answer = rtu::frame(1, &[4, 2, 0, 42]);
        let heard = vec![(2 * MS, vec![1, 4]), (40 * MS, answer), (90 * MS, vec![0xFF])];
        let exchanges = [
            exchange(0, heard, 2, Outcome::Data(vec![0, 42])),
            exchange(300 * MS, vec![], 0, Outcome::NoReply),
        ];
        let pace = Some(Pace::new(19_200, true, 1));
        let text = of("wire.pcapng", &source("/dev/ttyUSB0, 19200 8E1", pace, false), &exchanges, None);
        // A character takes 0.573 ms: the question had left after 4.58, the answer's first octet was read at 40.
        assert_eq!(
            text,
            "# Line rs485-1 (/dev/ttyUSB0, 19200 8E1) in wire.pcapng.
baud 19200 8E1
ask 1 input 0 1
> 01 04 00 00 00 01 31 ca
^ 01 04
~ 34.8ms
< 01 04 02 00 2a 38 ef
= data 00 2a
~ 45.9ms
< ff
idle 66ms
ask 1 input 0 1
> 01 04 00 00 00 01 31 ca
= no-reply
"
        );
    }

    #[test]
    fn a_slow_answer_is_waited_for() {
        let exchanges = [exchange(0, vec![(400 * MS, vec![1])], 1, Outcome::Garbled { whole: false })];
        let text = of("a", &source("", None, false), &exchanges, None);
        assert!(text.contains("\ntimeout 420ms\nunpaced\nask"), "{text}");
        let text = of("a", &source("", None, false), &exchanges, Some(Duration::from_secs(1)));
        assert!(text.contains("\ntimeout 1000ms\n"), "{text}");
    }

    proptest! {
        #[test]
        fn no_stamps_make_it_panic(
            asked: i64, heard in proptest::collection::vec((any::<i64>(), proptest::collection::vec(any::<u8>(), 0..9)), 0..6),
            taken in 0usize..8, which in 0u8..4, unpaced: bool,
        ) {
            let outcome = match which {
                0 => Outcome::NoReply,
                1 => Outcome::Garbled { whole: false },
                2 => Outcome::Exception(2),
                _ => Outcome::Data(vec![0, 1]),
            };
            let source = source("x, 9600 8N1", Some(PACE), unpaced);
            let _ = of("a", &source, &[exchange(asked, heard, taken, outcome)], None);
        }
    }
}
