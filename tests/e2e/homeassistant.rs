//! Home Assistant, as far as it can be had here: a real broker, its discovery payloads held against what it allows, and its
//! templates rendered by Jinja.

use crate::batches::python;
use crate::broker::Broker;
use crate::ear::{Ear, say};
use crate::gateway::{Gateway, Kept, until};
use linesman::profile;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Device classes of sensors, with the units and state classes that Home Assistant takes for them
/// (homeassistant/components/sensor/const.py: `DEVICE_CLASS_UNITS`, `DEVICE_CLASS_STATE_CLASSES`); "" is no unit.
const CLASSES: &[(&str, &str, &str)] = &[
    ("apparent_power", "VA", "measurement"),
    ("battery", "%", "measurement"),
    ("carbon_dioxide", "ppm", "measurement"),
    ("conductivity", "S/cm mS/cm µS/cm", "measurement"),
    ("current", "A mA", "measurement"),
    ("distance", "mm cm m km in ft yd mi", "measurement total total_increasing"),
    ("duration", "d h min s ms", "measurement total total_increasing"),
    ("energy", "J kJ MJ GJ Wh kWh MWh GWh TWh cal kcal Mcal Gcal", "total total_increasing"),
    ("frequency", "Hz kHz MHz GHz", "measurement"),
    ("humidity", "%", "measurement"),
    ("illuminance", "lx", "measurement"),
    ("irradiance", "W/m² BTU/(h⋅ft²)", "measurement"),
    ("moisture", "%", "measurement"),
    ("ph", "", "measurement"),
    ("power", "W kW MW GW TW", "measurement"),
    ("power_factor", "% ", "measurement"),
    ("pressure", "Pa hPa kPa bar cbar mbar mmHg inHg psi", "measurement"),
    ("reactive_power", "var", "measurement"),
    ("sound_pressure", "dB dBA", "measurement"),
    ("speed", "ft/s in/d in/h km/h kn m/s mph mm/d mm/h", "measurement"),
    ("temperature", "°C °F K", "measurement"),
    ("voltage", "V mV µV", "measurement"),
    ("volume", "ft³ CCF m³ L mL gal", "total total_increasing"),
    ("volume_flow_rate", "m³/h ft³/min L/min gal/min", "measurement"),
    ("volume_storage", "ft³ CCF m³ L mL gal", "measurement"),
    ("weight", "g kg mg µg oz lb st", "measurement total total_increasing"),
    ("wind_direction", "°", ""),
    ("wind_speed", "Beaufort ft/s km/h kn m/s mph", "measurement"),
];

/// What a sensor's discovery may have (home-assistant.io, "MQTT Sensor": configuration variables).
const SENSOR: &[&str] = &[
    "p",
    "unique_id",
    "name",
    "value_template",
    "device_class",
    "state_class",
    "unit_of_measurement",
    "suggested_display_precision",
    "expire_after",
    "entity_category",
];

