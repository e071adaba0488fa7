//! What an error of the database means: whether the record is at fault, and what to do about it.
//!
//! By SQLSTATE (PostgreSQL, appendix A): its first two characters are the class.

use super::table::{Of, Table};
use crate::uplink::said_by_tls;
use crate::upstream::bodies::Refusal;
use std::error::Error as _;
use std::io;

/// Of what stands here only the row itself is the reason.
fn is_the_rows_fault(code: &str) -> bool {
    // Data exceptions, integrity constraints, a view's WITH CHECK OPTION, and a trigger's RAISE.
    code.starts_with("22") || code.starts_with("23") || code == "44000" || code == "P0001"
}

pub(super) fn refusal(error: &tokio_postgres::Error, table: &Table) -> Refusal {
    let why = words(error, table);
    match error.code() {
        Some(code) if is_the_rows_fault(code.code()) => Refusal::ForGood(why),
        _ => Refusal::Later(why),
    }
}

/// For an operator: the server's own words, its code, and what would help.
pub(super) fn words(error: &tokio_postgres::Error, table: &Table) -> String {
    if let Some(said) = error.as_db_error() {
        let code = said.code().code();
        let detail = said.detail().map_or_else(String::new, |detail| format!(" ({detail})"));
        let advice = advice(code, table).map_or_else(String::new, |advice| format!(": {advice}"));
        return format!("{}{detail} [{code}]{advice}", said.message());
    }
    let source = error.source();
    let of_tls = source.and_then(|source| source.downcast_ref::<io::Error>()).and_then(said_by_tls);
    match (of_tls, source) {
        (Some(tls), _) => tls.to_string(),
        (None, Some(source)) if source.to_string().contains("password missing") => {
            "it asks for a password: give `password_file` or `password_credential`".to_owned()
        }
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn advice(code: &str, table: &Table) -> Option<String> {
    let key = Of::Readings.key();
    Some(match code {
        "28P01" => "is it the password of that user?".to_owned(),
        "28000" => "pg_hba.conf of the server says who may come from where, and how".to_owned(),
        "3D000" => "make it (`createdb`), or name the right one in `url`".to_owned(),
        "3F000" => "make the schema, or name the right one in `table`".to_owned(),
        "42501" => format!(
            "that user needs INSERT and SELECT on {table} and {}, and where they are to be made, CREATE on their schema",
            table.gaps()
        ),
        "42P01" => "it is looked for again, and made where `create` is on".to_owned(),
        "42P10" => format!(
            "{table} needs a unique index over ({key}), and {} one over ({}): what is sent twice must be there once",
            table.gaps(),
            Of::Gaps.key()
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_a_row_is_refused_for_good() {
        for code in ["22003", "22021", "22P02", "23502", "23514", "44000", "P0001"] {
            assert!(is_the_rows_fault(code), "{code}");
        }
        for code in ["28P01", "3D000", "40001", "40P01", "42501", "42P01", "42P10", "53100", "57014", "57P01"]
        {
            assert!(!is_the_rows_fault(code), "{code}");
        }
    }
}
