//! The plans of one device: made once for each list of points that falls due together. No I/O.

use super::plan::{Block, Lessons, Terms, WireCost, plan_points};
use crate::profile::Profile;
use std::time::Duration;

/// What a meter is thought to need before it has answered for the first time.
const USUAL_TURNAROUND: Duration = Duration::from_millis(20);
/// Plans kept for the lists of points that fall due together.
const KEPT: usize = 8;

pub(super) struct Plans {
    cost: WireCost,
    /// What the plans were made with.
    turnaround: Duration,
    lessons: Lessons,
    kept: Vec<(Vec<usize>, Vec<Block>)>,
}

impl Plans {
    pub(super) fn new(cost: WireCost) -> Plans {
        Plans { cost, turnaround: USUAL_TURNAROUND, lessons: Lessons::default(), kept: Vec::new() }
    }

    /// The points are others now.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }

    /// The blocks for these points.
    pub(super) fn plan(&mut self, profile: &Profile, lessons: &Lessons, points: &[usize]) -> Vec<Block> {
        if *lessons != self.lessons {
            self.lessons = lessons.clone();
            self.kept.clear();
        }
        if let Some((_, blocks)) = self.kept.iter().find(|(due, _)| due == points) {
            return blocks.clone();
        }
        let blocks = plan_points(profile, points, &self.terms(lessons));
        if self.kept.len() >= KEPT {
            self.kept.remove(0);
        }
        self.kept.push((points.to_vec(), blocks.clone()));
        blocks
    }

    /// One point, the one that is quickest to ask.
    pub(super) fn shortest(&self, profile: &Profile, lessons: &Lessons, points: &[usize]) -> Option<Block> {
        let single = |point: &usize| plan_points(profile, &[*point], &self.terms(lessons)).pop();
        points.iter().filter_map(single).min_by_key(|block| block.request.reply_data_octets())
    }

    /// Plans follow the device's turnaround only when it has changed by a good part: not its every mood.
    pub(super) fn follow(&mut self, turnaround: Option<Duration>) {
        let Some(turnaround) = turnaround else { return };
        if turnaround.abs_diff(self.turnaround) > (self.turnaround / 4).max(Duration::from_millis(2)) {
            self.turnaround = turnaround;
            self.kept.clear();
        }
    }

    fn terms<'a>(&self, lessons: &'a Lessons) -> Terms<'a> {
        Terms { cost: self.cost, turnaround: self.turnaround, lessons }
    }
}
