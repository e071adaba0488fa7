//! A meter with a serial number and a counter, from scan to scan: who it is, and how its counter ran.

use super::*;
use crate::model::{Bad, IdentityRule, Value};
use crate::profile::{self, Profile};
use std::sync::Arc;

const WATCHED: &str = "profile: 1\nvendor: A\nmodel: B\nkind: other\npoints:
  serial_number: { holding: 0, type: u16 }
  e: { holding: 1, type: u16, index: true, total: true }
";

/// A meter with a serial number and a counter, scan by scan; what was said, and what is worth an event.
struct Watched {
    profile: Arc<Profile>,
    normalizer: Normalizer,
}

impl Watched {
    fn new() -> Watched {
        let profile = Arc::new(profile::parse("p", "p.yaml", WATCHED).unwrap());
        Watched { profile, normalizer: Normalizer::default() }
    }

    /// The same under another profile, as after a reload or a restart with an edited one.
    fn edited(&mut self, edits: &[(&str, &str)]) {
        let text = edits.iter().fold(WATCHED.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        self.profile = Arc::new(profile::parse("p", "p.yaml", &text).unwrap());
    }

    fn restart(&mut self) {
        let text = serde_json::to_string(&self.normalizer.kept()).unwrap();
        self.normalizer = Normalizer::remembering(&serde_json::from_str(&text).unwrap());
    }

    fn shown(&self) -> (Option<String>, Option<Bad>) {
        let status = self.normalizer.meters().into_values().next().unwrap_or_default();
        (status.identity, status.withheld)
    }

    fn scan(&mut self, rule: &IdentityRule, registers: [Option<u16>; 2]) -> (Vec<String>, Vec<News>) {
        let octets = |r: Option<u16>| r.map(|r| r.to_be_bytes().to_vec()).ok_or(Bad::NoReply);
        let field = |(point, r): (usize, &Option<u16>)| Field { point, octets: octets(*r) };
        let fields =
            registers.iter().enumerate().filter(|(n, r)| *n == 1 || r.is_some()).map(field).collect();
        let (reading, news) =
            self.normalizer.reading(&tests::scan(Arc::clone(&self.profile), fields), rule, false);
        let said = reading.samples.iter().filter(|(name, _)| name.as_str() != "serial_number");
        let said = said.map(|(_, sample)| match sample {
            Ok(Value::Number(number)) => number.to_string(),
            other => other.as_ref().err().unwrap().word().into_owned(),
        });
        (said.collect(), news)
    }
}

#[test]
fn values_of_another_meter_are_held_until_the_owner_accepts_it_and_the_total_goes_on() {
    let mut meter = Watched::new();
    let hold = IdentityRule::Hold;
    assert_eq!(meter.scan(&hold, [Some(7), Some(100)]).0, ["100", "100"]);
    assert_eq!(
        meter.scan(&hold, [None, Some(110)]).0,
        ["110", "110"],
        "seen once, it is the same until it is silent"
    );
    meter.scan(&hold, [None, None]);
    assert_eq!(
        meter.scan(&hold, [None, Some(3)]).0,
        ["identity", "identity"],
        "who is back has not said who it is"
    );
    let (said, news) = meter.scan(&hold, [Some(8), Some(3)]);
    assert_eq!(said, ["identity"; 2]);
    assert_eq!(news, [News::Exchanged { from: "7".into(), to: "8".into(), accepted: false }]);
    assert_eq!(meter.scan(&hold, [Some(8), Some(3)]), (vec!["identity".into(); 2], vec![]), "told once");
    let (said, news) = meter.scan(&IdentityRule::Is("8".into()), [Some(8), Some(4)]);
    assert_eq!(said, ["4", "110"], "the total goes on where it was");
    assert_eq!(news, [News::Exchanged { from: "7".into(), to: "8".into(), accepted: true }]);
    assert_eq!(meter.scan(&hold, [Some(8), Some(6)]).0, ["6", "112"]);
    let (said, _) = meter.scan(&IdentityRule::Accept, [Some(9), Some(1000)]);
    assert_eq!(said, ["1000", "112"]);
}

#[test]
fn a_restart_forgets_neither_who_it_is_nor_the_total() {
    let mut meter = Watched::new();
    meter.scan(&IdentityRule::Hold, [Some(7), Some(65_530)]);
    let text = serde_json::to_string(&meter.normalizer.kept()).unwrap();
    meter.normalizer = Normalizer::remembering(&serde_json::from_str(&text).unwrap());
    assert_eq!(meter.scan(&IdentityRule::Hold, [None, Some(5)]).0, ["identity"; 2]);
    let scans = [5, 5, 6, 8].map(|count| meter.scan(&IdentityRule::Hold, [Some(7), Some(count)]).0);
    let expected = [["counter-fell"; 2], ["5", "65530"], ["6", "65530"], ["8", "65544"]];
    assert_eq!(scans, expected.map(|said| said.map(String::from).to_vec()), "it rolled over meanwhile");
    meter.normalizer = Normalizer::remembering(&serde_json::from_str(&text).unwrap());
    assert_eq!(meter.scan(&IdentityRule::Hold, [Some(8), Some(5)]).0, ["identity"; 2]);
}

#[test]
fn a_counter_that_falls_is_bad_and_one_that_was_reset_or_is_back_is_told() {
    let mut meter = Watched::new();
    let hold = IdentityRule::Hold;
    meter.scan(&hold, [Some(7), Some(500)]);
    assert_eq!(meter.scan(&hold, [Some(7), Some(0)]).0, ["counter-fell"; 2]);
    assert_eq!(meter.scan(&hold, [Some(7), Some(501)]).0, ["501", "501"]);
    meter.scan(&hold, [Some(7), Some(0)]);
    let (said, news) = meter.scan(&hold, [Some(7), Some(2)]);
    assert_eq!(said, ["2", "501"], "what it has counted since is not believed yet");
    assert!(matches!(&news[..], [News::CounterReset { .. }]), "{news:?}");
    assert_eq!(meter.scan(&hold, [Some(7), Some(5)]).0, ["5", "506"]);
    meter.scan(&hold, [Some(7), Some(0)]);
    meter.scan(&hold, [Some(7), Some(0)]);
    meter.restart();
    let (said, news) = meter.scan(&hold, [Some(7), Some(6)]);
    assert_eq!(said, ["6", "507"], "a restart forgets not that it may be back");
    assert!(matches!(&news[..], [News::CounterBack { .. }]), "{news:?}");
}

#[test]
fn a_meter_that_does_not_say_its_number_is_told_once_and_the_owner_can_free_it() {
    for silent in [0, 0xFFFF] {
        let mut meter = Watched::new();
        let hold = IdentityRule::Hold;
        meter.scan(&hold, [Some(7), Some(100)]);
        meter.scan(&hold, [None, None]);
        let (said, news) = meter.scan(&hold, [Some(silent), Some(110)]);
        assert_eq!(said, ["identity"; 2]);
        assert_eq!(news, [News::Nameless { known: "7".into() }]);
        assert_eq!(meter.shown(), (Some("7".into()), Some(Bad::Identity)));
        let again = meter.scan(&hold, [Some(silent), Some(110)]);
        assert_eq!(again, (vec!["identity".into(); 2], vec![]), "told once");
        let meant = IdentityRule::Is("7".into());
        assert_eq!(
            meter.scan(&meant, [Some(silent), Some(110)]).0,
            ["identity"; 2],
            "that says who is meant"
        );
        let (said, news) = meter.scan(&IdentityRule::Accept, [Some(silent), Some(110)]);
        assert_eq!((said, news), (vec!["110".into(); 2], vec![]));
        assert_eq!(meter.shown(), (Some("7".into()), None));
        assert_eq!(meter.scan(&hold, [Some(7), Some(111)]).0, ["111"; 2], "or it says it after all");
        meter.scan(&hold, [None, None]);
        assert_eq!(meter.scan(&hold, [Some(silent), Some(111)]).1.len(), 1, "and it is told anew");
    }
}

#[test]
fn one_that_was_not_asked_who_it_is_is_held_and_not_told() {
    let mut meter = Watched::new();
    let hold = IdentityRule::Hold;
    meter.scan(&hold, [Some(7), Some(100)]);
    meter.scan(&hold, [None, None]);
    assert_eq!(meter.shown(), (Some("7".into()), None), "a silent one holds nothing back");
    assert_eq!(meter.scan(&hold, [None, Some(110)]), (vec!["identity".into(); 2], vec![]));
    assert_eq!(meter.scan(&hold, [Some(7), Some(110)]).0, ["110"; 2]);
}

#[test]
fn what_is_held_back_is_shown_as_long_as_it_is() {
    let mut meter = Watched::new();
    let hold = IdentityRule::Hold;
    let changes: Vec<_> = [(7, 100), (7, 101), (7, 5), (7, 102), (8, 103), (8, 104), (7, 105)]
        .into_iter()
        .map(|(serial, count)| {
            meter.scan(&hold, [Some(serial), Some(count)]);
            (meter.normalizer.take_changed().shown, meter.shown().1)
        })
        .collect();
    let (fell, other) = (Some(Bad::CounterFell), Some(Bad::Identity));
    let expected = [
        (true, None),
        (false, None),
        (true, fell),
        (true, None),
        (true, other),
        (false, other),
        (true, None),
    ];
    assert_eq!(changes, expected);
}

#[test]
fn what_a_restart_could_not_make_up_for_is_to_be_kept_at_once() {
    let mut meter = Watched::new();
    let hold = IdentityRule::Hold;
    let mut kept = |serial, count| {
        meter.scan(&hold, [Some(serial), Some(count)]);
        meter.normalizer.take_changed().kept
    };
    let seen = [(7, 100), (7, 101), (7, 102), (7, 3), (7, 3), (7, 4), (7, 5), (7, 6)];
    let seen = seen.map(|(serial, count)| kept(serial, count));
    let as_it_should = [true, false, false, false, true, true, true, false];
    assert_eq!(seen, as_it_should, "the first value; a reset, and when it has risen");
    assert!(kept(8, 7), "another meter is told");
    meter.scan(&IdentityRule::Accept, [Some(8), Some(7)]);
    assert!(meter.normalizer.take_changed().kept);
}

#[test]
fn a_kill_in_the_middle_of_counting_loses_nothing_and_the_total_goes_on() {
    let mut meter = Watched::new();
    let hold = IdentityRule::Hold;
    meter.scan(&hold, [Some(7), Some(100)]);
    for count in [3, 3, 4, 5] {
        meter.scan(&hold, [Some(7), Some(count)]);
    }
    let on_disk = serde_json::to_string(&meter.normalizer.kept()).unwrap();
    let before = meter.scan(&hold, [Some(7), Some(40)]).0;
    meter.normalizer = Normalizer::remembering(&serde_json::from_str(&on_disk).unwrap());
    let after = meter.scan(&hold, [Some(7), Some(41)]).0;
    assert_eq!((before[1].as_str(), after[1].as_str()), ("137", "138"));
}

#[test]
fn another_profile_begins_anew_what_it_reads_otherwise_and_goes_on_with_the_rest() {
    let hold = IdentityRule::Hold;
    for restarted in [false, true] {
        let begun = || {
            let mut meter = Watched::new();
            meter.scan(&hold, [Some(7), Some(5000)]);
            for count in [0, 0, 10, 20] {
                meter.scan(&hold, [Some(7), Some(count)]);
            }
            assert_eq!(meter.scan(&hold, [Some(7), Some(21)]).0, ["21", "5021"]);
            if restarted {
                meter.restart();
            }
            meter
        };
        let mut meter = begun();
        meter.edited(&[("total: true", "total: true, range: [0, 60000], every: 1h")]);
        assert_eq!(meter.scan(&hold, [Some(7), Some(22)]).0, ["22", "5022"], "the same register as before");
        let mut meter = begun();
        meter.edited(&[("total: true", "total: true, scale: 0.1")]);
        let (said, news) = meter.scan(&hold, [Some(7), Some(22)]);
        assert_eq!(said, ["2.2", "2.2"]);
        assert_eq!(news, [News::CountersAnew { points: vec!["e".parse().unwrap()] }]);
        let mut meter = begun();
        meter.edited(&[("serial_number: { holding: 0", "serial_number: { holding: 9")]);
        let (said, news) = meter.scan(&hold, [Some(1234), Some(22)]);
        assert_eq!((said, news), (vec!["22".into(), "5022".into()], vec![]), "a name of another register");
        assert_eq!(meter.shown().0.as_deref(), Some("1234"));
    }
}

#[test]
fn what_was_kept_before_meanings_were_is_taken_for_the_same() {
    let mut meter = Watched::new();
    let text = r#"{"d":{"identity":"7","counters":{"e":["40","1040"]}}}"#;
    meter.normalizer = Normalizer::remembering(&serde_json::from_str(text).unwrap());
    assert_eq!(meter.scan(&IdentityRule::Hold, [Some(7), Some(41)]).0, ["41", "1041"]);
}

#[test]
fn a_profile_that_knows_neither_names_nor_counters_holds_nothing_back() {
    let mut meter = Watched::new();
    meter.scan(&IdentityRule::Hold, [Some(7), Some(100)]);
    meter.scan(&IdentityRule::Hold, [Some(8), Some(100)]);
    meter.normalizer.take_changed();
    meter.edited(&[("serial_number", "number"), (", index: true, total: true", "")]);
    assert_eq!(meter.scan(&IdentityRule::Hold, [Some(8), Some(100)]).0, ["8", "100"]);
    assert_eq!(meter.shown(), (None, None));
    assert_eq!(meter.normalizer.take_changed(), Changed { shown: true, kept: true });
}
