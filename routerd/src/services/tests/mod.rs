//! Tests of the pure half and of the writing half against a kernel in memory.

mod applier;
mod desired;
mod early;
mod endpoints;
mod fake;
pub(in crate::services) mod fixture;
mod flows;
mod herald;
mod plan;
mod refused;
mod scale;
mod tend;
