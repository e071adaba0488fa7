//! Why a value is not there: every absence has a reason.

/// The reason a point has no good value. Its [`word`](Bad::word) is what payloads and pages show.
///
/// The list is open to the outside (a consumer must accept words it does not know), closed inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bad {
    /// Nothing came, or nothing that could be the answer, within the time allowed.
    NoReply,
    /// The device refused, with this Modbus exception code (Application Protocol V1.1b3, section 7).
    Exception(u8),
    /// Octets came, but no valid frame: checksum, length or function did not fit.
    Garbled,
    /// A sentinel: the meter itself says that it has no value here.
    Invalid,
    /// Outside what the profile says the meter can measure, or not a code it lists.
    OutOfRange,
    /// The device is in quarantine after silence; it was not asked this time.
    DeviceLost,
    /// The port is gone or the connection is down.
    LineDown,
    /// The driver of the port hangs.
    LineStuck,
    /// Another meter answers under this unit id than was commissioned.
    Identity,
    /// The meter repeats an old value.
    Stale,
    /// Not read yet since the start.
    NotYet,
    /// Two devices answered under one unit id, and not the same.
    TwoAnswers,
    /// Another point that scales, signs or completes this one, or names its unit, is bad or missing.
    Factor,
    /// The meter says that its sensor is missing, broken or short.
    SensorFault,
    /// A counter that only rises is below what it was; not believed unless it stays there.
    CounterFell,
}

impl Bad {
    /// Every reason but the exceptions, each of which has a code beside its number.
    pub const PLAIN: [Bad; 14] = [
        Bad::NoReply,
        Bad::Garbled,
        Bad::Invalid,
        Bad::OutOfRange,
        Bad::DeviceLost,
        Bad::LineDown,
        Bad::LineStuck,
        Bad::Identity,
        Bad::Stale,
        Bad::NotYet,
        Bad::TwoAnswers,
        Bad::Factor,
        Bad::SensorFault,
        Bad::CounterFell,
    ];

    /// Its number in formats that outlive a release, records at rest and compact batches: never changed, never given again.
    /// When this does not compile, a reason is new: it needs the next number here, a place in `PLAIN`, and a row in
    /// `docs/batch.proto` and `docs/batch.py`.
    pub const fn number(self) -> u8 {
        match self {
            Bad::NoReply => 16,
            Bad::Exception(_) => 17,
            Bad::Garbled => 18,
            Bad::Invalid => 19,
            Bad::OutOfRange => 20,
            Bad::DeviceLost => 21,
            Bad::LineDown => 22,
            Bad::LineStuck => 23,
            Bad::Identity => 24,
            Bad::Stale => 25,
            Bad::NotYet => 26,
            Bad::TwoAnswers => 27,
            Bad::Factor => 28,
            Bad::SensorFault => 29,
            Bad::CounterFell => 30,
        }
    }

    /// The reason of that number; none for an exception's, nor for a later version's.
    pub fn of_number(number: u8) -> Option<Bad> {
        Bad::PLAIN.into_iter().find(|bad| bad.number() == number)
    }

    /// The word of the contract: `no-reply`, `exception-2`, …
    pub fn word(self) -> std::borrow::Cow<'static, str> {
        match self {
            Bad::NoReply => "no-reply".into(),
            Bad::Exception(code) => format!("exception-{code}").into(),
            Bad::Garbled => "garbled".into(),
            Bad::Invalid => "invalid".into(),
            Bad::OutOfRange => "out-of-range".into(),
            Bad::DeviceLost => "device-lost".into(),
            Bad::LineDown => "line-down".into(),
            Bad::LineStuck => "line-stuck".into(),
            Bad::Identity => "identity".into(),
            Bad::Stale => "stale".into(),
            Bad::NotYet => "not-yet".into(),
            Bad::TwoAnswers => "two-answers".into(),
            Bad::Factor => "factor".into(),
            Bad::SensorFault => "sensor-fault".into(),
            Bad::CounterFell => "counter-fell".into(),
        }
    }
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.word())
    }
}
