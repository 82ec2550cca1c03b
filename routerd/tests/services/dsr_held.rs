//! Direct server return that stays: who may come, what somebody else takes away, and backends that go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kernel::nft::Identity;
use kernel::testing::TestNs;
use prefix::Family;
use routerd::cluster::objects::{Protocol, Service, ServiceKind};
use routerd::runner::{self, Apply, Plane, Report, Scope, spawn};
use routerd::services::dsr::{Applier, Dsr, Key, Value};

use crate::cluster::ip;
use crate::dsr::{AT_V4, AT_V6, V4, V6, World, answering, returning_service, settings, world};
use crate::talk::{ask, connect, is_silent};

/// The Service at the same addresses, which now are a load balancer's.
fn balanced(ranges: Option<[&str; 2]>) -> Service {
    Service {
        kind: ServiceKind::LoadBalancer,
        external_ips: Vec::new(),
        load_balancer_ips: vec![ip(V4), ip(V6)],
        source_ranges: ranges.map(|ranges| ranges.map(|range| range.parse().unwrap()).to_vec()),
        ..returning_service(true, Protocol::Tcp)
    }
}

fn desired(world: &World) -> BTreeMap<Key, Value> {
    let plane = Dsr::new(settings());
    let keys = plane.keys(&world.index).into_iter();
    keys.filter_map(|key| Some((key.clone(), plane.desired(&world.index, &key)?))).collect()
}

fn tend(world: &mut World) -> Option<Report> {
    let desired = desired(world);
    let (node, dsr) = (&world.net.node, &mut world.dsr);
    node.run_in(|| dsr.tend(&desired))
}

fn has_device(pod: &TestNs) -> bool {
    pod.run("ip", &["-o", "link"]).contains("kube-tunnel")
}

fn balancing(world: &World) -> String {
    world.net.node.run("ipvsadm", &["-Sn"])
}

