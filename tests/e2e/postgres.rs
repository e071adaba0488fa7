//! Upstream `postgres` against PostgreSQL itself: what is there afterwards is asked for by `psql`.

use crate::broker::free_port;
use crate::gateway::{Gateway, Kept, status_of, until};
use crate::meter::{Meters, small_profile};
use crate::outage::{meters_for_load, under_load};
use crate::tls::Authority;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A server of its own on a free port, with a database `plant` that belongs to the user `linesman`.
struct Server {
    child: Kept,
    port: u16,
    folder: PathBuf,
    more: Vec<String>,
}

/// The newest of those that Debian has installed.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("postgresql is missing: run tests/run once");
    let programs = versions.map(|version| version.unwrap().path().join("bin").join(name));
    programs.filter(|path| path.exists()).max().expect("postgresql is missing: run tests/run once")
}

/// PostgreSQL does not run as root: then as the user that its package makes.
fn as_nobody_special(program: &Path) -> Command {
    if !rustix::process::getuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A file or folder that the server may have for itself.
fn hand_over(path: &Path) {
    if rustix::process::getuid().is_root() {
        run(Command::new("chown").arg("-R").arg("postgres:postgres").arg(path));
    }
}

impl Server {
    fn start(folder: &Path) -> Server {
        Server::with(folder, "host all all 127.0.0.1/32 scram-sha-256\n", &[])
    }

    /// Who may come (pg_hba.conf), and more settings.
    fn with(folder: &Path, may_come: &str, more: &[String]) -> Server {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let own = folder.join("postgres");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("password"), "of-the-owner\n").unwrap();
        hand_over(&own);
        let data = own.join("data");
        let mut initdb = as_nobody_special(&program("initdb"));
        initdb
            .args(["--no-sync", "-U", "owner", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"])
            .arg("-D")
            .arg(&data)
            .arg(format!("--pwfile={}", own.join("password").display()));
        run(initdb.current_dir(&own));
        fs::write(data.join("pg_hba.conf"), format!("host all owner 127.0.0.1/32 scram-sha-256\n{may_come}"))
            .unwrap();
        let port = free_port();
        let child = spawn(&own, port, more);
        let server = Server { child, port, folder: own, more: more.to_vec() };
        server.until_up();
        server.sql_in("postgres", "create role linesman login password 'right'");
        server.sql_in("postgres", "create database plant owner linesman");
        fs::write(folder.join("right"), "right\n").unwrap();
        fs::write(folder.join("wrong"), "wrong\n").unwrap();
        server
    }

    fn until_up(&self) {
        until("PostgreSQL to answer", || self.asked("postgres", "select 1").ok());
    }

    fn kill(&mut self) {
        self.child.kill();
    }

    fn restart(&mut self) {
        // What is left of the killed one may hold its shared memory for a moment.
        self.child = until("PostgreSQL to start again", || {
            let mut child = spawn(&self.folder, self.port, &self.more);
            until("it to answer, or to give up", || {
                if child.ended().is_some() {
                    return Some(false);
                }
                self.asked("postgres", "select 1").is_ok().then_some(true)
            })
            .then_some(child)
        });
    }

    fn asked(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new("psql")
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "owner"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .env("PGPASSWORD", "of-the-owner")
            .env("PGCONNECT_TIMEOUT", "10")
            .env("PGTZ", "UTC")
            .output()
            .unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn sql_in(&self, database: &str, sql: &str) -> String {
        self.asked(database, sql).unwrap_or_else(|why| panic!("{sql}: {why}"))
    }

    fn sql(&self, sql: &str) -> String {
        self.sql_in("plant", sql)
    }

    fn number(&self, sql: &str) -> u64 {
        self.asked("plant", sql).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn rows(&self) -> u64 {
        self.number("select count(*) from linesman")
    }

    /// The epochs of which a number is missing before the last one that is there.
    fn holes(&self) -> String {
        self.sql(
            "select epoch, count(distinct seq), max(seq) from linesman group by epoch \
             having count(distinct seq) <> max(seq)",
        )
    }

    /// What is sampled goes beside the backlog: only when that has come to its end, what a stop leaves waiting is the newest.
    fn until_whole(&self) {
        until("the backlog to be there", || self.holes().is_empty().then_some(()));
    }

    /// Each number is there from the first to the last, and no value of a record twice.
    fn assert_whole(&self, epochs: u64) {
        assert_eq!(self.number("select count(distinct epoch) from linesman"), epochs);
        let holes = self.holes();
        assert_eq!(holes, "", "records are missing");
        let twice = self.sql(
            "select gateway, epoch, seq, point, count(*) from linesman group by 1, 2, 3, 4 having count(*) > 1",
        );
        assert_eq!(twice, "", "rows are there twice");
    }

    /// The upstream, with what else is to be said of it.
    fn upstream(&self, name: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "  - name: {name}\n    postgres: {{ url: \"postgresql://linesman@127.0.0.1:{port}/plant\", {more} }}\n"
        )
    }
}

fn spawn(own: &Path, port: u16, more: &[String]) -> Kept {
    let mut command = as_nobody_special(&program("postgres"));
    let log =
        fs::OpenOptions::new().create(true).append(true).open(own.with_file_name("postgres.log")).unwrap();
    command.arg("-D").arg(own.join("data")).args(["-p", &port.to_string()]);
    for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories="] {
        command.args(["-c", setting]);
    }
    for setting in more {
        command.args(["-c", setting]);
    }
    command.current_dir(own).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Kept::spawn(&mut command).unwrap()
}

/// Meters under load and a configuration with these upstreams.
fn loaded(folder: &Path, upstreams: &str) -> (Meters, String) {
    let profile = small_profile(folder);
    let meters = meters_for_load(&profile);
    let yaml = under_load(&profile, &meters.place, 1);
    let (head, _) = yaml.split_once("upstreams:").unwrap();
    (meters, format!("{head}upstreams:\n{upstreams}http: {{ listen: \"127.0.0.1:0\" }}\n"))
}

fn upstream(url: &str, name: &str) -> Value {
    let status = status_of(url);
    status["upstreams"].as_array().unwrap().iter().find(|upstream| upstream["name"] == name).unwrap().clone()
}

fn says(url: &str, name: &str, words: &str) {
    until(&format!("{name} to say: {words}"), || {
        upstream(url, name)["detail"].as_str().filter(|detail| detail.contains(words)).map(drop)
    });
}

/// Ends the gateway when next to nothing waits: the rest goes with the stop.
fn stop(gateway: Gateway, url: &str) {
    until("the backlog to be delivered", || (upstream(url, "db")["pending"].as_u64()? < 100).then_some(()));
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().0.success());
}

#[test]
fn values_are_there_as_they_were_read_digit_by_digit() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let profile = folder.path().join("exact.yaml");
    let points = "  energy: { holding: 0, type: u64, quantity: other, unit: \"1\" }\n  \
                  tenth: { holding: 10, type: u16, scale: 0.1, quantity: other, unit: \"1\" }\n  \
                  small: { holding: 11, type: u16, scale: 0.0001, quantity: other, unit: \"1\" }\n  \
                  name: { holding: 20, type: \"string:4\" }\n  \
                  relay: { coil: 3 }\n";
    fs::write(
        &profile,
        format!("profile: 1\nvendor: Nobody\nmodel: Exact\nkind: other\nsources: [\"this test\"]\npoints:\n{points}"),
    )
    .unwrap();
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    let yaml = format!(
        "gateway: {{ id: plant-7 }}\nlines:\n  - name: lan\n    tcp: {{ address: \"{}\" }}\n    devices:\n      \
         - {{ name: meter-1, profile: {}, unit: 1, every: 100ms }}\n      \
         - {{ name: nobody, profile: {}, unit: 9, every: 1s, timeout: 200ms }}\n\
         spool: {{ dir: spool }}\nupstreams:\n{}",
        meters.place,
        profile.display(),
        profile.display(),
        server.upstream("db", "password_file: right, timescale: true"),
    );
    let gateway = Gateway::start(folder.path(), &format!("{yaml}http: {{ listen: \"127.0.0.1:0\" }}\n"));
    let url = format!("http://{}", gateway.http());
    until("rows of both", || {
        let of = |device: &str| {
            server.number(&format!("select count(*) from linesman where device = '{device}'")) > 20
        };
        (of("meter-1") && of("nobody")).then_some(())
    });
    for (point, truth) in &meters.truth[&1] {
        let there = server.sql(&format!(
            "select distinct coalesce(value::text, text) from linesman where device = 'meter-1' and point = '{point}' \
             and bad is null"
        ));
        assert_eq!(there, truth.trim_matches('"'), "{point}");
    }
    assert_eq!(meters.truth[&1]["energy"].len(), 16, "more digits than a double has");
    let absent =
        "select count(*) from linesman where device = 'nobody' and (bad is null or value is not null)";
    assert_eq!(server.sql(absent), "0", "an absence has its reason");
    let age = "select max(abs(extract(epoch from now() - ts))) < 3600 and bool_and(gateway = 'plant-7') from linesman";
    assert_eq!(server.sql(age), "t");
    let warnings = upstream(&url, "db")["warnings"].clone();
    assert!(warnings[0].as_str().unwrap().contains("no extension timescaledb"), "{warnings}");
    server.until_whole();
    stop(gateway, &url);
    server.assert_whole(1);
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_a_backlog_has_every_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    let strict = server.upstream("db", "password_file: right") + "    history_rate: 200\n";
    let (_meters, yaml) = loaded(folder.path(), &strict);
    server.kill();
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    says(&url, "db", "refuses the connection");
    for _ in 0..3 {
        until("a backlog", || (upstream(&url, "db")["pending"].as_u64()? > 300).then_some(()));
        server.restart();
        let before = server.rows();
        until("some of it to be there", || (server.rows() > before + 500).then_some(()));
        server.kill();
        until("the outage to be noticed", || (upstream(&url, "db")["state"] != "connected").then_some(()));
    }
    server.restart();
    server.until_whole();
    stop(gateway, &url);
    server.assert_whole(1);
}

