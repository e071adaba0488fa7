//! Addresses as people write them: TCP endpoints, broker URLs, topics, where to listen.

use super::webs;
use crate::model::Name;
use crate::profile::yaml::Scalar;
use crate::profile::yaml::table::ScalarRule;
use crate::uplink::Endpoint;
use std::net::{Ipv6Addr, SocketAddr};

/// Modbus TCP's registered port.
const MODBUS_PORT: u16 = 502;
const MQTT_PORT: u16 = 1883;
const MQTTS_PORT: u16 = 8883;
/// The layout adds two levels (`d/{device}`) and a topic has at most six.
const MOST_LEVELS: usize = 4;

pub static ADDRESS: ScalarRule = ScalarRule {
    expected: "HOST:PORT (\"10.0.0.5:502\")",
    check: |s| address(&s.text).map(|_| ()),
    types: &["string"],
    pattern: None,
    words: None,
    limits: None,
    example: r#""10.0.0.5:502""#,
};
pub static URL: ScalarRule = ScalarRule {
    expected: "mqtts://HOST[:PORT] or mqtt://HOST[:PORT]",
    check: |s| broker(&s.text).map(|_| ()),
    types: &["string"],
    pattern: Some("^mqtts?://"),
    words: None,
    limits: None,
    example: r#""mqtt://192.168.1.10:1883""#,
};
pub static TOPIC: ScalarRule = ScalarRule {
    expected: "1 to 4 topic levels of A-Z a-z 0-9 _ - and {gateway}",
    check: topic,
    types: &["string"],
    pattern: Some("^[A-Za-z0-9_{}-]+(/[A-Za-z0-9_{}-]+){0,3}$"),
    words: None,
    limits: None,
    example: r#""linesman/{gateway}""#,
};
pub static SPARKPLUG_ID: ScalarRule = ScalarRule {
    expected: "1 to 64 characters, none of them + / #",
    check: sparkplug_id,
    types: &["string"],
    pattern: Some("^[^+/#]{1,64}$"),
    words: None,
    limits: None,
    example: r#""plant-7""#,
};
pub static HUB: ScalarRule = ScalarRule {
    expected: "the hub's host name (plant.azure-devices.net)",
    check: |s| hub(&s.text).map(|_| ()),
    types: &["string"],
    pattern: None,
    words: None,
    limits: None,
    example: r#""plant.azure-devices.net""#,
};
/// Levels under which an application of somebody else listens.
pub static LEVEL: ScalarRule = ScalarRule {
    expected: "one topic level of A-Z a-z 0-9 _ -",
    check: |s| level(&s.text),
    types: &["string"],
    pattern: Some("^[A-Za-z0-9_-]+$"),
    words: None,
    limits: None,
    example: r#""homeassistant""#,
};
/// "IoT Hub device identity properties": 128 of these characters.
pub static AZURE_DEVICE: ScalarRule = ScalarRule {
    expected: "a device id of the hub: 1 to 128 of A-Z a-z 0-9 - : . _ and a few others",
    check: |s| azure_device(&s.text),
    types: &["string"],
    pattern: None,
    words: None,
    limits: None,
    example: r#""gateway-7""#,
};
pub static LISTEN: ScalarRule = ScalarRule {
    expected: "ADDRESS:PORT (\"127.0.0.1:8580\")",
    check: |s| listen(&s.text).map(|_| ()),
    types: &["string"],
    pattern: None,
    words: None,
    limits: None,
    example: r#""127.0.0.1:8580""#,
};

/// Host and port of a Modbus TCP endpoint, port 502 where none is given: `HOST:PORT`.
pub fn address(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Err("a host and a port, without a scheme".to_owned());
    }
    let (host, port) = host_and_port(text, MODBUS_PORT)?;
    Ok(joined(&host, port))
}

/// A broker as its URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub endpoint: Endpoint,
    /// `mqtts://`: TLS.
    pub secure: bool,
}

