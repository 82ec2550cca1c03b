//! The first process of a node: mounts, addresses, then the agent as a child while this one reaps
//! what the node leaves behind, as an init does.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};

use super::{NodeKind, Place};
use crate::process::{PATH, capture, command, wait_for};

/// Folders of which every node has its own; what is written there never reaches the host.
const PRIVATE: [&str; 6] = ["/run", "/var/lib", "/var/log", "/opt", "/etc/cni", "/mnt"];

/// Folders that must be there. The container runtime's and the plugin's.
const NEEDED: [&str; 4] = ["/run/netns", "/opt/cni/bin", "/etc/cni/net.d", "/var/lib/cni"];

/// The folders that a machine keeps over a power cut.
const KEPT: [&str; 4] = ["/var/lib", "/var/log", "/opt", "/etc/cni"];

/// Where a guest's disk is mounted; one of the private folders.
const DISK: &str = "/mnt";

/// What a User Mode Linux guest does as its process 1.
pub fn guest_init(place: Place) -> Result<()> {
    attach("proc", "/proc", "proc")?;
    attach("sysfs", "/sys", "sysfs")?;
    attach("cgroup2", "/sys/fs/cgroup", "cgroup2")?;
    // The kernel has mounted it itself when it was configured so.
    if !is_mounted("/dev")? {
        attach("devtmpfs", "/dev", "devtmpfs")?;
    }
    for folder in ["/dev/pts", "/dev/shm"] {
        fs::create_dir_all(folder)?;
    }
    attach("devpts", "/dev/pts", "devpts")?;
    attach("tmpfs", "/dev/shm", "tmpfs")?;
    private_folders()?;
    if place.extras.disk {
        kept_folders()?;
    }
    cpu_with_a_clock()?;
    conntrack_of_a_node()?;
    finish(place)?;
    Ok(reboot(RebootMode::RB_POWER_OFF).map(|_| ())?)
}

/// Makes the name spaces of a node on the host's kernel and starts its process 1 in them.
pub fn host_node(place: Place) -> Result<()> {
    let fresh = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS;
    unshare(fresh).context("name spaces for a node could not be made (is this root?)")?;
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let status = command(std::env::current_exe()?).arg("host-init").envs(place.environment()).status()?;
    bail!("the first process of {} ended with {status}", place.name())
}

/// What a node on the host's kernel does as its process 1.
pub fn host_init(place: Place) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("making mounts private")?;
    attach("proc", "/proc", "proc")?;
    attach("sysfs", "/sys", "sysfs")?;
    private_folders()?;
    finish(place)
}

fn attach(what: &str, target: &str, kind: &str) -> Result<()> {
    mount(Some(what), target, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting {kind} on {target}"))
}

fn is_mounted(target: &str) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(target)))
}

pub(crate) fn private_folders() -> Result<()> {
    for folder in PRIVATE {
        if Path::new(folder).is_dir() || folder == "/etc/cni" {
            fs::create_dir_all(folder)?;
            attach("tmpfs", folder, "tmpfs")?;
        }
    }
    for folder in NEEDED {
        fs::create_dir_all(folder)?;
    }
    // A pod's namespace is mounted here and must be seen by every process of the node.
    mount(Some("/run/netns"), "/run/netns", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    mount(None::<&str>, "/run/netns", None::<&str>, MsFlags::MS_SHARED, None::<&str>)?;
    Ok(())
}

/// As many flows as the kernel allows on a machine of a cluster's size.
///
/// The kernel's own limit follows the memory: about a thousand for a guest, which a client that asks all the time fills
/// within seconds; and then any new connection of the node is dropped.
fn conntrack_of_a_node() -> Result<()> {
    for (path, value) in [
        ("/sys/module/nf_conntrack/parameters/hashsize", "16384"),
        ("/proc/sys/net/netfilter/nf_conntrack_max", "65536"),
    ] {
        fs::write(path, value).with_context(|| format!("writing {value} to {path}"))?;
    }
    Ok(())
}

/// Puts the guest's disk in the place of the folders that a machine keeps.
fn kept_folders() -> Result<()> {
    mount(Some("/dev/ubda"), DISK, Some("ext4"), MsFlags::empty(), None::<&str>)
        .context("mounting the guest's disk")?;
    for folder in KEPT {
        let kept = format!("{DISK}{folder}");
        fs::create_dir_all(&kept)?;
        mount(Some(kept.as_str()), folder, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("putting the disk's {kept} at {folder}"))?;
    }
    for folder in NEEDED {
        fs::create_dir_all(folder)?;
    }
    Ok(())
}

/// The kubelet refuses a machine whose CPU has no clock line, and this kernel's has none.
fn cpu_with_a_clock() -> Result<()> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    fs::write("/run/cpuinfo", format!("{}\ncpu MHz : 2000.000\n\n", text.trim_end()))?;
    mount(Some("/run/cpuinfo"), "/proc/cpuinfo", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn finish(place: Place) -> Result<()> {
    sethostname(place.name()).context("setting the host name")?;
    wait_for("the node's network device", Duration::from_secs(10), || {
        Ok(Path::new("/sys/class/net/vec0").exists().then_some(()))
    })?;
    let (address, gateway) = (place.address(), place.segment.gateway());
    let mut lines = format!(
        "link set lo up\naddr add {address}/24 dev vec0\nlink set vec0 up\nroute add default via {gateway}\n"
    );
    if let Some(address) = place.address6() {
        let gateway = place.segment.gateway6();
        writeln!(lines, "addr add {address}/64 dev vec0 nodad\nroute add default via {gateway}")?;
    }
    batch(&lines)?;
    let agent = command(std::env::current_exe()?)
        .arg("agent")
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the agent")?;
    reap_until(Pid::from_raw(i32::try_from(agent.id())?))
}

fn batch(lines: &str) -> Result<()> {
    let file = "/run/network-setup";
    fs::File::create(file)?.write_all(lines.as_bytes())?;
    capture(command("ip").args(["-batch", file]).env("PATH", PATH)).map(|_| ())
}

fn reap_until(agent: Pid) -> Result<()> {
    loop {
        match waitpid(None, None)? {
            WaitStatus::Exited(pid, code) if pid == agent => bail!("the agent ended with status {code}"),
            WaitStatus::Signaled(pid, signal, _) if pid == agent => bail!("the agent was ended by {signal}"),
            _ => {}
        }
    }
}

/// Is this process the init of a User Mode Linux guest of the lab? Then it is told where by the kernel's command line.
pub fn guest_place() -> Option<Place> {
    if std::process::id() != 1 {
        return None;
    }
    Place::from_environment(NodeKind::Uml)
}
