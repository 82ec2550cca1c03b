//! Whole speakers over a network in memory.

mod failures;
mod kit;
mod sessions;
