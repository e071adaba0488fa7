//! Which path is taken: pure, given what happened and when.
//!
//! A path that is in use is left when it fails, or when a better one has worked for its hold on end. The hold is
//! `stable_for`, and doubles with each return that fails before it has lasted twice the hold; so a path that comes and goes
//! is returned to less and less often. Where all have failed they are tried in turns.

use crate::model::Mono;
use std::time::Duration;

/// No hold is longer, unless `stable_for` is.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);
/// So many sessions in a row that nobody answers, and the path is taken for dead although its kernels talk.
const UNANSWERED: u8 = 2;

/// What the owner says of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) stable_for: Duration,
    /// A failure counts only where nothing was heard on the path for so long.
    pub(super) quiet: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is known.
    Unknown,
    /// Has worked since.
    Good(Mono),
    /// Failed last then.
    Bad(Mono),
}

#[derive(Debug, Clone)]
struct Standing {
    rules: Rules,
    carrier: bool,
    state: State,
    heard: Option<Mono>,
    hold: Duration,
    /// When it was last returned to, until that has proven itself.
    returned: Option<Mono>,
    unanswered: u8,
}

/// What is taken, and whether the path before it still works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) index: usize,
    pub(super) gently: bool,
}

/// All paths in the order of preference.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    paths: Vec<Standing>,
    taken: Taken,
}

impl Choice {
    pub(super) fn new(rules: impl IntoIterator<Item = Rules>) -> Choice {
        let standing = |rules: Rules| Standing {
            rules,
            carrier: false,
            state: State::Unknown,
            heard: None,
            hold: rules.stable_for,
            returned: None,
            unanswered: 0,
        };
        let paths = rules.into_iter().map(standing).collect();
        Choice { paths, taken: Taken { index: 0, gently: false } }
    }

    pub(super) fn taken(&self) -> Taken {
        self.taken
    }

    pub(super) fn state(&self, index: usize) -> State {
        self.paths.get(index).map_or(State::Unknown, |path| path.state)
    }

    #[cfg(test)]
    /// How long it has to work before it is returned to.
    pub(super) fn hold(&self, index: usize) -> Duration {
        self.paths.get(index).map_or(Duration::ZERO, |path| path.hold)
    }

    /// The interface is there and up, or not.
    pub(super) fn carrier(&mut self, index: usize, is_there: bool, now: Mono) {
        let Some(path) = self.paths.get_mut(index) else { return };
        if path.carrier && !is_there {
            path.relapses(now);
            (path.state, path.heard) = (State::Unknown, None);
        }
        path.carrier = is_there;
    }

    /// A far end has said something over it.
    pub(super) fn hears(&mut self, index: usize, now: Mono) {
        self.opens(index, now);
        if let Some(path) = self.paths.get_mut(index) {
            path.unanswered = 0;
        }
    }

    /// A connection was made over it, for use.
    pub(super) fn opens(&mut self, index: usize, now: Mono) {
        self.works(index, now);
        if let Some(path) = self.paths.get_mut(index).filter(|path| path.carrier) {
            path.heard = Some(now);
        }
    }

    /// A probe got through. That is no proof against a failure in use: whoever answers may be a portal that wants a login.
    pub(super) fn works(&mut self, index: usize, now: Mono) {
        // A late word of a path that is gone by now.
        let Some(path) = self.paths.get_mut(index).filter(|path| path.carrier) else { return };
        if !matches!(path.state, State::Good(_)) {
            path.state = State::Good(now);
        }
    }

    /// A connection died of silence, or could not be made; `false` where that is not held against the path.
    pub(super) fn fails(&mut self, index: usize, now: Mono) -> bool {
        let Some(path) = self.paths.get_mut(index) else { return false };
        if path.heard.is_some_and(|heard| now.since(heard) < path.rules.quiet) {
            return false;
        }
        path.relapses(now);
        path.state = State::Bad(now);
        true
    }

    /// A session's far end did not answer it, although the connection stands; `true` when it has been so often.
    pub(super) fn unanswered(&mut self, index: usize, now: Mono) -> bool {
        let Some(path) = self.paths.get_mut(index) else { return false };
        path.unanswered = path.unanswered.saturating_add(1);
        if path.unanswered < UNANSWERED {
            return false;
        }
        path.unanswered = 0;
        self.fails(index, now)
    }

