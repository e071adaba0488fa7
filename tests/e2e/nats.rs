//! nats-server as an MQTT broker (Debian's, whose topics know no dots): what is kept, and a kill in the middle.

use crate::broker::free_port;
use crate::ear::Ear;
use crate::gateway::{Gateway, Kept, until};
use crate::meter::{Meters, small_profile};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

fn nats(folder: &Path, port: u16, own: u16) -> Kept {
    let config = folder.join("nats.conf");
    let store = folder.join("store");
    let text = format!(
        "server_name: plant\nlisten: \"127.0.0.1:{own}\"\njetstream {{ store_dir: \"{}\" }}\nmqtt {{ listen: \"127.0.0.1:{port}\" }}\n",
        store.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("nats-server");
    command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Kept::spawn(&mut command).expect("nats-server is missing: run tests/run once");
    until("nats-server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    child
}

fn numbers(ear: &Ear) -> BTreeSet<u64> {
    let records =
        ear.messages.iter().filter(|message| message.topic.contains("/d/") || message.topic.contains("/h/"));
    let parsed = records.map(|message| serde_json::from_str::<serde_json::Value>(&message.payload).unwrap());
    parsed.filter_map(|record| record["seq"].as_u64()).collect()
}

#[test]
fn nats_keeps_what_is_retained_and_a_kill_costs_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let (port, own) = (free_port(), free_port());
    let mut server = nats(folder.path(), port, own);
    // A session that the broker keeps, so that nothing passes this reader by.
    let reader = ["-c", "-i", "reader"];
    let mut ear = Ear::open(port, &["linesman/#"], &reader);
    let profile = small_profile(folder.path());
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    let yaml = format!(
        "gateway: {{ id: plant-7 }}\nlines:\n  - name: lan\n    tcp: {{ address: \"{}\" }}\n    devices:\n      - {{ name: m, profile: {}, unit: 1, every: 100ms }}\nspool: {{ dir: spool }}\nupstreams:\n  - name: scada\n    mqtt: {{ url: \"mqtt://127.0.0.1:{port}\" }}\n",
        meters.place,
        profile.display(),
    );
    let _gateway = Gateway::start(folder.path(), &yaml);
    let mut late = {
        ear.until("a reading", |message| message.topic == "linesman/plant-7/d/m");
        Ear::open(port, &["linesman/plant-7/status"], &[])
    };
    late.until("what is kept", |message| message.retained && message.payload.contains("\"online\":true"));
    until("some readings", || {
        ear.take();
        (numbers(&ear).len() >= 20).then_some(())
    });
    server.kill();
    server = nats(folder.path(), port, own);
    let before = numbers(&ear).len();
    until("as many again, and none missing", || {
        ear.take();
        let seen = numbers(&ear);
        let last = *seen.last()?;
        (seen.len() >= before + 40 && (1..=last).all(|n| seen.contains(&n))).then_some(())
    });
    drop(server);
}
