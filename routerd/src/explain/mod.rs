//! Why a packet is admitted or refused, and whether the kernel holds what it should.
//!
//! ```text
//!  routerd explain ──► admin socket ──► Desk ──► index (who is who, in ends.rs)
//!                                         ├────► the policy plane (the very values that its rules are made of)
//!                                         ├────► the same plane over a copy of the index, for what other nodes decide
//!                                         └────► judge.rs and ways.rs: what these values say of the packet
//!  routerd policy verify ──► Desk ──► the plane's model and the kernel's rules, compared (verify/)
//! ```
//!
//! Nothing here knows what a policy means: that is in the values. A value is asked what a packet finds in it.

mod answer;
pub mod command;
mod crowd;
mod desk;
mod dialled;
mod ends;
mod judge;
mod others;
mod question;
mod seen;
#[cfg(test)]
mod tests;
mod text;
pub mod verify;
mod ways;

pub use answer::{Answer, Judgement, Miss, Outcome, RuleName, Verdict};
pub use desk::{Desk, PolicyWindow};
pub use question::{End, Question};
pub use seen::Masquerade;
pub use text::render;
