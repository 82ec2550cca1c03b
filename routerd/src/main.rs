//! The daemon of a node.

mod cluster;
mod runner;

fn main() {}
