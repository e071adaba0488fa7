//! `profiles new`: a first profile from a vendor's register table. What the table does not say is a TODO in it.

use super::guess::{self, quantity_of};
use super::table::{self, Row, Sheet};
use super::{complain, say};
use crate::cli::{Exit, quoted};
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

pub(super) fn main(arguments: &Arguments) -> io::Result<Exit> {
    let file = arguments.from.display().to_string();
    let fail = |why: String| complain(&Problem::whole(&file, why).into()).map(|()| Exit::Config);
    let text = match fs::read(&arguments.from) {
        Ok(octets) => table::decoded(&octets),
        Err(error) => return complain(&Problem::whole(&file, error.to_string()).into()).map(|()| Exit::Io),
    };
    let sheet = match table::sheet(&text) {
        Ok(sheet) if sheet.rows.is_empty() => {
            return fail("no row under the header has an address".to_owned());
        }
        Ok(sheet) => sheet,
        Err(why) => return fail(why),
    };
    let profile = written(arguments, &file, &sheet);
    say(&profile)?;
    if let Err(problems) = parse("new", "the new profile", &profile) {
        complain(&problems)?;
    }
    Ok(Exit::Done)
}

fn written(arguments: &Arguments, file: &str, sheet: &Sheet) -> String {
    let Arguments { vendor, model, kind, one_based, .. } = arguments;
    let rows = &sheet.rows;
    let mut text = format!(
        "# yaml-language-server: $schema=profile.schema.json\n\
         # Made from {file}. Each TODO is something that the table does not say; `linesman profiles check` helps.\n\
         profile: 1\nvendor: {}\nmodel: {}\nkind: {kind}\nsources: [{}]\n",
        quoted(vendor),
        quoted(model),
        quoted(file),
    );
    text.push_str(
        "# TODO serial: { baud: 9600, parity: none, stop_bits: 1 }, unit_id: 1, as it leaves the factory\n",
    );
    text.push_str("# TODO modbus: { max_registers: … } if the manual gives a limit, and word_order: little if so\npoints:\n");
    let hexadecimal = sheet.is_hexadecimal || rows.iter().any(|row| guess::is_bare_hex(&row.address));
    let how = How { hexadecimal, one_based: *one_based, per_register: sheet.per_register };
    let zero = rows.iter().any(|row| guess::address(&row.address, hexadecimal) == Some(0));
    if !one_based && !zero && !rows.iter().any(|row| guess::notation(&row.address).is_some()) {
        text.push_str(
            "  # TODO does the manual count from 1? Then make it anew with --one-based: no address is 0.\n",
        );
    }
    let (mut names, glossary) = (BTreeSet::new(), glossary::names());
    for row in rows {
        let Some(point) = Made::of(row, how, &mut names) else {
            // A heading between the rows, or a note below them.
            let said = [&row.address, &row.name].map(|cell| cell.replace('\n', " ")).join(" ");
            let _ = writeln!(text, "  # line {}, which has no address: {}", row.line, said.trim());
            continue;
        };
        let glossary = (kind == "energy-meter").then_some(&glossary);
        point.write(&mut text, row, glossary);
    }
    text
}

/// What holds for all rows.
#[derive(Debug, Clone, Copy)]
struct How {
    hexadecimal: bool,
    one_based: bool,
    per_register: u16,
}

/// One point, and what is not known of it.
struct Made {
    name: String,
    keys: Vec<String>,
    todos: Vec<String>,
}

impl Made {
    /// `None` for a row without an address.
    fn of(row: &Row, how: How, names: &mut BTreeSet<String>) -> Option<Made> {
        let mut made = Made { name: guess::name(&row.name, row.line), keys: Vec::new(), todos: Vec::new() };
        let is_bits = made.place(row, how)?;
        if !names.insert(made.name.clone()) {
            made.name = format!("{}_{}", made.name, row.line);
            made.todos.push("the name is there twice".to_owned());
            names.insert(made.name.clone());
        }
        let is_little = !is_bits && made.format(row, how);
        let order = row.order.to_lowercase();
        if is_little || ["little", "lsw", "cdab", "swap"].iter().any(|word| order.contains(word)) {
            made.keys.push("word_order: little".to_owned());
        }
        made.meaning(row, is_bits);
        Some(made)
    }

