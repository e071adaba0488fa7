//! What a line does over hours and days: dead devices, lost answers, refused registers, pauses. On a clock that
//! moves when somebody waits.

use crate::common::hours::{
    Asked, Line, Replies, Seen, data, device, profile_of, refusal, registers, registers_but,
};
use linesman::bus::Scan;
use linesman::model::EventKind;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const TURNAROUND: Duration = Duration::from_millis(5);

fn is_good(scan: &Scan) -> bool {
    scan.fields.iter().all(|field| field.octets.is_ok())
}

/// The value of a register says whose it is, and where.
fn truth(unit: u8, register: u16) -> u16 {
    u16::from(unit) << 8 | (register & 0xFF)
}

fn answer(asked: &Asked) -> Replies {
    vec![(TURNAROUND, data(asked, |register| truth(asked.unit, register)))]
}

fn assert_no_value_is_wrong(seen: &Seen) {
    for scan in &seen.scans {
        let unit = scan.device.as_str()[1..].parse().unwrap();
        for field in &scan.fields {
            if let Ok(octets) = &field.octets {
                let register = scan.profile.points[field.point].address;
                assert_eq!(octets[..2], truth(unit, register).to_be_bytes(), "{scan:?}");
            }
        }
    }
}

/// How much later than its time each scan of a device was, which has the given place among so many of one period.
fn lateness(seen: &Seen, name: &str, every: Duration, place: u32, of: u32) -> Vec<Duration> {
    let first = every.min(10 * SECOND) * place / of;
    let late =
        |at: Duration| Duration::from_nanos(((at - first).as_nanos() % every.as_nanos()).try_into().unwrap());
    seen.of(name).map(|scan| late(Seen::at(scan))).collect()
}

fn percentile(all: &mut [Duration], percent: usize) -> Duration {
    all.sort_unstable();
    all[all.len() * percent / 100]
}

/// How many scans a device had before this moment.
fn scans_before(seen: &Seen, name: &str, moment: Duration) -> usize {
    seen.of(name).filter(|scan| Seen::at(scan) < moment).count()
}

/// An hour of 32 devices, of which each fourth is away for some time; the living must not feel it.
fn an_hour_with_eight_away(every: Duration, is_away: impl Fn(u8, Duration) -> bool + Copy + 'static) -> Seen {
    let profile = registers(2);
    let devices = (1..=32).map(|unit| device(unit, &profile, every)).collect();
    let seen = Line::new(devices).run(HOUR, move |asked| {
        if asked.unit.is_multiple_of(4) && is_away(asked.unit, asked.at) { Vec::new() } else { answer(asked) }
    });
    assert_no_value_is_wrong(&seen);
    let mut late = Vec::new();
    for unit in (1..=32u8).filter(|unit| unit % 4 != 0) {
        let name = format!("d{unit}");
        let turns = HOUR.as_secs() / every.as_secs();
        let scans = u64::try_from(seen.of(&name).filter(|scan| is_good(scan)).count()).unwrap();
        assert!(scans >= turns - 1, "{name}: {scans} scans in {turns} periods");
        late.extend(lateness(&seen, &name, every, u32::from(unit - 1), 32));
    }
    assert!(percentile(&mut late, 99) <= every / 5, "late by {:?}", percentile(&mut late, 99));
    seen
}

/// The share of the line that went to devices that do not answer, in thousandths of this time.
fn permille(seen: &Seen, from: Duration, to: Duration, is_away: impl Fn(u8, Duration) -> bool) -> u128 {
    let unanswered = seen.asked.windows(2).filter(|pair| is_away(pair[0].unit, pair[0].at));
    let within = unanswered.filter(|pair| pair[0].at >= from && pair[0].at < to);
    // Until the next question: with so many devices on the line it waits for the end of this one.
    let taken: Duration = within.map(|pair| (pair[1].at - pair[0].at).min(SECOND)).sum();
    taken.as_nanos() * 1000 / (to - from).as_nanos()
}

fn is_lost_or_found(kind: &EventKind) -> bool {
    matches!(kind, EventKind::DeviceLost | EventKind::DeviceFound)
}

