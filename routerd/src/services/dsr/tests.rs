//! What is pure: marks, plans, and what a Service wants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::ipvs::{Command, Forwarding};
use kernel::nft::Rule;

use super::desired::{Backend, Virtual, Wish};
use super::marks::{BIT, assign};
use super::plan::{ByMark, Kept, Plan, kept};
use super::rules::ruleset;
use super::*;
use crate::cluster::objects::{ObjectName, Service, ServiceKind};
use crate::cluster::{Event, Index, Object, ObjectKey};
use crate::runner::Plane as _;
use crate::services::Settings;
use crate::services::desired::Origin;
use crate::services::state::Tuple;
use crate::services::tests::fixture;

fn tuple(last: u16, port: u16) -> Tuple {
    Tuple { address: format!("198.51.100.{last}").parse().unwrap(), protocol: 6, port }
}

fn tuples() -> BTreeSet<Tuple> {
    (0..200).map(|port| tuple(port % 7, port)).collect()
}

#[test]
fn each_tuple_has_a_mark_of_its_own_with_our_bit_and_a_restart_finds_the_same() {
    let marks = assign(&tuples(), &BTreeMap::new());
    assert_eq!(marks.len(), 200);
    assert_eq!(marks.values().collect::<BTreeSet<_>>().len(), 200);
    assert!(
        marks.values().all(|mark| mark & BIT != 0 && mark & 0x4000 == 0),
        "never the mark of other Services"
    );
    assert_eq!(assign(&tuples(), &BTreeMap::new()), marks);
}

#[test]
fn a_mark_that_is_in_the_kernel_stays_whoever_comes_or_goes() {
    let mut known = assign(&tuples(), &BTreeMap::new());
    // As if another tuple, gone by now, had pushed this one aside.
    let moved = known.keys().next().copied().unwrap();
    known.insert(moved, BIT | 0x3fff);
    let fewer: BTreeSet<Tuple> = tuples().into_iter().filter(|tuple| tuple.port % 2 == 0).collect();
    let marks = assign(&fewer, &known);
    assert!(marks.iter().all(|(tuple, mark)| known[tuple] == *mark));
    assert_eq!(marks.keys().copied().collect::<BTreeSet<_>>(), fewer);
}

fn returning(value: &str) -> Service {
    Service {
        annotations: [(DIRECT_RETURN.to_owned(), value.to_owned())].into(),
        external_ips: vec!["198.51.100.7".parse().unwrap()],
        ports: vec![fixture::port(crate::cluster::objects::Protocol::Tcp, 8080, None)],
        ..fixture::service("web", "10.96.0.1")
    }
}

fn settings() -> Settings {
    Settings { any_external_address: true, ..Settings::default() }
}

fn wish(index: &Index) -> Wish {
    match Dsr::new(settings()).desired(index, &Key::Service(fixture::name("web"))) {
        Some(Value::Service(wish)) => wish,
        other => panic!("no wish but {other:?}"),
    }
}

#[test]
fn external_addresses_are_taken_and_others_left_to_the_other_plane() {
    let endpoints = vec![fixture::ready("10.1.2.2"), fixture::here(fixture::ready("10.1.1.2"))];
    let objects = vec![
        Object::Service(returning("tunnel")),
        Object::EndpointSlice(fixture::slice("web", "a", endpoints)),
    ];
    let index = fixture::index(objects);
    let wish = wish(&index);
    assert_eq!(wish.problems, Vec::<String>::new());
    let backends = &wish.tuples[&tuple(7, 8080)].backends;
    assert_eq!((wish.tuples.len(), backends.len()), (1, 2));
    assert!(backends[&fixture::ip("10.1.1.2")].local && !backends[&fixture::ip("10.1.2.2")].local);
    let served = fixture::wish_with(settings(), &index);
    let external: IpAddr = fixture::ip("198.51.100.7");
    assert!(served.virtuals.iter().all(|one| one.at != crate::services::desired::At::Virtual(external)));
}

#[test]
fn what_cannot_be_returned_directly_is_said_of_the_service() {
    let other_port = Service {
        ports: vec![fixture::port(crate::cluster::objects::Protocol::Tcp, 80, None)],
        ..returning("tunnel")
    };
    let slice = || Object::EndpointSlice(fixture::slice("web", "a", vec![fixture::ready("10.1.2.2")]));
    let in_host = fixture::slice("web", "a", vec![fixture::ready("192.0.2.11")]);
    for (service, slice, why) in [
        (returning("Tunnel"), slice(), "served without direct return"),
        (other_port, slice(), "it listens at port 8080"),
        (returning("tunnel"), Object::EndpointSlice(in_host), "in the network of Node n1"),
        (Service { external_ips: Vec::new(), ..returning("tunnel") }, slice(), "has none"),
    ] {
        let problems = wish(&fixture::index(vec![Object::Service(service), slice])).problems;
        assert!(problems.len() == 1 && problems[0].contains(why), "{why}: {problems:?}");
    }
}

