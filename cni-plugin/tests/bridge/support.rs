//! A node and pods, each a network namespace, and the plugin as a runtime calls it: one process an operation.
#![expect(clippy::disallowed_methods, reason = "the plugin is tested as the process that a runtime starts")]

use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kernel::testing::TestNs;
use serde_json::{Value, json};
use tempfile::TempDir;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The names of the plugin; a network's `type` says which one is called.
const PROGRAMS: [&str; 2] = ["bridge", "routerd-cni"];

/// A node: its namespace, its folder of leases, and the plugin.
pub(crate) struct Node {
    pub(crate) ns: TestNs,
    folder: TempDir,
}

/// A pod: its namespace and its container's id.
pub(crate) struct Pod {
    pub(crate) ns: TestNs,
    pub(crate) id: String,
}

/// What the plugin answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl Answer {
    /// The result of an ADD that worked.
    pub(crate) fn result(self) -> Value {
        assert!(self.success, "{} {}", self.json, self.stderr);
        self.json
    }

    /// The message of an operation that failed.
    pub(crate) fn error(self) -> String {
        assert!(!self.success, "it worked: {}", self.json);
        format!(
            "{} {}",
            self.json["msg"].as_str().unwrap(),
            self.json["details"].as_str().unwrap_or_default()
        )
    }

    pub(crate) fn works(self) {
        assert!(self.success, "{} {}", self.json, self.stderr);
    }
}

impl Pod {
    pub(crate) fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self { ns: TestNs::new("pod"), id: format!("container-{}-{number}", std::process::id()) }
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in PROGRAMS {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_routerd-cni"), folder.path().join(name)).unwrap();
        }
        Self { ns: TestNs::new("node"), folder }
    }

    /// Where the plugin and its leases lie; the only folder in `CNI_PATH`.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A network on `cni0` with IPv4 and IPv6, the node as gateway; `changes` go over it.
    pub(crate) fn network(&self, changes: &Value) -> Value {
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": "net", "type": "bridge", "isDefaultGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": self.folder.path().join("leases"),
                "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]],
            },
        });
        merge(&mut conf, changes);
        conf
    }

    /// Calls the plugin; `netns` as given, be it wrong.
    pub(crate) fn call(&self, command: &str, pod: &Pod, netns: &str, conf: &Value) -> Answer {
        self.call_with(command, pod, netns, conf, &[])
    }

    /// Calls the plugin with more variables.
    pub(crate) fn call_with(
        &self,
        command: &str,
        pod: &Pod,
        netns: &str,
        conf: &Value,
        more: &[(&str, &str)],
    ) -> Answer {
        self.call_by(
            Command::new("ip").args(["netns", "exec", self.ns.name()]),
            command,
            pod,
            netns,
            conf,
            more,
        )
    }

    /// The same by a `launcher` of the caller's, which gets the plugin as its last argument.
    pub(crate) fn call_by(
        &self,
        launcher: &mut Command,
        command: &str,
        pod: &Pod,
        netns: &str,
        conf: &Value,
        more: &[(&str, &str)],
    ) -> Answer {
        let program = conf["type"].as_str().filter(|name| PROGRAMS.contains(name)).unwrap_or("bridge");
        let mut child = launcher
            .arg(self.folder.path().join(program))
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &pod.id)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", self.folder.path())
            .envs(more.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A plugin that refuses what it was asked by its environment does not read this.
        drop(child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()));
        let output = child.wait_with_output().unwrap();
        Answer {
            success: output.status.success(),
            json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn add(&self, pod: &Pod, conf: &Value) -> Answer {
        self.call("ADD", pod, &pod.ns.path(), conf)
    }

    pub(crate) fn del(&self, pod: &Pod, conf: &Value) -> Answer {
        self.call("DEL", pod, &pod.ns.path(), conf)
    }

    /// The addresses that are leased, in order.
    pub(crate) fn leases(&self) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.folder.path().join("leases/net")) else { return Vec::new() };
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut leases: Vec<String> = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect();
        leases.sort();
        leases
    }

    /// The names of the node's links of a kind.
    pub(crate) fn links(&self, kind: &str) -> Vec<String> {
        links(&self.ns, &["type", kind])
    }

    /// Asserts that no pod left anything; a bridge may stay.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.leases(), Vec::<String>::new());
        assert_eq!(self.links("veth"), Vec::<String>::new());
    }
}

/// True if a datagram sent once from `from` reaches `address` in `to` and its answer comes back.
pub(crate) fn reaches(from: &TestNs, to: &TestNs, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    // A socket stays in the namespace where it was made.
    let server = to.run_in(|| UdpSocket::bind((address, 0)).unwrap());
    let port = server.local_addr().unwrap().port();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let client = from.run_in(|| UdpSocket::bind((any, 0)).unwrap());
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 8];
    if client.send_to(b"ping", (address, port)).is_err() {
        return false;
    }
    let Ok((length, sender)) = server.recv_from(&mut buffer) else { return false };
    server.send_to(&buffer[..length], sender).is_ok() && client.recv(&mut buffer).is_ok()
}

/// The names of links as `ip` sees them.
pub(crate) fn links(ns: &TestNs, which: &[&str]) -> Vec<String> {
    let mut arguments = vec!["-j", "link", "show"];
    arguments.extend(which);
    let text = ns.run("ip", &arguments);
    let list: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let list = list.as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|link| link["ifname"].as_str()).map(str::to_owned).collect()
}

/// Puts the keys of `changes` over those of `base`, objects key by key.
pub(crate) fn merge(base: &mut Value, changes: &Value) {
    match (base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(base.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
        (base, change) => *base = change.clone(),
    }
}
