//! Whole speakers over a network in memory.

mod failures;
mod hostile;
mod kit;
mod replaced;
mod sessions;
mod starts;