fn wishes(backends: &[(&str, bool)]) -> BTreeMap<ObjectName, Wish> {
    let backends = backends
        .iter()
        .map(|(address, local)| (fixture::ip(address), Backend { weight: 1, local: *local, judged: false }));
    let wanted = Virtual { origin: Origin::External, backends: backends.collect(), sources: None };
    let wish = Wish { tuples: [(tuple(7, 80), wanted)].into(), ..Wish::default() };
    [(fixture::name("a"), wish.clone()), (fixture::name("b"), wish)].into()
}

#[test]
fn packets_go_in_tunnels_to_pods_that_can_take_them_out() {
    let wishes = wishes(&[("10.1.1.2", true), ("10.1.1.3", true), ("10.1.2.2", false)]);
    let plan = Plan::new(&wishes, &BTreeMap::new(), |address| address == fixture::ip("10.1.1.2"));
    let service = plan.services.values().next().unwrap();
    let backends: Vec<IpAddr> = service.destinations.keys().map(std::net::SocketAddr::ip).collect();
    assert_eq!(backends, [fixture::ip("10.1.1.2"), fixture::ip("10.1.2.2")]);
    assert!(service.destinations.values().all(|one| one.forwarding == Forwarding::Tunnel));
    assert!(matches!(&plan.problems[..], [(name, _)] if *name == fixture::name("b")), "{:?}", plan.problems);
}

#[test]
fn an_address_is_served_while_a_pod_takes_new_connections_and_the_kernel_has_refused_nothing_of_it() {
    let all = wishes(&[("10.1.1.2", true)]);
    let served = |plan: &Plan, refused: &BTreeSet<u32>| plan.served(refused).collect::<Vec<_>>();
    let plan = Plan::new(&all, &BTreeMap::new(), |_| true);
    assert_eq!(served(&plan, &BTreeSet::new()), [tuple(7, 80).address]);
    assert_eq!(served(&plan, &plan.marks.values().copied().collect()), [] as [IpAddr; 0]);
    let without_its_side = Plan::new(&all, &BTreeMap::new(), |_| false);
    assert_eq!(served(&without_its_side, &BTreeSet::new()), [] as [IpAddr; 0]);
}

#[test]
fn what_is_there_is_not_made_again_and_what_goes_goes_last() {
    let first = Plan::new(&wishes(&[("10.1.2.2", false)]), &BTreeMap::new(), |_| true);
    let changes = |plan: &Plan, there: &ByMark, known: &BTreeMap<Tuple, u32>| {
        let changes = plan.changes(there, known, &Kept::new());
        (changes.before, changes.after)
    };
    let (before, after) = changes(&first, &ByMark::new(), &BTreeMap::new());
    assert_eq!((before.len(), after.len()), (2, 0));
    let there = first.services.clone();
    let same = Plan::new(&wishes(&[("10.1.2.2", false)]), &first.marks, |_| true);
    assert_eq!(changes(&same, &there, &first.marks), (Vec::new(), Vec::new()));
    let (before, after) = changes(&Plan::default(), &there, &first.marks);
    assert!(before.is_empty() && matches!(after[..], [Command::DeleteService(_)]));
    let (_, after) = changes(&Plan::default(), &there, &BTreeMap::new());
    assert!(after.is_empty(), "what our table does not name is somebody else's");
}

/// The Service that gets the tuple of two Services with direct return, and the names that are told of the other.
fn winner(a: (Origin, i64), b: (Origin, i64)) -> (ObjectName, Vec<ObjectName>) {
    let mut all = wishes(&[("10.1.2.2", false)]);
    for (name, (origin, since)) in [("a", a), ("b", b)] {
        let wish = all.get_mut(&fixture::name(name)).unwrap();
        wish.since = since;
        wish.tuples.values_mut().for_each(|wanted| wanted.origin = origin);
    }
    let plan = Plan::new(&all, &BTreeMap::new(), |_| true);
    assert_eq!((plan.services.len(), plan.owners.len()), (1, 1));
    (plan.owners.into_values().next().unwrap(), plan.problems.into_iter().map(|(name, _)| name).collect())
}

#[test]
fn of_two_services_at_one_tuple_the_load_balancers_gets_it_then_the_older_then_the_first_by_name() {
    let [a, b] = ["a", "b"].map(fixture::name);
    let cases = [
        ((Origin::External, 5), (Origin::External, 5), &a, &b),
        ((Origin::External, 9), (Origin::External, 5), &b, &a),
        ((Origin::External, 5), (Origin::Balancer, 9), &b, &a),
    ];
    for (of_a, of_b, first, other) in cases {
        assert_eq!(winner(of_a, of_b), (first.clone(), vec![other.clone()]), "{of_a:?} {of_b:?}");
    }
}

