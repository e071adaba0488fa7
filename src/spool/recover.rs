//! Opening after anything, at the start or once the folder can be reached; and the word of a clean end.

use super::aside::gone;
use super::cursor::Cursor;
use super::disk::Disk;
use super::home::{CLEAN, Home, Saved, VERSION_FOLDER, enter, saved_cursors};
use super::log::{Log, MEMORY_START, NamedCursor};
use super::{Config, OpenError};
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// Opens the folder, or begins in memory where it can't be reached: then it is tried again with each commit.
pub(super) fn open<D: Disk>(config: Config, upstreams: &[String], disk: D) -> Result<Log<D>, OpenError> {
    let epoch = random_epoch().map_err(|source| OpenError::Folder { dir: config.dir.clone(), source })?;
    let mut log = Log {
        folder: config.dir.join(VERSION_FOLDER),
        disk,
        config,
        home: None,
        epoch,
        segments: VecDeque::new(),
        current: None,
        tail: VecDeque::new(),
        tail_octets: 0,
        head: MEMORY_START,
        committed: MEMORY_START,
        seq: 0,
        uncommitted_octets: 0,
        cursors: BTreeMap::new(),
        trouble: None,
        newest_ts: None,
        reader: None,
        aside: 0,
        unread: 0,
        shift: 0,
        cut: None,
        says_clean: false,
    };
    match enter(&log.disk, &log.config) {
        Ok(home) => {
            (log.head, log.committed) = (home.head, home.head);
            let end = home.end;
            let saved = log.move_in(home);
            log.place_cursors(upstreams, &saved, end);
            if let Err(error) = log.say_that_it_runs() {
                log.note_trouble(&error);
            }
        }
        Err(locked @ OpenError::Locked { .. }) => return Err(locked),
        Err(OpenError::Folder { source, .. }) => {
            log.note_trouble(&source);
            log.place_cursors(upstreams, &[], MEMORY_START);
        }
    }
    Ok(log)
}

impl<D: Disk> Log<D> {
    fn move_in(&mut self, home: Home<D::File>) -> Vec<Saved> {
        self.folder = home.folder;
        self.home = Some(home.lock);
        self.segments = home.segments;
        self.newest_ts = self.newest_ts.or(home.newest_ts);
        self.aside = home.aside;
        self.cut = home.is_cut.then_some(home.newest_ts);
        self.says_clean = home.says_clean;
        home.saved
    }

    /// The folder could not be reached at the start: tries again, and puts what is in memory behind what it holds.
    pub(super) fn come_home(&mut self) -> io::Result<()> {
        let home = enter(&self.disk, &self.config).map_err(io::Error::other)?;
        let (start, head) = (MEMORY_START, home.head);
        let since_start = self.tail.front().map(|record| record.ts_ms);
        let (newest, memory) = (self.head, std::mem::take(&mut self.cursors));
        let cut = home.is_cut.then_some(home.newest_ts);
        let end = home.end;
        let saved = self.move_in(home);
        (self.head, self.shift) = (head, start - head);
        self.committed = self.committed - start + head;
        for record in &mut self.tail {
            record.position = record.position - start + head;
        }
        let names: Vec<String> = memory.keys().cloned().collect();
        self.place_cursors(&names, &saved, end);
        self.head = newest - start + head;
        for (name, named) in &mut self.cursors {
            if let (Some(since), Some(first)) = (cut, since_start) {
                named.cursor.gaps.add((since.unwrap_or(first), first), None, "power-cut");
            }
            if let Some(memory) = memory.get(name) {
                named.cursor.adopt(&memory.cursor, start, head);
            }
        }
        if since_start.is_some() {
            self.cut = None;
        }
        tracing::info!(folder = %self.folder.display(), "the spool's folder is there; records go to disk from now on");
        Ok(())
    }

    /// Cursors for exactly these names: loaded where they were saved, new where they weren't.
    pub(super) fn add_upstreams(&mut self, names: &[String]) -> io::Result<()> {
        let saved = if self.home.is_some() { saved_cursors(&self.disk, &self.folder)? } else { Vec::new() };
        self.place_cursors(names, &saved, self.head);
        Ok(())
    }

    fn place_cursors(&mut self, names: &[String], saved: &[Saved], end: u64) {
        self.cursors.retain(|name, _| names.contains(name));
        let oldest = self.segments.front().map(|segment| segment.first);
        let start = match oldest {
            Some(first) if saved.is_empty() && self.cursors.is_empty() => first - 1,
            Some(_) | None => self.head,
        };
        for name in names {
            if self.cursors.contains_key(name) {
                continue;
            }
            let named = self.placed(name, saved, start);
            self.cursors.insert(name.clone(), named);
        }
        // What the caps took while an upstream was away is its loss too.
        if let Some(first) = oldest {
            self.lose(1, first - 1, "spool-full");
        }
        self.lose(end + 1, self.head, "damaged");
        // A new upstream's place is durable at once: a crash must not make it start later again.
        if !self.has_uncommitted()
            && let Err(error) = self.save_cursors()
        {
            self.note_trouble(&error);
        }
    }

    fn placed(&self, name: &str, saved: &[Saved], start: u64) -> NamedCursor {
        let position = match saved.iter().find(|saved| saved.name == name) {
            Some(Saved { cursor: Some((generation, cursor)), .. }) => {
                let cursor = cursor.clone();
                return NamedCursor { saved: Some(cursor.clone()), cursor, generation: *generation };
            }
            // A cursor that can't be read any more: rather twice than not at all.
            Some(Saved { cursor: None, .. }) => {
                tracing::warn!(upstream = %name, "the cursor is damaged; all that is kept is sent again");
                self.segments.front().map_or(self.head, |segment| segment.first - 1)
            }
            None => start,
        };
        NamedCursor { cursor: Cursor::starting_after(position), generation: 0, saved: None }
    }

    /// From here on an end without a word costs something: the word of the last end must be gone.
    pub(super) fn say_that_it_runs(&mut self) -> io::Result<()> {
        if self.says_clean {
            gone(self.disk.remove(&self.folder.join(CLEAN)))?;
            self.disk.sync_folder(&self.folder)?;
            self.says_clean = false;
        }
        Ok(())
    }

    /// Says that everything is on disk, after the last commit.
    pub(super) fn say_that_it_ends(&mut self) -> io::Result<()> {
        if self.home.is_none() || self.has_uncommitted() || self.cut.is_some() {
            return Ok(());
        }
        let file = self.disk.open(&self.folder.join(CLEAN))?;
        self.disk.truncate(&file, 0)?;
        self.disk.write_at(&file, self.head.to_string().as_bytes(), 0)?;
        self.disk.sync(&file)?;
        self.disk.sync_folder(&self.folder)?;
        self.says_clean = true;
        Ok(())
    }
}

fn random_epoch() -> io::Result<u32> {
    let mut octets = [0u8; 4];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())?;
    Ok(u32::from_le_bytes(octets))
}
