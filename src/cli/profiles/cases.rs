//! `profiles test`: registers as a capture holds them, and what they stand for.
//!
//! A case of `acme-x1.yaml` is `acme-x1.wire` with `acme-x1.json`, or `acme-x1.WORD.wire` with `acme-x1.WORD.json`:
//!
//! ```text
//! # table, first address: registers in hexadecimal, or coils as 0 and 1
//! holding 17: 1234 abcd
//! coil 7: 1 0
//! ```
//!
//! and `{"values":{POINT:…},"bad":{POINT:WORD}}` with every point of the profile; `"parameters":{…}` sets parameters. What is
//! not in the registers has not been answered (`no-reply`).

use super::{complain, say};
use crate::bus::Field;
use crate::cli::{Exit, exact, shown};
use crate::model::{Bad, Decimal, Name, Sample};
use crate::normalize;
use crate::profile::{Point, Problem, Problems, Profile, Table, library};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

type Registers = BTreeMap<(Table, u16), u16>;

/// What the registers stand for; numbers as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default)]
    parameters: BTreeMap<String, Box<RawValue>>,
    values: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    bad: BTreeMap<String, String>,
}

pub(super) fn main(files: &[PathBuf], folder: Option<&Path>) -> io::Result<Exit> {
    let mut exit = Exit::Done;
    for file in files {
        match one(file, folder) {
            Ok(told) => say(&told)?,
            Err(problems) => {
                complain(&problems)?;
                exit = Exit::Config;
            }
        }
    }
    Ok(exit)
}

fn one(file: &Path, folder: Option<&Path>) -> Result<String, Problems> {
    let source = library::open(file)?;
    let profile = Arc::new(source.parse()?);
    let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cases = cases(folder.unwrap_or(beside), &source.name);
    if cases.is_empty() {
        let message = format!("no case: {}.wire and {}.json are looked for", source.name, source.name);
        return Err(Problem::whole(&source.file, message).into());
    }
    let mut problems = Vec::new();
    for case in &cases {
        problems.extend(differences(&profile, case));
    }
    if problems.is_empty() {
        Ok(format!(
            "{}: good: {} of {} points\n",
            file.display(),
            counted(cases.len(), "case"),
            profile.points.len()
        ))
    } else {
        Err(Problems(problems))
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The `.wire` files of a profile, in order.
fn cases(folder: &Path, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let word = path.file_name().and_then(|file| file.to_str()?.strip_prefix(name)?.strip_suffix(".wire"));
        word.is_some_and(|word| word.is_empty() || word.starts_with('.'))
    };
    let mut found: Vec<PathBuf> = entries.filter(ours).collect();
    found.sort();
    found
}

fn differences(profile: &Arc<Profile>, case: &Path) -> Vec<Problem> {
    let (wire, json) = (case.display().to_string(), case.with_extension("json"));
    let told = json.display().to_string();
    let registers = match fs::read_to_string(case)
        .map_err(|error| (0, error.to_string()))
        .and_then(|text| registers(&text))
    {
        Ok(registers) => registers,
        Err((line, why)) => return vec![at_line(&wire, line, why)],
    };
    let parsed = fs::read(&json).and_then(|text| Ok(serde_json::from_slice::<Expected>(&text)?));
    let expected = match parsed {
        Ok(expected) => expected,
        Err(error) => return vec![Problem::whole(&told, error.to_string())],
    };
    let parameter =
        |name: &String| Some((name.parse().ok()?, expected.parameters.get(name)?.get().parse().ok()?));
    let set: Vec<(Name, Decimal)> = expected.parameters.keys().filter_map(parameter).collect();
    let profile = profile.with_parameters(&set);
    let mut problems = Vec::new();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for (index, sample) in normalize::samples(&profile, &fields(&profile, &registers)) {
        let Some(point) = profile.points.get(index) else { continue };
        named.insert(point.name.as_str());
        problems.extend(difference(point, &sample, &expected).map(|why| Problem::whole(&told, why)));
    }
    let strange =
        expected.values.keys().chain(expected.bad.keys()).filter(|name| !named.contains(name.as_str()));
    problems.extend(strange.map(|name| Problem::whole(&told, format!("the profile has no point `{name}`"))));
    problems
}

fn difference(point: &Point, sample: &Sample, expected: &Expected) -> Option<String> {
    let name = point.name.as_str();
    let wanted = match (expected.values.get(name), expected.bad.get(name)) {
        (Some(value), _) => value.get().to_owned(),
        (None, Some(word)) => format!("bad: {word}"),
        (None, None) if point.internal && sample.is_ok() => return None,
        (None, None) => return Some(format!("`{name}` is not told, and is {}", shown(sample))),
    };
    let is = match sample {
        Ok(value) => exact(value),
        Err(reason) => format!("bad: {reason}"),
    };
    let same_number = || Some(is.parse::<Decimal>().ok()? == wanted.parse::<Decimal>().ok()?);
    let same = is == wanted || same_number().unwrap_or(false);
    if same {
        None
    } else {
        Some(format!("`{name}`: {wanted} is told, {is} is what the registers stand for"))
    }
}

fn at_line(file: &str, line: usize, why: String) -> Problem {
    let mut problem = Problem::whole(file, why);
    (problem.line, problem.column) = (line, usize::from(line > 0));
    problem
}

/// The line that is wrong, and why.
fn registers(text: &str) -> Result<Registers, (usize, String)> {
    let mut registers = Registers::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        read_line(line, &mut registers).ok_or_else(|| {
            let right = "expected a table, an address and registers (`holding 17: 1234 abcd`, `coil 7: 1 0`)";
            (number, format!("{right}, found `{line}`"))
        })?;
    }
    Ok(registers)
}

fn read_line(line: &str, registers: &mut Registers) -> Option<()> {
    let (place, octets) = line.split_once(':')?;
    let (word, address) = place.split_once(' ')?;
    let tables = [Table::HoldingRegister, Table::InputRegister, Table::Coil, Table::DiscreteInput];
    let table = tables.into_iter().find(|table| table.word() == word)?;
    let first: u16 = address.trim().parse().ok()?;
    for (n, register) in (0u16..).zip(octets.split_whitespace()) {
        registers.insert((table, first.checked_add(n)?), u16::from_str_radix(register, 16).ok()?);
    }
    Some(())
}

fn fields(profile: &Profile, registers: &Registers) -> Vec<Field> {
    let octets = |point: &Point| {
        let addresses = (0..point.format.count()).map(|n| point.address.checked_add(n));
        let all: Option<Vec<u16>> =
            addresses.map(|address| registers.get(&(point.table, address?)).copied()).collect();
        let octets = |all: Vec<u16>| match point.table.is_bits() {
            true => all.iter().map(|bit| u8::from(*bit != 0)).collect(),
            false => all.iter().flat_map(|register| register.to_be_bytes()).collect(),
        };
        all.map(octets).ok_or(Bad::NoReply)
    };
    profile.points.iter().enumerate().map(|(point, of)| Field { point, octets: octets(of) }).collect()
}
