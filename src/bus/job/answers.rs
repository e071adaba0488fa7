//! What came of a question, and what is asked again for it.

use super::{Effects, Item, Job, Why, variants};
use crate::bus::search::{Lesson, Search};
use crate::model::{Bad, Mono, Timestamp};
use std::time::Duration;

/// Exceptions that may be one register's fault: illegal data address, illegal data value.
const ONE_REGISTERS_FAULT: [u8; 2] = [2, 3];
/// Not another register, but none of this kind.
const ILLEGAL_FUNCTION: u8 = 1;
/// The server is busy with something long.
const BUSY: u8 = 6;
/// A gateway says that nobody answers behind it: path unavailable, target failed to respond.
const NOBODY_BEHIND_THE_GATEWAY: [u8; 2] = [10, 11];
const BUSY_RETRIES: u8 = 3;
/// The first pause for a busy device; each further one is twice as long.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

impl Job {
    pub(in crate::bus) fn data(&mut self, item: &Item, data: &[u8], at: Timestamp) -> Effects {
        self.heard(at);
        for index in &item.block.points {
            let octets = self.profile.points.get(*index).and_then(|point| item.block.octets_of(point, data));
            self.fields.insert(*index, octets.ok_or(Bad::Garbled));
        }
        let (answered, nameless) = (item.block.points.clone(), self.is_nameless());
        let mut effects = Effects { answered, nameless, ..Effects::default() };
        if let (Why::Search, Some(search)) = (item.why, &mut self.search) {
            let progress = search.answered();
            effects.lessons = progress.lessons;
            if !progress.again.is_empty() {
                effects.again.push((progress.again, 0));
            }
        }
        self.go_on_searching();
        effects
    }

    pub(in crate::bus) fn exception(
        &mut self,
        mut item: Item,
        code: u8,
        at: Timestamp,
        now: Mono,
    ) -> Effects {
        let bad = Bad::Exception(code);
        if NOBODY_BEHIND_THE_GATEWAY.contains(&code) {
            // The gateway's word for silence.
            return self.unanswered(item, bad);
        }
        self.heard(at);
        self.last_bad = bad;
        if code == BUSY && item.tries < BUSY_RETRIES {
            item.not_before = now.plus(BUSY_PAUSE.saturating_mul(1 << item.tries));
            item.tries += 1;
            self.items.push_front(item);
            return Effects::default();
        }
        if let Some(planned) = item.planned.take_if(|planned| *planned != item.block) {
            item.block = planned;
            return self.refused_along(item, bad);
        }
        match (item.why, ONE_REGISTERS_FAULT.contains(&code)) {
            (Why::Search, true) => self.refused_in_search(code),
            (Why::Plan | Why::Probe, true) => self.refused_block(item, code),
            (why, false) => {
                if why == Why::Search {
                    self.give_the_search_up(bad);
                }
                self.set_where_nothing_is(&item.block.points, bad);
                self.go_on_searching();
                if code == ILLEGAL_FUNCTION {
                    self.refused.push((item.block.points, code));
                    return Effects::default();
                }
                Effects { refused: vec![(item.block.points, code)], ..Effects::default() }
            }
        }
    }

    /// It has been asked who it is, and its register is empty.
    fn is_nameless(&self) -> bool {
        let identity = self.profile.identity.and_then(|index| Some((self.profile.points.get(index)?, index)));
        let said = identity.and_then(|(point, index)| Some((point, self.fields.get(&index)?.as_ref().ok()?)));
        said.is_some_and(|(point, octets)| point.is_blank(octets))
    }

    /// Registers were asked along that nobody wants: nothing is learned from their refusal.
    fn refused_along(&mut self, mut item: Item, bad: Bad) -> Effects {
        item.tries += 1;
        if item.tries <= self.manner.retries {
            self.items.push_front(item);
        } else {
            self.set_where_nothing_is(&item.block.points, bad);
            self.go_on_searching();
        }
        Effects::default()
    }

    fn refused_in_search(&mut self, code: u8) -> Effects {
        let progress = self.search.as_mut().map(|search| search.refused(code)).unwrap_or_default();
        let mut effects = Effects::default();
        for lesson in progress.lessons {
            match lesson {
                Lesson::Refused { points, code } => self.refuse(points, code),
                Lesson::Hole { .. } | Lesson::Limit(_) => effects.lessons.push(lesson),
            }
        }
        if !progress.again.is_empty() {
            effects.again.push((progress.again, 0));
        }
        if progress.everything_is_refused && !self.has_good() {
            // Not one value of this device: that is no register's fault, and a search would find them all.
            let unasked = self.search.take().map(|search| search.unasked()).unwrap_or_default();
            self.refuse(unasked, code);
        }
        self.go_on_searching();
        effects
    }

    /// To be judged when the scan is over.
    fn refuse(&mut self, points: Vec<usize>, code: u8) {
        self.set_where_nothing_is(&points, Bad::Exception(code));
        self.refused.push((points, code));
    }

