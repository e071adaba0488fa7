//! A walk along a device's models, before anything else of a scan is read.

use super::{Effects, Item, Job, Why};
use crate::bus::plan::{Block, function_of};
use crate::modbus::ReadRequest;
use crate::model::Bad;
use crate::profile::Table;
use crate::profile::sunspec::Walk;

impl Job {
    /// This is walked first. What was planned is read only if the walk finds what was known.
    pub(in crate::bus) fn walk_first(&mut self, walk: Walk) {
        self.walk = Some(walk);
        self.go_on_walking();
    }

    pub(super) fn is_walking(&self) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.next().is_some())
    }

    pub(super) fn walked(&mut self, answer: Result<&[u8], u8>) -> Effects {
        match (&mut self.walk, answer) {
            (Some(walk), Ok(octets)) => walk.answered(octets),
            (Some(walk), Err(code)) => walk.refused(code),
            (None, _) => {}
        }
        self.go_on_walking();
        Effects::default()
    }

    fn go_on_walking(&mut self) {
        let Some(walk) = &self.walk else { return };
        if let Some(read) = walk.next() {
            let function = function_of(Table::HoldingRegister);
            if let Ok(request) = ReadRequest::new(function, read.address, read.count) {
                let block = Block { request, points: Vec::new() };
                self.items.push_front(Item::new(block, 0, Why::Walk));
            }
            return;
        }
        if walk.is_as_known() {
            return;
        }
        // The points that were known stand elsewhere now, or nowhere.
        let bad = walk.outcome().and_then(Result::err);
        let bad = bad.map(|broken| broken.exception().map_or(Bad::Identity, Bad::Exception));
        while let Some(item) = self.items.pop_front() {
            if let Some(bad) = bad {
                self.set_where_nothing_is(&item.block.points, bad);
            }
        }
        if bad.is_none() {
            self.fields.clear();
        }
    }

    /// The walk, if there was one, as far as it came.
    pub(in crate::bus) fn take_walk(&mut self) -> Option<Walk> {
        self.walk.take()
    }

    /// Why the last question failed, where nothing else says what is wrong.
    pub(in crate::bus) fn last_bad(&self) -> Bad {
        self.last_bad
    }

    /// What a point holds, if it was read.
    pub(in crate::bus) fn octets(&self, point: usize) -> Option<&[u8]> {
        self.fields.get(&point)?.as_deref().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::job::{Manner, Turn};
    use crate::bus::plan::Lessons;
    use crate::model::{Mono, Timestamp};
    use crate::profile::sunspec::Chain;
    use std::sync::Arc;

    #[test]
    fn nothing_else_is_asked_while_a_walk_waits_for_its_answer_however_many_questions_may_be_under_way() {
        let profile = Arc::new(Chain::usual().profile());
        let block = Block::over(Table::HoldingRegister, 40_072, 40_121, vec![10]).unwrap();
        let manner = Manner { retries: 2, known: true, probe: false, lossy: false };
        let name = "d".parse().unwrap();
        let mut job = Job::new(name, profile, Lessons::default(), vec![block], None, manner);
        job.walk_first(Walk::again(&Chain::usual()));
        let mut walked = Vec::new();
        let marks = [[0x5375, 0x6E53], [1, 66], [103, 50], [203, 105], [0xFFFF, 0]];
        for mark in marks {
            assert_eq!(job.turn(Mono(0), &|_| None), Turn::Ask(0));
            let item = job.take(0, &|_| None).unwrap();
            assert_eq!(job.turn(Mono(0), &|_| None), Turn::Pending);
            walked.push(item.block.request.address());
            let octets: Vec<u8> = mark.into_iter().flat_map(u16::to_be_bytes).collect();
            job.data(&item, &octets, Timestamp(1));
        }
        assert_eq!(walked, [40_000, 40_002, 40_070, 40_122, 40_229]);
        let item = job.take(0, &|_| None).unwrap();
        assert_eq!(item.block.points, [10], "then what was planned");
        assert!(job.take_walk().unwrap().is_as_known());
    }
}
