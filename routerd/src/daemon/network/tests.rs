//! The plane on real devices.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kernel::rtnl::{Encapsulation, LinkKind};
use kernel::testing::TestNs;
use tempfile::TempDir;

use super::*;
use crate::cluster::objects::Node;
use crate::cluster::{Event, Object};
use crate::routing::Reach;

const TEMPLATE: &str =
    r#"{"name":"n","plugins":[{"type":"routerd-cni","bridge":"kube-bridge","ipam":{"type":"host-local"}}]}"#;

fn wanted(ranges: &[&str], addresses: &[&str]) -> BTreeMap<(), Wanted> {
    let mut index = Index::new("n1");
    index.apply(Event::Upsert(Object::Node(Node {
        name: "n1".into(),
        pod_cidrs: ranges.iter().map(|text| text.parse().unwrap()).collect(),
        internal_addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..Node::default()
    })));
    let families = if addresses.len() > 1 { Family::BOTH.to_vec() } else { vec![Family::V4] };
    let plane = Network { families };
    plane.desired(&index, &()).map(|value| ((), value)).into_iter().collect()
}

/// A folder with the template, and the half that writes beside it.
fn writer() -> (TempDir, PathBuf, Writer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.conflist");
    fs::write(folder.path().join("x.conflist.template"), TEMPLATE).unwrap();
    let writer = Writer { path: path.clone(), auto_mtu: true, policy: true, overlay: Overlay::OFF };
    (folder, path, writer)
}

/// A namespace with a device `up0` of this address and MTU.
fn node(address: &str, mtu: u32) -> TestNs {
    let namespace = TestNs::new("cni");
    device(&namespace, "up0", address, mtu);
    namespace
}

fn device(namespace: &TestNs, name: &str, address: &str, mtu: u32) {
    namespace.run("ip", &["link", "add", "name", name, "type", "bridge"]);
    namespace.run("ip", &["link", "set", name, "mtu", &mtu.to_string(), "up"]);
    namespace.run("ip", &["address", "add", address, "dev", name, "nodad"]);
}

fn path_mtu(namespace: &TestNs, addresses: &[&str]) -> Option<u32> {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    namespace.run_in(|| mtu::of_path(&mut Rtnl::open().unwrap(), &addresses).unwrap())
}

fn link_mtu(namespace: &TestNs, name: &str) -> u32 {
    namespace.run_in(|| Rtnl::open().unwrap().link_by_name(name).unwrap().unwrap().mtu)
}

#[test]
fn ranges_of_the_families_in_use_and_the_mtu_of_the_nodes_interface_are_written() {
    let namespace = node("192.0.2.1/24", 1404);
    let (_folder, path, mut writer) = writer();
    let desired = wanted(&["10.244.1.0/24", "fd00::/64"], &["192.0.2.1"]);
    let report = namespace.run_in(|| writer.apply(&desired, &Scope::Everything));
    assert_eq!((report.problems, report.writes), (Vec::new(), 1));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("10.244.1.0/24") && text.contains("1404") && !text.contains("fd00::"), "{text}");
    let again = namespace.run_in(|| writer.apply(&desired, &Scope::Everything));
    assert_eq!((again.writes, again.counts["pod MTU"]), (0, 1404));
}

#[test]
fn a_node_without_object_or_range_is_a_problem_that_says_what_to_do() {
    let (_folder, _, mut writer) = writer();
    writer.auto_mtu = false;
    let unknown = writer.apply(&BTreeMap::new(), &Scope::Everything);
    assert!(unknown.problems[0].message.contains("--hostname-override"));
    let bare = writer.apply(&wanted(&[], &["192.0.2.1"]), &Scope::Everything);
    assert!(bare.problems[0].message.contains("spec.podCIDR"), "{bare:?}");
}

#[test]
fn the_smallest_device_with_an_address_of_the_node_counts() {
    let namespace = node("192.0.2.1/24", 9000);
    device(&namespace, "up1", "2001:db8::1/64", 1500);
    device(&namespace, "storage", "198.51.100.1/24", 1280);
    assert_eq!(path_mtu(&namespace, &["192.0.2.1"]), Some(9000));
    assert_eq!(path_mtu(&namespace, &["192.0.2.1", "2001:db8::1"]), Some(1500));
    assert_eq!(path_mtu(&namespace, &["203.0.113.9"]), None, "it is on no device at the moment");
}

