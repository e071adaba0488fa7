//! Quantities and their canonical units, with exact conversions. (The profile author fills this.)