#[test]
fn a_gateway_that_is_killed_at_any_moment_leaves_every_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (_meters, yaml) = loaded(folder.path(), &server.upstream("db", "password_file: right"));
    for _ in 0..4 {
        let before = server.rows();
        let gateway = Gateway::start(folder.path(), &yaml);
        until("rows of this start", || (server.rows() > before + 500).then_some(()));
        gateway.kill();
    }
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    server.until_whole();
    stop(gateway, &url);
    let twice =
        "select count(*) from (select 1 from linesman group by device, point, ts having count(*) > 1) as t";
    assert_eq!(server.sql(twice), "0");
    // The window that a kill took out of memory is a loss that is told; nothing else is missing.
    let holes = server.number(
        "select count(*) from (select distinct epoch, seq - lag(seq, 1, 0::bigint) over (partition by epoch order by seq) \
         as step from (select distinct epoch, seq from linesman) as numbers) as steps where step > 1",
    );
    assert_eq!(holes, 0, "{}", server.sql("select * from linesman_gaps"));
}

#[test]
fn rights_that_are_taken_away_are_an_outage_and_a_row_that_is_refused_costs_its_record_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (_meters, yaml) = loaded(folder.path(), &server.upstream("db", "password_file: right"));
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    until("rows", || (server.rows() > 500).then_some(()));
    server.sql("revoke insert on linesman from linesman");
    says(
        &url,
        "db",
        "permission denied for table linesman [42501]: that user needs INSERT and SELECT on linesman",
    );
    until("readings to wait", || (upstream(&url, "db")["pending"].as_u64()? > 100).then_some(()));
    assert_eq!(upstream(&url, "db")["dropped"], serde_json::json!({}));
    server.sql("grant insert on linesman to linesman");
    until("the backlog", || (upstream(&url, "db")["pending"].as_u64()? < 100).then_some(()));
    // From here on meter-1 is refused.
    let last = server.number("select max(seq) from linesman");
    server.sql("alter table linesman add constraint not_this_one check (device <> 'meter-1') not valid");
    let account = until("some to be refused, and others not", || {
        let account = upstream(&url, "db");
        let told = server.number("select count(*) from linesman_gaps where reason = 'refused'");
        let others = server.number("select max(seq) from linesman") > last + 300;
        (account["dropped"]["refused"].as_u64()? > 5 && told > 0 && others).then_some(account)
    });
    assert_eq!(account["state"], "connected", "{account}");
    let aside = fs::read_to_string(folder.path().join("spool/refused/db.jsonl")).unwrap();
    for line in aside.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(
            line["device"] == "meter-1" && line["reason"].as_str().unwrap().contains("[23514]"),
            "{line}"
        );
    }
    until("each to be there or set aside", || {
        let aside = fs::read_to_string(folder.path().join("spool/refused/db.jsonl")).unwrap();
        let last = server.number("select max(seq) from linesman");
        let there = server.number(&format!("select count(distinct seq) from linesman where seq <= {last}"));
        let numbers =
            aside.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["seq"].as_u64());
        let aside = numbers.filter(|seq| *seq <= last).count() as u64;
        (there + aside == last).then_some(())
    });
    stop(gateway, &url);
}

