//! What points owe to one another and to the installation: names, as the file has them, to indices.

use super::point::is_number;
use super::read::{scalar_of, text, whole};
use super::yaml::{Entry, Node, Place, Report, nearest, scalar};
use super::{Factor, Format, How, Operand, Parameter, Point, SignBy, UnitBy};
use crate::model::quantity;
use crate::model::{Decimal, Name};

/// More names than this are a list nobody reads.
const MOST_LISTED: usize = 12;

pub(super) fn parameters(node: Option<&Node>, report: &mut Report<'_>) -> Vec<Parameter> {
    let found: Vec<_> = node.map(Node::entries).unwrap_or_default().iter().filter_map(parameter).collect();
    for (entry, parameter) in &found {
        if let (Some(value), Some(at)) = (parameter.value, entry.value.get("default"))
            && let Some(why) = parameter.refuses(value)
        {
            report.at(&at.place, format!("the parameter `{}`: {why}, found {value}", parameter.name));
        }
        if let (Some(least), Some(most), Some(at)) = (parameter.least, parameter.most, entry.value.get("max"))
            && least >= most
        {
            let message = format!("the parameter `{}`: `max` is above `min`, found {most}", parameter.name);
            report.at(&at.place, message);
        }
    }
    found.into_iter().map(|(_, parameter)| parameter).collect()
}

fn parameter(entry: &Entry) -> Option<(&Entry, Parameter)> {
    let number = |key: &str| scalar_of(&entry.value, key).and_then(|s| scalar::decimal(s).ok());
    let parameter = Parameter {
        name: entry.key.parse().ok()?,
        value: number("default"),
        least: number("min"),
        most: number("max"),
        about: text(&entry.value, "about").unwrap_or_default(),
    };
    Some((entry, parameter))
}

impl Parameter {
    /// Why this value cannot be: what would be right.
    pub fn refuses(&self, value: Decimal) -> Option<String> {
        let low = self.least.filter(|least| value < *least);
        let high = self.most.filter(|most| value > *most);
        match (low, high) {
            (Some(least), _) => Some(format!("expected {least} or more")),
            (None, Some(most)) => Some(format!("expected {most} or less")),
            (None, None) if value == Decimal::ZERO => Some("expected anything but zero".to_owned()),
            (None, None) => None,
        }
    }
}

/// The point named by `identity`, else `serial_number`.
pub(super) fn identity(root: &Node, points: &[Point], report: &mut Report<'_>) -> Option<usize> {
    let index = |name: &str| points.iter().position(|point| point.name.as_str() == name);
    let Some(given) = root.get("identity") else { return index("serial_number") };
    let name = given.scalar()?.text.as_str();
    let found = index(name);
    if found.is_none() {
        unknown(&given.place, "identity", name, points.iter().map(|point| point.name.as_str()), report);
    }
    found
}

fn unknown<'n>(
    place: &Place,
    key: &str,
    name: &str,
    names: impl Iterator<Item = &'n str> + Clone,
    report: &mut Report<'_>,
) {
    let message = format!("`{key}`: nothing in this profile is named `{}`", name.escape_debug());
    let help = match nearest(name, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", names.take(MOST_LISTED).collect::<Vec<_>>().join(", ")),
    };
    report.at_with_help(place, message, help);
}

/// Gives each point what it owes to others.
pub(super) fn resolve(points: &mut [(&Entry, Point)], parameters: &[Parameter], report: &mut Report<'_>) {
    for parameter in parameters {
        if let Some((entry, _)) = points.iter().find(|(_, point)| point.name == parameter.name) {
            report.at(&entry.at, format!("`{}` is a parameter and a point", parameter.name));
        }
    }
    let known: Vec<(&Entry, Point)> = points.to_vec();
    let mut used = vec![false; known.len()];
    for (n, (entry, point)) in points.iter_mut().enumerate() {
        let mut links = Links { n, entry, known: &known, parameters, used: &mut used, report };
        point.scale_by = links.factors();
        point.sign_by = links.sign();
        point.unit_by = links.unit();
        point.plus = links.plus();
        let inexact = point.unit_by.as_ref().is_some_and(|by| by.units.iter().any(|(_, c)| !c.exact));
        if inexact && point.resolution.is_none() {
            point.resolution = Some(Decimal::new(1, -9));
        }
    }
    for (entry, point) in points.iter().filter(|(_, point)| point.total) {
        let name = point.total_name();
        let taken = name.as_ref().is_some_and(|name| points.iter().any(|(_, other)| other.name == *name));
        if taken || name.is_none() {
            let at = entry.value.entry("total").map_or(&entry.at, |total| &total.at);
            report.at(
                at,
                format!(
                    "`{0}`: its total would be called `{0}_total`, which is taken or too long",
                    point.name
                ),
            );
        }
    }
    let idle = points.iter().zip(used).filter(|((_, point), used)| point.internal && !used);
    for ((entry, point), _) in idle {
        let at = entry.value.entry("internal").map_or(&entry.at, |internal| &internal.at);
        report.at(at, format!("`{}` is `internal`, but no point needs it", point.name));
    }
}

struct Links<'l, 'f> {
    n: usize,
    entry: &'l Entry,
    known: &'l [(&'l Entry, Point)],
    parameters: &'l [Parameter],
    used: &'l mut [bool],
    report: &'l mut Report<'f>,
}

impl Links<'_, '_> {
    fn named(&self, name: &str) -> Option<usize> {
        self.known.iter().position(|(_, point)| point.name.as_str() == name)
    }

