//! The few file operations that the spool writes with, so that tests can make each of them fail.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(super) trait Disk {
    /// A new file of this length, filled with zeros and allocated, so that it can't run out of room later.
    fn create(&self, path: &Path, length: u64) -> io::Result<File>;
    fn open(&self, path: &Path) -> io::Result<File>;
    /// A whole segment.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    fn write_at(&self, file: &File, octets: &[u8], at: u64) -> io::Result<()>;
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Gives back what a segment did not use.
    fn truncate(&self, file: &File, length: u64) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes created and removed names durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, length: u64) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(file),
            // A file system that can't preallocate (some network and FUSE ones) still takes the records.
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(length).map(|()| file),
            Err(error) => {
                drop(file);
                let _ = fs::remove_file(path);
                Err(error.into())
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn write_at(&self, file: &File, octets: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(octets, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}
