//! Losses that an upstream has still to announce: what a far end is told of records that it will never see.

/// So many wait at most; then the oldest two of one reason become one.
pub(super) const MOST: usize = 32;

/// Records that were lost to one upstream: to be announced, once, as an event of type `gap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Names it when it is acknowledged.
    pub id: u64,
    /// Sampled not before and not after, ms since 1970 UTC.
    pub from: i64,
    pub to: i64,
    /// How many records; not known where a power cut took what was not committed yet.
    pub count: Option<u64>,
    /// `spool-full`, `too-old`, `damaged`, `disk-ill`, `too-large`, `power-cut`, or what the upstream gave.
    pub reason: String,
    /// It has been handed to the upstream, who may have told the far end: it does not grow any more.
    pub told: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    gaps: Vec<Gap>,
    next: u64,
}

impl Gaps {
    /// From a slot; `None` where the numbers can't be.
    pub(super) fn restored(gaps: Vec<Gap>, next: u64) -> Option<Gaps> {
        let rises = gaps.windows(2).all(|pair| pair[0].id < pair[1].id);
        let below = gaps.last().is_none_or(|gap| gap.id < next);
        (rises && below && gaps.len() <= MOST && next < u64::MAX / 2).then_some(Gaps { gaps, next })
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter()
    }

    /// Notes a loss. One that goes on, for the same reason, is one gap, until it is told.
    pub(super) fn add(&mut self, span: (i64, i64), count: Option<u64>, reason: &str) {
        let (from, to) = (span.0.min(span.1), span.1.max(span.0));
        if let Some(same) = self.gaps.iter_mut().rfind(|gap| gap.reason == reason)
            && !same.told
            && same.count.is_some() == count.is_some()
        {
            grow(same, from, to, count);
            return;
        }
        self.gaps.push(Gap { id: self.next, from, to, count, reason: reason.to_owned(), told: false });
        self.next += 1;
        while self.gaps.len() > MOST {
            self.join_two();
        }
    }

    /// There are fewer reasons than places, so two of them have the same.
    fn join_two(&mut self) {
        let same = |(at, gap): (usize, &Gap)| {
            let rest = self.gaps.iter().enumerate().skip(at + 1);
            rest.filter(|(_, other)| {
                other.reason == gap.reason && other.count.is_some() == gap.count.is_some()
            })
            .map(|(other, _)| (at, other))
            .next()
        };
        let (first, second) = self.gaps.iter().enumerate().find_map(same).unwrap_or((0, 1));
        let gone = self.gaps.remove(first);
        if let Some(kept) = self.gaps.get_mut(second - 1) {
            grow(kept, gone.from, gone.to, gone.count);
            kept.told = false;
        }
    }

    /// All that wait, for the upstream to announce: they stay as they are from now on.
    pub(super) fn tell(&mut self) -> Vec<Gap> {
        self.gaps.iter_mut().for_each(|gap| gap.told = true);
        self.gaps.clone()
    }

    /// The far end has taken the announcement.
    pub(super) fn announced(&mut self, id: u64) {
        self.gaps.retain(|gap| gap.id != id);
    }
}

fn grow(gap: &mut Gap, from: i64, to: i64, count: Option<u64>) {
    gap.from = gap.from.min(from);
    gap.to = gap.to.max(to);
    gap.count = gap.count.zip(count).map(|(a, b)| a.saturating_add(b));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(gaps: &Gaps) -> Vec<(i64, i64, Option<u64>, &str)> {
        gaps.iter().map(|gap| (gap.from, gap.to, gap.count, gap.reason.as_str())).collect()
    }

    #[test]
    fn a_loss_that_goes_on_is_one_gap_until_it_is_told() {
        let mut gaps = Gaps::default();
        gaps.add((1, 2), Some(3), "spool-full");
        gaps.add((2, 4), Some(5), "spool-full");
        let told = gaps.tell();
        gaps.add((5, 6), Some(7), "spool-full");
        assert_eq!(seen(&gaps), [(1, 4, Some(8), "spool-full"), (5, 6, Some(7), "spool-full")]);
        gaps.announced(told[0].id);
        assert_eq!(seen(&gaps), [(5, 6, Some(7), "spool-full")]);
    }

    #[test]
    fn a_power_cut_is_never_summed_with_what_is_counted() {
        let mut gaps = Gaps::default();
        gaps.add((1, 2), Some(3), "x");
        gaps.add((3, 4), None, "x");
        assert_eq!(seen(&gaps), [(1, 2, Some(3), "x"), (3, 4, None, "x")]);
    }

    #[test]
    fn however_many_there_are_they_stay_few_and_no_count_is_lost() {
        let mut gaps = Gaps::default();
        for n in 0..500 {
            gaps.add((n, n), Some(1), ["a", "b", "c"][n as usize % 3]);
            if n % 2 == 0 {
                gaps.tell();
            }
        }
        assert!(gaps.iter().count() <= MOST);
        assert_eq!(gaps.iter().filter_map(|gap| gap.count).sum::<u64>(), 500);
    }
}
