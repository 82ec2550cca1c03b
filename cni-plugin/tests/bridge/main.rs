//! The role `bridge` as a process, on real namespaces.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod addresses;
mod announce;
mod calls;
mod check;
mod clean;
mod ipam;
mod network;
mod pods;
mod routes;
mod support;
mod vlan;
