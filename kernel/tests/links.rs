//! Links as `ip -j link` sees them.

use std::time::Duration;

use kernel::rtnl::{
    Among, BridgeOptions, BridgePort, LinkChange, LinkKind, MacAddress, NewLink, OperState, Rtnl, VethPeer,
};
use kernel::testing::{Churn, TestNs};

fn seen(namespace: &TestNs, name: &str) -> String {
    namespace.run("ip", &["-d", "link", "show", "dev", name])
}

const MAC: MacAddress = MacAddress([0x0a, 0x58, 0x0a, 0xf4, 1, 2]);

#[test]
fn a_pairs_peer_is_born_in_the_other_namespace_with_all_its_settings() {
    let (host, pod) = (TestNs::new("host"), TestNs::new("pod"));
    let mut rtnl = Rtnl::open_in(host.namespace()).unwrap();
    rtnl.create_link(&NewLink { up: true, ..NewLink::bridge("br0", BridgeOptions::default()) }).unwrap();
    let bridge = rtnl.link_by_name("br0").unwrap().unwrap();
    let peer = VethPeer { name: "eth0", mtu: Some(1400), mac: Some(MAC), netns: Some(pod.namespace()) };
    let pair =
        NewLink { mtu: Some(1400), master: Some(bridge.index), up: true, ..NewLink::veth("veth0", peer) };
    rtnl.create_link(&pair).unwrap();

    let inside = seen(&pod, "eth0");
    assert!(inside.contains("mtu 1400") && inside.contains(&MAC.to_string()), "{inside}");
    let outside = seen(&host, "veth0");
    assert!(outside.contains("mtu 1400") && outside.contains("master br0"), "{outside}");

    let ours = rtnl.link_by_name("veth0").unwrap().unwrap();
    assert_eq!((ours.kind, ours.master, ours.up), (LinkKind::Veth, Some(bridge.index), true));
    assert!(ours.peer_netns.is_some(), "the peer is elsewhere");
    let theirs = Rtnl::open_in(pod.namespace()).unwrap().link_by_name("eth0").unwrap().unwrap();
    assert_eq!((theirs.mac, theirs.mtu, theirs.up), (Some(MAC), 1400, false));
    assert_eq!((theirs.peer_index, ours.peer_index), (Some(ours.index), Some(theirs.index)));
}

#[test]
fn a_name_that_is_taken_in_the_other_namespace_makes_nothing() {
    let (host, pod) = (TestNs::new("host"), TestNs::new("pod"));
    pod.run("ip", &["link", "add", "eth0", "type", "bridge"]);
    let mut rtnl = Rtnl::open_in(host.namespace()).unwrap();
    let peer = VethPeer { name: "eth0", netns: Some(pod.namespace()), ..VethPeer::default() };
    let error = rtnl.create_link(&NewLink::veth("veth0", peer)).unwrap_err();
    assert!(error.is_exists(), "{error}");
    assert!(error.operation.contains("veth0") && error.operation.contains("eth0"), "{error}");
    assert_eq!(rtnl.link_by_name("veth0").unwrap(), None);
}

#[test]
fn the_settings_of_a_bridge_port_arrive() {
    let namespace = TestNs::new("port");
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    rtnl.create_link(&NewLink::bridge("br0", BridgeOptions::default())).unwrap();
    rtnl.create_link(&NewLink::veth("a", VethPeer { name: "b", ..VethPeer::default() })).unwrap();
    let (bridge, port) =
        (rtnl.link_by_name("br0").unwrap().unwrap(), rtnl.link_by_name("a").unwrap().unwrap());
    rtnl.set_master(port.index, Some(bridge.index)).unwrap();
    let both = Some(BridgePort { hairpin: true, isolated: true });
    let change = LinkChange { port: both, alias: Some("pod c1 eth0"), ..LinkChange::default() };
    rtnl.change_link(port.index, &change).unwrap();
    let text = seen(&namespace, "a");
    assert!(text.contains("hairpin on") && text.contains("isolated on"), "{text}");
    assert!(text.contains("alias pod c1 eth0"), "{text}");
    let read = rtnl.link_by_index(port.index).unwrap().unwrap();
    assert_eq!((read.port, read.alias.as_str()), (both, "pod c1 eth0"));
    rtnl.set_master(port.index, None).unwrap();
    assert_eq!(rtnl.link_by_index(port.index).unwrap().unwrap().master, None);
}

