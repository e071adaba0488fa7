//! A serial line against what its wire needs: ten meters with thirty floats in four groups, on a
//! pseudo-terminal that is paced like a wire.
//!
//! ```text
//! cargo bench --bench line                          all parts, some three minutes
//! cargo bench --bench line -- cycle dead 9600       these parts, at these baud rates only
//! cargo bench --bench line -- --long                all parts, five times as long
//! ```
//!
//! Parts: `cycle` all points back to back; `strict` the same with meters that ignore a request that follows
//! too soon; `dead` two of ten are; `bad` a register that is refused; `turnaround` slower meters; `loss` 30 %
//! of the replies lost; `load` 1 s and 60 s periods at 85 % of the line.
//!
//! A *cycle* of a meter is the time in which each of its points was got once; the bench takes it from the
//! scans as the engine hands them on. The *limit* comes from [`limit`], not from the product's planner. The
//! simulator delays each request and reply by its own wake-ups (the column *wire late* is the second half of
//! it): that counts against the engine, so a busy machine gives worse ratios, never better ones.
//!
//! Gaps are the wire's: from just before a reply's last octet was put on the line to when the next request
//! was seen there. The first end is never too late. The second may be late by what a pseudo-terminal takes to
//! hand octets over and wake a thread, so that a gap may be shorter than shown by this: the first line says
//! how long it takes on this machine.
//!
//! A bench is no test: the exit status is 0 whatever the figures; the last line counts the bars that were met.

#![allow(clippy::print_stdout, clippy::cast_precision_loss)] // a bench prints figures

mod bars;
mod cycles;
mod handover;
mod limit;
mod periods;
mod rig;
mod sick;

use bars::Bars;
use rig::Result;
use std::process::ExitCode;

const PARTS: [&str; 7] = ["cycle", "strict", "dead", "bad", "turnaround", "loss", "load"];

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    parts: Vec<String>,
    bauds: Vec<u32>,
    long: bool,
}

impl Wanted {
    fn from_arguments() -> std::result::Result<Wanted, String> {
        let mut wanted = Wanted::default();
        for word in std::env::args().skip(1) {
            match word.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--long" => wanted.long = true,
                part if PARTS.contains(&part) => wanted.parts.push(word),
                other => match other.parse() {
                    Ok(baud) if (300..=1_000_000).contains(&baud) => wanted.bauds.push(baud),
                    Ok(_) | Err(_) => return Err(other.to_owned()),
                },
            }
        }
        Ok(wanted)
    }

    fn part(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    /// The baud rates that were asked for, or these.
    pub fn bauds(&self, default: &[u32]) -> Vec<u32> {
        if self.bauds.is_empty() { default.to_vec() } else { self.bauds.clone() }
    }

    /// The short time, or five times as long.
    pub fn seconds(&self, short: f64) -> f64 {
        if self.long { short * 5.0 } else { short }
    }
}

fn main() -> ExitCode {
    let wanted = match Wanted::from_arguments() {
        Ok(wanted) => wanted,
        Err(word) => {
            println!("{word:?} is no part and no baud rate; parts: {}, and --long", PARTS.join(" "));
            return ExitCode::from(64);
        }
    };
    let mut bars = Bars::default();
    if let Err(error) = run(&wanted, &mut bars) {
        println!("the bench broke off: {error}");
    }
    println!("\n{}", bars.summary());
    ExitCode::SUCCESS
}

fn run(wanted: &Wanted, bars: &mut Bars) -> Result<()> {
    println!(
        "{} meters, {} floats in four groups (0-35, 70-79, 200-207, 342-347), 8N1, turnaround {:?}",
        rig::METERS,
        rig::POINTS,
        rig::TURNAROUND
    );
    println!("{}", handover::measure()?);
    if wanted.part("cycle") {
        cycles::back_to_back(wanted, bars)?;
    }
    if wanted.part("strict") {
        cycles::strict(wanted, bars)?;
    }
    if wanted.part("dead") {
        sick::dead(wanted, bars)?;
    }
    if wanted.part("bad") {
        sick::refused(wanted, bars)?;
    }
    if wanted.part("turnaround") {
        cycles::turnarounds(wanted, bars)?;
    }
    periods::side_by_side(wanted, bars, wanted.part("loss"), wanted.part("load"))
}
