//! A disk in memory that fails as it is told, and whose power can be cut between and within any two operations.
//!
//! What was written and not synced may be there after a cut or not, in part or in whole; names made, changed and
//! removed since the folder was synced may be there or not, in their order. That is what POSIX leaves open.

use crate::spool::disk::{Disk, Lock};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(super) const EIO: i32 = 5;
pub(super) const EACCES: i32 = 13;
pub(super) const EMFILE: i32 = 24;
pub(super) const ENOSPC: i32 = 28;
pub(super) const EROFS: i32 = 30;

/// Which operation fails (`*`: each that changes something, `?`: each at all), with which error, and how often
/// (negative: always).
pub(super) type Failing = (&'static str, i32, i64);

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Rc<[u8]>),
    Length(usize),
}

#[derive(Debug, Clone)]
enum Naming {
    Made(PathBuf, usize),
    Gone(PathBuf),
    Moved(PathBuf, PathBuf),
}

#[derive(Debug, Clone, Default)]
struct Node {
    durable: Rc<Vec<u8>>,
    live: Rc<Vec<u8>>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone, Default)]
struct State {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<Naming>,
}

/// Called after each change that is not durable yet.
type Onlooker = Rc<dyn Fn(&SimDisk)>;

#[derive(Clone, Default)]
pub(super) struct SimDisk {
    state: Rc<RefCell<State>>,
    pub(super) fails: Rc<Cell<Option<Failing>>>,
    /// Operations until one fails with EIO, and whether all after it do.
    pub(super) fails_at: Rc<Cell<(i64, bool)>>,
    /// Octets that it holds.
    pub(super) room: Rc<Cell<Option<u64>>>,
    pub(super) onlooker: Rc<RefCell<Option<Onlooker>>>,
}

#[derive(Debug, Clone)]
pub(super) struct SimFile(usize);

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl SimDisk {
    fn step(&self, kind: &str) -> io::Result<()> {
        let changes = !matches!(kind, "read" | "list" | "lock");
        if let Some((which, errno, left)) = self.fails.get()
            && left != 0
            && (which == kind || which == "?" || (which == "*" && changes))
        {
            self.fails.set(Some((which, errno, left - 1)));
            return Err(error(errno));
        }
        let (left, for_ever) = self.fails_at.get();
        if changes {
            self.fails_at.set((left - 1, for_ever));
            if left == 1 || (for_ever && left < 1 && left != 0) {
                return Err(error(EIO));
            }
        }
        Ok(())
    }

    fn node(&self, path: &Path) -> io::Result<usize> {
        self.state.borrow().names.get(path).copied().ok_or_else(|| error(2))
    }

    fn name(&self, naming: Naming) {
        let mut state = self.state.borrow_mut();
        rename(&mut state.names, &naming);
        state.unsynced_names.push(naming);
        drop(state);
        self.look();
    }

    fn change(&self, node: usize, change: Change) {
        let mut state = self.state.borrow_mut();
        let node = &mut state.nodes[node];
        apply(Rc::make_mut(&mut node.live), &change, usize::MAX);
        node.unsynced.push(change);
        drop(state);
        self.look();
    }

    fn look(&self) {
        let onlooker = self.onlooker.borrow().clone();
        if let Some(onlooker) = onlooker {
            onlooker(self);
        }
    }

    fn made(&self, path: &Path, octets: Vec<u8>) -> SimFile {
        let node = {
            let mut state = self.state.borrow_mut();
            state.nodes.push(Node::default());
            state.nodes.len() - 1
        };
        if !octets.is_empty() {
            self.change(node, Change::Write(0, octets.into()));
        }
        self.name(Naming::Made(path.to_owned(), node));
        SimFile(node)
    }

    /// Everything that is in some folder below this one, in octets.
    pub(super) fn octets_below(&self, folder: &Path) -> u64 {
        let state = self.state.borrow();
        let below = state.names.iter().filter(|(path, _)| path.starts_with(folder));
        below.map(|(_, node)| state.nodes[*node].live.len() as u64).sum()
    }

    pub(super) fn octets(&self, path: &Path) -> Vec<u8> {
        let state = self.state.borrow();
        state.nodes[state.names[path]].live.to_vec()
    }

    /// As somebody else would write it: there at once and for good.
    pub(super) fn put(&self, path: &Path, octets: Vec<u8>) {
        let octets = Rc::new(octets);
        let mut state = self.state.borrow_mut();
        state.nodes.push(Node { durable: Rc::clone(&octets), live: octets, unsynced: Vec::new() });
        let node = state.nodes.len() - 1;
        state.names.insert(path.to_owned(), node);
        state.durable_names.insert(path.to_owned(), node);
    }

    /// One octet changes on the medium.
    pub(super) fn corrupt(&self, path: &Path, at: usize, with: u8) {
        let mut state = self.state.borrow_mut();
        let Some(node) = state.names.get(path).copied() else { return };
        let node = &mut state.nodes[node];
        for octets in [&mut node.live, &mut node.durable] {
            let length = octets.len().max(1);
            if let Some(octet) = Rc::make_mut(octets).get_mut(at % length) {
                *octet ^= with;
            }
        }
    }

    /// The disk as it may be after a power cut: of what is not durable, only this much.
    pub(super) fn cut(&self, names: usize, writes: impl Fn(usize) -> Survivors) -> SimDisk {
        let state = self.state.borrow();
        let mut after = State { durable_names: state.durable_names.clone(), ..State::default() };
        for naming in state.unsynced_names.iter().take(names) {
            rename(&mut after.durable_names, naming);
        }
        after.names = after.durable_names.clone();
        for (number, node) in state.nodes.iter().enumerate() {
            let octets = if node.unsynced.is_empty() {
                Rc::clone(&node.durable)
            } else {
                Rc::new(survived(node, &writes(number)))
            };
            after.nodes.push(Node { durable: Rc::clone(&octets), live: octets, unsynced: Vec::new() });
        }
        SimDisk { state: Rc::new(RefCell::new(after)), ..SimDisk::default() }
    }

    /// Without a power cut: another process finds what was written, synced or not.
    pub(super) fn as_it_is(&self) -> SimDisk {
        self.cut(usize::MAX, |_| Survivors::First(usize::MAX))
    }

    pub(super) fn unsynced_names(&self) -> usize {
        self.state.borrow().unsynced_names.len()
    }

    /// Files with something that is not durable, and the sizes of those writes.
    pub(super) fn unsynced(&self) -> Vec<(usize, Vec<usize>)> {
        let state = self.state.borrow();
        let size = |change: &Change| match change {
            Change::Write(_, octets) => octets.len(),
            Change::Length(_) => 1,
        };
        let dirty = state.nodes.iter().enumerate().filter(|(_, node)| !node.unsynced.is_empty());
        dirty.map(|(number, node)| (number, node.unsynced.iter().map(size).collect())).collect()
    }
}