    /// Searched when all else has been asked: what other blocks say tells a bad register from a device that
    /// refuses everything.
    fn refused_block(&mut self, item: Item, code: u8) -> Effects {
        self.put_off.push_back((item.block, code));
        self.go_on_searching();
        Effects::default()
    }

    /// The next question of the search, if it has one, is asked first; the next search begins when nothing
    /// else is left.
    pub(super) fn go_on_searching(&mut self) {
        loop {
            match self.search.as_ref().map(Search::block) {
                Some(Some(block)) => {
                    let asked = self.items.iter().any(|item| item.why == Why::Search);
                    if !asked {
                        self.items.push_front(Item::new(block, 0, Why::Search));
                    }
                    return;
                }
                Some(None) => self.search = None,
                None => {}
            }
            if !self.items.is_empty() || self.outstanding > 0 {
                return;
            }
            let Some((block, code)) = self.put_off.pop_front() else { return };
            match Search::new(&self.profile, &block, code) {
                Some(search) => self.search = Some(search),
                None => self.refuse(block.points, code),
            }
        }
    }

    pub(super) fn give_the_search_up(&mut self, bad: Bad) {
        if let Some(search) = self.search.take() {
            self.set_where_nothing_is(&search.unasked(), bad);
        }
    }

    /// Nothing came.
    pub(in crate::bus) fn no_reply(&mut self, item: Item) -> Effects {
        self.unanswered(item, Bad::NoReply)
    }

    /// Octets came, but not the answer. Where they were no whole frame the answer may still be on its way.
    pub(in crate::bus) fn garbled(&mut self, mut item: Item, whole: bool) -> Effects {
        self.garbled = true;
        if whole && item.tries < self.manner.retries && !self.is_hopeless() {
            self.outstanding = self.outstanding.saturating_sub(1);
            self.failures += 1;
            item.tries += 1;
            self.items.push_front(item);
            return Effects::default();
        }
        self.unanswered(item, Bad::Garbled)
    }

    /// Two devices answered, and who is right nobody knows.
    pub(in crate::bus) fn doubtful(&mut self, item: &Item, at: Timestamp) {
        self.heard(at);
        if item.why == Why::Search {
            self.give_the_search_up(Bad::TwoAnswers);
        }
        self.set(&item.block.points, Bad::TwoAnswers);
        self.go_on_searching();
    }

    fn unanswered(&mut self, mut item: Item, bad: Bad) -> Effects {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.failures += 1;
        self.last_bad = bad;
        let hopeful = !self.manner.probe && (self.manner.lossy || self.idle);
        let may_be_there = self.manner.known || self.answered || hopeful;
        let worth_it = item.tries < self.manner.retries && may_be_there;
        let mut effects = Effects::default();
        if worth_it && !self.is_hopeless() {
            item.tries += 1;
            match self.in_parts(&item) {
                Some(parts) => effects.again.extend(parts.into_iter().map(|points| (points, item.tries))),
                None => self.items.push_front(item),
            }
            return effects;
        }
        if item.why == Why::Search {
            self.give_the_search_up(bad);
        }
        self.set_where_nothing_is(&item.block.points, bad);
        if self.is_hopeless() || !self.manner.known && !self.answered {
            self.abandon(if self.manner.probe { Bad::DeviceLost } else { bad });
        }
        self.go_on_searching();
        effects
    }

    /// So many questions in a row went unanswered that the next would as well.
    fn is_hopeless(&self) -> bool {
        let known = self.manner.known || self.answered;
        let most =
            if known { 2 * (u32::from(self.manner.retries) + 1) } else { u32::from(self.manner.retries) + 1 };
        self.failures >= most
    }

    /// The points of a block in two halves, which no late answer to the whole can be taken for.
    fn in_parts(&self, item: &Item) -> Option<[Vec<usize>; 2]> {
        let planned = item.planned.as_ref().unwrap_or(&item.block);
        let can_grow = variants::longer(&self.profile, &self.lessons, planned).next().is_some();
        if item.why != Why::Plan || can_grow {
            return None;
        }
        self.halves(item)
    }

    pub(super) fn halves(&self, item: &Item) -> Option<[Vec<usize>; 2]> {
        let mut points: Vec<(u16, usize)> = item
            .block
            .points
            .iter()
            .filter_map(|index| Some((self.profile.points.get(*index)?.address, *index)))
            .collect();
        points.sort_unstable();
        let (first, last) = (points.first()?.0, points.last()?.0);
        let half = u32::from(first) + (u32::from(last) - u32::from(first)).div_ceil(2);
        let part = |upper: bool| -> Vec<usize> {
            points
                .iter()
                .filter(|(at, _)| (u32::from(*at) >= half) == upper)
                .map(|(_, index)| *index)
                .collect()
        };
        let (lower, upper) = (part(false), part(true));
        (!lower.is_empty() && !upper.is_empty()).then_some([lower, upper])
    }
}
