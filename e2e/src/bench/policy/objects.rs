//! The objects of a cluster. Pods are as heavy as those that a real API server tells of: most of it is of no use for policy and must
//! be read past.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::bench::api::Kind;
use crate::bench::world::{CLIENT, FIRST_PORT, NODE_ADDRESS, SERVER};

/// The node under test.
pub(super) const NODE: &str = "node1";
/// The addresses of its pods.
const NODE_RANGE: &str = "10.244.0.0/16";
/// The node that all other pods are on.
const OTHER_NODE: &str = "node2";

/// The namespace of the two pods that send real packets.
pub(super) const PROBE: &str = "probe";
/// At this UDP port it may not.
pub(super) const REFUSED_PORT: u16 = 700;

/// Which cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Cluster {
    /// Pods, without the two that send packets.
    pub(super) pods: usize,
    /// How many of them are on the node under test.
    pub(super) local: usize,
    /// Policies, without those of the two.
    pub(super) policies: usize,
    /// Rules of a policy's ingress.
    pub(super) rules: usize,
    /// Namespaces that both are spread over.
    pub(super) namespaces: usize,
    /// Labels that pods of a namespace are told apart by.
    pub(super) labels: usize,
    /// Each policy selects every pod of its namespace.
    pub(super) all: bool,
}

impl Cluster {
    /// All objects.
    pub(super) fn objects(self) -> Vec<(Kind, Value)> {
        let mut objects = vec![node(NODE, NODE_ADDRESS, NODE_RANGE), {
            node(OTHER_NODE, Ipv4Addr::new(198, 51, 100, 2), "10.128.0.0/9")
        }];
        objects.extend((0..self.namespaces).map(|number| team(number, number % 10)));
        objects.extend((0..self.pods).map(|number| self.pod(number, self.label(number))));
        objects.extend((0..self.policies).map(|number| self.policy(number, 0)));
        objects.extend(probes());
        objects
    }

    /// The label that tells a pod from others at first.
    pub(super) fn label(self, number: usize) -> usize {
        (number / self.namespaces + number) % self.labels
    }

    /// A policy that selects a local pod of a namespace, if the namespace has one.
    pub(super) fn judging(self, namespace: usize) -> usize {
        namespace + self.namespaces * self.label(namespace)
    }

    /// A pod of another node in a namespace, with a label that differs from the last turn's: by one of the two that take turns
    /// the namespace's [`Self::judging`] policy finds it.
    pub(super) fn flipped_pod(self, namespace: usize, turn: usize) -> (Kind, Value) {
        let first_remote = self.local.div_ceil(self.namespaces);
        let number = namespace + self.namespaces * (first_remote + turn / 2);
        let admitted = self.judging(namespace) * 7 % self.labels;
        let stranger = (admitted + 5) % self.labels;
        let begins_as_stranger = self.label(number) != admitted;
        let label = if turn.is_multiple_of(2) == begins_as_stranger { admitted } else { stranger };
        self.pod(number, label)
    }

    /// A pod with this label.
    pub(super) fn pod(self, number: usize, label: usize) -> (Kind, Value) {
        let name = format!("p{number}");
        let labels = json!({"app": format!("a{label}"), "n": number.to_string()});
        let (on, base) = if number < self.local {
            (NODE, Ipv4Addr::new(10, 244, 1, 0))
        } else {
            (OTHER_NODE, Ipv4Addr::new(10, 128, 0, 0))
        };
        let address = Ipv4Addr::from(u32::from(base) + u32::try_from(number).unwrap_or(0));
        (Kind::Pod, pod(&name, &format!("ns{}", number % self.namespaces), &labels, on, address))
    }

    /// A policy; each version of it admits another port.
    pub(super) fn policy(self, number: usize, version: usize) -> (Kind, Value) {
        let label = number / self.namespaces % self.labels;
        let selector =
            if self.all { json!({}) } else { json!({"matchLabels": {"app": format!("a{label}")}}) };
        let peer = |k: usize| json!({"podSelector": {"matchLabels": {"app": format!("a{}", (number * 7 + k) % self.labels)}}});
        let team = json!({"namespaceSelector": {"matchLabels": {"team": format!("t{}", number % 10)}}});
        let rule = |rule: usize| {
            let port = 1000 + (number * self.rules + rule + version * 997) % 50_000;
            json!({"from": [peer(rule), peer(rule + 1), peer(rule + 2), team], "ports": [{"protocol": "TCP", "port": port}]})
        };
        let ingress: Vec<Value> = (0..self.rules).map(rule).collect();
        let name =
            json!({"name": format!("np{number}"), "namespace": format!("ns{}", number % self.namespaces)});
        let spec = json!({
            "podSelector": selector,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [{
                "to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
                "ports": [{"protocol": "TCP", "port": 53}, {"protocol": "UDP", "port": 53}],
            }],
        });
        (Kind::NetworkPolicy, json!({"metadata": name, "spec": spec}))
    }
}

/// A namespace by its number, and its team.
pub(super) fn team(number: usize, team: usize) -> (Kind, Value) {
    namespace(&format!("ns{number}"), &format!("t{team}"))
}

/// The client as a pod; with the role the server's policy admits it.
pub(super) fn client(admitted: bool) -> (Kind, Value) {
    let role = if admitted { "client" } else { "stranger" };
    (Kind::Pod, pod("client", PROBE, &json!({"role": role, "side": "client"}), NODE, CLIENT))
}

