//! The spool's process dies, or its disk refuses, at every single call that it makes to the kernel: put there with strace,
//! one call at a time, through a script of two hundred records. What was committed is there, and every count is right.

use crate::gateway::Kept;
use crate::gateway::is_long;
use crate::script::{
    A_COMMIT, OPENED, RECORDS, Said, Script, Stage, account, octets, on_one_thread, open, settled,
};
use crate::strace;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// All that change a folder or make it durable; some have other names on other processors.
const CALLS: &str =
    "write,pwrite64,fdatasync,fsync,openat,ftruncate,fallocate,?unlink,unlinkat,?rename,?renameat,renameat2";
const KILL: &str = "signal=KILL";

/// Calls that are tried in the ordinary run, spread over all.
const SOME: usize = 20;

/// How often each call is made from a stage on, by the thread that makes most of them: strace counts by thread.
fn counted(folder: &Path, stage: Stage) -> Option<BTreeMap<String, usize>> {
    let log = folder.join("strace.log");
    let mut script = Script::start(&folder.join("spool"), stage);
    let strace = strace::attach(script.pid, &["-e", &format!("trace={CALLS}")], &log)?;
    script.go();
    let mut said = Said::default();
    listen(&mut script, &mut said, strace);
    assert!(script.end(&mut said).success(), "{said:?}");
    let mut by_thread: BTreeMap<(String, String), usize> = BTreeMap::new();
    let log = fs::read_to_string(&log).unwrap();
    // What the owner does once it is open is no part of a start.
    for line in log.lines().take_while(|line| !line.contains(OPENED)) {
        // The thread's number, when, and what: `openat(AT_FDCWD, …`.
        let mut words = line.split_whitespace();
        let (thread, what) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        if let Some((call, _)) = what.split_once('(') {
            *by_thread.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((call, _), count) in by_thread {
        let known = most.entry(call).or_default();
        *known = count.max(*known);
    }
    Some(most)
}

/// Listens while it is traced. Where it fails for ever the script waits until it no longer does: when nobody traces it.
fn listen(script: &mut Script, said: &mut Said, strace: Kept) {
    let mut has_opened = false;
    while let Some(line) = script.next() {
        said.hear(&line);
        has_opened = line == OPENED;
        if has_opened || line.starts_with("waiting") {
            break;
        }
    }
    strace::detach(strace);
    if has_opened {
        script.go();
    }
}

/// Which of them are tried: all in the long run, otherwise at least one of each call.
fn chosen(counts: &BTreeMap<String, usize>) -> Vec<(String, usize)> {
    let all: usize = counts.values().sum();
    let mut chosen = Vec::new();
    for (call, &count) in counts {
        let tries = if is_long() { count } else { (count * SOME / all).max(1) };
        // Not always at the same places: the run's own chance decides within each stretch.
        chosen.extend((0..tries).map(|n| {
            let (from, to) = (n * count / tries, (n + 1) * count / tries);
            (call.clone(), 1 + fastrand::usize(from..to))
        }));
    }
    chosen
}

/// Runs the script from a stage on with this put into its calls.
fn disturbed(folder: &Path, stage: Stage, call: &str, what: &str) -> Option<(bool, Said)> {
    let log = folder.join("strace.log");
    let mut script = Script::start(&folder.join("spool"), stage);
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{what}"));
    let strace = strace::attach(script.pid, &["-e", &trace, "-e", &inject], &log)?;
    script.go();
    let mut said = Said::default();
    listen(&mut script, &mut said, strace);
    let status = script.end(&mut said);
    let killed = status.signal() == Some(9);
    assert!(killed || status.success(), "{call} {what}: {status}");
    Some((killed, said))
}

/// What must be there after the script, wherever it ended.
fn verify(folder: &Path, said: &Said, what: &str) {
    let spool = open(&folder.join("spool"));
    let status = spool.status().borrow().clone();
    assert!(status.healthy, "{what}: {status:?}");
    let found =
        on_one_thread(async { spool.reader("b").unwrap().read(0, usize::MAX, usize::MAX).await.unwrap() });
    let first = found.first().map_or(status.appended + 1, |record| record.position);
    for (record, position) in found.iter().zip(first..) {
        assert_eq!((record.position, record.seq), (position, position), "{what}");
        assert_eq!(*record.octets, octets(position), "{what}: record {position}");
    }
    // All that was committed, and at most the group whose commit was under way.
    let head = first + found.len() as u64 - 1;
    let group = said.committed..=(said.committed + A_COMMIT).min(RECORDS);
    assert!(group.contains(&head), "{what}: {head} are there, {} committed", said.committed);
    let (a, b) = (account(&spool, "a"), account(&spool, "b"));
    for of in [&a, &b] {
        let dropped: u64 = of.dropped.values().sum();
        assert_eq!(of.sampled, of.delivered + of.pending + of.left_out + dropped, "{what}: {of:?}");
        assert_eq!(of.sampled, head, "{what}: {of:?}");
        assert!(of.dropped.keys().all(|reason| reason == "spool-full"), "{what}: {of:?}");
    }
    // What is not there has given way, and is counted; what is there waits.
    let dropped = b.dropped.get("spool-full").copied().unwrap_or(0);
    assert_eq!((dropped, b.pending, b.delivered), (first - 1, found.len() as u64, 0), "{what}: {b:?}");
    let waits: u64 = b.gaps.iter().filter_map(|gap| gap.count).sum();
    let (durable, since) = said.announced;
    assert!([durable, durable + since].contains(&(dropped - waits)), "{what}: {b:?}, {said:?}");
    let delivered = settled(said.committed)..=settled(*group.end());
    // A cursor that can't be read means twice rather than never.
    let is_anew = a.delivered == 0 && a.pending == b.pending && what.contains("error=EIO");
    assert!(delivered.contains(&a.delivered) || is_anew, "{what}: {a:?}, {delivered:?}");
    goes_on(spool, folder, head, said, what);
}

/// It takes a record, has it after the next start, and says whether something may be missing before it.
fn goes_on(spool: linesman::spool::Spool, folder: &Path, head: u64, said: &Said, what: &str) {
    on_one_thread(async {
        spool.writer().append(1 << 40, octets(head + 1)).await.unwrap();
        spool.commit().await.unwrap();
        let is_cut = account(&spool, "b").gaps.iter().any(|gap| gap.reason == "power-cut");
        // The word of a clean end is written last of all, and true from then on.
        assert!(is_cut || said.accounts.len() == 2, "{what}");
        // Where the disk does not take it, that is told though nothing is missing.
        assert!(!is_cut || !said.is_closed || what.contains("error="), "{what}");
        spool.close().await.unwrap();
        let spool = open(&folder.join("spool"));
        let newest = spool.reader("b").unwrap().read(head, 10, usize::MAX).await.unwrap();
        assert_eq!(newest.iter().map(|record| record.position).collect::<Vec<_>>(), [head + 1], "{what}");
    });
}

fn tell(what: &str, tried: usize, counts: &BTreeMap<String, usize>) {
    if is_long() {
        println!("{what}: {tried} times in {} calls, {counts:?}", counts.values().sum::<usize>());
    }
}

#[test]
fn killed_at_any_call_of_two_hundred_records_nothing_committed_is_lost_and_every_count_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let Some(counts) = counted(folder.path(), Stage::Records) else { return };
    let chosen = chosen(&counts);
    for (call, n) in &chosen {
        let folder = tempfile::tempdir().unwrap();
        let what = format!("{KILL}:when={n}");
        let Some((killed, said)) = disturbed(folder.path(), Stage::Records, call, &what) else { return };
        assert!(killed, "{call} {n} of {} was not reached: {said:?}", counts[call]);
        verify(folder.path(), &said, &format!("killed at {call} {n}"));
    }
    tell("killed", chosen.len(), &counts);
}

/// A folder after a kill in the middle, whose last segment ends with octets that are no record.
fn interrupted(folder: &Path) -> Option<Said> {
    let what = format!("{KILL}:when=60");
    let (killed, said) = disturbed(folder, Stage::Records, "fdatasync", &what)?;
    assert!(killed, "{said:?}");
    let files = fs::read_dir(folder.join("spool/v1")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|is| is == "seg")).collect();
    segments.sort();
    let last = segments.last().unwrap();
    let mut octets = fs::read(last).unwrap();
    // A record ends with seven zeros.
    let used = octets.iter().rposition(|octet| *octet != 0).unwrap() + 8;
    octets[used..used + 40].fill(0xA5);
    fs::write(last, octets).unwrap();
    Some(said)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let there = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &there)
        } else {
            fs::copy(entry.path(), there).unwrap();
        }
    }
}