/// What of a file's unsynced octets, counted over all its writes in order, is on the medium.
pub(super) enum Survivors {
    /// The first so many.
    First(usize),
    /// Those pieces of 64 octets of which the bit of this pattern is set.
    Pieces(u64),
}

fn survived(node: &Node, survivors: &Survivors) -> Vec<u8> {
    let mut octets = node.durable.to_vec();
    let mut left = match survivors {
        Survivors::First(n) => *n,
        Survivors::Pieces(_) => usize::MAX,
    };
    for change in &node.unsynced {
        let size = if let Change::Write(_, octets) = change { octets.len() } else { 1 };
        match (survivors, change) {
            (Survivors::Pieces(pattern), Change::Write(at, new)) => {
                for (n, piece) in new.chunks(64).enumerate() {
                    if pattern >> (n % 64) & 1 == 1 {
                        apply(&mut octets, &Change::Write(at + n * 64, piece.into()), usize::MAX);
                    }
                }
            }
            _ => apply(&mut octets, change, left),
        }
        left = left.saturating_sub(size);
    }
    octets
}

fn apply(octets: &mut Vec<u8>, change: &Change, at_most: usize) {
    match change {
        Change::Write(at, new) => {
            let new = &new[..new.len().min(at_most)];
            if new.is_empty() {
                return;
            }
            if octets.len() < at + new.len() {
                octets.resize(at + new.len(), 0);
            }
            octets[*at..at + new.len()].copy_from_slice(new);
        }
        Change::Length(length) if at_most > 0 => octets.resize(*length, 0),
        Change::Length(_) => {}
    }
}

fn rename(names: &mut BTreeMap<PathBuf, usize>, naming: &Naming) {
    match naming {
        Naming::Made(path, node) => drop(names.insert(path.clone(), *node)),
        Naming::Gone(path) => drop(names.remove(path)),
        Naming::Moved(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn make_folder(&self, _: &Path) -> io::Result<()> {
        self.step("make")
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        self.step("list")?;
        let state = self.state.borrow();
        let here = state.names.iter().filter(|(path, _)| path.parent() == Some(folder));
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(here.map(|(path, node)| (name(path), state.nodes[*node].live.len() as u64)).collect())
    }

    fn create(&self, path: &Path, length: u64) -> io::Result<SimFile> {
        // What is there goes first, and is gone even where nothing comes in its place.
        if self.is_there(path) {
            self.name(Naming::Gone(path.to_owned()));
        }
        self.step("create")?;
        if self.room.get().is_some_and(|room| self.octets_below(Path::new("/")) + length > room) {
            return Err(error(ENOSPC));
        }
        Ok(self.made(path, vec![0; length as usize]))
    }

    fn is_there(&self, path: &Path) -> bool {
        self.state.borrow().names.contains_key(path)
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.step("open")?;
        self.node(path).map(SimFile).or_else(|_| Ok(self.made(path, Vec::new())))
    }

    fn read(&self, path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
        self.step("read")?;
        let node = self.node(path)?;
        let live = Rc::clone(&self.state.borrow().nodes[node].live);
        Ok(live[..live.len().min(at_most as usize)].to_vec())
    }

    fn write_at(&self, file: &SimFile, octets: &[u8], at: u64) -> io::Result<()> {
        let step = self.step("write");
        // A write that fails leaves half of it behind.
        let written = if step.is_ok() { octets } else { &octets[..octets.len() / 2] };
        self.change(file.0, Change::Write(at as usize, written.into()));
        step
    }

    fn sync(&self, file: &SimFile) -> io::Result<()> {
        let step = self.step("sync");
        let mut state = self.state.borrow_mut();
        let node = &mut state.nodes[file.0];
        if step.is_ok() {
            node.durable = Rc::clone(&node.live);
        }
        // After a failed sync the pages count as clean: to ask again would succeed, and prove nothing.
        node.unsynced.clear();
        step
    }

    fn truncate(&self, file: &SimFile, length: u64) -> io::Result<()> {
        self.step("truncate")?;
        self.change(file.0, Change::Length(length as usize));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove")?;
        self.node(path)?;
        self.name(Naming::Gone(path.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename")?;
        self.node(from)?;
        self.name(Naming::Moved(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.step("folder")?;
        let mut state = self.state.borrow_mut();
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock<SimFile>> {
        self.step("lock")?;
        self.node(path).map(SimFile).or_else(|_| Ok(self.made(path, Vec::new()))).map(Lock::Taken)
    }
}
