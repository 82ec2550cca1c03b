//! A node's folders and an image.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub(crate) const ALL: [&str; 7] =
    ["bandwidth", "bridge", "host-local", "loopback", "portmap", "routerd-cni", "tuning"];

pub(crate) struct Node {
    folder: TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(node.path("image")).unwrap();
        node.build("one");
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a plugin into the image that is told from other builds by `version`.
    pub(crate) fn build(&self, version: &str) {
        fs::write(self.path("image/routerd-cni"), format!("ELF /run/routerd/cni.sock {version}")).unwrap();
    }

    /// Puts a plugin of another origin into the node's folder.
    pub(crate) fn foreign(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path("bin")).unwrap();
        fs::write(self.path("bin").join(name), content).unwrap();
        fs::set_permissions(self.path("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn configure(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path("net.d")).unwrap();
        fs::write(self.path("net.d").join(name), text).unwrap();
    }

    /// What the file of this name holds.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn inode(&self, name: &str) -> u64 {
        fs::symlink_metadata(self.path(name)).unwrap().ino()
    }

    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }

    /// The installer with the variables of kube-router's manifests.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("LOCAL_BIN_PATH", self.path("image"))
            .env("HOST_BIN_PATH", self.path("bin"))
            .env("KUBE_ROUTER_CNI_CONF_FILE", self.path("net.d/10-kuberouter.conflist"));
        command
    }

    pub(crate) fn init(&self, arguments: &[&str]) -> Output {
        self.command(INIT, arguments).output().unwrap()
    }

    pub(crate) fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.init(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.init(arguments);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

pub(crate) const INIT: &str = env!("CARGO_BIN_EXE_routerd-init");

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