/// All or some of a start's calls after a kill get this; then there is everything that was there before.
fn at_a_start(what: &[&str], kills: bool) {
    let before = tempfile::tempdir().unwrap();
    let Some(said) = interrupted(before.path()) else { return };
    let again = || {
        let folder = tempfile::tempdir().unwrap();
        copy(&before.path().join("spool"), &folder.path().join("spool"));
        folder
    };
    let Some(mut counts) = counted(again().path(), Stage::Start) else { return };
    if !kills {
        // What the script says must be heard.
        counts.remove("write");
    }
    let chosen = chosen(&counts);
    for ((call, n), what) in chosen.iter().flat_map(|call| what.iter().map(move |what| (call, what))) {
        let folder = again();
        let what = what.replace("{n}", &n.to_string());
        let Some((killed, _)) = disturbed(folder.path(), Stage::Start, call, &what) else { return };
        assert_eq!(killed, kills, "{call} {n} of {} was not reached", counts[call]);
        verify(folder.path(), &said, &format!("{call} {what} at a start"));
    }
    tell(what[0], what.len() * chosen.len(), &counts);
}

#[test]
fn killed_at_any_call_of_a_start_after_a_kill_the_next_start_has_everything_too() {
    at_a_start(&["signal=KILL:when={n}"], true);
}

