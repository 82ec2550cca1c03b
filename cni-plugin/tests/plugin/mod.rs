//! The plugin as a process under any of its names, called as a runtime calls it.
#![expect(clippy::disallowed_methods, reason = "the plugin is tested as the process that a runtime starts")]
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with the plugin under its names and a place for leases.
pub(crate) struct Installed {
    folder: TempDir,
}

/// What a process answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let status = output.status.code().unwrap_or(-1);
        Self { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Answer {
    /// Stdout of a success: a JSON object, or nothing.
    pub(crate) fn result(&self) -> Value {
        assert_eq!(self.status, 0, "{self:?}");
        if self.stdout.is_empty() { Value::Null } else { self.json() }
    }

    /// The code of a failure; stdout must be exactly one error object.
    pub(crate) fn code(&self) -> u64 {
        assert_ne!(self.status, 0, "{self:?}");
        let error = self.json();
        assert!(!error["msg"].as_str().unwrap().is_empty(), "{self:?}");
        error["code"].as_u64().unwrap()
    }

    /// The message of a failure.
    pub(crate) fn msg(&self) -> String {
        self.code();
        self.json()["msg"].as_str().unwrap().to_owned()
    }

    fn json(&self) -> Value {
        let value: Value =
            serde_json::from_str(&self.stdout).map_err(|error| format!("{error}: {self:?}")).unwrap();
        assert!(value.is_object(), "{self:?}");
        value
    }
}

impl Installed {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["routerd-cni", "bridge", "host-local", "loopback", "portmap", "bandwidth", "tuning", "renamed"]
        {
            symlink(env!("CARGO_BIN_EXE_routerd-cni"), folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the network `n` has its leases.
    pub(crate) fn lease_folder(&self) -> PathBuf {
        self.path().join("leases/n")
    }

    /// A configuration of the network `n` with the ranges of `ranges` and leases in this folder.
    pub(crate) fn host_local(&self, ranges: &Value) -> Value {
        let data_dir = self.path().join("leases");
        json!({
            "cniVersion": "1.0.0", "name": "n", "type": "host-local",
            "ipam": {"type": "host-local", "dataDir": data_dir, "ranges": ranges},
        })
    }

    /// The command for `program`, one of the names or a path, for the container `id` and `eth0`.
    pub(crate) fn command(&self, program: &str, operation: &str, id: &str) -> Command {
        let mut command = Command::new(self.path().join(program));
        command
            .env_clear()
            .env("CNI_COMMAND", operation)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", "/dev/null")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `program` with `conf` on stdin.
    pub(crate) fn run(&self, program: &str, operation: &str, id: &str, conf: &Value) -> Answer {
        finish(self.command(program, operation, id).spawn().unwrap(), conf.to_string().as_bytes())
    }

    /// The leased addresses, in order.
    pub(crate) fn leases(&self) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.lease_folder()) else { return Vec::new() };
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut leases: Vec<String> = names.filter(|name| name.parse::<IpAddr>().is_ok()).collect();
        leases.sort();
        leases
    }

    /// Every name in the folder of leases that is not there for good.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.lease_folder()) else { return Vec::new() };
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "lock" && !name.starts_with("last_reserved_ip.")).collect()
    }
}

/// Gives a process its stdin and waits for its end.
pub(crate) fn finish(mut child: Child, stdin: &[u8]) -> Answer {
    // A program that fails before it reads is no failure of the test.
    drop(child.stdin.take().unwrap().write_all(stdin));
    child.wait_with_output().unwrap().into()
}
