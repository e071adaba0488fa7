//! Two gateways with one client id: each throws the other out, until one of them says so and waits.

use crate::broker::Broker;
use crate::gateway::{Gateway, status_of, until};
use crate::meter::{Meters, small_profile};
use serde_json::Value;

fn gateway(folder: &std::path::Path, meters: &Meters, port: u16, version: &str) -> (Gateway, String) {
    let profile = small_profile(folder);
    let yaml = format!(
        "gateway: {{ id: plant-7 }}\nlines:\n  - name: lan\n    tcp: {{ address: \"{}\" }}\n    devices:\n      - {{ name: m, profile: {}, unit: 1, every: 200ms }}\nspool: {{ dir: spool }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\nupstreams:\n  - name: scada\n    mqtt: {{ url: \"mqtt://127.0.0.1:{port}\", client_id: twin, version: {version} }}\n",
        meters.place,
        profile.display(),
    );
    let gateway = Gateway::start(folder, &yaml);
    let url = format!("http://{}", gateway.http());
    (gateway, url)
}

fn upstream(url: &str) -> Value {
    status_of(url)["upstreams"][0].clone()
}

#[test]
fn two_gateways_with_one_client_id_are_told_so_and_make_peace() {
    for (version, words) in [("\"3.1.1\"", "same client id"), ("5", "same client id")] {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let broker = Broker::start(folders[0].path());
        let meters = Meters::tcp(&[(small_profile(folders[0].path()), 1)]);
        let plants = folders.each_ref().map(|folder| gateway(folder.path(), &meters, broker.port(), version));
        let (waits, goes_on) = until("one of them to say why it waits", || {
            let now = plants.each_ref().map(|(_, url)| upstream(url));
            let waits =
                now.iter().position(|of| of["detail"].as_str().is_some_and(|why| why.contains(words)))?;
            Some((waits, 1 - waits))
        });
        // It waits for a minute at least, and the other delivers.
        let before = [waits, goes_on].map(|n| upstream(&plants[n].1));
        until("the other to deliver", || {
            let delivered = |of: &Value| of["delivered"].as_u64().unwrap();
            (delivered(&upstream(&plants[goes_on].1)) > delivered(&before[1]) + 20).then_some(())
        });
        let now = upstream(&plants[waits].1);
        assert_eq!(
            (&now["state"], &now["reconnects"]),
            (&"backing-off".into(), &before[0]["reconnects"]),
            "{now}"
        );
        assert!(now["reconnects"].as_u64().unwrap() <= 6, "{now}");
    }
}
