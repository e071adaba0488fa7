//! Decoded batches on standard output.

use crate::encode::batch::Decoded;
use crate::encode::{Encoding, Numbered};
use crate::model::{Name, Site};
use std::io::{self, BufWriter, Write};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// An object a reading, as the upstream `file` writes them.
    Json,
    /// `InfluxDB` line protocol.
    Line,
    /// A row a value.
    Csv,
}

impl Form {
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Form::Json => Encoding::Json,
            Form::Line => Encoding::Line,
            Form::Csv => Encoding::Csv,
        }
    }
}

/// Lines as they are found.
pub(crate) struct Show {
    encoding: Encoding,
    out: BufWriter<io::Stdout>,
    begun: bool,
    trouble: Option<io::Error>,
}

impl Show {
    pub(crate) fn new(form: Form) -> Show {
        let out = BufWriter::new(io::stdout());
        Show { encoding: form.encoding(), out, begun: false, trouble: None }
    }

    /// `false` once nobody reads any more.
    pub(crate) fn batch(&mut self, decoded: &Decoded, site: Option<&Site>) -> bool {
        if !self.begun {
            self.write(self.encoding.row().header.as_bytes());
            self.begun = true;
        }
        let lines = lines(&self.encoding, decoded, site);
        self.write(&lines);
        self.trouble.is_none()
    }

    fn write(&mut self, octets: &[u8]) {
        if self.trouble.is_none() {
            self.trouble = self.out.write_all(octets).err();
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        match self.trouble.take().map_or_else(|| self.out.flush(), Err) {
            // `decode … | head` is how this is used.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }
}

/// A batch's readings in this encoding. A batch that brings its names says nothing of the gateway.
pub(crate) fn lines(encoding: &Encoding, decoded: &Decoded, site: Option<&Site>) -> Vec<u8> {
    let nobody =
        Site { gateway: Name::from_host("unknown"), config_hash: String::new(), devices: Vec::new() };
    let readings: Vec<Numbered<'_>> =
        decoded.readings.iter().map(|(reading, number)| Numbered { reading, number: *number }).collect();
    // Without a limit, text of any length can be written.
    encoding
        .encode(&readings, site.unwrap_or(&nobody), usize::MAX)
        .map(|payload| payload.octets)
        .unwrap_or_default()
}
