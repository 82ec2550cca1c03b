//! Direct server return: a pod answers the client itself, with the Service's address as source.

use std::collections::BTreeMap;

use kernel::testing::TestNs;
use prefix::Family;
use routerd::cluster::objects::{
    Attachment, EndpointSlice, Labels, ObjectName, Pod, Protocol, Service, ServicePort, SlicePort, Word,
};
use routerd::cluster::wire::{Wire as _, WirePolicy};
use routerd::cluster::{Event, Index, Object, ObjectKey};
use routerd::policy::{PolicyApplier, PolicyPlane};
use routerd::runner::{Apply, Plane, Report, Scope};
use routerd::services::desired::Services;
use routerd::services::dsr::{self, Dsr};
use routerd::services::linux::Linux;
use routerd::services::{Settings, apply};

use crate::cluster::{ip, node, ready, service};
use crate::net::Net;
use crate::talk::{UdpClient, ask, connect, is_silent, serve_tcp, serve_udp};

pub(crate) const V4: &str = "198.51.100.7";
pub(crate) const V6: &str = "2001:db8:7::7";
pub(crate) const AT_V4: &str = "198.51.100.7:8080";
pub(crate) const AT_V6: &str = "[2001:db8:7::7]:8080";

pub(crate) fn settings() -> Settings {
    Settings { any_external_address: true, ..Settings::default() }
}

/// A node with both planes, as the daemon has them.
pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) index: Index,
    services: apply::Applier<Linux>,
    pub(crate) dsr: dsr::Applier,
}

pub(crate) fn run<P, A>(plane: &P, applier: &mut A, index: &Index, node: &TestNs) -> Report
where
    P: Plane,
    A: Apply<Key = P::Key, Value = P::Value>,
    P::Key: Sync,
    P::Value: Sync,
{
    let keys = plane.keys(index).into_iter();
    let desired: BTreeMap<P::Key, P::Value> =
        keys.filter_map(|key| Some((key.clone(), plane.desired(index, &key)?))).collect();
    node.run_in(|| applier.apply(&desired, &Scope::Everything))
}

pub(crate) fn world() -> World {
    let net = Net::new();
    for (pod, name) in [(&net.pod_a, "a"), (&net.pod_b, "b")] {
        serve_tcp(pod, "[::]:8080", name);
    }
    net.outside.run("ip", &["route", "add", V4, "via", "192.0.2.11"]);
    net.outside.run("ip", &["-6", "route", "add", V6, "via", "2001:db8::11"]);
    let mut index = Index::new("node");
    index.apply(Event::Upsert(Object::Node(node())));
    for (pod, last) in [(&net.pod_a, 2), (&net.pod_b, 3)] {
        index.apply(Event::Attach(Attachment {
            container: format!("c{last}"),
            interface: "eth0".into(),
            pod: ObjectName::new("default", format!("pod-{last}")),
            uid: None,
            netns: pod.path(),
            host_device: format!("veth{last}"),
            addresses: vec![ip(&format!("10.1.1.{last}")), ip(&format!("fd00:1:1::{last}"))],
        }));
    }
    let services = apply::Applier::new(Linux::new(), settings());
    let mut world = World { net, index, services, dsr: dsr::Applier::new(kernel::nft::Identity::new()) };
    world.put(true);
    for (family, addresses) in
        [(Family::V4, ["10.1.1.2", "10.1.1.3"]), (Family::V6, ["fd00:1:1::2", "fd00:1:1::3"])]
    {
        world.endpoints(family, &addresses);
    }
    world
}

/// The Service `web` at both addresses.
pub(crate) fn returning_service(returning: bool, protocol: Protocol) -> Service {
    let mut annotations = Labels::new();
    if returning {
        annotations.insert("kube-router.io/service.dsr".into(), "tunnel".into());
    }
    let port = ServicePort { name: Word::default(), protocol, port: 8080, node_port: None };
    Service {
        annotations,
        external_ips: vec![ip(V4), ip(V6)],
        ports: vec![port],
        ..service("web", 1, protocol, 8080, 30080)
    }
}

impl World {
    pub(crate) fn put(&mut self, returning: bool) {
        self.put_with(returning, Protocol::Tcp);
    }

    pub(crate) fn put_with(&mut self, returning: bool, protocol: Protocol) {
        self.upsert(returning_service(returning, protocol));
    }

    pub(crate) fn upsert(&mut self, service: Service) {
        self.index.apply(Event::Upsert(Object::Service(service)));
    }

    pub(crate) fn endpoints(&mut self, family: Family, addresses: &[&str]) {
        let slice = EndpointSlice {
            name: ObjectName::new("default", format!("web-{family}").to_lowercase()),
            service: Some(ObjectName::new("default", "web")),
            family,
            ports: [Protocol::Tcp, Protocol::Udp]
                .map(|protocol| SlicePort { name: Word::default(), protocol, number: Some(8080) })
                .to_vec(),
            endpoints: addresses.iter().map(|address| ready(address)).collect(),
        };
        self.index.apply(Event::Upsert(Object::EndpointSlice(slice)));
    }