#[test]
fn a_disk_that_fails_or_is_full_at_any_call_of_a_start_makes_nobody_forget_anything() {
    at_a_start(&["error=EIO:when={n}", "error=EIO:when={n}+", "error=ENOSPC:when={n}+"], false);
}

/// The calls that a disk answers with an error, on a disk that has this.
fn goes_wrong_with(error: &str) {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut counts) = counted(folder.path(), Stage::Records) else { return };
    // What the script says.
    counts.remove("write");
    if error == "ENOSPC" {
        // What makes nothing new needs no room.
        counts
            .retain(|call, _| ["pwrite64", "fdatasync", "fsync", "openat", "fallocate"].contains(&&call[..]));
    }
    let mut failures = 0;
    let chosen = chosen(&counts);
    // Each once; and of each three one four times in a row, and one until the test takes it away.
    let mut tries: Vec<(&String, usize, &str)> = chosen.iter().map(|(call, n)| (call, *n, "")).collect();
    let others = chosen.iter().zip(["..+", "", "+"].into_iter().cycle());
    tries.extend(others.filter(|(_, range)| !range.is_empty()).map(|((call, n), range)| (call, *n, range)));
    for (call, n, range) in &tries {
        let folder = tempfile::tempdir().unwrap();
        let until = if *range == "..+" { format!("..{}", n + 3) } else { (*range).to_owned() };
        let what = format!("error={error}:when={n}{until}");
        let Some((killed, said)) = disturbed(folder.path(), Stage::Records, call, &what) else { return };
        assert!(!killed && said.is_closed && said.committed == RECORDS, "{call} {what}: {said:?}");
        for (name, [sampled, delivered, pending, left_out, dropped]) in &said.accounts {
            assert_eq!(*sampled, delivered + pending + left_out + dropped, "{call} {what}: {name}");
            assert_eq!(*sampled, RECORDS, "{call} {what}: {name}");
        }
        verify(folder.path(), &said, &format!("{call} {what}"));
        failures += said.failures;
    }
    assert!(failures > 0, "no commit has ever failed");
    tell(error, tries.len(), &counts);
}

#[test]
fn a_disk_that_fails_at_any_call_is_gone_on_with_and_every_count_is_right() {
    goes_wrong_with("EIO");
}

#[test]
fn a_disk_that_is_full_at_any_call_is_gone_on_with_and_every_count_is_right() {
    goes_wrong_with("ENOSPC");
}
