//! A node with a Linux kernel of its own: User Mode Linux, whose root is the host's file system.

use std::path::Path;
use std::process::Child;

use anyhow::{Context, Result};

use super::Place;
use crate::net::make_tap;
use crate::process::{attach_log, command};

/// Starts a guest; its console goes to `console`. `memory` is in MiB.
pub fn start(place: Place, kernel: &Path, folder: &Path, memory: u32) -> Result<Child> {
    let name = place.name();
    let tap = make_tap(place.index)?;
    let init = std::env::current_exe().context("the lab does not know its own path")?;
    let mut guest = command(kernel);
    guest.arg(format!("mem={memory}M"));
    guest.args(["rootfstype=hostfs", "rootflags=/", "rw", "con=null", "con0=null,fd:1", "quiet", "panic=-1"]);
    guest.arg(format!("init={}", init.display()));
    guest.arg(format!("vec0:transport=tap,ifname={tap},depth=128,gro=1"));
    guest.args([format!("umid={name}"), format!("uml_dir={}", folder.join("uml").display())]);
    // What the kernel does not know it hands to init as environment.
    guest.args(place.environment().iter().map(|(name, value)| format!("{name}={value}")));
    guest.env("TMPDIR", memory_folder());
    attach_log(&mut guest, &folder.join(format!("{name}.console")))?
        .spawn()
        .with_context(|| format!("{} could not be started", kernel.display()))
}

/// A guest's memory is a file: it belongs in a memory file system.
fn memory_folder() -> &'static str {
    if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }
}
