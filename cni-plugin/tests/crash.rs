//! What a process leaves that is killed, or that finds no room, at any system call.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod plugin;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use plugin::{Installed, finish};
use serde_json::{Value, json};

fn conf(installed: &Installed) -> Value {
    installed.host_local(&json!([[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00::/64"}]]))
}

/// Lets `child` make `count` steps, each up to the begin or end of a system call, and kills it there. `false` if it
/// ended by itself before. It is caught while it waits for its stdin, so the loader's calls are not counted.
fn kill_after(child: &mut Child, count: usize, stdin: &[u8]) -> bool {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    ptrace::attach(pid).unwrap();
    waitpid(pid, None).unwrap();
    // Room for all of it in the pipe, so that nobody needs to read meanwhile.
    drop(child.stdin.take().unwrap().write_all(stdin));
    for _ in 0..count {
        ptrace::syscall(pid, None).unwrap();
        match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return false,
            _ => {}
        }
    }
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    true
}

/// Kills `operation` at every system call; after each the folder must be whole again when DEL was called.
fn at_every_system_call(operation: &str, prepare: impl Fn(&Installed)) {
    for count in 0.. {
        assert!(count < 2000, "it never ends");
        let installed = Installed::new();
        let conf = conf(&installed);
        installed.run("host-local", "ADD", "other", &conf).result();
        prepare(&installed);
        let mut child = installed.command("host-local", operation, "c1").spawn().unwrap();
        let killed = kill_after(&mut child, count, conf.to_string().as_bytes());
        assert_eq!(installed.run("host-local", "DEL", "c1", &conf).result(), Value::Null);
        assert_eq!(installed.leases(), ["10.1.2.2", "fd00::2"], "{operation} killed at step {count}");
        assert_eq!(
            installed.leftovers().len(),
            2,
            "{operation} killed at step {count}: {:?}",
            installed.leftovers()
        );
        if !killed {
            assert!(count > 50, "it did not even begin");
            return;
        }
    }
}

#[test]
fn an_add_that_is_killed_at_any_system_call_leaves_no_lease_after_del() {
    at_every_system_call("ADD", |_| {});
}

#[test]
fn a_del_that_is_killed_at_any_system_call_is_finished_by_the_next() {
    at_every_system_call("DEL", |installed| {
        installed.run("host-local", "ADD", "c1", &conf(installed)).result();
    });
}

/// Waits until `ip netns exec` has become the plugin.
fn wait_for_exec(child: &Child) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let exe = format!("/proc/{}/exe", child.id());
    while !std::fs::read_link(&exe).is_ok_and(|path| path.ends_with("routerd-cni")) {
        assert!(Instant::now() < deadline, "the plugin did not start");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_pods_add_that_is_killed_at_any_system_call_leaves_no_device_and_no_lease_after_del() {
    let (installed, node, pod) = (Installed::new(), TestNs::new("node"), TestNs::new("pod"));
    let mut conf = conf(&installed);
    conf["type"] = json!("routerd-cni");
    conf["isDefaultGateway"] = json!(true);
    conf["routerd"] = json!({"socket": installed.path().join("cni.sock"), "required": false});
    let spawn = |operation: &str| {
        let mut command = node.command(installed.path().join("routerd-cni").to_str().unwrap());
        command.env("CNI_COMMAND", operation).env("CNI_CONTAINERID", "c1").env("CNI_NETNS", pod.path());
        command.env("CNI_IFNAME", "eth0").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for count in 0.. {
        assert!(count < 5000, "it never ends");
        let mut child = spawn("ADD");
        wait_for_exec(&child);
        let killed = kill_after(&mut child, count, conf.to_string().as_bytes());
        assert_eq!(finish(spawn("DEL"), conf.to_string().as_bytes()).result(), Value::Null, "step {count}");
        assert_eq!(installed.leftovers(), Vec::<String>::new(), "killed at step {count}");
        let links = node.run("ip", &["-o", "link"]) + &pod.run("ip", &["-o", "link"]);
        assert!(!links.contains("veth") && !links.contains("eth0"), "killed at step {count}: {links}");
        if !killed {
            assert!(count > 150, "it did not even begin");
            return;
        }
    }
}

/// A file system of memory with room for a few files only.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path, options: &str) -> Self {
        std::fs::create_dir(path).unwrap();
        mount(Some("routerd-test"), path, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
        Self(path)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_disk_that_fills_at_any_file_gives_an_error_and_no_half_lease() {
    let mut failures = 0;
    for inodes in 2..16 {
        let installed = Installed::new();
        let folder = installed.path().join("leases");
        let _disk = Small::mount(&folder, &format!("size=1m,nr_inodes={inodes}"));
        let conf = conf(&installed);
        let mut child = installed.command("host-local", "ADD", "c1");
        let answer = finish(child.spawn().unwrap(), conf.to_string().as_bytes());
        if answer.status == 0 {
            assert_eq!(installed.leases().len(), 2);
            continue;
        }
        failures += 1;
        assert_eq!(answer.code(), 5);
        assert!(answer.msg().contains("No space left"), "{answer:?}");
        assert_eq!(installed.leftovers(), Vec::<String>::new(), "{inodes} inodes");
    }
    assert!((4..14).contains(&failures), "{failures}");
}