#[test]
fn eight_of_thirty_two_that_die_cost_three_percent_and_are_found_within_half_a_minute() {
    // They die after a minute; from the 20th minute on one comes back every five.
    let back = |unit: u8| 15 * MINUTE + 5 * MINUTE * u32::from(unit / 4);
    let is_away = move |unit: u8, at: Duration| unit.is_multiple_of(4) && at > MINUTE && at < back(unit);
    let seen = an_hour_with_eight_away(2 * SECOND, is_away);
    // From when all are known to be lost until the first is back.
    let share = permille(&seen, 2 * MINUTE, 20 * MINUTE, is_away);
    assert!((15..=30).contains(&share), "{share} thousandths of the line");
    for unit in (4..=32u8).step_by(4) {
        let name = format!("d{unit}");
        let found = seen.of(&name).find(|scan| Seen::at(scan) > back(unit) && is_good(scan)).unwrap();
        let after = Seen::at(found) - back(unit);
        assert!(after <= 30 * SECOND, "{name} was found after {after:?}");
        let told =
            seen.events.iter().filter(|event| event.device.as_ref().is_some_and(|of| of.as_str() == name));
        let told: Vec<EventKind> = told.map(|event| event.kind).filter(is_lost_or_found).collect();
        assert_eq!(told, [EventKind::DeviceLost, EventKind::DeviceFound], "{name}");
    }
}

#[test]
fn eight_of_thirty_two_that_never_were_there_cost_three_percent_and_are_found() {
    let is_away = |unit: u8, at: Duration| unit.is_multiple_of(4) && at < 40 * MINUTE;
    let seen = an_hour_with_eight_away(2 * SECOND, is_away);
    let share = permille(&seen, 2 * MINUTE, 40 * MINUTE, is_away);
    assert!((5..=30).contains(&share), "{share} thousandths of the line");
    for unit in (4..=32u8).step_by(4) {
        let name = format!("d{unit}");
        let found = Seen::at(seen.of(&name).find(|scan| is_good(scan)).unwrap());
        assert!(found - 40 * MINUTE <= 30 * SECOND, "{name} was found after {:?}", found - 40 * MINUTE);
    }
}

#[test]
fn a_hole_is_tried_again_once_a_day_and_costs_no_value() {
    let days = 4;
    // Registers 0 to 9 and 14 to 23; between them none.
    let profile = registers_but(24, 10..14);
    let seen = Line::new(vec![device(1, &profile, 10 * SECOND)]).run(days * 24 * HOUR, |asked| {
        if asked.touches(11) { vec![(TURNAROUND, refusal(asked, 2))] } else { answer(asked) }
    });
    assert_no_value_is_wrong(&seen);
    assert!(seen.scans.iter().all(is_good), "a hole is nobody's value");
    let over: Vec<u64> =
        seen.asked.iter().filter(|asked| asked.touches(11)).map(|asked| asked.at.as_secs()).collect();
    let mut each_day = BTreeMap::<u64, u64>::new();
    over.iter().for_each(|at| *each_day.entry(at / (24 * 3600)).or_default() += 1);
    // Found by halves: the whole, and some parts of it.
    assert_eq!(each_day.len(), 4, "{over:?}");
    assert!(each_day.values().all(|count| *count <= 7), "{each_day:?}");
}

#[test]
fn after_a_pause_each_device_is_asked_once_and_keeps_its_turn() {
    let every = 10 * SECOND;
    let profile = registers(2);
    let devices = (1..=8).map(|unit| device(unit, &profile, every)).collect();
    let (asleep, span) = (10 * MINUTE, 47 * MINUTE + 3 * SECOND);
    let seen = Line::new(devices).sleeping(asleep, span).run(70 * MINUTE, answer);
    assert_no_value_is_wrong(&seen);
    assert!(seen.scans.iter().all(is_good));
    for unit in 1..=8u8 {
        let name = format!("d{unit}");
        let awake = seen.of(&name).map(Seen::at).filter(|at| *at > asleep + SECOND).collect::<Vec<_>>();
        assert!(awake.iter().all(|at| *at >= asleep + span), "{awake:?}");
        let at_once = awake.iter().filter(|at| **at < asleep + span + every).count();
        assert!((1..=2).contains(&at_once), "{name} was asked {at_once} times: {awake:?}");
        // From its next turn on it is in step again.
        let late = lateness(&seen, &name, every, u32::from(unit - 1), 8);
        assert!(
            late.iter().skip(scans_before(&seen, &name, asleep + span) + 1).all(|late| *late < SECOND),
            "{late:?}"
        );
    }
}

