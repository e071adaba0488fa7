//! A vendor's register table as text: in which encoding, which character parts its cells, which row is its header, which
//! column is what.

/// A row of the table that has an address, by column.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub line: usize,
    pub name: String,
    pub address: String,
    pub table: String,
    pub format: String,
    pub length: String,
    pub scale: String,
    pub unit: String,
    pub order: String,
    pub notes: String,
}

/// The rows under the header, and what the header says of all of them.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub rows: Vec<Row>,
    /// The header says that addresses are hexadecimal.
    pub is_hexadecimal: bool,
    /// Lengths are in octets or bits: so many make a register.
    pub per_register: u16,
}

/// What a column is called, the surest words first; those behind the bar only where nothing else fits.
struct Column {
    what: &'static str,
    sure: &'static [&'static str],
    weak: &'static [&'static str],
}

const fn column(what: &'static str, sure: &'static [&'static str], weak: &'static [&'static str]) -> Column {
    Column { what, sure, weak }
}

/// In the order in which they are looked for.
static COLUMNS: &[Column] = &[
    column(
        "table",
        &["functioncode", "registertype", "modbusfunction", "funktionscode", "function", "fc"],
        &["table", "area", "funktion"],
    ),
    column(
        "scale",
        &["scalefactor", "scaling", "scale", "multiplier", "skalierung", "faktor", "factor", "gain"],
        &["resolution", "auflösung", "divisor"],
    ),
    column("order", &["wordorder", "byteorder", "endianness", "endian"], &["order"]),
    column("format", &["datatype", "datentyp", "datenformat", "dataformat", "type", "typ", "format"], &[]),
    column(
        "length",
        &["length", "länge", "anzahlregister", "registercount", "wordcount", "size", "len"],
        &["count", "words", "anzahl", "registers", "quantity"],
    ),
    // Before the unit: some makers have one column `variable, unit`.
    column(
        "name",
        &[
            "name",
            "parameter",
            "designation",
            "bezeichnung",
            "description",
            "beschreibung",
            "variable",
            "signal",
            "measurement",
            "messwert",
            "meaning",
        ],
        &["point", "quantity", "text", "label", "value"],
    ),
    column("unit", &["unit", "units", "einheit", "unité"], &["uom"]),
    column(
        "address",
        &["address", "adresse", "addr", "registernumber", "registernummer", "register"],
        &["reg", "offset", "start", "no", "nr"],
    ),
    column(
        "notes",
        &["notes", "note", "remarks", "remark", "comments", "comment", "bemerkung", "kommentar"],
        &["info"],
    ),
];

/// UTF-8, UTF-16 with its mark, or Latin-1: what spreadsheets write.
pub(super) fn decoded(octets: &[u8]) -> String {
    let wide = |of: fn([u8; 2]) -> u16| {
        let words = octets.get(2..).unwrap_or_default().chunks_exact(2);
        let words: Vec<u16> = words.map(|word| of([word[0], word[1]])).collect();
        String::from_utf16_lossy(&words)
    };
    match octets {
        [0xFF, 0xFE, ..] => wide(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => wide(u16::from_be_bytes),
        _ => match std::str::from_utf8(octets) {
            Ok(text) => text.to_owned(),
            Err(_) => octets.iter().map(|octet| char::from(*octet)).collect(),
        },
    }
}

/// The table in a text.
pub(super) fn sheet(text: &str) -> Result<Sheet, String> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let records = records(&text, delimiter(&text));
    let header = records.iter().position(|(_, cells)| is_header(cells)).ok_or_else(|| {
        "no header: a row has to name its columns, of which `address` and `name` are needed (type, unit, scale, \
         function and length help)"
            .to_owned()
    })?;
    let (head, below) = (&records[header].1, &records[header + 1..]);
    let columns = columns(head);
    let title = |what: &str| {
        let at = columns.iter().position(|known| *known == Some(what));
        at.map(|at| head[at].to_lowercase()).unwrap_or_default()
    };
    let row = |(line, cells): &(usize, Vec<String>)| {
        let cell = |what: &str| {
            let at = columns.iter().position(|known| *known == Some(what));
            at.and_then(|at| cells.get(at)).map(|cell| clean(cell)).unwrap_or_default()
        };
        Row {
            line: *line,
            name: cell("name"),
            address: cell("address"),
            table: cell("table"),
            format: cell("format"),
            length: cell("length"),
            scale: cell("scale"),
            unit: cell("unit"),
            order: cell("order"),
            notes: cell("notes"),
        }
    };
    let is_comment = |cells: &[String]| cells.first().is_some_and(|cell| cell.starts_with('#'));
    let rows = below.iter().filter(|(_, cells)| !is_comment(cells)).map(row);
    let length = title("length");
    Ok(Sheet {
        rows: rows.filter(|row| !row.address.is_empty()).collect(),
        is_hexadecimal: title("address").contains("hex"),
        per_register: match () {
            () if length.contains("byte") || length.contains("octet") => 2,
            () if length.contains("bit") => 16,
            () => 1,
        },
    })
}

/// Without what no text of YAML may have.
fn clean(cell: &str) -> String {
    let printable =
        |c: char| if c.is_control() || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}') { ' ' } else { c };
    cell.chars().map(printable).collect::<String>().trim().to_owned()
}

/// The one that parts most lines into the same number of cells.
fn delimiter(text: &str) -> char {
    let score = |delimiter: &char| {
        let counts: Vec<usize> =
            records(text, *delimiter).iter().take(50).map(|(_, cells)| cells.len()).collect();
        let usual = counts.iter().copied().max_by_key(|n| (counts.iter().filter(|m| *m == n).count(), *n));
        let usual = usual.filter(|n| *n > 1).unwrap_or(0);
        usual * counts.iter().filter(|n| **n == usual).count()
    };
    // The last of equals wins: a comma may be a decimal one.
    [',', '|', '\t', ';'].into_iter().max_by_key(score).unwrap_or(',')
}

/// RFC 4180: a cell may be quoted, a quote in it is doubled, and it may break its line. With the line on which each begins.
fn records(text: &str, delimiter: char) -> Vec<(usize, Vec<String>)> {
    let (mut records, mut cells, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let (mut line, mut begun) = (1, 1);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        line += usize::from(c == '\n');
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                cell.push('"');
                characters.next();
            }
            // A quote within a cell that is none is an inch or a second.
            '"' if quoted || cell.trim().is_empty() => quoted = !quoted,
            '\n' if quoted => cell.push(' '),
            '\n' => {
                cells.push(std::mem::take(&mut cell));
                records.push((begun, std::mem::take(&mut cells)));
                begun = line;
            }
            c if c == delimiter && !quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    records.push((begun, cells));
    records.retain(|(_, cells)| cells.iter().any(|cell| !cell.trim().is_empty()));
    records
}

fn plain(cell: &str) -> String {
    cell.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
}

/// An exact word wins over one within others (`Modbus address (hex)` is an address too), and both over a weak one.
fn columns(header: &[String]) -> Vec<Option<&'static str>> {
    let header: Vec<String> = header.iter().map(|cell| plain(cell)).collect();
    let mut columns: Vec<Option<&'static str>> = vec![None; header.len()];
    let exact = |cell: &str, word: &str| cell == word;
    let within = |cell: &str, word: &str| word.len() > 3 && cell.contains(word);
    look(&header, &mut columns, |column| column.sure, exact);
    look(&header, &mut columns, |column| column.sure, within);
    look(&header, &mut columns, |column| column.weak, exact);
    columns
}

