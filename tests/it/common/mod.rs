//! What several test modules share.

pub mod broker;
pub mod port;
pub mod wire;
