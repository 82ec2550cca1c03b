//! The allocator with an API server in memory, and a watch that is as far behind as a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use prefix::Family;

use super::*;
use crate::cluster::balancing::{Edit, Written};
use crate::cluster::objects::{Balancing, Node, ObjectName, Service, ServiceKind};
use crate::cluster::{Event, Index, Object, ObjectKey};
use crate::runner::{Apply as _, Plane as _, Report, Scope};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn name(text: &str) -> ObjectName {
    ObjectName::new("default", text)
}

fn settings(ranges: &[&str]) -> Settings {
    Settings {
        ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        cluster_ranges: vec!["10.96.0.0/12".parse().unwrap()],
        default_class: true,
    }
}

const DUAL: [&str; 2] = ["10.96.0.1", "fd00:96::1"];
const ONE: [&str; 1] = ["10.96.0.1"];

fn service(text: &str, cluster_ips: &[&str]) -> Service {
    Service {
        name: name(text),
        kind: ServiceKind::LoadBalancer,
        cluster_ips: cluster_ips.iter().map(|text| ip(text)).collect(),
        ..Service::default()
    }
}

fn asking(text: &str, address: &str) -> Service {
    let balancing = Balancing { requested: Some(ip(address)), ..Balancing::default() };
    Service { balancing: Some(Box::new(balancing)), ..service(text, &ONE) }
}

/// The API server.
#[derive(Debug, Default)]
struct Server {
    services: BTreeMap<ObjectName, Service>,
    leading: Option<u64>,
    refuses: bool,
    /// What a webhook refuses.
    refused: BTreeSet<ObjectName>,
    writes: usize,
}

impl Api for Server {
    fn term(&self) -> Option<Term> {
        self.leading.map(|number| Term { number, until: Instant::now() + Duration::from_secs(10) })
    }

    fn services(&mut self) -> Result<Vec<Service>, String> {
        Ok(self.services.values().cloned().collect())
    }

    fn write(&mut self, service: &ObjectName, edit: &Edit) -> Result<Written, String> {
        if self.refuses {
            return Err("forbidden".into());
        }
        if self.refused.contains(service) {
            return Ok(Written::Refused("not in this namespace".into()));
        }
        let Some(service) = self.services.get_mut(service) else { return Ok(Written::Outdated) };
        let set = |addresses: &[IpAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
        if set(&service.load_balancer_ips) != set(&edit.held) {
            return Ok(Written::Outdated);
        }
        service.load_balancer_ips.retain(|address| !edit.remove.contains(address));
        service.load_balancer_ips.extend(&edit.add);
        self.writes += 1;
        Ok(Written::Done)
    }
}

struct World {
    settings: Settings,
    index: Index,
    applier: Applier<Server>,
}

fn world(settings: Settings) -> World {
    let server = Server { leading: Some(1), ..Server::default() };
    World { applier: Applier::new(server, &settings), index: Index::new("n1"), settings }
}

impl World {
    fn server(&mut self) -> &mut Server {
        self.applier.api()
    }

    /// At the API server and, if `shown`, in the watch.
    fn put(&mut self, service: Service, shown: bool) {
        self.server().services.insert(service.name.clone(), service.clone());
        if shown {
            self.index.apply(Event::Upsert(Object::Service(service)));
        }
    }

    fn delete(&mut self, text: &str) {
        self.server().services.remove(&name(text));
        self.index.apply(Event::Delete(ObjectKey::Service(name(text))));
    }

    /// The watch shows all there is.
    fn show(&mut self) {
        for service in self.applier.api().services.values() {
            self.index.apply(Event::Upsert(Object::Service(service.clone())));
        }
    }

    fn run(&mut self) -> Report {
        let plane = LoadBalancer::new(self.settings.clone());
        let desired = plane.keys(&self.index).into_iter();
        let desired =
            desired.filter_map(|key| Some((key.clone(), plane.desired(&self.index, &key)?))).collect();
        self.applier.apply(&desired, &Scope::Everything)
    }