#[test]
fn what_is_wrong_with_a_database_is_said_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    server.sql(
        "create table other (ts timestamptz, gateway text, device text, point text, value numeric(12,3))",
    );
    server.sql("create table keyless (ts timestamptz, gateway text, device text, point text, value float8, text text, \
                unit text, bad text, clock_unsure boolean, epoch text, seq bigint)");
    server.sql("alter table other owner to linesman; alter table keyless owner to linesman");
    let ours = Authority::new(folder.path(), "ours");
    let elsewhere = server.upstream("elsewhere", "password_file: right").replace("/plant", "/nowhere");
    let upstreams = [
        server.upstream("stranger", "password_file: wrong"),
        server.upstream("mute", "table: linesman"),
        server.upstream("rounding", "password_file: right, table: other"),
        server.upstream("keyless", "password_file: right, table: keyless"),
        server.upstream("absent", "password_file: right, table: absent, create: false"),
        server.upstream("schemaless", "password_file: right, table: nowhere.readings"),
        elsewhere,
        server.upstream("open", &format!("password_file: right, ca_file: {}", ours.file("ca.pem"))),
    ];
    let (_meters, yaml) = loaded(folder.path(), &upstreams.concat());
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    for (name, words) in [
        ("stranger", "password authentication failed for user \"linesman\" [28P01]"),
        ("mute", "give `password_file` or `password_credential`"),
        ("rounding", "the table other has value as numeric(12,3), not as numeric"),
        ("keyless", "keyless needs a unique index over (gateway, device, point, ts)"),
        ("absent", "there is no table absent, and `create: false` leaves it to you"),
        ("schemaless", "make the schema"),
        ("open", "the server does no TLS, so nothing is sent"),
        ("elsewhere", "database \"nowhere\" does not exist [3D000]"),
    ] {
        says(&url, name, words);
        let account = upstream(&url, name);
        assert_eq!(
            (&account["delivered"], &account["dropped"]),
            (&0.into(), &serde_json::json!({})),
            "{account}"
        );
    }
}

