//! The words of the configuration: upstreams by HTTP.

use super::encoding::HTTP_ENCODINGS;
use crate::config::webs::{BASE, HEADER, LABEL, ONE_WORD, WEB};
use crate::profile::yaml::scalar::{DURATION, SIZE, TEXT};
use crate::profile::yaml::table::{Key, Kind, Table, Word};

const TOKEN_FILE: Key = Key::new(
    "token_file",
    Kind::Scalar(&TEXT),
    "a file that holds the token and nothing else; read for every request",
)
.example(r#""secrets/token""#);
const TOKEN_CREDENTIAL: Key = Key::new(
    "token_credential",
    Kind::Scalar(&TEXT),
    "the same from systemd: the name of a LoadCredential= in the unit",
)
.example(r#""token""#);
const USERNAME: Key =
    Key::new("username", Kind::Scalar(&TEXT), "who logs in (HTTP Basic)").example(r#""plant-7""#);
const PASSWORD_FILE: Key =
    Key::new("password_file", Kind::Scalar(&TEXT), "a file that holds the password and nothing else")
        .example(r#""secrets/password""#);
const PASSWORD_CREDENTIAL: Key =
    Key::new("password_credential", Kind::Scalar(&TEXT), "the same from systemd, as with tokens")
        .example(r#""password""#);
const TOKEN: Key =
    Key::new("token", Kind::Anything, "").never("secrets never stand in the file; use `token_file`");
const PASSWORD: Key =
    Key::new("password", Kind::Anything, "").never("secrets never stand in the file; use `password_file`");
const TIMEOUT: Key =
    Key::new("timeout", Kind::Scalar(&DURATION), "how long an answer may take, 1s to 10m; 60s unless given")
        .example(r#""60s""#);
const CA_FILE: Key = Key::new(
    "ca_file",
    Kind::Scalar(&TEXT),
    "with https://: who may have signed the server's certificate (PEM); the system's authorities unless given",
)
.example(r#""secrets/ca.pem""#);
const CERT_FILE: Key =
    Key::new("cert_file", Kind::Scalar(&TEXT), "our certificate (PEM), for a server that asks for one")
        .example(r#""secrets/gateway.pem""#);
const KEY_FILE: Key =
    Key::new("key_file", Kind::Scalar(&TEXT), "the key of `cert_file` (PEM, without a password)")
        .example(r#""secrets/gateway.key""#);
const INSECURE: Key = Key::new(
    "insecure",
    Kind::Flag,
    "true: http:// to another machine, in plain text, is meant so; to this machine it needs no leave",
);
static HEADER_VALUE: Kind = Kind::Scalar(&HEADER);
const HEADERS: Key = Key::new(
    "headers",
    Kind::Named { what: "headers", of: &HEADER_VALUE },
    "headers that each request has, beside ours; never a secret",
)
.example(r#"{ "X-Scope-OrgID": "plant-7" }"#);

pub(super) static INFLUX: Table = Table {
    what: "`influx`",
    doc: "InfluxDB 1 to 3, VictoriaMetrics, or whoever takes line protocol by their write endpoints.",
    keys: &[
        Key::new(
            "url",
            Kind::Scalar(&BASE),
            "where it is: https://HOST[:PORT], with a path where a proxy has one",
        )
        .example(r#""https://influx.example.org:8086""#)
        .required(),
        Key::new(
            "bucket",
            Kind::Scalar(&ONE_WORD),
            "InfluxDB 2 and 3: the bucket (3: database), written by /api/v2/write",
        )
        .example(r#""meters""#),
        Key::new("org", Kind::Scalar(&ONE_WORD), "with `bucket`: the organisation, which InfluxDB 2 wants")
            .example(r#""plant""#),
        Key::new(
            "database",
            Kind::Scalar(&ONE_WORD),
            "InfluxDB 1 and VictoriaMetrics: the database, written by /write",
        )
        .example(r#""meters""#),
        TOKEN_FILE,
        TOKEN_CREDENTIAL,
        USERNAME,
        PASSWORD_FILE,
        PASSWORD_CREDENTIAL,
        TOKEN,
        PASSWORD,
        Key::new("compression", Kind::Word(COMPRESSIONS), "how bodies travel; gzip unless given"),
        TIMEOUT,
        CA_FILE,
        CERT_FILE,
        KEY_FILE,
        INSECURE,
    ],
    exactly_one: &[&["bucket", "database"]],
};

static COMPRESSIONS: &[Word] = &[
    Word::new("gzip", "every server takes it"),
    Word::new("zstd", "smaller; for those whose manual has it"),
    Word::new("none", "as it is"),
];

pub(super) static HTTP: Table = Table {
    what: "`http`",
    doc: "Any HTTP server: readings in any encoding, with any headers.",
    keys: &[
        Key::new(
            "url",
            Kind::Scalar(&WEB),
            "where to: https://HOST[:PORT]/PATH, with a query where it needs one",
        )
        .example(r#""https://example.org/ingest""#)
        .required(),
        Key::new("method", Kind::Word(METHODS), "how it is sent; POST unless given"),
        HEADERS,
        TOKEN_FILE,
        TOKEN_CREDENTIAL,
        Key::new(
            "token_header",
            Kind::Scalar(&ONE_WORD),
            "the header that holds the token alone (X-API-Key); `Authorization: Bearer` unless given",
        )
        .example(r#""X-API-Key""#),
        USERNAME,
        PASSWORD_FILE,
        PASSWORD_CREDENTIAL,
        TOKEN,
        PASSWORD,
        Key::new("encoding", Kind::Word(HTTP_ENCODINGS), "how readings are written; json unless given"),
        Key::new("template", Kind::Scalar(&TEXT), "Jinja, of one reading; with `encoding: template`")
            .example(r#""{{ device }} {{ ts }} {{ values|tojson }}""#),
        Key::new("compression", Kind::Word(HTTP_COMPRESSIONS), "how bodies travel; none unless given"),
        Key::new(
            "expect",
            Kind::Scalar(&ONE_WORD),
            "the content type that an answer must have to count; anything but a web page unless given",
        )
        .example(r#""application/json""#),
        Key::new(
            "max_body",
            Kind::Scalar(&SIZE),
            "most octets in a request before compression; 1MiB unless given",
        )
        .example(r#""1MiB""#),
        Key::new(
            "max_readings",
            Kind::Whole { least: 1, most: 10_000 },
            "most readings in a request; 500 unless given",
        )
        .example("500"),
        TIMEOUT,
        CA_FILE,
        CERT_FILE,
        KEY_FILE,
        INSECURE,
    ],
    exactly_one: &[],
};

static METHODS: &[Word] = &[Word::new("POST", "adds"), Word::new("PUT", "replaces")];

static HTTP_COMPRESSIONS: &[Word] = &[
    Word::new("none", "as it is"),
    Word::new("gzip", "for servers that take it"),
    Word::new("zstd", "for servers that take it"),
];

pub(super) static PROMETHEUS: Table = Table {
    what: "`prometheus`",
    doc: "Prometheus, Mimir, Thanos or VictoriaMetrics by remote write 1.0: numbers only, oldest first.",
    keys: &[
        Key::new("url", Kind::Scalar(&WEB), "where to, with the path: https://HOST[:PORT]/api/v1/write")
            .example(r#""https://metrics.example.org/api/v1/write""#)
            .required(),
        HEADERS,
        Key::new(
            "labels",
            Kind::Named { what: "labels", of: &Kind::Scalar(&LABEL) },
            "labels that each series has, beside device and gateway",
        )
        .example(r#"{ "site": "north" }"#),
        TOKEN_FILE,
        TOKEN_CREDENTIAL,
        USERNAME,
        PASSWORD_FILE,
        PASSWORD_CREDENTIAL,
        TOKEN,
        PASSWORD,
        TIMEOUT,
        CA_FILE,
        CERT_FILE,
        KEY_FILE,
        INSECURE,
    ],
    exactly_one: &[],
};
