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
