//! Databases: where one is, who logs in there, and how it is secured.

use super::build::{Ground, flag, text};
use super::endpoints::host_and_port;
use super::upstreams::{identity_of, secret};
use crate::profile::yaml::table::ScalarRule;
use crate::profile::yaml::{Node, Report};
use crate::uplink::{Endpoint, Tls};
use crate::upstream::postgres::{Config, PORT, Table};

pub(super) static POSTGRES_URL: ScalarRule = ScalarRule {
    expected: "postgresql://USER@HOST[:PORT]/DATABASE",
    check: |s| database(&s.text).map(|_| ()),
    types: &["string"],
    pattern: Some("^postgres(ql)?://[^@:/?#]+@"),
    words: None,
    limits: None,
    example: r#""postgresql://linesman@db.example.org/plant""#,
};
pub(super) static TABLE: ScalarRule = ScalarRule {
    expected: "a table's name, or schema.name",
    check: |s| Table::parse(&s.text).map(|_| ()),
    types: &["string"],
    pattern: Some("^([a-z_][a-z0-9_]*\\.)?[a-z_][a-z0-9_]*$"),
    words: None,
    limits: None,
    example: r#""linesman""#,
};

/// A database as its URL says (libpq, "Connection URIs", without what follows the database).
#[derive(Debug, PartialEq, Eq)]
struct Database {
    to: Endpoint,
    user: String,
    name: String,
}

fn database(text: &str) -> Result<Database, String> {
    let rest = match text.split_once("://") {
        Some(("postgresql" | "postgres", rest)) => rest,
        Some(("timescaledb" | "timescale", rest)) => {
            return Err(format!("write postgresql://{rest}, and `timescale: true`"));
        }
        Some(_) => return Err(String::new()),
        None => return Err(format!("write postgresql://{text}")),
    };
    let (user, rest) =
        rest.rsplit_once('@').ok_or("who logs in is missing: postgresql://USER@HOST/DATABASE")?;
    if user.contains(':') {
        return Err(
            "secrets never stand in the file: use `password_file` or `password_credential`".to_owned()
        );
    }
    let (host, name) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some((_, options)) = name.split_once('?') {
        return Err(if options.contains("ssl") {
            "nothing follows the database; TLS is always on, but for this machine or with `insecure: true`"
                .to_owned()
        } else {
            "nothing follows the database".to_owned()
        });
    }
    let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '?', '#', '%', '\0']);
    if !is_name(name) {
        return Err(
            "the database is missing, or has a character that is not taken here: …/DATABASE".to_owned()
        );
    }
    if !is_name(user) {
        return Err("the user is missing, or has a character that is not taken here".to_owned());
    }
    let (host, port) = host_and_port(host, PORT)?;
    Ok(Database { to: Endpoint { host, port }, user: user.to_owned(), name: name.to_owned() })
}

pub(super) fn postgres(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Config> {
    let password = secret(node, ("password_file", "password_credential"), ground, report);
    let Database { to, user, name } = database(text(node, "url")?).ok()?;
    Some(Config {
        tls: tls(node, &to, flag(node, "insecure").unwrap_or(false), ground, report),
        to,
        database: name,
        user,
        password,
        table: text(node, "table").and_then(|name| Table::parse(name).ok()).unwrap_or_default(),
        create: flag(node, "create").unwrap_or(true),
        timescale: flag(node, "timescale").unwrap_or(false),
    })
}

/// To another machine always, but where plain text is meant; to this one where it is asked for by a file of it.
fn tls(
    node: &Node,
    to: &Endpoint,
    insecure: bool,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Tls> {
    let asked = ["ca_file", "cert_file", "key_file"].into_iter().find_map(|key| Some((key, node.get(key)?)));
    match asked {
        Some((key, at)) if insecure => {
            report.at(
                &at.place,
                format!("`{key}` says nothing beside `insecure: true`: leave one of them out"),
            );
            None
        }
        None if insecure || to.is_loopback() => None,
        _ => identity_of(node, ground, report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_who_logs_in_where_and_into_what_and_no_secret() {
        let of = |text: &str| database(text).map(|it| (it.to.to_string(), it.user, it.name));
        let is = |to: &str, user: &str, name: &str| Ok((to.to_owned(), user.to_owned(), name.to_owned()));
        assert_eq!(of("postgresql://me@db/plant"), is("db:5432", "me", "plant"));
        assert_eq!(of("postgres://me@[::1]:5433/plant"), is("[::1]:5433", "me", "plant"));
        assert!(of("postgresql://me:secret@db/plant").unwrap_err().contains("`password_file`"));
        assert!(of("postgresql://me@db/plant?sslmode=disable").unwrap_err().contains("`insecure: true`"));
        for wrong in [
            "db/plant",
            "mysql://me@db/plant",
            "postgresql://db/plant",
            "postgresql://me@db",
            "postgresql://@db/p",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