fn wait(what: &str, world: &World, done: &dyn Fn() -> bool) -> Duration {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_mins(1), "{what}: {}", balancing(world));
        std::thread::sleep(Duration::from_millis(10));
    }
    begin.elapsed()
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn source_ranges_of_a_load_balancer_hold_for_every_packet_of_both_families() {
    let mut world = world();
    world.net.far.run("ip", &["route", "add", V4, "via", "192.0.2.11"]);
    world.net.far.run("ip", &["-6", "route", "add", V6, "via", "2001:db8::11"]);
    world.upsert(balanced(Some(["192.0.2.96/27", "2001:db8::100/128"])));
    world.applied();
    for at in [AT_V4, AT_V6] {
        assert_eq!(answering(&world.net.outside, at), ["a", "b"], "{at}");
        assert!(is_silent(&world.net.far, at), "{at}: it is in no range");
    }
    assert_eq!(world.applied(), 0, "it reads back as it was written");
    world.upsert(balanced(Some(["192.0.2.12/32", "2001:db8::12/128"])));
    world.applied();
    for at in [AT_V4, AT_V6] {
        assert_eq!(answering(&world.net.far, at), ["a", "b"], "{at}");
        assert!(is_silent(&world.net.outside, at), "{at}: no longer in a range");
    }
    world.upsert(balanced(None));
    world.applied();
    for from in [&world.net.outside, &world.net.far] {
        assert_eq!(answering(from, AT_V6), ["a", "b"]);
    }
    assert!(!world.net.node.run("nft", &["list", "table", "inet", "routerd"]).contains("dsr-guarded"));
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn what_somebody_takes_out_of_ipvs_comes_back_and_is_counted() {
    let mut world = world();
    world.applied();
    let applier = Applier::new(Identity::new());
    let node = &world.net.node;
    let plane = || spawn(Dsr::new(settings()), applier, runner::Settings::default()).unwrap();
    let mut spawned = node.run_in(plane);
    spawned.subscriber.start(&world.index);
    wait("the start", &world, &|| spawned.status.borrow().synced);
    let whole = balancing(&world);
    let line = |family: bool| {
        let mut services = whole.lines().filter(|line| line.starts_with("-A -f"));
        services.find(|line| line.contains(" -6") == family).unwrap().split(' ').nth(2).unwrap().to_owned()
    };
    let (mark, mark6) = (line(false), line(true));
    let breakages = [
        format!("-D -f {mark}"),
        format!("-D -f {mark6} -6"),
        format!("-d -f {mark} -r 10.1.1.2:0"),
        format!("-e -f {mark} -r 10.1.1.3:0 -i -w 7"),
        format!("-E -f {mark} -s wlc"),
    ];
    for breakage in &breakages {
        let repairs = spawned.status.borrow().repairs;
        node.run("ipvsadm", &breakage.split(' ').collect::<Vec<_>>());
        // It may be mended before anybody else could look: that it was broken is seen in the count.
        let took = wait(breakage, &world, &|| balancing(&world) == whole);
        wait("its count", &world, &|| spawned.status.borrow().repairs > repairs);
        println!("{breakage}: back after {} ms", took.as_millis());
    }
    assert_eq!(spawned.status.borrow().problems, Vec::new());
    assert_eq!(answering(&world.net.outside, AT_V4), ["a", "b"]);
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn a_pod_that_is_no_backend_any_more_keeps_its_connections_and_its_side_for_a_while() {
    let mut world = world();
    let grace = |period| Applier::new(Identity::new()).draining(Some(period));
    world.dsr = grace(Duration::from_mins(10));
    world.applied();
    let mut opened = (0..8).map(|_| connect(&world.net.outside, AT_V4).unwrap());
    let mut open = opened.find(|connection| connection.heard.server == "b").unwrap();
    world.endpoints(Family::V4, &["10.1.1.2"]);
    world.endpoints(Family::V6, &["fd00:1:1::2"]);
    world.applied();
    assert_eq!(answering(&world.net.outside, AT_V4), ["a"]);
    assert_eq!(open.says("still there?").unwrap(), "still there?");
    // The one of IPv6 has no connection and goes at the next look, the other stays, over a restart too.
    assert!(tend(&mut world).is_some_and(|report| report.problems.is_empty() && !report.repaired));
    assert!(!balancing(&world).contains("fd00:1:1::3"), "{}", balancing(&world));
    assert!(tend(&mut world).is_none(), "nothing more is to be done");
    world.dsr = grace(Duration::from_secs(2));
    assert_eq!(world.applied(), 0, "it drains as before");
    assert_eq!(open.says("and now?").unwrap(), "and now?");
    assert!(has_device(&world.net.pod_b));
    let end = Instant::now() + Duration::from_mins(1);
    while balancing(&world).contains("10.1.1.3") {
        assert!(Instant::now() < end, "{}", balancing(&world));
        tend(&mut world);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!has_device(&world.net.pod_b), "its side goes with it");
    assert_eq!(world.applied(), 0);
    assert_eq!(ask(&world.net.outside, AT_V4).server, "a");
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn connections_are_taken_up_in_the_middle_only_while_all_nodes_choose_alike_also_over_a_restart() {
    let mut world = world();
    let taken_up =
        |world: &World| world.net.node.run("sysctl", &["-n", "net.ipv4.vs.sloppy_tcp"]).trim() == "1";
    let by = |scheduler: &str| {
        let mut service = returning_service(true, Protocol::Tcp);
        service.annotations.insert("kube-router.io/service.scheduler".into(), scheduler.into());
        service
    };
    // Without direct return of ours the setting is somebody else's.
    world.upsert(returning_service(false, Protocol::Tcp));
    world.applied();
    world.net.node.run("sysctl", &["-qw", "net.ipv4.vs.sloppy_tcp=1"]);
    world.restart();
    world.applied();
    assert!(taken_up(&world), "nobody of ours has set it");
    world.net.node.run("sysctl", &["-qw", "net.ipv4.vs.sloppy_tcp=0"]);

    for other in [by("rr"), returning_service(false, Protocol::Tcp)] {
        world.upsert(by("mh"));
        world.applied();
        assert!(taken_up(&world));
        world.restart();
        assert_eq!((world.applied(), taken_up(&world)), (0, true), "a restart changes nothing");
        // What went while the daemon was down.
        world.restart();
        world.upsert(other);
        world.applied();
        assert!(!taken_up(&world));
    }
}

#[test]
fn while_no_service_wants_direct_return_a_change_of_pods_does_not_read_the_kernel() {
    let mut world = world();
    let other = Service { annotations: BTreeMap::default(), ..returning_service(true, Protocol::Tcp) };
    world.upsert(other);
    let apply = |world: &mut World, scope: &Scope<Key>| {
        let (all, node, dsr) = (desired(world), &world.net.node, &mut world.dsr);
        node.run_in(|| dsr.apply(&all, scope))
    };
    assert_eq!(apply(&mut world, &Scope::Everything), Report::default());
    // As if an earlier run had left it.
    let map = "add table inet routerd; add map inet routerd dsr-marks { \
               type ipv4_addr . inet_proto . inet_service : mark; elements = { 192.0.2.7 . tcp . 80 : 0x80001 }; }";
    world.net.node.run("nft", &[map]);
    assert_eq!(apply(&mut world, &Scope::Keys(BTreeSet::from([Key::Pods]))), Report::default());
    let report = apply(&mut world, &Scope::Everything);
    assert!(report.writes > 0 || !report.problems.is_empty(), "a look at everything sees it: {report:?}");
    // What is wrong with a Service is told all the same.
    let mut odd = returning_service(true, Protocol::Tcp);
    odd.annotations.values_mut().for_each(|value| *value = "Tunnel".into());
    let mut beside = crate::dsr::world();
    beside.upsert(odd);
    let problems = apply(&mut beside, &Scope::Everything).problems;
    assert!(matches!(&problems[..], [one] if one.message.contains("without direct return")), "{problems:?}");
}
