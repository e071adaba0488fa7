//! What is known of each meter from scan to scan: what scales its values, who it is, how its counters ran.

use super::counter::{Counter, Step};
use super::{Others, read};
use crate::bus::Scan;
use crate::model::{Bad, Decimal, IdentityRule, Name, Reading, Sample, Value};
use crate::profile::{Point, Profile};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Reads scans one after the other.
#[derive(Debug, Default)]
pub struct Normalizer {
    devices: BTreeMap<Name, Known>,
    /// Some meter has said another serial number than before, since this was asked last.
    named: bool,
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
    /// Points that a device of this model may lack, and that this one has not lacked.
    had: BTreeSet<usize>,
    /// The serial number of the meter that is meant.
    identity: Option<String>,
    /// It has been seen since the device was last silent.
    confirmed: bool,
    /// The serial number of one that is not meant.
    stranger: Option<String>,
    counters: BTreeMap<Name, Counter>,
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
    CounterReset {
        point: Name,
        from: Decimal,
        to: Decimal,
    },
}

/// What survives a restart, by device.
pub type Kept = BTreeMap<String, KeptDevice>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeptDevice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// By point: the last value, if it is of the meter that is meant now, and the total; exact decimals.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, (Option<String>, String)>,
}

impl Normalizer {
    /// With what was kept; what is not understood of it is left out.
    pub fn remembering(kept: &Kept) -> Normalizer {
        let device = |(name, kept): (&String, &KeptDevice)| {
            let counter = |(point, (last, total)): (&String, &(Option<String>, String))| {
                let last = last.as_ref().and_then(|last| last.parse().ok());
                Some((point.parse().ok()?, Counter::kept(last, total.parse().ok()?)))
            };
            let counters = kept.counters.iter().filter_map(counter).collect();
            let known = Known { identity: kept.identity.clone(), counters, ..Known::new(Arc::default()) };
            Some((name.parse().ok()?, known))
        };
        Normalizer { devices: kept.iter().filter_map(device).collect(), named: false }
    }

    pub fn kept(&self) -> Kept {
        let counter = |(point, counter): (&Name, &Counter)| {
            (point.to_string(), (counter.last.map(|last| last.to_string()), counter.total.to_string()))
        };
        let device = |(name, known): (&Name, &Known)| {
            let counters = known.counters.iter().map(counter).collect();
            (name.to_string(), KeptDevice { identity: known.identity.clone(), counters })
        };
        self.devices.iter().map(device).collect()
    }

    /// The serial number of each device's meter, as far as it has said one.
    pub fn identities(&self) -> BTreeMap<Name, String> {
        let seen = |(name, known): (&Name, &Known)| Some((name.clone(), known.says()?.clone()));
        self.devices.iter().filter_map(seen).collect()
    }

    /// Whether [`Normalizer::identities`] are others than when this was asked last.
    pub fn take_named(&mut self) -> bool {
        std::mem::take(&mut self.named)
    }

    pub fn reading(&mut self, scan: &Scan, rule: &IdentityRule, clock_unsure: bool) -> (Reading, Vec<News>) {
        let profile = &scan.profile;
        let remembers = profile.identity.is_some()
            || profile.points.iter().any(|point| point.index || point.optional || !point.stands_alone());
        if !remembers {
            return (super::reading(scan, clock_unsure), Vec::new());
        }
        let fresh = || Known::new(Arc::clone(profile));
        let known = self.devices.entry(scan.device.clone()).or_insert_with(fresh);
        known.take_in(scan);
        let mut reading = read(scan, Some(&known.factors), &mut known.had, clock_unsure);
        let (mut news, said) = (Vec::new(), known.says().cloned());
        let is_held = known.is_held(scan, rule, &mut news);
        self.named |= known.says() != said.as_ref();
        if is_held {
            let identity =
                profile.identity.and_then(|index| profile.points.get(index)).map(|point| &point.name);
            for (name, sample) in &mut reading.samples {
                if sample.is_ok() && Some(&*name) != identity {
                    *sample = Err(Bad::Identity);
                }
            }
        }
        known.count(&mut reading, profile, &mut news);
        (reading, news)
    }
}

impl Known {
    fn new(profile: Arc<Profile>) -> Known {
        Known {
            needed: needed(&profile),
            profile,
            factors: BTreeMap::new(),
            had: BTreeSet::new(),
            identity: None,
            confirmed: false,
            stranger: None,
            counters: BTreeMap::new(),
        }
    }

    /// The serial number that its meter has said.
    fn says(&self) -> Option<&String> {
        self.stranger.as_ref().or(self.identity.as_ref())
    }

    /// Who is back after a silence may be another meter: what scales its values is asked anew.
    fn take_in(&mut self, scan: &Scan) {
        if !Arc::ptr_eq(&self.profile, &scan.profile) {
            self.profile = Arc::clone(&scan.profile);
            self.needed = needed(&self.profile);
            self.factors.clear();
            self.had.clear();
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
        let Some(seen) = seen(scan) else { return meant.is_some() && !self.confirmed };
        let exchanged = self.identity.as_ref().filter(|known| **known != seen).cloned();
        if meant.is_none_or(|meant| meant == seen) || *rule == IdentityRule::Accept {
            if let Some(from) = exchanged {
                news.push(News::Exchanged { from, to: seen.clone(), accepted: true });
                self.counters.values_mut().for_each(Counter::exchanged);
                self.factors.clear();
            }
            self.identity = Some(seen);
            (self.confirmed, self.stranger) = (true, None);
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

    fn count(&mut self, reading: &mut Reading, profile: &Profile, news: &mut Vec<News>) {
        if !profile.points.iter().any(|point| point.index) {
            return;
        }
        let samples = std::mem::take(&mut reading.samples);
        for (name, mut sample) in samples {
            let point = profile.points.iter().find(|point| point.index && point.name == name);
            let total = point.and_then(|point| self.total(point, &mut sample, news));
            reading.samples.push((name, sample));
            reading.samples.extend(total);
        }
    }

    /// Takes a counter one step on; its total, where the profile wants one.
    fn total(&mut self, point: &Point, sample: &mut Sample, news: &mut Vec<News>) -> Option<(Name, Sample)> {
        let total = match &*sample {
            Ok(Value::Number(value)) => {
                let (value, mut first) = (*value, false);
                let counter = self.counters.entry(point.name.clone()).or_insert_with(|| {
                    first = true;
                    Counter::new(value)
                });
                match if first { Step::Good } else { counter.step(value, point) } {
                    Step::Good | Step::Rolled => {}
                    Step::Steady(last) => *sample = Ok(Value::Number(last)),
                    Step::Fell => *sample = Err(Bad::CounterFell),
                    Step::Reset { from } => {
                        news.push(News::CounterReset { point: point.name.clone(), from, to: value });
                    }
                }
                sample.as_ref().map(|_| Value::Number(counter.total)).map_err(|bad| *bad)
            }
            Ok(Value::Bool(_) | Value::Text(_)) => return None,
            Err(bad) => Err(*bad),
        };
        let name = point.total_name().filter(|_| point.total)?;
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
    let others = Others { profile: &scan.profile, scan: &scan.fields, known: None };
    let said = match others.sample(scan.profile.points.get(index)?, octets).ok()? {
        Value::Text(text) => text.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Bool(_) => return None,
    };
    if said.is_empty() || said == "0" { None } else { Some(said) }
}
