//! What the demo shows: a live table on a terminal, lines elsewhere, and a summary at the end.

use super::plant::{self, Plant};
use crate::cli::{say, shown};
use crate::model::status::DeviceState;
use crate::model::{Bad, Name, Reading, Sample, Site, Timestamp};
use crate::serve::status::Snapshot;
use comfy_table::{Cell, Color, Table, presets};
use std::collections::BTreeMap;

/// Rows a meter gets in the table; the readings file has them all.
const ROWS: usize = 4;
/// What people look for first, in this order.
const HEADLINES: &[&str] = &[
    "voltage_l1",
    "voltage",
    "current_l1",
    "active_power",
    "energy_import",
    "pressure",
    "pressure_p1",
    "temperature",
    "temperature_t",
    "humidity",
    "flow_rate",
    "volume_net",
];

/// One meter's rows: its latest samples, and what it has given so far.
#[derive(Default)]
struct Meter {
    latest: BTreeMap<Name, (Sample, Timestamp)>,
    state: Option<DeviceState>,
    scans: u64,
    good: u64,
    bad: BTreeMap<String, u64>,
}

pub(super) struct Screen {
    full: bool,
    site: Option<Site>,
    meters: BTreeMap<Name, Meter>,
}

impl Screen {
    /// A table that is drawn over and over.
    pub(super) fn full() -> Screen {
        Screen { full: true, site: None, meters: BTreeMap::new() }
    }

    /// One line a scan: for a file, a pipe, a log.
    pub(super) fn lines() -> Screen {
        Screen { full: false, ..Screen::full() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn begin(&mut self, site: &Site, plant: &Plant) {
        for line in plant.describe() {
            say(&line);
        }
        for device in &site.devices {
            self.meters.entry(device.name.clone()).or_default();
        }
        self.site = Some(site.clone());
    }

    pub(super) fn take(&mut self, reading: &Reading) {
        let text = if self.full { None } else { Some(self.line(reading)) };
        let meter = self.meters.entry(reading.device.clone()).or_default();
        meter.scans += 1;
        for (point, sample) in &reading.samples {
            match sample {
                Ok(_) => meter.good += 1,
                Err(bad) => *meter.bad.entry(bad.word().into_owned()).or_default() += 1,
            }
            meter.latest.insert(point.clone(), (sample.clone(), reading.ts));
        }
        if let Some(text) = text {
            say(&text);
        }
    }

    /// Draws the table, and says a change of a meter's state where there is no table.
    pub(super) fn draw(&mut self, status: &Snapshot, now: Timestamp) {
        for device in &status.devices {
            let Some(meter) = self.meters.iter_mut().find(|(name, _)| name.as_str() == device.name) else {
                continue;
            };
            let before = meter.1.state.replace(device.state);
            if !self.full && before.is_some_and(|before| before != device.state) {
                say(&format_args!("-- {} is now {}", device.name, state_word(device.state)));
            }
        }
        if self.full {
            // Home, then clear what is below: less flicker than clearing the whole screen.
            say(&format_args!("\x1b[H\x1b[J{}\n{}", self.table(now), footer(status)));
        }
    }

    /// What came of it: per meter, and the account of each upstream.
    pub(super) fn summary(&self, before: &Snapshot, after: &Snapshot) {
        say(&"");
        for (name, meter) in &self.meters {
            let bad = meter.bad.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>();
            let bad = if bad.is_empty() { "none bad".to_owned() } else { format!("bad: {}", bad.join(", ")) };
            say(&format_args!("{name:<10} {:>4} scans, {:>5} good values, {bad}", meter.scans, meter.good));
        }
        let dead =
            self.meters.iter().filter(|(_, meter)| meter.bad.contains_key(Bad::NoReply.word().as_ref()));
        for (name, _) in dead {
            say(&format_args!(
                "{name} fell silent on purpose ({}); the others kept their turn",
                plant::DEAD_WORDS
            ));
        }
        for line in &before.lines {
            say(&format_args!("line {}: {:.1} % of the wire's time in use", line.name, line.load_pct));
        }
        for upstream in &after.upstreams {
            say(&format_args!(
                "upstream {}: {} records sampled, {} delivered, {} pending, {} dropped",
                upstream.name,
                upstream.sampled,
                upstream.delivered,
                upstream.pending,
                upstream.dropped.values().sum::<u64>()
            ));
        }
    }

    fn table(&self, now: Timestamp) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["device", "point", "value", "unit", "age", "quality"]);
        for (name, meter) in &self.meters {
            for (row, point) in self.headlines(name, meter).into_iter().enumerate() {
                let Some((sample, at)) = meter.latest.get(&point) else { continue };
                let age = now.0.saturating_sub(at.0).max(0);
                let quality = match sample {
                    Ok(_) => Cell::new("good").fg(Color::Green),
                    Err(bad) => Cell::new(bad).fg(Color::Red),
                };
                table.add_row(vec![
                    Cell::new(if row == 0 { name.as_str() } else { "" }),
                    Cell::new(&point),
                    Cell::new(shown(sample)).set_alignment(comfy_table::CellAlignment::Right),
                    Cell::new(self.unit(name, &point)),
                    Cell::new(format!("{}.{} s", age / 1000, age % 1000 / 100)),
                    quality,
                ]);
            }
        }
        table
    }

