//! One scan of one device, block by block: what to ask next, and what has come of it. No I/O.

use super::plan::{Block, Lessons, Terms, WireCost, plan_points};
use super::{Field, Scan};
use crate::modbus::rtu::Pace;
use crate::model::{Bad, Name, Timestamp};
use crate::profile::Profile;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Exceptions that may be one register's fault: illegal data address, illegal data value.
const ONE_REGISTERS_FAULT: [u8; 2] = [2, 3];

/// Garbage in answer to so many questions in a row, and the rest of the scan is not asked: a device with
/// the wrong baud rate must not cost its neighbours a timeout for each of its blocks.
const GARBLED_IN_A_ROW: usize = 3;

/// The plan on terms that suit most lines: 9600 baud and a meter that answers at once.
fn plan_apart(profile: &Profile, due: &[usize], alone: &BTreeSet<usize>) -> Vec<Block> {
    let lessons = Lessons { alone: alone.clone(), ..Lessons::default() };
    let cost = WireCost::rtu(Pace::new(9600, false, 1));
    plan_points(profile, due, &Terms { cost, turnaround: Duration::ZERO, lessons: &lessons })
}

/// How a device did in one scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// At least one valid answer, be it a refusal.
    Answers,
    /// No valid answer, but octets.
    Garbled,
    Silent,
}

pub(super) struct Job {
    device: Name,
    profile: Arc<Profile>,
    blocks: VecDeque<Block>,
    fields: BTreeMap<usize, Result<Vec<u8>, Bad>>,
    /// Points refused together with others: from now on they are asked alone.
    pub(super) to_ask_alone: BTreeSet<usize>,
    first_reply: Option<Timestamp>,
    last_reply: Option<Timestamp>,
    answered: bool,
    /// Blocks in a row that were answered by nothing valid.
    garbled: usize,
    /// The device was silent before: what is not asked for lack of an answer is lost, not unanswered.
    probe: bool,
}

impl Job {
    /// All due points; with `probe` only the smallest block is asked, and the rest if it is answered.
    pub(super) fn new(
        device: Name,
        profile: Arc<Profile>,
        due: &[usize],
        alone: &BTreeSet<usize>,
        probe: bool,
    ) -> Job {
        let mut blocks = plan_apart(&profile, due, alone);
        if probe {
            blocks.sort_by_key(|block| block.request.reply_data_octets());
        }
        Job {
            device,
            blocks: blocks.into(),
            fields: BTreeMap::new(),
            to_ask_alone: BTreeSet::new(),
            first_reply: None,
            last_reply: None,
            answered: false,
            garbled: 0,
            probe,
            profile,
        }
    }

    pub(super) fn next(&self) -> Option<&Block> {
        self.blocks.front()
    }

    /// What this scan says of the device.
    pub(super) fn verdict(&self) -> Health {
        match self {
            Job { answered: true, .. } => Health::Answers,
            Job { garbled: 0, .. } => Health::Silent,
            _ => Health::Garbled,
        }
    }

    pub(super) fn reply(&mut self, data: &[u8], at: Timestamp) {
        self.heard(at);
        let Some(block) = self.blocks.pop_front() else { return };
        for index in &block.points {
            let octets = self.profile.points.get(*index).and_then(|point| block.octets_of(point, data));
            self.fields.insert(*index, octets.ok_or(Bad::Garbled));
        }
    }

    /// A refusal costs its own points only: a block of several is asked again point by point.
    pub(super) fn exception(&mut self, code: u8, at: Timestamp) {
        self.heard(at);
        let Some(block) = self.blocks.pop_front() else { return };
        if block.points.len() > 1 && ONE_REGISTERS_FAULT.contains(&code) {
            let alone: BTreeSet<usize> = block.points.iter().copied().collect();
            let singles = plan_apart(&self.profile, &block.points, &alone);
            if singles.len() > 1 {
                singles.into_iter().rev().for_each(|single| self.blocks.push_front(single));
                return;
            }
        }
        if ONE_REGISTERS_FAULT.contains(&code) {
            self.to_ask_alone.extend(&block.points);
        }
        self.set(&block.points, Bad::Exception(code));
    }

    /// Silence: whoever does not answer one question is not asked the next.
    pub(super) fn no_reply(&mut self) {
        if let Some(asked) = self.blocks.pop_front() {
            self.set(&asked.points, Bad::NoReply);
        }
        self.abandon(if self.probe { Bad::DeviceLost } else { Bad::NoReply });
    }

