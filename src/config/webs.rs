//! The upstreams by HTTP: `influx`, `http`, `prometheus`.

use super::build::{Ground, duration, flag, text, whole};
use super::{encodings, endpoints, upstreams};
use crate::profile::yaml::scalar;
use crate::profile::yaml::table::ScalarRule;
use crate::profile::yaml::{Node, Report, Scalar};
use crate::upstream::web::{self, Compression, Config, Form, OUR_LABELS, Sign};
use crate::upstream::{Kind, percent};
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use std::time::Duration;

/// Below this every slow answer is an outage; beyond it nobody waits for an answer.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// A body that one reading may not fit into is no limit but a mistake.
const LEAST_BODY: u64 = 4096;
/// Headers that are made for each request, or that speak of the connection.
const NOT_THEIRS: [&str; 10] = [
    "host",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "expect",
    "upgrade",
    "te",
    "trailer",
];
/// Headers that hold secrets.
const SECRETS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"];
/// Parameters of a query that hold secrets.
const SECRET_PARAMETERS: [&str; 5] = ["token", "access_token", "api_key", "apikey", "password"];

pub static WEB: ScalarRule = ScalarRule {
    expected: "https://HOST[:PORT]/PATH or http://HOST[:PORT]/PATH",
    check: |s| endpoints::web(&s.text).map(|_| ()),
    types: &["string"],
    pattern: Some("^https?://"),
    words: None,
    limits: None,
    example: r#""https://example.org/ingest""#,
};
pub static BASE: ScalarRule = ScalarRule {
    expected: "https://HOST[:PORT] or http://HOST[:PORT]",
    check: base,
    types: &["string"],
    pattern: Some("^https?://"),
    words: None,
    limits: None,
    example: r#""https://example.org:8086""#,
};
pub static HEADER: ScalarRule = ScalarRule {
    expected: "what a header may hold: one line of ASCII",
    check: |s| {
        let is_plain = s.text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if is_plain && HeaderValue::from_str(&s.text).is_ok() { Ok(()) } else { Err(String::new()) }
    },
    types: &["string", "number"],
    pattern: None,
    words: None,
    limits: None,
    example: r#""plant-7""#,
};
pub static LABEL: ScalarRule = ScalarRule {
    expected: "text, not empty",
    check: |s| if s.text.is_empty() { Err("an empty label is none".to_owned()) } else { Ok(()) },
    types: &["string", "number"],
    pattern: None,
    words: None,
    limits: None,
    example: r#""north""#,
};
pub static ONE_WORD: ScalarRule = ScalarRule {
    expected: "text in one line, not empty",
    check: |s| {
        if s.text.is_empty() || s.text.chars().any(char::is_control) { Err(String::new()) } else { Ok(()) }
    },
    types: &["string", "number"],
    pattern: None,
    words: None,
    limits: None,
    example: r#""meters""#,
};

fn base(scalar: &Scalar) -> Result<(), String> {
    let web = endpoints::web(&scalar.text)?;
    if web.path.contains('?') {
        return Err("no query: `bucket`, `org` or `database` stand beside it".to_owned());
    }
    let path = web.path.trim_end_matches('/');
    if let Some(rest) = ["/api/v2/write", "/write"].into_iter().find_map(|end| path.strip_suffix(end)) {
        let host = scalar.text.trim_end_matches('/');
        let shorter = host.strip_suffix(&path[rest.len()..]).unwrap_or(host);
        return Err(format!("the path of the write endpoint is added here: write {shorter}"));
    }
    Ok(())
}