#[test]
fn one_change_sets_several_things_and_leaves_the_others() {
    let namespace = TestNs::new("change");
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    rtnl.create_link(&NewLink::veth("a", VethPeer { name: "b", ..VethPeer::default() })).unwrap();
    let index = rtnl.link_by_name("a").unwrap().unwrap().index;
    let change = LinkChange {
        up: Some(true),
        mtu: Some(1300),
        mac: Some(MAC),
        promiscuous: Some(true),
        ..LinkChange::default()
    };
    rtnl.change_link(index, &change).unwrap();
    let link = rtnl.link_by_index(index).unwrap().unwrap();
    assert_eq!((link.up, link.mtu, link.mac, link.promiscuous), (true, 1300, Some(MAC), true));
    assert_eq!(link.oper_state, OperState::LowerLayerDown, "the other end is down");
    rtnl.set_down(index).unwrap();
    rtnl.change_link(index, &LinkChange { name: Some("renamed"), ..LinkChange::default() }).unwrap();
    let link = rtnl.link_by_name("renamed").unwrap().unwrap();
    assert_eq!((link.up, link.mtu, link.promiscuous), (false, 1300, true));
}

/// A setting below `/proc/sys/net` of the namespace.
fn setting(namespace: &TestNs, path: &str) -> String {
    namespace.run("cat", &[&format!("/proc/sys/net/{path}")])
}

#[test]
fn the_settings_of_families_arrive_and_are_read_back() {
    let namespace = TestNs::new("family");
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    for (a, b) in [("quiet", "peer1"), ("normal", "peer2")] {
        rtnl.create_link(&NewLink::veth(a, VethPeer { name: b, ..VethPeer::default() })).unwrap();
    }
    let quiet = LinkChange { link_local: Some(false), arp_notify: Some(true), ..LinkChange::default() };
    let index = rtnl.link_by_name("quiet").unwrap().unwrap().index;
    rtnl.change_link(index, &quiet).unwrap();
    for name in ["quiet", "peer1", "normal", "peer2"] {
        let index = rtnl.link_by_name(name).unwrap().unwrap().index;
        rtnl.set_up(index).unwrap();
    }
    assert_eq!(setting(&namespace, "ipv4/conf/quiet/arp_notify"), "1\n");
    assert_eq!(setting(&namespace, "ipv6/conf/quiet/addr_gen_mode"), "1\n");
    assert_eq!(setting(&namespace, "ipv4/conf/normal/arp_notify"), "0\n");
    let text = seen(&namespace, "quiet");
    assert!(text.contains("addrgenmode none"), "{text}");
    let has_link_local = |rtnl: &mut Rtnl, name: &str| {
        let index = rtnl.link_by_name(name).unwrap().unwrap().index;
        !rtnl.addresses(Some(index), Some(prefix::Family::V6)).unwrap().is_empty()
    };
    while !has_link_local(&mut rtnl, "normal") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(!has_link_local(&mut rtnl, "quiet"));
    assert_eq!(rtnl.link_by_name("quiet").unwrap().unwrap().accept_ra, Some(1));
    namespace
        .namespace()
        .run_in(|| std::fs::write("/proc/sys/net/ipv6/conf/quiet/accept_ra", "0"))
        .unwrap()
        .unwrap();
    assert_eq!(rtnl.link_by_name("quiet").unwrap().unwrap().accept_ra, Some(0));
    let small = LinkChange { mtu: Some(1000), ..LinkChange::default() };
    rtnl.change_link(index, &small).unwrap();
    assert_eq!(rtnl.link_by_name("quiet").unwrap().unwrap().accept_ra, None, "no IPv6 below 1280");
    assert!(rtnl.change_link(index, &quiet).unwrap_err().is_unsupported());
}

#[test]
fn whether_a_namespace_forwards_is_told() {
    let namespace = TestNs::new("forwards");
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    for (family, key) in
        [(prefix::Family::V4, "ipv4/ip_forward"), (prefix::Family::V6, "ipv6/conf/all/forwarding")]
    {
        for (value, told) in [("1", true), ("0", false)] {
            let path = format!("/proc/sys/net/{key}");
            namespace.namespace().run_in(|| std::fs::write(&path, value)).unwrap().unwrap();
            assert_eq!(rtnl.forwards(family).unwrap(), told, "{key}={value}");
        }
    }
}

