//! The janitor with real devices, leases and rules.

mod churn;
mod leftovers;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cni_plugin::Undo;
use cni_plugin::netfilter::{self, Entry};
use cni_plugin::socket::Attach;
use cni_plugin::tag::Tag;
use kernel::testing::TestNs;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;

use super::{Janitor, JanitorStatus, Settings};

/// A node with a bridge, and folders for everything that would be the node's.
struct World {
    node: TestNs,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let node = TestNs::new("janitor");
        node.run("ip", &["link", "add", "kube-bridge", "type", "bridge"]);
        node.run("ip", &["address", "add", "10.9.0.1/24", "dev", "kube-bridge"]);
        node.run("ip", &["link", "set", "kube-bridge", "up"]);
        let world = Self { node, folder: tempfile::tempdir().unwrap() };
        for name in ["netns", "results", "attachments", "leases/mynet", "leases/other"] {
            fs::create_dir_all(world.path(name)).unwrap();
        }
        let conflist = json!({"cniVersion": "1.0.0", "name": "mynet", "plugins": [{
            "type": "routerd-cni",
            "ipam": {"type": "host-local", "dataDir": world.path("leases"), "ranges": [[{"subnet": "10.9.0.0/24"}]]},
        }, {"type": "tuning", "dataDir": world.path("tuning")}]});
        fs::write(world.path("conflist"), conflist.to_string()).unwrap();
        fs::write(world.path("leases/mynet/lock"), "").unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, grace: Duration) -> Settings {
        Settings {
            every: Duration::from_millis(10),
            grace,
            conflist: self.path("conflist"),
            records: self.path("attachments"),
            results: self.path("results"),
        }
    }

    fn lease(&self, network: &str, address: &str, container: &str) {
        fs::write(self.path("leases").join(network).join(address), format!("{container}\r\neth0")).unwrap();
    }

    fn leases(&self, network: &str) -> Vec<String> {
        let names = fs::read_dir(self.path("leases").join(network)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect();
        names.sort();
        names
    }

    /// What libcni keeps of an attachment.
    fn cached(&self, container: &str, netns: &str) {
        let content = json!({
            "kind": "cniCacheV1", "containerId": container, "ifName": "eth0", "networkName": "mynet",
            "netns": self.path("netns").join(netns), "config": "", "result": {"interfaces": []},
        });
        fs::write(self.path("results").join(format!("mynet-{container}-eth0")), content.to_string()).unwrap();
    }

    /// A pair with the plugin's note and its far end nowhere.
    fn device(&self, name: &str, container: &str) {
        let alias = Tag::new("mynet", container, "eth0").to_string();
        self.node.run("ip", &["link", "add", name, "type", "veth", "peer", "name", &format!("{name}p")]);
        self.node.run("ip", &["link", "set", name, "alias", &alias]);
    }

    fn rules(&self, container: &str) {
        let tag = Tag::new("mynet", container, "eth0");
        let entry = Entry::Masquerade {
            address: "10.9.0.2".parse().unwrap(),
            subnet: "10.9.0.0/24".parse().unwrap(),
        };
        self.node.run_in(|| {
            let mut undo = Undo::new();
            netfilter::add(&tag, &[entry], &mut undo).unwrap();
            undo.keep();
        });
    }

    fn mapping(&self, chain: &str, address: &str) {
        let shared = "CNI-HOSTPORT-DNAT";
        self.node.succeeds("iptables", &["-t", "nat", "-N", shared]);
        let to = format!("{address}:80");
        for rule in [
            vec!["-N", chain],
            vec!["-A", chain, "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to-destination", &to],
            vec!["-A", shared, "-p", "tcp", "-m", "multiport", "--dports", "8080", "-j", chain],
        ] {
            self.node.run("iptables", &[vec!["-t", "nat"], rule].concat());
        }
    }

    fn has_rules(&self, container: &str) -> bool {
        self.node.run("nft", &["list", "ruleset"]).contains(&format!("mynet/{container}/eth0"))
    }

    fn has_link(&self, name: &str) -> bool {
        self.node.run("ip", &["-o", "link"]).contains(&format!(" {name}@"))
    }

    /// So many looks of a new janitor without a grace period.
    fn looks(&self, number: u32) -> JanitorStatus {
        let (publish, status) = watch::channel(JanitorStatus::default());
        let mut janitor = Janitor::new(self.settings(Duration::ZERO), publish);
        self.node.run_in(|| {
            (0..number).for_each(|_| janitor.round());
            janitor.count();
        });
        status.borrow().clone()
    }
}

#[test]
fn what_pods_of_before_a_restart_of_the_node_left_is_freed_without_any_del_and_others_leases_stay() {
    let world = World::new();
    for (address, container) in [("10.9.0.2", "c1"), ("10.9.0.3", "c2"), ("10.9.0.4", "c3")] {
        world.lease("mynet", address, container);
    }
    world.lease("other", "10.8.0.2", "c9");
    fs::write(world.path("leases/mynet/10.9.0.5"), "0ab1".repeat(16)).unwrap();
    // An administrator's, who keeps the address free.
    fs::write(world.path("leases/mynet/10.9.0.6"), "printer").unwrap();
    // The caches stay, too; the namespaces they name are gone. Of c3 not even that is left.
    world.cached("c1", "cni-1");
    world.cached("c2", "cni-2");
    world.rules("c1");
    let status = world.looks(1);
    assert_eq!((world.leases("mynet").len(), status.suspects), (5, 5), "one look frees nothing");
    let status = world.looks(2);
    assert_eq!(world.leases("mynet"), ["10.9.0.6"]);
    assert_eq!(world.leases("other"), ["10.8.0.2"]);
    assert!(!world.has_rules("c1"));
    assert_eq!(status.freed, BTreeMap::from([("lease", 4), ("netfilter", 1)]));
    assert!(status.last_freed.iter().any(|name| name.contains("10.9.0.4") && name.contains("mynet/c3/eth0")));
    assert_eq!((status.pools[0].used, status.pools[0].free), (1, 252));
    assert_eq!(status.problems, Vec::<String>::new());
}

