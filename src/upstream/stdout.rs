//! Upstream `stdout`: a line a record, for pipes and for looking.
//!
//! When the reader of the pipe has gone, the upstream stops and says so; its records wait in the spool.
//! The process goes on: other upstreams need it.

use super::bodies::{Refusal, WriteText};
use std::io::{self, Write};

pub(super) struct StdoutSink;

impl WriteText for StdoutSink {
    fn write(&mut self, lines: &[u8]) -> Result<(), Refusal> {
        let mut out = io::stdout().lock();
        match out.write_all(lines).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(Refusal::Gone("standard output is closed".to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }
}
