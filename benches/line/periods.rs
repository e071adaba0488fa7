//! Points with periods: how many samples come through when replies are lost, and whether every deadline is
//! kept on a line that is nearly full. Both take a minute and need no fine timing, so they run side by side.

use crate::Wanted;
use crate::bars::Bars;
use crate::limit::Span;
use crate::rig::{GROUPS, METERS, POINTS, Result, Rig, Seen, all_points, ms};
use linesman::profile::Every;
use std::collections::BTreeSet;
use std::time::Duration;

const BAUD: u32 = 9600;
/// Just over a minute: what is due each minute comes due a second time.
const SECONDS: f64 = 64.0;

const LOST: &str = "drop=0.3";
/// Share of the line that the polls of the lossy line take, were nothing lost.
const LOSSY_LOAD: f64 = 0.5;
const SAMPLES_BAR: f64 = 97.0;

const FULL_LOAD: f64 = 0.85;
const FAST: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_secs(60);
/// Points of the first group that are read each second; all others each minute.
const FAST_POINTS: usize = 14;
/// Microseconds by which the formula may be longer than the wire.
const ROUNDING: i64 = 100;

pub fn side_by_side(wanted: &Wanted, bars: &mut Bars, loss: bool, load: bool) -> Result<()> {
    let until = wanted.seconds(SECONDS);
    let run = |rig: Rig| {
        std::thread::spawn(move || rig.run(|heard| heard.last().is_some_and(|h| h.at.as_secs_f64() > until)))
    };
    let (lossy, full) = (lossy_rig(), full_rig());
    let lossy_run = loss.then(|| run(lossy.clone()));
    let full_run = load.then(|| run(full.clone()));
    if let Some(seen) = lossy_run {
        show_loss(&lossy, &seen.join().map_err(|_| "the bench panicked")??, bars);
    }
    if let Some(seen) = full_run {
        show_load(&full, &seen.join().map_err(|_| "the bench panicked")??, bars);
    }
    Ok(())
}

fn lossy_rig() -> Rig {
    let rig = Rig::new(BAUD);
    let period = rig.best().seconds * f64::from(METERS) / LOSSY_LOAD;
    let every = vec![Every::Period(Duration::from_secs_f64(period)); POINTS];
    Rig { faults: vec![LOST], every, ..rig }
}

fn show_loss(rig: &Rig, seen: &Seen, bars: &mut Bars) {
    let Some(Every::Period(period)) = rig.every.first().copied() else { return };
    println!(
        "\nloss: 30 % of the replies lost; {BAUD} baud, each point every {period:.2?}, {:.0} % of the line",
        LOSSY_LOAD * 100.0
    );
    let samples: Vec<(usize, usize)> =
        (0..usize::from(METERS)).map(|meter| samples(seen, meter, period)).collect();
    let (got, due): (Vec<usize>, Vec<usize>) = samples.into_iter().unzip();
    let (got, due): (usize, usize) = (got.iter().sum(), due.iter().sum());
    println!(
        "samples obtained: {got} of {due}: {}; {} requests, {} replies",
        bars.at_least(got as f64 / due.max(1) as f64 * 100.0, SAMPLES_BAR),
        seen.wire.requests,
        seen.wire.replies
    );
}

/// Samples of a meter that came, of those that were due. A point is due once a period, and a sample that comes
/// twice in one counts once. When a period begins is the engine's choice: of all beginnings the kindest counts.
fn samples(seen: &Seen, meter: usize, period: Duration) -> (usize, usize) {
    let heard: Vec<_> = seen.heard.iter().filter(|heard| heard.meter == meter).collect();
    let Some(first) = heard.first() else { return (0, POINTS * periods(seen.took, period)) };
    let whole = periods(seen.took.saturating_sub(first.at), period);
    let got = |begin: Duration| {
        let index = |at: Duration| periods(at.saturating_sub(begin), period);
        let in_time = heard.iter().filter(|heard| index(heard.at) < whole);
        let got = in_time.flat_map(|heard| heard.good.iter().map(|point| (index(heard.at), *point)));
        got.collect::<BTreeSet<(usize, usize)>>().len()
    };
    // The count changes only where a scan falls into the next period.
    let phase = |at: Duration| Duration::from_nanos(nanos(at - first.at) % nanos(period).max(1));
    let begins = heard.iter().map(|heard| (first.at + phase(heard.at)).saturating_sub(period));
    (begins.map(got).max().unwrap_or_default(), whole * POINTS)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn periods(span: Duration, period: Duration) -> usize {
    usize::try_from(span.as_nanos() / period.as_nanos().max(1)).unwrap_or(usize::MAX)
}

/// Turnaround such that the load by the formula is as wanted.
fn full_rig() -> Rig {
    let every = (0..POINTS).map(|point| Every::Period(if point < FAST_POINTS { FAST } else { SLOW }));
    let rig = Rig { every: every.collect(), ..Rig::new(BAUD) };
    let with = |seconds: f64| Rig { turnaround: Duration::from_secs_f64(seconds), ..rig.clone() };
    let (mut low, mut high) = (0.0, 0.1);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if load(&with(middle)) < FULL_LOAD { low = middle } else { high = middle }
    }
    with(low)
}