    /// The points worth a row: the known headlines first, then the profile's order.
    fn headlines(&self, device: &Name, meter: &Meter) -> Vec<Name> {
        let known =
            HEADLINES.iter().filter_map(|wanted| meter.latest.keys().find(|name| name.as_str() == *wanted));
        let site = self.site.iter().flat_map(|site| site.device(device.as_str()));
        let rest = site.flat_map(|info| info.points.iter().map(|point| &point.name));
        let mut chosen: Vec<Name> = Vec::new();
        for name in known.chain(rest) {
            if chosen.len() < ROWS && !chosen.contains(name) {
                chosen.push(name.clone());
            }
        }
        chosen
    }

    fn unit(&self, device: &Name, point: &Name) -> &str {
        let info = self.site.as_ref().and_then(|site| site.device(device.as_str()));
        let point = info.and_then(|info| info.points.iter().find(|p| p.name == *point));
        point.map_or("", |point| point.unit.as_str())
    }

    fn line(&self, reading: &Reading) -> String {
        let headlines = HEADLINES.iter().filter_map(|wanted| {
            let (name, sample) = reading.samples.iter().find(|(name, _)| name.as_str() == *wanted)?;
            Some(format!("{name}={}{}", shown(sample), self.unit_after(&reading.device, name)))
        });
        let good = reading.samples.iter().filter(|(_, sample)| sample.is_ok()).count();
        let headlines: Vec<String> = headlines.take(ROWS).collect();
        format!(
            "{:<10} {good:>3}/{:<3} good  {}",
            reading.device,
            reading.samples.len(),
            headlines.join("  ")
        )
    }

    fn unit_after(&self, device: &Name, point: &Name) -> String {
        match self.unit(device, point) {
            "" | "1" => String::new(),
            unit => format!(" {unit}"),
        }
    }
}

fn state_word(state: DeviceState) -> &'static str {
    match state {
        DeviceState::NotYet => "not asked yet",
        DeviceState::Ok => "answering",
        DeviceState::Degraded => "answering in part",
        DeviceState::Quarantined => "silent: quarantined, probed now and then",
        DeviceState::LineDown => "without a line",
    }
}

fn footer(status: &Snapshot) -> String {
    let mut text = String::new();
    for line in &status.lines {
        text.push_str(&format!("line {} {:.1} % used   ", line.name, line.load_pct));
    }
    for device in status.devices.iter().filter(|device| device.state == DeviceState::Quarantined) {
        text.push_str(&format!("{} {}   ", device.name, state_word(device.state)));
    }
    for upstream in &status.upstreams {
        text.push_str(&format!(
            "\n{}: {} delivered, backlog {}",
            upstream.name, upstream.delivered, upstream.pending
        ));
    }
    text
}