/// What columns are still to be found, by some of their words.
fn look(
    header: &[String],
    columns: &mut [Option<&'static str>],
    words: fn(&Column) -> &'static [&'static str],
    fits: impl Fn(&str, &str) -> bool,
) {
    for column in COLUMNS {
        if columns.contains(&Some(column.what)) {
            continue;
        }
        let is_so = |at: &usize, word: &str| columns[*at].is_none() && fits(&header[*at], word);
        let found = words(column).iter().find_map(|word| (0..header.len()).find(|at| is_so(at, word)));
        if let Some(at) = found {
            columns[at] = Some(column.what);
        }
    }
}

fn is_header(cells: &[String]) -> bool {
    let columns = columns(cells);
    ["address", "name"].iter().all(|needed| columns.contains(&Some(needed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_quotes_and_headers_are_guessed() {
        for text in [
            "Address,Name,Type,Unit\n0,\"Voltage, L1\",float,V\n2,b,float,V\n",
            "Vendor X\n\nModbus Addr.;Parameter name;Data type;Einheit\n0;Voltage, L1;float;V\n",
            "name\tregister\tformat\tunits\nVoltage, L1\t0\tfloat\tV\n",
            "| Register | Description | Type | Unit |\n| 0 | Voltage, L1 | float | V |\n",
            "sep=;\r\nNr.;Register (hex);Bezeichnung;Typ;Einheit\r\n1;0;Voltage, L1;float;V\r\n",
            "Register type,Register number,Name,Data type,Unit\nInput,0,\"Voltage,\nL1\",float,V\n",
        ] {
            let row = sheet(text).unwrap().rows.remove(0);
            let found = [&row.name, &row.address, &row.format, &row.unit].map(String::as_str);
            assert_eq!(found, ["Voltage, L1", "0", "float", "V"], "{text}");
        }
        assert!(sheet("1,2,3\n4,5,6\n").unwrap_err().starts_with("no header"));
    }

    #[test]
    fn lines_are_counted_also_behind_a_cell_that_breaks_its_own() {
        let sheet = sheet("address,name\n\n0,\"a\nb\"\n# no row\n1,c\n").unwrap();
        assert_eq!(sheet.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [3, 6]);
    }

    #[test]
    fn what_spreadsheets_write_is_decoded() {
        let utf16 =
            |order: fn(u16) -> [u8; 2]| "\u{feff}é;1".encode_utf16().flat_map(order).collect::<Vec<u8>>();
        assert_eq!(decoded(&utf16(u16::to_le_bytes)), "é;1");
        assert_eq!(decoded(&utf16(u16::to_be_bytes)), "é;1");
        assert_eq!(decoded(b"\xe9;1"), "é;1");
        assert_eq!(decoded("é;1".as_bytes()), "é;1");
    }
}
