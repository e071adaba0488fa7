//! Lines with a sick part: what it costs the others.

use crate::Wanted;
use crate::bars::{Bars, cycle_bar};
use crate::limit::Span;
use crate::rig::{GROUPS, Heard, METERS, Result, Rig, Seen, address_of, all_points, mean, meters_but, ms};
use std::time::Duration;

/// Two of ten, counted from zero.
const DEAD: [usize; 2] = [2, 6];
const DEAD_FAULTS: [&str; 2] = ["3:dead", "7:dead"];
/// From here on the engine has had the time to get to know them.
const SETTLED: Duration = Duration::from_secs(10);
const MEAN_BAR: f64 = 1.05;
const WORST_BAR: f64 = 1.6;

/// The meter with a register that it refuses, counted from zero.
const REFUSING: usize = 2;
/// Scans of it: in the first it is found, the others are as if it had been known.
const SCANS: usize = 4;

/// From the start on: a meter's first cycle begins with the line.
pub fn dead(wanted: &Wanted, bars: &mut Bars) -> Result<()> {
    println!(
        "\ndead: two of ten meters are silent from the start on; cycles of the other eight, start included"
    );
    println!(
        "{:>7} {:>9} {:>9} {:>9} {:>6}  {:<22} {:<22} {:<18} {:<14}",
        "baud",
        "limit ms",
        "mean ms",
        "worst ms",
        "cycles",
        "mean / limit",
        "worst / limit",
        "worst after 10 s",
        "bad samples"
    );
    for (baud, short) in wanted.bauds(&[9600, 115_200]).into_iter().zip([24.0, 16.0, 16.0, 16.0]) {
        let rig = Rig { faults: DEAD_FAULTS.to_vec(), ..Rig::new(baud) };
        let seconds = wanted.seconds(short);
        let seen = rig.run(|heard| heard.last().is_some_and(|heard| heard.at.as_secs_f64() > seconds))?;
        show_the_living(&rig, &seen, bars);
    }
    Ok(())
}

fn show_the_living(rig: &Rig, seen: &Seen, bars: &mut Bars) {
    let living = meters_but(&DEAD);
    let limit = rig.best().seconds * living.len() as f64;
    let ends = |meter: &usize| seen.completions(*meter, &all_points());
    let from_start = |ends: Vec<Duration>| {
        let begins = std::iter::once(Duration::ZERO).chain(ends.clone());
        begins.zip(ends).collect::<Vec<_>>()
    };
    let cycles: Vec<(Duration, Duration)> = living.iter().map(ends).flat_map(from_start).collect();
    let length = |(begin, end): &(Duration, Duration)| *end - *begin;
    let spans: Vec<Duration> = cycles.iter().map(length).collect();
    // A cycle that had not ended when the bench did is at least as long as it was by then.
    let open = living.iter().map(|meter| seen.took - ends(meter).last().copied().unwrap_or_default());
    let worst = spans.iter().copied().chain(open).max().unwrap_or_default();
    let settled = cycles.iter().filter(|(begin, _)| *begin >= SETTLED).map(length).max().unwrap_or_default();
    if spans.len() < 2 * living.len() || living.iter().any(|meter| ends(meter).is_empty()) {
        bars.missed(3);
        println!("{:>7} {:>9.1} not every living meter was read MISSED", rig.baud, limit * 1e3);
        return;
    }
    println!(
        "{:>7} {:>9.1} {:>9.1} {:>9.1} {:>6}  {:<22} {:<22} {:<18} {:<14}",
        rig.baud,
        limit * 1e3,
        ms(mean(&spans)),
        ms(worst),
        spans.len() / living.len(),
        bars.at_most(mean(&spans).as_secs_f64() / limit, MEAN_BAR),
        bars.at_most(worst.as_secs_f64() / limit, WORST_BAR),
        format!("{:.4}", settled.as_secs_f64() / limit),
        bars.none(seen.lost(&living, None)),
    );
}

