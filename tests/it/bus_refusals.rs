//! Refusals: every exception code to every question, and what it costs. On a clock that moves when somebody waits.

use crate::common::hours::{Asked, Line, Seen, data, device, refusal, registers};
use crate::common::wire::VirtualLink;
use linesman::bus::transact::{Conversation, Manners, Outcome, Tempo};
use linesman::modbus::rtu::Pace;
use linesman::modbus::{Ask, Framing, IdLevel, ReadFunction, ReadRequest, ascii, exception_sentence, rtu};
use linesman::model::Bad;
use linesman::model::status::{BusCounters, DeviceState};
use std::time::Duration;

fn frame(framing: Framing, unit: u8, pdu: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Rtu => rtu::frame(unit, pdu),
        Framing::Ascii => ascii::frame(unit, pdu),
    }
}

/// Everything that can be asked.
fn asks() -> Vec<Ask> {
    let read = |function| Ask::Read(ReadRequest::new(function, 7, 2).unwrap());
    let identification = |level| Ask::Identification { level, object: 0 };
    vec![
        read(ReadFunction::Coils),
        read(ReadFunction::DiscreteInputs),
        read(ReadFunction::HoldingRegisters),
        read(ReadFunction::InputRegisters),
        Ask::Echo(0xA5A5),
        Ask::ServerId,
        identification(IdLevel::Basic),
        identification(IdLevel::Specific),
    ]
}

#[test]
fn every_exception_code_to_every_question_is_said_as_it_came() {
    for framing in [Framing::Rtu, Framing::Ascii] {
        let tempo = Tempo::serial(Pace::new(9600, false, 1), framing);
        let mut link = VirtualLink::new(tempo.pace);
        let mut talk = Conversation::new(tempo, link.time());
        let mut counters = BusCounters::default();
        for ask in asks() {
            for code in 0..=u8::MAX {
                let refusal = frame(framing, 3, &[ask.function() | 0x80, code]);
                link.answer_next_with(vec![(Duration::from_millis(5), refusal)]);
                let manners = Manners::new(Duration::from_millis(100));
                let came = talk.transact(&mut link, 3, ask, manners, &mut counters).unwrap().0;
                assert_eq!(came, Outcome::Exception(code), "{framing:?} {ask:?}");
                assert!(!exception_sentence(code).is_empty());
            }
        }
        assert_eq!((counters.exceptions, counters.noise_octets), (counters.requests, 0), "{counters:?}");
    }
}

const TURNAROUND: Duration = Duration::from_millis(5);
const MINUTE: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(10);
/// By then a refusal is no news.
const SETTLED: Duration = Duration::from_secs(300);
/// Of four registers this one.
const REFUSED: u16 = 2;
const BUSY: u8 = 6;
/// Path unavailable, target failed to respond: a gateway's words for silence.
const NOBODY_BEHIND: [u8; 2] = [10, 11];

/// Half an hour with 32 devices, each of which refuses one register, or all, with a code of its own.
fn half_an_hour(codes: &[u8], refuses: impl Fn(&Asked) -> bool + 'static) -> Seen {
    let (profile, codes) = (registers(4), codes.to_vec());
    let devices = (1..).zip(&codes).map(|(unit, _)| device(unit, &profile, EVERY)).collect();
    Line::new(devices).run(30 * MINUTE, move |asked| {
        let code = codes[usize::from(asked.unit) - 1];
        let pdu = if refuses(asked) { refusal(asked, code) } else { data(asked, |register| register) };
        vec![(TURNAROUND, pdu)]
    })
}

/// Questions that could only be refused, after the first minutes: per minute, in hundredths.
fn useless_a_minute(seen: &Seen, unit: u8, refuses: impl Fn(&Asked) -> bool) -> u128 {
    let later = seen.asked.iter().filter(|asked| asked.unit == unit && asked.at > SETTLED);
    let count = later.filter(|asked| refuses(asked)).count() as u128;
    count * 100 * MINUTE.as_nanos() / (30 * MINUTE - SETTLED).as_nanos()
}

fn codes() -> impl Iterator<Item = Vec<u8>> {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    all.chunks(32).map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter()
}

#[test]
fn whatever_the_code_a_refused_register_says_so_and_is_asked_for_rarely() {
    let refuses = |asked: &Asked| asked.touches(REFUSED);
    for codes in codes() {
        let seen = half_an_hour(&codes, refuses);
        for (unit, code) in (1..).zip(codes).filter(|(_, code)| !NOBODY_BEHIND.contains(code)) {
            let most = match code {
                // Not another moment, another way of asking: once in ten minutes, which is three times at most
                // in the twenty-five that are counted, and once on the way there: at first it may be booting.
                1..=3 => 16,
                // Each time three times more, a moment later.
                BUSY => 400,
                _ => 100,
            };
            let useless = useless_a_minute(&seen, unit, refuses);
            assert!(useless <= most, "exception {code}: {useless} hundredths of a question each minute");
            for scan in seen.of(&format!("d{unit}")) {
                assert_eq!(scan.fields.len(), 4, "{scan:?}");
                assert_eq!(scan.fields[2].octets, Err(Bad::Exception(code)), "{scan:?}");
            }
        }
    }
}

#[test]
fn a_register_with_an_illegal_address_or_value_costs_itself_only() {
    for code in [2, 3] {
        let seen = half_an_hour(&[code], |asked| asked.touches(REFUSED));
        for scan in &seen.scans {
            let good: Vec<usize> = scan.fields.iter().filter(|f| f.octets.is_ok()).map(|f| f.point).collect();
            assert_eq!(good, [0, 1, 3], "{scan:?}");
        }
        let first_scan = seen.asked.iter().filter(|asked| asked.at < EVERY).count();
        // The block, two questions to find the one of four, one to be sure, one for the rest; without it two.
        assert!(first_scan <= 2 + 2 + 2, "{first_scan} questions: {:?}", &seen.asked[..first_scan]);
        assert_eq!(seen.status.devices[0].refused, [("p2".parse().unwrap(), code)]);
    }
}

#[test]
fn a_gateway_behind_which_nobody_is_costs_a_probe_now_and_then() {
    let seen = half_an_hour(&NOBODY_BEHIND, |_| true);
    for (unit, code) in [(1, 10), (2, 11)] {
        let useless = useless_a_minute(&seen, unit, |_| true);
        assert!((200..=300).contains(&useless), "exception {code}: {useless} hundredths each minute");
        let status = &seen.status.devices[usize::from(unit) - 1];
        assert_eq!(status.state, DeviceState::Quarantined);
        let name = format!("d{unit}");
        let told = seen.of(&name).next().unwrap();
        assert_eq!(told.fields[0].octets, Err(Bad::Exception(code)), "{told:?}");
    }
}
