//! Loads, checks and holds the whole configuration as one value.
//!
//! ```text
//! file ──► tree ──► overlays (environment, --set) ──► walk against the table ──► build, cross-check
//! ```
//!
//! # Promises
//! - Everything is checked before anything starts, and all problems are told at once.
//! - An unknown key is an error; a key that does not act yet is an error that says so.
//! - No port and no socket is opened here; of the disk only the configuration and profiles are read.

mod adapt;
mod build;
mod databases;
mod devices;
mod encodings;
mod endpoints;
mod format;
mod less;
mod overlay;
mod presets;
mod serial;
mod site;
mod uplinks;
mod upstreams;
mod webs;

pub use crate::profile::{Problem, Problems};
pub use build::host_name;
pub use endpoints::{Broker, address, broker};
pub use format::CONFIG;
pub use overlay::Overlays;
pub use site::Chains;

use crate::model::Name;
use crate::profile::yaml::{Report, Scalar, node, scalar, walk};
use crate::{app, bus, profile, serve, spool, uplink, upstream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/linesman/linesman.yaml";

/// How often a point is read when neither the configuration nor its profile says.
pub const DEFAULT_EVERY: Duration = Duration::from_secs(10);

/// The configuration, checked and resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub gateway: Name,
    pub lines: Vec<bus::LineConfig>,
    pub spool: spool::Config,
    pub upstreams: Vec<upstream::Config>,
    /// In order of preference; none: the system's default route.
    pub uplinks: Vec<uplink::Config>,
    /// No key, no listener.
    pub http: Option<serve::Config>,
    /// When the wall clock is taken for right.
    pub clock: app::time::Config,
    /// Eight hexadecimal digits over what the files mean, not how they are written.
    pub hash: String,
    /// For registers in the 1-based notation of manuals: what goes on the wire.
    pub wire: Vec<String>,
    /// What is doubtful but no reason to refuse.
    pub warnings: Vec<Problem>,
}

/// Reads the configuration and every profile it names.
pub fn load(path: &Path, overlays: &Overlays) -> Result<Config, Problems> {
    load_with(path, overlays, &[PathBuf::from(profile::OWN_FOLDER)])
}

/// The same with other folders for the owner's profiles.
pub fn load_with(path: &Path, overlays: &Overlays, dirs: &[PathBuf]) -> Result<Config, Problems> {
    let file = path.to_string_lossy().into_owned();
    let octets = node::octets(path)
        .map_err(|error| Problem::whole(&file, format!("cannot read the configuration: {error}")))?;
    let text = node::decode(&file, octets)?;
    let base = path.parent().unwrap_or(Path::new(""));
    parse(&file, &text, overlays, base, dirs)
}

/// The configuration in a text; relative paths start at `base`.
pub fn parse(
    file: &str,
    text: &str,
    overlays: &Overlays,
    base: &Path,
    dirs: &[PathBuf],
) -> Result<Config, Problems> {
    let mut report = Report::new(file, text);
    let config = node::parse(text, &mut report).map(|mut root| {
        overlays.apply(&mut root, &mut report);
        walk::check(&root, &CONFIG, &mut report);
        build::config(&root, base, dirs, &mut report)
    });
    let problems = report.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        Some(_) | None => Err(problems),
    }
}

/// A duration as the configuration writes it, for the command line.
pub fn duration(text: &str) -> Result<Duration, String> {
    let scalar = Scalar { text: text.to_owned(), plain: true };
    scalar::duration(&scalar).map_err(|help| {
        if help.is_empty() { "expected a duration (500ms, 10s, 5m, 1h, 30d)".to_owned() } else { help }
    })
}

