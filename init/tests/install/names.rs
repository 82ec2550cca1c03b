//! The names of the plugin.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::node::{ALL, INIT, Node};

#[test]
fn a_fresh_node_gets_every_name_as_one_file_and_a_template_that_no_runtime_reads() {
    let node = Node::new();
    node.succeeds(&[]);
    assert_eq!(node.names("bin"), ALL);
    for name in ALL {
        let path = format!("bin/{name}");
        assert_eq!(node.inode(&path), node.inode("bin/routerd-cni"), "{name}");
        assert_eq!(fs::metadata(node.path(&path)).unwrap().permissions().mode() & 0o7777, 0o755, "{name}");
    }
    assert_eq!(node.names("net.d"), ["10-kuberouter.conflist.template"]);
}

#[test]
fn only_the_names_asked_for_are_installed() {
    let node = Node::new();
    node.succeeds(&["--names", "routerd-cni,loopback"]);
    assert_eq!(node.names("bin"), ["loopback", "routerd-cni"]);
}

#[test]
fn a_second_run_changes_nothing_and_a_new_build_replaces_all_names() {
    let node = Node::new();
    node.succeeds(&[]);
    let before = node.inode("bin/bridge");
    let said = node.succeeds(&[]);
    assert_eq!(said.matches("is current").count(), ALL.len(), "{said}");
    assert_eq!(node.inode("bin/bridge"), before);
    node.build("two");
    let said = node.succeeds(&[]);
    assert_eq!(said.matches("updated").count(), ALL.len(), "{said}");
    for name in ALL {
        assert!(node.text(&format!("bin/{name}")).ends_with("two"), "{name}");
        assert_eq!(node.inode(&format!("bin/{name}")), node.inode("bin/routerd-cni"));
    }
}

#[test]
fn a_plugin_of_another_origin_is_kept_and_said_unless_forced_and_then_kept_aside() {
    let node = Node::new();
    node.foreign("bridge", "the reference plugin");
    let said = node.succeeds(&[]);
    assert!(said.contains("kept") && said.contains("bin/bridge"), "{said}");
    assert_eq!(node.text("bin/bridge"), "the reference plugin");
    let said = node.succeeds(&["--force"]);
    assert!(said.contains("replaced") && said.contains("bridge.before-routerd"), "{said}");
    assert!(node.text("bin/bridge").contains("routerd"));
    assert_eq!(node.text("bin/bridge.before-routerd"), "the reference plugin");
}

#[test]
fn restore_puts_back_what_was_replaced_and_removes_the_rest_and_nothing_foreign() {
    let node = Node::new();
    node.foreign("bridge", "the reference plugin");
    node.foreign("portmap", "kept as it is");
    node.foreign("firewall", "no name of ours");
    symlink("/usr/lib/cni/host-local", node.path("bin/host-local")).unwrap();
    let before = node.names("bin");
    node.succeeds(&["--force", "--names", "routerd-cni,bridge,host-local,tuning"]);
    let said = node.succeeds(&["--restore"]);
    assert!(said.contains("put back") && said.contains("removed"), "{said}");
    assert_eq!(node.names("bin"), before);
    assert_eq!(node.text("bin/bridge"), "the reference plugin");
    assert_eq!(node.text("bin/portmap"), "kept as it is");
    assert!(fs::symlink_metadata(node.path("bin/host-local")).unwrap().is_symlink());
    assert!(node.names("net.d").is_empty());
    assert_eq!(node.succeeds(&["--restore"]), "", "a second time there is nothing to do");
}

