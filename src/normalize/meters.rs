//! What is known of each meter from scan to scan: what scales its values, who it is, how its counters ran.

use super::counter::{Counter, Step};
use super::kept::{Kept, KeptCounter, KeptDevice};
use super::{Others, read};
use crate::bus::Scan;
use crate::model::status::MeterStatus;
use crate::model::{Bad, Decimal, IdentityRule, Name, Reading, Sample, Value};
use crate::profile::{Point, Profile};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reads scans one after the other.
#[derive(Debug, Default)]
pub struct Normalizer {
    devices: BTreeMap<Name, Known>,
    changed: Changed,
}

/// What is new since this was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// [`Normalizer::meters`].
    pub shown: bool,
    /// [`Normalizer::kept`], by more than the counting that goes on: what the next reading after a restart could not
    /// make up for.
    pub kept: bool,
}

/// What is known of one device.
#[derive(Debug)]
struct Known {
    /// Another profile has other registers.
    profile: Arc<Profile>,
    /// Its points that others need, …
    needed: Vec<usize>,
    /// … and what they said: octets.
    factors: BTreeMap<usize, Vec<u8>>,
    /// The serial number of the meter that is meant.
    identity: Option<String>,
    /// The checksum of what the profile means by it.
    identity_meaning: Option<u32>,
    /// It has been seen since the device was last silent.
    confirmed: bool,
    /// The serial number of one that is not meant.
    stranger: Option<String>,
    /// That it does not say who it is has been told.
    told: bool,
    counters: BTreeMap<Name, Counter>,
    /// Why values that came well are not given.
    withheld: Option<Bad>,
}

/// What is worth an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Another meter than the one that was known answers.
    Exchanged {
        from: String,
        to: String,
        accepted: bool,
    },
    /// It answers, but does not say the serial number that is known of it.
    Nameless {
        known: String,
    },
    CounterReset {
        point: Name,
        from: Decimal,
        to: Decimal,
    },
    /// It was not reset, as had been told: it is where it stood before, or above.
    CounterBack {
        point: Name,
        from: Decimal,
        to: Decimal,
    },
    /// The profile means something else by these counters now: they begin anew.
    CountersAnew {
        points: Vec<Name>,
    },
}

impl Normalizer {
    /// With what was kept; what is not understood of it is left out.
    pub fn remembering(kept: &Kept) -> Normalizer {
        let device = |(name, kept): (&String, &KeptDevice)| {
            let counter =
                |(point, kept): (&String, &KeptCounter)| Some((point.parse().ok()?, kept.counter()?));
            let counters = kept.counters.iter().filter_map(counter).collect();
            let (identity, identity_meaning) = (kept.identity.clone(), kept.identity_meaning);
            let known = Known { identity, identity_meaning, counters, ..Known::new(Arc::default()) };
            Some((name.parse().ok()?, known))
        };
        Normalizer { devices: kept.iter().filter_map(device).collect(), changed: Changed::default() }
    }

    pub fn kept(&self) -> Kept {
        let counter = |(point, counter): (&Name, &Counter)| (point.to_string(), KeptCounter::of(counter));
        let device = |(name, known): (&Name, &Known)| {
            let (identity, identity_meaning) = (known.identity.clone(), known.identity_meaning);
            let counters = known.counters.iter().map(counter).collect();
            (name.to_string(), KeptDevice { identity, identity_meaning, counters })
        };
        self.devices.iter().map(device).collect()
    }

    /// Of each device of which there is something to say: what its meter has said that it is, and whether its values are
    /// held back.
    pub fn meters(&self) -> BTreeMap<Name, MeterStatus> {
        let shown = |(name, known): (&Name, &Known)| {
            let shown = known.shown();
            (shown != MeterStatus::default()).then(|| (name.clone(), shown))
        };
        self.devices.iter().filter_map(shown).collect()
    }

    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    pub fn reading(&mut self, scan: &Scan, rule: &IdentityRule, clock_unsure: bool) -> (Reading, Vec<News>) {
        let profile = &scan.profile;
        let remembers = profile.identity.is_some()
            || profile.points.iter().any(|point| point.index || !point.stands_alone());
        if !remembers {
            if self.devices.remove(&scan.device).is_some() {
                self.changed = Changed { shown: true, kept: true };
            }
            return (super::reading(scan, clock_unsure), Vec::new());
        }
        let fresh = || Known::new(Arc::default());
        let known = self.devices.entry(scan.device.clone()).or_insert_with(fresh);
        let (mut news, shown, identity) = (Vec::new(), known.shown(), known.identity.clone());
        known.take_in(scan, &mut news);
        let mut reading = read(scan, Some(&known.factors), clock_unsure);
        let is_held = known.is_held(scan, rule, &mut news);
        if is_held {
            hold(&mut reading, profile);
        }
        let turned = known.count(&mut reading, profile, &mut news);
        let has_answered = scan.fields.iter().any(|field| field.octets.is_ok());
        known.withheld = match is_held && has_answered {
            true => Some(Bad::Identity),
            false => known.counters.values().any(Counter::is_doubtful).then_some(Bad::CounterFell),
        };
        self.changed.shown |= known.shown() != shown;
        self.changed.kept |= turned || known.identity != identity || !news.is_empty();
        (reading, news)
    }
}

