//! What can go wrong on a simulated line, and how people write it.

use std::str::FromStr;
use std::time::Duration;

/// How faults are written: for help and for messages.
pub const WORDS: &str = "\
crc=P (wrong checksum), drop=P (no reply), noise=P (octets before the reply), garble=P (every octet of the reply \
another, as at a wrong baud rate), short=P (half a reply), foreign=P (another unit's reply comes first), stale \
(the previous reply comes first again), twin (a second meter of the same unit id answers too), nameless (says not \
who it is), late=MS (later than usual), turnaround=MS (instead of the usual one), jitter=MS (up to so much later by chance), strict (requests \
less than 3.5 characters after the last octet are ignored), exception=N@ADDRESS or N@FROM-TO, dead or dead@FROM-TO \
(seconds), each with UNIT: before it for one unit only; echo (the adapter hears itself), babble@FROM-TO (seconds of \
random octets without a pause), master (another one asks unit 1 every 500 ms); P is 0 to 1";

/// One fault, of one unit or of all.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub unit: Option<u8>,
    pub kind: Kind,
}

/// Whole seconds since the start: from, and up to.
pub type Seconds = (u64, u64);

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The reply's checksum is wrong, with this probability.
    Crc(f64),
    /// No reply, with this probability.
    Drop(f64),
    /// The reply comes so much later.
    Late(Duration),
    /// From the request's last octet to the reply's first, instead of the line's.
    Turnaround(Duration),
    /// The reply comes up to so much later, each time by chance.
    Jitter(Duration),
    /// The adapter hears itself: the request comes back while it is sent.
    Echo,
    /// Random octets before the reply, with this probability.
    Noise(f64),
    /// Every octet of the reply is another one, with this probability.
    Garble(f64),
    /// Half of the reply is missing, with this probability.
    Short(f64),
    /// A valid reply of another unit comes before the right one, with this probability.
    Foreign(f64),
    /// The reply to this unit's previous question comes again before the right one.
    Stale,
    /// A second meter with the same unit id and other values answers right after the first.
    Twin,
    /// Says not who it is: functions 17 and 43 are refused with exception 01.
    Nameless,
    /// A request that begins less than 3.5 characters after the last octet is ignored.
    Strict,
    /// Somebody else asks unit 1 for two registers, every 500 ms.
    Master,
    /// Random octets without a pause.
    Babble(Seconds),
    /// A read that touches one of these addresses is refused.
    Exception { code: u8, first: u16, last: u16 },
    /// Silent for ever, or for a time.
    Dead(Option<Seconds>),
}

impl Kind {
    /// Of the line as a whole, not of a meter.
    const fn is_of_the_line(&self) -> bool {
        matches!(self, Kind::Echo | Kind::Babble(_) | Kind::Master)
    }

    /// Only where octets take their time on a wire.
    const fn needs_a_wire(&self) -> bool {
        self.is_of_the_line() || matches!(self, Kind::Strict)
    }

    /// Only where frames have a checksum and can be damaged.
    const fn needs_a_checksum(&self) -> bool {
        matches!(self, Kind::Crc(_) | Kind::Noise(_) | Kind::Garble(_) | Kind::Short(_))
    }
}

impl Fault {
    /// Cannot happen on Modbus TCP, whose frames are numbered and whole.
    pub const fn not_on_modbus_tcp(&self) -> bool {
        self.kind.needs_a_wire() || self.kind.needs_a_checksum()
    }

