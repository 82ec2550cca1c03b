//! Refused packets: who was refused by which direction's policies, and how often.
//!
//! ```text
//!   rules of the policy plane ──NFLOG 100──► ear.rs ──► desk.rs: names from the index, the last lines, who follows
//!                                                          │ lines of JSON
//!   counters in the kernel ──► counters.rs ──► metrics     └──► admin socket ──► `routerd drops` (client.rs)
//! ```
//!
//! The kernel limits what it shows, per pod and altogether, so a flood costs nothing here; what it does not show it counts.
//! Nothing waits for this task: neither packets, nor the index, nor a follower for another one.

pub mod client;
pub(crate) mod clock;
mod counters;
mod desk;
mod ear;
mod entry;
mod line;
mod names;
mod serve;
mod status;
#[cfg(test)]
mod tests;
mod text;

pub use counters::{Count, Totals};
pub use desk::Drops;
pub use line::Line;
pub use names::Name;
pub use serve::{Wish, serve};
pub use status::DropsStatus;