#[test]
fn a_deleted_link_is_gone_and_a_second_time_is_no_error() {
    let namespace = TestNs::new("delete");
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    rtnl.create_link(&NewLink::veth("a", VethPeer { name: "b", ..VethPeer::default() })).unwrap();
    assert_eq!(rtnl.links().unwrap().len(), 3, "lo and the pair");
    assert!(rtnl.delete_link_by_name("a").unwrap());
    assert!(!rtnl.delete_link_by_name("a").unwrap());
    assert!(rtnl.delete_link(12345).unwrap_err().is_not_found());
    assert_eq!(rtnl.links().unwrap().len(), 1);
    assert_eq!(rtnl.links().unwrap()[0].kind, LinkKind::Device);
}

#[test]
fn bad_names_are_refused_with_the_name() {
    let mut rtnl = Rtnl::open().unwrap();
    for name in ["", "a name", "sixteen-bytes-xx", "a/b", "..", "a:b"] {
        let error = rtnl.create_link(&NewLink::bridge(name, BridgeOptions::default())).unwrap_err();
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
}

#[test]
fn links_that_are_deleted_together_go_and_others_and_gone_ones_do_not_matter() {
    let namespace = TestNs::new("together");
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    let all = |rtnl: &mut Rtnl| -> Vec<u32> {
        ["a", "c", "stays"]
            .iter()
            .filter_map(|name| rtnl.link_by_name(name).unwrap())
            .map(|l| l.index)
            .collect()
    };
    for round in 0..3 {
        for (name, peer) in [("a", "b"), ("c", "d")] {
            rtnl.create_link(&NewLink::veth(name, VethPeer { name: peer, ..VethPeer::default() })).unwrap();
        }
        if round == 0 {
            rtnl.create_link(&NewLink::ifb("stays")).unwrap();
        }
        let indexes = all(&mut rtnl);
        match round {
            0 => rtnl.delete_links(&indexes[..2]).unwrap(),
            // One is gone before.
            1 => {
                rtnl.delete_link(indexes[0]).unwrap();
                rtnl.delete_links(&indexes[..2]).unwrap();
            }
            _ => indexes[..2].iter().for_each(|index| rtnl.delete_links(&[*index]).unwrap()),
        }
        assert_eq!(all(&mut rtnl), indexes[2..], "round {round}");
    }
    rtnl.delete_links(&[]).unwrap();
}

#[test]
fn one_link_is_found_or_missed_while_others_come_and_go_all_the_time() {
    let namespace = TestNs::new("find");
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    rtnl.create_link(&NewLink::bridge("br0", BridgeOptions::default())).unwrap();
    let bridge = rtnl.link_by_name("br0").unwrap().unwrap();
    rtnl.create_link(&NewLink {
        master: Some(bridge.index),
        ..NewLink::veth("port", VethPeer { name: "far", ..VethPeer::default() })
    })
    .unwrap();
    let port = rtnl.link_by_name("port").unwrap().unwrap();
    let churn = Churn::start(&namespace);
    for _ in 0..8 {
        for among in [Among::Kind(&LinkKind::Veth), Among::PortsOf(bridge.index)] {
            let found = rtnl.find_link(among, |link| link.name == "port").unwrap();
            assert_eq!(found.map(|link| link.index), Some(port.index), "{among}");
            assert_eq!(rtnl.find_link(among, |link| link.name == "nobody").unwrap(), None);
        }
        assert_eq!(rtnl.find_link(Among::PortsOf(bridge.index), |link| link.name == "far").unwrap(), None);
    }
    drop(churn);
}

#[test]
fn a_list_of_links_that_changes_overtake_is_asked_for_until_they_pause() {
    for _ in 0..4 {
        let namespace = TestNs::new("overtaken");
        let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
        let churn = Churn::start(&namespace);
        let listed = std::thread::scope(|scope| {
            let list = scope.spawn(|| rtnl.links());
            std::thread::sleep(Duration::from_millis(300));
            drop(churn);
            list.join().unwrap()
        });
        assert_eq!(listed.unwrap().iter().filter(|link| link.name.starts_with("idle")).count(), 800);
    }
}
