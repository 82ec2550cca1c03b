//! Tests of the pure half and of the writing half against a kernel in memory.

mod applier;
mod desired;
mod endpoints;
mod fake;
mod fixture;
mod plan;