    /// A point that may be named there.
    fn point(&mut self, at: &Node, key: &str) -> Option<usize> {
        let name = at.scalar()?.text.clone();
        let Some(index) = self.named(&name) else {
            let names = self.known.iter().map(|(_, point)| point.name.as_str());
            unknown(&at.place, key, &name, names, self.report);
            return None;
        };
        let owing = ["scale_by", "sign_by", "unit_by", "plus"];
        let (entry, _) = self.known.get(index)?;
        if index == self.n {
            self.report.at(&at.place, format!("`{key}`: `{name}` is this point itself"));
            return None;
        }
        if let Some(other) = owing.into_iter().find(|key| entry.value.get(key).is_some()) {
            let message = format!("`{key}`: `{name}` depends on another point itself (`{other}`)");
            self.report.at_with_help(&at.place, message, "what another point needs has to stand alone");
            return None;
        }
        if let Some(used) = self.used.get_mut(index) {
            *used = true;
        }
        Some(index)
    }

    fn factors(&mut self) -> Vec<Factor> {
        let Some(entry) = self.entry.value.entry("scale_by") else { return Vec::new() };
        let items = entry.value.items();
        if items.is_empty() {
            return self.factor(&entry.value).into_iter().collect();
        }
        items.iter().filter_map(|item| self.factor(item)).collect()
    }

    fn factor(&mut self, node: &Node) -> Option<Factor> {
        let how = match scalar_of(node, "as").map(|word| word.text.as_str()) {
            Some("divisor") => How::Divided,
            Some("exponent") => How::Exponent,
            Some("decimals") => How::Decimals,
            Some(_) | None => How::Times,
        };
        let (point, parameter) = (node.get("point"), node.get("parameter"));
        let named = point.or(parameter).unwrap_or(node);
        let name = named.scalar()?.text.clone();
        let known = self.parameters.iter().position(|parameter| parameter.name.as_str() == name);
        if let (Some(index), None) = (known, point) {
            return Some(Factor { of: Operand::Parameter(index), how });
        }
        if parameter.is_some() || point.is_none() && self.named(&name).is_none() {
            let points = self.known.iter().filter(|_| parameter.is_none()).map(|(_, point)| &point.name);
            let names: Vec<&Name> = self.parameters.iter().map(|p| &p.name).chain(points).collect();
            unknown(&named.place, "scale_by", &name, names.iter().map(|name| name.as_str()), self.report);
            return None;
        }
        let index = self.point(named, "scale_by")?;
        let (other, scaler) = self.known.get(index)?;
        if !stands_for_a_number(scaler, other) {
            self.report.at(&named.place, format!("`scale_by`: `{name}` is no number"));
            return None;
        }
        Some(Factor { of: Operand::Point(index), how })
    }

    fn sign(&mut self) -> Option<SignBy> {
        let entry = self.entry.value.entry("sign_by")?;
        let point = self.code(entry.value.get("point").unwrap_or(&entry.value), "sign_by")?;
        let negative = entry.value.get("negative").map(Node::items).unwrap_or_default();
        Some(SignBy { point, negative: negative.iter().filter_map(whole).collect() })
    }

    /// A point that is a whole number, a code or a flag.
    fn code(&mut self, at: &Node, key: &str) -> Option<usize> {
        let index = self.point(at, key)?;
        let (_, point) = self.known.get(index)?;
        if matches!(point.format, Format::F32 | Format::F64 | Format::Text(_) | Format::Date(_)) {
            let message = format!("`{key}`: `{}` is no whole number, code or flag", point.name);
            self.report.at(&at.place, message);
            return None;
        }
        Some(index)
    }

    fn unit(&mut self) -> Option<UnitBy> {
        let entry = self.entry.value.entry("unit_by")?;
        let point = self.code(entry.value.get("point")?, "unit_by")?;
        let quantity = quantity::find(&self.known.get(self.n)?.1.quantity)?;
        let mut units = Vec::new();
        for unit in entry.value.get("units").map(Node::entries).unwrap_or_default() {
            let Some(spelled) = unit.value.scalar().map(|scalar| scalar.text.as_str()) else { continue };
            let code = scalar::code(&unit.key).ok().map(i128::from);
            match (code, quantity.conversion(spelled)) {
                (Some(code), Some(conversion)) => units.push((code, conversion)),
                (_, None) => {
                    let message = format!("`{}` is no unit of {}", spelled.escape_debug(), quantity.name);
                    let help = format!("one of {}", quantity.units().collect::<Vec<_>>().join(", "));
                    self.report.at_with_help(&unit.value.place, message, help);
                }
                (None, Some(_)) => {}
            }
        }
        Some(UnitBy { point, units })
    }

    fn plus(&mut self) -> Vec<usize> {
        let Some(entry) = self.entry.value.entry("plus") else { return Vec::new() };
        let items = entry.value.items();
        let named = if items.is_empty() { std::slice::from_ref(&entry.value) } else { items };
        named.iter().filter_map(|node| self.part(node)).collect()
    }

    fn part(&mut self, node: &Node) -> Option<usize> {
        let index = self.point(node, "plus")?;
        let ((entry, part), (_, whole)) = (self.known.get(index)?, self.known.get(self.n)?);
        if !stands_for_a_number(part, entry) || part.quantity != whole.quantity || part.unit != whole.unit {
            let message = format!("`plus`: `{}` is not the same quantity ({})", part.name, whole.quantity);
            self.report.at(&node.place, message);
            return None;
        }
        Some(index)
    }
}

fn stands_for_a_number(point: &Point, entry: &Entry) -> bool {
    let whole = is_number(point.format) && point.bit.is_none();
    (whole || point.bits.is_some()) && entry.value.get("enum").is_none()
}
