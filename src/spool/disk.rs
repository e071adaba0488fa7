//! The few file operations that the spool needs, so that tests can make each of them fail, and cut the power
//! between any two.

use rustix::fs::FlockOperation;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Zeros are written in pieces of this size.
const PIECE: usize = 64 << 10;

pub(super) trait Disk {
    type File;

    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// The names and sizes of a folder's files, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>>;
    /// A new file of this length, of zeros that are allocated and written: so it can't run out of room later, and
    /// to overwrite them changes nothing in the file system's own books, which would wear the medium too.
    fn create(&self, path: &Path, length: u64) -> io::Result<Self::File>;
    fn is_there(&self, path: &Path) -> bool;
    /// To write to; made if it is not there.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// At most so many octets from the beginning.
    fn read(&self, path: &Path, at_most: u64) -> io::Result<Vec<u8>>;
    fn write_at(&self, file: &Self::File, octets: &[u8], at: u64) -> io::Result<()>;
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Gives back what a segment did not use.
    fn truncate(&self, file: &Self::File, length: u64) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes created, renamed and removed names durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock, as long as what is returned lives.
    fn lock(&self, path: &Path) -> io::Result<Lock<Self::File>>;
}

pub(super) enum Lock<F> {
    Taken(F),
    /// Somebody else has it: the process of this number, if it has said so.
    InUse(Option<u32>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    type File = fs::File;

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // One that is gone by now, or whose name nobody of ours has given, is not there.
            if let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata())
                && metadata.is_file()
            {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, path: &Path, length: u64) -> io::Result<fs::File> {
        // Never into a file that is there: a failed sync may have left anything in it.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        allocate(&file, length).inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(file)
    }

    fn is_there(&self, path: &Path) -> bool {
        path.exists()
    }

    fn open(&self, path: &Path) -> io::Result<fs::File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
    }

    fn read(&self, path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        fs::File::open(path)?.take(at_most).read_to_end(&mut octets)?;
        Ok(octets)
    }

    fn write_at(&self, file: &fs::File, octets: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(octets, at)
    }

    fn sync(&self, file: &fs::File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, file: &fs::File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Lock<fs::File>> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        // A disk that is read-only can still be locked, if the file is there.
        let mut file = opened.or_else(|error| fs::File::open(path).map_err(|_| error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Ok(Lock::InUse(text.trim().parse().ok()));
            }
            Err(error) => return Err(error.into()),
        }
        // Only to say who has it: a full or read-only disk is no reason to fail.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lock::Taken(file))
    }
}

fn allocate(file: &fs::File, length: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length) {
        // A file system that can't preallocate (some network and FUSE ones) still takes the records.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; PIECE];
    let mut at = 0;
    while at < length {
        let piece = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
        file.write_all_at(&zeros[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}