/// A register that one meter refuses: within a group, where a point is lost with it; and between two
/// groups that are read at once, where none is.
pub fn refused(wanted: &Wanted, bars: &mut Bars) -> Result<()> {
    println!("\nbad: one of ten meters refuses one register (exception 2)");
    println!(
        "{:>7} {:<22} {:>9} {:<18} {:<14} {:<14} {:<22}",
        "baud", "", "limit ms", "extra requests", "lost samples", "wrong values", "mean after / limit"
    );
    for (baud, fault, register, what) in [
        (9600, "3:exception=2@20", 20, "20, inside a group"),
        (115_200, "3:exception=2@50", 50, "50, between groups"),
    ] {
        if wanted.bauds(&[baud]).contains(&baud) {
            let rig = Rig { faults: vec![fault], ..Rig::new(baud) };
            let seen = rig.run(|heard| scans_of(heard, usize::from(METERS) - 1) > SCANS)?;
            show_the_refusal(&rig, &seen, register, what, bars);
        }
    }
    Ok(())
}

fn scans_of(heard: &[Heard], meter: usize) -> usize {
    heard.iter().filter(|heard| heard.meter == meter).count()
}

fn show_the_refusal(rig: &Rig, seen: &Seen, register: u16, what: &str, bars: &mut Bars) {
    let blamed = (0..all_points().len()).find(|point| {
        let address = address_of(*point);
        (address..address + 2).contains(&register)
    });
    let (healthy, sick) = (rig.best(), rig.line().best(&spans_without(blamed), &[register]));
    let limit = healthy.seconds * f64::from(METERS - 1) + sick.seconds;
    // What the meter's block was before it was refused: the registers that must be told apart.
    let registers = registers_beside(register);
    let most = i64::from(registers.next_power_of_two().trailing_zeros()) + 2;
    // The last meter's first cycle ends after the refusing one's first scan: it holds no search any more.
    let after = seen.cycles(&[usize::from(METERS) - 1], &all_points());
    let wrong = seen.heard.iter().filter(|heard| heard.meter == REFUSING);
    let wrong = wrong.filter(|heard| blamed.is_some_and(|point| heard.good.contains(&point))).count();
    println!(
        "{:>7} {:<22} {:>9.1} {:<18} {:<14} {:<14} {:<22}",
        rig.baud,
        what,
        limit * 1e3,
        bars.no_more(extra_requests(seen, healthy.reads, sick.reads), most),
        bars.none(seen.lost(&meters_but(&[REFUSING]), None) + seen.lost(&[REFUSING], blamed)),
        bars.none(wrong as u64),
        bars.at_most(mean(&after).as_secs_f64() / limit, cycle_bar(rig.baud)),
    );
}

/// The groups, without the refused point.
fn spans_without(blamed: Option<usize>) -> Vec<Span> {
    let Some(address) = blamed.map(address_of) else { return GROUPS.to_vec() };
    let around = |(first, count): &Span| {
        let end = first + count;
        if !(*first..end).contains(&address) {
            return vec![(*first, *count)];
        }
        let pieces = [(*first, address - first), (address + 2, end - address - 2)];
        pieces.into_iter().filter(|(_, count)| *count > 0).collect()
    };
    GROUPS.iter().flat_map(around).collect()
}

/// Registers of the read that touches this one, in the best plan of a meter that refuses nothing.
fn registers_beside(register: u16) -> u32 {
    let within = GROUPS.iter().position(|(first, count)| (*first..first + count).contains(&register));
    let registers = match within {
        Some(group) => GROUPS[group].1,
        // Between the first two, which share a read at 115200 baud.
        None => GROUPS[1].0 + GROUPS[1].1 - GROUPS[0].0,
    };
    u32::from(registers)
}

/// Requests beyond those of a meter that refuses nothing, in its first scan, and beyond the best plan
/// around the register in the later ones.
fn extra_requests(seen: &Seen, healthy: u32, sick: u32) -> i64 {
    let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut extra = i64::from(sick) - i64::from(healthy);
    let (mut before, mut scans) = (0, 0);
    for heard in &seen.heard {
        if heard.meter == REFUSING {
            scans += 1;
            extra += whole(heard.wire.requests) - before - i64::from(sick);
        }
        before = whole(heard.wire.requests);
    }
    if scans == 0 { i64::MAX } else { extra }
}
