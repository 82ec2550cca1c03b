//! The side on the node: all measurements, one after the other.

use std::path::Path;

use anyhow::{Context, Result};

use super::{FAILED, OVER, Options, Task, parts};

/// Does what the file says, and prints the tables.
pub(in crate::bench) fn run(file: &Path) -> Result<()> {
    let task: Task = serde_json::from_slice(&std::fs::read(file)?)?;
    match all(&task) {
        Ok(()) => println!("{OVER}"),
        Err(error) => println!("{FAILED}{}", format!("{error:#}").replace('\n', " | ")),
    }
    Ok(())
}

fn all(task: &Task) -> Result<()> {
    let kernel = kernel(&task.options)?;
    let left = parts::compared(task, &kernel);
    parts::per_packet(task, &kernel, left)?;
    parts::scaled(task, &kernel)
}

/// What the figures are of.
fn kernel(options: &Options) -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    let what = if options.host {
        "This machine's kernel"
    } else {
        "A guest's kernel (User Mode Linux: one CPU, slow system calls)"
    };
    Ok(format!("{what}, Linux {}", release.trim()))
}