/// The two pods that send packets, and one policy for each.
fn probes() -> Vec<(Kind, Value)> {
    let ports = json!([{"protocol": "UDP", "port": FIRST_PORT, "endPort": 65_535}]);
    let server = json!({"matchLabels": {"role": "server"}});
    let policies = [
        (
            "server",
            json!({
                "podSelector": server, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "client"}}}], "ports": ports}],
            }),
        ),
        (
            "client",
            json!({
                "podSelector": {"matchLabels": {"side": "client"}}, "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": server}], "ports": ports}],
            }),
        ),
    ];
    let policy = |(name, spec): (&str, Value)| {
        (Kind::NetworkPolicy, json!({"metadata": {"name": name, "namespace": PROBE}, "spec": spec}))
    };
    let mut objects = vec![
        namespace(PROBE, PROBE),
        client(true),
        (Kind::Pod, pod("server", PROBE, &json!({"role": "server"}), NODE, SERVER)),
    ];
    objects.extend(policies.map(policy));
    objects
}

fn node(name: &str, address: Ipv4Addr, range: &str) -> (Kind, Value) {
    let metadata = json!({"name": name, "uid": name, "labels": {"kubernetes.io/hostname": name}});
    let addresses =
        json!([{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]);
    let node = json!({
        "metadata": metadata,
        "spec": {"podCIDR": range, "podCIDRs": [range]},
        "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    (Kind::Node, node)
}

fn namespace(name: &str, team: &str) -> (Kind, Value) {
    let labels = json!({"team": team, "kubernetes.io/metadata.name": name});
    (Kind::Namespace, json!({"metadata": {"name": name, "uid": name, "labels": labels}}))
}

fn pod(name: &str, namespace: &str, labels: &Value, node: &str, address: Ipv4Addr) -> Value {
    let time = "2026-01-01T00:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": time});
    let conditions: Vec<Value> =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .map(condition)
            .into();
    let hash = "5f4dcc3b5aa765d61d8327deb882cf99";
    json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "labels": labels,
            "creationTimestamp": time, "generateName": "deployment-5f4dcc3b5-",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "deployment-5f4dcc3b5", "uid": hash,
                "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": time,
                "fieldsType": "FieldsV1", "subresource": "status", "fieldsV1": {"f:status": {"f:conditions": {
                    "k:{\"type\":\"Ready\"}": {".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}},
                    "f:containerStatuses": {}, "f:hostIP": {}, "f:phase": {}, "f:podIP": {}, "f:podIPs": {}, "f:startTime": {}}}}],
        },
        "spec": {
            "nodeName": node, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccountName": "default",
            "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30, "enableServiceLinks": true,
            "containers": [{"name": "server", "image": format!("registry.example/team/server@sha256:{hash}{hash}"),
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "env": [{"name": "LEVEL", "value": "info"}, {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "10m", "memory": "64Mi"}},
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
                "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}],
            "volumes": [{"name": "token", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]}}],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
        "status": {
            "phase": "Running", "hostIP": NODE_ADDRESS, "podIP": address, "podIPs": [{"ip": address}], "startTime": time,
            "qosClass": "Burstable", "conditions": conditions,
            "containerStatuses": [{"name": "server", "ready": true, "started": true, "restartCount": 0, "lastState": {},
                "state": {"running": {"startedAt": time}}, "image": "registry.example/team/server", "imageID": hash,
                "containerID": format!("containerd://{hash}{hash}")}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Cluster =
        Cluster { pods: 20, local: 3, policies: 4, rules: 2, namespaces: 2, labels: 2, all: false };

    #[test]
    fn a_cluster_has_as_many_objects_as_it_says_and_pods_of_a_real_weight() {
        let objects = SMALL.objects();
        let count = |kind| objects.iter().filter(|(of, _)| *of == kind).count();
        assert_eq!((count(Kind::Pod), count(Kind::NetworkPolicy), count(Kind::Namespace)), (22, 6, 3));
        let here = objects.iter().filter(|(_, object)| object["spec"]["nodeName"] == NODE).count();
        assert_eq!(here, 3 + 2);
        let weight = SMALL.pod(1, 1).1.to_string().len();
        assert!((2_000..5_000).contains(&weight), "{weight} bytes");
    }

    #[test]
    fn no_two_pods_have_the_same_address() {
        let objects = Cluster { pods: 11_000, local: 1_000, ..SMALL }.objects();
        let pods = objects.iter().filter(|(kind, _)| *kind == Kind::Pod);
        let mut addresses: Vec<&str> = pods.filter_map(|(_, pod)| pod["status"]["podIP"].as_str()).collect();
        let all = addresses.len();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), all);
    }

    #[test]
    fn a_policy_selects_pods_that_are_there() {
        let labels: Vec<Value> = (0..20)
            .map(|number| SMALL.pod(number, SMALL.label(number)).1["metadata"]["labels"]["app"].clone())
            .collect();
        for number in 0..4 {
            let wanted = SMALL.policy(number, 0).1["spec"]["podSelector"]["matchLabels"]["app"].clone();
            assert!(labels.contains(&wanted), "{wanted}");
        }
        assert_ne!(SMALL.policy(1, 0), SMALL.policy(1, 1));
    }
}
