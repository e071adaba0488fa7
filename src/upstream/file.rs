//! Upstream `file`: lines of JSON or of another encoding, durable before they are acknowledged, rotated by size.
//!
//! `PATH` is written to; `PATH.1` is the one before, up to `PATH.keep`. A line that a power cut left
//! half written is cut off at the next start: it was never acknowledged and is written again whole.

use super::bodies::{Refusal, WriteText};
use crate::encode::Encoding;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How much is looked at from the end for the last line's beginning, at a time.
const STRIDE: u64 = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Lines are appended here.
    pub path: PathBuf,
    /// Beyond this size the file is renamed and a new one begun.
    pub max_size: u64,
    /// Renamed files that are kept.
    pub keep: u32,
    /// Any but `batch`. Where it has a header, each new file begins with it.
    pub encoding: Encoding,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            path: PathBuf::from("/var/lib/linesman/readings.jsonl"),
            max_size: 64 << 20,
            keep: 4,
            encoding: Encoding::Json,
        }
    }
}

pub(super) struct FileSink {
    config: Config,
    open: Option<Open>,
}

struct Open {
    file: File,
    size: u64,
}

impl FileSink {
    pub(super) fn new(config: Config) -> FileSink {
        FileSink { config, open: None }
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let header = self.config.encoding.row().header;
        let incoming = lines.len() as u64;
        let full = self.open()?.size > 0 && self.open()?.size + incoming > self.config.max_size;
        if full {
            self.open = None;
            rotate(&self.config)?;
        }
        let open = self.open()?;
        let before = open.size;
        let header = if before == 0 { header } else { "" };
        let written = open.file.write_all(header.as_bytes()).and_then(|()| open.file.write_all(lines));
        let written = written.and_then(|()| open.file.sync_data());
        match written {
            Ok(()) => open.size += incoming + header.len() as u64,
            // Half a batch must not be followed by another half: back to where the last whole one ended.
            Err(_) => open.file.set_len(before)?,
        }
        written
    }

    fn open(&mut self) -> io::Result<&mut Open> {
        // Somebody may have moved or removed the file (logrotate, a hand): then begin a new one.
        if self.open.as_ref().is_some_and(|open| !is_still(&self.config.path, &open.file)) {
            self.open = None;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => open_at_last_line(&self.config.path)?,
        };
        Ok(self.open.insert(open))
    }
}

impl WriteText for FileSink {
    fn write(&mut self, lines: &[u8]) -> Result<(), Refusal> {
        self.append(lines).map_err(|error| {
            self.open = None;
            let why = format!("{}: {error}", self.config.path.display());
            // More than a file may hold here (EFBIG): smaller parts may fit into a new one.
            if error.kind() == io::ErrorKind::FileTooLarge {
                Refusal::ForGood(why)
            } else {
                Refusal::Later(why)
            }
        })
    }
}

fn is_still(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(ours)) = (fs::metadata(path), file.metadata()) else { return false };
    there.ino() == ours.ino() && there.dev() == ours.dev()
}

fn open_at_last_line(path: &Path) -> io::Result<Open> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    if is_new && let Some(folder) = path.parent() {
        sync_folder(folder)?;
    }
    let size = end_of_last_line(&mut file)?;
    if size < file.metadata()?.len() {
        tracing::warn!(file = %path.display(), "the last line was not whole; cut off, it is written again");
        file.set_len(size)?;
    }
    Ok(Open { file, size })
}

fn end_of_last_line(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(STRIDE);
        let mut octets = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut octets)?;
        if let Some(newline) = octets.iter().rposition(|octet| *octet == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn rotate(config: &Config) -> io::Result<()> {
    let numbered = |n: u32| {
        let mut name = config.path.clone().into_os_string();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    if config.keep == 0 {
        gone(fs::remove_file(&config.path))?;
    } else {
        for n in (1..config.keep).rev() {
            gone(fs::rename(numbered(n), numbered(n + 1)))?;
        }
        gone(fs::rename(&config.path, numbered(1)))?;
    }
    config.path.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(dir: &Path, max_size: u64) -> FileSink {
        FileSink::new(Config { path: dir.join("r.jsonl"), max_size, keep: 2, ..Config::default() })
    }

    fn text(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap_or_default()
    }

    #[test]
    fn files_rotate_by_size_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), 10);
        for line in ["aaaaaa\n", "bbbbbb\n", "cccccc\n", "dddddd\n"] {
            sink.write(line.as_bytes()).unwrap();
        }
        let names = ["r.jsonl", "r.jsonl.1", "r.jsonl.2", "r.jsonl.3"];
        assert_eq!(names.map(|name| text(dir.path(), name)), ["dddddd\n", "cccccc\n", "bbbbbb\n", ""]);
    }

    #[test]
    fn each_new_file_of_csv_begins_with_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let plain = sink(dir.path(), 70).config;
        let mut sink = FileSink::new(Config { encoding: Encoding::Csv, ..plain.clone() });
        sink.write(b"1\r\n").unwrap();
        drop(sink);
        let mut sink = FileSink::new(Config { encoding: Encoding::Csv, ..plain });
        for line in ["2\r\n", "3333333333333333\r\n"] {
            sink.write(line.as_bytes()).unwrap();
        }
        let header = Encoding::Csv.row().header;
        assert_eq!(text(dir.path(), "r.jsonl.1"), format!("{header}1\r\n2\r\n"));
        assert_eq!(text(dir.path(), "r.jsonl"), format!("{header}3333333333333333\r\n"));
    }

    #[test]
    fn half_a_line_from_a_power_cut_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        for (before, after) in [("one\ntw", "one\nnew\n"), ("tw", "new\n"), ("one\n", "one\nnew\n")] {
            fs::write(dir.path().join("r.jsonl"), before).unwrap();
            sink(dir.path(), 100).write(b"new\n").unwrap();
            assert_eq!(text(dir.path(), "r.jsonl"), after);
        }
        let long = format!("one\n{}", "x".repeat(10_000));
        fs::write(dir.path().join("r.jsonl"), long).unwrap();
        sink(dir.path(), 100).write(b"new\n").unwrap();
        assert_eq!(text(dir.path(), "r.jsonl"), "one\nnew\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), 100);
        sink.write(b"a\n").unwrap();
        fs::rename(dir.path().join("r.jsonl"), dir.path().join("moved")).unwrap();
        sink.write(b"b\n").unwrap();
        assert_eq!((text(dir.path(), "moved"), text(dir.path(), "r.jsonl")), ("a\n".into(), "b\n".into()));
    }

    #[test]
    fn a_folder_that_is_not_there_is_said_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = FileSink::new(Config { path: dir.path().join("no/r.jsonl"), ..Config::default() });
        assert!(matches!(sink.write(b"a\n"), Err(Refusal::Later(why)) if why.contains("no/r.jsonl")));
        fs::create_dir(dir.path().join("no")).unwrap();
        assert!(sink.write(b"a\n").is_ok());
    }
}
