//! What a bystander makes of frames that nobody here has asked for.

use super::choices::Choices;
use super::spec;
use super::wire::{Habits, Source, Wire};
use linesman::bus::transact::{Conversation, Notes, Tempo};
use linesman::bus::{Stray, StrayKind};
use linesman::modbus::Framing;
use linesman::modbus::rtu::Pace;
use linesman::model::status::BusCounters;
use std::time::Duration;

/// So many are remembered at once.
const MOST_NOTES: usize = 16;
/// Longer than octets of one frame may be apart.
const APART: Duration = Duration::from_millis(400);

pub fn run(octets: &[u8]) {
    let mut choices = Choices::new(octets);
    let framing = choices.one_of(&[Framing::Rtu, Framing::Ascii]);
    let latency = Duration::from_millis(choices.one_of(&[0, 16]));
    let pace = Pace::new(9600, false, 1);
    let habits =
        Habits { pace, paced: true, latency, write_most: 520, read_most: choices.one_of(&[520, 1, 7]) };
    let mut wire = Wire::new(habits);
    let mut talk = Conversation::new(Tempo::serial(pace, framing), wire.time());
    let mut counters = BusCounters::default();
    let (mut clean, mut octets) = (Vec::new(), Vec::new());
    let (mut only_frames, mut at) = (true, wire.time());
    for _ in 0..choices.up_to(7) {
        let (piece, stray) = choose(&mut choices, framing);
        only_frames &= stray.is_some();
        clean.extend(stray);
        // Frames one after the other with a pause between, or everything at once.
        at = at.plus(if choices.flag() { APART } else { Duration::ZERO });
        only_frames &= octets.is_empty() || at.since(last(&octets)) >= APART;
        for octet in piece {
            at = at.plus(pace.character());
            octets.push((at, octet, Source::Stranger));
        }
    }
    wire.bring(octets.iter().copied());
    let until = at.plus(APART * 2);
    talk.listen_until(&mut wire, until, &mut counters).expect("the line is there");
    let notes = talk.take_notes();
    every_stray_was_there(framing, &octets.iter().map(|(_, octet, _)| *octet).collect::<Vec<u8>>(), &notes);
    assert_eq!(counters.unsolicited_octets, octets.len() as u64);
    assert_eq!(notes.idle_octets, octets.len() as u64);
    assert!(notes.late.is_empty() && notes.second_answer.is_none() && !notes.echo, "{notes:?}");
    if only_frames {
        let alike = |(heard, sent): (&Stray, &Stray)| heard == sent || is_ambiguous(heard, sent);
        let all = notes.strays.len() == clean.len() && notes.strays.iter().zip(&clean).all(alike);
        assert!(all, "{:?} heard of {clean:?}: {octets:02x?}", notes.strays);
        assert_eq!(counters.foreign_frames, clean.len() as u64);
    }
}

/// A question for the addresses from 0x0300 on is as long as an answer of three octets, and says so too.
fn is_ambiguous(one: &Stray, other: &Stray) -> bool {
    let of_three = |stray: &Stray| match stray.kind {
        StrayKind::Reply => stray.data_octets == 3,
        StrayKind::Request => true,
        StrayKind::Refusal => false,
    };
    let same = one.unit == other.unit && one.function == other.function && (1..=4).contains(&one.function);
    same && of_three(one) && of_three(other)
}

fn last(octets: &[super::wire::Coming]) -> linesman::model::Mono {
    octets.last().map(|(at, _, _)| *at).unwrap_or_default()
}

/// Some octets; and what they are, where they are a frame that every bystander knows.
fn choose(choices: &mut Choices<'_>, framing: Framing) -> (Vec<u8>, Option<Stray>) {
    let unit = choices.octet();
    let word = |choices: &mut Choices<'_>| choices.word().to_be_bytes();
    let (pdu, kind, data_octets) = match choices.up_to(6) {
        0 => return (choices.some(60).to_vec(), None),
        1 => return (spec::frame(framing, unit, &[&[choices.octet()], choices.some(60)].concat()), None),
        2 => {
            let [a, b] = word(choices);
            (vec![1 + choices.octet() % 4, a, b, 0, 1 + choices.octet() % 100], StrayKind::Request, 0)
        }
        3 => {
            let data = choices.some(60);
            let count = u8::try_from(data.len()).expect("at most 60");
            let pdu = [&[1 + choices.octet() % 4, count], data].concat();
            if data.is_empty() {
                return (spec::frame(framing, unit, &pdu), None);
            }
            (pdu, StrayKind::Reply, data.len())
        }
        4 => (vec![0x80 | choices.one_of(&[1, 2, 3, 4, 16]), choices.octet()], StrayKind::Refusal, 0),
        5 => {
            let ([a, b], [c, d]) = (word(choices), word(choices));
            (vec![choices.one_of(&[5, 6]), a, b, c, d], StrayKind::Request, 0)
        }
        _ => {
            let ([a, b], data) = (word(choices), choices.some(30));
            let count = u8::try_from(data.len() / 2).expect("at most 15");
            let data = &data[..2 * usize::from(count)];
            if data.is_empty() {
                return (Vec::new(), None);
            }
            ([&[16, a, b, 0, count, 2 * count], data].concat(), StrayKind::Request, 0)
        }
    };
    let stray = Stray { kind, unit, function: pdu[0] & 0x7F, data_octets };
    (spec::frame(framing, unit, &pdu), Some(stray))
}

/// One after the other, each with a valid frame of its own.
fn every_stray_was_there(framing: Framing, octets: &[u8], notes: &Notes) {
    assert!(notes.strays.len() <= MOST_NOTES);
    let mut from = 0;
    for stray in &notes.strays {
        let there = (from..octets.len()).find_map(|at| ends_of(framing, octets, at, stray));
        from = there.unwrap_or_else(|| panic!("{stray:?} is nowhere behind {from} in {octets:02x?}"));
    }
}

/// Where a frame that begins here and is this stray ends.
fn ends_of(framing: Framing, octets: &[u8], at: usize, stray: &Stray) -> Option<usize> {
    let longest = if framing == Framing::Rtu { 272 } else { 520 };
    (at + 4..=octets.len().min(at + longest)).find(|to| {
        spec::unframe(framing, &octets[at..*to]).is_some_and(|(unit, pdu)| {
            let data = match stray.kind {
                StrayKind::Reply => pdu.len() == 2 + stray.data_octets,
                StrayKind::Refusal => pdu.len() == 2 && pdu[0] & 0x80 != 0,
                StrayKind::Request => pdu[0] & 0x80 == 0 && stray.data_octets == 0,
            };
            unit == stray.unit && pdu[0] & 0x7F == stray.function && data
        })
    })
}
