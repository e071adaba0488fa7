//! The answers, for people and for programs.

use super::question::Question;
use super::{Answers, Arguments};
use crate::cli::{exact, quoted, say, shown};
use comfy_table::{CellAlignment, Table, presets};

pub(super) fn table(question: &Question, answers: &Answers) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(if question.raw {
        ["address", "registers", "value"]
    } else {
        ["point", "value", "unit"]
    });
    for (index, point) in question.profile.points.iter().enumerate() {
        let value = answers.samples.get(index).map_or_else(String::new, shown);
        let row = if question.raw {
            let octets = answers.octets.get(index).and_then(Option::as_deref);
            [format!("{0} (0x{0:04x})", point.address), octets.map_or_else(String::new, hexadecimal), value]
        } else {
            [point.name.to_string(), value, point.unit.clone()]
        };
        table.add_row(row);
    }
    let value_column = if question.raw { 2 } else { 1 };
    if let Some(column) = table.column_mut(value_column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say(&table);
}

/// One document: `{"port","unit","profile","values","bad"}`; with addresses also `"registers"`, by address.
pub(super) fn json(arguments: &Arguments, question: &Question, answers: &Answers) {
    let named = || question.profile.points.iter().map(|point| point.name.as_str()).enumerate();
    let values = named().filter_map(|(index, name)| {
        let value = answers.samples.get(index)?.as_ref().ok()?;
        Some(format!("{}:{}", quoted(name), exact(value)))
    });
    let bad = named().filter_map(|(index, name)| {
        let bad = answers.samples.get(index)?.as_ref().err()?;
        Some(format!("{}:\"{bad}\"", quoted(name)))
    });
    let registers = named().filter_map(|(index, name)| {
        let octets = answers.octets.get(index)?.as_deref()?;
        Some(format!("{}:\"{}\"", quoted(name), hexadecimal(octets)))
    });
    let profile = if question.raw { "null".to_owned() } else { quoted(&question.profile.name) };
    let mut text = format!(
        "{{\"port\":{},\"unit\":{},\"profile\":{profile},\"values\":{{{}}},\"bad\":{{{}}}",
        quoted(&arguments.port),
        arguments.unit,
        values.collect::<Vec<_>>().join(","),
        bad.collect::<Vec<_>>().join(",")
    );
    if question.raw {
        text.push_str(&format!(",\"registers\":{{{}}}", registers.collect::<Vec<_>>().join(",")));
    }
    say(&format_args!("{text}}}"));
}

fn hexadecimal(octets: &[u8]) -> String {
    let registers: Vec<String> =
        octets.chunks(2).map(|pair| pair.iter().map(|octet| format!("{octet:02x}")).collect()).collect();
    registers.join(" ")
}
