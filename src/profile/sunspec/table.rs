//! `models.csv`, read: which models there are and what their registers mean.

use crate::profile::Format;
use std::sync::OnceLock;

const TEXT: &str = include_str!("models.csv");

/// Models with the same registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Common,
    Inverter,
    InverterFloat,
    Meter,
    MeterFloat,
}

impl Layout {
    fn of(word: &str) -> Option<Layout> {
        match word {
            "common" => Some(Layout::Common),
            "inverter" => Some(Layout::Inverter),
            "inverter-float" => Some(Layout::InverterFloat),
            "meter" => Some(Layout::Meter),
            "meter-float" => Some(Layout::MeterFloat),
            _ => None,
        }
    }

    /// Of an inverter or a meter, what stands before the names of all but the first.
    pub(super) fn kind(self) -> Option<&'static str> {
        match self {
            Layout::Common => None,
            Layout::Inverter | Layout::InverterFloat => Some("inverter"),
            Layout::Meter | Layout::MeterFloat => Some("meter"),
        }
    }
}

/// SunSpec's types, as far as they occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Unsigned, a code, or bits.
    U16,
    S16,
    U32,
    /// A counter.
    Acc32,
    F32,
    Text(u16),
    /// `sunssf`: the power of ten of other points.
    Exponent,
}

impl Kind {
    fn of(word: &str, size: u16) -> Option<Kind> {
        match (word, size) {
            ("uint16" | "enum16" | "bitfield16", 1) => Some(Kind::U16),
            ("int16", 1) => Some(Kind::S16),
            ("uint32" | "enum32" | "bitfield32", 2) => Some(Kind::U32),
            ("acc32", 2) => Some(Kind::Acc32),
            ("float32", 2) => Some(Kind::F32),
            ("string", size) => Some(Kind::Text(size)),
            ("sunssf", 1) => Some(Kind::Exponent),
            _ => None,
        }
    }

    pub(super) fn format(self) -> Format {
        match self {
            Kind::U16 => Format::U16,
            Kind::S16 | Kind::Exponent => Format::S16,
            Kind::U32 | Kind::Acc32 => Format::U32,
            Kind::F32 => Format::F32,
            Kind::Text(registers) => Format::Text(registers),
        }
    }
}

/// A point of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub layout: Layout,
    /// From the register that holds the model's id.
    pub offset: u16,
    pub kind: Kind,
    /// Where its scale factor stands.
    pub exponent: Option<u16>,
    pub unit: &'static str,
    pub quantity: &'static str,
    pub phase: Option<&'static str>,
    pub direction: Option<&'static str>,
    pub counter: bool,
    /// The ids of models that must have it.
    pub mandatory: Vec<u16>,
    pub name: &'static str,
    pub sunspec: &'static str,
}

/// A word of a point's codes.
pub(super) struct Word {
    pub layout: Layout,
    pub sunspec: &'static str,
    pub code: u64,
    pub word: &'static str,
}

#[derive(Default)]
struct Table {
    models: Vec<(Layout, Vec<u16>, u16)>,
    words: Vec<Word>,
    rows: Vec<Row>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table::default();
        for line in TEXT.lines() {
            let cells: Vec<&'static str> = line.split(',').collect();
            // A test holds that no line but remarks is lost.
            match cells.as_slice() {
                ["M", rest @ ..] => table.models.extend(model(rest)),
                ["W", rest @ ..] => table.words.extend(word(rest)),
                ["P", rest @ ..] => table.rows.extend(row(rest)),
                _ => {}
            }
        }
        table
    })
}

fn ids(cell: &str) -> Option<Vec<u16>> {
    cell.split_whitespace().map(|id| id.parse().ok()).collect()
}

