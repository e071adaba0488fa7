//! What is wrong on a line, told from what its questions came to. Pure.
//!
//! A finding begins on evidence that noise alone does not give, and ends when the evidence has stayed away for
//! a while: it is said once when it begins and once when it ends.

mod text;
mod trend;

use crate::bus::overheard::StrayKind;
use crate::bus::transact::{Notes, Outcome};
use crate::model::{Finding, FindingKind, Mono, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use trend::Trend;

/// Unanswered questions in a row, without an octet, that make silence.
const SILENT: u32 = 3;
/// Garbage in a row that makes "no valid frame".
const GARBLED: u32 = 3;
/// Answers in a row without a second one, after which a device is believed again.
const CLEAN_ANSWERS: u32 = 20;
/// So many questions of another master within [`MASTER_WINDOW`] are one too many to be a coincidence.
const FOREIGN_QUESTIONS: usize = 2;
const MASTER_WINDOW: Duration = Duration::from_secs(60);
/// Turns missed at so many moments, each a second or more after the one before, within a minute: not one stall.
const MISSED_MOMENTS: usize = 5;
const MOMENT: Duration = Duration::from_secs(1);
const OVERLOAD_WINDOW: Duration = Duration::from_secs(60);
/// Babble is over after so long without.
const BABBLE_OVER: Duration = Duration::from_secs(3);
/// … and once it has begun, so many octets between two looks at an idle line are more of it.
const STILL_BABBLE: u64 = 8;

/// What changed: a finding began, or is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bus) struct Change {
    /// None for the whole line.
    pub device: Option<usize>,
    pub kind: FindingKind,
    pub begins: bool,
    pub text: String,
}

/// What is known of one device.
#[derive(Debug, Clone, Default)]
struct Patient {
    silent: u32,
    garbled: u32,
    clean: u32,
    errors: Trend,
    latency: Trend,
}

/// The findings of one line.
#[derive(Debug)]
pub(in crate::bus) struct Doctor {
    patients: Vec<Patient>,
    foreign: VecDeque<Mono>,
    babbled: Option<Mono>,
    /// When turns were missed.
    missed: VecDeque<Mono>,
    /// Whether any octet was heard since the port was opened.
    heard: bool,
    /// A line of wires, on which an electrician finds other faults than on a network.
    wired: bool,
    findings: BTreeMap<(Option<usize>, FindingKind), Finding>,
    changes: Vec<Change>,
}

/// One question, as far as it matters here.
#[derive(Debug)]
pub(in crate::bus) struct Case<'a> {
    pub device: usize,
    pub outcome: &'a Outcome,
    /// From our last octet to the answer's first.
    pub latency: Option<Duration>,
    pub utc: Timestamp,
}

