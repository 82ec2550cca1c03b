//! The side on the node: all measurements, one after the other.

use std::path::Path;

use anyhow::Result;

use super::{Task, parts};
use crate::bench::on_node::{self, side};

/// Does what the file says, and prints the tables.
pub(in crate::bench) fn run(file: &Path) -> Result<()> {
    side(file, all)
}

fn all(task: &Task) -> Result<()> {
    let kernel = on_node::kernel(task.options.kind())?;
    let left = parts::compared(task, &kernel);
    parts::per_packet(task, &kernel, left)?;
    parts::scaled(task, &kernel)
}