    /// Where it is; whether that is a coil or discrete input.
    fn place(&mut self, row: &Row, how: How) -> Option<bool> {
        if let Some(register) = guess::notation(&row.address).filter(|_| !how.one_based && !how.hexadecimal) {
            let is_bits = register.starts_with(['0', '1']);
            // Digits that begin with 0 are text in YAML, as they have to be.
            let register = if register.starts_with('0') { quoted(&register) } else { register };
            self.keys.push(format!("register: {register}"));
            return Some(is_bits);
        }
        let address = guess::address(&row.address, how.hexadecimal)?;
        let address = address.checked_sub(u16::from(how.one_based))?;
        let table = guess::table_of(&row.table).unwrap_or_else(|| {
            self.todos.push("holding or input?".to_owned());
            "holding"
        });
        self.keys.push(format!("{table}: {address}"));
        Some(matches!(table, "coil" | "discrete"))
    }

    /// True where the type's own words say that the low register comes first.
    fn format(&mut self, row: &Row, how: How) -> bool {
        let given = row.length.parse::<u16>().ok().map(|length| length.div_ceil(how.per_register));
        let length = given.or_else(|| guess::span(&row.address, how.hexadecimal));
        let (word, is_little) = guess::format_of(&row.format);
        let format = match (word, length) {
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
        let quoted = if format.contains(':') { quoted(&format) } else { format };
        self.keys.push(format!("type: {quoted}"));
        is_little
    }

    fn meaning(&mut self, row: &Row, is_bits: bool) {
        let is_number =
            !is_bits && !self.keys.iter().any(|key| key.contains("string") || key.contains("date-"));
        if !is_number {
            return;
        }
        let unit = row.unit.trim_matches(['[', ']', '(', ')', ' ']);
        // `V L1-N`: some tables have the unit in the name.
        let first = row.name.split(' ').next().filter(|_| unit.is_empty()).unwrap_or_default();
        match quantity_of(unit).or_else(|| quantity_of(first)) {
            Some((quantity, sign)) => {
                // A percent sign alone is none of YAML's words.
                let sign = if sign == "%" { "\"%\"" } else { sign };
                self.keys.push(format!("quantity: {quantity}, unit: {sign}"));
            }
            None if unit.is_empty() || unit == "-" => self.todos.push("quantity".to_owned()),
            None => {
                self.keys.push(format!("quantity: other, unit: {}", quoted(unit)));
                self.todos.push("quantity".to_owned());
            }
        }
        let scale = guess::scale_of(&row.scale).filter(|scale| !scale.is_empty());
        match scale.or_else(|| guess::weight_of(&row.notes)) {
            Some(scale) => self.keys.push(format!("scale: {scale}")),
            None if guess::scale_of(&row.scale).is_some() => {}
            None => self.todos.push(format!("scale, in the table `{}`", row.scale)),
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
        let text = written(&arguments, "t.csv", &table::sheet(table).unwrap());
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

    proptest::proptest! {
        /// Whatever octets a file has: never a panic, and what is made of a table is text of a profile.
        #[test]
        fn no_table_makes_it_panic(
            octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            address in "[0-9]{1,5}",
            cells in proptest::collection::vec(".{0,16}", 6),
        ) {
            for text in [table::decoded(&octets), format!("address;name;type;scale;unit;length;notes\n{address};{}", cells.join(";"))] {
                if let Ok(sheet) = table::sheet(&text) {
                    let arguments = Arguments {
                        from: PathBuf::from("t.csv"),
                        vendor: "Acme".to_owned(),
                        model: "X1".to_owned(),
                        kind: "other".to_owned(),
                        one_based: octets.len() % 2 == 0,
                    };
                    let made = written(&arguments, "t.csv", &sheet);
                    let said = parse("new", "new.yaml", &made).err().map(|problems| problems.to_string());
                    let said = said.unwrap_or_default();
                    proptest::prop_assert!(!said.contains("not valid YAML"), "{said}\n{made}");
                }
            }
        }
    }
}