    /// What is taken from now on; `true` where that is news.
    pub(super) fn choose(&mut self, now: Mono) -> bool {
        let before = self.taken.index;
        if let Some(path) = self.paths.get_mut(before) {
            path.proves_itself(now);
        }
        let next =
            if self.is_usable(before) { self.better_than(before, now) } else { self.instead_of(before) };
        let Some(index) = next.filter(|index| *index != before) else { return false };
        let gently = self.is_usable(before);
        if let Some(path) = self.paths.get_mut(index)
            && index < before
        {
            path.returned = Some(now);
        }
        self.taken = Taken { index, gently };
        true
    }

    fn is_usable(&self, index: usize) -> bool {
        self.paths.get(index).is_some_and(|path| path.carrier && !matches!(path.state, State::Bad(_)))
    }

    fn better_than(&self, index: usize, now: Mono) -> Option<usize> {
        self.paths.iter().take(index).position(|path| {
            path.carrier && matches!(path.state, State::Good(since) if now.since(since) >= path.hold)
        })
    }

    /// The first that may work; else, of those that are there, the one whose failure is the longest ago.
    fn instead_of(&self, index: usize) -> Option<usize> {
        let usable = (0..self.paths.len()).find(|other| *other != index && self.is_usable(*other));
        let failed = |path: &Standing| if let State::Bad(at) = path.state { at } else { Mono(0) };
        let there = self.paths.iter().enumerate().filter(|(_, path)| path.carrier);
        usable.or_else(|| there.min_by_key(|(at, path)| (failed(path), *at)).map(|(at, _)| at))
    }
}

impl Standing {
    /// It has failed: too soon after a return?
    fn relapses(&mut self, now: Mono) {
        if let Some(returned) = self.returned.take()
            && now.since(returned) < self.hold * 2
        {
            self.hold = (self.hold * 2).min(LONGEST_HOLD.max(self.rules.stable_for));
        }
    }