#[test]
fn what_another_service_has_without_direct_return_is_left_to_it_until_that_is_gone() {
    let slice = || Object::EndpointSlice(fixture::slice("web", "a", vec![fixture::ready("10.1.2.2")]));
    let plain = |cluster_ip: &str, external: &str| Service {
        external_ips: vec![fixture::ip(external)],
        ports: returning("").ports,
        ..fixture::service("other", cluster_ip)
    };
    let conflicts = [plain("10.96.0.2", "198.51.100.7"), plain("198.51.100.7", "198.51.100.8")];
    for other in conflicts {
        let objects = vec![Object::Service(returning("tunnel")), slice(), Object::Service(other)];
        let mut index = fixture::index(objects);
        let told = wish(&index);
        assert!(told.tuples.is_empty() && told.problems.len() == 1, "{told:?}");
        assert!(told.problems[0].contains("Service default/other has the same"), "{told:?}");
        let gone = index.apply(Event::Delete(ObjectKey::Service(fixture::name("other")))).unwrap();
        let touched = Dsr::new(settings()).touched(&index, &gone);
        assert_eq!(touched, [Key::Service(fixture::name("web"))].into());
        assert_eq!(wish(&index).tuples.len(), 1);
    }
    // Another port is another tuple.
    let beside =
        Service { ports: fixture::service("x", "10.96.0.9").ports, ..plain("10.96.0.2", "198.51.100.7") };
    let objects = vec![Object::Service(returning("tunnel")), slice(), Object::Service(beside)];
    assert_eq!(wish(&fixture::index(objects)).problems, Vec::<String>::new());
}

#[test]
fn a_backend_that_is_gone_gets_no_new_connections_and_is_deleted_when_its_time_is_over() {
    let two = Plan::new(&wishes(&[("10.1.2.2", false), ("10.1.2.3", false)]), &BTreeMap::new(), |_| true);
    let one = wishes(&[("10.1.2.3", false)]);
    let later = Plan::new(&one, &two.marks, |_| true);
    let spared = kept(&one, &two.services, &two.marks, |_| true);
    let gone = (tuple(7, 80), "10.1.2.2:0".parse().unwrap());
    assert_eq!(spared, Kept::from([gone]));
    let changes = later.changes(&two.services, &two.marks, &spared);
    assert!(
        matches!(&changes.before[..], [Command::SetDestination(_, to)] if to.weight == 0 && to.socket() == gone.1),
        "{changes:?}"
    );
    // What is left is found again, and nothing is to be done.
    let there: ByMark = [(later.marks[&gone.0], changes.left[&gone.0].clone())].into();
    assert!(later.changes(&there, &later.marks, &spared).before.is_empty());
    let over = kept(&one, &there, &later.marks, |_| false);
    let changes = later.changes(&there, &later.marks, &over);
    assert!(matches!(changes.before[..], [Command::DeleteDestination(_, socket)] if socket == gone.1));
    // One that is wanted again is not kept but used.
    let again = wishes(&[("10.1.2.2", false), ("10.1.2.3", false)]);
    assert_eq!(kept(&again, &there, &later.marks, |_| true), Kept::new());
}

#[test]
fn source_ranges_of_a_load_balancer_stand_before_the_mark_in_both_chains() {
    let balanced = Service {
        kind: ServiceKind::LoadBalancer,
        load_balancer_ips: vec![fixture::ip("198.51.100.8"), fixture::ip("2001:db8::8")],
        source_ranges: Some(vec!["192.0.2.0/24".parse().unwrap()]),
        ..returning("tunnel")
    };
    let wish = wish(&fixture::index(vec![Object::Service(balanced)]));
    let sources = |address: &str| {
        let mut of = wish.tuples.iter().filter(|(tuple, _)| tuple.address == fixture::ip(address));
        of.next().unwrap().1.sources.clone().map(|ranges| ranges.len())
    };
    assert_eq!(sources("198.51.100.7"), None, "spec.externalIPs have none");
    assert_eq!(sources("198.51.100.8"), Some(1));
    assert_eq!(sources("2001:db8::8"), Some(0), "no range is of IPv6: nobody is let in");
    let plan = Plan::new(&[(fixture::name("web"), wish)].into(), &BTreeMap::new(), |_| true);
    let guarded = ruleset(&plan.marks, &plan.sources, 1500);
    for (chain, at) in [("dsr-mark", 0), ("dsr-mark-own", 1)] {
        let rules = &guarded.chains[chain].rules;
        let drops = rules.iter().map(|rule| rule.expressions.last() == Rule::new().drop().expressions.last());
        let places: Vec<usize> =
            drops.enumerate().filter_map(|(place, drops)| drops.then_some(place)).collect();
        assert_eq!(places, [at, at + 1], "{rules:?}");
    }
    let open = ruleset(&plan.marks, &BTreeMap::new(), 1500);
    assert!(!open.sets.contains_key("dsr-guarded") && open.chains["dsr-mark"].rules.len() == 2);
}
