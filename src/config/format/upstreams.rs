//! The words of the configuration: upstreams.

use super::encoding::{BATCH, ENCODINGS, FILE_ENCODINGS};
use crate::config::endpoints::{SPARKPLUG_ID, TOPIC, URL as BROKER_URL};
use crate::profile::yaml::scalar::{DURATION, NAME, SIZE, TEXT};
use crate::profile::yaml::table::{Key, Kind, Table, Word};

pub(super) static UPSTREAM: Table = Table {
    what: "an upstream",
    doc: "A far system that readings are delivered to.",
    keys: &[
        Key::new("name", Kind::Scalar(&NAME), "its name; the spool's cursor hangs on it")
            .example(r#""scada""#)
            .required(),
        Key::new("mqtt", Kind::Table(&MQTT), "an MQTT broker"),
        Key::new("sparkplug", Kind::Table(&SPARKPLUG), "an edge node of Sparkplug B over an MQTT broker"),
        Key::new("file", Kind::Table(&FILE), "lines in a file, JSON or others"),
        Key::new("stdout", Kind::Table(&STDOUT), "JSON lines on standard output"),
        Key::new("order", Kind::Word(ORDERS), "in which order readings leave; live-first unless given"),
        Key::new(
            "history_rate",
            Kind::Whole { least: 1, most: 1_000_000 },
            "most readings a second of the backlog, beside the live ones; as many as go unless given",
        )
        .example(r#"200"#),
    ],
    exactly_one: &[&["mqtt", "sparkplug", "file", "stdout"]],
};

static ORDERS: &[Word] = &[
    Word::new("live-first", "live readings at once, the backlog beside them"),
    Word::new("strict", "oldest first; the way of files and standard output"),
];

// How a broker is reached and who we are there: the same keys wherever MQTT is spoken.
const URL: Key = Key::new(
    "url",
    Kind::Scalar(&BROKER_URL),
    "where it is: mqtt://HOST[:PORT] (1883), or mqtts://HOST[:PORT] for TLS, then 8883 unless given",
)
.example("\"mqtts://broker.example.org\"");
static A_URL: Kind = Kind::Scalar(&BROKER_URL);
const URLS: Key =
    Key::new("urls", Kind::List { of: &A_URL, least: 1, most: 8 }, "several brokers, tried in this order")
        .example("[\"mqtts://first.example.org\", \"mqtts://second.example.org\"]");
const VERSION: Key = Key::new("version", Kind::Word(VERSIONS), "which MQTT is spoken; 3.1.1 unless given");
const USERNAME: Key = Key::new("username", Kind::Scalar(&TEXT), "who logs in").example(r#""plant-7""#);
const PASSWORD_FILE: Key =
    Key::new("password_file", Kind::Scalar(&TEXT), "a file that holds the password and nothing else")
        .example(r#""secrets/mqtt""#);
const PASSWORD_CREDENTIAL: Key = Key::new(
    "password_credential",
    Kind::Scalar(&TEXT),
    "the same from systemd: the name of a LoadCredential= in the unit",
)
.example(r#""mqtt""#);
const CLIENT_ID: Key = Key::new(
    "client_id",
    Kind::Scalar(&TEXT),
    "MQTT client identifier; linesman-{gateway}-{upstream} unless given",
)
.example(r#""plant-7-scada""#);
const KEEP_ALIVE: Key =
    Key::new("keep_alive", Kind::Scalar(&DURATION), "longest silence on the connection; 30s unless given")
        .example(r#""30s""#);
const PASSWORD: Key =
    Key::new("password", Kind::Anything, "").never("secrets never stand in the file; use `password_file`");
const CA_FILE: Key = Key::new(
            "ca_file",
            Kind::Scalar(&TEXT),
            "with mqtts://: who may have signed the broker's certificate (PEM); the system's authorities unless given",
        )
        .example(r#""secrets/ca.pem""#);
const CERT_FILE: Key =
    Key::new("cert_file", Kind::Scalar(&TEXT), "our certificate (PEM), for a broker that asks for one")
        .example(r#""secrets/gateway.pem""#);
const KEY_FILE: Key =
    Key::new("key_file", Kind::Scalar(&TEXT), "the key of `cert_file` (PEM, without a password)")
        .example(r#""secrets/gateway.key""#);
const INSECURE: Key = Key::new(
    "insecure",
    Kind::Flag,
    "true: mqtt:// to another machine, in plain text, is meant so; to this machine it needs no leave",
);

static MQTT: Table = Table {
    what: "`mqtt`",
    doc: "An MQTT broker.",
    keys: &[
        URL,
        URLS,
        Key::new(
            "topic",
            Kind::Scalar(&TOPIC),
            "the levels above all topics; linesman/{gateway} unless given",
        ),
        VERSION,
        Key::new("encoding", Kind::Word(ENCODINGS), "how readings are written; json unless given"),
        Key::new("template", Kind::Scalar(&TEXT), "Jinja, of one reading; with `encoding: template`")
            .example(r#""{{ device }} {{ ts }} {{ values|tojson }}""#),
        Key::new("batch", Kind::Table(&BATCH), "with `encoding: batch`: how often, and tolerances"),
        USERNAME,
        PASSWORD_FILE,
        PASSWORD_CREDENTIAL,
        CLIENT_ID,
        KEEP_ALIVE,
        PASSWORD,
        CA_FILE,
        CERT_FILE,
        KEY_FILE,
        INSECURE,
    ],
    exactly_one: &[&["url", "urls"]],
};

static SPARKPLUG: Table = Table {
    what: "`sparkplug`",
    doc: "An edge node of Sparkplug B 3.0: the gateway is the node, each device a device.",
    keys: &[
        URL,
        URLS,
        Key::new("group", Kind::Scalar(&SPARKPLUG_ID), "the group id; linesman unless given")
            .example(r#""plant-7""#),
        Key::new("node", Kind::Scalar(&SPARKPLUG_ID), "the edge node id; the gateway's id unless given")
            .example(r#""gateway-1""#),
        Key::new(
            "primary_host",
            Kind::Scalar(&SPARKPLUG_ID),
            "the host application that readings wait for; none unless given",
        )
        .example(r#""scada""#),
        Key::new(
            "include_datatype",
            Kind::Flag,
            "true: data says each metric's datatype too, for hosts that do not remember it from the birth",
        ),
        VERSION,
        USERNAME,
        PASSWORD_FILE,
        PASSWORD_CREDENTIAL,
        CLIENT_ID,
        KEEP_ALIVE,
        PASSWORD,
        CA_FILE,
        CERT_FILE,
        KEY_FILE,
        INSECURE,
    ],
    exactly_one: &[&["url", "urls"]],
};

static VERSIONS: &[Word] = &[
    Word::new("3.1.1", "every broker speaks it"),
    Word::new("5", "the broker can refuse one reading and say why"),
];

static FILE: Table = Table {
    what: "`file`",
    doc: "Lines in a file, rotated by size.",
    keys: &[
        Key::new("path", Kind::Scalar(&TEXT), "the file")
            .example(r#""/var/lib/linesman/readings.jsonl""#)
            .required(),
        Key::new("encoding", Kind::Word(FILE_ENCODINGS), "how readings are written; json unless given"),
        Key::new("template", Kind::Scalar(&TEXT), "Jinja, of one reading; with `encoding: template`")
            .example(r#""{{ device }} {{ ts }} {{ values|tojson }}""#),
        Key::new("max_size", Kind::Scalar(&SIZE), "rotate beyond this size; 64MiB unless given")
            .example(r#""64MiB""#),
        Key::new("keep", Kind::Whole { least: 0, most: 1000 }, "rotated files that are kept; 4 unless given")
            .example(r#"4"#),
    ],
    exactly_one: &[],
};

static STDOUT: Table = Table {
    what: "`stdout`",
    doc: "JSON lines on standard output; nothing to configure: `stdout: {}`.",
    keys: &[],
    exactly_one: &[],
};