impl Broker {
    /// Readings would leave this machine in plain text.
    pub fn is_open(&self) -> bool {
        !self.secure && !self.endpoint.is_loopback()
    }
}

/// Host and port of `mqtts://HOST[:PORT]` or `mqtt://HOST[:PORT]`.
pub fn broker(text: &str) -> Result<Broker, String> {
    let (secure, rest) = match text.split_once("://") {
        Some(("mqtts", rest)) => (true, rest),
        Some(("mqtt", rest)) => (false, rest),
        Some(("ssl" | "tls", rest)) => return Err(format!("write mqtts://{rest}")),
        Some(("tcp", rest)) => return Err(format!("write mqtt://{rest}")),
        Some(("ws" | "wss", _)) => return Err("MQTT over WebSocket is not spoken".to_owned()),
        Some(_) => return Err(String::new()),
        None => return Err(format!("write mqtt://{text}")),
    };
    if rest.contains('@') {
        return Err("secrets never stand in the file: use `username` and `password_file`".to_owned());
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err("nothing follows the port; the topic stands under `topic`".to_owned());
    }
    let (host, port) = host_and_port(rest, if secure { MQTTS_PORT } else { MQTT_PORT })?;
    Ok(Broker { endpoint: Endpoint { host, port }, secure })
}

/// An HTTP server as its URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    pub endpoint: Endpoint,
    /// `https://`: TLS.
    pub secure: bool,
    /// Path and query, from the slash on.
    pub path: String,
}

/// `https://HOST[:PORT][/PATH[?QUERY]]`, or the same by `http://`.
pub fn web(text: &str) -> Result<Web, String> {
    let (secure, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        Some(_) => return Err(String::new()),
        None => return Err(format!("write https://{text}")),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if host.contains('@') {
        return Err("secrets never stand in the file: use `username` and `password_file`".to_owned());
    }
    if path.contains('#') {
        return Err("what follows a # is never sent".to_owned());
    }
    if !path.chars().all(|c| c.is_ascii_graphic()) {
        return Err("blanks and letters beyond ASCII are written as %XX".to_owned());
    }
    if let Some(name) = path.split_once('?').and_then(|(_, query)| webs::secret_parameter(query)) {
        return Err(format!("`{name}` is a secret, which never stands in the file: use `token_file`"));
    }
    let (host, port) = host_and_port(host, if secure { 443 } else { 80 })?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Web { endpoint: Endpoint { host, port }, secure, path })
}

/// Host and port of an IoT hub, by TLS: `NAME.azure-devices.net`.
pub fn hub(text: &str) -> Result<Endpoint, String> {
    if text.contains("://") {
        return Err("a host's name, without a scheme".to_owned());
    }
    let (host, port) = host_and_port(text, MQTTS_PORT)?;
    Ok(Endpoint { host, port })
}

pub(super) fn host_and_port(text: &str, default: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or_else(String::new)?;
            host.parse::<Ipv6Addr>().map_err(|_| format!("{host} is no IPv6 address"))?;
            (host, if tail.is_empty() { None } else { Some(tail.strip_prefix(':').ok_or_else(String::new)?) })
        }
        None if text.matches(':').count() > 1 => {
            return Err(format!("an IPv6 address stands in brackets: [{text}]"));
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(
            "the host's name or address is missing or has a character that hosts do not have".to_owned()
        );
    }
    if looks_like_ipv4(host) && host.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(format!("{host} is no IPv4 address (four numbers from 0 to 255)"));
    }
    match port {
        None => Ok((host.to_owned(), default)),
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 => Ok((host.to_owned(), number)),
            Ok(_) | Err(_) => Err(format!("{port:?} is no port (1 to 65535)")),
        },
    }
}