/// Nobody knows whose these values are; but who says that it is another one has said it.
fn hold(reading: &mut Reading, profile: &Profile) {
    let identity = profile.identity.and_then(|index| profile.points.get(index)).map(|point| &point.name);
    for (name, sample) in &mut reading.samples {
        if sample.is_ok() && Some(&*name) != identity {
            *sample = Err(Bad::Identity);
        }
    }
}

impl Known {
    fn new(profile: Arc<Profile>) -> Known {
        Known {
            needed: needed(&profile),
            profile,
            factors: BTreeMap::new(),
            identity: None,
            identity_meaning: None,
            confirmed: false,
            stranger: None,
            told: false,
            counters: BTreeMap::new(),
            withheld: None,
        }
    }

    fn shown(&self) -> MeterStatus {
        let identity = self.stranger.as_ref().or(self.identity.as_ref()).cloned();
        MeterStatus { identity, withheld: self.withheld }
    }

    /// Another profile: what it reads otherwise than the one before is not comparable, and forgotten.
    fn adopt(&mut self, profile: &Arc<Profile>, news: &mut Vec<News>) {
        self.profile = Arc::clone(profile);
        self.needed = needed(profile);
        self.factors.clear();
        let meaning = |index: usize| crc32c::crc32c(profile.meaning(index).as_bytes());
        let by = profile.identity.map(meaning);
        if self.identity_meaning.is_some_and(|before| Some(before) != by) {
            (self.identity, self.stranger, self.confirmed) = (None, None, false);
        }
        self.identity_meaning = by;
        let mut points = Vec::new();
        self.counters.retain(|name, counter| {
            let is_it = |point: &Point| point.index && point.name == *name;
            let Some(now) = profile.points.iter().position(is_it).map(meaning) else { return false };
            let is_same = counter.meaning.is_none_or(|before| before == now);
            counter.meaning = Some(now);
            if !is_same {
                points.push(name.clone());
            }
            is_same
        });
        if !points.is_empty() {
            news.push(News::CountersAnew { points });
        }
    }

    /// Who is back after a silence may be another meter: what scales its values is asked anew.
    fn take_in(&mut self, scan: &Scan, news: &mut Vec<News>) {
        if !Arc::ptr_eq(&self.profile, &scan.profile) {
            self.adopt(&scan.profile, news);
        }
        if scan.fields.iter().all(|field| field.octets.is_err()) {
            self.factors.clear();
            self.confirmed = false;
        }
        for field in scan.fields.iter().filter(|field| self.needed.contains(&field.point)) {
            match &field.octets {
                Ok(octets) => self.factors.insert(field.point, octets.clone()),
                Err(_) => self.factors.remove(&field.point),
            };
        }
    }

    /// Whether these values may be another meter's than the one that is meant.
    fn is_held(&mut self, scan: &Scan, rule: &IdentityRule, news: &mut Vec<News>) -> bool {
        if scan.profile.identity.is_none() {
            return false;
        }
        let meant = match rule {
            IdentityRule::Is(meant) => Some(meant.clone()),
            IdentityRule::Hold | IdentityRule::Accept => self.identity.clone(),
        };
        let Some(seen) = seen(scan) else {
            let is_held = !self.confirmed && *rule != IdentityRule::Accept;
            return meant.filter(|_| is_held).is_some_and(|known| self.is_nameless(scan, known, news));
        };
        let exchanged = self.identity.as_ref().filter(|known| **known != seen).cloned();
        if meant.is_none_or(|meant| meant == seen) || *rule == IdentityRule::Accept {
            if let Some(from) = exchanged {
                news.push(News::Exchanged { from, to: seen.clone(), accepted: true });
                self.counters.values_mut().for_each(Counter::exchanged);
                self.factors.clear();
            }
            self.identity = Some(seen);
            (self.confirmed, self.stranger, self.told) = (true, None, false);
            return false;
        }
        if self.stranger.as_ref() != Some(&seen) {
            let from = match rule {
                IdentityRule::Is(meant) => meant.clone(),
                IdentityRule::Hold | IdentityRule::Accept => self.identity.clone().unwrap_or_default(),
            };
            news.push(News::Exchanged { from, to: seen.clone(), accepted: false });
        }
        (self.confirmed, self.stranger) = (false, Some(seen));
        true
    }

