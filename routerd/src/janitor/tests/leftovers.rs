//! What lies beside leases and devices: blocks of limited pods, tuning's files, and the rules that pods share.

use std::collections::BTreeMap;
use std::fs;

use cni_plugin::tag::Tag;
use serde_json::json;

use super::World;

impl World {
    /// A block (ifb) with the note of a pod, or without one, as the reference plugin makes it.
    fn block(&self, name: &str, container: Option<&str>) {
        self.node.run("ip", &["link", "add", name, "type", "ifb"]);
        if let Some(container) = container {
            let alias = Tag::new("mynet", container, "eth0").to_string();
            self.node.run("ip", &["link", "set", name, "alias", &alias]);
        }
    }

    /// A device whose arriving packets go to `block`.
    fn redirected_to(&self, block: &str) {
        self.node.run("ip", &["link", "add", "vethref", "type", "veth", "peer", "name", "far"]);
        self.node.run("tc", &["qdisc", "add", "dev", "vethref", "ingress"]);
        let filter = "filter add dev vethref parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev";
        let words: Vec<&str> = filter.split(' ').chain([block]).collect();
        self.node.run("tc", &words);
    }

    /// What `tuning` keeps of a pod's interface; the reference plugin does not say of whom.
    fn kept(&self, container: &str, network: Option<&str>) {
        fs::create_dir_all(self.path("tuning")).unwrap();
        let owner = network.map(|network| Tag::new(network, container, "eth0").to_string());
        let content = json!({"mtu": 1500, "owner": owner});
        fs::write(self.path("tuning").join(format!("{container}_eth0.json")), content.to_string()).unwrap();
    }

    fn has_block(&self, name: &str) -> bool {
        self.node.run("ip", &["-o", "link"]).contains(&format!(" {name}:"))
    }
}

#[test]
fn blocks_that_shape_nobodys_packets_go_with_and_without_a_note_and_others_stay() {
    let world = World::new();
    fs::write(world.path("netns/here"), "").unwrap();
    world.cached("here", "here");
    world.block("bwp00000000000a", Some("gone"));
    world.block("bwp00000000000b", Some("here"));
    // Of the reference plugin: one of a pod that is gone, one that a device sends packets to.
    world.block("bwp00000000000c", None);
    world.block("bwp00000000000d", None);
    world.redirected_to("bwp00000000000d");
    // Nobody's business: another name, another network.
    world.block("shaper", None);
    world.block("bwp00000000000e", None);
    world.node.run("ip", &["link", "set", "bwp00000000000e", "alias", "routerd-cni:other/gone/eth0"]);
    let status = world.looks(1);
    assert_eq!((status.suspects, world.has_block("bwp00000000000a")), (2, true), "{status:?}");
    let status = world.looks(2);
    assert_eq!((status.freed, status.problems), (BTreeMap::from([("ifb", 2)]), Vec::new()));
    let left = ["b", "d", "e"].map(|end| format!("bwp00000000000{end}"));
    assert!(left.iter().all(|name| world.has_block(name)) && world.has_block("shaper"));
    assert!(!world.has_block("bwp00000000000a") && !world.has_block("bwp00000000000c"));
    world.node.run("ip", &["link", "del", "vethref"]);
    assert_eq!(world.looks(2).freed, BTreeMap::from([("ifb", 1)]));
}

#[test]
fn what_tuning_kept_of_a_pod_that_is_gone_is_forgotten_and_of_others_not() {
    let world = World::new();
    fs::write(world.path("netns/here"), "").unwrap();
    world.cached("here", "here");
    world.kept("here", Some("mynet"));
    world.kept("gone", Some("mynet"));
    world.kept("others", Some("other"));
    world.kept("reference", None);
    let status = world.looks(2);
    assert_eq!((status.freed, status.problems), (BTreeMap::from([("tuning", 1)]), Vec::new()));
    let mut left: Vec<_> =
        fs::read_dir(world.path("tuning")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["here_eth0.json", "others_eth0.json", "reference_eth0.json"]);
}

#[test]
fn rules_that_pods_share_are_mended_and_the_pods_elements_stay() {
    let world = World::new();
    fs::write(world.path("netns/here"), "").unwrap();
    world.cached("here", "here");
    world.rules("here");
    let before = world.node.run("nft", &["-s", "list", "table", "inet", "routerd-cni"]);
    assert_eq!(world.looks(2).mended, 0);
    world.node.run("nft", &["flush", "chain", "inet", "routerd-cni", "postrouting"]);
    world.node.run("nft", &["add", "rule", "inet", "routerd-cni", "hostports", "drop"]);
    let status = world.looks(2);
    assert_eq!((status.mended, status.problems), (2, Vec::new()));
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines.sort();
        lines
    };
    let after = world.node.run("nft", &["-s", "list", "table", "inet", "routerd-cni"]);
    assert_eq!(sorted(&after), sorted(&before));
    // Without a pod the chain of its subnet is not needed any more.
    fs::remove_file(world.path("netns/here")).unwrap();
    let status = world.looks(2);
    assert_eq!(status.freed, BTreeMap::from([("netfilter", 1)]));
    assert!(!world.node.run("nft", &["list", "ruleset"]).contains("10.9.0.0"));
}
