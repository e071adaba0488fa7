//! What to ask a device that has answered, until it is clear which profile is its own.
//!
//! First its name, then the registers of the library's fingerprints, then whether it begins with `SunS` (`sunspec`). A profile that these point to is read as a whole,
//! and if it fits, that is that. Else one telling register of each profile decides which of them are
//! looked at closer, its last register which of these, and the best of those are read as a whole. Nothing is asked twice.

use super::fit::{self, Evidence, Fit};
use super::{name, physics, sunspec};
use crate::bus::scan::{Asks, Found, How, Known};
use crate::bus::{Block, Failure, Lessons, Terms, WireCost, function_of, plan_points};
use crate::modbus::{Ask, ReadRequest};
use crate::profile::sunspec::{Chain, Walk};
use crate::profile::{Point, Profile, Table};
use std::sync::Arc;
use std::time::Duration;

/// A device that has answered once answers within so many times that, …
const LATENCIES: u32 = 4;
/// … but is waited for at least and at most so long.
const SHORTEST: Duration = Duration::from_millis(150);
const LONGEST: Duration = Duration::from_secs(1);
/// A name, or a fingerprint, that speaks for a profile so much is worth reading all of it at once.
const POINTED_TO: f64 = 4.0;
const SURE: f64 = 0.85;
/// So many profiles are read as a whole.
const FINALISTS: usize = 10;
/// So many points of a refused block are asked one by one before the others are taken to be refused too.
const SAMPLES: usize = 3;
/// A device that is silent so often is asked no more.
const MOST_SILENCES: u32 = 10;
/// That register a device has said nothing about; refused it has not.
const SILENT: u8 = 0;

/// A device, and which profiles fit.
#[derive(Debug, Clone)]
pub(super) struct Identified {
    pub found: Found,
    pub evidence: Evidence,
    /// The best first.
    pub fits: Vec<Fit>,
    /// What else is to be said of it, in sentences.
    pub notes: Vec<String>,
}

/// Asks the device. A failure is one of the port.
pub(super) fn identify(
    device: &mut dyn Asks,
    found: Found,
    cost: WireCost,
    library: &[Arc<Profile>],
) -> Result<Identified, Failure> {
    let patience = found.latency.saturating_mul(LATENCIES).clamp(SHORTEST, LONGEST);
    let evidence = Evidence { settings: found.settings, unit: found.unit, ..Evidence::default() };
    let mut interview = Interview {
        device,
        unit: found.unit,
        patience,
        cost,
        evidence,
        unknown_functions: Vec::new(),
        silences: 0,
        two_answers: found.how == How::TwoAnswers,
        refused_all: true,
        chain: None,
        pointed: false,
    };
    if found.how != How::Damaged {
        interview.conduct(library)?;
    }
    let mut notes = notes(&found, &interview);
    let mut fits = fit::rank(library, &interview.evidence);
    if let Some(chain) = &interview.chain {
        notes.push(format!("SunSpec, {chain}"));
        let known_better = interview.pointed && fits.first().is_some_and(|fit| fit.confidence >= SURE);
        fits.insert(usize::from(known_better), sunspec::fit(chain));
    }
    Ok(Identified { found, evidence: interview.evidence, fits, notes })
}

fn notes(found: &Found, interview: &Interview<'_>) -> Vec<String> {
    let unit = found.unit;
    let mut notes = Vec::new();
    if interview.two_answers {
        notes.push(format!("two devices answer under unit id {unit}: give one of them another"));
    }
    if found.how == How::Damaged {
        notes.push(format!(
            "octets came each time, but no valid frame: two devices have unit id {unit}, or the line is disturbed"
        ));
    } else if interview.refused_all {
        notes.push("it refuses every register that a profile of the library knows".to_owned());
    }
    notes
}

struct Interview<'a> {
    device: &'a mut dyn Asks,
    unit: u8,
    patience: Duration,
    cost: WireCost,
    evidence: Evidence,
    /// Refused with exception 01: whole tables that it does not have.
    unknown_functions: Vec<Table>,
    silences: u32,
    two_answers: bool,
    refused_all: bool,
    /// What a device with a chain of models has said.
    chain: Option<Chain>,
    /// Its name or a fingerprint points to a profile, and that fits.
    pointed: bool,
}

