//! Policies and Services: what counts is the backend and its port, whatever kind of address was dialled. Packets go
//! through IPVS as our own plane programs it, so this runs in a lab guest.

use serde_json::{Value, json};

use crate::cluster::{Cluster, policy};
use crate::net::{Net, ip};
use crate::oracle::{Flow, Transport};
use crate::scene::{Scene, colours};

/// Services with one backend each: its node, addresses and port.
const BACKENDS: [(&str, &str, [&str; 2], u16); 4] = [
    ("near", "node1", ["10.244.1.11", "fd00:244:1::b"], 8080),
    ("far", "node2", ["10.244.2.10", "fd00:244:2::a"], 8080),
    ("host", "node1", ["192.0.2.1", "2001:db8::1"], 6443),
    ("itself", "node1", ["10.244.1.10", "fd00:244:1::a"], 80),
];
/// The port of all Services at their own addresses.
const PORT: u16 = 80;
const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];
/// `red/web`, which the policies judge.
const CLIENT: [&str; 2] = ["10.244.1.10", "fd00:244:1::a"];
const OUTSIDE: [&str; 2] = ["203.0.113.9", "2001:db8:f::9"];

/// The addresses and ports that lead to the Service of this number.
fn ways(number: usize, family: usize) -> [(String, u16); 4] {
    let node_port = 30_080 + u16::try_from(number).unwrap();
    let pick = |pair: [&str; 2]| format!("{}{number}", pair[family]);
    let node = ["192.0.2.1", "2001:db8::1"][family].to_owned();
    [
        (pick(["10.96.0.1", "fd00:96::1"]), PORT),
        (pick(["198.18.0.1", "2001:db8:e::1"]), PORT),
        (pick(["198.19.0.1", "2001:db8:1b::1"]), PORT),
        (node, node_port),
    ]
}

fn objects(number: usize) -> Vec<Value> {
    let (name, node, addresses, port) = BACKENDS[number];
    let [four, six] = [0, 1].map(|family| ways(number, family).map(|(address, _)| address));
    let entry = |transport: Transport, port: u16| json!({"name": transport.name(), "protocol": transport.name(), "port": port});
    let ports: Vec<Value> = TRANSPORTS
        .iter()
        .map(|transport| {
            let mut entry = entry(*transport, PORT);
            entry["nodePort"] = (30_080 + number).into();
            entry
        })
        .collect();
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "red", "name": name},
        "spec": {
            "type": "LoadBalancer", "clusterIPs": [four[0], six[0]], "externalIPs": [four[1], six[1]], "ports": ports,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": four[2]}, {"ip": six[2]}]}},
    })];
    for (family, kind) in ["IPv4", "IPv6"].into_iter().enumerate() {
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "namespace": "red", "name": format!("{name}-{}", kind.to_lowercase()),
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": kind,
            "ports": TRANSPORTS.map(|transport| entry(transport, port)),
            "endpoints": [{"addresses": [addresses[family]], "nodeName": node, "conditions": {"ready": true}}],
        }));
    }
    objects
}

fn cluster() -> Cluster {
    let mut cluster = colours();
    for object in (0..BACKENDS.len()).flat_map(objects) {
        cluster.put(object);
    }
    cluster
}

fn scene() -> Scene {
    let settings = routerd::services::Settings { any_external_address: true, ..Default::default() };
    // Making a namespace is slow in a guest; nobody looks at the other places.
    Scene::with(Net::with_places(3), cluster(), Some(settings))
}

/// Every way to every backend from the client, with where it leads; and all backends directly.
fn flows() -> Vec<(Flow, Flow)> {
    let mut flows = Vec::new();
    for (number, (_, _, addresses, port)) in BACKENDS.into_iter().enumerate() {
        for (family, transport) in [0, 1].into_iter().flat_map(|family| TRANSPORTS.map(|one| (family, one))) {
            let from = ip(CLIENT[family]);
            let real = Flow { from, to: ip(addresses[family]), transport, port };
            let dialled = |(to, port): (String, u16)| (Flow { from, to: ip(&to), transport, port }, real);
            flows.extend(ways(number, family).map(dialled));
            if real.from != real.to {
                flows.push((real, real));
            }
        }
    }
    flows
}

