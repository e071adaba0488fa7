//! `profiles new`: a first profile from a vendor's register table. What the table does not say is a TODO in it.

use super::table::{self, Row};
use super::{complain, say};
use crate::cli::Exit;
use crate::model::quantity;
use crate::profile::format::type_word;
use crate::profile::{Problem, glossary, parse};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{fs, io};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The table, as CSV: comma, semicolon, tab or bar between its cells, a header with at least address and name.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    #[arg(long, default_value = "TODO")]
    vendor: String,
    #[arg(long, default_value = "TODO")]
    model: String,
    #[arg(long, default_value = "other")]
    kind: String,
    /// The table counts its registers from 1; on the wire they count from 0.
    #[arg(long)]
    one_based: bool,
}

/// Which quantity a unit most likely stands for.
const LIKELY: &[(&str, &str)] = &[
    ("V", "voltage"),
    ("A", "current"),
    ("W", "active-power"),
    ("var", "reactive-power"),
    ("VA", "apparent-power"),
    ("kWh", "active-energy"),
    ("kvarh", "reactive-energy"),
    ("kVAh", "apparent-energy"),
    ("Hz", "frequency"),
    ("°", "phase-angle"),
    ("°C", "temperature"),
    ("bar", "pressure"),
    ("m³", "volume"),
    ("m³/h", "flow-rate"),
    ("m", "level"),
    ("ppm", "concentration"),
    ("m/s", "velocity"),
    ("µS/cm", "conductivity"),
    ("lx", "illuminance"),
];

pub(super) fn main(arguments: &Arguments) -> io::Result<Exit> {
    let file = arguments.from.display().to_string();
    let fail = |why: String| complain(&Problem::whole(&file, why).into()).map(|()| Exit::Config);
    let text = match fs::read(&arguments.from) {
        Ok(octets) => String::from_utf8_lossy(&octets).into_owned(),
        Err(error) => return complain(&Problem::whole(&file, error.to_string()).into()).map(|()| Exit::Io),
    };
    let rows = match table::rows(&text) {
        Ok(rows) if rows.is_empty() => return fail("no row under the header has an address".to_owned()),
        Ok(rows) => rows,
        Err(why) => return fail(why),
    };
    let profile = written(arguments, &file, &rows);
    say(&profile)?;
    if let Err(problems) = parse("new", "the new profile", &profile) {
        complain(&problems)?;
    }
    Ok(Exit::Done)
}

fn written(arguments: &Arguments, file: &str, rows: &[Row]) -> String {
    let Arguments { vendor, model, kind, one_based, .. } = arguments;
    let mut text = format!(
        "# yaml-language-server: $schema=profile.schema.json\n\
         # Made from {file}. Each TODO is something that the table does not say; `linesman profiles check` helps.\n\
         profile: 1\nvendor: {vendor:?}\nmodel: {model:?}\nkind: {kind}\nsources: [{file:?}]\n"
    );
    text.push_str(
        "# TODO serial: { baud: 9600, parity: none, stop_bits: 1 }, unit_id: 1, as it leaves the factory\n",
    );
    text.push_str("# TODO modbus: { max_registers: … } if the manual gives a limit, and word_order: little if so\npoints:\n");
    let hexadecimal = rows.iter().any(|row| is_bare_hex(&row.address));
    let zero = rows.iter().any(|row| address(&row.address, hexadecimal) == Some(0));
    if !one_based && !zero && !rows.iter().any(|row| is_notation(&row.address)) {
        text.push_str(
            "  # TODO does the manual count from 1? Then make it anew with --one-based: no address is 0.\n",
        );
    }
    let (mut names, glossary) = (BTreeSet::new(), glossary::names());
    for row in rows {
        let point = Made::of(row, hexadecimal, *one_based, &mut names);
        let glossary = (kind == "energy-meter").then_some(&glossary);
        point.write(&mut text, row, glossary);
    }
    text
}

/// One point, and what is not known of it.
struct Made {
    name: String,
    keys: Vec<String>,
    todos: Vec<String>,
}

