//! Spools that lie on disks in the field: each folder of `golden/spool` is read for ever as it always was, and goes on.

use linesman::spool::{Config, start};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/spool");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let there = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &there);
        } else {
            fs::copy(&path, there).unwrap();
        }
    }
}

fn spool(arguments: &[&str], folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    let done = command.current_dir(folder).arg("spool").args(arguments).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    format!("{}{}", text(done.stdout), text(done.stderr))
}

#[test]
fn every_spool_is_read_as_it_always_was() {
    assert!(!folders().is_empty());
    for folder in folders() {
        let expected = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(spool(&["dump", "."], &folder), expected("dump.jsonl"), "{}", folder.display());
        assert_eq!(
            spool(&["status", ".", "--json"], &folder),
            expected("status.json"),
            "{}",
            folder.display()
        );
        assert_eq!(spool(&["check", "."], &folder), expected("check.txt"), "{}", folder.display());
    }
}

#[tokio::test]
async fn every_spool_goes_on_with_its_backlog_and_its_account() {
    for folder in folders() {
        let dir = tempfile::tempdir().unwrap();
        copy(&folder, dir.path());
        let status: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.join("status.json")).unwrap()).unwrap();
        let cursors = status["cursors"].as_array().unwrap();
        let names: Vec<String> =
            cursors.iter().map(|cursor| cursor["name"].as_str().unwrap().to_owned()).collect();
        let spool =
            start(Config { dir: dir.path().to_owned(), max_age: None, ..Config::default() }, &names).unwrap();
        for (name, saved) in names.iter().zip(cursors) {
            let reader = spool.reader(name).unwrap();
            let pending = reader.read(0, usize::MAX, usize::MAX).await.unwrap();
            spool.commit().await.unwrap();
            let account = reader.account().borrow().clone();
            let number = |key: &str| saved[key].as_u64().unwrap();
            assert_eq!(
                (account.cursor, account.sampled, account.delivered, account.pending),
                (number("cursor"), number("sampled"), number("delivered"), number("pending"))
            );
            assert_eq!(account.gaps.len(), saved["gaps"].as_array().unwrap().len());
            assert_eq!(pending.len() as u64, number("pending"));
        }
        let last = status["last"].as_u64().unwrap();
        spool.writer().append(1, vec![1]).await.unwrap();
        spool.commit().await.unwrap();
        assert_eq!(spool.reader(&names[0]).unwrap().head(), last + 1);
        spool.close().await.unwrap();
    }
}
