//! The network configuration lists.

use std::path::Path;

use serde_json::{Value, json};

/// The names of the plugin besides its own.
pub(super) const NAMES: [&str; 6] = ["bridge", "host-local", "loopback", "portmap", "bandwidth", "tuning"];

/// Every version of the protocol, oldest first.
pub(super) const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The Ethernet address that tuning gives to a pod.
pub(super) const MAC: &str = "0a:58:0a:2c:00:42";

/// How the plugins of a list are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One after the other, as for the reference plugins.
    Chain,
    /// All but tuning in one.
    One,
}

/// True if `version` is at least `other`.
pub(super) fn since(version: &str, other: &str) -> bool {
    let place = |wanted: &str| VERSIONS.iter().position(|one| *one == wanted);
    place(version) >= place(other)
}

/// What a runtime knows of a pod: two host ports and limits in both directions.
pub(super) fn capabilities() -> Value {
    let mapping = |protocol: &str, port: u16| json!({"hostPort": 8080, "containerPort": port, "protocol": protocol, "hostIP": ""});
    json!({
        "portMappings": [mapping("tcp", 80), mapping("udp", 53)],
        "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000},
    })
}

/// A list of the name `name`; addresses and settings are kept below `folder`.
pub(super) fn list(form: Form, version: &str, name: &str, folder: &Path) -> Value {
    let mut plugins = match form {
        Form::Chain => {
            vec![bridge("bridge", folder), tuning(folder), with_capability("portmap", "portMappings")]
        }
        Form::One => vec![one(folder)],
    };
    // It exists since 0.3.0, the first version whose results name interfaces.
    if form == Form::Chain && since(version, "0.3.0") {
        plugins.push(with_capability("bandwidth", "bandwidth"));
    }
    json!({"cniVersion": version, "name": name, "plugins": plugins})
}

/// A list whose plugins leave nothing in the packet filter: of that each side has its own form.
pub(super) fn unfiltered(version: &str, name: &str, folder: &Path) -> Value {
    let mut list = list(Form::Chain, version, name, folder);
    list["plugins"][0]["ipMasq"] = json!(false);
    if let Some(plugins) = list["plugins"].as_array_mut() {
        plugins.retain(|plugin| plugin["type"] != "portmap");
        for tuning in plugins.iter_mut().filter(|plugin| plugin["type"] == "tuning") {
            tuning["mtu"] = json!(1400);
            tuning["promisc"] = json!(true);
            tuning["txQLen"] = json!(500);
        }
    }
    list
}

/// A list of one plugin without settings.
pub(super) fn single(kind: &str, version: &str) -> Value {
    json!({"cniVersion": version, "name": "single", "plugins": [{"type": kind}]})
}

fn bridge(kind: &str, folder: &Path) -> Value {
    json!({
        "type": kind, "bridge": "br-peers", "isDefaultGateway": true, "hairpinMode": true, "ipMasq": true,
        "ipam": {
            "type": "host-local", "dataDir": folder.join("leases"),
            "ranges": [[{"subnet": "10.44.0.0/24"}], [{"subnet": "fd44::/64"}]],
        },
    })
}

fn one(folder: &Path) -> Value {
    let mut entry = bridge("routerd-cni", folder);
    entry["capabilities"] = json!({"portMappings": true, "bandwidth": true});
    // There is no daemon here, and its absence is no failure.
    entry["routerd"] = json!({"socket": folder.join("no.sock"), "required": false});
    entry
}

fn tuning(folder: &Path) -> Value {
    json!({"type": "tuning", "dataDir": folder.join("tuning"), "mac": MAC,
        "sysctl": {"net.core.somaxconn": "512", "net.ipv4.conf.IFNAME.arp_filter": "1"}})
}

fn with_capability(kind: &str, capability: &str) -> Value {
    json!({"type": kind, "capabilities": {capability: true}})
}
