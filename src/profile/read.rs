//! A profile's text to a [`Profile`], with everything that is wrong with it.

use super::address;
use super::format::PROFILE;
use super::yaml::{Entry, Node, Place, Problems, Report, Scalar, node, scalar, walk};
use super::{
    FactorySerial, Fingerprint, Habits, Order, Parameter, Parity, Point, Profile, Table, links, point,
};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads a profile. `name` is what it is called, `file` how messages call its file.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Profile, Problems> {
    let mut report = Report::new(file, text);
    let profile = node::parse(text, &mut report).map(|root| {
        walk::check(&root, &PROFILE, &mut report);
        build(name, &root, &mut report)
    });
    let problems = report.finish();
    match profile {
        Some(profile) if problems.is_empty() => Ok(profile),
        Some(_) | None => Err(problems),
    }
}

/// What the walk has refused is left out here without another word.
fn build(name: &str, root: &Node, report: &mut Report<'_>) -> Profile {
    let (habits, holes) = habits(root.get("modbus"));
    for pair in holes.windows(2) {
        if let [(first, _), (second, at)] = pair
            && first.end() >= second.start()
        {
            let message = format!(
                "the hole {}-{} overlaps {}-{}",
                second.start(),
                second.end(),
                first.start(),
                first.end()
            );
            report.at(at, message);
        }
    }
    let shortest = root.get("modbus").and_then(|modbus| modbus.get("min_timeout"));
    if let (Some(least), Some(most), Some(at)) = (habits.min_timeout, habits.timeout, shortest)
        && least > most
    {
        report.at(&at.place, format!("`min_timeout`: expected at most `timeout`, found {}", at.found()));
    }
    let orders = orders(root.get("modbus"));
    let parameters = links::parameters(root.get("parameters"), report);
    let points = points(root.get("points"), orders, &habits, &parameters, report);
    let identity = links::identity(root, &points, report);
    Profile {
        name: name.to_owned(),
        vendor: text(root, "vendor").unwrap_or_default(),
        model: text(root, "model").unwrap_or_default(),
        kind: text(root, "kind").unwrap_or_default(),
        sources: root.get("sources").map(texts).unwrap_or_default(),
        serial: root.get("serial").and_then(serial),
        unit_id: root.get("unit_id").and_then(whole),
        habits,
        identify: root
            .get("identify")
            .map(|list| list.items().iter().filter_map(fingerprint).collect())
            .unwrap_or_default(),
        parameters,
        identity,
        points,
        walks: false,
    }
}

pub(super) fn scalar_of<'n>(node: &'n Node, key: &str) -> Option<&'n Scalar> {
    node.get(key)?.scalar()
}

pub(super) fn text(node: &Node, key: &str) -> Option<String> {
    scalar_of(node, key).map(|scalar| scalar.text.clone())
}

fn texts(list: &Node) -> Vec<String> {
    list.items().iter().filter_map(|item| item.scalar()).map(|scalar| scalar.text.clone()).collect()
}

/// A whole number that fits; the walk has said it where it does not.
pub(super) fn whole<T: TryFrom<i128>>(node: &Node) -> Option<T> {
    scalar::whole(node.scalar()?).ok().and_then(|n| T::try_from(n).ok())
}

fn order(node: Option<&Node>, key: &str) -> Option<Order> {
    match scalar_of(node?, key)?.text.as_str() {
        "big" => Some(Order::Big),
        "little" => Some(Order::Little),
        _ => None,
    }
}

/// Word order and octet order, as far as they are given here.
pub(super) fn given_orders(node: Option<&Node>) -> (Option<Order>, Option<Order>) {
    (order(node, "word_order"), order(node, "byte_order"))
}

fn orders(modbus: Option<&Node>) -> (Order, Order) {
    let (word, byte) = given_orders(modbus);
    (word.unwrap_or_default(), byte.unwrap_or_default())
}

