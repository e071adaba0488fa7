//! Readings → payloads. Knows what is said, not where it goes.

pub mod json;