    /// Both planes; nothing may have gone wrong. The writes of direct return.
    pub(crate) fn applied(&mut self) -> u64 {
        let served = run(&Services::new(settings()), &mut self.services, &self.index, &self.net.node);
        assert_eq!(served.problems, Vec::new());
        let returned = run(&Dsr::new(settings()), &mut self.dsr, &self.index, &self.net.node);
        assert_eq!(returned.problems, Vec::new());
        returned.writes
    }

    pub(crate) fn restart(&mut self) {
        self.dsr = dsr::Applier::new(kernel::nft::Identity::new());
    }

    fn marks(&self) -> String {
        self.net.node.run("nft", &["list", "map", "inet", "routerd", "dsr-marks"])
    }
}

/// Pods that answered, after enough connections for each to have had one.
pub(crate) fn answering(from: &TestNs, to: &str) -> Vec<String> {
    let mut names: Vec<String> = (0..6).map(|_| ask(from, to).server).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn pods_answer_clients_themselves_in_both_families_and_the_client_is_seen() {
    let mut world = world();
    world.applied();
    let heard = ask(&world.net.outside, AT_V4);
    assert_eq!(heard.source, "::ffff:192.0.2.100");
    assert_eq!(ask(&world.net.outside, AT_V6).source, "2001:db8::100");
    for at in [AT_V4, AT_V6] {
        assert_eq!(answering(&world.net.outside, at), ["a", "b"], "{at}");
    }
    let node = world.net.node.run("ip", &["address"]);
    assert!(!node.contains(V4) && !node.contains(V6), "the node has not the address: {node}");
    // Nothing of the answer was rewritten on the node: the tables of IPVS know the way there only.
    let table = world.net.node.run("ipvsadm", &["-Ln"]);
    assert!(table.contains("FWM") && table.contains("Tunnel"), "{table}");
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn segments_of_clients_fit_into_the_tunnel() {
    let mut world = world();
    world.applied();
    let rules = "add table inet seen; add chain inet seen in { type filter hook input priority 0; }; \
                 add rule inet seen in ip saddr 198.51.100.7 tcp option maxseg size 1440 counter; \
                 add rule inet seen in ip6 saddr 2001:db8:7::7 tcp option maxseg size 1400 counter";
    world.net.outside.run("nft", &[rules]);
    for at in [AT_V4, AT_V6] {
        let mut connection = connect(&world.net.outside, at).unwrap();
        let long = "x".repeat(8000);
        assert_eq!(connection.says(&long).unwrap().len(), long.len());
    }
    let seen = world.net.outside.run("nft", &["list", "table", "inet", "seen"]);
    // More than one where the machine was slow and it was said again.
    let counted =
        |family: &str| seen.lines().any(|line| line.contains(family) && !line.contains("counter packets 0 "));
    assert!(counted("ip saddr") && counted("ip6 saddr"), "{seen}");
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn the_nodes_own_processes_reach_the_address_too() {
    let mut world = world();
    world.net.node.run("ip", &["route", "add", "default", "via", "192.0.2.100"]);
    world.applied();
    assert_eq!(answering(&world.net.node, AT_V4), ["a", "b"]);
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn a_restart_writes_nothing_keeps_marks_and_breaks_no_connection() {
    let mut world = world();
    world.applied();
    let mut connection = connect(&world.net.outside, AT_V4).unwrap();
    let marks = world.marks();
    assert_eq!(world.applied(), 0);
    world.restart();
    assert_eq!(world.applied(), 0);
    assert_eq!(world.marks(), marks);
    assert_eq!(connection.says("still there?").unwrap(), "still there?");
    // One Service more changes no mark.
    let other = Service { ports: Vec::new(), ..service("another", 2, Protocol::Tcp, 80, 30081) };
    world.index.apply(Event::Upsert(Object::Service(other)));
    world.applied();
    assert_eq!(world.marks(), marks);
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn without_the_annotation_all_of_it_is_gone_from_node_and_pods() {
    let mut world = world();
    world.applied();
    let device = |pod: &TestNs| pod.run("ip", &["-o", "link"]).contains("kube-tunnel");
    assert!(device(&world.net.pod_a) && device(&world.net.pod_b));
    // A pod that is no backend any more has no device, the other keeps it.
    world.endpoints(Family::V4, &["10.1.1.2"]);
    world.endpoints(Family::V6, &["fd00:1:1::2"]);
    world.applied();
    assert!(device(&world.net.pod_a) && !device(&world.net.pod_b));
    assert_eq!(answering(&world.net.outside, AT_V4), ["a"]);
    // Also if it is taken away while the daemon does not run.
    world.put(false);
    world.restart();
    world.applied();
    assert!(!device(&world.net.pod_a));
    let rules = world.net.node.run("ip", &["rule"]);
    let table = world.net.node.run("nft", &["list", "table", "inet", "routerd"]);
    assert!(!rules.contains("78") && !rules.contains("0x80000") && !table.contains("dsr-"), "{rules}{table}");
    assert!(!world.net.node.run("ipvsadm", &["-Ln"]).contains("FWM"));
    assert_eq!(ask(&world.net.outside, AT_V4).server, "a", "it is served as any other Service now");
    assert_eq!(world.applied(), 0);
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn a_pod_that_nobody_has_told_of_is_no_backend_and_it_is_said() {
    let mut world = world();
    world.index.apply(Event::Detach("c3".into(), "eth0".into()));
    run(&Services::new(settings()), &mut world.services, &world.index, &world.net.node);
    let report = run(&Dsr::new(settings()), &mut world.dsr, &world.index, &world.net.node);
    let problem = report.problems.iter().find(|problem| problem.message.contains("10.1.1.3")).unwrap();
    assert!(problem.item == "Service default/web" && problem.message.contains("make it anew"), "{problem:?}");
    assert_eq!(answering(&world.net.outside, AT_V4), ["a"], "nothing is sent to where it would be lost");
}

#[test]
fn a_kernel_without_ipvs_is_a_problem_of_that_service() {
    let mut world = world();
    if world.net.node.run_in(|| kernel::ipvs::Ipvs::open().is_ok()) {
        world.applied();
        return;
    }
    let report = run(&Dsr::new(settings()), &mut world.dsr, &world.index, &world.net.node);
    let why = report.problems.iter().find(|problem| problem.message.contains("modprobe ip_vs")).unwrap();
    assert!(why.item == "Service default/web" && why.retry, "{why:?}");
}

/// The policy of all pods with these ingress rules.
fn policy(ingress: &serde_json::Value) -> Object {
    let document = serde_json::json!({
        "kind": "NetworkPolicy", "metadata": { "name": "all", "namespace": "default" },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": ingress },
    });
    let wire: WirePolicy = serde_json::from_value(document).unwrap();
    wire.convert().object.unwrap()
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn policies_of_a_pod_judge_the_client_itself_and_answers_pass() {
    let mut world = world();
    for (name, last) in [("pod-2", 2), ("pod-3", 3)] {
        world.index.apply(Event::Upsert(Object::Pod(Pod {
            name: ObjectName::new("default", name),
            node: Some("node".into()),
            addresses: vec![ip(&format!("10.1.1.{last}")), ip(&format!("fd00:1:1::{last}"))],
            ..Pod::default()
        })));
    }
    world.net.far.run("ip", &["route", "add", V4, "via", "192.0.2.11"]);
    world.net.far.run("ip", &["-6", "route", "add", V6, "via", "2001:db8::11"]);
    let mut policies = PolicyApplier::new();
    let mut judge = |world: &mut World| {
        let report = run(&PolicyPlane, &mut policies, &world.index, &world.net.node);
        assert_eq!(report.problems, Vec::new());
        world.applied()
    };
    judge(&mut world);
    let mut open = connect(&world.net.far, AT_V4).unwrap();
    let blocks = serde_json::json!([{
        "from": [{ "ipBlock": { "cidr": "192.0.2.12/32" } }, { "ipBlock": { "cidr": "2001:db8::12/128" } }],
        "ports": [{ "protocol": "TCP", "port": 8080 }],
    }]);
    world.index.apply(Event::Upsert(policy(&blocks)));
    judge(&mut world);
    for (at, source) in [(AT_V4, "::ffff:192.0.2.12"), (AT_V6, "2001:db8::12")] {
        assert_eq!(answering(&world.net.far, at), ["a", "b"], "{at}");
        assert_eq!(ask(&world.net.far, at).source, source);
        assert!(is_silent(&world.net.outside, at), "{at}");
    }
    assert_eq!(open.says("still there?").unwrap(), "still there?");
    assert_eq!(world.applied(), 0);
    world.index.apply(Event::Delete(ObjectKey::NetworkPolicy(ObjectName::new("default", "all"))));
    judge(&mut world);
    for at in [AT_V4, AT_V6] {
        assert_eq!(answering(&world.net.outside, at), ["a", "b"], "{at}");
    }
    assert_eq!(open.says("and now?").unwrap(), "and now?");
    assert_eq!(world.applied(), 0);
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn datagrams_are_answered_directly_and_the_address_goes_when_nobody_asks_for_it() {
    let mut world = world();
    world.put_with(true, Protocol::Udp);
    world.applied();
    // A server of datagrams answers with the address that it is bound to.
    for (pod, name) in [(&world.net.pod_a, "a"), (&world.net.pod_b, "b")] {
        serve_udp(pod, AT_V4, name);
        serve_udp(pod, AT_V6, name);
    }
    for (at, source) in [(AT_V4, "192.0.2.100"), (AT_V6, "2001:db8::100")] {
        let heard: Vec<_> = (0..6).map(|_| UdpClient::new(&world.net.outside, at).asks().unwrap()).collect();
        for name in ["a", "b"] {
            assert!(heard.iter().any(|one| one.server == name && one.source == source), "{heard:?}");
        }
    }
    // From one protocol to the other in place.
    world.put_with(true, Protocol::Tcp);
    world.applied();
    assert_eq!(answering(&world.net.outside, AT_V4), ["a", "b"]);
    assert!(UdpClient::new(&world.net.outside, AT_V4).is_unheard());
}
