//! That the tests bite: the daemon is told something else than the oracle, in the ways in which an implementation goes
//! wrong, and packets must show every such lie; likewise what somebody breaks in the kernel.

use prefix::Prefix;
use routerd::cluster::Event;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::net::PLACES;
use crate::oracle::{Flow, Transport};
use crate::plane::object;
use crate::random::{Dice, random_cluster, random_policy, some_ports};
use crate::scene::{Scene, colours, matrix, others};

/// What is made of a policy's spec.
type Lie = fn(&mut Value);
/// What happens to a cluster.
type Happening = fn(&mut Cluster);
/// Random policies until a lie must have been seen.
const TRIES: usize = 2000;

/// Does something to every rule of both directions: with the name of its list of peers.
fn each_rule(spec: &mut Value, change: impl Fn(&mut Value, &str)) {
    for (direction, side) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec[direction].as_array_mut().into_iter().flatten() {
            change(rule, side);
        }
    }
}

fn each_peer(spec: &mut Value, change: impl Fn(&mut Value)) {
    each_rule(spec, |rule, side| rule[side].as_array_mut().into_iter().flatten().for_each(&change));
}

fn each_port(spec: &mut Value, change: impl Fn(&mut Value)) {
    each_rule(spec, |rule, _| rule["ports"].as_array_mut().into_iter().flatten().for_each(&change));
}

fn remove(value: &mut Value, key: &str) {
    value.as_object_mut().map(|map| map.remove(key));
}

fn lies() -> Vec<(&'static str, Lie)> {
    vec![
        ("ingress rules open egress", |spec| {
            let ingress = spec["ingress"].clone();
            let both = spec["policyTypes"].as_array().is_some_and(|types| types.len() == 2);
            if let (true, Some(rules)) = (both, ingress.as_array()) {
                for rule in rules {
                    let rule = json!({"to": rule["from"], "ports": rule["ports"]});
                    match &mut spec["egress"] {
                        Value::Array(egress) => egress.push(rule),
                        other => *other = json!([rule]),
                    }
                }
            }
        }),
        ("exceptions are forgotten", |spec| each_peer(spec, |peer| remove(&mut peer["ipBlock"], "except"))),
        ("an exception counts for all blocks of its rule", |spec| {
            each_rule(spec, |rule, side| {
                let peers = rule[side].as_array_mut().into_iter().flatten();
                let blocks: Vec<&mut Value> = peers.filter(|peer| peer["ipBlock"].is_object()).collect();
                let exceptions = |peer: &&mut Value| peer["ipBlock"]["except"].as_array().cloned();
                let all: Vec<Value> = blocks.iter().filter_map(exceptions).flatten().collect();
                let prefix = |value: &Value| value.as_str().unwrap().parse::<Prefix>().ok();
                for block in blocks {
                    let Some(whole) = prefix(&block["ipBlock"]["cidr"]) else { continue };
                    let inside = |part: &Prefix| whole.covers(part) && whole != *part;
                    let parts = all.iter().filter(|part| prefix(part).as_ref().is_some_and(inside));
                    block["ipBlock"]["except"] = parts.cloned().collect();
                }
            });
        }),
        ("all of IPv6 is less than that", |spec| {
            each_peer(spec, |peer| {
                if peer["ipBlock"]["cidr"] == "::/0" {
                    peer["ipBlock"] = json!({"cidr": "2000::/3", "except": []});
                }
            });
        }),
        ("blocks hold no pods", |spec| {
            each_peer(spec, |peer| {
                if peer["ipBlock"]["cidr"] == "0.0.0.0/0" {
                    peer["ipBlock"]["except"] = json!(["10.244.0.0/16"]);
                }
            });
        }),
        ("a range is its first port", |spec| each_port(spec, |port| remove(port, "endPort"))),
        ("a name of a port is one number for all", |spec| {
            each_port(spec, |port| {
                if port["port"] == "http" {
                    port["port"] = 80.into();
                }
            });
        }),
        ("a name that resolves to nothing is any port", |spec| {
            each_port(spec, |port| {
                if port["port"] == "nothing" {
                    remove(port, "port");
                }
            });
        }),
        ("protocols are forgotten", |spec| each_port(spec, |port| remove(port, "protocol"))),
        ("a protocol alone is no entry", |spec| {
            each_rule(spec, |rule, _| {
                let ports = rule["ports"].as_array_mut();
                if let Some(ports) = ports.filter(|ports| ports.len() > 1) {
                    ports.retain(|port| port.get("port").is_some());
                }
            });
        }),
        ("NotIn wants the label", |spec| {
            let text = spec.to_string().replace("\"NotIn\"", "\"In\"");
            *spec = serde_json::from_str(&text).unwrap();
        }),
        ("Exists and DoesNotExist are the same", |spec| {
            let text = spec.to_string().replace("\"DoesNotExist\"", "\"Exists\"");
            *spec = serde_json::from_str(&text).unwrap();
        }),
        ("of two selectors the namespaces' is forgotten", |spec| {
            each_peer(spec, |peer| {
                if peer.get("podSelector").is_some() {
                    remove(peer, "namespaceSelector");
                }
            });
        }),
        ("of two selectors the pods' is forgotten", |spec| {
            each_peer(spec, |peer| {
                if peer.get("namespaceSelector").is_some() {
                    remove(peer, "podSelector");
                }
            });
        }),
        ("an empty list of peers is nobody", |spec| {
            each_rule(spec, |rule, side| {
                if rule.get(side).and_then(Value::as_array).is_none_or(Vec::is_empty) {
                    rule[side] = json!([{"ipBlock": {"cidr": "255.255.255.255/32"}}]);
                }
            });
        }),
        ("only the first rule counts", |spec| {
            for direction in ["ingress", "egress"] {
                spec[direction].as_array_mut().into_iter().for_each(|rules| rules.truncate(1));
            }
        }),
        ("without types only ingress is meant", |spec| {
            if spec.get("policyTypes").is_none() {
                spec["policyTypes"] = json!(["Ingress"]);
            }
        }),
        ("an isolated pod is open without rules", |spec| {
            for direction in ["ingress", "egress"] {
                if spec[direction].as_array().is_none_or(Vec::is_empty) {
                    spec[direction] = json!([{}]);
                }
            }
        }),
    ]
}

