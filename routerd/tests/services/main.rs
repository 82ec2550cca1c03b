//! The services plane on a kernel with IPVS, judged by packets between network namespaces.
//!
//! The host's kernel of a test machine has no IPVS, so most of these run inside a lab guest: `cargo verify` starts this
//! binary there with `--ignored`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is how a test fails")]

mod beside;
mod changes;
mod choice;
mod cluster;
mod draining;
mod dsr;
mod dsr_held;
mod early;
mod firewall;
mod gates;
mod kinds;
mod lacking;
mod lifecycle;
mod net;
mod paths;
mod refused;
mod repair;
mod scale;
mod talk;
mod udp;
mod wrong;