/// The configuration of a node with this address of 1500 bytes, and the MTU of pods in it, beside a node at `peer`.
fn pod_mtu(encapsulation: Encapsulation, reach: Reach, addresses: [&str; 2], peer: &str) -> u64 {
    let namespace = node("192.0.2.1/24", 1500);
    device(&namespace, "up1", "2001:db8::1/64", 1500);
    namespace.run("ip", &["route", "add", "default", "via", "192.0.2.254"]);
    namespace.run("ip", &["route", "add", "default", "via", "2001:db8::254"]);
    let (_folder, _, mut writer) = writer();
    writer.overlay = Overlay { reach, encapsulation };
    let mut desired = wanted(&["10.244.1.0/24"], &addresses);
    desired.get_mut(&()).unwrap().peers.insert(peer.parse().unwrap());
    namespace.run_in(|| writer.apply(&desired, &Scope::Everything)).counts["pod MTU"]
}

#[test]
fn new_pods_get_what_the_tunnels_carry_that_the_node_needs_and_full_size_without() {
    let own = ["192.0.2.1", "2001:db8::1"];
    let (near, far, far6) = ("192.0.2.9", "198.51.100.9", "2001:db8:f::9");
    for (encapsulation, reach, peer, expected) in [
        (Encapsulation::Bare, Reach::OtherSubnets, near, 1500),
        (Encapsulation::Bare, Reach::OtherSubnets, far, 1480),
        (Encapsulation::Bare, Reach::OtherSubnets, far6, 1460),
        (Encapsulation::Gue(5555), Reach::OtherSubnets, far, 1468),
        (Encapsulation::Gue(5555), Reach::Everywhere, near, 1468),
        (Encapsulation::Bare, Reach::Never, far, 1500),
    ] {
        assert_eq!(pod_mtu(encapsulation, reach, own, peer), expected, "{encapsulation:?} {reach:?} {peer}");
    }
}

#[test]
fn an_address_on_no_wire_is_reached_by_the_devices_of_routers() {
    let namespace = node("192.0.2.1/24", 1450);
    namespace.run("ip", &["address", "add", "203.0.113.1/32", "dev", "lo"]);
    assert_eq!(path_mtu(&namespace, &["203.0.113.1"]), None, "65536 of lo is nobody's path");
    namespace.run("ip", &["route", "add", "default", "via", "192.0.2.254"]);
    assert_eq!(path_mtu(&namespace, &["203.0.113.1"]), Some(1450));
}

#[test]
fn an_mtu_of_the_user_that_is_too_much_for_the_path_stays_and_is_a_problem() {
    let namespace = node("192.0.2.1/24", 1400);
    let (folder, path, mut writer) = writer();
    let mine = TEMPLATE.replace("\"bridge\"", "\"mtu\":9000,\"bridge\"");
    fs::write(folder.path().join("x.conflist.template"), mine).unwrap();
    let desired = wanted(&["10.244.1.0/24"], &["192.0.2.1"]);
    let report = namespace.run_in(|| writer.apply(&desired, &Scope::Everything));
    assert!(fs::read_to_string(&path).unwrap().contains("9000"));
    let message = &report.problems[0].message;
    assert!(message.contains("9000") && message.contains("1400") && message.contains("delete"), "{message}");
}

#[test]
fn a_path_too_small_for_ipv6_is_a_problem_where_pods_have_it() {
    let namespace = node("192.0.2.1/24", 1000);
    let (_folder, _, mut writer) = writer();
    let one = wanted(&["10.244.1.0/24"], &["192.0.2.1"]);
    assert_eq!(namespace.run_in(|| writer.apply(&one, &Scope::Everything)).problems, Vec::new());
    let both = wanted(&["10.244.1.0/24", "fd00::/64"], &["192.0.2.1", "2001:db8::1"]);
    let report = namespace.run_in(|| writer.apply(&both, &Scope::Everything));
    assert!(report.problems[0].message.contains("1280"), "{report:?}");
}

#[test]
fn a_plugin_that_tells_nobody_of_its_pods_is_a_problem_where_policy_is_enforced() {
    let namespace = node("192.0.2.1/24", 1400);
    let (folder, _, mut writer) = writer();
    let desired = wanted(&["10.244.1.0/24"], &["192.0.2.1"]);
    let kube_routers = TEMPLATE.replace("routerd-cni", "bridge");
    fs::write(folder.path().join("x.conflist.template"), &kube_routers).unwrap();
    let report = namespace.run_in(|| writer.apply(&desired, &Scope::Everything));
    assert!(report.problems[0].message.contains("routerd-init"), "{report:?}");
    writer.policy = false;
    assert_eq!(namespace.run_in(|| writer.apply(&desired, &Scope::Everything)).problems, Vec::new());
    // The key makes our plugin tell the daemon under that name, too.
    writer.policy = true;
    let told = kube_routers.replace("\"ipam\"", "\"routerd\":{},\"ipam\"");
    fs::write(&writer.path, told).unwrap();
    assert_eq!(namespace.run_in(|| writer.apply(&desired, &Scope::Everything)).problems, Vec::new());
}