    /// Cannot happen where serial frames travel over TCP.
    pub const fn not_without_a_wire(&self) -> bool {
        self.kind.needs_a_wire()
    }
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no fault: {WORDS}")]
pub struct FaultError {
    found: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Fault, FaultError> {
        let fault = match text.split_once(':') {
            Some((unit, rest)) => unit.parse().ok().zip(kind(rest)).map(|(unit, kind)| (Some(unit), kind)),
            None => kind(text).map(|kind| (None, kind)),
        };
        match fault {
            Some((unit, kind)) if unit.is_none() || !kind.is_of_the_line() => Ok(Fault { unit, kind }),
            Some(_) | None => Err(FaultError { found: text.to_owned() }),
        }
    }
}

fn kind(text: &str) -> Option<Kind> {
    if let Some((name, value)) = text.split_once('=') {
        return with_value(name, value);
    }
    if let Some((name, span)) = text.split_once('@') {
        return match name {
            "dead" => Some(Kind::Dead(Some(range(span)?))),
            "babble" => Some(Kind::Babble(range(span)?)),
            _ => None,
        };
    }
    match text {
        "echo" => Some(Kind::Echo),
        "stale" => Some(Kind::Stale),
        "twin" => Some(Kind::Twin),
        "nameless" => Some(Kind::Nameless),
        "strict" => Some(Kind::Strict),
        "master" => Some(Kind::Master),
        "dead" => Some(Kind::Dead(None)),
        _ => None,
    }
}

fn with_value(name: &str, value: &str) -> Option<Kind> {
    let chance = || value.parse().ok().filter(|p| (0.0..=1.0).contains(p));
    let span = || value.parse().ok().map(Duration::from_millis);
    match name {
        "crc" => chance().map(Kind::Crc),
        "drop" => chance().map(Kind::Drop),
        "noise" => chance().map(Kind::Noise),
        "garble" => chance().map(Kind::Garble),
        "short" => chance().map(Kind::Short),
        "foreign" => chance().map(Kind::Foreign),
        "late" => span().map(Kind::Late),
        "turnaround" => span().map(Kind::Turnaround),
        "jitter" => span().map(Kind::Jitter),
        "exception" => {
            let (code, at) = value.split_once('@')?;
            let (first, last) = range(at).or_else(|| at.parse().ok().map(|address| (address, address)))?;
            Some(Kind::Exception { code: code.parse().ok()?, first, last })
        }
        _ => None,
    }
}

/// `FROM-TO`, in this order.
fn range<N: FromStr + PartialOrd>(text: &str) -> Option<(N, N)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_the_help_says() {
        let parse = |text: &str| text.parse::<Fault>().map(|fault| (fault.unit, fault.kind));
        let ms = Duration::from_millis;
        let exception = |code, first, last| Kind::Exception { code, first, last };
        for (text, unit, kind) in [
            ("crc=0.1", None, Kind::Crc(0.1)),
            ("3:dead@5-9", Some(3), Kind::Dead(Some((5, 9)))),
            ("exception=2@100", None, exception(2, 100, 100)),
            ("7:exception=2@100-109", Some(7), exception(2, 100, 109)),
            ("late=250", None, Kind::Late(ms(250))),
            ("2:turnaround=80", Some(2), Kind::Turnaround(ms(80))),
            ("jitter=5", None, Kind::Jitter(ms(5))),
            ("garble=1", None, Kind::Garble(1.0)),
            ("4:short=0.5", Some(4), Kind::Short(0.5)),
            ("foreign=0.2", None, Kind::Foreign(0.2)),
            ("1:stale", Some(1), Kind::Stale),
            ("9:twin", Some(9), Kind::Twin),
            ("2:nameless", Some(2), Kind::Nameless),
            ("strict", None, Kind::Strict),
            ("master", None, Kind::Master),
            ("babble@2-4", None, Kind::Babble((2, 4))),
            ("echo", None, Kind::Echo),
        ] {
            assert_eq!(parse(text), Ok((unit, kind)), "{text}");
        }
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for wrong in [
            "crc",
            "crc=2",
            "dead@5",
            "dead@9-5",
            "x:dead",
            "echo=1",
            "3:echo",
            "1:babble@0-1",
            "2:master",
            "babble",
            "exception=2",
            "exception=2@9-5",
            "exception=2@70000",
            "late@5-6",
            "",
        ] {
            let said = wrong.parse::<Fault>().unwrap_err().to_string();
            assert!(said.contains("is no fault: crc=P"), "{wrong}: {said}");
        }
    }

    #[test]
    fn every_fault_is_in_the_words_that_people_are_shown() {
        for name in [
            "crc=P",
            "drop=P",
            "noise=P",
            "garble=P",
            "short=P",
            "foreign=P",
            "stale",
            "twin",
            "late=MS",
            "turnaround=MS",
            "jitter=MS",
            "nameless",
            "strict",
            "exception=N@ADDRESS",
            "dead@FROM-TO",
            "echo",
            "babble@FROM-TO",
            "master",
        ] {
            assert!(WORDS.contains(name), "{name}");
        }
    }
}
