//! Brokers by TLS: mosquitto that asks for a certificate, and far ends (openssl s_server) that are not who they should be.

use crate::broker::{Broker, free_port};
use crate::gateway::{Gateway, Kept, PATIENCE, status_of, until};
use crate::inbox::Inbox;
use crate::meter::small_profile;
use crate::outage::{meters_for_load, under_load};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

/// Certificates made by openssl, in a folder.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Authority {
        let authority = Authority { folder: folder.join(name) };
        std::fs::create_dir(&authority.folder).unwrap();
        authority.openssl(
            "now",
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 3650 -subj /CN={name}"
            ),
        );
        authority
    }

    /// A certificate for `host`, valid for so many days from a date on, in whatever form faketime takes it.
    pub fn sign(&self, name: &str, host: &str, from: &str, days: u32) {
        let request =
            format!("req -new -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}");
        self.openssl("now", &request);
        std::fs::write(self.folder.join(format!("{name}.ext")), format!("subjectAltName={host}\n")).unwrap();
        self.openssl(
            from,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile {name}.ext -out {name}.pem"
            ),
        );
    }

    fn openssl(&self, date: &str, arguments: &str) {
        let mut command = Command::new("faketime");
        command.arg(date).arg("openssl").args(arguments.split(' ')).current_dir(&self.folder);
        let output = command.output().expect("faketime is missing: run tests/run once");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// `openssl s_server` on a port of its own; what it is told comes out of its standard output.
struct Server {
    _child: Kept,
    port: u16,
    said: mpsc::Receiver<String>,
}

impl Server {
    fn start(authority: &Authority, name: &str, flags: &[&str]) -> Server {
        let mut command = Command::new("stdbuf");
        command
            .args(["-oL", "openssl", "s_server", "-accept", "127.0.0.1:0"])
            .args(["-cert", &authority.file(&format!("{name}.pem"))])
            .args(["-key", &authority.file(&format!("{name}.key"))])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = Kept::spawn(&mut command).expect("openssl is missing: run tests/run once");
        let said = child.output();
        loop {
            let line = said.recv_timeout(PATIENCE).expect("s_server did not start");
            if let Some(port) = line.strip_prefix("ACCEPT 127.0.0.1:") {
                return Server { _child: child, port: port.trim().parse().unwrap(), said };
            }
        }
    }
}

fn upstream(url: &str, name: &str) -> Value {
    let status = status_of(url);
    status["upstreams"].as_array().unwrap().iter().find(|upstream| upstream["name"] == name).unwrap().clone()
}

#[test]
fn readings_reach_the_second_broker_of_two_by_tls_under_our_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    authority.sign("server", "DNS:localhost,IP:127.0.0.1", "now", 6);
    authority.sign("gateway", "DNS:plant-7", "now", 300);
    let secure = free_port();
    let broker = Broker::with(
        folder.path(),
        &[
            format!("listener {secure} 127.0.0.1"),
            format!("cafile {}", authority.file("ca.pem")),
            format!("certfile {}", authority.file("server.pem")),
            format!("keyfile {}", authority.file("server.key")),
            "require_certificate true".to_owned(),
            // Where the test is root: mosquitto must be able to read the key.
            "user root".to_owned(),
        ],
    );
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let profile = small_profile(folder.path());
    let meters = meters_for_load(&profile);
    let plain = format!("mqtt: {{ url: \"mqtt://127.0.0.1:{}\" }}", broker.port());
    let yaml = under_load(&profile, &meters.place, broker.port()).replace(
        &plain,
        &format!(
            "mqtt:\n      urls: [ \"mqtts://localhost:{}\", \"mqtts://localhost:{secure}\" ]\n      ca_file: {}\n      cert_file: {}\n      key_file: {}\nhttp: {{ listen: \"127.0.0.1:0\" }}",
            free_port(),
            authority.file("ca.pem"),
            authority.file("gateway.pem"),
            authority.file("gateway.key"),
        ),
    );
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    inbox.until("records by TLS", |records| (records.len() > 100).then_some(()));
    let status = upstream(&url, "scada");
    assert_eq!(status["state"], "connected");
    assert_eq!(
        status["warnings"].as_array().unwrap(),
        &["the broker's certificate ends in less than 7 days"],
        "of the two certificates one ends soon"
    );
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait().0.success());
}

#[test]
fn who_is_not_who_it_should_be_hears_nothing_of_ours_and_status_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let others = Authority::new(folder.path(), "others");
    ours.sign("right", "DNS:localhost", "now", 300);
    ours.sign("elsewhere", "DNS:elsewhere.example.org", "now", 300);
    ours.sign("expired", "DNS:localhost", "2020-01-01 00:00:00", 30);
    others.sign("stranger", "DNS:localhost", "now", 300);
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let cases = [
        ("wrong-name", Server::start(&ours, "elsewhere", &[]), "for another name"),
        ("unknown", Server::start(&others, "stranger", &[]), "signed by nobody that is believed here"),
        ("expired", Server::start(&ours, "expired", &[]), "it was valid until 2020-01-31"),
        ("too-old", Server::start(&ours, "right", &old), "neither TLS 1.2 nor TLS 1.3"),
        (
            "demanding",
            Server::start(&ours, "right", &["-Verify", "1", "-verify_return_error"]),
            "certificate of ours",
        ),
    ];
    let profile = small_profile(folder.path());
    let meters = meters_for_load(&profile);
    let yaml = under_load(&profile, &meters.place, 1);
    let (head, _) = yaml.split_once("upstreams:").unwrap();
    let upstreams: String = cases
        .iter()
        .map(|(name, server, _)| {
            let ca = ours.file("ca.pem");
            format!(
                "  - {{ name: {name}, mqtt: {{ url: \"mqtts://localhost:{}\", ca_file: {ca} }} }}\n",
                server.port
            )
        })
        .collect();
    let yaml = format!("{head}upstreams:\n{upstreams}http: {{ listen: \"127.0.0.1:0\" }}\n");
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    for (name, _, words) in &cases {
        until(&format!("{name} to be said: {words}"), || {
            let status = upstream(&url, name);
            status["detail"].as_str().filter(|detail| detail.contains(words)).map(drop)
        });
    }
    until("readings to wait", || (upstream(&url, "expired")["pending"].as_u64()? > 50).then_some(()));
    for (name, server, _) in &cases {
        let heard: Vec<String> = server
            .said
            .try_iter()
            .filter(|line| line.contains("MQTT") || line.contains("linesman"))
            .collect();
        assert!(heard.is_empty(), "{name} heard {heard:?}");
        assert_eq!(upstream(&url, name)["delivered"], 0);
    }
}
