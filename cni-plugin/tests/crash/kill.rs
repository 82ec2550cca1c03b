//! Kills a plugin at a chosen moment of its life.

use std::io::Write as _;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Which moments count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moments {
    /// The begin and the end of every system call.
    All,
    /// The end of every system call that can change something that others see.
    Changes,
}

impl Moments {
    /// All if the environment asks for it, as a person with some minutes of time does; else those that differ.
    pub(crate) fn wanted() -> Self {
        if std::env::var_os("CRASH_EVERYWHERE").is_some() { Self::All } else { Self::Changes }
    }
}

/// Lets `child` run to the moment after `count` others and kills it there. `false` if it ended by itself before. It is
/// caught while it waits for its stdin, so the loader's calls are not counted.
pub(crate) fn kill_after(child: &mut Child, moments: Moments, count: usize, stdin: &[u8]) -> bool {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    ptrace::attach(pid).unwrap();
    waitpid(pid, None).unwrap();
    // Room for all of it in the pipe, so that nobody needs to read meanwhile.
    drop(child.stdin.take().unwrap().write_all(stdin));
    let (mut seen, mut ends) = (0, false);
    while seen < count {
        ptrace::syscall(pid, None).unwrap();
        match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return false,
            _ => {}
        }
        seen += usize::from(moments == Moments::All || (ends && changes(pid)));
        ends = !ends;
    }
    kill(pid, Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    true
}

/// True if the system call that `pid` is in can change what others see.
#[cfg(target_arch = "x86_64")]
fn changes(pid: Pid) -> bool {
    let number = ptrace::getregs(pid).unwrap().orig_rax;
    [
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_write,
        libc::SYS_pwrite64,
        libc::SYS_openat,
        libc::SYS_mkdir,
        libc::SYS_rename,
        libc::SYS_renameat2,
        libc::SYS_link,
        libc::SYS_linkat,
        libc::SYS_unlink,
        libc::SYS_unlinkat,
        libc::SYS_ftruncate,
        libc::SYS_utimensat,
        libc::SYS_flock,
        libc::SYS_setns,
        libc::SYS_ioctl,
        libc::SYS_clone3,
    ]
    .iter()
    .any(|known| u64::try_from(*known) == Ok(number))
}

/// On other machines every moment counts.
#[cfg(not(target_arch = "x86_64"))]
fn changes(_: Pid) -> bool {
    true
}

/// Gives it its configuration and kills it after a time.
pub(crate) fn kill_in(child: &mut Child, time: Duration, stdin: &[u8]) {
    drop(child.stdin.take().unwrap().write_all(stdin));
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until `ip netns exec` has become the plugin.
pub(crate) fn wait_for_exec(child: &Child) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let exe = format!("/proc/{}/exe", child.id());
    while !std::fs::read_link(&exe).is_ok_and(|path| path.ends_with("routerd-cni")) {
        assert!(Instant::now() < deadline, "the plugin did not start");
        std::thread::sleep(Duration::from_millis(1));
    }
}
