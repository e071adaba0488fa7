//! The keys of a connection to a broker: the same words wherever one is spoken to.

use super::encoding::{BATCH, ENCODINGS};
use crate::config::endpoints::{TOPIC, URL};
use crate::profile::yaml::scalar::{DURATION, TEXT};
use crate::profile::yaml::table::{Key, Kind};

static A_URL: Kind = Kind::Scalar(&URL);
pub(super) const URL_KEY: Key = Key::new(
    "url",
    Kind::Scalar(&URL),
    "where it is: mqtt://HOST[:PORT] (1883), or mqtts://HOST[:PORT] for TLS, then 8883 unless given",
)
.example("\"mqtts://broker.example.org\"");
pub(super) const URLS_KEY: Key =
    Key::new("urls", Kind::List { of: &A_URL, least: 1, most: 8 }, "several brokers, tried in this order")
        .example("[\"mqtts://first.example.org\", \"mqtts://second.example.org\"]");
pub(super) const TOPIC_KEY: Key =
    Key::new("topic", Kind::Scalar(&TOPIC), "the levels above all topics; linesman/{gateway} unless given");
pub(super) const ENCODING_KEY: Key =
    Key::new("encoding", Kind::Word(ENCODINGS), "how readings are written; json unless given");
pub(super) const TEMPLATE_KEY: Key =
    Key::new("template", Kind::Scalar(&TEXT), "Jinja, of one reading; with `encoding: template`")
        .example(r#""{{ device }} {{ ts }} {{ values|tojson }}""#);
pub(super) const BATCH_KEY: Key =
    Key::new("batch", Kind::Table(&BATCH), "with `encoding: batch`: how often, and tolerances");
pub(super) const USERNAME_KEY: Key =
    Key::new("username", Kind::Scalar(&TEXT), "who logs in").example(r#""plant-7""#);
pub(super) const PASSWORD_FILE_KEY: Key =
    Key::new("password_file", Kind::Scalar(&TEXT), "a file that holds the password and nothing else")
        .example(r#""secrets/mqtt""#);
pub(super) const PASSWORD_CREDENTIAL_KEY: Key = Key::new(
    "password_credential",
    Kind::Scalar(&TEXT),
    "the same from systemd: the name of a LoadCredential= in the unit",
)
.example(r#""mqtt""#);
pub(super) const CLIENT_ID_KEY: Key = Key::new(
    "client_id",
    Kind::Scalar(&TEXT),
    "MQTT client identifier; linesman-{gateway}-{upstream} unless given",
)
.example(r#""plant-7-scada""#);
pub(super) const KEEP_ALIVE_KEY: Key =
    Key::new("keep_alive", Kind::Scalar(&DURATION), "longest silence on the connection; 30s unless given")
        .example(r#""30s""#);
pub(super) const PASSWORD_KEY: Key =
    Key::new("password", Kind::Anything, "").never("secrets never stand in the file; use `password_file`");
pub(super) const CA_FILE_KEY: Key = Key::new(
            "ca_file",
            Kind::Scalar(&TEXT),
            "with mqtts://: who may have signed the broker's certificate (PEM); the system's authorities unless given",
        )
        .example(r#""secrets/ca.pem""#);
pub(super) const CERT_FILE_KEY: Key =
    Key::new("cert_file", Kind::Scalar(&TEXT), "our certificate (PEM), for a broker that asks for one")
        .example(r#""secrets/gateway.pem""#);
pub(super) const KEY_FILE_KEY: Key =
    Key::new("key_file", Kind::Scalar(&TEXT), "the key of `cert_file` (PEM, without a password)")
        .example(r#""secrets/gateway.key""#);
pub(super) const INSECURE_KEY: Key = Key::new(
    "insecure",
    Kind::Flag,
    "true: mqtt:// to another machine, in plain text, is meant so; to this machine it needs no leave",
);