#[test]
fn a_foreign_file_that_cannot_be_executed_is_no_plugin() {
    let node = Node::new();
    node.foreign("portmap", "half a download");
    fs::set_permissions(node.path("bin/portmap"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = node.succeeds(&[]);
    assert!(said.contains("could not be executed"), "{said}");
    assert!(node.text("bin/portmap").contains("routerd"));
}

#[test]
fn a_copy_over_one_name_that_went_over_all_is_mended() {
    let node = Node::new();
    node.succeeds(&[]);
    // As `cp` does it: into the file that is there, which is every name's.
    fs::write(node.path("bin/bridge"), "another bridge").unwrap();
    assert_eq!(node.text("bin/host-local"), "another bridge");
    let said = node.succeeds(&[]);
    assert!(said.contains("went over all of them"), "{said}");
    for name in ALL {
        assert!(node.text(&format!("bin/{name}")).contains("routerd"), "{name}");
    }
}

#[test]
fn a_program_that_runs_under_the_name_is_replaced_all_the_same() {
    let node = Node::new();
    // A real program, so that the kernel refuses to write into its file while it runs.
    fs::create_dir(node.path("bin")).unwrap();
    fs::copy("/bin/sleep", node.path("bin/bridge")).unwrap();
    let mut running = Command::new(node.path("bin/bridge")).arg("600").stdout(Stdio::null()).spawn().unwrap();
    let refused = fs::OpenOptions::new().write(true).open(node.path("bin/bridge")).unwrap_err();
    let outcome = node.init(&["--force"]);
    let alive = running.try_wait().unwrap().is_none();
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::ExecutableFileBusy);
    assert!(outcome.status.success() && alive, "{}", String::from_utf8_lossy(&outcome.stderr));
    assert!(node.text("bin/bridge").contains("routerd"));
}

#[test]
fn an_image_without_the_plugin_or_with_another_one_is_an_error() {
    let node = Node::new();
    fs::write(node.path("image/routerd-cni"), "something else").unwrap();
    assert!(node.fails(&[]).contains("not routerd's plugin"));
    fs::remove_file(node.path("image/routerd-cni")).unwrap();
    assert!(node.fails(&[]).contains("read the plugin"));
}

#[test]
fn a_run_that_is_killed_leaves_each_name_whole_old_or_new_and_the_next_run_ends_the_work() {
    let node = Node::new();
    let padding = "x".repeat(500_000);
    node.build("first.");
    node.succeeds(&["--no-cni-conf"]);
    for round in 0_u64..40 {
        node.build(&format!("{padding} {round}."));
        let mut running = node.command(INIT, &["--no-cni-conf"]).stdout(Stdio::null()).spawn().unwrap();
        // Somewhere in it: the whole run takes some milliseconds.
        std::thread::sleep(Duration::from_micros(round * 250));
        // It may have ended.
        let _ = running.kill();
        running.wait().unwrap();
        for name in ALL {
            let there = node.text(&format!("bin/{name}"));
            assert!(there.starts_with("ELF") && there.ends_with('.'), "{name}: {} bytes", there.len());
        }
        if round % 10 == 9 {
            node.succeeds(&["--no-cni-conf"]);
            let last = format!(" {round}.");
            assert!(ALL.iter().all(|name| node.text(&format!("bin/{name}")).ends_with(&last)));
        }
    }
}

#[test]
fn a_variable_that_is_empty_is_as_one_that_is_not_set() {
    let node = Node::new();
    let mut command = node.command(INIT, &["--no-cni-conf"]);
    let output = command.env("LOCAL_BIN_PATH", "").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/usr/libexec/cni/routerd-cni"));
}

#[test]
fn nothing_temporary_stays_also_not_of_a_run_that_was_cut_off_long_ago() {
    let node = Node::new();
    for version in ["a", "b"] {
        node.build(version);
        node.succeeds(&["--force"]);
    }
    let (old, new) = (node.path("bin/.bridge.1.1.routerd-new"), node.path("bin/.bridge.1.2.routerd-new"));
    for path in [&old, &new] {
        fs::write(path, "half").unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_hours(1);
    fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    node.succeeds(&[]);
    assert!(!old.exists(), "a run of an hour ago has ended");
    assert!(new.exists(), "another run may be at it");
    fs::remove_file(new).unwrap();
    for folder in ["bin", "net.d"] {
        assert!(node.names(folder).iter().all(|name| !name.starts_with('.')), "{folder}");
    }
}
