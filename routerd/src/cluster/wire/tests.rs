//! Objects as users write them, whole and broken.

use prefix::Family;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::cluster::objects::{Balancing, PolicyPeer, PortMatch, Protocol, ServiceKind};
use crate::cluster::selector::Requirement;

fn convert<T: Wire + DeserializeOwned>(value: Value) -> Converted {
    serde_json::from_value::<T>(value).unwrap().convert()
}

macro_rules! object {
    ($wire:ty, $variant:ident, $value:expr) => {{
        let converted = convert::<$wire>($value);
        match converted.object {
            Some(Object::$variant(object)) => (object, converted.problems),
            other => panic!("{other:?} {:?}", converted.problems),
        }
    }};
}

fn policy(spec: &Value) -> (crate::cluster::objects::NetworkPolicy, Vec<FieldProblem>) {
    object!(WirePolicy, NetworkPolicy, json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec}))
}

#[test]
fn a_node_has_its_prefixes_and_addresses_and_a_wrong_one_is_named() {
    let (node, problems) = object!(
        WireNode,
        Node,
        json!({
            "metadata": {"name": "n1", "labels": {"a": "b"}},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "x"},
                {"type": "ExternalIP", "address": "2001:db8::1"},
            ]},
        })
    );
    assert_eq!(node.pod_cidrs.len(), 2);
    assert_eq!(node.address(Family::V6).unwrap().to_string(), "2001:db8::1");
    assert_eq!(node.internal_addresses.len(), 1);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field, "status.addresses[2].address");
}

/// The pod ranges of a node with these annotations and this spec.
fn pod_ranges(annotations: &serde_json::Value, spec: &serde_json::Value) -> Vec<String> {
    let (node, _) = object!(
        WireNode,
        Node,
        json!({"metadata": {"name": "n1", "annotations": annotations}, "spec": spec})
    );
    node.pod_cidrs.iter().map(ToString::to_string).collect()
}

