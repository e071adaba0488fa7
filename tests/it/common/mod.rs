//! What several test modules share.

pub mod broker;
pub mod wire;
