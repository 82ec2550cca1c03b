//! A node with both plugins, and what its kernel holds, as other programs see it.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use kernel::testing::TestNs;
use serde_json::{Value, json};
use tempfile::TempDir;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Debian's package `containernetworking-plugins`, 1.1.1.
const REFERENCE: &str = "/usr/lib/cni";

/// A node: its namespace, and a folder for leases and for our plugin under every name.
pub(crate) struct Node {
    pub(crate) ns: TestNs,
    folder: TempDir,
}

/// A pod: its namespace and its container's id.
pub(crate) struct Pod {
    pub(crate) ns: TestNs,
    pub(crate) id: String,
    pub(crate) port: u16,
}

/// Whose plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Ours,
    Theirs,
}

impl Pod {
    pub(crate) fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("container-{}-{number}", std::process::id());
        Self { ns: TestNs::new("pod"), id, port: 8000 + u16::try_from(number).unwrap() }
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["routerd-cni", "bridge", "host-local", "portmap", "bandwidth"] {
            symlink(env!("CARGO_BIN_EXE_routerd-cni"), folder.path().join(name)).unwrap();
        }
        Self { ns: TestNs::new("node"), folder }
    }

    fn plugins(&self, who: Who) -> PathBuf {
        match who {
            Who::Ours => self.folder.path().to_owned(),
            Who::Theirs => REFERENCE.into(),
        }
    }

    /// The bridge's entry: dual stack, masquerading.
    pub(crate) fn bridge(&self) -> Value {
        json!({
            "cniVersion": "1.0.0", "name": "net", "type": "bridge", "isDefaultGateway": true, "ipMasq": true,
            "ipam": {
                "type": "host-local", "dataDir": self.folder.path().join("leases"),
                "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]],
            },
        })
    }

    /// A whole chain, in the order of an ADD: spoof check, masquerading, a mapping of each protocol, limits.
    pub(crate) fn chain(&self, pod: &Pod) -> Vec<Value> {
        let mut bridge = self.bridge();
        bridge["macspoofchk"] = json!(true);
        let mappings = json!([
            {"hostPort": pod.port, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": pod.port, "containerPort": 53, "protocol": "udp"},
        ]);
        let rates = json!({"ingressRate": 80_000_000, "ingressBurst": 8_000_000, "egressRate": 80_000_000,
                           "egressBurst": 8_000_000});
        let of = |kind: &str, runtime: Value| json!({"cniVersion": "1.0.0", "name": "net", "type": kind, "runtimeConfig": runtime});
        vec![
            bridge,
            of("portmap", json!({ "portMappings": mappings })),
            of("bandwidth", json!({ "bandwidth": rates })),
        ]
    }

    /// ADD of all plugins; the last one's result.
    pub(crate) fn add(&self, who: Who, pod: &Pod, chain: &[Value]) -> Value {
        let mut result = Value::Null;
        for conf in chain {
            result = self.call(who, "ADD", pod, &pod.ns.path(), &with_result(conf, &result)).unwrap();
        }
        result
    }

    /// DEL of all plugins in reverse, with the namespace as given and the result if there is one.
    pub(crate) fn del(&self, who: Who, pod: &Pod, netns: &str, chain: &[Value], result: &Value) {
        for conf in chain.iter().rev() {
            self.call(who, "DEL", pod, netns, &with_result(conf, result)).unwrap();
        }
    }

    /// One call; what a failing plugin says is the error.
    pub(crate) fn call(
        &self,
        who: Who,
        verb: &str,
        pod: &Pod,
        netns: &str,
        conf: &Value,
    ) -> Result<Value, String> {
        let folder = self.plugins(who);
        let program = folder.join(conf["type"].as_str().unwrap());
        assert!(program.exists(), "install Debian's containernetworking-plugins");
        let mut child = self
            .ns
            .command(program.to_str().unwrap())
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &pod.id)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A plugin that refuses what it was asked by its environment does not read this.
        drop(child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(serde_json::from_str(&text).unwrap_or(Value::Null));
        }
        Err(format!("{verb} by {}: {text} {}", program.display(), String::from_utf8_lossy(&output.stderr)))
    }

    /// The addresses that are leased, in order.
    pub(crate) fn leases(&self) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.leases_folder()) else { return Vec::new() };
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut leases: Vec<String> = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect();
        leases.sort();
        leases
    }

    fn leases_folder(&self) -> impl AsRef<Path> {
        self.folder.path().join("leases/net")
    }

    /// Everything a pod can leave on a node: rules as `nft` and both `iptables` see them, devices, leases.
    pub(crate) fn holds(&self) -> Vec<String> {
        let mut lines = self.rules();
        let links: Value = serde_json::from_str(&self.ns.run("ip", &["-j", "link", "show"])).unwrap();
        let names = links.as_array().unwrap().iter().filter_map(|link| link["ifname"].as_str());
        lines.extend(names.map(|name| format!("link {name}")));
        lines.extend(self.leases().iter().map(|address| format!("lease {address}")));
        lines
    }

    /// The rules, without their figures.
    pub(crate) fn rules(&self) -> Vec<String> {
        let mut text = self.ns.run("nft", &["-s", "list", "ruleset"]);
        text += &self.ns.run("iptables-save", &["-t", "nat"]);
        text += &self.ns.run("ip6tables-save", &["-t", "nat"]);
        let kept = text.lines().filter(|line| !line.starts_with('#'));
        kept.map(|line| line.split(" [").next().unwrap_or(line).to_owned()).collect()
    }

    /// The lines of `nft list ruleset` with this text.
    pub(crate) fn rules_with(&self, text: &str) -> Vec<String> {
        let rules = self.ns.run("nft", &["-s", "list", "ruleset"]);
        rules.lines().filter(|line| line.contains(text)).map(|line| line.trim().to_owned()).collect()
    }
}

pub(crate) fn with_result(conf: &Value, result: &Value) -> Value {
    let mut conf = conf.clone();
    if !result.is_null() {
        conf["prevResult"] = result.clone();
    }
    conf
}