impl Default for Habits {
    /// The limits of the protocol itself (Application Protocol V1.1b3, 6.3).
    fn default() -> Habits {
        Habits {
            max_registers: 125,
            align: 1,
            holes: Vec::new(),
            min_gap: Duration::ZERO,
            diagnostics: false,
            timeout: None,
            min_timeout: None,
        }
    }
}

fn duration(node: &Node, key: &str) -> Option<Duration> {
    scalar_of(node, key).and_then(|scalar| scalar::duration(scalar).ok())
}

type Hole = (RangeInclusive<u16>, Place);

fn habits(modbus: Option<&Node>) -> (Habits, Vec<Hole>) {
    let plain = Habits::default();
    let Some(modbus) = modbus else { return (plain, Vec::new()) };
    let mut holes: Vec<Hole> = Vec::new();
    for item in modbus.get("holes").map(Node::items).unwrap_or_default() {
        let hole = item.scalar().and_then(|scalar| address::hole(scalar).ok());
        holes.extend(hole.map(|hole| (hole, item.place.clone())));
    }
    holes.sort_by_key(|(hole, _)| *hole.start());
    let habits = Habits {
        max_registers: modbus
            .get("max_registers")
            .and_then(whole)
            // None at all is refused already; it is no reason to refuse the points.
            .filter(|most| *most > 0)
            .unwrap_or(plain.max_registers),
        align: modbus.get("align").and_then(whole).unwrap_or(plain.align),
        holes: holes.iter().map(|(hole, _)| hole.clone()).collect(),
        min_gap: duration(modbus, "min_gap").unwrap_or(plain.min_gap),
        diagnostics: scalar_of(modbus, "diagnostics").and_then(scalar::flag).unwrap_or(plain.diagnostics),
        timeout: duration(modbus, "timeout"),
        min_timeout: duration(modbus, "min_timeout"),
    };
    (habits, holes)
}

fn serial(node: &Node) -> Option<FactorySerial> {
    Some(FactorySerial {
        baud: node.get("baud").and_then(whole)?,
        parity: scalar_of(node, "parity").and_then(|s| parity(&s.text)).unwrap_or_default(),
        stop_bits: node.get("stop_bits").and_then(whole).unwrap_or(1),
    })
}

/// The words of [`super::format::PARITIES`].
pub fn parity(word: &str) -> Option<Parity> {
    match word {
        "none" => Some(Parity::None),
        "even" => Some(Parity::Even),
        "odd" => Some(Parity::Odd),
        _ => None,
    }
}

fn fingerprint(node: &Node) -> Option<Fingerprint> {
    let table = |table: Table| move |node: &Node| whole(node).map(|address| (table, address));
    let holding = node.get("holding").and_then(table(Table::HoldingRegister));
    let (table, address) = holding.or_else(|| node.get("input").and_then(table(Table::InputRegister)))?;
    Some(Fingerprint { table, address, equals: node.get("equals").and_then(whole)? })
}

fn points(
    node: Option<&Node>,
    orders: (Order, Order),
    habits: &Habits,
    parameters: &[Parameter],
    report: &mut Report<'_>,
) -> Vec<Point> {
    let mut points: Vec<(&Entry, Point)> = Vec::new();
    for entry in node.map(Node::entries).unwrap_or_default() {
        let built = point::build(entry, orders, report);
        if let Some(point) = built.first() {
            fits(point, &place_of(entry), habits, report);
        }
        for point in built {
            let same = points.iter().find(|(_, other)| other.name == point.name);
            if same.is_some_and(|(other, _)| other.key != entry.key) {
                report.at(&entry.at, format!("`{}` is the name of two points", point.name));
            }
            points.push((entry, point));
        }
    }
    overlaps(&points, report);
    links::resolve(&mut points, parameters, report);
    points.into_iter().map(|(_, point)| point).collect()
}

/// Where a point's address stands.
fn place_of(entry: &Entry) -> Place {
    let address =
        ["holding", "input", "coil", "discrete", "register"].iter().find_map(|key| entry.value.get(key));
    address.map_or_else(|| entry.at.clone(), |node| node.place.clone())
}

