//! The words of the configuration: upstreams.

use super::broker::{
    BATCH_KEY, CA_FILE_KEY, CERT_FILE_KEY, CLIENT_ID_KEY, ENCODING_KEY, INSECURE_KEY, KEEP_ALIVE_KEY,
    KEY_FILE_KEY, PASSWORD_CREDENTIAL_KEY, PASSWORD_FILE_KEY, PASSWORD_KEY, TEMPLATE_KEY, TOPIC_KEY, URL_KEY,
    URLS_KEY, USERNAME_KEY,
};
use super::databases::POSTGRES;
use super::encoding::FILE_ENCODINGS;
use super::less::{AGGREGATE_KEY, DEADBAND_KEY, MAX_SILENCE_KEY, ONLY_KEY, WINDOW_KEY};
use super::presets::{AWS_IOT, AZURE_EVENT_GRID, AZURE_IOT, HOME_ASSISTANT, THIN_EDGE, THINGSBOARD};
use super::webs::{HTTP, INFLUX, PROMETHEUS};
use crate::config::endpoints::SPARKPLUG_ID;
use crate::profile::yaml::scalar::{NAME, SIZE, TEXT};
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
        Key::new("thingsboard", Kind::Table(&THINGSBOARD), "ThingsBoard, by its gateway API"),
        Key::new(
            "homeassistant",
            Kind::Table(&HOME_ASSISTANT),
            "Home Assistant, by its broker, with discovery",
        ),
        Key::new("aws-iot", Kind::Table(&AWS_IOT), "AWS IoT Core"),
        Key::new("azure-iot", Kind::Table(&AZURE_IOT), "Azure IoT Hub"),
        Key::new("azure-event-grid", Kind::Table(&AZURE_EVENT_GRID), "the MQTT broker of Azure Event Grid"),
        Key::new("thin-edge", Kind::Table(&THIN_EDGE), "thin-edge.io on this machine"),
        Key::new("postgres", Kind::Table(&POSTGRES), "PostgreSQL or TimescaleDB"),
        Key::new("file", Kind::Table(&FILE), "lines in a file, JSON or others"),
        Key::new("stdout", Kind::Table(&STDOUT), "JSON lines on standard output"),
        Key::new("influx", Kind::Table(&INFLUX), "InfluxDB or VictoriaMetrics, by line protocol"),
        Key::new("http", Kind::Table(&HTTP), "any HTTP server, in any encoding"),
        Key::new("prometheus", Kind::Table(&PROMETHEUS), "Prometheus and its like, by remote write"),
        Key::new("order", Kind::Word(ORDERS), "in which order readings leave; live-first unless given"),
        Key::new(
            "history_rate",
            Kind::Whole { least: 1, most: 1_000_000 },
            "most readings a second of the backlog, beside the live ones; as many as go unless given",
        )
        .example(r#"200"#),
        ONLY_KEY,
        DEADBAND_KEY,
        MAX_SILENCE_KEY,
        AGGREGATE_KEY,
        WINDOW_KEY,
        Key::new("history", Kind::Word(HISTORIES), "over which uplinks the backlog goes; any unless given"),
    ],
    exactly_one: &[crate::upstream::Kind::ALL],
};

static ORDERS: &[Word] = &[
    Word::new("live-first", "live readings at once, the backlog beside them"),
    Word::new("strict", "oldest first; the way of files, standard output and remote write"),
];

static HISTORIES: &[Word] = &[
    Word::new("any", "over whichever is in use, as far as it allows that"),
    Word::new("wired-only", "it waits for an uplink that is not metered"),
];

static MQTT: Table = Table {
    what: "`mqtt`",
    doc: "An MQTT broker.",
    keys: &[
        URL_KEY,
        URLS_KEY,
        TOPIC_KEY,
        VERSION_KEY,
        ENCODING_KEY,
        TEMPLATE_KEY,
        BATCH_KEY,
        USERNAME_KEY,
        PASSWORD_FILE_KEY,
        PASSWORD_CREDENTIAL_KEY,
        CLIENT_ID_KEY,
        KEEP_ALIVE_KEY,
        PASSWORD_KEY,
        CA_FILE_KEY,
        CERT_FILE_KEY,
        KEY_FILE_KEY,
        INSECURE_KEY,
    ],
    exactly_one: &[&["url", "urls"]],
};

const VERSION_KEY: Key =
    Key::new("version", Kind::Word(VERSIONS), "which MQTT is spoken; 3.1.1 unless given");

static SPARKPLUG: Table = Table {
    what: "`sparkplug`",
    doc: "An edge node of Sparkplug B 3.0: the gateway is the node, each device a device.",
    keys: &[
        URL_KEY,
        URLS_KEY,
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
        VERSION_KEY,
        USERNAME_KEY,
        PASSWORD_FILE_KEY,
        PASSWORD_CREDENTIAL_KEY,
        CLIENT_ID_KEY,
        KEEP_ALIVE_KEY,
        PASSWORD_KEY,
        CA_FILE_KEY,
        CERT_FILE_KEY,
        KEY_FILE_KEY,
        INSECURE_KEY,
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
