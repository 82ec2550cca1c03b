//! The roles that work on what others made (`bandwidth`, `tuning`, `loopback`), alone, in chains, and beside the
//! reference plugins; as processes on real namespaces.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod bandwidth;
mod chain;
mod loopback;
mod reference;
mod shaping;
mod support;
mod tuning;
