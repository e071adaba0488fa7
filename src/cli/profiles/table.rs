//! A vendor's register table as text: which character parts its cells, which row is its header, which column is
//! what.

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
}

/// What header cells are called, in the order in which they are looked for.
const COLUMNS: &[(&str, &[&str])] = &[
    ("address", &["address", "addr", "adresse", "register", "reg", "offset", "start", "no"]),
    (
        "name",
        &[
            "name",
            "parameter",
            "designation",
            "description",
            "variable",
            "signal",
            "measurement",
            "bezeichnung",
            "point",
        ],
    ),
    ("format", &["type", "format", "datatype", "datentyp"]),
    ("unit", &["unit", "units", "einheit"]),
    ("scale", &["scale", "scaling", "factor", "multiplier", "gain", "faktor"]),
    ("table", &["function", "fc", "functioncode", "table", "registertype", "area"]),
    ("length", &["length", "len", "count", "size", "words", "registers", "quantity"]),
    ("order", &["wordorder", "order", "endian", "endianness"]),
];

/// The rows under the header.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, String> {
    let lines: Vec<(usize, &str)> = (1..)
        .zip(text.trim_start_matches('\u{feff}').lines())
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .collect();
    let delimiter = delimiter(&lines);
    let cells: Vec<(usize, Vec<String>)> =
        lines.iter().map(|(n, line)| (*n, cells(line, delimiter))).collect();
    let header = cells.iter().position(|(_, cells)| is_header(cells)).ok_or_else(|| {
        "no header: a row has to name its columns, of which `address` and `name` are needed (type, unit, scale, \
         function and length help)"
            .to_owned()
    })?;
    let columns: Vec<Option<&str>> = columns(&cells[header].1);
    let row = |(line, cells): &(usize, Vec<String>)| {
        let cell = |column: &str| {
            let at = columns.iter().position(|known| *known == Some(column));
            at.and_then(|at| cells.get(at)).map(|cell| cell.trim().to_owned()).unwrap_or_default()
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
        }
    };
    Ok(cells[header + 1..].iter().map(row).filter(|row| !row.address.is_empty()).collect())
}

/// The one that parts most lines into the same number of cells.
fn delimiter(lines: &[(usize, &str)]) -> char {
    let score = |delimiter: &char| {
        let counts: Vec<usize> =
            lines.iter().take(50).map(|(_, line)| cells(line, *delimiter).len()).collect();
        let usual = counts.iter().copied().max_by_key(|n| (counts.iter().filter(|m| *m == n).count(), *n));
        let usual = usual.filter(|n| *n > 1).unwrap_or(0);
        usual * counts.iter().filter(|n| **n == usual).count()
    };
    // The last of equals wins: a comma may be a decimal one.
    [',', '|', '\t', ';'].into_iter().max_by_key(score).unwrap_or(',')
}

/// RFC 4180: a cell may be quoted, and a quote in it is doubled.
fn cells(line: &str, delimiter: char) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                cell.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            c if c == delimiter && !quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}

fn plain(cell: &str) -> String {
    cell.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
}

fn columns(header: &[String]) -> Vec<Option<&'static str>> {
    let mut columns: Vec<Option<&'static str>> = vec![None; header.len()];
    for (column, words) in COLUMNS {
        // `Modbus address (hex)` is an address too; an exact word wins over one within others.
        let exact = |cell: &String| words.contains(&plain(cell).as_str());
        let within = |cell: &String| words.iter().any(|word| word.len() > 3 && plain(cell).contains(word));
        let free = |at: &usize| columns[*at].is_none();
        let found = (0..header.len()).filter(free).find(|at| exact(&header[*at]));
        let found = found.or_else(|| (0..header.len()).filter(free).find(|at| within(&header[*at])));
        if let Some(at) = found {
            columns[at] = Some(column);
        }
    }
    columns
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
        ] {
            let row = rows(text).unwrap().remove(0);
            let found = [&row.name, &row.address, &row.format, &row.unit].map(String::as_str);
            assert_eq!(found, ["Voltage, L1", "0", "float", "V"], "{text}");
        }
        assert!(rows("1,2,3\n4,5,6\n").unwrap_err().starts_with("no header"));
    }
}