    /// In use for so long that its past is forgotten.
    fn proves_itself(&mut self, now: Mono) {
        if self.returned.is_some_and(|returned| now.since(returned) >= self.hold * 2) {
            (self.returned, self.hold) = (None, self.rules.stable_for);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STABLE: Duration = Duration::from_secs(60);
    const RULES: Rules = Rules { stable_for: STABLE, quiet: Duration::from_secs(5) };

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    /// Two paths that are there; the first is in use.
    fn two() -> Choice {
        let mut choice = Choice::new([RULES, RULES]);
        choice.carrier(0, true, at(0));
        choice.carrier(1, true, at(0));
        assert!(!choice.choose(at(0)));
        choice
    }

    #[test]
    fn a_path_that_fails_is_left_at_once_and_returned_to_when_it_has_worked_long_enough() {
        let mut choice = two();
        assert!(choice.fails(0, at(10)) && choice.choose(at(10)));
        assert_eq!(choice.taken(), Taken { index: 1, gently: false });
        choice.works(1, at(11));
        choice.works(0, at(20));
        assert!(!choice.choose(at(79)));
        assert!(choice.choose(at(80)));
        assert_eq!(choice.taken(), Taken { index: 0, gently: true });
    }

    #[test]
    fn a_far_end_that_is_down_is_no_path_that_is_down() {
        let mut choice = two();
        choice.hears(0, at(8));
        assert!(!choice.fails(0, at(10)) && !choice.choose(at(10)), "somebody else hears over it");
        assert!(choice.fails(0, at(13)) && choice.choose(at(13)));
    }

    #[test]
    fn a_portal_that_answers_every_probe_is_returned_to_less_and_less_often() {
        let mut choice = two();
        choice.fails(0, at(0));
        choice.choose(at(0));
        choice.works(0, at(1));
        assert!(choice.choose(at(61)));
        choice.works(0, at(62));
        assert!(choice.fails(0, at(63)) && choice.choose(at(63)), "no session came through");
        assert_eq!((choice.taken().index, choice.hold(0)), (1, STABLE * 2));
    }

    #[test]
    fn a_lost_carrier_needs_no_other_proof() {
        let mut choice = two();
        choice.works(0, at(9));
        choice.carrier(0, false, at(10));
        assert!(choice.choose(at(10)));
        choice.carrier(0, true, at(11));
        assert!(!choice.choose(at(1000)), "a carrier alone is no proof that it works");
    }

    #[test]
    fn two_sessions_that_nobody_answers_are_held_against_the_path_and_one_is_not() {
        let mut choice = two();
        assert!(!choice.unanswered(0, at(10)));
        choice.hears(0, at(11));
        assert!(!choice.unanswered(0, at(30)) && choice.unanswered(0, at(50)));
        assert!(choice.choose(at(50)));
    }

    #[test]
    fn where_all_have_failed_they_are_tried_in_turns() {
        let mut choice = two();
        let mut taken = Vec::new();
        for n in 1..=4 {
            let index = choice.taken().index;
            choice.fails(index, at(n * 10));
            choice.choose(at(n * 10));
            taken.push(choice.taken().index);
        }
        assert_eq!(taken, [1, 0, 1, 0]);
    }

    #[test]
    fn a_path_that_fails_after_each_return_is_returned_to_less_and_less_often() {
        let (mut choice, mut now, mut returns) = (two(), 0, Vec::new());
        choice.fails(0, at(0));
        choice.choose(at(0));
        while now < 4 * 3600 {
            now += 1;
            choice.hears(choice.taken().index, at(now));
            if choice.taken().index == 1 {
                choice.works(0, at(now));
            }
            if choice.choose(at(now)) && choice.taken().index == 0 {
                returns.push(now);
                now += 10;
                assert!(choice.fails(0, at(now)) && choice.choose(at(now)));
            }
        }
        let pauses: Vec<u64> = returns.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.windows(2).all(|pair| pair[1] >= pair[0]), "{pauses:?}");
        assert!(returns.len() < 10, "{returns:?}");
        assert_eq!(choice.hold(0), LONGEST_HOLD);
    }

    #[test]
    fn a_return_that_lasts_is_forgiven() {
        let mut choice = two();
        choice.fails(0, at(0));
        choice.choose(at(0));
        choice.works(0, at(1));
        assert!(choice.choose(at(61)));
        choice.fails(0, at(70));
        choice.choose(at(70));
        assert_eq!(choice.hold(0), STABLE * 2);
        choice.works(0, at(71));
        assert!(choice.choose(at(191)));
        choice.choose(at(191 + 240));
        assert_eq!(choice.hold(0), STABLE);
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Carrier(usize, bool),
        Works(usize),
        Hears(usize),
        Fails(usize),
        Unanswered(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3_usize, any::<bool>()).prop_map(|(path, up)| Step::Carrier(path, up)),
            (0..3_usize).prop_map(Step::Works),
            (0..3_usize).prop_map(Step::Hears),
            (0..3_usize).prop_map(Step::Fails),
            (0..3_usize).prop_map(Step::Unanswered),
            (0..200_u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_a_path_is_taken_that_is_there_and_none_is_returned_to_before_its_time(
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let mut choice = Choice::new([RULES, RULES, RULES]);
            let (mut now, mut up, mut since) = (0, [false; 3], [None; 3]);
            for step in steps {
                match step {
                    Step::Carrier(path, is_up) => {
                        choice.carrier(path, is_up, at(now));
                        up[path] = is_up;
                        if !is_up { since[path] = None; }
                    }
                    Step::Works(path) => {
                        choice.works(path, at(now));
                        if up[path] { since[path] = since[path].or(Some(now)); }
                    }
                    Step::Hears(path) => {
                        choice.hears(path, at(now));
                        if up[path] { since[path] = since[path].or(Some(now)); }
                    }
                    Step::Fails(path) => if choice.fails(path, at(now)) { since[path] = None },
                    Step::Unanswered(path) => if choice.unanswered(path, at(now)) { since[path] = None },
                    Step::Pass(seconds) => now += seconds,
                }
                let before = choice.taken().index;
                let usable = |path: usize| up[path] && !matches!(choice.state(path), State::Bad(_));
                let was_usable = usable(before);
                choice.choose(at(now));
                let Taken { index, gently } = choice.taken();
                prop_assert!(up[index] || up == [false; 3]);
                if index != before {
                    prop_assert_eq!(gently, was_usable);
                }
                if index != before && was_usable {
                    prop_assert!(index < before);
                    prop_assert!(since[index].is_some_and(|since| now - since >= STABLE.as_secs()));
                }
                prop_assert!(choice.hold(index) >= STABLE && choice.hold(index) <= LONGEST_HOLD);
            }
        }
    }
}