impl Interview<'_> {
    fn conduct(&mut self, library: &[Arc<Profile>]) -> Result<(), Failure> {
        self.evidence.identity = name::ask(self.device, self.unit, self.patience)?;
        for mark in library.iter().flat_map(|profile| &profile.identify) {
            self.read(mark.table, mark.address, 1)?;
        }
        self.walk()?;
        if let Some(profile) = self.pointed_to(library) {
            self.read_all(&profile)?;
            let best = fit::rank(library, &self.evidence).into_iter().next();
            if best.is_some_and(|fit| fit.confidence >= SURE && fit.profile.name == profile.name) {
                self.pointed = true;
                return Ok(());
            }
        }
        if self.chain.is_some() {
            return Ok(());
        }
        for profile in library {
            self.try_out(profile)?;
        }
        let finalists: Vec<Arc<Profile>> = fit::rank(library, &self.evidence)
            .into_iter()
            .filter(|fit| fit.evidence > physics::REFUSED.evidence)
            .take(FINALISTS)
            .map(|fit| fit.profile)
            .collect();
        finalists.iter().try_for_each(|profile| self.read_all(profile))
    }

    /// Along its models, if it begins with `SunS`. Where it is silent it is not asked on.
    fn walk(&mut self) -> Result<(), Failure> {
        let (mut walk, table) = (Walk::new(0), Table::HoldingRegister);
        while let Some(read) = walk.next() {
            self.read(table, read.address, read.count)?;
            match self.evidence.registers.look_up(table, read.address, read.count) {
                Some(Known::Octets(octets)) => walk.answered(&octets),
                Some(Known::Refused(SILENT)) | None => return Ok(()),
                Some(Known::Refused(code)) => walk.refused(code),
            }
        }
        if let Some(Ok(chain)) = walk.outcome() {
            sunspec::add_name(chain, &mut self.evidence);
            self.chain = Some(chain.clone());
        }
        Ok(())
    }

    /// The profile that the name or a fingerprint speaks for, if one does.
    fn pointed_to(&self, library: &[Arc<Profile>]) -> Option<Arc<Profile>> {
        let all = library.iter().map(|profile| (fit::circumstances(profile, &self.evidence), profile));
        let best = all.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (best.0 >= POINTED_TO).then(|| Arc::clone(best.1))
    }

    /// One register that tells, and where that speaks for the profile the last that it has.
    fn try_out(&mut self, profile: &Profile) -> Result<(), Failure> {
        let registers = || profile.points.iter().filter(|point| !point.table.is_bits());
        let telling = registers().find(|point| physics::is_telling(point));
        let Some(first) = telling.or_else(|| registers().next()).or_else(|| profile.points.first()) else {
            return Ok(());
        };
        self.read_point(first)?;
        let refused = |known| matches!(known, Some(Known::Refused(_)));
        if refused(self.evidence.registers.of(first)) {
            return Ok(());
        }
        match registers().max_by_key(|point| point.address) {
            Some(last) => self.read_point(last),
            None => Ok(()),
        }
    }

    fn read_point(&mut self, point: &Point) -> Result<(), Failure> {
        self.read(point.table, point.address, point.format.count())
    }

    /// Every point of a profile that is not known yet, in as few requests as it takes.
    fn read_all(&mut self, profile: &Profile) -> Result<(), Failure> {
        let unknown = |index: &usize| {
            profile.points.get(*index).is_some_and(|point| self.evidence.registers.of(point).is_none())
        };
        let points: Vec<usize> = (0..profile.points.len()).filter(unknown).collect();
        let lessons = Lessons::default();
        let terms = Terms { cost: self.cost, turnaround: self.patience / LATENCIES, lessons: &lessons };
        let blocks = plan_points(profile, &points, &terms);
        blocks.iter().try_for_each(|block| self.read_block(profile, block))
    }

    fn read_block(&mut self, profile: &Profile, block: &Block) -> Result<(), Failure> {
        let points: Vec<&Point> =
            block.points.iter().filter_map(|index| profile.points.get(*index)).collect();
        let Some(table) = points.first().map(|point| point.table) else { return Ok(()) };
        let refused = self.put(table, block.request)?;
        if !refused {
            return Ok(());
        }
        // One of them is to blame, or all.
        let mut bad = 0;
        for (n, point) in points.iter().enumerate() {
            if n >= SAMPLES && bad == n {
                let code = 2;
                self.evidence.registers.refuse(table, point.address, point.format.count(), code);
                bad += 1;
                continue;
            }
            self.read_point(point)?;
            let known = self.evidence.registers.of(point);
            bad += usize::from(!matches!(known, Some(Known::Octets(_))));
        }
        Ok(())
    }

    /// Registers that belong together: they are known afterwards, or refused.
    fn read(&mut self, table: Table, address: u16, count: u16) -> Result<(), Failure> {
        if self.evidence.registers.look_up(table, address, count).is_some() {
            return Ok(());
        }
        let Ok(request) = ReadRequest::new(function_of(table), address, count.max(1)) else { return Ok(()) };
        if self.put(table, request)? {
            self.evidence.registers.refuse(table, address, count, 2);
        }
        Ok(())
    }

    /// One request; `true` where it was refused for its registers.
    fn put(&mut self, table: Table, request: ReadRequest) -> Result<bool, Failure> {
        let (address, count) = (request.address(), request.count());
        if self.unknown_functions.contains(&table) || self.silences >= MOST_SILENCES {
            let code = if self.silences >= MOST_SILENCES { SILENT } else { 1 };
            if code == 1 {
                self.evidence.registers.refuse(table, address, count, code);
            }
            return Ok(false);
        }
        match self.device.ask(self.unit, Ask::Read(request), self.patience) {
            Ok(data) => {
                self.evidence.registers.take(&request, &data);
                self.refused_all = false;
            }
            Err(Failure::Exception { code: 1, .. }) => {
                self.unknown_functions.push(table);
                self.evidence.registers.refuse(table, address, count, 1);
            }
            Err(Failure::Exception { .. }) => return Ok(true),
            Err(Failure::TwoAnswers { .. }) => {
                self.two_answers = true;
                self.refused_all = false;
                // Neither is believed, and the other questions would come to the same.
                self.silences = MOST_SILENCES;
            }
            Err(Failure::Silence { .. } | Failure::Garbled { .. }) => {
                self.silences += 1;
                self.evidence.registers.refuse(table, address, count, SILENT);
            }
            Err(failure @ Failure::Port { .. }) => return Err(failure),
        }
        Ok(false)
    }
}
