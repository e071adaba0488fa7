//! What a profile says, point by point.

use super::{complain, grid, own_folders, print, say};
use crate::cli::Exit;
use crate::cli::check::span;
use crate::model::Decimal;
use crate::model::quantity::has_decimal;
use crate::profile::sunspec::Chain;
use crate::profile::{self, Every, How, Operand, Order, Parity, Point, Profile, Table};
use std::fmt::Write as _;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

pub(super) fn show(name_or_path: &str) -> io::Result<Exit> {
    let profile = match profile::find(name_or_path, Path::new(""), &own_folders()) {
        Ok(profile) => profile,
        Err(problems) => {
            complain(&problems)?;
            return Ok(Exit::Config);
        }
    };
    if profile.walks {
        return walked(&profile).map(|()| Exit::Done);
    }
    say(&facts(&profile))?;
    let mut grid = grid(&["point", "register", "type", "scale", "quantity", "unit", "every", ""]);
    for point in &profile.points {
        grid.add_row(row(&profile, point));
    }
    print(&grid)?;
    Ok(Exit::Done)
}

/// A device says itself what it offers: what there can be, by the two models that have the most.
fn walked(profile: &Profile) -> io::Result<()> {
    say(&facts(profile))?;
    say(
        "The points are found when the device answers (`linesman read … --profile sunspec` shows them): those that the models\n\
         101-103 and 111-113 (inverters) and 201-204 and 211-214 (meters) have in common, at the addresses of the device.\n\
         Of a second device behind the same unit id the kind stands before the names: meter_…, meter2_…\n\n",
    )?;
    let mut grid = grid(&["point", "inverter", "meter", "quantity", "unit"]);
    let of = |id: u16| Chain::of(0, &[(1, 66), (id, 200)]).profile().points;
    let (inverter, meter) = (of(103), of(203));
    let mark = |points: &[Point], of: &Point| {
        let there = points.iter().any(|point| point.name == of.name);
        if there { "yes" } else { "" }.to_owned()
    };
    let more = meter.iter().filter(|point| !inverter.iter().any(|other| other.name == point.name));
    for point in inverter.iter().chain(more).filter(|point| !point.internal) {
        let what = [Some(point.quantity.as_str()), point.phase.as_deref(), point.direction.as_deref()];
        let what = what.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let (one, other) = (mark(&inverter, point), mark(&meter, point));
        grid.add_row([point.name.to_string(), one, other, what, point.unit.clone()]);
    }
    print(&grid)
}

fn facts(profile: &Profile) -> String {
    let mut text = format!("{}: {} {} ({})\n", profile.name, profile.vendor, profile.model, profile.kind);
    if let Some(serial) = &profile.serial {
        let parity = match serial.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        let _ = write!(text, "factory: {} 8{parity}{}", serial.baud, serial.stop_bits);
        let _ = match profile.unit_id {
            Some(unit) => writeln!(text, ", unit {unit}"),
            None => writeln!(text),
        };
    }
    let habits = &profile.habits;
    let _ = write!(text, "asked: at most {} registers at once", habits.max_registers);
    if habits.align > 1 {
        let _ = write!(text, ", from multiples of {}", habits.align);
    }
    if !habits.min_gap.is_zero() {
        let _ = write!(text, ", {} apart", span(habits.min_gap));
    }
    if let Some(least) = habits.min_timeout {
        let _ = write!(text, ", waiting at least {}", span(least));
    }
    if let Some(most) = habits.timeout {
        let _ = write!(text, ", waiting at most {}", span(most));
    }
    if habits.diagnostics {
        let _ = write!(text, ", answers function 08");
    }
    for hole in &habits.holes {
        let _ = write!(text, ", never {}", range(hole));
    }
    text.push('\n');
    for fact in &profile.identify {
        let _ = writeln!(text, "known by: {} {} = {}", fact.table.word(), fact.address, fact.equals);
    }
    for source in &profile.sources {
        let _ = writeln!(text, "source: {source}");
    }
    text.push('\n');
    text
}

