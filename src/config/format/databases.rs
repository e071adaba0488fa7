//! The words of the configuration: databases.

use super::broker::{PASSWORD_CREDENTIAL_KEY, PASSWORD_FILE_KEY, PASSWORD_KEY};
use crate::config::databases::{POSTGRES_URL, TABLE};
use crate::profile::yaml::scalar::TEXT;
use crate::profile::yaml::table::{Key, Kind, Table};

pub(super) static POSTGRES: Table = Table {
    what: "`postgres`",
    doc: "PostgreSQL, or TimescaleDB: a row a value.",
    keys: &[
        Key::new(
            "url",
            Kind::Scalar(&POSTGRES_URL),
            "where it is and who logs in: postgresql://USER@HOST[:PORT]/DATABASE (5432)",
        )
        .required(),
        PASSWORD_FILE_KEY,
        PASSWORD_CREDENTIAL_KEY,
        PASSWORD_KEY,
        Key::new(
            "table",
            Kind::Scalar(&TABLE),
            "where rows go, and behind `_gaps` the losses; linesman unless given",
        ),
        Key::new("create", Kind::Flag, "false: tables that are not there are not made; true unless given"),
        Key::new("timescale", Kind::Flag, "true: the table is made a hypertable of TimescaleDB"),
        Key::new(
            "ca_file",
            Kind::Scalar(&TEXT),
            "who may have signed the server's certificate (PEM); the system's authorities unless given",
        )
        .example(r#""secrets/ca.pem""#),
        Key::new("cert_file", Kind::Scalar(&TEXT), "our certificate (PEM), for a server that asks for one")
            .example(r#""secrets/gateway.pem""#),
        Key::new("key_file", Kind::Scalar(&TEXT), "the key of `cert_file` (PEM, without a password)")
            .example(r#""secrets/gateway.key""#),
        Key::new(
            "insecure",
            Kind::Flag,
            "true: plain text to another machine is meant so; to this machine it needs no leave",
        ),
    ],
    exactly_one: &[],
};
