//! Which addresses of Services are announced, and when.

use super::*;
use crate::cluster::objects::{
    Endpoint, EndpointSlice, Protocol, Service, ServiceKind, ServicePort, SlicePort, Word,
};
use crate::cluster::{ForceNews, InForce};
use crate::services;

const VIP: &str = "10.96.0.10";
const EXTERNAL: &str = "203.0.113.7";
const BALANCER: &str = "203.0.113.8";

fn plane_with(advertise: AdvertiseConfig) -> Advertise {
    let settings = services::Settings { any_external_address: true, ..services::Settings::default() };
    Advertise {
        bgp: BgpConfig { advertise, ..bgp() },
        direct: Dsr::new(settings.clone()),
        services: services::desired::Services::new(settings),
        ..plane()
    }
}

fn everything() -> AdvertiseConfig {
    AdvertiseConfig {
        pod_cidrs: true,
        cluster_ips: true,
        external_ips: true,
        load_balancer_ips: true,
        service_ranges: Vec::new(),
    }
}

pub(super) fn service(name: &str) -> Service {
    Service {
        name: ObjectName::new("ns", name),
        kind: ServiceKind::LoadBalancer,
        cluster_ips: vec![VIP.parse().unwrap()],
        external_ips: vec![EXTERNAL.parse().unwrap()],
        load_balancer_ips: vec![BALANCER.parse().unwrap()],
        ports: vec![ServicePort {
            name: Word::default(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        ..Service::default()
    }
}

pub(super) fn slice(name: &str, node: &str, ready: bool) -> Event {
    let endpoint = Endpoint {
        address: "10.244.1.5".parse().unwrap(),
        node: Some(node.into()),
        ready,
        serving: ready,
        terminating: false,
        hints: None,
    };
    Event::Upsert(Object::EndpointSlice(EndpointSlice {
        name: ObjectName::new("ns", format!("{name}-1")),
        service: Some(ObjectName::new("ns", name)),
        family: Family::V4,
        ports: vec![SlicePort { name: Word::default(), protocol: Protocol::Tcp, number: Some(8080) }],
        endpoints: vec![endpoint],
    }))
}

fn own() -> Event {
    node("a", &["10.244.1.0/24"], &["192.0.2.1"])
}

fn announced(plane: &Advertise, events: Vec<Event>) -> Vec<String> {
    let model = model(&desired(plane, &index("a", std::iter::once(own()).chain(events))));
    let hosts = told(&model).prefixes.into_iter().filter(|(prefix, _)| prefix.is_host());
    hosts
        .map(|(prefix, announcement)| {
            assert_eq!(announcement.audience, Audience::External, "no VIP goes to other nodes");
            prefix.address().to_string()
        })
        .collect()
}

pub(super) fn put(service: Service) -> Event {
    Event::Upsert(Object::Service(service))
}

#[test]
fn each_kind_of_address_has_its_flag_and_annotations_win() {
    let with = |advertise, annotations: &[(&str, &str)]| {
        let pairs = annotations
            .iter()
            .map(|(key, value)| (format!("kube-router.io/service.advertise.{key}"), (*value).to_owned()));
        let service = Service { annotations: pairs.collect(), ..service("web") };
        announced(&plane_with(advertise), vec![put(service), slice("web", "b", true)])
    };
    let none = AdvertiseConfig::default;
    assert_eq!(with(none(), &[]), Vec::<String>::new());
    assert_eq!(with(AdvertiseConfig { cluster_ips: true, ..none() }, &[]), [VIP]);
    assert_eq!(with(AdvertiseConfig { external_ips: true, ..none() }, &[]), [EXTERNAL]);
    assert_eq!(with(AdvertiseConfig { load_balancer_ips: true, ..none() }, &[]), [BALANCER]);
    assert_eq!(with(none(), &[("clusterip", "true"), ("externalip", "1")]), [VIP, EXTERNAL]);
    assert_eq!(with(everything(), &[("externalip", "false"), ("loadbalancerip", "perhaps")]), [VIP]);
}

#[test]
fn an_address_is_announced_while_it_has_an_endpoint_that_its_policy_admits() {
    let with = |change: fn(&mut Service), slices: Vec<Event>| {
        let mut service = service("web");
        change(&mut service);
        announced(&plane_with(everything()), std::iter::once(put(service)).chain(slices).collect())
    };
    let all = [VIP, EXTERNAL, BALANCER];
    assert_eq!(with(|_| {}, vec![slice("web", "b", true)]), all);
    assert_eq!(with(|_| {}, vec![]), Vec::<String>::new());
    assert_eq!(with(|_| {}, vec![slice("web", "b", false)]), Vec::<String>::new());
    let outside = |service: &mut Service| service.external_local = true;
    assert_eq!(with(outside, vec![slice("web", "b", true)]), [VIP]);
    assert_eq!(with(outside, vec![slice("web", "a", true)]), all);
    let inside = |service: &mut Service| service.internal_local = true;
    assert_eq!(with(inside, vec![slice("web", "b", true)]), [EXTERNAL, BALANCER]);
}

#[test]
fn a_shared_address_stays_while_any_of_its_services_has_endpoints_and_a_broken_one_touches_no_other() {
    let other = || Service { cluster_ips: vec!["10.96.0.11".parse().unwrap()], ..service("other") };
    let plane = plane_with(AdvertiseConfig { external_ips: true, ..AdvertiseConfig::default() });
    let both = vec![put(service("web")), put(other()), slice("web", "b", true)];
    assert_eq!(announced(&plane, both), [EXTERNAL]);
    // Issue 1917 of kube-router: a Service without EndpointSlice took the addresses of all.
    let bad = Service {
        annotations: [("kube-router.io/service.bgp.communities".into(), "what".into())].into(),
        external_ips: vec!["203.0.113.99".parse().unwrap()],
        ..service("bad")
    };
    let events = vec![put(bad), slice("bad", "b", true), put(service("web")), slice("web", "b", true)];
    let desired = desired(&plane, &index("a", std::iter::once(own()).chain(events)));
    let wrong = &desired[&Key::Service(ObjectName::new("ns", "bad"))];
    assert!(matches!(wrong, Value::Wrong(reason) if reason.contains("\"what\"")), "{wrong:?}");
    let prefixes = told(&model(&desired)).prefixes;
    assert!(prefixes.contains_key(&Prefix::host(EXTERNAL.parse().unwrap())));
}

#[test]
fn an_address_of_a_family_that_the_node_lacks_is_left_out_and_told_and_the_others_are_announced() {
    let six: IpAddr = "fd96::10".parse().unwrap();
    let web = Service { cluster_ips: vec![VIP.parse().unwrap(), six], ..service("web") };
    let mut slice6 = slice("web", "b", true);
    if let Event::Upsert(Object::EndpointSlice(slice)) = &mut slice6 {
        (slice.name, slice.family) = (ObjectName::new("ns", "web-6"), Family::V6);
        slice.endpoints[0].address = "fd10::5".parse().unwrap();
    }
    let events = [own(), put(web), slice("web", "b", true), slice6];
    let desired = desired(&plane_with(everything()), &index("a", events));
    let value = &desired[&Key::Service(ObjectName::new("ns", "web"))];
    let reason = value.problem().unwrap();
    assert!(reason.contains("no IPv6 address") && reason.contains("fd96::10"), "{reason}");
    let state = told(&model(&desired));
    assert!(state.prefixes.contains_key(&Prefix::host(VIP.parse().unwrap())), "{state:?}");
    let host = Prefix::host(six);
    assert!(!state.prefixes.contains_key(&host) && state.ours.contains(&host), "{state:?}");
}

/// A plane that waits for what is programmed.
pub(super) fn programmed() -> Advertise {
    Advertise { programmed_by: Some(vec!["services"]), ..plane_with(everything()) }
}

pub(super) fn in_force(news: ForceNews) -> Event {
    Event::InForce(InForce { plane: "services", news })
}

#[test]
fn an_address_is_announced_only_while_it_is_in_the_kernel_and_is_nobody_elses_all_the_time() {
    let plane = programmed();
    let mut index = index("a", [own(), put(service("web")), slice("web", "b", true)]);
    let mut kept = desired(&plane, &index);
    let shown = |kept: &BTreeMap<Key, Value>| {
        let state = told(&model(kept));
        let hosts = state.prefixes.keys().filter(|prefix| prefix.is_host());
        let complete = matches!(&kept[&Key::Speaker], Value::Speaker(identity) if identity.complete);
        (hosts.map(|prefix| prefix.address().to_string()).collect::<Vec<_>>(), state.ours.len(), complete)
    };
    assert_eq!(shown(&kept), (vec![], 4, false), "the pods' range is announced at once");
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let some = |text: &str, served| ForceNews::Some([(text.parse().unwrap(), served)].into());
    for (news, announced, complete) in [
        (some(VIP, true), vec![VIP], false),
        (ForceNews::All(addresses(&[VIP, EXTERNAL])), vec![VIP, EXTERNAL], true),
        (some(VIP, false), vec![EXTERNAL], true),
        (ForceNews::Unknown, vec![EXTERNAL], true),
    ] {
        if let Some(change) = index.apply(in_force(news)) {
            for key in plane.touched(&index, &change) {
                kept.insert(key.clone(), plane.desired(&index, &key).unwrap());
            }
        }
        assert_eq!(kept, desired(&plane, &index), "what a change touches is enough");
        let announced: Vec<String> = announced.into_iter().map(str::to_owned).collect();
        assert_eq!(shown(&kept), (announced, 4, complete));
    }
}

#[test]
fn without_a_plane_that_could_program_it_nothing_waits() {
    let plane = Advertise { programmed_by: Some(Vec::new()), ..plane_with(everything()) };
    let desired = desired(&plane, &index("a", [own(), put(service("web")), slice("web", "b", true)]));
    assert!(matches!(&desired[&Key::Speaker], Value::Speaker(identity) if identity.complete));
    assert_eq!(told(&model(&desired)).prefixes.len(), 1, "and no address of a Service is announced");
}

#[test]
fn a_service_with_direct_return_is_announced_by_its_external_addresses_too() {
    let annotations = [("kube-router.io/service.dsr".to_owned(), "tunnel".to_owned())].into();
    let mut web = Service { annotations, ..service("web") };
    // In a tunnel the port cannot be changed.
    web.ports[0].port = 8080;
    let tunnelled = || announced(&plane_with(everything()), vec![put(web.clone()), slice("web", "a", true)]);
    assert_eq!(tunnelled(), [VIP, EXTERNAL, BALANCER]);
}

#[test]
fn a_node_that_load_balancers_are_to_leave_announces_pods_only() {
    let labelled = |label: &str| {
        let own = Node {
            name: "a".into(),
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
            internal_addresses: vec!["192.0.2.1".parse().unwrap()],
            labels: [(label.to_owned(), String::new())].into(),
            ..Node::default()
        };
        let range = "10.96.0.0/12".parse().unwrap();
        let plane = plane_with(AdvertiseConfig { service_ranges: vec![range], ..everything() });
        let events = [Event::Upsert(Object::Node(own)), put(service("web")), slice("web", "a", true)];
        told(&model(&desired(&plane, &index("a", events)))).prefixes.len()
    };
    assert_eq!(labelled("node.kubernetes.io/exclude-from-external-load-balancers"), 1);
    assert_eq!(labelled("other"), 5, "pods, the range and three addresses");
}

#[test]
fn communities_of_a_service_go_with_its_addresses() {
    let annotations =
        [("kube-router.io/service.bgp.communities".to_owned(), "no-export, 64512:1:2".to_owned())].into();
    let plane = plane_with(everything());
    let events = [own(), put(Service { annotations, ..service("web") }), slice("web", "a", true)];
    let prefixes = told(&model(&desired(&plane, &index("a", events)))).prefixes;
    let communities = &prefixes[&Prefix::host(VIP.parse().unwrap())].communities;
    assert_eq!(
        (&communities.standard[..], &communities.large[..]),
        (&[0xffff_ff01][..], &[(64512, 1, 2)][..])
    );
}
