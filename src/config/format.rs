//! The table of the configuration's keys: what the reader checks and what the JSON Schema says.

mod broker;
mod databases;
mod encoding;
mod less;
mod presets;
mod uplinks;
mod upstreams;
mod webs;

use super::devices::UNIT_ID;
use super::endpoints::{ADDRESS, LISTEN};
use crate::profile::format::{BAUD, EVERY, PARITIES};
use crate::profile::yaml::scalar::{DECIMAL, DURATION, NAME, SIZE, TEXT};
use crate::profile::yaml::table::{Key, Kind, Table, Word};
use uplinks::UPLINK;
use upstreams::UPSTREAM;

/// A thousand lines of a thousand devices: beyond that something else is wrong.
const MOST: usize = 1000;

/// The whole configuration file.
pub static CONFIG: Table = Table {
    what: "the configuration",
    doc: "Which meters are read over which lines, and where their readings go.",
    keys: &[
        Key::new("gateway", Kind::Table(&GATEWAY), "who this gateway is"),
        Key::new(
            "lines",
            Kind::List { of: &Kind::Table(&LINE), least: 1, most: MOST },
            "serial ports and TCP endpoints with the devices on them",
        )
        .required(),
        Key::new(
            "units",
            Kind::Named { what: "quantities", of: &Kind::Scalar(&TEXT) },
            "the unit that readings of a quantity leave in, where it is not the canonical one: { active-energy: Wh }",
        ).example(r#"{"active-energy":"Wh"}"#),
        Key::new("spool", Kind::Table(&SPOOL), "where readings wait until they are delivered"),
        Key::new(
            "upstreams",
            Kind::List { of: &Kind::Table(&UPSTREAM), least: 0, most: 16 },
            "where readings go",
        ),
        Key::new(
            "uplinks",
            Kind::List { of: &Kind::Table(&UPLINK), least: 1, most: 8 },
            "network paths to the far ends, in order of preference; the system's default route unless given",
        ),
        Key::new("http", Kind::Table(&HTTP), "health, metrics and status over HTTP; no key, no listener"),
        Key::new("clock", Kind::Table(&CLOCK), "when the wall clock is taken for right"),
    ],
    exactly_one: &[],
};

static GATEWAY: Table = Table {
    what: "`gateway`",
    doc: "Who this gateway is.",
    keys: &[Key::new(
        "id",
        Kind::Scalar(&NAME),
        "its name in topics and payloads; the host's name unless given",
    )
    .example(r#""plant-7""#)],
    exactly_one: &[],
};

static LINE: Table = Table {
    what: "a line",
    doc: "One serial port or TCP endpoint: one conversation at a time.",
    keys: &[
        Key::new("name", Kind::Scalar(&NAME), "the line's name").example(r#""rs485-1""#).required(),
        Key::new("serial", Kind::Table(&SERIAL), "an RS-485 or RS-232 port"),
        Key::new("tcp", Kind::Table(&TCP), "a Modbus TCP endpoint"),
        Key::new("rtu_over_tcp", Kind::Table(&RTU_OVER_TCP), "RTU frames through a serial device server"),
        Key::new(
            "every",
            Kind::Scalar(&EVERY),
            "how often points are read that say nothing themselves; 10s unless given",
        ),
        Key::new(
            "max_probe",
            Kind::Scalar(&DURATION),
            "a silent device is looked for at least this often, 1s to 1h; 25s unless given",
        )
        .example(r#""25s""#),
        Key::new(
            "devices",
            Kind::List { of: &Kind::Table(&DEVICE), least: 1, most: MOST },
            "the meters on this line",
        )
        .required(),
    ],
    exactly_one: &[&["serial", "tcp", "rtu_over_tcp"]],
};

static SERIAL: Table = Table {
    what: "`serial`",
    doc: "An RS-485 or RS-232 port.",
    keys: &[
        Key::new(
            "port",
            Kind::Scalar(&TEXT),
            "the device file, best by its stable name (/dev/serial/by-id/…)",
        )
        .example(r#""/dev/serial/by-id/usb-FTDI_x-if00-port0""#)
        .required(),
        Key::new("baud", BAUD, "bits per second; 9600 unless given").example(r#"9600"#),
        Key::new(
            "data_bits",
            Kind::Whole { least: 7, most: 8 },
            "data bits; 8 unless given, 7 only with ASCII framing",
        )
        .example(r#"8"#),
        Key::new("parity", Kind::Word(PARITIES), "parity; none unless given"),
        Key::new("stop_bits", Kind::Whole { least: 1, most: 2 }, "stop bits; 1 unless given"),
        Key::new("framing", Kind::Word(FRAMINGS), "how frames are told apart; rtu unless given"),
        Key::new(
            "rs485",
            Kind::Table(&RS485),
            "who turns the transmitter on and off; leave it out where the adapter does, as most USB ones do",
        ),
        Key::new(
            "low_latency",
            Kind::Word(LOW_LATENCIES),
            "whether the driver is asked to hand octets on at once; auto unless given",
        ),
    ],
    exactly_one: &[],
};

static RS485: Table = Table {
    what: "`rs485`",
    doc: "How an RS-485 transmitter is turned on and off.",
    keys: &[
        Key::new("mode", Kind::Word(RS485_MODES), "kernel: the driver does it; rts: linesman does")
            .required(),
        Key::new("rts_on_send", Kind::Flag, "RTS is asserted while sending; true unless given"),
        Key::new(
            "delay_before",
            Kind::Scalar(&DURATION),
            "from turning on to the first bit, up to 100ms; 0ms unless given",
        )
        .example(r#""1ms""#),
        Key::new(
            "delay_after",
            Kind::Scalar(&DURATION),
            "from the last bit to turning off, up to 100ms; 0ms unless given",
        )
        .example(r#""1ms""#),
        Key::new(
            "rx_during_tx",
            Kind::Flag,
            "the receiver hears what is sent, with `mode: kernel`; false unless given",
        ),
    ],
    exactly_one: &[],
};

static RS485_MODES: &[Word] = &[
    Word::new("kernel", "the driver, exactly (TIOCSRS485)"),
    Word::new("rts", "linesman, by the RTS line, where the driver can not"),
];

static LOW_LATENCIES: &[Word] = &[
    Word::new("auto", "where the driver lets us"),
    Word::new("on", "or the port is not opened"),
    Word::new("off", "the driver is left as it is"),
];

static FRAMINGS: &[Word] =
    &[Word::new("rtu", "by silence, with a CRC"), Word::new("ascii", "by characters, with an LRC")];

static TCP: Table = Table {
    what: "`tcp`",
    doc: "A Modbus TCP endpoint.",
    keys: &[
        Key::new("address", Kind::Scalar(&ADDRESS), "host and port; port 502 unless given").required(),
        Key::new(
            "in_flight",
            Kind::Whole { least: 1, most: 16 },
            "questions that may be under way at once; 1 unless given",
        )
        .example(r#"4"#),
    ],
    exactly_one: &[],
};

static RTU_OVER_TCP: Table = Table {
    what: "`rtu_over_tcp`",
    doc: "A serial device server that passes RTU frames through.",
    keys: &[Key::new("address", Kind::Scalar(&ADDRESS), "host and port; port 502 unless given").required()],
    exactly_one: &[],
};

static DEVICE: Table = Table {
    what: "a device",
    doc: "One installed meter.",
    keys: &[
        Key::new("name", Kind::Scalar(&NAME), "its name in topics and payloads; unique in this gateway")
            .required(),
        Key::new(
            "profile",
            Kind::Scalar(&TEXT),
            "a profile by name, or by path (with / or ending in .yaml); `sunspec` finds the points in the device",
        )
        .example(r#""eastron-sdm630""#)
        .required(),
        Key::new(
            "unit",
            Kind::Scalar(&UNIT_ID),
            "Modbus unit id, 1 to 247 (on TCP also 255: the endpoint itself)",
        )
        .required(),
        Key::new("every", Kind::Scalar(&EVERY), "how often it is read"),
        Key::new("enabled", Kind::Flag, "false: known, but not asked; true unless given"),
        Key::new(
            "timeout",
            Kind::Scalar(&DURATION),
            "longest wait for a reply; the profile's, or 1s unless given",
        ),
        Key::new(
            "min_timeout",
            Kind::Scalar(&DURATION),
            "shortest wait for a reply, which adapts to the device; the profile's, or 75ms unless given",
        ),
        Key::new(
            "retries",
            Kind::Whole { least: 0, most: 10 },
            "how often a damaged answer is asked for again; 2 unless given",
        ).example(r#"2"#),
        Key::new(
            "min_gap",
            Kind::Scalar(&DURATION),
            "silence before the next request; at least the profile's",
        ),
        Key::new(
            "points",
            Kind::Named { what: "points of the profile", of: &Kind::Table(&DEVICE_POINT) },
            "what is different for single points",
        ).example(r#"{"energy_import":{"every":"60s"}}"#),
        Key::new(
            "identity",
            Kind::Scalar(&TEXT),
            "when another meter answers than the one that was known: `hold` its values (unless given), `accept` it, or \
             the serial number of the one that is meant",
        ).example(r#""hold""#),
        Key::new(
            "parameters",
            Kind::Named { what: "parameters of the profile", of: &Kind::Scalar(&DECIMAL) },
            "what the installation adds and the meter does not say: { ct_ratio: 40 }",
        ).example(r#"{"ct_ratio":40}"#),
    ],
    exactly_one: &[],
};

static DEVICE_POINT: Table = Table {
    what: "a device's point",
    doc: "What is different for one point of this device.",
    keys: &[Key::new("every", Kind::Scalar(&EVERY), "how often it is read").example(r#""60s""#)],
    exactly_one: &[],
};

static SPOOL: Table = Table {
    what: "`spool`",
    doc: "Where readings wait until they are delivered.",
    keys: &[
        Key::new("dir", Kind::Scalar(&TEXT), "its folder; /var/lib/linesman/spool unless given")
            .example(r#""/var/lib/linesman/spool""#),
        Key::new("max_size", Kind::Scalar(&SIZE), "most room on disk; 1GiB unless given"),
        Key::new("max_age", Kind::Scalar(&DURATION), "older readings are dropped; 30d unless given")
            .example(r#""30d""#),
        Key::new(
            "commit_every",
            Kind::Scalar(&DURATION),
            "how often it is made durable, 1s to 60s; 5s unless given",
        )
        .example(r#""5s""#),
        Key::new("when_full", Kind::Word(WHEN_FULL), "what gives way; drop-oldest unless given"),
    ],
    exactly_one: &[],
};

static WHEN_FULL: &[Word] = &[
    Word::new("drop-oldest", "the oldest readings are dropped, counted and announced"),
    Word::new(
        "refuse-new",
        "what an upstream still needs stays; new readings are dropped, counted and announced",
    ),
];

static HTTP: Table = Table {
    what: "`http`",
    doc: "Health, metrics and status over HTTP.",
    keys: &[Key::new("listen", Kind::Scalar(&LISTEN), "address and port, such as 127.0.0.1:8580").required()],
    exactly_one: &[],
};

static CLOCK: Table = Table {
    what: "`clock`",
    doc: "When the wall clock is taken for right. Until then readings are marked, and dated when it is.",
    keys: &[
        Key::new("trust", Kind::Word(TRUSTS), "synchronized unless given"),
        Key::new(
            "sync_file",
            Kind::Scalar(&TEXT),
            "a file that is there once the clock is right; the system is asked unless given",
        )
        .example(r#""/run/gps/fix""#),
    ],
    exactly_one: &[],
};

static TRUSTS: &[Word] = &[
    Word::new("synchronized", "when the system says that it was set by a time server"),
    Word::new("always", "always: somebody sets it by hand, or a battery keeps it"),
];
