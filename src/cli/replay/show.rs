//! An exchange as a reading: for people, and as JSON in the shape of the payloads.

use crate::bus::capture::{Contents, Exchange, Source};
use crate::bus::transact::Outcome;
use crate::bus::{Block, Field, Scan, function_of};
use crate::cli::{exact, quoted, shown};
use crate::model::{Bad, Name, Reading, Timestamp};
use crate::normalize;
use crate::profile::Profile;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The points whose registers the question covers whole, with their values or the reason why not.
pub(super) fn reading(profile: &Arc<Profile>, exchange: &Exchange) -> Reading {
    let block = Block { request: exchange.request, points: covered(profile, exchange) };
    let octets = |index: usize| match &exchange.outcome {
        Outcome::Data(data) => {
            let point = profile.points.get(index);
            point.and_then(|point| block.octets_of(point, data)).ok_or(Bad::Garbled)
        }
        Outcome::Exception(code) => Err(Bad::Exception(*code)),
        Outcome::NoReply => Err(Bad::NoReply),
        Outcome::Garbled { .. } => Err(Bad::Garbled),
        Outcome::TwoAnswers => Err(Bad::TwoAnswers),
    };
    let fields = block.points.iter().map(|index| Field { point: *index, octets: octets(*index) }).collect();
    let scan = Scan {
        device: Name::from_host(&exchange.unit.to_string()),
        profile: Arc::clone(profile),
        ts: Timestamp(exchange.at.div_euclid(1_000_000)),
        took: Duration::ZERO,
        fields,
    };
    normalize::reading(&scan, false)
}

fn covered(profile: &Profile, exchange: &Exchange) -> Vec<usize> {
    let request = exchange.request;
    let (first, last) =
        (u32::from(request.address()), u32::from(request.address()) + u32::from(request.count()));
    let points = profile.points.iter().enumerate().filter(|(_, point)| {
        let (from, to) =
            (u32::from(point.address), u32::from(point.address) + u32::from(point.format.count()));
        function_of(point.table) == request.function() && from >= first && to <= last
    });
    points.map(|(index, _)| index).collect()
}

/// `{"line","device","ts","values","bad"}`, digit by digit.
pub(super) fn json(source: &Source, reading: &Reading) -> String {
    let mut text = format!(
        "{{\"line\":{},\"device\":{},\"ts\":{},\"values\":{{",
        quoted(&source.name),
        quoted(reading.device.as_str()),
        reading.ts.0
    );
    let good = reading.samples.iter().filter_map(|(name, sample)| Some((name, sample.as_ref().ok()?)));
    let good: Vec<String> =
        good.map(|(name, value)| format!("{}:{}", quoted(name.as_str()), exact(value))).collect();
    let bad = reading.samples.iter().filter_map(|(name, sample)| Some((name, sample.as_ref().err()?)));
    let bad: Vec<String> = bad.map(|(name, bad)| format!("{}:\"{bad}\"", quoted(name.as_str()))).collect();
    text.push_str(&good.join(","));
    text.push('}');
    if !bad.is_empty() {
        let _ = write!(text, ",\"bad\":{{{}}}", bad.join(","));
    }
    text.push('}');
    text
}

/// One line: when, on which line, whom, what was asked, and what came.
pub(super) fn text(source: &Source, exchange: &Exchange, profile: &Profile, reading: &Reading) -> String {
    let request = exchange.request;
    let mut text = format!(
        "{}  {}  unit {}  {} {}+{}  ",
        utc(exchange.at),
        source.name,
        exchange.unit,
        table(exchange),
        request.address(),
        request.count()
    );
    let bad = match &exchange.outcome {
        Outcome::Data(data) if reading.samples.is_empty() => {
            text.push_str(&hexadecimal(data));
            return text;
        }
        Outcome::Data(_) => {
            text.push_str(&values(profile, reading));
            return text;
        }
        Outcome::Exception(code) => Bad::Exception(*code),
        Outcome::NoReply => Bad::NoReply,
        Outcome::Garbled { .. } => Bad::Garbled,
        Outcome::TwoAnswers => Bad::TwoAnswers,
    };
    let _ = write!(text, "({bad})");
    text
}

fn values(profile: &Profile, reading: &Reading) -> String {
    let unit = |name: &Name| {
        let point = profile.points.iter().find(|point| point.name == *name);
        // A number without a dimension has the unit 1.
        point.filter(|point| point.unit != "1").map_or_else(String::new, |point| point.unit.clone())
    };
    let each = reading.samples.iter().map(|(name, sample)| match sample {
        Ok(_) => format!("{name} {} {}", shown(sample), unit(name)).trim_end().to_owned(),
        Err(_) => format!("{name} {}", shown(sample)),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The table's word, as profiles and transcripts have it.
pub(super) fn table(exchange: &Exchange) -> &'static str {
    use crate::modbus::ReadFunction as F;
    match exchange.request.function() {
        F::Coils => "coil",
        F::DiscreteInputs => "discrete",
        F::HoldingRegisters => "holding",
        F::InputRegisters => "input",
    }
}

pub(super) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(" ")
}

/// What else there was in a capture, and what is missing from it.
pub(super) fn oddities(file: &Path, contents: &Contents) -> Vec<String> {
    let (file, tally) = (file.display(), &contents.tally);
    let counters = &tally.counters;
    let noise = counters.noise_octets + counters.unsolicited_octets;
    let counted = [
        (counters.crc_errors, "answers with a wrong checksum"),
        (counters.short_frames, "answers that broke off"),
        (noise, "octets that belong to no frame"),
        (counters.echoes, "questions heard again (the adapter's echo)"),
        (counters.foreign_frames + tally.unasked, "frames that nobody had asked for"),
        (tally.in_doubt, "answers not believed, since they could be late ones to another question"),
        (tally.other_requests, "frames sent that are no question to read"),
        (contents.without_modbus, "packets without Modbus"),
        (contents.lost, "pieces missing, because the capture could not be written fast enough"),
    ];
    let mut lines: Vec<String> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{file}: {what}: {count}"))
        .collect();
    if let Some(offset) = contents.cut_off_at {
        lines.push(format!("{file}: octet {offset}: the file ends within a block"));
    }
    lines
}

/// `2025-11-21 23:00:00.020123`, UTC.
fn utc(nanos: i64) -> String {
    let (seconds, micros) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000) / 1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// Year, month, day of so many days after 1970-01-01, in the Gregorian calendar. The year is reckoned from
/// March on, so that the leap day is its last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let next = i64::from(month >= 10);
    (era * 400 + year + next, month + 3 - 12 * next, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_a_date_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00.000000");
        assert_eq!(utc(-1000), "1969-12-31 23:59:59.999999");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29 00:00:00.000000");
        assert_eq!(utc(1_763_766_000_020_123_000), "2025-11-21 23:00:00.020123");
        assert_eq!(utc(4_107_542_399_999_999_000), "2100-02-28 23:59:59.999999");
        assert_eq!(utc(4_107_542_400_000_000_000), "2100-03-01 00:00:00.000000");
    }
}
