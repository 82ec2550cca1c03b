//! Random clusters, and random things that happen to them.

use routerd::cluster::Event;
use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::policies::policy;
use super::{KEYS, NAMES, NAMESPACE_KEYS, NAMESPACES, NUMBERS, REMOTES, VALUES};
use crate::cluster::{Cluster, Key, given, pod};
use crate::net::{NODE, PLACES, ip, place, remote};
use crate::oracle::Wired;

/// How many names pods share: a name comes again, with other labels and elsewhere.
const POD_NAMES: usize = 9;
const POLICY_NAMES: usize = 4;

/// A cluster with pods at most places, and policies.
pub(super) fn cluster(dice: &mut Dice) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.host_pods_are_peers = dice.chance(30);
    cluster.crowds_above = dice.of(&[None, None, Some(0), Some(2)]);
    for name in NAMESPACES {
        cluster.put(namespace(dice, name));
    }
    for number in 0..PLACES - 1 {
        local_pod(dice, &mut cluster, number);
    }
    for number in 0..REMOTES - 1 {
        remote_pod(dice, &mut cluster, number);
    }
    for (node, pair) in [(NODE, ["192.0.2.1", "2001:db8::1"]), ("node2", ["192.0.2.2", "2001:db8::2"])] {
        let mut document = pod(&format!("a/host-{node}"), "", node, &pair.map(ip), "");
        document["metadata"]["labels"] = some_labels(dice, &KEYS);
        document["spec"]["hostNetwork"] = true.into();
        containers(dice, &mut document);
        cluster.put(document);
    }
    for _ in 0..dice.below(6) {
        put_policy(dice, &mut cluster);
    }
    cluster
}

fn some_labels(dice: &mut Dice, keys: &[&str]) -> Value {
    let mut labels = Map::new();
    for key in keys {
        if dice.chance(70) {
            labels.insert((*key).to_owned(), dice.of(&VALUES).into());
        }
    }
    labels.into()
}

