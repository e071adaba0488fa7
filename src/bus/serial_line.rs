//! The thread of a serial line: opens the port, asks who is due, until it is told to stop.

use super::SerialConfig;
use super::owner::{Asking, FIRST_RETRY, LONGEST_RETRY, LOOK, Owner};
use super::port::{Port, advice};
use super::schedule::Next;
use super::serial::SerialLink;
use super::transact::{Conversation, Manners};
use crate::model::Mono;
use crate::model::status::BusCounters;
use std::io;
use std::time::Duration;

/// An open port and the conversation on it.
struct Open {
    link: SerialLink,
    talk: Conversation,
}

/// Runs the line until its stop token says so.
pub(super) fn run(mut owner: Owner, config: &SerialConfig) {
    let mut port = Port::new(config);
    let mut retry = FIRST_RETRY;
    while !owner.stopping() {
        match port.open().map(|link| link.until(owner.stop.clone())) {
            Ok(link) => {
                let opened = owner.clock.mono();
                let talk = Conversation::new(config.pace(), owner.clock.mono());
                owner.schedule.forgive(owner.clock.mono());
                owner.ledger.up();
                // The port is closed as soon as this returns: an adapter that is plugged in again gets
                // its old name only while nobody holds the old one.
                if let Err(error) = converse(&mut owner, Open { link, talk }) {
                    if owner.stopping() {
                        return;
                    }
                    owner.ledger.down(&format!("{}: {error}", config.port.display()));
                    // A port that opens and goes at once must not keep us, and the journal, busy.
                    let lasted = owner.clock.mono().since(opened) > LONGEST_RETRY;
                    retry = if lasted { FIRST_RETRY } else { (retry * 2).min(LONGEST_RETRY) };
                    wait_without_port(&mut owner, &port, retry);
                }
            }
            Err(error) => {
                owner.ledger.down(&format!("{}: {}", config.port.display(), advice(&error)));
                wait_without_port(&mut owner, &port, retry);
                retry = (retry * 2).min(LONGEST_RETRY);
            }
        }
    }
}

/// Until the port goes or the stop comes.
fn converse(owner: &mut Owner, mut open: Open) -> io::Result<()> {
    while !owner.stopping() {
        owner.ledger.beat();
        let now = owner.clock.mono();
        match owner.schedule.next(now) {
            Next::Ask(index) => ask(owner, &mut open, index, now)?,
            Next::Wait(until) => listen(owner, &mut open, until.min(now.plus(LOOK)))?,
            Next::Nothing => listen(owner, &mut open, now.plus(LOOK))?,
        }
    }
    Ok(())
}

fn listen(owner: &mut Owner, open: &mut Open, until: Mono) -> io::Result<()> {
    let mut counted = BusCounters::default();
    let result = open.talk.listen_until(&mut open.link, until, &mut counted);
    owner.ledger.add(None, &counted);
    result
}

fn ask(owner: &mut Owner, open: &mut Open, index: usize, now: Mono) -> io::Result<()> {
    let Some((device, job)) = owner.preview(index, now) else { return Ok(()) };
    // A question that must wait for a late answer to pass gives way to other devices'.
    let blocked = job.next().and_then(|block| open.talk.blocked_until(device.unit, &block.request, now));
    if let Some(until) = blocked {
        owner.schedule.hold(index, until);
        return Ok(());
    }
    let Some(mut asking) = owner.begin(index, now) else { return Ok(()) };
    let result = carry_out(owner, open, &mut asking);
    if result.is_err() && owner.stopping() {
        // The stop cut it short, not the port.
        asking.job.cut_off();
        owner.conclude(asking, true);
        return result;
    }
    owner.conclude(asking, result.is_ok());
    result
}

/// Asks block by block until none is left.
fn carry_out(owner: &mut Owner, open: &mut Open, asking: &mut Asking) -> io::Result<()> {
    let (unit, device) = (asking.device.unit, asking.device.clone());
    let manners = Manners { timeout: device.timeout, min_gap: device.min_gap };
    while let Some(block) = asking.job.next() {
        let request = block.request;
        if owner.stopping() {
            // The transaction is finished, not the scan.
            asking.job.cut_off();
            return Ok(());
        }
        if open.talk.blocked_until(unit, &request, owner.clock.mono()).is_some() {
            // Its answer could not be told from the late one of the block before.
            asking.job.garbled();
            continue;
        }
        let mut counted = BusCounters::default();
        let result = open.talk.transact(&mut open.link, unit, &request, manners, &mut counted);
        owner.ledger.add(Some(asking.index), &counted);
        owner.ledger.beat();
        let (outcome, trace) = result?;
        owner.ledger.used(trace.sent, trace.ended);
        owner.heard(asking, outcome);
    }
    Ok(())
}

/// Until it is time to try again, or worth it.
fn wait_without_port(owner: &mut Owner, port: &Port, span: Duration) {
    let until = owner.clock.mono().plus(span);
    let soonest = owner.clock.mono().plus(FIRST_RETRY);
    while owner.clock.mono() < until && !owner.stopping() {
        if owner.clock.mono() >= soonest && port.has_news() {
            return;
        }
        let next = owner.say_that_the_line_is_down(until);
        let wait = next.since(owner.clock.mono()).min(LOOK);
        // Nobody unparks this thread: it is a sleep that a later version may cut short.
        std::thread::park_timeout(wait.max(Duration::from_millis(1)));
    }
}
