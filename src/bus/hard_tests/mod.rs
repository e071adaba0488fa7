//! The engine against what breaks engines: a wire and a line of its own, with clocks that are turned.

mod leisure;
mod line;
mod open;
mod overload;
mod wire;
