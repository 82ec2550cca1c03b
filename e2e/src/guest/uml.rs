//! A node with a Linux kernel of its own: User Mode Linux, whose root is the host's file system.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Place;
use crate::net::make_tap;
use crate::process::{attach_log, capture, command, wait_for};

/// How large a guest's disk looks.
const DISK_BYTES: u64 = 8 << 30;

/// Starts a guest; its console goes to `console`. `memory` is in MiB.
pub fn start(place: Place, kernel: &Path, folder: &Path, memory: u32) -> Result<Child> {
    let name = place.name();
    let tap = make_tap(place.index, place.segment)?;
    let init = std::env::current_exe().context("the lab does not know its own path")?;
    let mut guest = command(kernel);
    guest.arg(format!("mem={memory}M"));
    guest.args(["rootfstype=hostfs", "rootflags=/", "rw", "con=null", "con0=null,fd:1", "quiet", "panic=-1"]);
    guest.arg(format!("init={}", init.display()));
    // Built in, the driver makes two devices that nobody asked for; as a module of a usual kernel it makes none here.
    guest.arg("ifb.numifbs=0");
    if place.extras.disk {
        guest.arg(format!("ubda={}", disk(place, folder)?.display()));
    }
    // A machine that boots again is the same machine to its neighbours.
    let mac = format!("02:00:00:00:00:{:02x}", place.index);
    guest.arg(format!("vec0:transport=tap,ifname={tap},depth=128,gro=1,mac={mac}"));
    guest.args([format!("umid={name}"), format!("uml_dir={}", folder.join("uml").display())]);
    // What the kernel does not know it hands to init as environment.
    guest.args(place.environment().iter().map(|(name, value)| format!("{name}={value}")));
    guest.env("TMPDIR", memory_folder());
    attach_log(&mut guest, &folder.join(format!("{name}.console")))?
        .spawn()
        .with_context(|| format!("{} could not be started", kernel.display()))
}

/// The node's disk, made by its first boot.
fn disk(place: Place, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(format!("{}.disk", place.name()));
    if !path.exists() {
        let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        // Only what is written takes space.
        file.set_len(DISK_BYTES)?;
        capture(command("mkfs.ext4").args(["-q", "-F"]).arg(&path))?;
    }
    wait_for("the disk of a guest that was lost to be free", Duration::from_secs(20), || {
        let Some(holder) = holder(&path)? else { return Ok(Some(())) };
        // The process that writes to the disk may outlive the guest's first by a moment. A power cut ends both.
        let _ended_meanwhile = kill(holder, Signal::SIGKILL);
        bail!("process {holder} has it")
    })?;
    Ok(path)
}

/// The process that has locked a guest's disk.
fn holder(disk: &Path) -> Result<Option<Pid>> {
    let file = File::options().read(true).write(true).open(disk)?;
    let (write, none) = (i16::try_from(F_WRLCK)?, i16::try_from(F_UNLCK)?);
    let mut lock =
        flock { l_type: write, l_whence: i16::try_from(SEEK_SET)?, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).with_context(|| format!("who locks {}", disk.display()))?;
    Ok((lock.l_type != none).then_some(Pid::from_raw(lock.l_pid)))
}

/// A guest's memory is a file: it belongs in a memory file system.
fn memory_folder() -> &'static str {
    if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }
}