fn range(hole: &RangeInclusive<u16>) -> String {
    if hole.start() == hole.end() {
        hole.start().to_string()
    } else {
        format!("{}-{}", hole.start(), hole.end())
    }
}

fn row(profile: &Profile, point: &Point) -> [String; 8] {
    let every = match point.every {
        Some(Every::Period(period)) => span(period),
        Some(Every::Continuous) => "continuous".to_owned(),
        None => String::new(),
    };
    let what = [Some(point.quantity.as_str()), point.phase.as_deref(), point.direction.as_deref()];
    [
        point.name.to_string(),
        address(point),
        format(point),
        scale(point),
        what.into_iter().flatten().collect::<Vec<_>>().join(" "),
        point.unit.clone(),
        every,
        remarks(profile, point),
    ]
}

fn address(point: &Point) -> String {
    let bit = match (point.bit, point.bits) {
        (Some(bit), _) => format!(" bit {bit}"),
        (None, Some(field)) => format!(" bits {}-{}", field.shift, field.shift + field.width - 1),
        (None, None) => String::new(),
    };
    format!("{} {}{bit}", point.table.word(), point.address)
}

fn format(point: &Point) -> String {
    let wide = point.format.count() > 1 && point.table != Table::Coil;
    let order = if wide && point.word_order == Order::Little { ", low word first" } else { "" };
    format!("{}{order}", point.format.word())
}

/// As a decimal where it has one, else as a fraction.
fn scale(point: &Point) -> String {
    let decimal = Decimal::from(1u64).scaled(point.scale).ok().filter(|_| has_decimal(point.scale));
    let fraction = || format!("{}/{}", point.scale.numerator(), point.scale.denominator());
    let scale = decimal.map_or_else(fraction, |scale| scale.to_string());
    if point.offset == Decimal::ZERO { scale } else { format!("{scale}, then + {}", point.offset) }
}

/// What other points and the installation have to say.
fn owed(profile: &Profile, point: &Point) -> Vec<String> {
    let name = |index: usize| profile.points.get(index).map_or("?", |point| point.name.as_str());
    let parameter = |index: usize| profile.parameters.get(index).map_or("?", |known| known.name.as_str());
    let factor = |factor: &profile::Factor| {
        let of = match factor.of {
            Operand::Point(index) => name(index),
            Operand::Parameter(index) => parameter(index),
        };
        match factor.how {
            How::Times => format!("× {of}"),
            How::Divided => format!("÷ {of}"),
            How::Exponent => format!("× 10^{of}"),
            How::Decimals => format!("÷ 10^{of}"),
        }
    };
    let mut owed: Vec<String> = point.scale_by.iter().map(factor).collect();
    owed.extend(point.sign_by.iter().map(|by| format!("sign by {}", name(by.point))));
    owed.extend(point.unit_by.iter().map(|by| format!("unit by {}", name(by.point))));
    owed.extend(point.plus.iter().map(|part| format!("+ {}", name(*part))));
    owed.extend(point.negative_from.map(|from| format!("negative from {from}")));
    owed
}

fn remarks(profile: &Profile, point: &Point) -> String {
    let mut remarks = owed(profile, point);
    if let Some(resolution) = point.resolution {
        remarks.push(format!("steps of {resolution}"));
    }
    if let Some((least, most)) = point.range {
        remarks.push(format!("{least} to {most}"));
    }
    if !point.words.is_empty() {
        let words = point.words.iter().map(|(code, word)| format!("{code} {word}"));
        remarks.push(words.collect::<Vec<_>>().join(", "));
    }
    if !point.invalid.is_empty() {
        remarks.push(format!("{} sentinels", point.invalid.len()));
    }
    if point.index {
        remarks.push("rises only".to_owned());
    }
    if point.total {
        remarks.push("with a total".to_owned());
    }
    if point.internal {
        remarks.push("internal".to_owned());
    }
    if point.unverified {
        remarks.push("unverified".to_owned());
    }
    remarks.join("; ")
}
