//! The lab: nodes with kernels of their own on one segment, a real container runtime and a real
//! control plane around `routerd`. `cargo demo`, `cargo verify` and `cargo lab` are the doors.
//!
//! Everything a run makes lives inside name spaces of one process (see [`sandbox`]), so that the
//! kernel takes it away when that process ends, however it ends.

pub mod bench;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod conformance;
pub mod daemon;
pub mod demo;
pub mod fuzz;
pub mod guest;
pub mod image;
pub mod in_guest;
pub mod lab;
pub mod libcni;
pub mod manifests;
pub mod net;
pub mod parts;
pub mod paths;
pub mod peers;
pub mod pods;
pub mod process;
pub mod progress;
pub mod routing;
pub mod sandbox;
pub mod setup;
pub mod state;
pub mod tool;
pub mod verify;
