//! A node with a neighbour outside and pods, each a network namespace; the plugin as a runtime calls it.
#![expect(clippy::disallowed_methods, reason = "the plugin is tested as the process that a runtime starts")]

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use kernel::testing::TestNs;
use serde_json::{Value, json};
use tempfile::TempDir;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The node's addresses towards the neighbour, and the neighbour's.
pub(crate) const NODE4: &str = "192.0.2.1";
pub(crate) const NODE6: &str = "2001:db8::1";
pub(crate) const OUTSIDE4: &str = "192.0.2.9";
pub(crate) const OUTSIDE6: &str = "2001:db8::9";

/// A node and its neighbour on a wire.
pub(crate) struct World {
    pub(crate) node: TestNs,
    pub(crate) outside: TestNs,
    folder: TempDir,
}

/// A pod: its namespace and its container's id.
pub(crate) struct Pod {
    pub(crate) ns: TestNs,
    pub(crate) id: String,
    pub(crate) ifname: &'static str,
}

impl Pod {
    pub(crate) fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("container-{}-{number}", std::process::id());
        Self { ns: TestNs::new("nfpod"), id, ifname: "eth0" }
    }
}

/// What the plugin answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn result(self) -> Value {
        assert!(self.success, "{} {}", self.json, self.stderr);
        self.json
    }

    /// Message and details of a failure.
    pub(crate) fn error(self) -> String {
        assert!(!self.success, "it worked: {}", self.json);
        let text = |key: &str| self.json[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("msg"), text("details"))
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["routerd-cni", "bridge", "portmap"] {
            let plugin = env!("CARGO_BIN_EXE_routerd-cni");
            std::os::unix::fs::symlink(plugin, folder.path().join(name)).unwrap();
        }
        let (node, outside) = (TestNs::new("nfnode"), TestNs::new("nfout"));
        node.run(
            "ip",
            &["link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", outside.name()],
        );
        for (ns, v4, v6) in [(&node, NODE4, NODE6), (&outside, OUTSIDE4, OUTSIDE6)] {
            ns.run("ip", &["address", "add", &format!("{v4}/24"), "dev", "wan"]);
            ns.run("ip", &["address", "add", &format!("{v6}/64"), "dev", "wan", "nodad"]);
            ns.run("ip", &["link", "set", "wan", "up"]);
        }
        Self { node, outside, folder }
    }

    /// The configuration of `bridge` in a network `name`; `changes` go over it.
    pub(crate) fn network(&self, changes: &Value) -> Value {
        let mut conf = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0", "isDefaultGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": self.folder.path().join("leases"),
                "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]],
            },
        });
        merge(&mut conf, changes);
        conf
    }

    /// The same for everything in one run, with no daemon.
    pub(crate) fn one_run(&self, changes: &Value) -> Value {
        let routerd = json!({"socket": self.folder.path().join("nobody.sock"), "required": false});
        let mut conf = self.network(&json!({"type": "routerd-cni", "routerd": routerd}));
        merge(&mut conf, changes);
        conf
    }

    /// Calls the plugin that the configuration names.
    pub(crate) fn call(&self, command: &str, pod: &Pod, netns: &str, conf: &Value) -> Answer {
        finish(self.start(command, pod, netns, conf))
    }

    /// Starts the plugin and gives it its configuration.
    pub(crate) fn start(&self, command: &str, pod: &Pod, netns: &str, conf: &Value) -> Child {
        let mut child = Command::new("ip")
            .args(["netns", "exec", self.node.name()])
            .arg(self.folder.path().join(conf["type"].as_str().unwrap()))
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &pod.id)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", pod.ifname)
            .env("CNI_PATH", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A plugin that refuses what it was asked by its environment does not read this.
        drop(child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()));
        child
    }

    pub(crate) fn add(&self, pod: &Pod, conf: &Value) -> Answer {
        self.call("ADD", pod, &pod.ns.path(), conf)
    }

    pub(crate) fn del(&self, pod: &Pod, conf: &Value) -> Answer {
        self.call("DEL", pod, &pod.ns.path(), conf)
    }

    /// A pod made in one run with these mappings.
    pub(crate) fn mapped(&self, mappings: &Value) -> (Pod, Value) {
        let pod = Pod::new();
        let conf = self.one_run(&with_ports(mappings));
        let result = self.add(&pod, &conf).result();
        (pod, result)
    }

    /// The rule set as `nft` sees it.
    pub(crate) fn rules(&self) -> String {
        self.node.run("nft", &["list", "ruleset"])
    }

    /// The elements of attachments, one a line.
    pub(crate) fn elements(&self) -> Vec<String> {
        let rules = self.rules();
        let tagged = |line: &&str| line.contains("comment \"routerd-cni:");
        rules.lines().filter(tagged).map(|line| line.trim().to_owned()).collect()
    }
}

pub(crate) fn finish(child: Child) -> Answer {
    let output = child.wait_with_output().unwrap();
    Answer {
        success: output.status.success(),
        json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What a runtime adds for a pod with host ports.
pub(crate) fn with_ports(mappings: &Value) -> Value {
    json!({"runtimeConfig": {"portMappings": mappings}})
}

/// One mapping.
pub(crate) fn port(protocol: &str, host: u16, container: u16) -> Value {
    json!({"hostPort": host, "containerPort": container, "protocol": protocol})
}

/// The pod's address of a family in a result.
pub(crate) fn address(result: &Value, v6: bool) -> String {
    let addresses = result["ips"].as_array().unwrap().iter();
    let mut plain = addresses.map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().to_owned());
    plain.find(|address| address.contains(':') == v6).unwrap()
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