/// What is due each second, and once a minute all together, as the best plans cost it.
fn load(rig: &Rig) -> f64 {
    let slow_share = FAST.as_secs_f64() / SLOW.as_secs_f64();
    let each = fast(rig) * (1.0 - slow_share) + rig.best().seconds * slow_share;
    each * f64::from(METERS) / FAST.as_secs_f64()
}

/// The read of the fast points.
fn fast(rig: &Rig) -> f64 {
    let span: Span = (GROUPS[0].0, u16::try_from(2 * FAST_POINTS).unwrap_or(u16::MAX));
    rig.line().best(&[span], &[]).seconds
}

fn show_load(rig: &Rig, seen: &Seen, bars: &mut Bars) {
    println!(
        "\nload: {FAST_POINTS} points of each meter every {FAST:?}, {} every {SLOW:?}; {BAUD} baud, turnaround {:.1} ms, {:.0} % of the line",
        POINTS - FAST_POINTS,
        ms(rig.turnaround),
        load(rig) * 100.0
    );
    let fast_points: BTreeSet<usize> = (0..FAST_POINTS).collect();
    let slow_points: BTreeSet<usize> = all_points().difference(&fast_points).copied().collect();
    let shortest = Duration::from_secs_f64(fast(rig));
    let missed = |points: &BTreeSet<usize>, period: Duration, shortest: Duration| -> u64 {
        let of = |meter| missed(&seen.completions(meter, points), period, shortest, seen.took);
        (0..usize::from(METERS)).map(of).sum()
    };
    let due = periods(seen.took, FAST) * usize::from(METERS);
    println!(
        "{} s; of {due} scans each {FAST:?}: missed {}; of those each {SLOW:?}: missed {}; bad samples {}; a scan began at most {:.0} ms late, says the engine: with its read {} of the period",
        seen.took.as_secs(),
        bars.none(missed(&fast_points, FAST, shortest)),
        bars.none(missed(&slow_points, SLOW, Duration::ZERO)),
        bars.none(seen.lost(&(0..usize::from(METERS)).collect::<Vec<_>>(), None)),
        ms(seen.lateness),
        bars.at_most((seen.lateness + shortest).as_secs_f64() / FAST.as_secs_f64(), 1.0),
    );
}

/// Periods without an end of a scan. When a period begins is the engine's choice, and it does not say: of all
/// beginnings the kindest counts, so this is the least that was missed. A scan can't end before its shortest
/// time after its release.
fn missed(ends: &[Duration], period: Duration, shortest: Duration, took: Duration) -> u64 {
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    let Some(first) = ends.first() else { return periods(took, period) as u64 };
    let whole = i64::try_from(periods(took.saturating_sub(*first), period)).unwrap_or(i64::MAX);
    let (period, shortest) = (micros(period), micros(shortest).saturating_sub(ROUNDING));
    let ends: Vec<i64> = ends.iter().copied().map(micros).collect();
    // A period is open at its beginning and closed at its end: what ends with it has met it.
    let index = |end: i64, phase: i64| (end - phase - 1).div_euclid(period);
    let empty = |phase: i64| {
        let in_time = |end: &&i64| **end - phase - index(**end, phase) * period >= shortest;
        let taken: BTreeSet<i64> = ends.iter().filter(in_time).map(|end| index(*end, phase)).collect();
        let from = index(ends[0], phase);
        (from..from + whole).filter(|index| !taken.contains(index)).count() as u64
    };
    // The count changes only where an end, or an end of the shortest scan, falls out of its period.
    ends.iter().flat_map(|end| [*end, *end - shortest]).map(empty).min().unwrap_or_default()
}