impl Made {
    fn of(row: &Row, hexadecimal: bool, one_based: bool, names: &mut BTreeSet<String>) -> Made {
        let mut made = Made { name: name(&row.name, row.line), keys: Vec::new(), todos: Vec::new() };
        if !names.insert(made.name.clone()) {
            made.name = format!("{}_{}", made.name, row.line);
            made.todos.push("the name is there twice".to_owned());
            names.insert(made.name.clone());
        }
        let is_bits = made.place(row, hexadecimal, one_based);
        if !is_bits {
            made.format(row);
        }
        if !row.order.is_empty() && row.order.to_lowercase().contains("little") {
            made.keys.push("word_order: little".to_owned());
        }
        made.meaning(row, is_bits);
        made
    }

    /// Where it is; whether that is a coil or discrete input.
    fn place(&mut self, row: &Row, hexadecimal: bool, one_based: bool) -> bool {
        if is_notation(&row.address) && !one_based {
            self.keys.push(format!("register: {}", row.address));
            return row.address.starts_with(['0', '1']);
        }
        let function = row.table.to_lowercase();
        let digits: String = function.chars().filter(char::is_ascii_digit).collect();
        let table = match digits.trim_start_matches('0') {
            "1" => "coil",
            "2" => "discrete",
            "3" => "holding",
            "4" => "input",
            _ if function.contains("input reg") || function == "input" => "input",
            _ if function.contains("discrete") => "discrete",
            _ if function.contains("coil") => "coil",
            _ if function.contains("hold") => "holding",
            _ => {
                self.todos.push("holding or input?".to_owned());
                "holding"
            }
        };
        match address(&row.address, hexadecimal).and_then(|n| n.checked_sub(u16::from(one_based))) {
            Some(address) => self.keys.push(format!("{table}: {address}")),
            None => {
                self.keys.push(format!("{table}: 0"));
                self.todos.push(format!("the address, in the table `{}`", row.address));
            }
        }
        matches!(table, "coil" | "discrete")
    }

    fn format(&mut self, row: &Row) {
        let length: Option<u16> = row.length.parse().ok();
        let format = match (type_word(&row.format), length) {
            (Some("string:8"), Some(registers)) => format!("string:{registers}"),
            (Some(word), _) => word.to_owned(),
            (None, length) => {
                let guess = match length {
                    Some(2) => "u32",
                    Some(4) => "u64",
                    Some(_) | None => "u16",
                };
                self.todos.push(format!("the type, in the table `{}`", row.format));
                guess.to_owned()
            }
        };
        let quoted = if format.contains(':') { format!("{format:?}") } else { format };
        self.keys.push(format!("type: {quoted}"));
    }

    fn meaning(&mut self, row: &Row, is_bits: bool) {
        let is_number =
            !is_bits && !self.keys.iter().any(|key| key.contains("string") || key.contains("date-"));
        if !is_number {
            return;
        }
        let unit = row.unit.trim_matches(['[', ']', '(', ')', ' ']);
        match quantity_of(unit) {
            Some((quantity, sign)) => self.keys.push(format!("quantity: {quantity}, unit: {sign}")),
            None if unit.is_empty() || unit == "-" => self.todos.push("quantity".to_owned()),
            None => {
                self.keys.push(format!("quantity: other, unit: {unit:?}"));
                self.todos.push("quantity".to_owned());
            }
        }
        let scale = row.scale.replace(',', ".");
        match scale.trim().trim_start_matches(['x', 'X', '*', '×']).trim() {
            "" | "1" | "-" => {}
            number if number.parse::<crate::model::Ratio>().is_ok() => {
                self.keys.push(format!("scale: {number}"))
            }
            other => self.todos.push(format!("scale, in the table `{other}`")),
        }
    }

    fn write(mut self, text: &mut String, row: &Row, glossary: Option<&BTreeSet<&str>>) {
        if glossary.is_some_and(|glossary| !glossary.contains(self.name.as_str())) {
            self.todos.insert(0, "the name, from the glossary".to_owned());
        }
        let todos = if self.todos.is_empty() {
            String::new()
        } else {
            format!("   # TODO {}", self.todos.join("; "))
        };
        let _ = writeln!(text, "  {}: {{ {} }}{todos}", self.name, self.keys.join(", ").replace('\n', " "));
        let said = row.name.trim();
        if !said.is_empty() && !said.eq_ignore_ascii_case(&self.name) {
            let _ = writeln!(text, "    # {}", said.replace('\n', " "));
        }
    }
}

