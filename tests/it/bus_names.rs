//! Who a meter is, as it is asked over hours: one whose serial number is not there yet is asked again soon, and one that
//! has none costs the line next to nothing. On a clock that moves when somebody waits.

use crate::common::hours::{Asked, Line, Replies, Seen, data, device, refusal};
use linesman::bus::DeviceConfig;
use linesman::profile::{self, Every};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const TURNAROUND: Duration = Duration::from_millis(5);
/// Far from the others, so that it has a question of its own.
const NAME: u16 = 900;

/// A meter with a value each second and a serial number each hour.
fn named() -> DeviceConfig {
    let text = "profile: 1\nvendor: A\nmodel: B\nkind: other\npoints:
  value: { holding: 0, type: u16 }
  serial_number: { holding: 900, type: u16 }
";
    let profile = Arc::new(profile::parse("p", "p.yaml", text).unwrap());
    let mut device = device(1, &profile, SECOND);
    device.every[1] = Every::Period(HOUR);
    device
}

/// Three hours of it; what the serial number reads at each moment.
fn hours(meter: impl Fn(&Asked) -> Replies + 'static) -> Seen {
    Line::new(vec![named()]).run(3 * HOUR, meter)
}

fn reads(asked: &Asked, name: u16) -> Replies {
    vec![(TURNAROUND, data(asked, |register| if register == NAME { name } else { 5 }))]
}

fn names_asked(seen: &Seen) -> Vec<Duration> {
    seen.asked.iter().filter(|asked| asked.touches(NAME)).map(|asked| asked.at).collect()
}

/// When the serial number was read first.
fn named_at(seen: &Seen, name: u16) -> Duration {
    let is_named = |field: &linesman::bus::Field| {
        field.point == 1 && field.octets.as_ref().is_ok_and(|octets| octets[..] == name.to_be_bytes())
    };
    let scan = seen.scans.iter().find(|scan| scan.fields.iter().any(is_named)).expect("it was never read");
    Seen::at(scan)
}

#[test]
fn a_serial_number_that_is_not_there_yet_is_asked_again_soon_and_then_left_alone() {
    for blank in [0, 0xFFFF] {
        let is_there = 25 * SECOND;
        let seen = hours(move |asked| reads(asked, if asked.at < is_there { blank } else { 7 }));
        let named = named_at(&seen, 7);
        assert!(named > is_there && named - is_there <= 20 * SECOND, "{named:?}");
        let after = names_asked(&seen).into_iter().filter(|at| *at > named + SECOND).count();
        assert!(after <= 3, "asked {after} times in three hours, although it is known");
    }
}

#[test]
fn a_meter_without_a_serial_number_is_asked_for_it_more_and_more_rarely() {
    type Answer = fn(&Asked) -> Replies;
    // What is refused is held for a register's fault, and tried again as such.
    let nothing: [(&str, usize, Answer); 3] = [
        ("zero", 4, |asked| reads(asked, 0)),
        ("refused", 1, |asked| {
            if asked.touches(NAME) { vec![(TURNAROUND, refusal(asked, 2))] } else { reads(asked, 0) }
        }),
        ("silence", 4, |asked| if asked.touches(NAME) { Vec::new() } else { reads(asked, 0) }),
    ];
    for (what, soon, meter) in nothing {
        let seen = hours(meter);
        let asked = names_asked(&seen);
        assert!(asked.iter().filter(|at| **at < 60 * SECOND).count() >= soon, "{what}: {asked:?}");
        assert!(asked.len() <= 100, "{what}: asked {} times in three hours", asked.len());
        let values = seen.of("d1").filter(|scan| scan.fields.iter().any(|field| field.point == 0)).count();
        assert!(values >= 10_700, "{what}: {values} values in three hours");
    }
}

#[test]
fn who_is_back_after_a_silence_is_asked_who_it_is_at_once() {
    // It is not asked who it is from the second 72 to the second 152.
    let (gone, back) = (75 * SECOND, 100 * SECOND);
    let is_away = move |at: Duration| at >= gone && at < back;
    let seen = hours(move |asked| match asked.at {
        at if is_away(at) => Vec::new(),
        at if at < gone => reads(asked, 0),
        _ => reads(asked, 8),
    });
    let first =
        seen.scans.iter().find(|scan| Seen::at(scan) > back && scan.fields.iter().any(|f| f.octets.is_ok()));
    let first = Seen::at(first.expect("it came back"));
    assert!(named_at(&seen, 8) <= first + SECOND, "{:?} after {first:?}", named_at(&seen, 8));
}
