//! All points back to back: the cycle against the limit, and the silence between frames.

use crate::Wanted;
use crate::bars::{Bars, cycle_bar};
use crate::rig::{METERS, Result, Rig, Seen, TURNAROUND, all_points, completions, mean, meters_but, ms};
use linesman::sim::Fault;
use std::time::Duration;

const BAUDS: [u32; 4] = [9600, 19_200, 38_400, 115_200];
/// Whole cycles at least, after the first, in which the engine gets to know the meters.
const CYCLES: usize = 3;
/// A line on which nothing comes to an end is given up after so many times its limit.
const PATIENCE: f64 = 20.0;

pub fn back_to_back(wanted: &Wanted, bars: &mut Bars) -> Result<()> {
    println!("\ncycle: all points back to back");
    head();
    for baud in wanted.bauds(&BAUDS) {
        measure(&Rig::new(baud), wanted.seconds(5.0), bars)?;
    }
    Ok(())
}

pub fn strict(wanted: &Wanted, bars: &mut Bars) -> Result<()> {
    println!("\nstrict: meters that ignore a request less than 3.5 characters after the last octet");
    if "strict".parse::<Fault>().is_err() {
        println!("the simulator has no such fault yet");
        return Ok(());
    }
    head();
    for baud in wanted.bauds(&[9600, 115_200]) {
        measure(&Rig { faults: vec!["strict"], ..Rig::new(baud) }, wanted.seconds(4.0), bars)?;
    }
    Ok(())
}

pub fn turnarounds(wanted: &Wanted, bars: &mut Bars) -> Result<()> {
    for turnaround in [20, 80].map(Duration::from_millis) {
        println!("\nturnaround: {turnaround:?} ({TURNAROUND:?}: see cycle)");
        head();
        for baud in wanted.bauds(&[38_400]) {
            measure(&Rig { turnaround, ..Rig::new(baud) }, wanted.seconds(4.0), bars)?;
        }
    }
    Ok(())
}

fn head() {
    println!(
        "{:>7} {:>9} {:>9} {:>9} {:>9} {:>6}  {:<22} {:<14} {:<20} {:<14} {:>9}",
        "baud",
        "limit ms",
        "mean ms",
        "min ms",
        "max ms",
        "cycles",
        "mean / limit",
        "short gaps",
        "shortest",
        "bad samples",
        "wire late"
    );
}

fn measure(rig: &Rig, seconds: f64, bars: &mut Bars) -> Result<()> {
    let limit = rig.best().seconds * f64::from(METERS);
    let (all, last) = (all_points(), usize::from(METERS) - 1);
    let seen = rig.run(|heard| {
        let at = heard.last().map_or(0.0, |heard| heard.at.as_secs_f64());
        (at > seconds && completions(heard, last, &all).len() > CYCLES) || at > seconds + limit * PATIENCE
    })?;
    let mut cycles = seen.cycles(&meters_but(&[]), &all);
    cycles.sort_unstable();
    let (Some(least), Some(most)) = (cycles.first(), cycles.last()) else {
        bars.missed(3);
        println!("{:>7} {:>9.1} no whole cycle MISSED", rig.baud, limit * 1e3);
        return Ok(());
    };
    println!(
        "{:>7} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>6}  {:<22} {:<14} {:<20} {:<14} {:>6.0} µs",
        rig.baud,
        limit * 1e3,
        ms(mean(&cycles)),
        ms(*least),
        ms(*most),
        seen.completions(last, &all).len().saturating_sub(1),
        bars.at_most(mean(&cycles).as_secs_f64() / limit, cycle_bar(rig.baud)),
        bars.none(seen.wire.too_soon),
        shortest(rig, &seen),
        bars.none(seen.lost(&meters_but(&[]), None)),
        seen.wire.lateness.as_secs_f64() * 1e6 / seen.wire.replies.max(1) as f64
    );
    Ok(())
}

/// The shortest silence, in characters, of those that it must have.
fn shortest(rig: &Rig, seen: &Seen) -> String {
    let (line, shortest) = (rig.line(), seen.wire.shortest_silence.unwrap_or_default().as_secs_f64());
    let characters = |seconds: f64| seconds / line.character();
    format!("{:.2} of {:.2} chars", characters(shortest), characters(line.silence()))
}
