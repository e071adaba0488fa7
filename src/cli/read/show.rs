//! The answers, for people and for programs.

use super::orders::{self, Meaning, Twice};
use super::question::Question;
use super::{Answers, Arguments};
use crate::cli::{exact, quoted, say, shown};
use crate::model::Sample;
use crate::normalize;
use crate::profile::{Order, Point};
use comfy_table::{CellAlignment, Table, presets};

pub(super) fn table(question: &Question, answers: &Answers) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(if question.raw {
        ["address", "registers", "value"]
    } else {
        ["point", "value", "unit"]
    });
    for (index, point) in there_are(question, answers) {
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

/// All but what the device lacks of what its model may have.
fn there_are<'a>(question: &'a Question, answers: &'a Answers) -> impl Iterator<Item = (usize, &'a Point)> {
    let there = |(index, point): &(usize, &Point)| {
        answers.samples.get(*index).is_none_or(|sample| !normalize::is_lacking(point, sample))
    };
    question.profile.points.iter().enumerate().filter(there)
}

/// One document: `{"port","unit","profile","values","bad"}`; with addresses also `"registers"`, by address.
pub(super) fn json(arguments: &Arguments, question: &Question, answers: &Answers) {
    let named = || there_are(question, answers).map(|(index, point)| (index, point.name.as_str()));
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

/// As many meanings as fit a screen; the others are hardly plausible.
const ROWS: usize = 24;
/// Less is not shown, unless nothing is more.
const WORTH_SHOWING: f64 = 0.02;

/// Every plausible meaning of the registers, and the best as a line for a profile.
pub(super) fn orders(read: &Twice, meanings: &[Meaning]) {
    let Twice { table, address, first, second } = read;
    say(&format_args!(
        "{table} {address} (0x{address:04x}) on the wire, counted from 0; {} in manuals that count from 1",
        orders::notation(table, *address)
    ));
    let again = second.as_deref().filter(|second| second != first);
    let moved = again.map_or_else(String::new, |again| format!(", a moment later {}", hexadecimal(again)));
    say(&format_args!("registers: {}{moved}", hexadecimal(first)));
    let mut rows = Table::new();
    rows.load_style(presets::UTF8_FULL_CONDENSED);
    rows.set_header(["address", "type", "word order", "byte order", "value", "a moment later", "plausible"]);
    let shown_ones = meanings.iter().enumerate();
    let shown_ones = shown_ones.take_while(|(n, meaning)| *n < 3 || meaning.plausible >= WORTH_SHOWING);
    let shown_ones: Vec<&Meaning> = shown_ones.take(ROWS).map(|(_, meaning)| meaning).collect();
    for meaning in &shown_ones {
        rows.add_row(row(table, meaning));
    }
    for column in [4, 5, 6] {
        if let Some(column) = rows.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    say(&rows);
    match meanings.len() - shown_ones.len() {
        0 => {}
        hidden => {
            say(&format_args!("{hidden} more types and orders make no sense here; --json has them too"))
        }
    }
    if let Some(best) = meanings.first() {
        say(&format_args!(
            "  value: {}  # a name, quantity: and unit: of your own",
            orders::yaml(table, best)
        ));
    }
}

fn row(table: &str, meaning: &Meaning) -> [String; 7] {
    let Meaning { point, scale, value, again, plausible } = meaning;
    let order = |order: Order| if order == Order::Little { "little" } else { "big" };
    let scaled = if *scale == "1" { String::new() } else { format!(" × {scale}") };
    let words = if point.format.count() > 1 { order(point.word_order) } else { "" };
    [
        format!("{} = {}", point.address, orders::notation(table, point.address)),
        format!("{}{scaled}", point.format.word()),
        words.to_owned(),
        order(point.byte_order).to_owned(),
        shown(value),
        again.as_ref().filter(|again| *again != value).map_or_else(String::new, shown),
        format!("{plausible:.2}"),
    ]
}

/// One document: `{"port","unit","table","address","reference","registers","again","meanings":[…]}`, the plausible ones
/// first: `{"address","reference","type","word_order","byte_order","scale","value","again","plausible","yaml"}`.
pub(super) fn orders_json(arguments: &Arguments, read: &Twice, meanings: &[Meaning]) {
    let sample = |sample: &Sample| sample.as_ref().map_or_else(|_| "null".to_owned(), exact);
    let order = |order: Order| if order == Order::Little { "little" } else { "big" };
    let each = meanings.iter().map(|meaning| {
        let Meaning { point, scale, value, again, plausible } = meaning;
        format!(
            "{{\"address\":{},\"reference\":{},\"type\":{},\"word_order\":\"{}\",\"byte_order\":\"{}\",\
             \"scale\":{scale},\"value\":{},\"again\":{},\"plausible\":{plausible:.3},\"yaml\":{}}}",
            point.address,
            quoted(&orders::notation(read.table, point.address)),
            quoted(&point.format.word()),
            order(point.word_order),
            order(point.byte_order),
            sample(value),
            again.as_ref().map_or_else(|| "null".to_owned(), sample),
            quoted(&orders::yaml(read.table, meaning)),
        )
    });
    let each: Vec<String> = each.collect();
    let again =
        read.second.as_deref().map_or_else(|| "null".to_owned(), |octets| quoted(&hexadecimal(octets)));
    say(&format_args!(
        "{{\"port\":{},\"unit\":{},\"table\":\"{}\",\"address\":{},\"reference\":{},\"registers\":{},\
         \"again\":{again},\"meanings\":[{}]}}",
        quoted(&arguments.port),
        arguments.unit,
        read.table,
        read.address,
        quoted(&orders::notation(read.table, read.address)),
        quoted(&hexadecimal(&read.first)),
        each.join(",")
    ));
}

fn hexadecimal(octets: &[u8]) -> String {
    let registers: Vec<String> =
        octets.chunks(2).map(|pair| pair.iter().map(|octet| format!("{octet:02x}")).collect()).collect();
    registers.join(" ")
}
