//! The words of the configuration: upstreams.

use super::encoding::{BATCH, ENCODINGS, FILE_ENCODINGS};
use super::webs::{HTTP, INFLUX, PROMETHEUS};
use crate::config::endpoints::{TOPIC, URL};
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
    ],
    exactly_one: &[&["mqtt", "file", "stdout", "influx", "http", "prometheus"]],
};

static ORDERS: &[Word] = &[
    Word::new("live-first", "live readings at once, the backlog beside them"),
    Word::new("strict", "oldest first; the way of files, standard output and remote write"),
];

static MQTT: Table = Table {
    what: "`mqtt`",
    doc: "An MQTT broker.",
    keys: &[
        Key::new(
            "url",
            Kind::Scalar(&URL),
            "where it is: mqtt://HOST[:PORT] (1883), or mqtts://HOST[:PORT] for TLS, then 8883 unless given",
        )
        .example("\"mqtts://broker.example.org\""),
        Key::new(
            "urls",
            Kind::List { of: &Kind::Scalar(&URL), least: 1, most: 8 },
            "several brokers, tried in this order",
        )
        .example("[\"mqtts://first.example.org\", \"mqtts://second.example.org\"]"),
        Key::new(
            "topic",
            Kind::Scalar(&TOPIC),
            "the levels above all topics; linesman/{gateway} unless given",
        ),
        Key::new("version", Kind::Word(VERSIONS), "which MQTT is spoken; 3.1.1 unless given"),
        Key::new("encoding", Kind::Word(ENCODINGS), "how readings are written; json unless given"),
        Key::new("template", Kind::Scalar(&TEXT), "Jinja, of one reading; with `encoding: template`")
            .example(r#""{{ device }} {{ ts }} {{ values|tojson }}""#),
        Key::new("batch", Kind::Table(&BATCH), "with `encoding: batch`: how often, and tolerances"),
        Key::new("username", Kind::Scalar(&TEXT), "who logs in").example(r#""plant-7""#),
        Key::new("password_file", Kind::Scalar(&TEXT), "a file that holds the password and nothing else")
            .example(r#""secrets/mqtt""#),
        Key::new(
            "password_credential",
            Kind::Scalar(&TEXT),
            "the same from systemd: the name of a LoadCredential= in the unit",
        )
        .example(r#""mqtt""#),
        Key::new(
            "client_id",
            Kind::Scalar(&TEXT),
            "MQTT client identifier; linesman-{gateway}-{upstream} unless given",
        )
        .example(r#""plant-7-scada""#),
        Key::new(
            "keep_alive",
            Kind::Scalar(&DURATION),
            "longest silence on the connection; 30s unless given",
        )
        .example(r#""30s""#),
        Key::new("password", Kind::Anything, "")
            .never("secrets never stand in the file; use `password_file`"),
        Key::new(
            "ca_file",
            Kind::Scalar(&TEXT),
            "with mqtts://: who may have signed the broker's certificate (PEM); the system's authorities unless given",
        )
        .example(r#""secrets/ca.pem""#),
        Key::new("cert_file", Kind::Scalar(&TEXT), "our certificate (PEM), for a broker that asks for one")
            .example(r#""secrets/gateway.pem""#),
        Key::new("key_file", Kind::Scalar(&TEXT), "the key of `cert_file` (PEM, without a password)")
            .example(r#""secrets/gateway.key""#),
        Key::new(
            "insecure",
            Kind::Flag,
            "true: mqtt:// to another machine, in plain text, is meant so; to this machine it needs no leave",
        ),
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
