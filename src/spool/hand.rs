//! The hand: a second thread that does what touches the disk. The owner lends it the whole log for one job at a time,
//! so that there is one log, nothing to lock, and the order of the operations is that of the jobs.

use super::Stored;
use super::disk::Disk;
use super::log::Log;
use super::request::{CommitAnswer, Found, Question};
use std::io;
use std::sync::mpsc::SyncSender;
use tokio::sync::{mpsc, oneshot};

/// Jobs under way: one, for there is one log.
const JOBS: usize = 1;

/// What is to be done with the log, and who waits for it.
pub(super) enum Job {
    Commit(Option<CommitAnswer>),
    Read(Question, oneshot::Sender<Found>),
    SetUpstreams(Vec<String>, oneshot::Sender<()>),
    /// What is due whether or not records come: segments that are too old, and the cursors, where it is time.
    Turn {
        save: bool,
    },
    End(oneshot::Sender<()>),
}

/// What came of it.
pub(super) enum Done {
    Commit(Result<(), String>, Option<CommitAnswer>),
    Read(io::Result<Vec<Stored>>, Question, oneshot::Sender<Found>),
    SetUpstreams(oneshot::Sender<()>),
    Turn,
    End(oneshot::Sender<()>),
}

pub(super) struct Hand<D: Disk> {
    pub jobs: SyncSender<(Box<Log<D>>, Job)>,
    pub back: mpsc::Receiver<(Box<Log<D>>, Done)>,
}

impl<D: Disk + Send + 'static> Hand<D>
where
    D::File: Send,
{
    /// The thread ends with the owner.
    pub(super) fn start() -> io::Result<Hand<D>> {
        let (jobs, jobs_in) = std::sync::mpsc::sync_channel::<(Box<Log<D>>, Job)>(JOBS);
        let (back_out, back) = mpsc::channel(JOBS);
        std::thread::Builder::new().name("spool-hand".to_owned()).spawn(move || {
            while let Ok((mut log, job)) = jobs_in.recv() {
                let done = perform(&mut log, job);
                if back_out.blocking_send((log, done)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Hand { jobs, back })
    }
}

fn perform<D: Disk>(log: &mut Log<D>, job: Job) -> Done {
    match job {
        Job::Commit(answer) => Done::Commit(log.commit(), answer),
        Job::Read(question, done) => {
            // The folder may have been found since this was asked.
            let inside = question.moved(|position| position.saturating_sub(log.shift));
            let mut records = log.read(&inside);
            if let Ok(records) = &mut records {
                records.iter_mut().for_each(|record| record.position += log.shift);
            }
            Done::Read(records, question, done)
        }
        Job::SetUpstreams(names, done) => {
            // What an upstream that goes has settled must be there when it comes back.
            let _ = log.commit();
            if let Err(error) = log.add_upstreams(&names) {
                tracing::error!(%error, "the cursors could not be read");
            }
            Done::SetUpstreams(done)
        }
        Job::Turn { save } => {
            if save && let Err(error) = log.save_cursors() {
                log.note_trouble(&error);
            }
            log.expire();
            Done::Turn
        }
        Job::End(done) => {
            if log.commit().is_ok()
                && let Err(error) = log.say_that_it_ends()
            {
                tracing::warn!(%error, "the spool could not say that it ended cleanly");
            }
            Done::End(done)
        }
    }
}
