//! The installer as a process, on folders of its own.
#![expect(clippy::disallowed_methods, reason = "the installer is run as the container runtime runs it")]
#![expect(clippy::unwrap_used, reason = "test helpers: a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

struct Node {
    folder: TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(node.path("image")).unwrap();
        node.build("one");
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a plugin into the image that is told from other builds by `version`.
    fn build(&self, version: &str) {
        fs::write(self.path("image/routerd-cni"), format!("ELF /run/routerd/cni.sock {version}")).unwrap();
    }

    fn init(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_routerd-init"))
            .args(arguments)
            .env("LOCAL_BIN_PATH", self.path("image"))
            .env("HOST_BIN_PATH", self.path("bin"))
            .env("KUBE_ROUTER_CNI_CONF_FILE", self.path("net.d/10-kuberouter.conflist"))
            .output()
            .unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.init(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.init(arguments);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_fresh_node_gets_every_name_as_one_file_and_a_template_that_no_runtime_reads() {
    let node = Node::new();
    node.succeeds(&[]);
    assert_eq!(names(&node.path("bin")), ["bridge", "host-local", "loopback", "routerd-cni"]);
    let inode = |name: &str| fs::metadata(node.path("bin").join(name)).unwrap().ino();
    assert_eq!(inode("bridge"), inode("routerd-cni"));
    assert_eq!(fs::metadata(node.path("bin/loopback")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(names(&node.path("net.d")), ["10-kuberouter.conflist.template"]);
}

#[test]
fn a_second_run_changes_nothing_and_a_new_build_replaces_all_names() {
    let node = Node::new();
    node.succeeds(&[]);
    let said = node.succeeds(&[]);
    assert_eq!(said.matches("is current").count(), 4, "{said}");
    node.build("two");
    let said = node.succeeds(&[]);
    assert_eq!(said.matches("updated").count(), 4, "{said}");
    for name in names(&node.path("bin")) {
        assert!(fs::read_to_string(node.path("bin").join(name)).unwrap().ends_with("two"));
    }
}

#[test]
fn a_plugin_of_another_origin_is_kept_and_said_unless_forced() {
    let node = Node::new();
    fs::create_dir(node.path("bin")).unwrap();
    fs::write(node.path("bin/bridge"), "the reference plugin").unwrap();
    let said = node.succeeds(&[]);
    assert!(said.contains("kept") && said.contains("bin/bridge"), "{said}");
    assert_eq!(fs::read_to_string(node.path("bin/bridge")).unwrap(), "the reference plugin");
    let said = node.succeeds(&["--force"]);
    assert!(said.contains("replaced") && said.contains("bin/bridge"), "{said}");
    assert!(fs::read_to_string(node.path("bin/bridge")).unwrap().contains("routerd"));
}

#[test]
fn a_configuration_of_the_user_stays_byte_for_byte() {
    let node = Node::new();
    fs::create_dir(node.path("net.d")).unwrap();
    let mine = "{ \"name\": \"mine\",   \"plugins\": [] }";
    fs::write(node.path("net.d/10-kuberouter.conflist"), mine).unwrap();
    let said = node.succeeds(&[]);
    assert!(said.contains("kept"), "{said}");
    assert_eq!(fs::read_to_string(node.path("net.d/10-kuberouter.conflist")).unwrap(), mine);
}

#[test]
fn a_template_that_is_no_configuration_is_refused_with_the_reason_and_plugins_are_installed_all_the_same() {
    for (text, reason) in [
        ("{", "EOF"),
        ("[]", "no JSON object"),
        (r#"{"plugins": [{"type": "x"}]}"#, "name"),
        (r#"{"name": "n", "plugins": []}"#, "empty"),
        (r#"{"name": "n", "plugins": [{"kind": "x"}]}"#, "plugin 0"),
    ] {
        let node = Node::new();
        fs::write(node.path("mine.json"), text).unwrap();
        let said = node.fails(&["--cni-conf", node.path("mine.json").to_str().unwrap()]);
        assert!(said.contains(reason) && said.contains("mine.json"), "{said}");
        assert!(!node.path("net.d").exists());
        assert!(node.path("bin/routerd-cni").exists());
    }
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
fn an_image_without_the_plugin_or_with_another_one_is_an_error() {
    let node = Node::new();
    fs::write(node.path("image/routerd-cni"), "something else").unwrap();
    assert!(node.fails(&[]).contains("not routerd's plugin"));
    fs::remove_file(node.path("image/routerd-cni")).unwrap();
    assert!(node.fails(&[]).contains("read the plugin"));
}

#[test]
fn nothing_temporary_stays() {
    let node = Node::new();
    for version in ["a", "b"] {
        node.build(version);
        node.succeeds(&["--force"]);
    }
    assert!(names(&node.path("bin")).iter().all(|name| !name.starts_with('.')));
    assert!(names(&node.path("net.d")).iter().all(|name| !name.starts_with('.')));
}