#[test]
fn a_server_is_believed_by_its_certificate_or_hears_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let others = Authority::new(folder.path(), "others");
    ours.sign("server", "IP:127.0.0.1,DNS:localhost", "now", 300);
    ours.sign("linesman", "DNS:plant-7", "now", 300);
    let secrets = folder.path().join("of-the-server");
    fs::create_dir(&secrets).unwrap();
    for (from, to) in [("server.pem", "server.pem"), ("server.key", "server.key"), ("ca.pem", "ca.pem")] {
        fs::copy(ours.file(from), secrets.join(to)).unwrap();
    }
    run(Command::new("chmod").args(["600"]).arg(secrets.join("server.key")));
    hand_over(&secrets);
    let setting = |name: &str, file: &str| format!("{name}={}", secrets.join(file).display());
    // Who we are is said by our certificate alone.
    let server = Server::with(
        folder.path(),
        "hostssl all linesman 127.0.0.1/32 cert\n",
        &[
            "ssl=on".to_owned(),
            setting("ssl_cert_file", "server.pem"),
            setting("ssl_key_file", "server.key"),
            setting("ssl_ca_file", "ca.pem"),
        ],
    );
    let identity =
        format!("cert_file: {}, key_file: {}", ours.file("linesman.pem"), ours.file("linesman.key"));
    let upstreams = [
        server.upstream("db", &format!("ca_file: {}, {identity}", ours.file("ca.pem"))),
        server.upstream(
            "unbelieved",
            &format!("table: unbelieved, ca_file: {}, {identity}", others.file("ca.pem")),
        ),
        server.upstream("nobody", &format!("table: nobody, ca_file: {}", ours.file("ca.pem"))),
        server.upstream("plain", "table: plain"),
    ];
    let (_meters, yaml) = loaded(folder.path(), &upstreams.concat());
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    says(&url, "unbelieved", "signed by nobody that is believed here");
    says(&url, "nobody", "requires a valid client certificate");
    says(&url, "plain", "no pg_hba.conf entry");
    until("rows by TLS", || (server.rows() > 500).then_some(()));
    let secure =
        "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'linesman'";
    assert_eq!(server.sql(secure), "t");
    for table in ["unbelieved", "nobody", "plain"] {
        assert_eq!(server.sql(&format!("select to_regclass('{table}') is null")), "t");
        assert_eq!(upstream(&url, table)["delivered"], 0);
    }
    server.until_whole();
    stop(gateway, &url);
    server.assert_whole(1);
}
