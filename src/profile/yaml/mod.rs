//! Reading YAML so that every problem can be shown: a tree with places, a table of what is
//! allowed, a walker that compares the two and collects, and the printer of what it found.
//!
//! [`node`] makes the tree, [`table`] holds the words to describe a format, [`walk`] compares,
//! `foreign` knows what other programs call a thing, [`scalar`] reads single values, [`schema`] prints a table as JSON Schema, [`problem`] shows.

mod foreign;
pub mod node;
pub mod problem;
pub mod scalar;
pub mod schema;
pub mod table;
pub mod walk;

pub use node::{Content, Entry, Node, Scalar};
pub use problem::{Place, Problem, Problems, Report, nearest};