fn namespace(dice: &mut Dice, name: &str) -> Value {
    let labels = some_labels(dice, &NAMESPACE_KEYS);
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// Containers, an init container whose ports do not count, and a sidecar whose ports do. No name comes twice.
fn containers(dice: &mut Dice, document: &mut Value) {
    let mut lists = [Vec::new(), Vec::new(), Vec::new()];
    for name in NAMES {
        let protocol = dice.of(&["TCP", "TCP", "UDP", "SCTP"]);
        let port = json!({"name": name, "protocol": protocol, "containerPort": dice.of(&NUMBERS)});
        match dice.below(6) {
            0..=1 => lists[0].push(port),
            2 => lists[1].push(port),
            3 => lists[2].push(port),
            _ => {}
        }
    }
    let [main, sidecar, init] = lists;
    document["spec"]["containers"] = json!([{"name": "main", "ports": main}]);
    document["spec"]["initContainers"] = json!([
        {"name": "init", "ports": init},
        {"name": "sidecar", "restartPolicy": "Always", "ports": sidecar},
    ]);
}

/// The name of a pod that is not there.
fn free_name(dice: &mut Dice, cluster: &Cluster) -> Option<String> {
    let name = format!("{}/p{}", dice.of(&NAMESPACES), dice.below(POD_NAMES));
    let taken = |(key, _): (&Key, &Value)| format!("{}/{}", key.1, key.2) == name;
    let wired = cluster.wired().values().any(|(wired, _)| wired.pod == name);
    (!wired && !cluster.of_kind("Pod").any(taken)).then_some(name)
}

/// A new pod at a place: known to the plugin first, or to the cluster first, or to the cluster only.
fn local_pod(dice: &mut Dice, cluster: &mut Cluster, number: usize) -> Vec<Event> {
    let Some(name) = free_name(dice, cluster) else { return Vec::new() };
    let addresses = given(number);
    let mut document = pod(&name, "", NODE, &addresses, "");
    document["metadata"]["labels"] = some_labels(dice, &KEYS);
    containers(dice, &mut document);
    let uid = format!("uid-{}", dice.below(1_000_000));
    document["metadata"]["uid"] = uid.as_str().into();
    let wired = Wired { pod: name.clone(), uid: dice.chance(70).then_some(uid) };
    let container = format!("{name}-{number}");
    match dice.below(4) {
        0 => vec![cluster.put(document)],
        1 => {
            // Before the kubelet has written the status.
            document["status"] = json!({"phase": "Pending"});
            let attached = cluster.attach_as(&container, wired, &addresses);
            vec![attached, cluster.put(document)]
        }
        2 => vec![cluster.attach_as(&container, wired, &addresses)],
        _ => vec![cluster.put(document), cluster.attach_as(&container, wired, &addresses)],
    }
}

fn remote_pod(dice: &mut Dice, cluster: &mut Cluster, number: usize) -> Vec<Event> {
    let Some(name) = free_name(dice, cluster) else { return Vec::new() };
    let mut document = pod(&name, "", "node2", &remote(number), "");
    document["metadata"]["labels"] = some_labels(dice, &KEYS);
    containers(dice, &mut document);
    vec![cluster.put(document)]
}

fn put_policy(dice: &mut Dice, cluster: &mut Cluster) -> Vec<Event> {
    let (namespace, number) = (dice.of(&NAMESPACES), dice.below(POLICY_NAMES));
    vec![cluster.put(policy(dice, namespace, &format!("policy{number}")))]
}

fn any_of(dice: &mut Dice, cluster: &Cluster, kind: &str) -> Option<(Key, Value)> {
    let all: Vec<(Key, Value)> =
        cluster.of_kind(kind).map(|(key, value)| (key.clone(), value.clone())).collect();
    (!all.is_empty()).then(|| dice.of(&all))
}

/// A place or address that no living pod claims.
fn free(cluster: &Cluster, addresses: [std::net::IpAddr; 2]) -> bool {
    let text = addresses[0].to_string();
    let claims = |(_, document): (&Key, &Value)| {
        let phase = document.pointer("/status/phase").and_then(Value::as_str);
        let over = matches!(phase, Some("Succeeded" | "Failed"));
        !over && document.pointer("/status/podIPs/0/ip").and_then(Value::as_str) == Some(&text)
    };
    let wired = cluster.wired().values().any(|(_, given)| given.contains(&addresses[0]));
    !wired && !cluster.of_kind("Pod").any(claims)
}

/// One thing that happens: what it is called, and what the daemon is told.
pub(super) fn edit(dice: &mut Dice, cluster: &mut Cluster) -> (&'static str, Vec<Event>) {
    match dice.below(20) {
        0..=5 => ("a policy is written", put_policy(dice, cluster)),
        6..=7 => ("a policy is deleted", delete(dice, cluster, "NetworkPolicy")),
        8..=10 => ("a pod has other labels", relabel(dice, cluster)),
        11 => ("a pod is made again under its name", again(dice, cluster)),
        12 => {
            let document = namespace(dice, NAMESPACES[dice.clone().below(NAMESPACES.len())]);
            ("a namespace has other labels", vec![cluster.put(document)])
        }
        13..=14 => ("a pod has finished", finish(dice, cluster)),
        15 => ("a pod is deleted", delete(dice, cluster, "Pod")),
        16 => ("a pod's interface is taken away", unwire(dice, cluster)),
        17..=18 => {
            let number = dice.below(PLACES);
            let events =
                if free(cluster, place(number)) { local_pod(dice, cluster, number) } else { Vec::new() };
            ("a new pod gets an address", events)
        }
        _ => {
            let number = dice.below(REMOTES);
            let is_free = free(cluster, remote(number));
            ("a new pod elsewhere", if is_free { remote_pod(dice, cluster, number) } else { Vec::new() })
        }
    }
}

fn delete(dice: &mut Dice, cluster: &mut Cluster, kind: &str) -> Vec<Event> {
    let Some((key, _)) = any_of(dice, cluster, kind) else { return Vec::new() };
    vec![cluster.delete(&key)]
}

fn relabel(dice: &mut Dice, cluster: &mut Cluster) -> Vec<Event> {
    let Some((_, mut document)) = any_of(dice, cluster, "Pod") else { return Vec::new() };
    document["metadata"]["labels"] = some_labels(dice, &KEYS);
    vec![cluster.put(document)]
}

/// A pod of a StatefulSet: the name stays, everything else is another, and the old interface may still be there.
fn again(dice: &mut Dice, cluster: &mut Cluster) -> Vec<Event> {
    let Some((_, mut document)) = any_of(dice, cluster, "Pod") else { return Vec::new() };
    let of_host = document.pointer("/spec/hostNetwork").is_some();
    if of_host || document["spec"]["nodeName"] != NODE {
        return Vec::new();
    }
    document["metadata"]["labels"] = some_labels(dice, &KEYS);
    document["metadata"]["uid"] = format!("uid-{}", dice.below(1_000_000)).into();
    document["status"] = json!({"phase": "Pending"});
    vec![cluster.put(document)]
}

fn finish(dice: &mut Dice, cluster: &mut Cluster) -> Vec<Event> {
    let Some((_, mut document)) = any_of(dice, cluster, "Pod") else { return Vec::new() };
    document["status"]["phase"] = dice.of(&["Succeeded", "Failed"]).into();
    vec![cluster.put(document)]
}

fn unwire(dice: &mut Dice, cluster: &mut Cluster) -> Vec<Event> {
    let containers: Vec<String> = cluster.wired().keys().cloned().collect();
    if containers.is_empty() {
        return Vec::new();
    }
    let container = dice.of(&containers);
    let (wired, _) = cluster.wired()[&container].clone();
    let mut events = vec![cluster.detach(&container)];
    // The status of a pod without an interface still names the address, which may be another's soon: the kubelet
    // writes the end of the pod, or the pod goes. One that was made again has nothing to do with it.
    let (namespace, name) = wired.pod.split_once('/').unwrap();
    let key = ("Pod".to_owned(), namespace.to_owned(), name.to_owned());
    let found = cluster.of_kind("Pod").find(|(other, _)| **other == key);
    let document = found.map(|(_, document)| document.clone());
    let is_its = |document: &Value| {
        wired.uid.is_none() || document["metadata"]["uid"].as_str() == wired.uid.as_deref()
    };
    if let Some(mut document) = document.filter(is_its) {
        document["status"]["phase"] = "Failed".into();
        events.push(if dice.chance(50) { cluster.put(document) } else { cluster.delete(&key) });
    }
    events
}