/// What Home Assistant would say against this discovery payload.
fn faults(config: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let keys =
        |of: &Value| of.as_object().map(|of| of.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let root = ["dev", "o", "cmps", "state_topic", "availability", "availability_mode"];
    faults.extend(keys(config).into_iter().filter(|key| !root.contains(&key.as_str())));
    let device = ["ids", "name", "mf", "mdl", "sn", "sw", "via_device"];
    faults.extend(keys(&config["dev"]).into_iter().filter(|key| !device.contains(&key.as_str())));
    if config["dev"]["ids"].as_array().is_none_or(|ids| ids.is_empty()) || !config["o"]["name"].is_string() {
        faults.push("a device has identifiers, and an origin a name".to_owned());
    }
    for (key, component) in config["cmps"].as_object().unwrap() {
        for unknown in keys(component).iter().filter(|key| !SENSOR.contains(&key.as_str())) {
            faults.push(format!("{key}: {unknown}"));
        }
        if !component["unique_id"].is_string() || !component["p"].is_string() {
            faults.push(format!("{key}: no unique_id or platform"));
        }
        if component["p"] == "sensor" {
            faults.extend(class_faults(component).into_iter().map(|fault| format!("{key}: {fault}")));
        }
    }
    faults
}

fn class_faults(component: &Value) -> Option<String> {
    let text = |key: &str| component[key].as_str().unwrap_or_default();
    let (class, unit, state) = (text("device_class"), text("unit_of_measurement"), text("state_class"));
    if class.is_empty() {
        return None;
    }
    let Some((_, units, states)) = CLASSES.iter().find(|(name, ..)| *name == class) else {
        return Some(format!("no device class {class}"));
    };
    let has = |list: &str, word: &str| list.split(' ').any(|of| of == word);
    let fits = has(units, unit) && (state.is_empty() || has(states, state));
    (!fits).then(|| format!("{class} in {unit:?} as {state:?}"))
}

/// A gateway whose meters are all not there: what it says of them does not depend on it.
fn yaml(port: u16, profiles: &[&str]) -> String {
    let devices: String = profiles
        .iter()
        .zip(1..)
        .map(|(profile, unit)| format!("      - {{ name: {profile}, profile: {profile}, unit: {unit} }}\n"))
        .collect();
    format!(
        "gateway: {{ id: plant-7 }}\nlines:\n  - name: lan\n    tcp: {{ address: \"127.0.0.1:1\" }}\n    devices:\n{devices}spool: {{ dir: spool }}\nupstreams:\n  - name: ha\n    homeassistant: {{ url: \"mqtt://127.0.0.1:{port}\" }}\n"
    )
}

fn configs(ear: &mut Ear, count: usize) -> Vec<Value> {
    until("all devices to be announced", || {
        ear.take();
        let found: BTreeSet<&str> = ear
            .messages
            .iter()
            .filter(|message| message.topic.ends_with("/config") && !message.payload.is_empty())
            .map(|message| message.payload.as_str())
            .collect();
        (found.len() >= count).then(|| found.iter().map(|text| serde_json::from_str(text).unwrap()).collect())
    })
}

/// Every meter of the library.
fn library() -> Vec<&'static str> {
    let names: Vec<&str> = profile::builtin().collect();
    assert!(names.len() > 100);
    names
}