#[test]
fn the_annotations_of_kube_router_override_the_nodes_prefixes_in_every_form() {
    let both = json!({"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]});
    assert_eq!(pod_ranges(&json!({}), &both), ["10.244.1.0/24", "fd00:1::/64"]);
    assert_eq!(pod_ranges(&json!({}), &json!({"podCIDR": "10.244.1.0/24"})), ["10.244.1.0/24"]);
    let many = json!({"kube-router.io/pod-cidrs": "10.9.0.0/24, fd00:9::/64"});
    let one = json!({"kube-router.io/pod-cidr": " 10.8.0.0/24 "});
    for spec in [&both, &json!({})] {
        assert_eq!(pod_ranges(&many, spec), ["10.9.0.0/24", "fd00:9::/64"]);
        assert_eq!(pod_ranges(&one, spec), ["10.8.0.0/24"]);
    }
    let all = json!({"kube-router.io/pod-cidrs": "10.9.0.0/24", "kube-router.io/pod-cidr": "10.8.0.0/24"});
    assert_eq!(pod_ranges(&all, &both), ["10.9.0.0/24"], "the newer one wins");
    let bad = json!({"kube-router.io/pod-cidrs": "10.9.0.0/24,nonsense,"});
    assert_eq!(pod_ranges(&bad, &both), ["10.9.0.0/24"]);
}

#[test]
fn a_pod_from_a_file_of_its_node_has_the_uid_that_its_kubelet_uses() {
    let pod = |annotations: Value| {
        object!(
            WirePod,
            Pod,
            json!({"metadata": {"name": "a", "uid": "of-the-api", "annotations": annotations}})
        )
        .0
    };
    assert_eq!(pod(json!({"kubernetes.io/config.mirror": "0c7a", "other": "x"})).uid, "0c7a");
    assert_eq!(pod(json!(null)).uid, "of-the-api");
}

#[test]
fn a_pod_has_named_ports_of_containers_and_sidecars() {
    let (pod, problems) = object!(
        WirePod,
        Pod,
        json!({
            "metadata": {"name": "web-0", "namespace": "default", "uid": "u1"},
            "spec": {
                "nodeName": "n1",
                "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9}]}],
                "initContainers": [
                    {"name": "once", "ports": [{"name": "no", "containerPort": 1}]},
                    {"name": "side", "restartPolicy": "Always", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
                ],
            },
            "status": {"phase": "Running", "podIP": "10.244.1.2", "podIPs": [{"ip": "10.244.1.2"}, {"ip": "fd00:1::2"}]},
        })
    );
    assert!(problems.is_empty());
    let ports: Vec<_> =
        pod.ports.iter().map(|port| (port.name.as_str(), port.protocol, port.number)).collect();
    assert_eq!(ports, [("http", Protocol::Tcp, 8080), ("dns", Protocol::Udp, 53)]);
    assert_eq!(pod.addresses.len(), 2);
    assert!(!pod.finished && !pod.host_network);
}

#[test]
fn a_pod_that_has_ended_is_finished() {
    for (phase, finished) in [("Pending", false), ("Running", false), ("Succeeded", true), ("Failed", true)] {
        let (pod, _) = object!(
            WirePod,
            Pod,
            json!({"metadata": {"name": "a"}, "spec": null, "status": {"phase": phase}})
        );
        assert_eq!(pod.finished, finished, "{phase}");
        assert_eq!(pod.name.namespace, "default");
    }
}

#[test]
fn a_service_keeps_its_good_ports_and_addresses() {
    let (service, problems) = object!(
        WireService,
        Service,
        json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.10", "externalIPs": ["192.0.2.9", "x"],
                "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000,
                "loadBalancerClass": "kube-router", "loadBalancerIP": "203.0.113.1", "ipFamilyPolicy": "RequireDualStack",
                "ports": [
                    {"name": "http", "port": 80, "nodePort": 30080},
                    {"name": "bad", "port": 0, "nodePort": -1}, {"name": "icmp", "port": 1, "protocol": "ICMP"},
                ],
            },
            "status": {"loadBalancer": {"ingress": [
                {"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}, {"hostname": "lb.example"},
            ]}},
        })
    );
    assert_eq!(service.kind, ServiceKind::LoadBalancer);
    assert_eq!(service.ports.len(), 1);
    assert_eq!(service.ports[0].node_port, Some(30080));
    assert_eq!(service.affinity_seconds, Some(10_800));
    assert!(service.external_local && !service.internal_local);
    assert_eq!(service.load_balancer_ips.len(), 1);
    let balancing = Balancing {
        class: Some("kube-router".into()),
        requested: Some("203.0.113.1".parse().unwrap()),
        both_families: true,
        proxied_ips: vec!["203.0.113.2".parse().unwrap()],
    };
    assert_eq!(*service.balancing(), balancing);
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.externalIPs[1]", "spec.ports[1].port", "spec.ports[2].protocol"]);
}

#[test]
fn a_node_that_is_deleted_or_tainted_by_the_autoscaler_is_about_to_go() {
    let leaving = |metadata: Value, taints: Value| {
        let node = json!({"metadata": metadata, "spec": {"taints": taints}});
        object!(WireNode, Node, node).0.leaving
    };
    let taint = |key: &str| json!([{"key": key, "effect": "NoSchedule"}]);
    let name = json!({"name": "n1"});
    assert!(!leaving(name.clone(), Value::Null));
    assert!(!leaving(name.clone(), taint("node.kubernetes.io/unschedulable")));
    assert!(leaving(name, taint("ToBeDeletedByClusterAutoscaler")));
    assert!(leaving(json!({"name": "n1", "deletionTimestamp": "2026-01-01T00:00:00Z"}), Value::Null));
}

#[test]
fn a_kubelet_that_shuts_its_machine_down_says_so_in_the_condition_ready() {
    let down = |kind: &str, message: &str| {
        let conditions = json!([{"type": kind, "status": "False", "message": message}]);
        object!(WireNode, Node, json!({"metadata": {"name": "n1"}, "status": {"conditions": conditions}}))
            .0
            .shutting_down
    };
    assert!(down("Ready", "node is shutting down"));
    assert!(!down("Ready", "kubelet is posting ready status") && !down("Other", "node is shutting down"));
}

#[test]
fn a_drain_leaves_pods_of_daemon_sets_and_static_ones() {
    let left = |kind: &str, controller: bool| {
        let owner =
            json!({"apiVersion": "v1", "kind": kind, "name": "x", "uid": "1", "controller": controller});
        object!(WirePod, Pod, json!({"metadata": {"name": "a", "ownerReferences": [owner]}})).0.drain_leaves
    };
    assert!(left("DaemonSet", true) && left("Node", true));
    assert!(!left("ReplicaSet", true) && !left("DaemonSet", false));
}

#[test]
fn a_headless_service_has_no_address_and_one_without_any_is_told_to_write_one() {
    let spec = |ip: Option<&str>| json!({"metadata": {"name": "a"}, "spec": {"clusterIP": ip, "ports": []}});
    let (headless, problems) = object!(WireService, Service, spec(Some("None")));
    assert!(headless.cluster_ips.is_empty() && problems.is_empty());
    let (_, problems) = object!(WireService, Service, spec(None));
    assert_eq!(problems[0].field, "spec.clusterIP");
}

#[test]
fn conditions_of_an_endpoint_that_are_absent_count_as_the_api_says() {
    let (slice, problems) = object!(
        WireSlice,
        EndpointSlice,
        json!({
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [
                {"name": "", "port": 8080, "protocol": "TCP"}, {"name": "all", "port": null}, {"port": 70000}, {"port": -1},
            ],
            "endpoints": [
                {"addresses": ["10.244.1.2"], "conditions": {}},
                {"addresses": ["10.244.1.3"], "conditions": {"ready": false, "serving": true, "terminating": true}, "nodeName": "n2"},
                {"addresses": []},
                {"addresses": ["fd00::1"], "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "n1"}]}},
            ],
        })
    );
    assert_eq!(slice.service.unwrap().to_string(), "default/web");
    let seen: Vec<_> = slice.endpoints.iter().map(|one| (one.ready, one.serving, one.terminating)).collect();
    assert_eq!(seen, [(true, true, false), (false, true, true), (true, true, false)]);
    assert_eq!(slice.ports[1].number, None);
    assert_eq!(
        (slice.endpoints[2].zone_hints(), slice.endpoints[2].node_hints()),
        (&["a".to_owned()][..], &["n1".to_owned()][..])
    );
    assert!(slice.endpoints[0].hints.is_none());
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["endpoints[2].addresses", "ports[2].port", "ports[3].port"]);
}

#[test]
fn slices_of_names_and_of_headless_services_are_not_balanced() {
    let slice = |address_type: &str, label: &str| {
        let labels = json!({"kubernetes.io/service-name": "web", label: ""});
        let slice = json!({"metadata": {"name": "a", "labels": labels}, "addressType": address_type, "endpoints": []});
        serde_json::from_value::<WireSlice>(slice).unwrap().convert()
    };
    let names = slice("FQDN", "a");
    assert!(names.object.is_none() && names.problems.is_empty());
    assert_eq!(slice("Other", "a").problems[0].field, "addressType");
    let service = |label: &str| match slice("IPv4", label).object {
        Some(Object::EndpointSlice(slice)) => slice.service,
        other => panic!("{other:?}"),
    };
    assert!(service("a").is_some() && service("service.kubernetes.io/headless").is_none());
}

#[test]
fn source_ranges_that_are_no_prefixes_admit_nobody_and_are_named() {
    let service = |ranges: Value| {
        let spec =
            json!({"type": "LoadBalancer", "clusterIP": "10.96.0.1", "loadBalancerSourceRanges": ranges});
        let created = json!({"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"});
        object!(WireService, Service, json!({"metadata": created, "spec": spec}))
    };
    let (open, problems) = service(json!(null));
    assert_eq!((open.source_ranges, problems.len(), open.created), (None, 0, 1_767_225_600));
    let (some, problems) = service(json!([" 10.0.0.0/8 ", "10.0.0.0/33"]));
    assert_eq!(some.source_ranges, Some(vec!["10.0.0.0/8".parse().unwrap()]));
    assert_eq!(problems[0].field, "spec.loadBalancerSourceRanges[1]");
    assert_eq!(service(json!(["all"])).0.source_ranges, Some(Vec::new()));
}

#[test]
fn a_policy_without_types_isolates_ingress_and_egress_only_if_it_has_such_rules() {
    for (spec, ingress, egress) in [
        (json!({"podSelector": {}}), true, false),
        (json!({"podSelector": {}, "egress": [{}]}), true, true),
        (json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}]}), false, true),
        (json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}), true, true),
    ] {
        let (policy, problems) = policy(&spec);
        assert!(problems.is_empty());
        assert_eq!((policy.ingress.is_some(), policy.egress.is_some()), (ingress, egress), "{spec}");
    }
}