    pub(super) fn garbled(&mut self) {
        self.garbled += 1;
        if let Some(block) = self.blocks.pop_front() {
            self.set(&block.points, Bad::Garbled);
        }
        if self.garbled >= GARBLED_IN_A_ROW {
            self.abandon(Bad::Garbled);
        }
    }

    /// The rest can't be asked, for this reason.
    pub(super) fn abandon(&mut self, bad: Bad) {
        while let Some(block) = self.blocks.pop_front() {
            self.set(&block.points, bad);
        }
    }

    /// The line stops: what was not asked is not in the scan.
    pub(super) fn cut_off(&mut self) {
        self.blocks.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The first reason among the bad points, if there is one.
    pub(super) fn reason(&self) -> Option<Bad> {
        self.fields.values().find_map(|field| field.as_ref().err().copied())
    }

    pub(super) fn has_good(&self) -> bool {
        self.fields.values().any(Result::is_ok)
    }

    pub(super) fn scan(self, now: Timestamp) -> Scan {
        let ts = self.first_reply.unwrap_or(now);
        let took = self.last_reply.map_or(0, |last| last.0.saturating_sub(ts.0));
        Scan {
            device: self.device,
            profile: self.profile,
            ts,
            took: Duration::from_millis(u64::try_from(took).unwrap_or(0)),
            fields: self.fields.into_iter().map(|(point, octets)| Field { point, octets }).collect(),
        }
    }

    fn heard(&mut self, at: Timestamp) {
        (self.answered, self.garbled) = (true, 0);
        self.first_reply.get_or_insert(at);
        self.last_reply = Some(at);
    }

    fn set(&mut self, points: &[usize], bad: Bad) {
        for point in points {
            self.fields.insert(*point, Err(bad));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::plan::tests::{point, profile};
    use crate::profile::{Format, Table};

    fn job(count: u16) -> Job {
        let points =
            (0..count).map(|n| point(&format!("p{n}"), Table::HoldingRegister, n, Format::U16)).collect();
        let profile = Arc::new(profile(points));
        let due: Vec<usize> = (0..usize::from(count)).collect();
        Job::new("m".parse().unwrap(), profile, &due, &BTreeSet::new(), false)
    }

    fn results(job: Job) -> Vec<Result<Vec<u8>, Bad>> {
        job.scan(Timestamp(9)).fields.into_iter().map(|field| field.octets).collect()
    }

    #[test]
    fn one_illegal_register_costs_itself_only() {
        let mut job = job(3);
        job.exception(2, Timestamp(1));
        for answer in [Ok([0, 1]), Err(2), Ok([0, 3])] {
            assert_eq!(job.next().unwrap().request.count(), 1);
            match answer {
                Ok(data) => job.reply(&data, Timestamp(2)),
                Err(code) => job.exception(code, Timestamp(2)),
            }
        }
        assert!(job.next().is_none());
        assert_eq!(job.to_ask_alone, BTreeSet::from([1]));
        assert_eq!(results(job), [Ok(vec![0, 1]), Err(Bad::Exception(2)), Ok(vec![0, 3])]);
    }

    #[test]
    fn a_busy_device_is_not_asked_point_by_point() {
        let mut job = job(3);
        job.exception(6, Timestamp(1));
        assert!(job.next().is_none());
        assert_eq!(results(job), vec![Err(Bad::Exception(6)); 3]);
    }

    #[test]
    fn a_device_that_answers_with_garbage_does_not_cost_a_question_a_block() {
        let points: Vec<_> =
            (0..20).map(|n| point(&format!("p{n}"), Table::HoldingRegister, n * 30, Format::U16)).collect();
        let due: Vec<usize> = (0..20).collect();
        let mut job =
            Job::new("m".parse().unwrap(), Arc::new(profile(points)), &due, &BTreeSet::new(), false);
        let mut asked = 0;
        while job.next().is_some() {
            asked += 1;
            job.garbled();
        }
        assert_eq!((asked, job.verdict()), (3, Health::Garbled));
        assert_eq!(results(job), vec![Err(Bad::Garbled); 20]);
    }

    #[test]
    fn the_stamp_is_the_first_replys() {
        let mut job = job(30);
        job.reply(&[0; 40], Timestamp(100));
        job.reply(&[0; 20], Timestamp(250));
        let scan = job.scan(Timestamp(999));
        assert_eq!((scan.ts, scan.took), (Timestamp(100), Duration::from_millis(150)));
    }
}