    /// It has not said who it is. Told once, if it was asked and answers: not with each scan in which it was not asked.
    fn is_nameless(&mut self, scan: &Scan, known: String, news: &mut Vec<News>) -> bool {
        let asked = scan.fields.iter().any(|field| Some(field.point) == scan.profile.identity);
        let answers = scan.fields.iter().any(|field| field.octets.is_ok());
        if asked && answers && !self.told {
            self.told = true;
            news.push(News::Nameless { known });
        }
        true
    }

    /// `true` where a counter has not only counted.
    fn count(&mut self, reading: &mut Reading, profile: &Profile, news: &mut Vec<News>) -> bool {
        if !profile.points.iter().any(|point| point.index) {
            return false;
        }
        let (samples, mut turned) = (std::mem::take(&mut reading.samples), false);
        for (name, mut sample) in samples {
            let index = profile.points.iter().position(|point| point.index && point.name == name);
            let point = index.and_then(|index| profile.points.get(index));
            if let (Some(index), Some(point), Ok(Value::Number(value))) = (index, point, &sample) {
                let value = *value;
                turned |= self.step(index, point, value, &mut sample, news);
            }
            let total = point.and_then(|point| self.total(point, &sample));
            reading.samples.push((name, sample));
            reading.samples.extend(total);
        }
        turned
    }

    /// Takes a counter one step on. `true` where it has not only counted.
    fn step(
        &mut self,
        index: usize,
        point: &Point,
        value: Decimal,
        sample: &mut Sample,
        news: &mut Vec<News>,
    ) -> bool {
        let Some(counter) = self.counters.get_mut(&point.name) else {
            let meaning = Some(crc32c::crc32c(self.profile.meaning(index).as_bytes()));
            let mut counter = Counter::new(value);
            counter.meaning = meaning;
            self.counters.insert(point.name.clone(), counter);
            return true;
        };
        let before = (counter.fallen, counter.last.is_none());
        match counter.step(value, point) {
            Step::Good | Step::Rolled | Step::FellAgain => {}
            Step::Steady(last) => *sample = Ok(Value::Number(last)),
            Step::Fell => *sample = Err(Bad::CounterFell),
            Step::Reset { from } => {
                news.push(News::CounterReset { point: point.name.clone(), from, to: value });
            }
            Step::Back { from } => {
                // Not below where it stood, not even in the last digit.
                let to = counter.last.unwrap_or(value);
                *sample = Ok(Value::Number(to));
                news.push(News::CounterBack { point: point.name.clone(), from, to });
            }
        }
        (counter.fallen, counter.last.is_none()) != before
    }

    /// The total of a counter, where the profile wants one.
    fn total(&self, point: &Point, sample: &Sample) -> Option<(Name, Sample)> {
        let name = point.total_name().filter(|_| point.total)?;
        let total = match sample {
            Ok(Value::Number(_)) => Ok(Value::Number(self.counters.get(&point.name)?.total)),
            Ok(Value::Bool(_) | Value::Text(_)) => return None,
            Err(bad) => Err(*bad),
        };
        Some((name, total))
    }
}

/// The points whose last answers are good for others.
fn needed(profile: &Profile) -> Vec<usize> {
    let owing = profile.points.iter().filter(|point| !point.stands_alone());
    owing.flat_map(|point| point.needs().cached).collect()
}

/// What the meter says that it is; nothing where it says nothing.
fn seen(scan: &Scan) -> Option<String> {
    let index = scan.profile.identity?;
    let octets = scan.fields.iter().find(|field| field.point == index)?.octets.as_deref().ok()?;
    let point = scan.profile.points.get(index).filter(|point| !point.is_blank(octets))?;
    let others = Others { profile: &scan.profile, scan: &scan.fields, known: None };
    let said = match others.sample(point, octets).ok()? {
        Value::Text(text) => text.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Bool(_) => return None,
    };
    if said.is_empty() || said == "0" { None } else { Some(said) }
}