/// The kind of an upstream by HTTP: `None` for others, `Some(None)` where it cannot be used.
pub(super) fn kind(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Option<Kind>> {
    if let Some(influx) = node.get("influx") {
        Some(self::influx(influx, ground, report).map(Kind::Influx))
    } else if let Some(http) = node.get("http") {
        Some(self::http(http, ground, report).map(Kind::Http))
    } else {
        let prometheus = node.get("prometheus")?;
        Some(self::prometheus(prometheus, ground, report).map(Kind::Prometheus))
    }
}

fn influx(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Config> {
    let (bucket, org, database) = (text(node, "bucket"), text(node, "org"), text(node, "database"));
    if let (Some(at), None) = (node.get("org"), bucket) {
        report.at(&at.place, "`org` says nothing without `bucket`");
    }
    let sign = sign(node, "Token ", ground, report);
    let config = common(node, Form::Influx, sign, ground, report)?;
    let base = config.path.trim_end_matches('/');
    let path = match (bucket, database) {
        (Some(bucket), _) => {
            let org = org.map(|org| format!("org={}&", percent(org))).unwrap_or_default();
            format!("{base}/api/v2/write?{org}bucket={}&precision=ns", percent(bucket))
        }
        (None, database) => format!("{base}/write?db={}&precision=ns", percent(database?)),
    };
    let compression = compression(node, Compression::Gzip);
    Some(Config { path, compression, most: web::MOST_LINES, ..config })
}

fn http(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Config> {
    let mut sign = sign(node, "Bearer ", ground, report);
    if let (Some(name), Some(at)) = (text(node, "token_header"), node.get("token_header")) {
        match (name.parse::<HeaderName>(), &mut sign) {
            (Ok(name), Some(Sign::Token { header, scheme, .. })) => (*header, *scheme) = (name, ""),
            (Ok(_), _) => {
                report.at(&at.place, "`token_header` without `token_file`: there is no token to send")
            }
            (Err(_), _) => report.at(&at.place, format!("`token_header`: {name:?} is no name of a header")),
        }
    }
    let encoding = encodings::of(node, ground, report);
    let config = common(node, Form::Http(encoding), sign, ground, report)?;
    let largest = node.get("max_body").and_then(|at| Some((at, scalar::size(at.scalar()?).ok()?)));
    if let Some((at, _)) = largest.filter(|(_, size)| *size < LEAST_BODY) {
        report.at(&at.place, format!("`max_body`: expected 4KiB or more, found {}", at.found()));
    }
    let largest = largest.map(|(_, size)| usize::try_from(size).unwrap_or(usize::MAX));
    Some(Config {
        method: if text(node, "method") == Some("PUT") { Method::PUT } else { Method::POST },
        headers: headers(node, report),
        compression: compression(node, Compression::None),
        expect: text(node, "expect").map(str::to_owned),
        most: whole(node, "max_readings").unwrap_or(web::MOST_READINGS),
        largest: largest.unwrap_or(web::LARGEST),
        ..config
    })
}

fn prometheus(node: &Node, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Config> {
    let sign = sign(node, "Bearer ", ground, report);
    let form = Form::Prometheus(labels(node, report));
    let config = common(node, form, sign, ground, report)?;
    if config.path == "/" {
        let help =
            "Prometheus' own is /api/v1/write, Mimir's /api/v1/push, Thanos' /api/v1/receive".to_owned();
        report.at_with_help(
            &node.get("url")?.place,
            "`url`: the path of the remote write endpoint is missing",
            help,
        );
    }
    Some(Config { headers: headers(node, report), compression: Compression::Snappy, ..config })
}

/// What all of them have. What the walk has refused is left out here without another word.
fn common(
    node: &Node,
    body: Form,
    sign: Option<Sign>,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<Config> {
    let at = node.get("url")?;
    let web = endpoints::web(&at.scalar()?.text).ok()?;
    let insecure = flag(node, "insecure").unwrap_or(false);
    if !web.secure && !web.endpoint.is_loopback() && !insecure {
        let message =
            format!("http:// sends readings, tokens and passwords to {} in plain text", web.endpoint);
        let help = "use https://, or say `insecure: true` where nobody else is on the way".to_owned();
        report.at_with_help(&at.place, message, help);
    }
    if let (Some(timeout), Some(at)) = (duration(node, "timeout"), node.get("timeout"))
        && !TIMEOUTS.contains(&timeout)
    {
        report.at(&at.place, format!("`timeout`: expected 1s to 10m, found {}", at.found()));
    }
    Some(Config {
        tls: upstreams::tls(node, ("http", web.secure), ground, report),
        endpoint: web.endpoint,
        method: Method::POST,
        path: web.path,
        headers: Vec::new(),
        sign,
        body,
        compression: Compression::None,
        expect: None,
        most: web::MOST_READINGS,
        largest: web::LARGEST,
        timeout: duration(node, "timeout").unwrap_or(web::PATIENCE),
    })
}

/// Token, or user name and password.
fn sign(node: &Node, scheme: &'static str, ground: &mut Ground<'_>, report: &mut Report<'_>) -> Option<Sign> {
    let token = upstreams::secret(node, ("token_file", "token_credential"), ground, report);
    let passwords = ("password_file", "password_credential");
    let password = upstreams::secret(node, passwords, ground, report);
    let username = node.get("username");
    match (token, username, password) {
        (Some(_), Some(at), _) => {
            report.at(&at.place, "`username` beside a token: a request says once who sends it");
            None
        }
        (Some(token), None, None) => Some(Sign::Token { header: AUTHORIZATION, scheme, token }),
        (None, Some(username), Some(password)) => {
            let name = &username.scalar()?.text;
            if name.contains(':') {
                report.at(&username.place, "`username`: HTTP Basic has no `:` in it (RFC 7617)");
            }
            Some(Sign::Basic { username: name.clone(), password })
        }
        (None, Some(at), None) => {
            report.at(&at.place, "`username` without `password_file` or `password_credential`");
            None
        }
        (_, None, Some(_)) => {
            let at = node.get(passwords.0).or_else(|| node.get(passwords.1))?;
            report.at(&at.place, "a password without `username`: HTTP Basic has both");
            None
        }
        (None, None, None) => None,
    }
}

fn compression(node: &Node, plain: Compression) -> Compression {
    match text(node, "compression") {
        Some("gzip") => Compression::Gzip,
        Some("zstd") => Compression::Zstd,
        Some("none") => Compression::None,
        _ => plain,
    }
}

fn headers(node: &Node, report: &mut Report<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for entry in node.get("headers").map(Node::entries).unwrap_or_default() {
        let name = entry.key.to_ascii_lowercase();
        let shown = entry.key.escape_debug();
        if SECRETS.contains(&name.as_str()) {
            let right = if name == "authorization" || name == "proxy-authorization" {
                "use `token_file`, or `username` and `password_file`".to_owned()
            } else {
                format!("use `token_file` with `token_header: {shown}`")
            };
            report.at_with_help(
                &entry.at,
                format!("the header `{shown}`: secrets never stand in the file"),
                right,
            );
        } else if NOT_THEIRS.contains(&name.as_str()) {
            report.at(&entry.at, format!("the header `{shown}` is made for each request"));
        } else if let (Ok(name), Some(value)) = (name.parse::<HeaderName>(), entry.value.scalar()) {
            headers.extend(HeaderValue::from_str(&value.text).ok().map(|value| (name, value)));
        } else if name.parse::<HeaderName>().is_err() {
            report.at(&entry.at, format!("`{shown}` is no name of a header"));
        }
    }
    headers
}

fn labels(node: &Node, report: &mut Report<'_>) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    for entry in node.get("labels").map(Node::entries).unwrap_or_default() {
        let shown = entry.key.escape_debug();
        if OUR_LABELS.contains(&entry.key.as_str()) {
            report.at(&entry.at, format!("the label `{shown}` is ours"));
        } else if entry.key.contains('-') || entry.key.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("`{shown}` is no name of a label: letters, digits and _, no digit first");
            report.at(&entry.at, message);
        } else if let Some(value) = entry.value.scalar() {
            labels.push((entry.key.clone(), value.text.clone()));
        }
    }
    labels
}

/// A parameter of this query that looks like a secret.
pub(super) fn secret_parameter(query: &str) -> Option<&str> {
    let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    names.into_iter().find(|name| SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()))
}
