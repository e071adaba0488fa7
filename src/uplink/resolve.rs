//! Names to addresses on the path that the connection will take.

use super::dns::{self, Answer, Kind};
use super::interface::Interface;
use super::path::Path;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};

/// How long one server is waited for, and how often all are asked.
const WAIT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// The C library's limits (resolv.conf(5)): servers, and domains to search.
const SERVERS: usize = 3;
const DOMAINS: usize = 6;
/// RFC 1035, 4.2.1, and room for those that send more.
const LARGEST: usize = 1500;
const PORT: u16 = 53;

/// Whom to ask, and what to put behind a name that has no dot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Servers {
    addresses: Vec<SocketAddr>,
    domains: Vec<String>,
}

/// The addresses of a host, in the order in which they are tried.
pub(super) async fn addresses(path: &Path, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let Some(interface) = path.interface() else {
        return lookup_host((host, port)).await.map(Iterator::collect);
    };
    let found = match host.parse::<IpAddr>() {
        Ok(literal) => vec![literal],
        Err(_) => match of_hosts(&fs::read_to_string("/etc/hosts").unwrap_or_default(), host) {
            found if found.is_empty() => ask_all(path, &servers(interface), host).await?,
            found => found,
        },
    };
    Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// `/etc/hosts` (hosts(5)).
fn of_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) {
            found.push(address);
        }
    }
    found
}

/// Those of the interface, where its manager says so, and behind them the system's. What these files of systemd hold is its
/// own affair and may change: then there are still the system's servers.
fn servers(interface: &str) -> Servers {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let index = Interface::named(interface).index().unwrap_or(0);
    let mut own = of_link(&read(&format!("/run/systemd/resolve/netif/{index}")), "SERVERS=");
    own.extend(of_link(&read(&format!("/run/systemd/netif/links/{index}")), "DNS="));
    let mut all = of_resolv_conf(&read("/etc/resolv.conf"));
    let behind = ["/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];
    for path in behind {
        // What listens on this machine is a stub that asks over whatever path it likes.
        if all.addresses.iter().all(|server| server.ip().is_loopback()) {
            let more = of_resolv_conf(&read(path));
            all.addresses = [more.addresses, all.addresses].concat();
            all.domains.extend(more.domains);
        }
    }
    all.addresses = [own, all.addresses].concat();
    all.addresses.truncate(SERVERS);
    all.domains.truncate(DOMAINS);
    all
}

/// resolv.conf(5).
fn of_resolv_conf(text: &str) -> Servers {
    let mut servers = Servers::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.addresses.extend(words.next().and_then(server)),
            // The last of these counts.
            Some("search" | "domain") => servers.domains = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    servers
}

/// `KEY=ADDRESS ADDRESS…`, as systemd keeps it of a link.
fn of_link(text: &str, key: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(key));
    lines.flat_map(str::split_whitespace).filter_map(server).collect()
}

/// An address, maybe with a port, and for systemd with a name behind a `#`.
fn server(word: &str) -> Option<SocketAddr> {
    let word = word.split('#').next().unwrap_or(word);
    let bare = word.parse().map(|address: IpAddr| SocketAddr::new(address, PORT));
    bare.ok().or_else(|| word.parse().ok())
}

/// The names to ask for: a name without a dot is looked for in the domains of this site first.
fn names(host: &str, domains: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    if !host.contains('.') {
        names.extend(domains.iter().map(|domain| format!("{host}.{}", domain.trim_matches('.'))));
    }
    names.push(host.to_owned());
    names
}

async fn ask_all(path: &Path, servers: &Servers, host: &str) -> io::Result<Vec<IpAddr>> {
    let mut said = io::Error::new(io::ErrorKind::NotFound, "there is no name server: /etc/resolv.conf");
    for name in names(host, &servers.domains) {
        match ask(path, servers, &name).await {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => said = io::Error::new(io::ErrorKind::NotFound, "no server knows it"),
            Err(error) => said = error,
        }
    }
    Err(said)
}

/// One after the other, until one answers; nothing found where the name does not exist.
async fn ask(path: &Path, servers: &Servers, name: &str) -> io::Result<Vec<IpAddr>> {
    let mut said = io::Error::new(io::ErrorKind::NotFound, "there is no name server: /etc/resolv.conf");
    for server in std::iter::repeat_n(&servers.addresses, ROUNDS).flatten() {
        match ask_one(path, *server, name).await {
            Ok(found) => return Ok(found),
            Err(error) => {
                said = io::Error::new(error.kind(), format!("name server {}: {error}", server.ip()))
            }
        }
    }
    Err(said)
}

/// Both kinds of addresses at once; where only one answer comes in time, its.
async fn ask_one(path: &Path, server: SocketAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    let socket = path.udp(server).await?;
    let mut open = Vec::new();
    for kind in [Kind::V4, Kind::V6] {
        let question = dns::question(random()?, name, kind);
        let question = question.ok_or_else(|| io::Error::other("it is no name"))?;
        socket.send(&question).await?;
        open.push((kind, question));
    }
    let (mut found, mut buffer) = (Vec::new(), [0; LARGEST]);
    let (until, mut heard) = (Instant::now() + WAIT, false);
    while !open.is_empty() {
        let count = match timeout_at(until, socket.recv(&mut buffer)).await {
            Ok(count) => count?,
            Err(_) if heard => break,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")),
        };
        let octets = buffer.get(..count).unwrap_or_default();
        let answered =
            open.iter().enumerate().find_map(|(at, (_, asked))| Some((at, dns::answer(octets, asked)?)));
        let Some((at, answer)) = answered else { continue };
        heard = true;
        let (kind, _) = open.remove(at);
        match (answer, kind) {
            (Answer::Addresses(more), Kind::V4) => found = [more, found].concat(),
            (Answer::Addresses(more), Kind::V6) => found.extend(more),
            (Answer::NoSuchName, _) => {}
            (Answer::Failed(code), _) => return Err(io::Error::other(format!("it says code {code}"))),
        }
    }
    Ok(found)
}

/// Not to be guessed by whoever would like to answer in the server's place.
fn random() -> io::Result<u16> {
    let mut octets = [0; 2];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_the_manual_says() {
        let text = "127.0.0.1 localhost\n192.0.2.1\tBroker.example.org broker # the one\n# 192.0.2.2 broker\n2001:db8::1 broker\n";
        let found = of_hosts(text, "broker");
        assert_eq!(found, ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert!(of_hosts(text, "bro").is_empty() && of_hosts("", "x").is_empty());
    }

    #[test]
    fn servers_are_read_from_all_who_keep_them() {
        let text = "# by hand\nnameserver 192.0.2.53\nnameserver fe80::1%3\nsearch a.example b.example\noptions ndots:1\n";
        let expected = Servers {
            addresses: vec!["192.0.2.53:53".parse().unwrap()],
            domains: vec!["a.example".to_owned(), "b.example".to_owned()],
        };
        assert_eq!(of_resolv_conf(text), expected);
        let link = "LLMNR=yes\nDNS=192.0.2.1 192.0.2.2:5353#dns.example [2001:db8::1]:53\n";
        let expected =
            ["192.0.2.1:53", "192.0.2.2:5353", "[2001:db8::1]:53"].map(|text| text.parse().unwrap());
        assert_eq!(of_link(link, "DNS="), expected);
    }

    #[test]
    fn a_name_without_a_dot_is_looked_for_at_home_first() {
        let domains = ["plant.example".to_owned()];
        assert_eq!(names("broker", &domains), ["broker.plant.example", "broker"]);
        assert_eq!(names("broker.org", &domains), ["broker.org"]);
    }
}
