//! `linesman decode` of files and of standard input, against the golden batches.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/encode")
}

fn golden(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

fn decode(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.current_dir(folder()).env_clear().arg("decode").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever reads a file does not read this.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn a_file_of_batches_becomes_the_lines_that_the_gateway_itself_would_have_written() {
    for (form, expected) in [("json", "json.txt"), ("line", "line.txt"), ("csv", "csv.txt")] {
        let done = decode(&["batch.bin", "--meta", "meta.json", "--as", form], b"");
        assert_eq!((text(&done.stdout), text(&done.stderr)), (golden(expected), String::new()), "{form}");
        assert_eq!(done.status.code(), Some(0));
    }
}

#[test]
fn messages_as_mosquitto_sub_writes_them_are_read_one_after_the_other() {
    let (one, two) = (
        fs::read(folder().join("batch.bin")).unwrap(),
        fs::read(folder().join("batch-bounded.bin")).unwrap(),
    );
    let stream = [&one[..], b"\n", &two[..], b"\n"].concat();
    let done = decode(&["-", "--meta", "meta.json"], &stream);
    assert_eq!(text(&done.stdout), golden("json.txt") + &golden("batch-bounded.txt"));
    let done = decode(&["-", "--meta", "meta.json", "--count", "1"], &stream);
    assert_eq!(text(&done.stdout), golden("json.txt"));
}

#[test]
fn a_batch_that_brings_its_names_needs_no_meta_but_does_not_know_its_gateway() {
    let done = decode(&["batch-nameless.bin"], b"");
    assert_eq!(text(&done.stdout), golden("json.txt").replace("\"plant-7\"", "\"unknown\""));
}

#[test]
fn what_can_not_be_read_is_said_and_the_rest_is_read_all_the_same() {
    let done = decode(&["batch.bin"], b"");
    assert_eq!(text(&done.stdout), "");
    let said = text(&done.stderr);
    assert!(
        said.contains("batch 1: the schema ee8b029b is not known: its meta document is needed"),
        "{said}"
    );
    assert_eq!(done.status.code(), Some(1));

    let one = fs::read(folder().join("batch.bin")).unwrap();
    let mut damaged = one.clone();
    damaged[one.len() / 2] ^= 1;
    let done = decode(&["-", "--meta", "meta.json"], &[damaged, one].concat());
    assert_eq!(text(&done.stdout), golden("json.txt"));
    assert!(text(&done.stderr).contains("batch 1: "), "{}", text(&done.stderr));

    for (arguments, code, words) in [
        (vec!["no-such-file"], 74, "no-such-file"),
        (vec!["batch.bin", "--meta", "json.txt"], 74, "json.txt: "),
        (vec!["meta.json"], 1, "batch 1: no zstd frame"),
        (vec!["mqtts://broker"], 64, "TLS is not spoken here yet"),
        (vec!["batch.bin", "--as", "xml"], 64, "xml"),
    ] {
        let done = decode(&arguments, b"");
        assert_eq!(done.status.code(), Some(code), "{arguments:?}");
        assert!(text(&done.stderr).contains(words), "{arguments:?}: {}", text(&done.stderr));
    }
}
