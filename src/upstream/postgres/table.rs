//! The tables as SQL, and whether one that is there will do: pure.

use std::fmt;

/// What a table is called: `name`, or `schema.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    schema: Option<String>,
    name: String,
}

/// An identifier has at most 63 octets ("Lexical Structure", Identifiers); `_gaps` has to fit behind it.
const LONGEST: usize = 58;

impl Default for Table {
    fn default() -> Table {
        Table { schema: None, name: "linesman".to_owned() }
    }
}

impl Table {
    /// # Errors
    /// What is wrong with the name. Only what needs no quotes in SQL is taken: others are asked for twice a day.
    pub fn parse(text: &str) -> Result<Table, String> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        for part in schema.into_iter().chain([name]) {
            let first = part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
            let rest = part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if !first || !rest {
                return Err("a name is made of a-z, 0-9 and _, and begins with no digit".to_owned());
            }
            if part.len() > LONGEST {
                return Err(format!("a name has at most {LONGEST} characters here"));
            }
        }
        Ok(Table { schema: schema.map(str::to_owned), name: name.to_owned() })
    }

    /// The table of the losses.
    pub(super) fn gaps(&self) -> Table {
        Table { schema: self.schema.clone(), name: format!("{}_gaps", self.name) }
    }

    /// Quoted: a word of SQL's own may be a name too.
    pub(super) fn sql(&self) -> String {
        match &self.schema {
            Some(schema) => format!("\"{schema}\".\"{}\"", self.name),
            None => format!("\"{}\"", self.name),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Which of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Readings,
    Gaps,
}

/// Filled by `COPY`, emptied by the end of each transaction; moments are milliseconds.
pub(super) const STAGED: &str = "create temporary table if not exists linesman_staged (ts bigint, gateway text, device text, point text, \
     value numeric, text text, unit text, bad text, clock_unsure boolean, epoch text, seq bigint) on commit delete rows";
pub(super) const STAGED_GAPS: &str = "create temporary table if not exists linesman_staged_gaps (gateway text, from_ts bigint, to_ts bigint, \
     count bigint, reason text) on commit delete rows";
pub(super) const COPY: &str = "copy pg_temp.linesman_staged from stdin";
pub(super) const COPY_GAPS: &str = "copy pg_temp.linesman_staged_gaps from stdin";

/// Name and type of each column, and whether it may be null.
type Columns = &'static [(&'static str, &'static str)];

const READINGS: Columns = &[
    ("ts", "timestamp with time zone"),
    ("gateway", "text"),
    ("device", "text"),
    ("point", "text"),
    ("value", "numeric"),
    ("text", "text"),
    ("unit", "text"),
    ("bad", "text"),
    ("clock_unsure", "boolean"),
    ("epoch", "text"),
    ("seq", "bigint"),
];
const GAPS: Columns = &[
    ("gateway", "text"),
    ("from_ts", "timestamp with time zone"),
    ("to_ts", "timestamp with time zone"),
    ("count", "bigint"),
    ("reason", "text"),
    ("told", "timestamp with time zone"),
];
const KEY: &str = "gateway, device, point, ts";
const GAPS_KEY: &str = "gateway, from_ts, to_ts, reason";

impl Of {
    const fn columns(self) -> Columns {
        match self {
            Of::Readings => READINGS,
            Of::Gaps => GAPS,
        }
    }

    pub(super) const fn key(self) -> &'static str {
        match self {
            Of::Readings => KEY,
            Of::Gaps => GAPS_KEY,
        }
    }

    /// Makes the table where there is none.
    pub(super) fn create(self, table: &Table) -> String {
        let column = |(name, kind): &(&str, &str)| match *name {
            "value" | "text" | "unit" | "bad" | "count" => format!("{name} {kind}"),
            "clock_unsure" => format!("{name} {kind} not null default false"),
            "told" => format!("{name} {kind} not null default now()"),
            name => format!("{name} {kind} not null"),
        };
        let columns: Vec<String> = self.columns().iter().map(column).collect();
        format!(
            "create table if not exists {} ({}, primary key ({}))",
            table.sql(),
            columns.join(", "),
            self.key()
        )
    }

    /// From the session's own table into the one that stays.
    pub(super) fn insert(self, table: &Table) -> String {
        let moment = |column: &str| format!("timestamptz 'epoch' + {column} * interval '1 millisecond'");
        let (columns, values, staged) = match self {
            Of::Readings => {
                let rest = "gateway, device, point, value, text, unit, bad, clock_unsure, epoch, seq";
                (format!("ts, {rest}"), format!("{}, {rest}", moment("ts")), "linesman_staged")
            }
            Of::Gaps => {
                let values = format!("gateway, {}, {}, count, reason", moment("from_ts"), moment("to_ts"));
                ("gateway, from_ts, to_ts, count, reason".to_owned(), values, "linesman_staged_gaps")
            }
        };
        format!(
            "insert into {} ({columns}) select {values} from pg_temp.{staged} on conflict ({}) do nothing",
            table.sql(),
            self.key()
        )
    }

    /// Whether a table that is there will do.
    pub(super) fn check(self, table: &Table, there: &[Column]) -> Result<(), String> {
        for (name, wanted) in self.columns() {
            let Some(column) = there.iter().find(|column| column.name == *name) else {
                return Err(format!("the table {table} has no column {name} ({wanted}): {ADVICE}"));
            };
            let will_do = column.kind == *wanted
                || (column.kind == "double precision" && *name == "value")
                || (column.kind == "character varying" && *wanted == "text");
            if !will_do {
                let kind = &column.kind;
                return Err(format!("the table {table} has {name} as {kind}, not as {wanted}: {ADVICE}"));
            }
        }
        let ours = |column: &&Column| self.columns().iter().any(|(name, _)| *name == column.name);
        match there.iter().find(|column| column.must_be_given && !ours(column)) {
            Some(column) => Err(format!(
                "the table {table} has a column {} that may not be null and has no default: {ADVICE}",
                column.name
            )),
            None => Ok(()),
        }
    }
}