    /// What is said of Services, after a run in which the watch shows all.
    fn told(&mut self) -> Vec<(String, String)> {
        self.show();
        let report = self.run();
        self.show();
        report.problems.into_iter().map(|problem| (problem.item, problem.message)).collect()
    }

    fn addresses(&mut self, text: &str) -> Vec<IpAddr> {
        self.server().services[&name(text)].load_balancer_ips.clone()
    }
}

#[test]
fn a_hundred_services_at_once_get_a_hundred_addresses() {
    let mut world = world(settings(&["198.51.100.0/25"]));
    for number in 0..100 {
        world.put(service(&format!("s{number}"), &ONE), true);
    }
    assert_eq!(world.run().problems, Vec::new());
    let given: BTreeSet<IpAddr> =
        (0..100).flat_map(|number| world.addresses(&format!("s{number}"))).collect();
    assert_eq!(given.len(), 100);
    assert!(given.iter().all(|address| world.settings.holds(*address)));
    // Before the watch shows any of it, and after.
    world.run();
    world.show();
    assert_eq!(world.run().counts["addresses in use"], 100);
    assert_eq!(world.server().writes, 100, "none is written twice");
}

#[test]
fn what_the_watch_does_not_show_yet_is_not_given_again() {
    let mut world = world(settings(&["198.51.100.0/30"]));
    world.put(service("a", &ONE), true);
    world.run();
    world.put(service("b", &ONE), true);
    world.run();
    let (a, b) = (world.addresses("a"), world.addresses("b"));
    assert!(a.len() == 1 && b.len() == 1 && a != b, "{a:?} {b:?}");
}

#[test]
fn a_new_leader_gives_nothing_that_the_last_one_gave_behind_its_watch() {
    let mut world = world(settings(&["198.51.100.0/30"]));
    let other = Service { load_balancer_ips: vec![ip("198.51.100.0")], ..service("unseen", &ONE) };
    world.put(other, false);
    let stale = service("stale", &ONE);
    world.put(stale.clone(), true);
    world.put(Service { load_balancer_ips: vec![ip("198.51.100.1")], ..stale }, false);
    world.put(service("new", &ONE), true);
    world.run();
    assert_eq!(world.addresses("new"), [ip("198.51.100.2")]);
    assert_eq!(world.addresses("stale"), [ip("198.51.100.1")], "and no second one");
}

#[test]
fn who_has_no_lease_writes_nothing_and_reports_nothing() {
    let mut world = world(settings(&["198.51.100.0/32"]));
    world.server().leading = None;
    world.put(service("a", &ONE), true);
    world.put(service("b", &DUAL), true);
    let report = world.run();
    assert_eq!((report.problems.len(), report.counts["leader"]), (0, 0));
    assert_eq!(world.server().writes, 0);
    world.server().leading = Some(7);
    assert_eq!(world.run().counts["leader"], 1);
    assert_eq!(world.addresses("a"), [ip("198.51.100.0")]);
}

#[test]
fn each_family_that_a_service_has_gets_an_address() {
    let mut world = world(settings(&["198.51.100.0/24", "2001:db8:1::/64"]));
    world.put(service("four", &ONE), true);
    world.put(service("six", &["fd00:96::2"]), true);
    world.put(service("both", &DUAL), true);
    assert_eq!(world.told(), Vec::new());
    let families = |addresses: Vec<IpAddr>| addresses.into_iter().map(Family::of).collect::<Vec<_>>();
    assert_eq!(families(world.addresses("four")), [Family::V4]);
    assert_eq!(families(world.addresses("six")), [Family::V6]);
    assert_eq!(families(world.addresses("both")), [Family::V4, Family::V6]);
    let kept = world.addresses("both")[0];
    let downgraded = Service { load_balancer_ips: world.addresses("both"), ..service("both", &ONE) };
    world.put(downgraded, true);
    world.told();
    assert_eq!(world.addresses("both"), [kept], "the family that it left is given back");
}

#[test]
fn dual_stack_is_as_much_as_there_is_unless_it_is_required() {
    let mut world = world(settings(&["198.51.100.0/24"]));
    world.put(service("prefers", &DUAL), true);
    let balancing = Balancing { both_families: true, ..Balancing::default() };
    world.put(Service { balancing: Some(Box::new(balancing)), ..service("requires", &DUAL) }, true);
    let told = world.told();
    assert_eq!((world.addresses("prefers").len(), world.addresses("requires").len()), (1, 0));
    let of = |item: &str| {
        told.iter().filter(|(one, _)| one == item).map(|(_, text)| text.as_str()).collect::<Vec<_>>()
    };
    assert!(of("Service default/prefers")[0].contains("no IPv6 range"), "{told:?}");
    assert!(of("Service default/requires").iter().any(|text| text.contains("RequireDualStack")), "{told:?}");
}

#[test]
fn an_address_that_is_asked_for_is_given_or_it_is_said_why_not() {
    let mut world = world(settings(&["198.51.100.0/29"]));
    let node = Node { name: "n1".into(), internal_addresses: vec![ip("198.51.100.3")], ..Node::default() };
    world.index.apply(Event::Upsert(Object::Node(node)));
    world.put(service("any", &ONE), true);
    world.put(asking("first", "198.51.100.0"), true);
    world.put(asking("second", "198.51.100.0"), true);
    world.put(asking("outside", "203.0.113.1"), true);
    world.put(asking("node", "198.51.100.3"), true);
    let told: BTreeMap<String, String> = world.told().into_iter().collect();
    assert_eq!(world.addresses("first"), [ip("198.51.100.0")], "before whoever takes any");
    assert_eq!(world.addresses("any"), [ip("198.51.100.1")]);
    for (text, why) in [
        ("second", "Service default/first uses it"),
        ("outside", "no range of --loadbalancer-ip-range"),
        ("node", "the address of a node"),
    ] {
        assert!(told[&format!("Service default/{text}")].contains(why), "{told:?}");
        assert_eq!(world.addresses(text), Vec::<IpAddr>::new(), "another one is not what was asked for");
    }
    world.delete("first");
    world.told();
    assert_eq!(world.addresses("second"), [ip("198.51.100.0")]);
}

#[test]
fn both_families_can_be_asked_for_and_another_address_can_be_asked_for_later() {
    let mut world = world(settings(&["198.51.100.0/24", "2001:db8:1::/64"]));
    let annotated = |list: &str| Service {
        annotations: [("kube-router.io/service.loadbalancerips".to_owned(), list.to_owned())].into(),
        ..service("web", &DUAL)
    };
    world.put(annotated("198.51.100.77, 2001:db8:1::77"), true);
    assert_eq!(world.told(), Vec::new());
    assert_eq!(world.addresses("web"), [ip("198.51.100.77"), ip("2001:db8:1::77")]);
    let moved = Service { load_balancer_ips: world.addresses("web"), ..annotated("198.51.100.78,x") };
    world.put(moved, true);
    let told = world.told();
    assert!(matches!(&told[..], [(_, text)] if text.contains("\"x\" is not an IP address")), "{told:?}");
    assert_eq!(world.addresses("web"), [ip("2001:db8:1::77"), ip("198.51.100.78")]);
}

#[test]
fn a_service_without_address_because_all_are_used_gets_one_when_another_goes() {
    let mut world = world(settings(&["198.51.100.0/31"]));
    for text in ["a", "b", "c"] {
        world.put(service(text, &ONE), true);
    }
    let told = world.told();
    let [(item, message)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(item, "Service default/c");
    assert!(message.contains("198.51.100.0/31 are in use"), "{message}");
    world.delete("a");
    assert_eq!(world.told(), Vec::new());
    assert_eq!(world.addresses("c"), [ip("198.51.100.0")]);
}

#[test]
fn an_address_given_back_comes_round_late_and_never_while_anybody_uses_it() {
    let mut world = world(settings(&["198.51.100.0/30", "203.0.113.0/32", "10.96.5.0/24"]));
    let external = Service {
        kind: ServiceKind::ClusterIp,
        external_ips: vec![ip("198.51.100.2")],
        ..service("external", &ONE)
    };
    world.put(external, true);
    let mut given = Vec::new();
    for round in 0..6 {
        let text = format!("s{round}");
        world.put(service(&text, &ONE), true);
        assert_eq!(world.told(), Vec::new());
        given.push(world.addresses(&text)[0]);
        world.delete(&text);
    }
    let expected =
        ["198.51.100.0", "198.51.100.1", "198.51.100.3", "203.0.113.0", "198.51.100.0", "198.51.100.1"];
    assert_eq!(given, expected.map(ip), "round all ranges but those of cluster addresses");
}

#[test]
fn only_services_of_our_class_are_served() {
    let of = |text: &str, class: &str| {
        let balancing = Balancing { class: Some(class.to_owned()), ..Balancing::default() };
        Service { balancing: Some(Box::new(balancing)), ..service(text, &ONE) }
    };
    for (default_class, served) in [(true, vec!["default", "none", "ours"]), (false, vec!["ours"])] {
        let mut world = world(Settings { default_class, ..settings(&["198.51.100.0/24"]) });
        world.put(service("none", &ONE), true);
        world.put(of("default", "default"), true);
        world.put(of("ours", "kube-router"), true);
        world.put(of("others", "example.com/balancer"), true);
        world.put(Service { kind: ServiceKind::NodePort, ..service("node-port", &ONE) }, true);
        world.told();
        let has = |service: &&Service| !service.load_balancer_ips.is_empty();
        let given = world.server().services.values().filter(has).map(|service| service.name.name.clone());
        assert_eq!(given.collect::<Vec<_>>(), served);
    }
}

#[test]
fn what_is_no_load_balancer_any_more_gives_its_addresses_of_ours_back() {
    let mut world = world(settings(&["198.51.100.0/24"]));
    let held = vec![ip("198.51.100.9"), ip("203.0.113.9")];
    let left = Service { kind: ServiceKind::ClusterIp, load_balancer_ips: held, ..service("web", &ONE) };
    world.put(left, true);
    world.told();
    assert_eq!(world.addresses("web"), [ip("203.0.113.9")], "the other was not given by us");
}

#[test]
fn a_write_that_fails_is_a_problem_of_the_service_and_made_up_for() {
    let mut world = world(settings(&["198.51.100.0/24"]));
    world.put(service("web", &ONE), true);
    world.server().refuses = true;
    let problems = world.run().problems;
    assert!(problems[0].item == "Service default/web" && problems[0].retry, "{problems:?}");
    assert!(problems[0].message.contains("forbidden"), "{problems:?}");
    world.server().refuses = false;
    assert_eq!(world.told(), Vec::new());
    assert_eq!(world.addresses("web").len(), 1);
}

#[test]
fn services_that_the_api_server_refuses_keep_no_other_from_its_address() {
    let mut world = world(settings(&["198.51.100.0/24"]));
    let refused: Vec<String> = (0..20).map(|number| format!("a{number:02}")).collect();
    for text in &refused {
        world.put(service(text, &ONE), true);
        world.server().refused.insert(name(text));
    }
    world.put(service("web", &ONE), true);
    let mut problems = Vec::new();
    // Each try goes further than the one before.
    for _ in 0..4 {
        problems = world.run().problems;
    }
    assert_eq!(world.addresses("web").len(), 1);
    assert!(
        problems.iter().all(|problem| problem.retry && problem.message.contains("not in this namespace"))
    );
    world.server().refused.clear();
    world.run();
    assert!(refused.iter().all(|text| world.addresses(text).len() == 1));
}

#[test]
fn nothing_is_written_to_a_service_that_is_another_by_now() {
    let mut world = world(settings(&["198.51.100.0/24"]));
    world.put(service("web", &ONE), true);
    world.run();
    let mut changed = service("web", &ONE);
    changed.load_balancer_ips = vec![ip("198.51.100.200")];
    world.server().services.insert(name("web"), changed);
    let asked = asking("web", "198.51.100.7");
    world.index.apply(Event::Upsert(Object::Service(asked)));
    assert!(world.run().again.is_some(), "the watch will tell");
    assert_eq!(world.addresses("web"), [ip("198.51.100.200")]);
}