/// By the unit's family: `mV` is a voltage too.
fn quantity_of(unit: &str) -> Option<(&'static str, &'static str)> {
    if unit.is_empty() {
        return None;
    }
    let found = LIKELY.iter().filter_map(|(_, name)| quantity::find(name));
    found.filter_map(|quantity| Some((quantity.name, quantity.sign_of(unit)?))).next()
}

/// Lower case, digits and underscores.
fn name(said: &str, line: usize) -> String {
    let words: Vec<String> = said
        .to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let name: String = words.join("_").chars().take(60).collect();
    if name.is_empty() { format!("point_{line}") } else { name }
}

fn is_bare_hex(address: &str) -> bool {
    let digits = address.trim_end_matches(['h', 'H']);
    !address.starts_with("0x")
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
        && (digits.len() < address.len() || digits.bytes().any(|b| b.is_ascii_alphabetic()))
}

/// Five or six digits that begin with a table's.
fn is_notation(address: &str) -> bool {
    let digits = address.bytes().all(|b| b.is_ascii_digit());
    digits
        && matches!(
            (address.len(), address.as_bytes().first()),
            (5, Some(b'3' | b'4')) | (6, Some(b'0' | b'1' | b'3' | b'4'))
        )
}

/// `17`, `0x11`, `11h`; all hexadecimal where one of them can be nothing else.
fn address(text: &str, hexadecimal: bool) -> Option<u16> {
    let text = text.trim();
    let first = text.split(['-', '…', '.', '/', ' ']).next().unwrap_or(text);
    if let Some(hex) = first.strip_prefix("0x").or_else(|| first.strip_prefix("0X")) {
        return u16::from_str_radix(hex, 16).ok();
    }
    if hexadecimal {
        return u16::from_str_radix(first.trim_end_matches(['h', 'H']), 16).ok();
    }
    first.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(table: &str, one_based: bool) -> String {
        let arguments = Arguments {
            from: PathBuf::from("t.csv"),
            vendor: "Acme".to_owned(),
            model: "X1".to_owned(),
            kind: "other".to_owned(),
            one_based,
        };
        let text = written(&arguments, "t.csv", &table::rows(table).unwrap());
        parse("new", "new.yaml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        text
    }

    #[test]
    fn a_table_becomes_a_profile_that_reads_with_what_is_missing_named() {
        let text = made(
            "Address,Name,Function,Type,Unit,Scale\n0,Voltage L1-N,04,float32,V,\n2,Energy,04,uint32,Wh,0.1\n\
             10,Serial,03,string,,\n12,State,03,??,,\n7,Relay,1,,,\n",
            false,
        );
        assert!(
            text.contains("  voltage_l1_n: { input: 0, type: f32, quantity: voltage, unit: V }\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "  energy: { input: 2, type: u32, quantity: active-energy, unit: Wh, scale: 0.1 }\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("  serial: { holding: 10, type: \"string:8\" }\n") || text.contains("string:8"),
            "{text}"
        );
        assert!(text.contains("# TODO the type, in the table `??`; quantity\n"), "{text}");
        assert!(text.contains("  relay: { coil: 7 }\n"), "{text}");
        assert!(!text.contains("--one-based"), "one address is 0");
    }

    #[test]
    fn notations_of_addresses_are_understood() {
        assert!(
            made("register;name;type\n40001;a;u16\n30002;b;u16\n", false)
                .contains("a: { register: 40001, type: u16 }")
        );
        let text = made("register;name;type;function\n1;a;u16;3\n3;b;u16;3\n", true);
        assert!(text.contains("a: { holding: 0,") && text.contains("b: { holding: 2,"), "{text}");
        assert!(made("register;name;type\n1;a;u16\n", false).contains("count from 1?"));
        let text = made("address,name,type\n10,a,u16\n1A,b,u16\n1Ch,c,u16\n0x20,d,u16\n", false);
        for place in ["holding: 16", "holding: 26", "holding: 28", "holding: 32"] {
            assert!(text.contains(place), "{place} {text}");
        }
    }
}