const ADVICE: &str = "give `table` another name, or alter that one (docs/postgres.md)";

/// Of a table that is there: its columns, none where there is no table.
pub(super) const COLUMNS: &str = "select attname::text, format_type(atttypid, atttypmod), \
     attnotnull and not atthasdef and attidentity = '' from pg_attribute \
     where attrelid = to_regclass($1) and attnum > 0 and not attisdropped";

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// As `format_type` has it.
    pub(super) kind: String,
    pub(super) must_be_given: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(of: Of) -> Vec<Column> {
        let column = |(name, kind): &(&str, &str)| Column {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            must_be_given: *name == "ts",
        };
        of.columns().iter().map(column).collect()
    }

    #[test]
    fn a_table_is_a_name_with_or_without_its_schema() {
        let table = Table::parse("plant.readings").unwrap();
        assert_eq!(
            (table.sql().as_str(), table.to_string().as_str()),
            (r#""plant"."readings""#, "plant.readings")
        );
        assert_eq!(table.gaps().sql(), r#""plant"."readings_gaps""#);
        assert_eq!(Table::parse("linesman").unwrap(), Table::default());
        for wrong in ["", "a.b.c", "1st", "Readings", "a b", "a\"b", ".a", "a.", &"a".repeat(59)] {
            assert!(Table::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_table_with_more_columns_or_with_doubles_will_do_and_one_that_rounds_or_lacks_a_column_will_not() {
        let table = Table::default();
        for of in [Of::Readings, Of::Gaps] {
            assert_eq!(of.check(&table, &there(of)), Ok(()));
        }
        let mut doubles = there(Of::Readings);
        doubles[4].kind = "double precision".to_owned();
        doubles.push(Column { name: "note".to_owned(), kind: "text".to_owned(), must_be_given: false });
        assert_eq!(Of::Readings.check(&table, &doubles), Ok(()));
        doubles[4].kind = "numeric(12,3)".to_owned();
        let said = Of::Readings.check(&table, &doubles).unwrap_err();
        assert!(said.contains("value as numeric(12,3), not as numeric"), "{said}");
        doubles.remove(4);
        let said = Of::Readings.check(&table, &doubles).unwrap_err();
        assert!(said.contains("no column value (numeric)"), "{said}");
        let mut demanding = there(Of::Readings);
        demanding.push(Column { name: "site".to_owned(), kind: "text".to_owned(), must_be_given: true });
        let said = Of::Readings.check(&table, &demanding).unwrap_err();
        assert!(said.contains("column site that may not be null"), "{said}");
    }
}
