//! The words of the configuration: upstreams of a few lines.

use super::broker::{
    BATCH_KEY, CA_FILE_KEY, CERT_FILE_KEY, CLIENT_ID_KEY, ENCODING_KEY, INSECURE_KEY, KEEP_ALIVE_KEY,
    KEY_FILE_KEY, PASSWORD_CREDENTIAL_KEY, PASSWORD_FILE_KEY, PASSWORD_KEY, TEMPLATE_KEY, TOPIC_KEY, URL_KEY,
    URLS_KEY, USERNAME_KEY,
};
use crate::config::endpoints::{AZURE_DEVICE, HUB, LEVEL};
use crate::profile::yaml::scalar::{DURATION, TEXT};
use crate::profile::yaml::table::{Key, Kind, Table};

const EVERY_KEY: Key = Key::new(
    "every",
    Kind::Scalar(&DURATION),
    "readings go together in one message in this time, 1s to 1h; 1s unless given, to an IoT hub 10s",
)
.example(r#""1s""#);

pub(super) static THINGSBOARD: Table = Table {
    what: "`thingsboard`",
    doc: "ThingsBoard, by its gateway API.",
    keys: &[
        URL_KEY,
        URLS_KEY,
        Key::new(
            "token_file",
            Kind::Scalar(&TEXT),
            "a file that holds the access token of the gateway's device",
        )
        .example(r#""secrets/thingsboard""#),
        Key::new(
            "token_credential",
            Kind::Scalar(&TEXT),
            "the same from systemd: the name of a LoadCredential= in the unit",
        )
        .example(r#""thingsboard""#),
        Key::new("token", Kind::Anything, "").never("secrets never stand in the file; use `token_file`"),
        EVERY_KEY,
        CLIENT_ID_KEY,
        KEEP_ALIVE_KEY,
        CA_FILE_KEY,
        CERT_FILE_KEY,
        KEY_FILE_KEY,
        INSECURE_KEY,
    ],
    exactly_one: &[&["url", "urls"]],
};

pub(super) static HOME_ASSISTANT: Table = Table {
    what: "`homeassistant`",
    doc: "Home Assistant, by the broker that it uses: our own topics, and its discovery.",
    keys: &[
        URL_KEY,
        URLS_KEY,
        Key::new("prefix", Kind::Scalar(&LEVEL), "its discovery prefix; homeassistant unless given"),
        TOPIC_KEY,
        USERNAME_KEY,
        PASSWORD_FILE_KEY,
        PASSWORD_CREDENTIAL_KEY,
        PASSWORD_KEY,
        CLIENT_ID_KEY,
        KEEP_ALIVE_KEY,
        CA_FILE_KEY,
        CERT_FILE_KEY,
        KEY_FILE_KEY,
        INSECURE_KEY,
    ],
    exactly_one: &[&["url", "urls"]],
};

pub(super) static AWS_IOT: Table = Table {
    what: "`aws-iot`",
    doc: "AWS IoT Core: our own topics, by mutual TLS, within its limits.",
    keys: &[
        URL_KEY,
        URLS_KEY,
        CERT_FILE_KEY,
        KEY_FILE_KEY,
        CA_FILE_KEY,
        CLIENT_ID_KEY,
        TOPIC_KEY,
        ENCODING_KEY,
        TEMPLATE_KEY,
        BATCH_KEY,
        KEEP_ALIVE_KEY,
    ],
    exactly_one: &[&["url", "urls"]],
};

pub(super) static AZURE_IOT: Table = Table {
    what: "`azure-iot`",
    doc: "Azure IoT Hub, as one of its devices.",
    keys: &[
        Key::new("hub", Kind::Scalar(&HUB), "the hub's host name").required(),
        Key::new("device", Kind::Scalar(&AZURE_DEVICE), "who this gateway is there").required(),
        Key::new("shared_key_file", Kind::Scalar(&TEXT), "a file with the device's primary key: signs a password for each connection, which is never sent itself")
            .example(r#""secrets/azure""#),
        Key::new("shared_key_credential", Kind::Scalar(&TEXT), "the same from systemd: the name of a LoadCredential= in the unit")
            .example(r#""azure""#),
        CERT_FILE_KEY,
        KEY_FILE_KEY,
        CA_FILE_KEY,
        EVERY_KEY,
        KEEP_ALIVE_KEY,
    ],
    exactly_one: &[],
};

pub(super) static AZURE_EVENT_GRID: Table = Table {
    what: "`azure-event-grid`",
    doc: "The MQTT broker of Azure Event Grid: our own topics by MQTT 5 and mutual TLS, within its limits.",
    keys: &[
        URL_KEY,
        URLS_KEY,
        CERT_FILE_KEY,
        KEY_FILE_KEY,
        CA_FILE_KEY,
        USERNAME_KEY,
        CLIENT_ID_KEY,
        TOPIC_KEY,
        ENCODING_KEY,
        TEMPLATE_KEY,
        BATCH_KEY,
        KEEP_ALIVE_KEY,
    ],
    exactly_one: &[&["url", "urls"]],
};

pub(super) static THIN_EDGE: Table = Table {
    what: "`thin-edge`",
    doc: "thin-edge.io, by the broker of the box that it runs on.",
    keys: &[
        Key { required: false, ..URL_KEY },
        Key::new("type", Kind::Scalar(&LEVEL), "the type of the measurements; linesman unless given"),
        USERNAME_KEY,
        PASSWORD_FILE_KEY,
        PASSWORD_CREDENTIAL_KEY,
        PASSWORD_KEY,
        CLIENT_ID_KEY,
        KEEP_ALIVE_KEY,
        CA_FILE_KEY,
        CERT_FILE_KEY,
        KEY_FILE_KEY,
        INSECURE_KEY,
    ],
    exactly_one: &[],
};