fn fits(point: &Point, place: &Place, habits: &Habits, report: &mut Report<'_>) {
    let count = point.format.count();
    let last = u32::from(point.address) + u32::from(count) - 1;
    if last > 65_535 {
        report.at(
            place,
            format!("`{}`: {count} registers from {} end beyond 65535", point.name, point.address),
        );
        return;
    }
    if !point.table.is_bits() && count > habits.max_registers {
        let most = habits.max_registers;
        report.at(place, format!("`{}`: {count} registers, but `max_registers` is {most}", point.name));
    }
    let first = u32::from(point.address);
    let holes = habits.holes.iter();
    for hole in holes.filter(|hole| first <= u32::from(*hole.end()) && last >= u32::from(*hole.start())) {
        let (start, end) = (hole.start(), hole.end());
        let reads = if first == last { first.to_string() } else { format!("{first} to {last}") };
        report.at(place, format!("`{}` reads {reads}, in the hole {start}-{end}", point.name));
    }
}

/// Two points may look at the same octets in two ways; they may not cut into one another.
fn overlaps(points: &[(&Entry, Point)], report: &mut Report<'_>) {
    let mut by_address: BTreeMap<(Table, u16), Vec<usize>> = BTreeMap::new();
    for (n, (_, point)) in points.iter().enumerate() {
        by_address.entry((point.table, point.address)).or_default().push(n);
    }
    for (n, (entry, point)) in points.iter().enumerate() {
        let reach = point.address.saturating_sub(125);
        let nearby = by_address.range((point.table, reach)..=(point.table, point.address));
        for i in nearby.flat_map(|(_, list)| list).filter(|i| **i != n) {
            if let Some((_, other)) = points.get(*i) {
                clash(entry, (n, point), (*i, other), report);
            }
        }
    }
}

fn clash(entry: &Entry, (n, point): (usize, &Point), (i, other): (usize, &Point), report: &mut Report<'_>) {
    let end = |p: &Point| u32::from(p.address) + u32::from(p.format.count());
    let (first, other_first) = (u32::from(point.address), u32::from(other.address));
    if first == other_first {
        let same = (point.format, point.word_order, point.byte_order)
            == (other.format, other.word_order, other.byte_order)
            && (point.bit, point.bits) == (other.bit, other.bits);
        if same && i < n {
            report.at(&place_of(entry), format!("`{}` reads the same as `{}`", point.name, other.name));
        }
    } else if first < end(other) && end(point) > end(other) {
        let message = format!(
            "`{}` (addresses {first} to {}) cuts into `{}` ({other_first} to {})",
            point.name,
            end(point) - 1,
            other.name,
            end(other) - 1
        );
        report.at_with_help(&place_of(entry), message, "is the address or the `type` of one of them wrong?");
    }
}

/// The points written in the 1-based notation of manuals: name, notation, and what goes on the wire.
pub fn notation(text: &str) -> Vec<(String, String, Table, u16)> {
    let mut unheard = Report::new("", text);
    let Some(root) = node::parse(text, &mut unheard) else { return Vec::new() };
    let points = root.get("points").map(Node::entries).unwrap_or_default();
    let wire = |entry: &Entry| {
        let given = scalar_of(&entry.value, "register")?;
        let (table, address) = address::register(given).ok()?;
        Some((entry.key.clone(), given.text.clone(), table, address))
    };
    points.iter().filter_map(wire).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Format, Sentinel};

    const GOOD: &str = r#"
