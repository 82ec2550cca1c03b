//! What an operator sees of the reader of refused packets.

use serde::Serialize;

/// The state of the reader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DropsStatus {
    /// True if refused packets are read now.
    pub reading: bool,
    /// Why not; empty if they are, or if this routerd enforces no policies.
    pub problem: String,
    /// Refused packets that were read since the start. The kernel shows but a few of many.
    pub read: u64,
    /// Those that were not read in time, and those that could not be understood.
    pub lost: u64,
}
