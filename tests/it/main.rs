//! Every integration test in one binary: it links once.

mod architecture;
mod dependencies;
mod unit_file;