#[test]
fn a_bridge_whose_mtu_somebody_has_set_follows_the_smallest_of_its_pods() {
    let namespace = TestNs::new("cni");
    let follow = || namespace.run_in(|| mtu::follow(&mut Rtnl::open().unwrap(), "kube-bridge").unwrap());
    assert_eq!(follow(), None, "no bridge, no error");
    namespace.run("ip", &["link", "add", "kube-bridge", "type", "bridge"]);
    // As kube-router does it: from now on the kernel leaves the MTU alone.
    namespace.run("ip", &["link", "set", "kube-bridge", "mtu", "1450"]);
    assert_eq!(follow(), Some(mtu::Bridge { mtu: 1450, changed: false }), "without pods it is left alone");
    for (name, mtu) in [("veth1", "1500"), ("veth2", "1400")] {
        namespace.run(
            "ip",
            &["link", "add", name, "mtu", mtu, "type", "veth", "peer", "name", &name.replace("veth", "p")],
        );
        namespace.run("ip", &["link", "set", name, "master", "kube-bridge"]);
    }
    assert_eq!(link_mtu(&namespace, "kube-bridge"), 1450, "the kernel does nothing");
    assert_eq!(follow(), Some(mtu::Bridge { mtu: 1400, changed: true }));
    assert_eq!(link_mtu(&namespace, "kube-bridge"), 1400);
    namespace.run("ip", &["link", "del", "veth2"]);
    assert_eq!(follow(), Some(mtu::Bridge { mtu: 1500, changed: true }));
    assert_eq!(follow(), Some(mtu::Bridge { mtu: 1500, changed: false }));
}

#[test]
fn of_pods_only_one_of_another_size_makes_the_plane_look() {
    let namespace = TestNs::new("cni");
    namespace.run("ip", &["link", "add", "veth7", "mtu", "1400", "type", "veth", "peer", "name", "p"]);
    let link = namespace.run_in(|| Rtnl::open().unwrap().link_by_name("veth7").unwrap().unwrap());
    assert_eq!(link.kind, LinkKind::Veth);
    let event = kernel::monitor::Event::Link(link.clone());
    assert!(!concerns(&BTreeMap::from([(BRIDGE_MTU, 1400)]), &event));
    assert!(concerns(&BTreeMap::from([(BRIDGE_MTU, 1500)]), &event));
    let bridge = kernel::monitor::Event::Link(kernel::rtnl::Link { name: BRIDGE.into(), ..link.clone() });
    assert!(!concerns(&BTreeMap::from([(BRIDGE_MTU, 1400)]), &bridge));
    assert!(concerns(&BTreeMap::new(), &bridge), "the first pod has just made it");
    let uplink = kernel::rtnl::Link { name: "eth0".into(), ..link };
    assert!(concerns(&BTreeMap::from([(BRIDGE_MTU, 1400)]), &kernel::monitor::Event::Link(uplink)));
}

#[test]
fn a_configuration_that_runtimes_prefer_is_a_problem_until_it_is_away() {
    let namespace = node("192.0.2.1/24", 1400);
    let (folder, _, mut writer) = writer();
    let desired = wanted(&["10.244.1.0/24"], &["192.0.2.1"]);
    let mut problems = || namespace.run_in(|| writer.apply(&desired, &Scope::Everything)).problems;
    for harmless in ["y.conflist", "a.conflist.before-routerd", ".x.conf.routerd-new"] {
        fs::write(folder.path().join(harmless), "{}").unwrap();
    }
    assert_eq!(problems(), Vec::new());
    fs::write(folder.path().join("x.conf"), "{}").unwrap();
    let found = problems();
    assert!(found[0].message.contains("x.conf and not") && found[0].retry, "{found:?}");
    fs::remove_file(folder.path().join("x.conf")).unwrap();
    assert_eq!(problems(), Vec::new());
}