profile: 1
vendor: Acme
model: X1
kind: energy-meter
sources: ["manual"]
serial: { baud: 9600, parity: even }
unit_id: 1
modbus: { word_order: little, max_registers: 80, holes: ["108-199", 300], min_gap: 5ms, diagnostics: true, timeout: 2s, min_timeout: 300ms }
identify: [ { holding: 0xFC02, equals: 112 } ]
points:
  power:  { input: 52, type: s32, quantity: active-power, unit: kW, scale: 0.1, resolution: 0.1, range: [-10, 10] }
  temp:   { register: 40011, type: s16, quantity: temperature, unit: degC, scale: 1/10, offset: -40, invalid: [0x8000, -1] }
  heat:   { holding: 20, type: f32, quantity: temperature, unit: °F, invalid: [nan, -9999] }
  state:  { holding: 30, type: u16, quantity: status, enum: { 0: "off", 0x10: run } }
  alarm:  { holding: 31, bit: 3, quantity: status }
  relay:  { coil: 7, quantity: switch, every: 60s }
  serial: { holding: 40, type: "string:8", quantity: identity }
"#;

    fn d(text: &str) -> crate::model::Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn a_profile_is_read_whole() {
        let p = parse("acme", "acme.yaml", GOOD).map_err(|e| e.to_string()).unwrap();
        assert_eq!((p.vendor.as_str(), p.model.as_str(), p.unit_id), ("Acme", "X1", Some(1)));
        assert_eq!(p.serial, Some(FactorySerial { baud: 9600, parity: Parity::Even, stop_bits: 1 }));
        assert_eq!(p.habits.holes, [108..=199, 300..=300]);
        assert_eq!(p.habits.min_gap, Duration::from_millis(5));
        assert!(p.habits.diagnostics);
        assert_eq!(p.habits.timeout, Some(Duration::from_secs(2)));
        assert_eq!(p.habits.min_timeout, Some(Duration::from_millis(300)));
        let [power, temp, heat, state, alarm, relay, serial] = p.points.as_slice() else { panic!() };
        assert_eq!(power.scale, "100".parse().unwrap());
        assert_eq!((power.unit.as_str(), power.resolution), ("W", Some(d("100"))));
        assert_eq!(power.range, Some((d("-10000"), d("10000"))));
        assert_eq!(power.word_order, Order::Little);
        assert_eq!((temp.table, temp.address, temp.unit.as_str()), (Table::HoldingRegister, 10, "°C"));
        let invalid = |point: &Point| point.invalid.iter().map(|(raw, _)| *raw).collect::<Vec<_>>();
        assert_eq!(invalid(temp), [Sentinel::Bits(0x8000), Sentinel::Bits(0xffff)]);
        assert_eq!((temp.scale, temp.offset), ("0.1".parse().unwrap(), d("-40")));
        assert_eq!(heat.resolution, Some(d("0.000000001")));
        assert_eq!(invalid(heat), [Sentinel::Nan, Sentinel::Bits(u64::from((-9999f32).to_bits()))]);
        assert_eq!(state.words, [(0, "off".into()), (16, "run".into())]);
        assert_eq!((alarm.format, alarm.bit), (Format::Bits, Some(3)));
        assert_eq!((relay.table, relay.format), (Table::Coil, Format::Bool));
        assert_eq!((serial.format, serial.word_order), (Format::Text(8), Order::Big));
    }

    #[test]
    fn bounds_of_a_timeout_are_within_reason_and_in_order() {
        let problems = |modbus: &str| {
            let text = GOOD.replace("diagnostics: true, timeout: 2s, min_timeout: 300ms", modbus);
            parse("acme", "acme.yaml", &text).map_err(|e| e.to_string())
        };
        assert!(problems("timeout: 60s, min_timeout: 10ms").is_ok());
        for (modbus, told) in [
            ("timeout: 61s", "`timeout`: expected a duration from 10ms to 60s, found `61s`"),
            ("min_timeout: 9ms", "`min_timeout`: expected a duration from 10ms to 60s, found `9ms`"),
            ("timeout: 1s, min_timeout: 2s", "`min_timeout`: expected at most `timeout`, found `2s`"),
            ("diagnostics: maybe", "`diagnostics`: expected true or false"),
        ] {
            let said = problems(modbus).unwrap_err();
            assert!(said.contains(told), "{modbus}: {said}");
        }
        let plain = problems("align: 1").unwrap().habits;
        assert_eq!((plain.diagnostics, plain.timeout, plain.min_timeout), (false, None, None));
    }
}
