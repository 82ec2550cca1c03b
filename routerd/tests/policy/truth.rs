//! The truth table: one policy for each cell of {ingress, egress} × {kinds of peers} × {kinds of ports} × {protocols},
//! and packets of both families between pods of this node, pods of the other one and hosts.

use serde_json::{Value, json};

use crate::cluster::policy;
use crate::net::{PLACES, place, remote};
use crate::oracle::{Flow, Transport};
use crate::scene::{Scene, colours, matrix, others};

/// Pods of the other node in [`colours`].
const REMOTES: usize = 4;

/// Kinds of peers, as the API writes a list of them.
fn peers() -> Vec<(&'static str, Value)> {
    vec![
        ("everybody", json!([])),
        ("pod selector", json!([{"podSelector": {"matchLabels": {"app": "web"}}}])),
        ("namespace selector", json!([{"namespaceSelector": {"matchLabels": {"team": "blue"}}}])),
        (
            "both selectors",
            json!([{
                "namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]}]},
                "podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db", "api"]}]},
            }]),
        ),
        (
            "block",
            json!([
                {"ipBlock": {"cidr": "10.244.1.12/31"}}, {"ipBlock": {"cidr": "10.244.2.8/30"}},
                {"ipBlock": {"cidr": "fd00:244:1::c/127"}}, {"ipBlock": {"cidr": "fd00:244:2::8/126"}},
                {"ipBlock": {"cidr": "203.0.113.0/24"}}, {"ipBlock": {"cidr": "64:ff9b::/96"}},
            ]),
        ),
        (
            "block with exceptions",
            json!([
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.244.1.12/31", "10.244.2.10/32", "203.0.113.0/24", "192.0.2.0/31"]}},
                {"ipBlock": {"cidr": "::/0", "except": ["fd00:244:1::c/127", "fd00:244:2::a/128", "64:ff9b::/96", "2001:db8::/127"]}},
            ]),
        ),
    ]
}

/// Kinds of ports for a protocol.
fn ports(transport: Transport) -> Vec<(&'static str, Value)> {
    let protocol = transport.name();
    let name = protocol[..1].to_lowercase();
    vec![
        ("number", json!([{"protocol": protocol, "port": 80}])),
        ("name", json!([{"protocol": protocol, "port": name}])),
        ("range", json!([{"protocol": protocol, "port": 8080, "endPort": 9000}])),
        ("protocol only", json!([{"protocol": protocol}])),
    ]
}

/// The cells: what each is called, and its policy.
fn cells() -> Vec<(String, Value)> {
    let mut cells = Vec::new();
    for (direction, side) in [("Ingress", "from"), ("Egress", "to")] {
        for (who, peers) in peers() {
            let kinds = Transport::ALL
                .map(|transport| ports(transport).into_iter().map(move |kind| (transport.name(), kind)));
            let all = ("all protocols", ("all", json!([])));
            for (protocol, (kind, ports)) in kinds.into_iter().flatten().chain([all]) {
                let mut document = policy("red/p", "{}");
                document["spec"] = json!({
                    "podSelector": {},
                    "policyTypes": [direction],
                    (direction.to_lowercase()): [{(side): peers, "ports": ports}],
                });
                cells.push((format!("{direction}, {who}, {protocol} by {kind}"), document));
            }
        }
    }
    cells
}

/// Every part of the product that a cell stands for has a packet that is admitted and one that is refused.
fn shows_both(scene: &Scene, what: &str, flows: &[Flow]) {
    let oracle = scene.cluster.oracle();
    let subjects = [place(0), place(1)].concat();
    for four in [true, false] {
        for same_node in [true, false] {
            let mut seen = [false; 2];
            for flow in flows.iter().filter(|flow| flow.from.is_ipv4() == four) {
                let (own, other) =
                    if what.starts_with("Egress") { (flow.from, flow.to) } else { (flow.to, flow.from) };
                let near = (0..PLACES).any(|number| place(number).contains(&other));
                let far = (0..REMOTES).any(|number| remote(number).contains(&other));
                if subjects.contains(&own) && if same_node { near } else { far } {
                    seen[usize::from(oracle.judge(flow).is_ok())] = true;
                }
            }
            let all = what.contains("everybody, all");
            assert_eq!(seen, [!all || same_node, true], "{what}, IPv4: {four}, same node: {same_node}");
        }
    }
}

#[test]
fn every_kind_of_rule_admits_what_it_says_and_nothing_else() {
    let mut scene = Scene::new(colours());
    let ports: Vec<(Transport, u16)> = Transport::ALL
        .into_iter()
        .flat_map(|transport| [80, 8080, 9090].map(|port| (transport, port)))
        .collect();
    let all = matrix(PLACES, &others(REMOTES), &ports);
    let subjects = [place(0), place(1)].concat();
    let concerned = |flow: &&Flow| subjects.contains(&flow.from) || subjects.contains(&flow.to);
    let flows: Vec<Flow> = all.iter().filter(concerned).copied().collect();
    scene.agree("no policy", &all);
    let began = std::time::Instant::now();
    let cells = cells();
    for (number, (what, document)) in cells.iter().enumerate() {
        scene.put(document.clone());
        // Pods that no policy is about are looked at now and then.
        scene.agree(what, if number % 20 == 0 { &all } else { &flows });
        shows_both(&scene, what, &flows);
    }
    println!("{} cells of {} flows in {:?}", cells.len(), flows.len(), began.elapsed());
}