impl Doctor {
    pub(in crate::bus) fn new(devices: usize, wired: bool) -> Doctor {
        Doctor {
            patients: vec![Patient::default(); devices],
            foreign: VecDeque::new(),
            babbled: None,
            missed: VecDeque::new(),
            heard: false,
            wired,
            findings: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// What changed since this was asked last.
    pub(in crate::bus) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(in crate::bus) fn findings(&self, device: Option<usize>) -> Vec<Finding> {
        self.findings
            .iter()
            .filter(|((of, _), _)| *of == device)
            .map(|(_, finding)| finding.clone())
            .collect()
    }

    /// Two devices answer under this one's unit id: nobody knows whose values these are.
    pub(in crate::bus) fn is_doubtful(&self, device: usize) -> bool {
        self.has(Some(device), FindingKind::TwoAnswers)
    }

    fn has(&self, device: Option<usize>, kind: FindingKind) -> bool {
        self.findings.contains_key(&(device, kind))
    }

    /// This device is no more: what was found of it is over.
    pub(in crate::bus) fn discharge(&mut self, device: usize) {
        let kinds: Vec<FindingKind> =
            self.findings.keys().filter(|(of, _)| *of == Some(device)).map(|(_, kind)| *kind).collect();
        kinds.into_iter().for_each(|kind| self.ends(Some(device), kind));
    }

    /// The devices have other places: of each, the one it had, if it had one.
    pub(in crate::bus) fn rearrange(&mut self, from: &[Option<usize>]) {
        let was =
            |from: &Option<usize>| from.and_then(|from| self.patients.get(from)).cloned().unwrap_or_default();
        self.patients = from.iter().map(was).collect();
        let place = |of: usize| from.iter().position(|from| *from == Some(of));
        let findings = std::mem::take(&mut self.findings).into_iter();
        self.findings = findings
            .filter_map(|((of, kind), finding)| match of {
                Some(of) => Some(((Some(place(of)?), kind), finding)),
                None => Some(((None, kind), finding)),
            })
            .collect();
    }

    /// A question has come to this.
    pub(in crate::bus) fn saw(&mut self, case: &Case<'_>) {
        self.heard |= !matches!(case.outcome, Outcome::NoReply);
        self.answers(case);
        self.errors(case);
        self.latency(case);
        self.whole_line(case.utc);
    }

    fn answers(&mut self, case: &Case<'_>) {
        let (device, wired) = (Some(case.device), self.wired);
        let Some(patient) = self.patients.get_mut(case.device) else { return };
        match case.outcome {
            // Nobody behind the gateway: neither an answer of the device nor silence on this line.
            outcome if outcome.is_gateways_silence() => {}
            Outcome::Data(_) | Outcome::Exception(_) => {
                (patient.silent, patient.garbled) = (0, 0);
                patient.clean = patient.clean.saturating_add(1);
                let believed = patient.clean >= CLEAN_ANSWERS;
                self.ends(device, FindingKind::Silence);
                self.ends(device, FindingKind::NoValidFrame);
                if believed {
                    self.ends(device, FindingKind::TwoAnswers);
                }
            }
            Outcome::TwoAnswers => {
                (patient.silent, patient.garbled, patient.clean) = (0, 0, 0);
                self.second_answer(case.device, case.utc);
            }
            Outcome::NoReply => {
                patient.silent = patient.silent.saturating_add(1);
                patient.garbled = 0;
                if patient.silent >= SILENT {
                    self.ends(device, FindingKind::NoValidFrame);
                    self.begins(
                        device,
                        FindingKind::Silence,
                        case.utc,
                        if wired { text::SILENCE_ON_WIRES } else { text::SILENCE_ON_A_NETWORK },
                    );
                }
            }
            Outcome::Garbled { .. } => {
                patient.garbled = patient.garbled.saturating_add(1);
                patient.silent = 0;
                if patient.garbled >= GARBLED {
                    self.ends(device, FindingKind::Silence);
                    self.begins(device, FindingKind::NoValidFrame, case.utc, text::NO_VALID_FRAME);
                }
            }
        }
    }

    fn second_answer(&mut self, device: usize, utc: Timestamp) {
        if let Some(patient) = self.patients.get_mut(device) {
            patient.clean = 0;
        }
        self.begins(Some(device), FindingKind::TwoAnswers, utc, text::TWO_ANSWERS);
    }

    fn errors(&mut self, case: &Case<'_>) {
        let device = Some(case.device);
        let raised = self.has(device, FindingKind::ErrorsRising);
        let Some(patient) = self.patients.get_mut(case.device) else { return };
        let damaged = matches!(case.outcome, Outcome::Garbled { .. });
        if matches!(case.outcome, Outcome::NoReply) {
            return;
        }
        patient.errors.add(if damaged { 1.0 } else { 0.0 }, 1.0 / 64.0, raised);
        let trend = patient.errors;
        if !raised && trend.has_a_past() && trend.quick > 0.03 && trend.quick > 4.0 * trend.slow + 0.01 {
            let text = format!(
                "{:.1} % of its answers come damaged, usually {:.1} %: look for a loose terminal, a worn cable, a new source of noise",
                trend.quick * 100.0,
                trend.slow * 100.0
            );
            self.begins(device, FindingKind::ErrorsRising, case.utc, &text);
        } else if raised && trend.quick < 2.0 * trend.slow + 0.01 {
            self.ends(device, FindingKind::ErrorsRising);
        }
    }

    fn latency(&mut self, case: &Case<'_>) {
        let device = Some(case.device);
        let raised = self.has(device, FindingKind::Slower);
        let (Some(latency), Some(patient)) = (case.latency, self.patients.get_mut(case.device)) else {
            return;
        };
        patient.latency.add(latency.as_secs_f64() * 1000.0, 1.0 / 32.0, raised);
        let trend = patient.latency;
        if !raised && trend.has_a_past() && trend.quick > 2.0 * trend.slow && trend.quick > trend.slow + 20.0
        {
            let text = format!("it takes {:.0} ms to answer, usually {:.0} ms", trend.quick, trend.slow);
            self.begins(device, FindingKind::Slower, case.utc, &text);
        } else if raised && trend.quick < 1.5 * trend.slow + 5.0 {
            self.ends(device, FindingKind::Slower);
        }
    }

    /// Nobody says anything: then it is the line, not each of its devices.
    fn whole_line(&mut self, utc: Timestamp) {
        let all = !self.patients.is_empty() && self.patients.iter().all(|patient| patient.silent > 0);
        if all && !self.heard && self.patients.len() > 1 {
            self.begins(
                None,
                FindingKind::Silence,
                utc,
                if self.wired { text::NOBODY_ON_WIRES } else { text::NOBODY_ON_A_NETWORK },
            );
        } else if !all || self.heard {
            self.ends(None, FindingKind::Silence);
        }
    }

    /// What was noticed besides answers. `device_of` knows the devices by their unit ids.
    pub(in crate::bus) fn noticed(
        &mut self,
        notes: &Notes,
        device_of: impl Fn(u8) -> Option<usize>,
        now: Mono,
        utc: Timestamp,
    ) {
        self.heard |= notes.idle_octets > 0 || !notes.strays.is_empty();
        if let Some(device) = notes.second_answer.and_then(device_of) {
            self.second_answer(device, utc);
        }
        if notes.echo {
            self.begins(None, FindingKind::Echo, utc, text::ECHO);
        }
        self.master(notes, now, utc);
        self.overload(now);
        // An idle line is not waited on to be silent: there only the octets show that it still is not.
        let goes_on = self.babbled.is_some() && notes.idle_octets >= STILL_BABBLE;
        self.babble(notes.babble || goes_on, now, utc);
    }

    fn master(&mut self, notes: &Notes, now: Mono, utc: Timestamp) {
        let questions = notes.strays.iter().filter(|stray| stray.kind == StrayKind::Request).count();
        self.foreign.extend(std::iter::repeat_n(now, questions));
        while self.foreign.front().is_some_and(|at| now.since(*at) > MASTER_WINDOW)
            || self.foreign.len() > 100
        {
            self.foreign.pop_front();
        }
        if self.foreign.len() >= FOREIGN_QUESTIONS {
            self.begins(None, FindingKind::AnotherMaster, utc, text::ANOTHER_MASTER);
        } else if self.foreign.is_empty() {
            self.ends(None, FindingKind::AnotherMaster);
        }
    }

    /// A device that is there was asked so late that turns were missed, or one waits that is read back to back.
    pub(in crate::bus) fn missed_turns(&mut self, now: Mono, utc: Timestamp) {
        if self.missed.back().is_none_or(|last| now.since(*last) >= MOMENT) {
            self.missed.push_back(now);
        }
        if self.missed.len() >= MISSED_MOMENTS {
            self.begins(None, FindingKind::Overload, utc, text::OVERLOAD);
        }
    }

    fn overload(&mut self, now: Mono) {
        while self.missed.front().is_some_and(|at| now.since(*at) > OVERLOAD_WINDOW) {
            self.missed.pop_front();
        }
        if self.missed.is_empty() {
            self.ends(None, FindingKind::Overload);
        }
    }

    fn babble(&mut self, babbles: bool, now: Mono, utc: Timestamp) {
        if babbles {
            self.babbled = Some(now);
            self.begins(None, FindingKind::Babble, utc, text::BABBLE);
        } else if self.babbled.is_some_and(|at| now.since(at) >= BABBLE_OVER) {
            self.babbled = None;
            self.ends(None, FindingKind::Babble);
        }
    }

    /// The port was opened: what its adapter says of itself.
    pub(in crate::bus) fn opened(&mut self, utc: Timestamp, hints: &[(FindingKind, String)]) {
        self.heard = false;
        for kind in [FindingKind::Echo, FindingKind::LatencyTimer, FindingKind::Port] {
            match hints.iter().find(|(of, _)| *of == kind) {
                Some((_, text)) => self.begins(None, kind, utc, text),
                None => self.ends(None, kind),
            }
        }
    }

    /// Whether a device says what it offers, or why not.
    pub(in crate::bus) fn offers(&mut self, device: usize, says: &Result<(), String>, utc: Timestamp) {
        let (of, kind) = (Some(device), FindingKind::NoModels);
        let same = |why: &String| self.findings.get(&(of, kind)).is_some_and(|known| known.text == *why);
        if says.as_ref().is_err_and(same) {
            return;
        }
        self.ends(of, kind);
        if let Err(why) = says {
            self.begins(of, kind, utc, why);
        }
    }

    fn begins(&mut self, device: Option<usize>, kind: FindingKind, utc: Timestamp, text: &str) {
        if !self.has(device, kind) {
            self.findings.insert((device, kind), Finding { kind, since: utc, text: text.to_owned() });
            self.changes.push(Change { device, kind, begins: true, text: text.to_owned() });
        }
    }

    fn ends(&mut self, device: Option<usize>, kind: FindingKind) {
        if let Some(finding) = self.findings.remove(&(device, kind)) {
            self.changes.push(Change { device, kind, begins: false, text: finding.text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::overheard::Stray;

    struct Practice {
        doctor: Doctor,
        now: Mono,
    }

    impl Practice {
        fn new(devices: usize) -> Practice {
            Practice { doctor: Doctor::new(devices, true), now: Mono(0) }
        }

        fn see(&mut self, device: usize, outcome: &Outcome, latency_ms: u64) {
            self.now = self.now.plus(Duration::from_millis(100));
            let latency = matches!(outcome, Outcome::Data(_)).then(|| Duration::from_millis(latency_ms));
            let utc = Timestamp(i64::try_from(self.now.0 / 1_000_000).unwrap());
            self.doctor.saw(&Case { device, outcome, latency, utc });
        }

        fn notice(&mut self, notes: &Notes, seconds: u64) {
            self.now = self.now.plus(Duration::from_secs(seconds));
            self.doctor.noticed(notes, |unit| Some(usize::from(unit)), self.now, Timestamp(0));
        }

        /// Begun (+) and ended (-) findings since the last look.
        fn changes(&mut self) -> Vec<String> {
            let changes = self.doctor.take_changes();
            changes.iter().map(|c| format!("{}{}", if c.begins { '+' } else { '-' }, c.kind)).collect()
        }
    }

    const DATA: Outcome = Outcome::Data(Vec::new());
    const GARBLED_ONE: Outcome = Outcome::Garbled { whole: false };

    #[test]
    fn silence_and_garbage_are_told_apart_and_end_with_an_answer() {
        let mut practice = Practice::new(2);
        practice.see(1, &DATA, 5);
        (0..5).for_each(|_| practice.see(0, &Outcome::NoReply, 0));
        assert_eq!(practice.changes(), ["+silence"]);
        (0..3).for_each(|_| practice.see(0, &GARBLED_ONE, 0));
        assert_eq!(practice.changes(), ["-silence", "+no-valid-frame"]);
        practice.see(0, &DATA, 5);
        assert_eq!(practice.changes(), ["-no-valid-frame"]);
    }

    #[test]
    fn a_line_on_which_nobody_speaks_is_the_lines_trouble() {
        let mut practice = Practice::new(2);
        practice.see(0, &Outcome::NoReply, 0);
        practice.see(1, &Outcome::NoReply, 0);
        assert_eq!(practice.changes(), ["+silence"]);
        assert_eq!(practice.doctor.findings(None).len(), 1);
        practice.see(1, &DATA, 5);
        assert_eq!(practice.changes(), ["-silence"]);
    }

    #[test]
    fn two_answers_are_doubted_until_one_answers_alone_for_a_while() {
        let mut practice = Practice::new(1);
        practice.see(0, &Outcome::TwoAnswers, 0);
        assert_eq!(practice.changes(), ["+two-answers"]);
        for _ in 0..CLEAN_ANSWERS {
            assert!(practice.doctor.is_doubtful(0));
            practice.see(0, &DATA, 5);
        }
        assert_eq!(practice.changes(), ["-two-answers"]);
    }

    #[test]
    fn a_cable_on_its_way_out_is_noticed_against_its_own_past() {
        let mut practice = Practice::new(1);
        let mut dice = fastrand::Rng::with_seed(3);
        let mut run = |practice: &mut Practice, count: u32, share: f64| {
            for _ in 0..count {
                let outcome = if dice.f64() < share { GARBLED_ONE } else { DATA };
                practice.see(0, &outcome, 5);
            }
            let changes = practice.changes();
            changes.into_iter().filter(|change| change.contains("errors")).collect::<Vec<_>>()
        };
        assert_eq!(run(&mut practice, 5000, 0.005), Vec::<String>::new());
        assert_eq!(run(&mut practice, 500, 0.08), ["+errors-rising"]);
        assert_eq!(run(&mut practice, 1000, 0.0), ["-errors-rising"]);
        let mut noisy = Practice::new(1);
        assert_eq!(run(&mut noisy, 5000, 0.2), Vec::<String>::new(), "always was like that");
    }

    #[test]
    fn slow_and_slower() {
        let mut practice = Practice::new(1);
        (0..500).for_each(|_| practice.see(0, &DATA, 30));
        assert_eq!(practice.changes(), Vec::<String>::new());
        (0..100).for_each(|_| practice.see(0, &DATA, 120));
        assert_eq!(practice.changes(), ["+slower"]);
        (0..200).for_each(|_| practice.see(0, &DATA, 30));
        assert_eq!(practice.changes(), ["-slower"]);
    }

    #[test]
    fn another_master_and_babble_begin_and_end() {
        let mut practice = Practice::new(1);
        let stray = Stray { kind: StrayKind::Request, unit: 3, function: 3, data_octets: 0 };
        let question = Notes { strays: vec![stray], ..Notes::default() };
        practice.notice(&question, 1);
        assert_eq!(practice.changes(), Vec::<String>::new());
        practice.notice(&question, 1);
        assert_eq!(practice.changes(), ["+another-master"]);
        practice.notice(&Notes::default(), 61);
        assert_eq!(practice.changes(), ["-another-master"]);
        practice.notice(&Notes { babble: true, ..Notes::default() }, 1);
        assert_eq!(practice.changes(), ["+babble"]);
        practice.notice(&Notes::default(), 2);
        assert_eq!(practice.changes(), Vec::<String>::new());
        practice.notice(&Notes::default(), 2);
        assert_eq!(practice.changes(), ["-babble"]);
    }

    #[test]
    fn babble_that_is_asked_into_rarely_does_not_end_between_two_questions() {
        let mut practice = Practice::new(1);
        practice.notice(&Notes { babble: true, ..Notes::default() }, 1);
        assert_eq!(practice.changes(), ["+babble"]);
        (0..100).for_each(|_| practice.notice(&Notes { idle_octets: 90, ..Notes::default() }, 1));
        assert_eq!(practice.changes(), Vec::<String>::new());
        practice.notice(&Notes::default(), 4);
        assert_eq!(practice.changes(), ["-babble"]);
    }
}
