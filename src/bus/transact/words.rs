//! The words of a conversation: how frames go on this line, how patiently is asked, what came of it.

use crate::bus::overheard::Stray;
use crate::modbus::Framing;
use crate::modbus::rtu::Pace;
use crate::model::Mono;
use std::time::Duration;

/// Octets of one frame may come so far apart: USB adapters deliver every 16 ms, slow meters pause.
const FRAME_GAP: Duration = Duration::from_millis(50);
/// In ASCII frames a second is allowed (Serial Line V1.02, 2.5.2.1); network servers cut frames likewise.
const LOOSE_FRAME_GAP: Duration = Duration::from_millis(250);

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The data of the reply.
    Data(Vec<u8>),
    Exception(u8),
    NoReply,
    /// Octets came, but not the answer; `whole` when they were as many as an answer has, so that
    /// nothing more is on its way and the question may be asked again at once.
    Garbled {
        whole: bool,
    },
    /// Two different answers came: two devices have this unit id.
    TwoAnswers,
}

impl Outcome {
    /// A gateway says that nobody answers behind it: path unavailable, target failed to respond (V1.1b3, 7).
    pub(in crate::bus) fn is_gateways_silence(&self) -> bool {
        matches!(self, Outcome::Exception(10 | 11))
    }
}

/// When what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trace {
    pub sent: Mono,
    pub last_octet_left: Mono,
    /// The answer's first octet; none where nothing came.
    pub first_heard: Option<Mono>,
    pub ended: Mono,
}

/// How patiently a device is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// From our last octet to the reply's first.
    pub timeout: Duration,
    /// The longest that this device may take: so long a late answer is reckoned with.
    pub longest: Duration,
    /// Silence before the request, beyond 3.5 characters.
    pub min_gap: Duration,
}

impl Manners {
    pub fn new(timeout: Duration) -> Manners {
        Manners { timeout, longest: timeout, min_gap: Duration::ZERO }
    }
}

/// How frames go on this line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tempo {
    pub pace: Pace,
    pub framing: Framing,
    /// Between two frames.
    pub silence: Duration,
    /// Octets of one frame may come so far apart.
    pub(super) frame_gap: Duration,
}

impl Tempo {
    pub fn serial(pace: Pace, framing: Framing) -> Tempo {
        match framing {
            Framing::Rtu => Tempo { pace, framing, silence: pace.silence(), frame_gap: FRAME_GAP },
            // Frames have marks of their own; two characters, so that one under way is not run into.
            Framing::Ascii => Tempo { pace, framing, silence: pace.octets(2), frame_gap: LOOSE_FRAME_GAP },
        }
    }

    /// RTU frames through a device server: it keeps the silence on its wire itself, and the network cuts
    /// frames as it likes. How fast its wire is nobody says; as slow as is usual is assumed.
    pub fn rtu_over_tcp() -> Tempo {
        let pace = Pace::new(9600, false, 1);
        Tempo { pace, framing: Framing::Rtu, silence: Duration::ZERO, frame_gap: LOOSE_FRAME_GAP }
    }
}

impl From<Pace> for Tempo {
    fn from(pace: Pace) -> Tempo {
        Tempo::serial(pace, Framing::Rtu)
    }
}

/// What was noticed besides answers: for the diagnosis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Valid frames that belonged to nothing we asked.
    pub strays: Vec<Stray>,
    /// Answers after their time: unit id, and how long they took.
    pub late: Vec<(u8, Duration)>,
    /// A second, different answer of this unit.
    pub second_answer: Option<u8>,
    /// The line would not fall silent.
    pub babble: bool,
    /// Our own frame came back.
    pub echo: bool,
    /// Octets that came while nothing was asked.
    pub idle_octets: u64,
}