#[test]
fn what_is_announced_of_every_meter_in_the_library_is_what_home_assistant_takes() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path());
    let mut ear = Ear::open(broker.port(), &["homeassistant/#"], &[]);
    let names = library();
    let _gateway = Gateway::start(folder.path(), &yaml(broker.port(), &names));
    let configs = configs(&mut ear, names.len() + 1);
    let faults: Vec<String> = configs
        .iter()
        .flat_map(|config| {
            let name = config["dev"]["name"].as_str().unwrap().to_owned();
            faults(config).into_iter().map(move |fault| format!("{name}: {fault}"))
        })
        .collect();
    assert_eq!(faults, Vec::<String>::new());
    let components = configs.iter().flat_map(|config| config["cmps"].as_object().unwrap().values());
    let ids: Vec<&str> =
        components.clone().map(|component| component["unique_id"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each once");
    let classed = components.filter(|component| component["device_class"].is_string()).count();
    assert!(classed * 10 > ids.len() * 7, "{classed} of {}", ids.len());
}

/// Jinja, asked line by line.
struct Jinja {
    child: Kept,
    input: std::process::ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Jinja {
    fn start() -> Jinja {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/homeassistant.py");
        let mut child =
            Command::new(python()).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Jinja { child: Kept::of(child), input, output }
    }

    fn render(&mut self, template: &Value, payload: &str, state: &str) -> String {
        let case = json!({ "template": template, "payload": payload, "state": state });
        writeln!(self.input, "{case}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(self.child.ended().is_none());
        serde_json::from_str(&line).unwrap()
    }
}

#[test]
fn a_template_takes_the_value_says_unknown_for_a_bad_one_and_keeps_what_was_not_due() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path());
    let mut ear = Ear::open(broker.port(), &["homeassistant/#"], &[]);
    let _gateway = Gateway::start(folder.path(), &yaml(broker.port(), &["eastron-sdm630"]));
    let configs = configs(&mut ear, 2);
    let meter = configs.iter().find(|config| config["dev"]["name"] == "eastron-sdm630").unwrap();
    let (voltage, mut jinja) = (&meter["cmps"]["voltage_l1"]["value_template"], Jinja::start());
    let (good, bad, other) = (
        r#"{"ts":1,"values":{"voltage_l1":231.7}}"#,
        r#"{"ts":1,"values":{},"bad":{"voltage_l1":"no-reply"}}"#,
        r#"{"ts":1,"values":{"energy_import":1},"bad":{"x":"exception-2"}}"#,
    );
    assert_eq!(jinja.render(voltage, good, "1"), "231.7");
    assert_eq!(jinja.render(voltage, bad, "231.7"), "None", "which Home Assistant shows as unknown");
    assert_eq!(jinja.render(voltage, other, "231.7"), "", "which it passes over where a number is expected");
    let available = &meter["availability"][1]["value_template"];
    assert_eq!(meter["availability"][1]["topic"], "linesman/plant-7/d/eastron-sdm630");
    for (payload, state) in [
        (good, "online"),
        (bad, "offline"),
        (other, "online"),
        (r#"{"ts":1,"values":{},"bad":{"a":"device-lost","b":"line-down"}}"#, "offline"),
        (r#"{"ts":1,"values":{},"bad":{"a":"exception-2","b":"no-reply"}}"#, "online"),
    ] {
        assert_eq!(jinja.render(available, payload, ""), state, "{payload}");
    }
    let gateway = &meter["availability"][0]["value_template"];
    assert_eq!(jinja.render(gateway, r#"{"online":false}"#, ""), "offline");
    assert_eq!(jinja.render(gateway, r#"{"online":true,"ts":1}"#, ""), "online");
}

#[test]
fn discovery_is_said_anew_when_home_assistant_starts_and_taken_back_for_meters_that_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path());
    let gone = |gateway: &str| {
        json!({ "o": { "name": "linesman" }, "dev": { "ids": ["x"], "via_device": format!("linesman_{gateway}") }, "state_topic": format!("linesman/{gateway}/d/old"), "cmps": {} })
            .to_string()
    };
    let topic = |object: &str| format!("homeassistant/device/{object}/config");
    // A meter that was there once, one of another gateway with a name like ours, and somebody else's.
    say(broker.port(), &topic("linesman_plant-7_old"), &gone("plant-7"), true);
    say(broker.port(), &topic("linesman_plant-7_2_a"), &gone("plant-7_2"), true);
    say(broker.port(), &topic("linesman_plant-7_theirs"), r#"{"o":{"name":"zigbee2mqtt"}}"#, true);
    let mut ear = Ear::open(broker.port(), &["homeassistant/#"], &[]);
    let _gateway = Gateway::start(folder.path(), &yaml(broker.port(), &["eastron-sdm630"]));
    ear.until("the old meter to be taken back", |message| {
        message.topic == topic("linesman_plant-7_old") && message.payload.is_empty()
    });
    let announced = topic("linesman_plant-7_eastron-sdm630");
    ear.until("the meter to be announced", |message| message.topic == announced);
    ear.messages.clear();
    say(broker.port(), "homeassistant/status", "online", false);
    ear.until("it to be announced again", |message| message.topic == announced);
    let mut late = Ear::open(broker.port(), &["homeassistant/device/#"], &[]);
    late.until("what is kept", |message| message.topic == announced && message.retained);
    late.until("somebody else's", |message| message.topic == topic("linesman_plant-7_theirs"));
    late.until("another gateway's", |message| message.topic == topic("linesman_plant-7_2_a"));
    assert_eq!(late.on(&topic("linesman_plant-7_old")), [""; 0]);
}
