//! `profiles new --from`: register tables in the shapes that makers and spreadsheets give them, and the profiles that they become.
//!
//! A case is `golden/tables/NAME.csv` with `NAME.yaml`; a table whose name is `one-based` is made with that flag. Nothing is
//! ever rewritten: `GOLDEN=print cargo test --test it profiles_new -- --nocapture` prints what would be right now.

use linesman::profile;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/tables");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "csv")).collect();
    cases.sort();
    cases
}

fn made(table: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command
        .current_dir(table.parent().unwrap())
        .args(["profiles", "new", "--vendor", "Acme", "--model", "X1"]);
    command.arg("--from").arg(table.file_name().unwrap());
    if table.file_stem().is_some_and(|stem| stem == "one-based") {
        command.arg("--one-based");
    }
    let done = command.output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!((done.status.code(), said.as_str()), (Some(0), ""), "{}", table.display());
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn tables_of_many_shapes_become_profiles_that_read() {
    let print = std::env::var_os("GOLDEN").is_some_and(|v| v == "print");
    let cases = cases();
    assert!(cases.len() >= 12, "{cases:?}");
    for table in cases {
        let profile = made(&table);
        let read = profile::parse("new", "new.yaml", &profile);
        assert!(read.is_ok_and(|read| !read.points.is_empty()), "{}\n{profile}", table.display());
        let expected = fs::read_to_string(table.with_extension("yaml")).unwrap_or_default();
        if print {
            println!("=== {}\n{profile}", table.display());
        } else {
            assert_eq!(profile, expected, "{}", table.display());
        }
    }
}
