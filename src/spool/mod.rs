mod config;

pub use config::{Config, WhenFull};
