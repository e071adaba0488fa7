//! (to be written)

mod config;
pub mod file;
pub mod mqtt;

pub use config::{Config, Kind};
