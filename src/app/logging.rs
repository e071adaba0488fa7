//! Where log lines go: to the journal with fields under systemd, for people on a terminal.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable that filters, as in `LINESMAN_LOG=linesman::bus=debug,info`.
pub const FILTER: &str = "LINESMAN_LOG";

/// Sets logging up for the whole process; a second call changes nothing. A panic is logged as anything else is,
/// in one line and with its place: it is the reason why the process ends.
pub fn start(default: &str) {
    let given = std::env::var(FILTER).unwrap_or_default();
    let wanted = if given.is_empty() { default } else { given.as_str() };
    let (filter, problem) = match EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(problem) => (EnvFilter::new(default), Some(problem)),
    };
    let journal = if under_systemd() { tracing_journald::layer().ok() } else { None };
    let people = journal.is_none().then(|| {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false)
    });
    let _ = tracing_subscriber::registry().with(filter).with(journal).with(people).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("(without words)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("(without a name)");
        tracing::error!(%what, %place, %thread, "panic: the part that it happened in ends");
    }));
    if let Some(problem) = problem {
        tracing::warn!(%problem, "{FILTER}={given:?} is not a filter; using {default:?}");
    }
}

/// systemd names the journal's socket by device and inode, so that a process can tell whether its
/// standard error still goes there or was turned to a terminal or a file (systemd.exec(5), `JOURNAL_STREAM`).
fn under_systemd() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(rustix::stdio::stderr()) else { return false };
    named == format!("{}:{}", stat.st_dev, stat.st_ino)
}