fn looks_like_ipv4(host: &str) -> bool {
    host.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn level(text: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.is_empty() || !text.chars().all(is_fine) { Err(String::new()) } else { Ok(()) }
}

fn azure_device(text: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-:._*?!(),=@$'".contains(c);
    // `+`, `#` and `/` would change the topic, `%` its reading.
    let is_id = !text.is_empty() && text.len() <= 128 && text.chars().all(is_fine);
    if is_id { Ok(()) } else { Err(String::new()) }
}

fn topic(scalar: &Scalar) -> Result<(), String> {
    let filled = scalar.text.replace("{gateway}", "g");
    if filled.contains(['#', '+']) {
        return Err("a topic to publish under has no wildcards".to_owned());
    }
    if filled.starts_with('/') || filled.ends_with('/') {
        return Err("no slash at the ends".to_owned());
    }
    if let Some(level) = filled.split('/').find(|level| level.parse::<Name>().is_err()) {
        return Err(format!("the level {level:?} is not made of A-Z a-z 0-9 _ - (1 to 64 of them)"));
    }
    match filled.split('/').count() {
        1..=MOST_LEVELS => Ok(()),
        n => Err(format!("{n} levels; the layout adds two, and brokers of the field allow six in all")),
    }
}

/// One level of a topic (Sparkplug 3.0.0, section 4.1).
fn sparkplug_id(scalar: &Scalar) -> Result<(), String> {
    let text = &scalar.text;
    if text.contains(['+', '/', '#']) {
        return Err("it is one level of a topic".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("a character that no topic may have".to_owned());
    }
    match text.chars().count() {
        1..=64 => Ok(()),
        n => Err(format!("{n} characters")),
    }
}

/// An address of this machine and a port.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>().map_err(|_| {
        let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let host = text.rsplit_once(':').map_or("", |(host, _)| host);
        match (host, port) {
            ("localhost", Some(port)) => format!("write \"127.0.0.1:{port}\""),
            ("" | "*", Some(port)) => {
                format!("write \"127.0.0.1:{port}\" for this machine alone, \"0.0.0.0:{port}\" for everybody")
            }
            (_, Some(_)) => "an IP address of this machine, not a name".to_owned(),
            (_, None) => format!("a port is missing: \"{text}:8580\""),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_their_default_ports() {
        assert_eq!(address("10.0.0.5").unwrap(), "10.0.0.5:502");
        assert_eq!(address("meter.lan:1502").unwrap(), "meter.lan:1502");
        assert_eq!(address("[fe80::1]:502").unwrap(), "[fe80::1]:502");
        let to =
            |host: &str, port, secure| Broker { endpoint: Endpoint { host: host.to_owned(), port }, secure };
        assert_eq!(broker("mqtt://broker").unwrap(), to("broker", 1883, false));
        assert_eq!(broker("mqtts://broker").unwrap(), to("broker", 8883, true));
        assert_eq!(broker("mqtt://[::1]:2000/").unwrap(), to("::1", 2000, false));
        for wrong in ["10.0.0.500:502", "host:0", "host:99999", "", "a b:502", "fe80::1", "tcp://x"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        for wrong in ["broker:1883", "ssl://b", "mqtt://u:p@b", "mqtt://b/topic", "mqtt://"] {
            assert!(broker(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_has_its_port_by_the_scheme_and_its_path_as_it_stands() {
        let to = |host: &str, port, secure, path: &str| Web {
            endpoint: Endpoint { host: host.to_owned(), port },
            secure,
            path: path.to_owned(),
        };
        assert_eq!(web("https://h").unwrap(), to("h", 443, true, "/"));
        assert_eq!(web("http://h:8428/a/b?c=d&e=f").unwrap(), to("h", 8428, false, "/a/b?c=d&e=f"));
        assert_eq!(web("http://[::1]:80?x=1").unwrap(), to("::1", 80, false, "/?x=1"));
        for wrong in [
            "h:1",
            "ftp://h",
            "https://u:p@h",
            "https://h/#a",
            "https://h/a b",
            "https://h?token=x",
            "https://",
        ] {
            assert!(web(wrong).is_err(), "{wrong}");
        }
    }
}