/// A size as the configuration writes it, in octets, for the command line.
pub fn size(text: &str) -> Result<u64, String> {
    let scalar = Scalar { text: text.to_owned(), plain: true };
    scalar::size(&scalar).map_err(|help| {
        if help.is_empty() { "expected a size (512KiB, 64MiB, 1GiB)".to_owned() } else { help }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Every;
    use std::num::NonZeroU32;

    const METER: &str = "\
profile: 1
vendor: Acme
model: X1
kind: pressure
modbus: { min_gap: 20ms }
points:
  p1: { holding: 0, type: f32, quantity: pressure, unit: bar, every: 2s }
  p2: { holding: 2, type: f32, quantity: pressure, unit: bar }
  p3: { holding: 4, type: f32, quantity: pressure, unit: bar, every: 1m }
";

    const GOOD: &str = "\
gateway: { id: plant-7 }
lines:
  - name: rs485-1
    serial: { port: /dev/ttyUSB0, baud: 19200, parity: even }
    every: 30s
    devices:
      - { name: a, profile: ./x1.yaml, unit: 1 }
      - { name: b, profile: ./x1.yaml, unit: 2, every: 5s, points: { p3: { every: continuous } } }
  - name: lan
    tcp: { address: 10.0.0.5 }
    devices:
      - { name: c, profile: ./x1.yaml, unit: 255, min_gap: 50ms, enabled: false }
spool: { dir: spool, max_size: 512MiB, max_age: 7d, commit_every: 2s }
upstreams:
  - name: scada
    mqtt: { url: \"mqtt://broker\", insecure: true, topic: \"site/{gateway}\", username: u, password_file: secret }
  - { name: out, stdout: {} }
http: { listen: \"127.0.0.1:8580\" }
clock: { sync_file: gps/fix }
";

    fn load_text(text: &str, overlays: &Overlays) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x1.yaml"), METER).unwrap();
        parse("linesman.yaml", text, overlays, dir.path(), &[]).map_err(|problems| problems.to_string())
    }

    fn seconds(n: u64) -> Every {
        Every::Period(Duration::from_secs(n))
    }

    #[test]
    fn the_nearest_word_on_a_period_wins() {
        let config = load_text(GOOD, &Overlays::default()).unwrap();
        let devices: Vec<_> = config.lines.iter().flat_map(|line| &line.devices).collect();
        assert_eq!(devices[0].every, [seconds(2), seconds(30), seconds(60)]);
        assert_eq!(devices[1].every, [seconds(5), seconds(5), Every::Continuous]);
        assert_eq!(devices[2].every, [seconds(2), Every::Period(DEFAULT_EVERY), seconds(60)]);
    }

    #[test]
    fn everything_is_resolved() {
        let config = load_text(GOOD, &Overlays::default()).unwrap();
        assert_eq!(config.gateway.as_str(), "plant-7");
        let [serial, lan] = config.lines.as_slice() else { panic!() };
        assert!(
            matches!(&serial.port, bus::PortConfig::Serial(port) if port.baud == 19200 && port.stop_bits == 1)
        );
        assert_eq!(lan.port, bus::PortConfig::Tcp { address: "10.0.0.5:502".to_owned(), in_flight: 1 });
        assert_eq!(serial.devices[0].min_gap, Duration::from_millis(20));
        assert_eq!((lan.devices[0].min_gap, lan.devices[0].enabled), (Duration::from_millis(50), false));
        assert_eq!((config.spool.max_size, config.spool.commit_every), (512 << 20, Duration::from_secs(2)));
        let upstream::Kind::Mqtt(mqtt) = &config.upstreams[0].kind else { panic!() };
        assert_eq!(
            (mqtt.access.brokers[0].to_string(), mqtt.topic.as_str()),
            ("broker:1883".to_owned(), "site/plant-7")
        );
        let sync_file = config.clock.sync_file.as_deref();
        assert!(sync_file.is_some_and(|file| file.is_absolute() && file.ends_with("gps/fix")));
        assert!(!config.clock.trust_always);
        assert_eq!(config.warnings.len(), 1, "the password file is not there yet");
        let site = config.site();
        assert_eq!(site.devices.len(), 3);
        assert_eq!(site.device("b").unwrap().every, Duration::ZERO);
        let points = |index: usize| site.devices[index].points.as_ptr();
        assert_eq!(points(0), points(1), "devices of one profile share what is said of its points");
    }

    #[test]
    fn a_broker_gets_live_readings_first_unless_told_otherwise_and_lines_never_do() {
        let ways = |text: &str| {
            load_text(text, &Overlays::default()).map(|config| {
                config
                    .upstreams
                    .iter()
                    .map(|u| (u.order, u.history_rate.map_or(0, NonZeroU32::get)))
                    .collect::<Vec<_>>()
            })
        };
        use upstream::Order::{LiveFirst, Strict};
        assert_eq!(ways(GOOD), Ok(vec![(LiveFirst, 0), (Strict, 0)]));
        let slow =
            GOOD.replace("  - name: scada\n", "  - name: scada\n    order: strict\n    history_rate: 200\n");
        assert_eq!(ways(&slow), Ok(vec![(Strict, 200), (Strict, 0)]));
        let wrong = GOOD.replace("stdout: {} }", "stdout: {}, order: live-first, history_rate: 5 }");
        let said = ways(&wrong).unwrap_err();
        assert!(said.contains("`order: live-first`: `stdout` is written oldest first"), "{said}");
        assert!(said.contains("`history_rate` says nothing to `stdout`"), "{said}");
    }

    #[test]
    fn a_clock_is_trusted_always_or_by_a_file_and_not_both() {
        let always = GOOD.replace("{ sync_file: gps/fix }", "{ trust: always }");
        assert!(load_text(&always, &Overlays::default()).unwrap().clock.trust_always);
        let both = GOOD.replace("{ sync_file: gps/fix }", "{ trust: always, sync_file: gps/fix }");
        let said = load_text(&both, &Overlays::default()).unwrap_err();
        assert!(said.contains("`sync_file` has nothing to say with `trust: always`"), "{said}");
    }

    #[test]
    fn what_gives_way_when_the_spool_is_full_is_the_files_word() {
        let gives_way = |word: &str| {
            let text = GOOD.replace("commit_every: 2s", &format!("commit_every: 2s{word}"));
            load_text(&text, &Overlays::default()).unwrap().spool.when_full
        };
        assert_eq!(gives_way(""), spool::WhenFull::DropOldest);
        assert_eq!(gives_way(", when_full: drop-oldest"), spool::WhenFull::DropOldest);
        assert_eq!(gives_way(", when_full: refuse-new"), spool::WhenFull::RefuseNew);
    }

    #[test]
    fn a_timeout_is_the_configurations_else_the_profiles() {
        let dir = tempfile::tempdir().unwrap();
        let meter = METER.replace("min_gap: 20ms", "timeout: 3s, min_timeout: 400ms");
        std::fs::write(dir.path().join("x1.yaml"), meter).unwrap();
        let text = GOOD
            .replace("unit: 1 }", "unit: 1, timeout: 5s, min_timeout: 200ms }")
            .replace("unit: 255,", "unit: 255, timeout: 300ms,");
        let parsed = parse("linesman.yaml", &text, &Overlays::default(), dir.path(), &[]);
        let config = parsed.map_err(|problems| problems.to_string()).unwrap();
        let bounds = config.lines.iter().flat_map(|line| &line.devices);
        let ms = |span: Duration| span.as_millis();
        let bounds: Vec<_> = bounds.map(|device| (ms(device.min_timeout), ms(device.timeout))).collect();
        assert_eq!(bounds, [(200, 5000), (400, 3000), (300, 300)]);
        let wrong = text.replace("unit: 2,", "unit: 2, min_timeout: 4s,");
        let said = parse("linesman.yaml", &wrong, &Overlays::default(), dir.path(), &[]).unwrap_err();
        assert!(said.to_string().contains("`min_timeout`: expected at most `timeout`"), "{said}");
    }

    #[test]
    fn the_hash_hears_meaning_not_form() {
        let hash = |text: &str| load_text(text, &Overlays::default()).unwrap().hash;
        let reformed = GOOD
            .replace(
                "{ port: /dev/ttyUSB0, baud: 19200, parity: even }",
                "{ parity: even, baud: 19200, port: '/dev/ttyUSB0' }",
            )
            .replace("gateway:", "# a word\n\ngateway:");
        assert_eq!(hash(GOOD), hash(&reformed));
        assert_ne!(hash(GOOD), hash(&GOOD.replace("unit: 2,", "unit: 3,")));
        assert_eq!(hash(GOOD).len(), 8);
    }

    #[test]
    fn overlays_win_over_the_file_and_the_command_line_over_the_environment() {
        let env = [("LINESMAN__SPOOL__MAX_SIZE", "2GiB"), ("LINESMAN__LINES__0__SERIAL__BAUD", "1200")];
        let env = env.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let set = vec!["lines.0.serial.baud=38400".to_owned(), "gateway.id=other".to_owned()];
        let config = load_text(GOOD, &Overlays::new(env, set)).unwrap();
        assert_eq!(config.spool.max_size, 2 << 30);
        assert!(matches!(&config.lines[0].port, bus::PortConfig::Serial(port) if port.baud == 38400));
        assert_eq!(config.gateway.as_str(), "other");
    }

    #[test]
    fn only_double_underscores_are_configuration() {
        let env = [("LINESMAN_LOG", "debug"), ("LINESMAN_SPOOL__DIR", "/x"), ("PATH", "/bin")];
        let env = env.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(Overlays::new(env, Vec::new()), Overlays::default());
    }

    #[test]
    fn a_problem_in_an_overlay_names_the_overlay() {
        let env = [("LINESMAN__SPOL__DIR".to_owned(), "/x".to_owned())];
        let set = vec!["lines.0.serial.baud=fast".to_owned(), "lines.7.name=x".to_owned(), "oops".to_owned()];
        let problems = load_text(GOOD, &Overlays::new(env, set)).unwrap_err();
        for wanted in [
            "LINESMAN__SPOL__DIR: unknown key `spol` in the configuration\n  help: did you mean `spool`?",
            "--set lines.0.serial.baud=fast: `baud`: expected a whole number from 300 to 4000000, found `fast`",
            "--set lines.7.name=x: `7` is no item of this list: 0 to 1",
            "--set oops: expected key=value",
        ] {
            assert!(problems.contains(wanted), "{wanted}\nnot in\n{problems}");
        }
    }
}
