//! mosquitto that asks who comes: a wrong password is said, and the right one needs no restart.

use crate::broker::Broker;
use crate::gateway::{Gateway, status_of, until};
use crate::meter::{Meters, small_profile};
use std::fs;
use std::process::Command;

#[test]
fn a_wrong_password_is_said_and_a_changed_file_is_read_at_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (passwords, secret) = (folder.path().join("passwords"), folder.path().join("secret"));
    let made = Command::new("mosquitto_passwd")
        .arg("-b")
        .arg("-c")
        .args([passwords.to_str().unwrap(), "plant-7", "right"])
        .status();
    assert!(made.expect("mosquitto_passwd is missing: run tests/run once").success());
    let broker = Broker::with(
        folder.path(),
        &[
            "allow_anonymous false".to_owned(),
            format!("password_file {}", passwords.display()),
            "user root".to_owned(),
        ],
    );
    let profile = small_profile(folder.path());
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    for version in ["\"3.1.1\"", "5"] {
        fs::write(&secret, "not-this-one\n").unwrap();
        let yaml = format!(
            "gateway: {{ id: plant-7 }}\nlines:\n  - name: lan\n    tcp: {{ address: \"{}\" }}\n    devices:\n      - {{ name: m, profile: {}, unit: 1, every: 200ms }}\nspool: {{ dir: spool }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\nupstreams:\n  - name: scada\n    mqtt: {{ url: \"mqtt://127.0.0.1:{}\", username: plant-7, password_file: secret, version: {version} }}\n",
            meters.place,
            profile.display(),
            broker.port(),
        );
        let gateway = Gateway::start(folder.path(), &yaml);
        let url = format!("http://{}", gateway.http());
        let said = until("the refusal to be said", || {
            let upstream = status_of(&url)["upstreams"][0].clone();
            upstream["detail"].as_str().filter(|_| upstream["state"] == "backing-off").map(str::to_owned)
        });
        assert!(said.contains("user name or password") && !said.contains("not-this-one"), "{said}");
        fs::write(&secret, "right\n").unwrap();
        until("it to be connected", || {
            let upstream = &status_of(&url)["upstreams"][0];
            (upstream["state"] == "connected" && upstream["delivered"].as_u64()? > 0).then_some(())
        });
    }
}
