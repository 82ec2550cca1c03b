//! A node and pods, each a network namespace, and plugins called as libcni calls them: a process an operation, the
//! result of one as the `prevResult` of the next.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use kernel::testing::TestNs;
use serde_json::{Value, json};
use tempfile::TempDir;

static COUNTER: AtomicU32 = AtomicU32::new(0);
/// Where Debian's reference plugins are.
const REFERENCE: &str = "/usr/lib/cni";

pub(crate) const OURS: bool = true;
pub(crate) const THEIRS: bool = false;

/// A node: its namespace and a folder with the plugin under all names, leases and backups.
pub(crate) struct Node {
    pub(crate) ns: TestNs,
    folder: TempDir,
}

/// A pod: its namespace and its container's id.
pub(crate) struct Pod {
    pub(crate) ns: TestNs,
    pub(crate) id: String,
}

/// What a plugin answered.
#[derive(Debug)]
pub(crate) struct Answer {
    success: bool,
    stdout: String,
    /// For the panic's message.
    #[expect(dead_code, reason = "it is shown by Debug when a call went wrong")]
    stderr: String,
}

impl Answer {
    /// What a success printed.
    pub(crate) fn result(&self) -> Value {
        assert!(self.success, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// A success that has nothing to say.
    pub(crate) fn works(&self) {
        assert!(self.success, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
    }

    /// Code and words of a failure, which must be exactly one object.
    pub(crate) fn error(&self) -> (u64, String) {
        assert!(!self.success, "it worked: {self:?}");
        let error: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{self:?}"));
        let words =
            format!("{}; {}", error["msg"].as_str().unwrap(), error["details"].as_str().unwrap_or(""));
        (error["code"].as_u64().unwrap(), words)
    }
}

impl Pod {
    pub(crate) fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self { ns: TestNs::new("pod"), id: format!("container-{}-{number}", std::process::id()) }
    }
}

/// One call.
pub(crate) struct Call<'a> {
    pub(crate) program: &'a str,
    /// Our plugin, or the reference's.
    pub(crate) ours: bool,
    pub(crate) command: &'a str,
    pub(crate) ifname: &'a str,
    pub(crate) netns: &'a str,
    pub(crate) args: &'a str,
}

impl Node {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bridge", "bandwidth", "tuning", "portmap", "loopback", "routerd-cni"] {
            let link = folder.path().join(name);
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_routerd-cni"), link).unwrap();
        }
        Self { ns: TestNs::new("node"), folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of tuning's backups.
    pub(crate) fn backups(&self) -> PathBuf {
        self.folder.path().join("tuning-data")
    }

    /// The names of the backups.
    pub(crate) fn backup_names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.backups()) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A dual-stack network on `cni0`.
    pub(crate) fn bridge(&self, version: &str) -> Value {
        json!({
            "cniVersion": version, "name": "net", "type": "bridge", "isDefaultGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": self.folder.path().join("leases"),
                "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]],
            },
        })
    }

    /// The program of a call, or the one in a folder of its own.
    fn program(&self, call: &Call<'_>) -> PathBuf {
        let folder = if call.ours { self.folder.path() } else { Path::new(REFERENCE) };
        let program = folder.join(call.program);
        assert!(program.exists(), "install Debian's containernetworking-plugins: {}", program.display());
        program
    }

    pub(crate) fn call_with(&self, call: &Call<'_>, pod: &Pod, conf: &Value) -> Answer {
        let mut command = self.ns.command("env");
        command.arg(self.program(call));
        self.finish(command, call, pod, conf)
    }

    /// The call with the mount namespace changed before by the shell commands `before`.
    pub(crate) fn call_after(&self, before: &str, call: &Call<'_>, pod: &Pod, conf: &Value) -> Answer {
        let mut command = self.ns.command("unshare");
        let script = format!("{before} && exec {}", self.program(call).display());
        command.args(["--mount", "sh", "-c", &script]);
        self.finish(command, call, pod, conf)
    }

    fn finish(&self, mut command: Command, call: &Call<'_>, pod: &Pod, conf: &Value) -> Answer {
        let mut child = command
            .env("CNI_COMMAND", call.command)
            .env("CNI_CONTAINERID", &pod.id)
            .env("CNI_NETNS", call.netns)
            .env("CNI_IFNAME", call.ifname)
            .env("CNI_ARGS", call.args)
            .env("CNI_PATH", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A plugin that refuses what it was asked by its environment does not read this.
        drop(child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Answer {
            success: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// One of the plugins for `eth0` of a pod; which one says the configuration's `type`.
    pub(crate) fn call(&self, ours: bool, command: &str, pod: &Pod, conf: &Value) -> Answer {
        let path = pod.ns.path();
        let program = conf["type"].as_str().unwrap();
        let call = Call { program, ours, command, ifname: "eth0", netns: &path, args: "" };
        self.call_with(&call, pod, conf)
    }

    /// ADD by our bridge.
    pub(crate) fn wire(&self, pod: &Pod, version: &str) -> Value {
        self.call(OURS, "ADD", pod, &self.bridge(version)).result()
    }

    /// The names of the node's links of a kind.
    pub(crate) fn links(&self, kind: &str) -> Vec<String> {
        links(&self.ns, kind)
    }

    /// Our name for the host end in a result.
    pub(crate) fn host_end(result: &Value) -> String {
        result["interfaces"][1]["name"].as_str().unwrap().to_owned()
    }
}

/// The names of the links of a kind, as `ip` sees them.
pub(crate) fn links(ns: &TestNs, kind: &str) -> Vec<String> {
    let text = ns.run("ip", &["-j", "link", "show", "type", kind]);
    let list: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let list = list.as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|link| link["ifname"].as_str()).map(str::to_owned).collect()
}

/// What `ip` says of one link.
pub(crate) fn link(ns: &TestNs, name: &str) -> Value {
    let text = ns.run("ip", &["-d", "-j", "link", "show", "dev", name]);
    let list: Value = serde_json::from_str(&text).unwrap();
    list[0].clone()
}

/// `conf` with the keys of `more`.
pub(crate) fn with(conf: &Value, more: &Value) -> Value {
    let mut conf = conf.clone();
    for (key, value) in more.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

/// `conf` with a result before it.
pub(crate) fn after(conf: &Value, prev: &Value) -> Value {
    with(conf, &json!({ "prevResult": prev }))
}