#[test]
fn the_gateways_of_former_ranges_go_with_the_last_pod_and_nothing_else_does() {
    let namespace = node("192.0.2.1/24", 1400);
    device(&namespace, "kube-bridge", "10.1.0.1/24", 1400);
    for mine in ["fd01::1/64", "10.1.0.200/32", "192.168.7.1/24"] {
        namespace.run("ip", &["address", "add", mine, "dev", "kube-bridge", "nodad"]);
    }
    let (folder, path, mut writer) = writer();
    let template = TEMPLATE.replace(
        "\"host-local\"",
        &format!("\"host-local\",\"dataDir\":\"{}\"", folder.path().join("leases").display()),
    );
    fs::write(folder.path().join("x.conflist.template"), template).unwrap();
    let own = ["192.0.2.1", "2001:db8::1"];
    let mut apply = |ranges: &[&str]| {
        let report = namespace.run_in(|| writer.apply(&wanted(ranges, &own), &Scope::Everything));
        assert_eq!(report.problems, Vec::new());
        let shown = namespace.run("ip", &["-o", "address", "show", "kube-bridge", "scope", "global"]);
        let addresses = shown.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned);
        let mut addresses: Vec<String> = addresses.collect();
        addresses.sort();
        (addresses, report.counts.get("former pod ranges").copied())
    };
    apply(&["10.1.0.0/24", "fd01::/64"]);
    fs::create_dir_all(folder.path().join("leases/n")).unwrap();
    let lease = folder.path().join("leases/n/10.1.0.7");
    fs::write(&lease, "c1\r\neth0").unwrap();

    let all = ["10.1.0.1/24", "10.1.0.200/32", "192.168.7.1/24", "fd01::1/64"].map(str::to_owned);
    let without = |gone: &[&str]| -> Vec<String> {
        all.iter().filter(|one| !gone.contains(&one.as_str())).cloned().collect()
    };
    let new = ["10.2.0.0/24", "fd02::/64"];
    // An ADD may just have read the configuration of before.
    assert_eq!(apply(&new), (without(&[]), Some(2)));
    assert_eq!(apply(&new), (without(&["fd01::1/64"]), Some(1)), "a pod of the old range is there");
    fs::remove_file(lease).unwrap();
    assert_eq!(apply(&new), (without(&["fd01::1/64", "10.1.0.1/24"]), Some(0)));
    assert_eq!(apply(&new), (without(&["fd01::1/64", "10.1.0.1/24"]), None));
    assert!(!fs::read_to_string(path).unwrap().contains("10.1.0.0"));
}

/// What is judged: a pod that was wired when the uplink was larger goes on to reach the world.
#[test]
fn a_running_pod_reaches_the_outside_after_the_uplink_has_become_smaller() {
    let [host, pod, far] = ["host", "pod", "far"].map(TestNs::new);
    for command in [
        "link add kube-bridge type bridge".to_owned(),
        "link set kube-bridge up".to_owned(),
        "address add 10.9.0.1/24 dev kube-bridge".to_owned(),
        format!("link add veth0 type veth peer name eth0 netns {}", pod.name()),
        "link set veth0 master kube-bridge up".to_owned(),
        format!("link add up0 type veth peer name eth0 netns {}", far.name()),
        "link set up0 up".to_owned(),
        "address add 192.0.2.1/24 dev up0".to_owned(),
    ] {
        host.run("ip", &command.split(' ').collect::<Vec<_>>());
    }
    host.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
    for (end, address, gateway) in [(&pod, "10.9.0.2/24", "10.9.0.1"), (&far, "192.0.2.2/24", "192.0.2.1")] {
        end.run("ip", &["address", "add", address, "dev", "eth0"]);
        end.run("ip", &["link", "set", "eth0", "up"]);
        end.run("ip", &["route", "add", "default", "via", gateway]);
    }
    let (_folder, path, mut writer) = writer();
    let desired = wanted(&["10.9.0.0/24"], &["192.0.2.1"]);
    host.run_in(|| writer.apply(&desired, &Scope::Everything));
    for (end, device) in [(&host, "up0"), (&far, "eth0")] {
        end.run("ip", &["link", "set", device, "mtu", "1400"]);
    }
    let report = host.run_in(|| writer.apply(&desired, &Scope::Everything));
    assert_eq!(report.problems, Vec::new());
    assert!(fs::read_to_string(path).unwrap().contains("\"mtu\": 1400"), "new pods get 1400");

    let server = far.run_in(|| UdpSocket::bind("192.0.2.2:9999").unwrap());
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let client = pod.run_in(|| UdpSocket::bind("10.9.0.2:0").unwrap());
    client.connect("192.0.2.2:9999").unwrap();
    let (patience, mut buffer) = (Instant::now() + Duration::from_mins(1), [0; 2000]);
    loop {
        // The first is answered with "too big", which the next call reports.
        let _ = client.send(&[7; 1472]);
        if server.recv(&mut buffer).is_ok_and(|length| length == 1472) {
            break;
        }
        assert!(Instant::now() < patience, "full packets of the pod are lost without a word");
    }
}