fn model(cells: &[&'static str]) -> Option<(Layout, Vec<u16>, u16)> {
    let [layout, models, length] = cells else { return None };
    Some((Layout::of(layout)?, ids(models)?, length.parse().ok()?))
}

fn word(cells: &[&'static str]) -> Option<Word> {
    let [layout, sunspec, code, word] = cells else { return None };
    Some(Word { layout: Layout::of(layout)?, sunspec, code: code.parse().ok()?, word })
}

fn row(cells: &[&'static str]) -> Option<Row> {
    let [
        layout,
        offset,
        kind,
        size,
        exponent,
        unit,
        quantity,
        phase,
        direction,
        counter,
        mandatory,
        name,
        sunspec,
    ] = cells
    else {
        return None;
    };
    let given = |cell: &&'static str| Some(*cell).filter(|cell| !cell.is_empty());
    Some(Row {
        layout: Layout::of(layout)?,
        offset: offset.parse().ok()?,
        kind: Kind::of(kind, size.parse().ok()?)?,
        exponent: given(exponent).map(str::parse).transpose().ok()?,
        unit,
        quantity,
        phase: given(phase),
        direction: given(direction),
        counter: *counter == "counter",
        mandatory: ids(mandatory)?,
        name,
        sunspec,
    })
}

pub(super) fn rows() -> &'static [Row] {
    &table().rows
}

/// The points of a layout, in the order of their registers.
pub(super) fn rows_of(layout: Layout) -> impl Iterator<Item = &'static Row> {
    rows().iter().filter(move |row| row.layout == layout)
}

pub(super) fn words_of(row: &Row) -> impl Iterator<Item = &'static Word> {
    table().words.iter().filter(move |word| word.layout == row.layout && word.sunspec == row.sunspec)
}

/// What is known of a model.
pub(super) fn layout_of(id: u16) -> Option<Layout> {
    table().models.iter().find(|(_, ids, _)| ids.contains(&id)).map(|(layout, ..)| *layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quantity;
    use crate::profile::glossary;
    use std::collections::BTreeSet;

    const ALL: [Layout; 5] =
        [Layout::Common, Layout::Inverter, Layout::InverterFloat, Layout::Meter, Layout::MeterFloat];

    #[test]
    fn no_line_of_the_table_is_lost() {
        let table = table();
        let lines = TEXT.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(table.models.len() + table.words.len() + table.rows.len(), lines);
        assert_eq!((table.models.len(), table.words.len(), table.rows.len()), (5, 16, 212));
    }

    #[test]
    fn every_point_lies_within_its_model_and_its_scale_factor_is_one() {
        for row in rows() {
            let length = table().models.iter().find(|(layout, ..)| *layout == row.layout).unwrap().2;
            let end = row.offset + row.kind.format().count();
            assert!(row.offset >= 2 && end <= 2 + length, "{row:?}");
            let scaled = row.exponent.map(|at| rows_of(row.layout).find(|other| other.offset == at).unwrap());
            assert!(scaled.is_none_or(|by| by.kind == Kind::Exponent), "{row:?}");
            let known = table().models.iter().find(|(layout, ..)| *layout == row.layout).unwrap();
            assert!(row.mandatory.iter().all(|id| known.1.contains(id)), "{row:?}");
        }
    }

    #[test]
    fn no_two_points_of_a_layout_share_registers_or_a_name() {
        for layout in ALL {
            let (mut end, mut names) = (2, BTreeSet::new());
            for row in rows_of(layout) {
                assert!(row.offset >= end && names.insert(row.name), "{row:?}");
                end = row.offset + row.kind.format().count();
            }
        }
    }

    #[test]
    fn quantities_and_units_are_those_of_every_profile_and_names_those_of_the_glossary() {
        let glossary = glossary::names();
        for row in rows().iter().filter(|row| row.kind != Kind::Exponent) {
            let quantity = quantity::find(row.quantity).unwrap();
            assert!(row.unit.is_empty() || quantity.conversion(row.unit).is_some(), "{row:?}");
            let meters = matches!(row.layout, Layout::Common | Layout::Meter | Layout::MeterFloat);
            assert!(!meters || glossary.contains(row.name), "{} is not in the glossary", row.name);
        }
    }

    /// Every number of the specification's own table is a number of ours: layouts of integers and floats say the same.
    #[test]
    fn the_twin_of_floats_says_the_same_of_each_point() {
        for (one, other) in [(Layout::Inverter, Layout::InverterFloat), (Layout::Meter, Layout::MeterFloat)] {
            let said = |layout| {
                let points = rows_of(layout).filter(|row| row.kind != Kind::Exponent);
                let said = points.map(|row| (row.name, row.unit, row.phase, row.direction, row.counter));
                said.collect::<BTreeSet<_>>()
            };
            assert_eq!(said(one), said(other));
        }
    }
}
