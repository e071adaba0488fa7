//! Octets that stand where records should: a few copies of them, for somebody who wants to know.

use super::disk::Disk;
use std::io;
use std::path::Path;

/// Where they are put.
pub(super) const DAMAGED: &str = "damaged";
/// So many pieces are kept, of so many octets; more would eat the room for records.
const MOST_DAMAGED: usize = 8;
const LARGEST_DAMAGED: usize = 64 << 10;

/// Copies damaged octets to where somebody may look at them, if there are few and there is room; returns how many.
pub(super) fn keep_aside<D: Disk>(
    disk: &D,
    folder: &Path,
    first: u64,
    at: usize,
    octets: &[u8],
    room: u64,
) -> u64 {
    let aside = folder.join(DAMAGED);
    let octets = &octets[..octets.len().min(LARGEST_DAMAGED)];
    let name = format!("{first:020}-{at}.octets");
    let kept = disk.make_folder(&aside).and_then(|()| disk.list(&aside)).unwrap_or_default();
    if octets.len() as u64 > room
        || kept.len() >= MOST_DAMAGED
        || kept.iter().any(|(known, _)| *known == name)
    {
        return 0;
    }
    let written = disk.open(&aside.join(name)).and_then(|file| disk.write_at(&file, octets, 0));
    written.map_or(0, |()| octets.len() as u64)
}

pub(super) fn put_aside<D: Disk>(disk: &D, folder: &Path, name: &str) {
    let aside = folder.join(DAMAGED);
    let few =
        disk.make_folder(&aside).and_then(|()| disk.list(&aside)).is_ok_and(|kept| kept.len() < MOST_DAMAGED);
    let moved = few && disk.rename(&folder.join(name), &aside.join(name)).is_ok();
    tracing::warn!(folder = %folder.display(), name, moved, "not a segment of this spool");
}

/// Damaged pieces are only curious: they give way before any record does.
pub(super) fn forget_damaged<D: Disk>(disk: &D, folder: &Path) -> io::Result<()> {
    let aside = folder.join(DAMAGED);
    for (name, _) in disk.list(&aside).unwrap_or_default() {
        gone(disk.remove(&aside.join(name)))?;
    }
    Ok(())
}

/// What is gone already need not be removed.
pub(super) fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