/// Tells the daemon something else than what is true.
fn told(document: &Value, lie: Lie) -> Event {
    let mut document = document.clone();
    lie(&mut document["spec"]);
    // What reading with an index has made of it is no part of the lie.
    let text = document.to_string();
    let mut clean: Value = serde_json::from_str(&text).unwrap();
    strip_nulls(&mut clean);
    Event::Upsert(object(&clean))
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

#[test]
fn packets_show_every_way_of_reading_a_policy_wrongly() {
    let mut dice = Dice::new(7);
    let mut scene = Scene::new(Cluster::new());
    scene.replace(random_cluster(&mut dice));
    let mut tries = Vec::new();
    for (name, lie) in lies() {
        let seen = (1..=TRIES).find(|_| {
            let document = random_policy(&mut dice);
            let event = told(&document, lie);
            if event == Event::Upsert(object(&document)) {
                return false;
            }
            scene.cluster.put(document);
            scene.tell(vec![event]);
            let flows = matrix(PLACES, &others(5), &some_ports(&mut dice));
            let shown = scene.differences(&flows).is_err();
            // The truth again, so that each lie is alone.
            let honest = scene.cluster.events();
            scene.tell(honest);
            shown
        });
        tries.push((name, seen.unwrap_or_else(|| panic!("no packet shows that {name}"))));
    }
    println!("{tries:?}");
}

/// Everything that is tried on a cluster without randomness.
fn all_flows() -> Vec<Flow> {
    let ports: Vec<_> =
        Transport::ALL.into_iter().flat_map(|transport| [80, 8080].map(|port| (transport, port))).collect();
    matrix(PLACES, &others(4), &ports)
}

/// The cluster of colours with policies of both directions.
fn scene() -> Scene {
    let mut scene = Scene::new(colours());
    scene.put(crate::cluster::policy(
        "red/p",
        "podSelector: {}
policyTypes: [Ingress, Egress]
ingress: [{from: [{podSelector: {matchLabels: {app: web}}}, {namespaceSelector: {matchLabels: {team: green}}}]}]
egress: [{ports: [{port: t}]}, {to: [{ipBlock: {cidr: 203.0.113.0/24}}]}]",
    ));
    scene.agree("the truth", &all_flows());
    scene
}

#[test]
fn packets_show_every_change_that_is_not_followed() {
    let mut scene = scene();
    let flows = all_flows();
    let changes: [(&str, Happening); 6] = [
        ("a pod's label", |cluster| relabel(cluster, "Pod", "blue/far", "red/far")),
        ("a namespace's label", |cluster| relabel(cluster, "Namespace", "red", "green")),
        ("a pod's end", |cluster| {
            let mut document = cluster.document("Pod", "red/far").clone();
            document["status"]["phase"] = "Failed".into();
            cluster.put(document);
        }),
        ("a pod's deletion", |cluster| {
            cluster.detach("container-4");
            drop(cluster.delete(&("Pod".into(), "green".into(), "job".into())));
        }),
        ("a pod's named port", |cluster| {
            let mut document = cluster.document("Pod", "blue/web").clone();
            document["spec"]["containers"][0]["ports"][0]["containerPort"] = 80.into();
            cluster.put(document);
        }),
        ("a policy's end", |cluster| {
            drop(cluster.delete(&("NetworkPolicy".into(), "red".into(), "p".into())));
        }),
    ];
    for (what, change) in changes {
        let before = scene.cluster.clone();
        change(&mut scene.cluster);
        assert!(scene.differences(&flows).is_err(), "no packet shows that {what} was not followed");
        scene.cluster = before;
    }
    scene.agree("the truth again", &flows);
}

/// Gives an object the labels of another one.
fn relabel(cluster: &mut Cluster, kind: &str, of: &str, like: &str) {
    let labels = cluster.document(kind, like)["metadata"]["labels"].clone();
    let mut document = cluster.document(kind, of).clone();
    document["metadata"]["labels"] =
        if kind == "Pod" { json!({"app": "web", "team": "red"}) } else { labels };
    if kind == "Pod" {
        document["metadata"]["namespace"] = "red".into();
        document["metadata"]["name"] = "moved".into();
        document["status"]["podIPs"] = json!([{"ip": "10.244.2.11"}, {"ip": "fd00:244:2::b"}]);
        let key = of.split_once('/').unwrap();
        cluster.delete(&(kind.to_owned(), key.0.to_owned(), key.1.to_owned()));
    }
    cluster.put(document);
}

#[test]
fn packets_show_what_somebody_breaks_in_the_kernel() {
    let mut scene = scene();
    let flows = all_flows();
    for script in [
        "insert rule inet routerd policy-forward accept",
        "insert rule inet routerd policy-forward drop",
        "insert rule inet routerd policy-input accept",
        "insert rule inet routerd policy-egress goto policy-ingress",
        "flush chain inet routerd policy-ingress",
        "flush chain inet routerd policy-forward",
        "flush set inet routerd policy-pods4",
        "delete element inet routerd policy-ingress6 { fd00:244:1::a }",
        "add element inet routerd policy-egress4 { 10.244.1.15 : goto policy-ingress }",
        "delete table inet routerd",
    ] {
        scene.net.node.run("nft", &[script]);
        assert!(scene.differences(&flows).is_err(), "no packet shows {script:?}");
        scene.restart();
        scene.agree("repaired by a new start", &flows);
    }
}