#[test]
fn one_bad_register_costs_a_search_once_and_the_others_no_more_than_a_sample() {
    for count in [2u16, 3, 4, 7, 16, 33, 60, 125] {
        for bad in (0..count).step_by(usize::from(count / 9 + 1)) {
            let seen =
                Line::new(vec![device(1, &registers(count), 10 * SECOND)]).run(15 * MINUTE, move |asked| {
                    if asked.touches(bad) { vec![(TURNAROUND, refusal(asked, 2))] } else { answer(asked) }
                });
            assert_no_value_is_wrong(&seen);
            let first = seen.asked.iter().filter(|asked| asked.at < 10 * SECOND).count();
            let most = usize::try_from(count.next_power_of_two().trailing_zeros()).unwrap() + 2;
            assert!(first <= 1 + most, "{count} registers, {bad} is bad: {first} questions");
            // Afterwards what stands before it, and what stands behind it; itself once in ten minutes.
            let later = seen.asked.iter().filter(|asked| asked.at >= 10 * SECOND);
            let (useless, useful): (Vec<&Asked>, Vec<&Asked>) = later.partition(|asked| asked.touches(bad));
            assert_eq!(useless.len(), 1, "{count} registers, {bad} is bad: {useless:?}");
            assert!(useful.len() <= 89 * 2, "{count} registers, {bad} is bad: {} questions", useful.len());
            for point in (0..count).filter(|point| *point != bad) {
                let is_lost = |scan: &&Scan| scan.fields[usize::from(point)].octets.is_err();
                let lost = seen.scans.iter().filter(is_lost).count();
                assert!(lost <= 1, "{count} registers, {bad} is bad: {point} was lost {lost} times");
            }
        }
    }
}

#[test]
fn a_value_of_several_registers_is_never_of_two_moments() {
    // Counters of four registers, all of which show how many questions have been answered.
    let points: Vec<String> = (0..20)
        .map(|n| format!("holding: {}, type: u64, quantity: other, unit: \"1\"", 4 * n + n / 5))
        .collect();
    let profile = profile_of(&points);
    let devices = (1..=5).map(|unit| device(unit, &profile, 2 * SECOND)).collect();
    let mut dice = fastrand::Rng::with_seed(17);
    let mut count = 0u16;
    let seen = Line::new(devices)
        .damaging(move |reply| match dice.u8(..20) {
            0..3 => reply.clear(),
            3 => reply[2] ^= 1,
            _ => {}
        })
        .run(HOUR / 2, move |asked| {
            count = count.wrapping_add(1);
            // One of them is refused: it is looked for, and asked around.
            let is_refused = asked.unit % 2 == 1 && asked.touches(28);
            vec![(TURNAROUND, if is_refused { refusal(asked, 2) } else { data(asked, |_| count) })]
        });
    let values =
        seen.scans.iter().flat_map(|scan| &scan.fields).filter_map(|field| field.octets.as_ref().ok());
    let mut good = 0;
    for octets in values {
        assert!(octets.len() == 8 && octets.chunks(2).all(|word| word == &octets[..2]), "{octets:?}");
        good += 1;
    }
    assert!(good > 50_000, "{good} values");
}

/// Ten meters of thirty floats in four groups, at half of what the line can carry at 9600 baud; three of ten answers
/// are lost.
fn a_lossy_line(seed: u64, span: Duration) -> Seen {
    let floats = |first: u16, count: u16| {
        (0..count).map(move |n| format!("input: {}, type: f32, quantity: other", first + 2 * n))
    };
    let points: Vec<String> =
        floats(0, 18).chain(floats(70, 5)).chain(floats(200, 4)).chain(floats(342, 3)).collect();
    let profile = profile_of(&points);
    let devices = (1..=10).map(|unit| device(unit, &profile, LOSSY_PERIOD)).collect();
    let mut dice = fastrand::Rng::with_seed(seed);
    Line::new(devices).run(span, move |asked| if dice.f64() < 0.3 { vec![] } else { answer(asked) })
}

const LOSSY_PERIOD: Duration = Duration::from_millis(4280);

/// Samples that came in their period, of all that were due, in percent. What comes twice in one counts once.
fn percent_obtained(seen: &Seen, span: Duration) -> f64 {
    let (mut got, mut due) = (BTreeSet::new(), 0);
    for unit in 1..=10u32 {
        let name = format!("d{unit}");
        let begins = LOSSY_PERIOD * (unit - 1) / 10;
        let periods = (span - begins).as_nanos() / LOSSY_PERIOD.as_nanos();
        due += 30 * periods;
        for scan in seen.of(&name) {
            let period = (Seen::at(scan) - begins).as_nanos() / LOSSY_PERIOD.as_nanos();
            let good = scan.fields.iter().filter(|field| field.octets.is_ok() && period < periods);
            got.extend(good.map(|field| (unit, period, field.point)));
        }
    }
    let percent = |n: u128| f64::from(u32::try_from(n).unwrap()) * 100.0;
    percent(got.len() as u128) / percent(due) * 100.0
}

#[test]
fn of_thirty_percent_lost_answers_all_but_three_percent_are_got_all_the_same() {
    let obtained = percent_obtained(&a_lossy_line(30, HOUR), HOUR);
    assert!(obtained > 98.0, "{obtained} %");
}

