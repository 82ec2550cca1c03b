//! Places that cannot be written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use super::configuration::{CONFLIST, KUBE_ROUTERS};
use super::node::{INIT, Node};

/// Runs the installer in a mount namespace of its own, after `prepare`; all that is mounted goes with it.
fn mounted(node: &Node, prepare: &str, arguments: &str) -> Output {
    let script = format!("set -e; {prepare}\nexec {INIT} {arguments}");
    fs::create_dir_all(node.path("bin")).unwrap();
    fs::create_dir_all(node.path("net.d")).unwrap();
    node.command("unshare", &["--mount", "sh", "-c", &script]).current_dir(node.path("")).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_folder_that_cannot_be_written_is_named_with_what_to_do() {
    let node = Node::new();
    fs::write(node.path("bin"), "a file where the folder should be").unwrap();
    let said = node.fails(&["--no-cni-conf"]);
    assert!(said.contains(node.path("bin").to_str().unwrap()), "{said}");
    let said = node.fails(&["--host-bin-path", "/proc/nowhere", "--no-cni-conf"]);
    assert!(said.contains("/proc/nowhere") && said.contains("mounted"), "{said}");
}

#[test]
fn a_folder_that_is_mounted_read_only_is_named_with_what_to_do() {
    let node = Node::new();
    let output = mounted(&node, "mount --bind bin bin; mount -o remount,bind,ro bin", "");
    let said = said(&output);
    assert!(!output.status.success());
    assert!(said.contains("bin/routerd-cni") && said.contains("hostPath"), "{said}");
    assert!(node.names("bin").is_empty());
    // The other folder is another matter.
    assert_eq!(node.names("net.d"), ["10-kuberouter.conflist.template"]);
}

#[test]
fn a_configuration_in_use_never_names_a_plugin_that_is_not_there() {
    let node = Node::new();
    node.configure(CONFLIST, KUBE_ROUTERS);
    let read_only =
        |folder: &str| format!("mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}");
    assert!(!mounted(&node, &read_only("bin"), "").status.success());
    assert_eq!(node.text("net.d/10-kuberouter.conflist"), KUBE_ROUTERS, "not taken over");
    node.succeeds(&[]);
    let ours = node.text("net.d/10-kuberouter.conflist");
    assert_ne!(ours, KUBE_ROUTERS);
    assert!(!mounted(&node, &read_only("net.d"), "--restore").status.success());
    assert_eq!(node.text("net.d/10-kuberouter.conflist"), ours);
    assert_eq!(node.names("bin").len(), 7, "not removed");
}

#[test]
fn with_a_root_file_system_that_is_read_only_nothing_but_the_two_folders_is_written() {
    let node = Node::new();
    let prepare = "mount --bind bin bin; mount --bind net.d net.d; mount -o remount,bind,ro /";
    let output = mounted(&node, prepare, "");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(node.names("bin").len(), 7);
    assert_eq!(node.names("net.d"), ["10-kuberouter.conflist.template"]);
}

#[test]
fn without_root_the_error_says_what_is_needed_and_folders_of_ones_own_will_do() {
    let node = Node::new();
    fs::set_permissions(node.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["bin", "net.d"] {
        fs::create_dir(node.path(folder)).unwrap();
    }
    // The program itself may lie where only root may look.
    let program = node.path("routerd-init");
    fs::copy(INIT, &program).unwrap();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", program.to_str().unwrap()];
    let output = node.command("setpriv", &nobody).output().unwrap();
    let text = said(&output);
    assert!(!output.status.success());
    assert!(text.contains("bin/routerd-cni") && text.contains("run as root"), "{text}");
    for folder in ["bin", "net.d"] {
        std::os::unix::fs::chown(node.path(folder), Some(65534), Some(65534)).unwrap();
    }
    let output = node.command("setpriv", &nobody).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(node.names("bin").len(), 7);
}

#[test]
fn a_full_disk_leaves_the_old_plugin_and_nothing_half_written() {
    let node = Node::new();
    let big = format!("ELF /run/routerd/cni.sock {}", "x".repeat(300_000));
    fs::write(node.path("image/routerd-cni"), big).unwrap();
    let prepare = "mount -t tmpfs -o size=64k none bin; echo old >bin/bridge; chmod 755 bin/bridge; \
                   trap 'ls -A bin; cat bin/bridge' EXIT";
    // Not replaced by the installer, so that the trap can look at the folder.
    let script = format!("set -e; {prepare}\n{INIT} --force --names bridge --no-cni-conf");
    fs::create_dir_all(node.path("bin")).unwrap();
    let output = node
        .command("unshare", &["--mount", "sh", "-c", &script])
        .current_dir(node.path(""))
        .output()
        .unwrap();
    let text = said(&output);
    assert!(!output.status.success());
    assert!(text.contains("bin/bridge") && text.contains("make room"), "{text}");
    let seen = String::from_utf8(output.stdout).unwrap();
    assert_eq!(seen, "bridge\nbridge.before-routerd\nold\n");
}