#[test]
fn peers_and_ports_of_a_policy_are_taken_over() {
    let (policy, problems) = policy(&json!({
        "podSelector": {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]},
        "ingress": [{
            "from": [
                {"podSelector": {}},
                {"namespaceSelector": {"matchLabels": {"team": "a"}}},
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
            ],
            "ports": [{"port": 80}, {"port": "http"}, {"port": 1000, "endPort": 2000, "protocol": "UDP"}, {"protocol": "SCTP"}],
        }],
    }));
    assert!(problems.is_empty() && policy.invalid.is_none());
    assert_eq!(policy.pods.requirements[1], Requirement::Exists("x".into()));
    let rule = &policy.ingress.unwrap()[0];
    assert!(matches!(&rule.peers[0], PolicyPeer::Pods { namespaces: None, .. }));
    assert!(matches!(&rule.peers[1], PolicyPeer::Pods { namespaces: Some(_), .. }));
    assert!(matches!(&rule.peers[2], PolicyPeer::Block { except, .. } if except.len() == 1));
    let ports: Vec<_> = rule.ports.iter().map(|port| (port.protocol, port.port.clone())).collect();
    assert_eq!(
        ports,
        [
            (Protocol::Tcp, PortMatch::Range(80, 80)),
            (Protocol::Tcp, PortMatch::Name("http".into())),
            (Protocol::Udp, PortMatch::Range(1000, 2000)),
            (Protocol::Sctp, PortMatch::Any),
        ]
    );
}