/// A meter whose very first answer is lost is not taken for a dead one for long.
#[test]
fn so_it_is_in_the_first_minute_already() {
    let span = Duration::from_secs(64);
    let obtained: Vec<f64> = (0..50).map(|seed| percent_obtained(&a_lossy_line(seed, span), span)).collect();
    let mean = obtained.iter().sum::<f64>() / 50.0;
    let least = obtained.iter().copied().fold(100.0, f64::min);
    assert!(mean > 98.0 && least > 90.0, "{mean} % in the mean, at least {least} %: {obtained:.1?}");
}

/// An hour of ten meters with so many values each, on a line that does this to their answers.
fn ten_meters(values: u16, every: Duration, damage: impl FnMut(&mut Vec<u8>) + 'static) -> Seen {
    let profile = registers(values);
    let devices = (1..=10).map(|unit| device(unit, &profile, every)).collect();
    let seen = Line::new(devices).damaging(damage).run(HOUR, answer);
    assert_no_value_is_wrong(&seen);
    seen
}

fn assert_few_samples_are_lost(seen: &Seen, values: usize, every: Duration, what: &str) {
    let samples = 10 * values * usize::try_from(HOUR.as_secs() / every.as_secs()).unwrap();
    let good = |scan: &Scan| scan.fields.iter().filter(|field| field.octets.is_ok()).count();
    let obtained: usize = seen.scans.iter().map(good).sum();
    // Three questions for each: 97.3 % are to be expected.
    assert!(obtained * 100 >= samples * 97, "{what}: {obtained} of {samples}");
    // A cycle is longer by a tenth at the most.
    assert!(seen.scans.len() * 11 >= samples / values * 10, "{what}: {} scans", seen.scans.len());
}

fn lose(dice: &mut fastrand::Rng, reply: &mut Vec<u8>) {
    if dice.u8(..10) < 3 {
        reply.clear();
    }
}

/// A single value can't be asked in another length: it has to wait until a late answer has passed.
#[test]
fn where_three_of_ten_answers_are_lost_most_samples_come_where_there_is_time() {
    let mut dice = fastrand::Rng::with_seed(16);
    let seen = ten_meters(1, 10 * SECOND, move |reply| lose(&mut dice, reply));
    assert_few_samples_are_lost(&seen, 1, 10 * SECOND, "one value");
}

#[test]
fn a_reload_of_one_device_touches_no_other_and_no_port() {
    let (before, after) = (registers(2), registers(3));
    let old: Vec<_> = (1..=4).map(|unit| device(unit, &before, SECOND)).collect();
    // The second has another profile, the third is gone, a fifth is new; the others have other places.
    let new = vec![
        device(4, &before, SECOND),
        device(2, &after, SECOND),
        device(5, &before, SECOND),
        device(1, &before, SECOND),
    ];
    let moment = 10 * MINUTE;
    let refuses = |asked: &Asked| asked.unit == 4 && asked.touches(1);
    let seen = Line::new(old).exchanging(moment, new).run(20 * MINUTE, move |asked| {
        if refuses(asked) { vec![(TURNAROUND, refusal(asked, 2))] } else { answer(asked) }
    });
    for (name, place) in [("d1", 0), ("d4", 3)] {
        let late = lateness(&seen, name, SECOND, place, 4);
        assert_eq!(late.len(), 1200, "{name}: not one turn missed, none twice");
        let worst = late.iter().max().unwrap();
        assert!(*worst < SECOND / 5, "{name}: {worst:?}");
    }
    let fields = |scan: &&Scan| scan.fields.len();
    assert!(seen.of("d2").filter(|scan| Seen::at(scan) < moment).all(|scan| scan.fields.len() == 2));
    let later: Vec<usize> =
        seen.of("d2").skip_while(|scan| Seen::at(scan) < moment + SECOND).map(|s| fields(&s)).collect();
    assert!(later.len() >= 598 && later.iter().all(|count| *count == 3), "{} scans", later.len());
    assert!(seen.of("d3").all(|scan| Seen::at(scan) < moment + SECOND) && seen.of("d3").count() >= 600);
    assert!(seen.of("d5").count() >= 598);
    assert_no_value_is_wrong(&seen);
    // What the fourth has taught is not asked of it anew.
    let learning = seen.asked.iter().filter(|asked| refuses(asked)).count();
    assert!(learning <= 3, "the register that is refused was asked for {learning} times");
    let names: Vec<&str> = seen.status.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["d4", "d2", "d5", "d1"]);
    let answered = |index: usize| seen.status.devices[index].counters.replies;
    assert!(answered(3) >= 1200 && (598..=700).contains(&answered(2)), "counts go on where the device does");
    assert_eq!(seen.memory.keys().collect::<Vec<_>>(), ["d4"]);
    assert!(seen.events.iter().all(|event| event.kind != EventKind::LineDown), "{:?}", seen.events);
}