#[test]
fn a_pod_whose_namespace_is_there_keeps_everything_though_its_device_is_gone() {
    let world = World::new();
    for (address, container) in [("10.9.0.2", "c1"), ("10.9.0.3", "c2")] {
        world.lease("mynet", address, container);
        world.rules(container);
        fs::write(world.path("netns").join(container), "").unwrap();
    }
    world.cached("c1", "c1");
    let record = Attach {
        network: "mynet".into(),
        container_id: "c2".into(),
        interface: "eth0".into(),
        netns: world.path("netns/c2"),
        ..Attach::default()
    };
    fs::write(world.path("attachments/c2@eth0.json"), serde_json::to_string(&record).unwrap()).unwrap();
    assert_eq!(world.looks(3).suspects, 0);
    assert_eq!(world.leases("mynet").len(), 2);
    assert!(world.has_rules("c1") && world.has_rules("c2"));
}

#[test]
fn a_device_of_ours_keeps_its_pod_until_the_namespace_is_known_to_be_gone() {
    let world = World::new();
    for (address, container) in [("10.9.0.2", "c1"), ("10.9.0.3", "c2")] {
        world.lease("mynet", address, container);
    }
    world.device("veth1", "c1");
    world.device("veth2", "c2");
    // The namespace of c2 is known and gone: a process that does not end keeps the device.
    world.cached("c2", "cni-2");
    let status = world.looks(2);
    assert_eq!(world.leases("mynet"), ["10.9.0.2"]);
    assert!(world.has_link("veth1") && !world.has_link("veth2"));
    assert_eq!(status.freed, BTreeMap::from([("device", 1), ("lease", 1)]));
    world.node.run("ip", &["link", "del", "veth1"]);
    world.looks(2);
    assert_eq!(world.leases("mynet"), Vec::<String>::new());
}

#[test]
fn a_pod_of_the_reference_plugin_that_left_no_trace_but_its_lease_is_called_on_the_bridge() {
    let (world, pod) = (World::new(), TestNs::new("ref"));
    let name = pod.name().to_owned();
    world.node.run("ip", &["link", "add", "vethref", "type", "veth", "peer", "name", "eth0", "netns", &name]);
    world.node.run("ip", &["link", "set", "vethref", "master", "kube-bridge", "up"]);
    pod.run("ip", &["address", "add", "10.9.0.2/24", "dev", "eth0"]);
    pod.run("ip", &["link", "set", "eth0", "up"]);
    world.lease("mynet", "10.9.0.2", "alive");
    world.lease("mynet", "10.9.0.3", "dead");
    // Its mapping, as portmap makes them with iptables: the name is a hash of network and container.
    let dead = "CNI-DN-911a3136ce0ff5ec4ce74";
    world.mapping(dead, "10.9.0.3");
    world.mapping("CNI-DN-000000000000000000000", "10.9.0.2");
    // Not even a firewall that drops all packets hides it.
    world.node.run("nft", &["add table ip closed; add chain ip closed out { type filter hook output priority 0; policy drop; }"]);
    let status = world.looks(3);
    assert_eq!(world.leases("mynet"), ["10.9.0.2"]);
    assert_eq!(status.freed, BTreeMap::from([("lease", 1)]));
    let rules = world.node.run("iptables-save", &["-t", "nat"]);
    assert!(!rules.contains(dead) && rules.contains("CNI-DN-0"), "{rules}");
    pod.run("ip", &["link", "del", "eth0"]);
    world.looks(2);
    assert_eq!(world.leases("mynet"), Vec::<String>::new());
}

#[test]
fn what_cannot_be_seen_frees_nothing_and_is_said() {
    let world = World::new();
    world.lease("mynet", "10.9.0.2", "c1");
    fs::remove_dir(world.path("results")).unwrap();
    fs::write(world.path("results"), "no folder").unwrap();
    let status = world.looks(3);
    assert_eq!(world.leases("mynet"), ["10.9.0.2"]);
    assert!(status.problems[0].contains("results"), "{status:?}");
    fs::write(world.path("conflist"), "{").unwrap();
    assert!(world.looks(1).problems[0].contains("conflist"));
}

#[test]
fn the_grace_period_is_kept_and_a_new_daemon_begins_it_anew() {
    let world = World::new();
    world.lease("mynet", "10.9.0.2", "c1");
    for _ in 0..3 {
        let (publish, status) = watch::channel(JanitorStatus::default());
        let mut janitor = Janitor::new(world.settings(Duration::from_mins(10)), publish);
        world.node.run_in(|| (0..4).for_each(|_| janitor.round()));
        assert_eq!(status.borrow().suspects, 1);
    }
    assert_eq!(world.leases("mynet"), ["10.9.0.2"]);
}

#[test]
fn settings_are_overridden_by_what_tests_say_and_by_no_nonsense() {
    let settings = Settings::new("/c".into(), "/r".into());
    let own =
        settings.clone().overridden(|name| (name == "ROUTERD_JANITOR_GRACE_MS").then(|| "50".to_owned()));
    assert_eq!((own.grace, own.every), (Duration::from_millis(50), settings.every));
    assert_eq!(settings.clone().overridden(|_| Some("x".to_owned())).grace, settings.grace);
}
