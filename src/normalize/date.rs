//! Dates and times of day as meters write them → `2026-03-01T12:30:05`, ISO 8601.
//!
//! A meter's clock has no time zone, so none is written; only seconds since 1970 are UTC and end in `Z`.
//! What is no date (the month 0 or 13, all ones) is `invalid`: it is how a meter says that its clock is not set.
//! A leap second, the second 60 of a minute 59, is written as the second before it: few who read dates know of one.

use super::decode::bcd;
use crate::model::Bad;
use crate::profile::DateForm;

/// Two digits of a year, or seven bits of one, count from here.
const CENTURY: u16 = 2000;

struct Moment {
    year: u16,
    month: u16,
    day: u16,
    hour: u16,
    minute: u16,
    second: u16,
    milli: u16,
}

/// The octets in reading order.
pub(super) fn text(form: DateForm, octets: &[u8]) -> Result<String, Bad> {
    let registers: Vec<u16> =
        octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let moment = match (form, registers.as_slice()) {
        (DateForm::Unix, [high, low]) => return unix(u32::from(*high) << 16 | u32::from(*low)),
        (DateForm::Iec, [year, day, hour, milli]) => Moment {
            year: CENTURY + (year & 0x7F),
            month: (day >> 8) & 0xF,
            day: day & 0x1F,
            hour: (hour >> 8) & 0x1F,
            minute: hour & 0x3F,
            second: milli / 1000,
            milli: milli % 1000,
        },
        (DateForm::Cp56, _) => cp56(octets).ok_or(Bad::Garbled)?,
        (DateForm::Bcd, _) => packed(octets)?,
        (DateForm::Fields, [year, month, day, hour, minute, second]) => Moment {
            year: if *year < 100 { CENTURY + year } else { *year },
            month: *month,
            day: *day,
            hour: *hour,
            minute: *minute,
            second: *second,
            milli: 0,
        },
        (DateForm::Unix | DateForm::Iec | DateForm::Fields, _) => return Err(Bad::Garbled),
    };
    written(&moment).ok_or(Bad::Invalid)
}

fn cp56(octets: &[u8]) -> Option<Moment> {
    let [low, high, minute, hour, day, month, year, ..] = *octets else { return None };
    let milli = u16::from_be_bytes([high, low]);
    Some(Moment {
        year: CENTURY + u16::from(year & 0x7F),
        month: u16::from(month & 0xF),
        day: u16::from(day & 0x1F),
        hour: u16::from(hour & 0x1F),
        minute: u16::from(minute & 0x3F),
        second: milli / 1000,
        milli: milli % 1000,
    })
}

fn packed(octets: &[u8]) -> Result<Moment, Bad> {
    let digits = |n: usize| {
        let octet = octets.get(n).copied().ok_or(Bad::Garbled)?;
        let value = bcd(u64::from(octet), 2).map_err(|_| Bad::Invalid)?;
        u16::try_from(value).map_err(|_| Bad::Garbled)
    };
    Ok(Moment {
        year: CENTURY + digits(0)?,
        month: digits(1)?,
        day: digits(2)?,
        hour: digits(3)?,
        minute: digits(4)?,
        second: digits(5)?,
        milli: 0,
    })
}

fn unix(seconds: u32) -> Result<String, Bad> {
    if matches!(seconds, 0 | u32::MAX) {
        return Err(Bad::Invalid);
    }
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// The Gregorian date of a day after 1970-01-01.
fn civil(mut days: u32) -> (u32, u32, u32) {
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    while days >= days_of(year, month) {
        days -= days_of(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn written(m: &Moment) -> Option<String> {
    let days = days_of(u32::from(m.year), u32::from(m.month));
    let is_date = (1..=12).contains(&m.month) && m.day >= 1 && u32::from(m.day) <= days;
    let is_leap_second = m.minute == 59 && m.second == 60;
    let is_time = m.hour < 24 && m.minute < 60 && (m.second < 60 || is_leap_second);
    let is_year = (1970..=9999).contains(&m.year);
    if !(is_date && is_time && is_year) {
        return None;
    }
    let milli = if m.milli == 0 || is_leap_second { String::new() } else { format!(".{:03}", m.milli) };
    Some(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{milli}",
        m.year,
        m.month,
        m.day,
        m.hour,
        m.minute,
        m.second.min(59)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_second_is_the_second_before_it_and_no_other_second_sixty_is_a_time() {
        let fields = |hour: u8, minute: u8, second: u8| {
            let registers = [2016, 12, 31, u16::from(hour), u16::from(minute), u16::from(second)];
            let octets: Vec<u8> = registers.into_iter().flat_map(u16::to_be_bytes).collect();
            text(DateForm::Fields, &octets)
        };
        assert_eq!(fields(23, 59, 60).as_deref(), Ok("2016-12-31T23:59:59"));
        // A zone that is not UTC has it in the middle of the day.
        assert_eq!(fields(0, 59, 60).as_deref(), Ok("2016-12-31T00:59:59"));
        assert_eq!(fields(23, 58, 60), Err(Bad::Invalid));
        assert_eq!(fields(23, 59, 61), Err(Bad::Invalid));
        // Sixty seconds and a quarter, in milliseconds.
        let cp56 = [0x5A, 0xEB, 59, 23, 31, 12, 16];
        assert_eq!(text(DateForm::Cp56, &cp56).as_deref(), Ok("2016-12-31T23:59:59"));
    }
}
