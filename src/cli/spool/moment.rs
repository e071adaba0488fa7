//! A moment on the command line: milliseconds since 1970 UTC, or a date with or without a time, in UTC.

const DAY: i64 = 86_400_000;

/// `1763766000000`, `2026-11-25`, `2026-11-25T10:00`, `2026-11-25T10:00:00.250Z`.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>()
        && text.len() != 4
    {
        return Ok(ms);
    }
    read(text).ok_or_else(|| {
        "a moment is YYYY-MM-DD or YYYY-MM-DDThh:mm[:ss[.fff]]Z in UTC, or milliseconds since 1970".to_owned()
    })
}

fn read(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut date = date.splitn(3, '-').map(|part| number(part, &[2, 4]));
    let days = days(date.next()??, date.next()??, date.next()??)?;
    let mut time = time.splitn(3, ':');
    let (hours, minutes) = (number(time.next()?, &[2])?, number(time.next()?, &[2])?);
    let ms = time.next().map_or(Some(0), milliseconds)?;
    (hours < 24 && minutes < 60 && ms < 61_000)
        .then_some(days * DAY + hours * 3_600_000 + minutes * 60_000 + ms)
}

/// Seconds with or without decimals.
fn milliseconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let thousandths = number(&format!("{fraction:0<3.3}"), &[3])?;
    Some(number(whole, &[2])? * 1000 + thousandths)
}

fn number(text: &str, lengths: &[usize]) -> Option<i64> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit()) && lengths.contains(&text.len());
    digits.then(|| text.parse().ok())?
}

/// Days from 1970-01-01 to this date of the Gregorian calendar; `None` where there is no such date.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month - 1).ok()?;
    if year < 1600 || day < 1 || day > *lengths.get(month)? {
        return None;
    }
    let before = year - 1;
    let to_year = before * 365 + before / 4 - before / 100 + before / 400;
    Some(to_year - 719_162 + lengths[..month].iter().sum::<i64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_utc() {
        for (text, ms) in [
            ("1763766000000", 1_763_766_000_000),
            ("1970-01-01", 0),
            ("2025-11-21T23:00:00Z", 1_763_766_000_000),
            ("2025-11-21 23:00", 1_763_766_000_000),
            ("2024-02-29T00:00:00.25Z", 1_709_164_800_250),
            ("1969-12-31T23:59:59", -1000),
            ("2100-03-01", 4_107_542_400_000),
        ] {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-1-1",
            "2026-01-01T25:00",
            "2026-01-01T10",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