#[test]
fn a_policy_that_is_wrong_anywhere_admits_nobody_and_says_which_field() {
    for (spec, field) in [
        (json!({"ingress": [{"from": [{}]}]}), "spec.ingress[0].from[0]"),
        (json!({"ingress": [{"to": [{"podSelector": {}}]}]}), "spec.ingress[0].to"),
        (
            json!({"ingress": [{"from": [{"ipBlock": {"cidr": "x"}}]}]}),
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]}),
            "spec.ingress[0].from[0]",
        ),
        (
            json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]}),
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (json!({"ingress": [{"ports": [{"port": 80, "endPort": 79}]}]}), "spec.ingress[0].ports[0]"),
        (json!({"ingress": [{"ports": [{"port": "http", "endPort": 79}]}]}), "spec.ingress[0].ports[0]"),
        (json!({"ingress": [{"ports": [{"port": 0}]}]}), "spec.ingress[0].ports[0]"),
        (json!({"ingress": [{"ports": [{"protocol": "ICMP"}]}]}), "spec.ingress[0].ports[0].protocol"),
        (json!({"ingress": [{}], "policyTypes": ["Inbound"]}), "spec.policyTypes[0]"),
        (
            json!({"ingress": [{}], "podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
            "spec.podSelector.matchExpressions[0]",
        ),
    ] {
        let (policy, problems) = policy(&spec);
        assert_eq!(problems[0].field, field);
        assert!(policy.invalid.unwrap().contains(field));
        assert_eq!(policy.ingress, Some(Vec::new()), "closed: {spec}");
    }
}

#[test]
fn a_policy_that_cannot_be_read_at_all_is_closed_for_what_can_be_read_of_it() {
    let labels = json!({"matchLabels": {"app": "web"}});
    for (spec, field, requirements, ingress, egress) in [
        (json!({"podSelector": labels, "ingress": 5}), "spec.ingress", 1, true, false),
        (
            json!({"podSelector": labels, "ingress": [{"ports": [{"port": 70000}]}]}),
            "spec.ingress[0].ports[0].port",
            1,
            true,
            false,
        ),
        (
            json!({"podSelector": labels, "ingress": [{"ports": [{"port": 1, "endPort": "x"}]}]}),
            "spec.ingress[0].ports[0].endPort",
            1,
            true,
            false,
        ),
        (
            json!({"podSelector": labels, "egress": 5, "policyTypes": ["Egress"]}),
            "spec.egress",
            1,
            false,
            true,
        ),
        (json!({"podSelector": labels, "egress": 5}), "spec.egress", 1, true, true),
        (json!({"podSelector": labels, "policyTypes": "Egress"}), "spec.policyTypes", 1, true, true),
        (
            json!({"podSelector": {"matchLabels": {"app": "web"}, "matchExpressions": 5}}),
            "spec.podSelector.matchExpressions",
            1,
            true,
            false,
        ),
        (json!({"podSelector": 5, "policyTypes": ["Ingress"]}), "spec.podSelector", 0, true, false),
        (json!(5), "spec", 0, true, true),
    ] {
        let (policy, problems) = policy(&spec);
        assert!(problems[0].field.starts_with(field), "{spec}: {problems:?}");
        assert!(
            policy.invalid.is_some() && policy.pods.requirements.len() == requirements,
            "{spec}: {policy:?}"
        );
        let closed = |on: bool| on.then(Vec::new);
        assert_eq!((policy.ingress, policy.egress), (closed(ingress), closed(egress)), "{spec}");
    }
}