fn agree(scene: &mut Scene, what: &str, flows: &[(Flow, Flow)]) {
    if let Err(text) = scene.differences_by_service(flows) {
        let rules = scene.net.node.run("nft", &["list", "table", "inet", "routerd"]);
        let services = scene.net.node.run("ipvsadm", &["-ln"]);
        panic!("{what}\n{text}{services}{rules}{:?}", scene.daemon.as_ref().unwrap().problems());
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn egress_to_a_service_is_judged_on_the_backend_whatever_was_dialled() {
    let mut scene = scene();
    let flows = flows();
    agree(&mut scene, "no policy", &flows);
    for rule in [
        "[]",
        "[{}]",
        // Pods by label: those behind `near` and `far`, at their own port and not at the Service's.
        "[{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 8080}]}]",
        "[{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{protocol: UDP, port: 8080}]}]",
        "[{to: [{podSelector: {}}], ports: [{port: 80}, {protocol: UDP, port: 80}]}]",
        "[{ports: [{port: t}, {protocol: UDP, port: u}]}]",
        // What was dialled is nobody.
        "[{to: [{ipBlock: {cidr: 10.96.0.0/16}}, {ipBlock: {cidr: 198.18.0.0/15}}, {ipBlock: {cidr: 'fd00:96::/64'}}, {ipBlock: {cidr: '2001:db8:e::/48'}}]}]",
        "[{to: [{ipBlock: {cidr: 192.0.2.1/32}}, {ipBlock: {cidr: '2001:db8::1/128'}}]}]",
        "[{to: [{ipBlock: {cidr: 192.0.2.1/32}}, {ipBlock: {cidr: '2001:db8::1/128'}}], ports: [{port: 6443}]}]",
        "[{ports: [{port: 30080, endPort: 30083}]}]",
        "[{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.1.0/24]}}, {ipBlock: {cidr: '::/0', except: ['fd00:244:1::/64']}}]}]",
    ] {
        let spec =
            format!("{{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], egress: {rule}}}");
        scene.put(policy("red/p", &spec));
        agree(&mut scene, rule, &flows);
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn ingress_by_a_service_is_judged_on_who_dialled() {
    let mut scene = scene();
    let (_, _, addresses, port) = BACKENDS[0];
    let mut flows = Vec::new();
    for (clients, dials) in [(CLIENT, 0..4), (OUTSIDE, 3..4)] {
        for (family, transport) in [0, 1].into_iter().flat_map(|family| TRANSPORTS.map(|one| (family, one))) {
            let from = ip(clients[family]);
            let real = Flow { from, to: ip(addresses[family]), transport, port };
            let dialled =
                |(to, port): &(String, u16)| (Flow { from, to: ip(to), transport, port: *port }, real);
            flows.extend(ways(0, family)[dials.clone()].iter().map(dialled));
        }
    }
    agree(&mut scene, "no policy", &flows);
    for rule in [
        "[]",
        "[{ports: [{port: 8080}]}]",
        "[{ports: [{port: 80}, {port: 30080}]}]",
        "[{from: [{podSelector: {matchLabels: {app: web}}}]}]",
        "[{from: [{ipBlock: {cidr: 203.0.113.0/24}}, {ipBlock: {cidr: '2001:db8:f::/48'}}]}]",
        "[{from: [{ipBlock: {cidr: 192.0.2.0/24}}, {ipBlock: {cidr: '2001:db8::/64'}}]}]",
    ] {
        scene
            .put(policy("red/p", &format!("{{podSelector: {{matchLabels: {{app: db}}}}, ingress: {rule}}}")));
        agree(&mut scene, rule, &flows);
    }
}
