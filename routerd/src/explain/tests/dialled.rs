//! Which Service is dialled by an address.

use std::fmt::Write as _;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::*;
use crate::cluster::Object;
use crate::cluster::objects::Pod;

const SHARED: &str = "apiVersion: v1
kind: Service
metadata: {name: plain, namespace: default}
spec: {clusterIP: 10.96.0.20, externalIPs: [198.51.100.7], ports: [{port: 80}, {port: 443, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: secure, namespace: default}
spec: {clusterIP: 10.96.0.21, externalIPs: [198.51.100.7], ports: [{port: 443}]}
";

#[test]
fn of_services_that_share_an_address_the_one_with_the_port_is_meant() {
    let mut world = world();
    world.take(SHARED);
    for (port, name) in [(80, "default/plain"), (443, "default/secure")] {
        let answer = world.ask("default/friend", "198.51.100.7", port).unwrap();
        assert!(answer.notes[0].contains(&format!("Service {name} at 198.51.100.7 has no endpoint")));
    }
    let error = world.ask("default/friend", "198.51.100.7", 81).unwrap_err();
    assert!(error.contains("has no port TCP 81"), "{error}");
}

/// So many Services, and so many endpoints of one of them.
const MANY: usize = 400;

/// A cluster with many Services and endpoints, and so many pods of this node.
fn crowded(pods: u32) -> Index {
    let mut text = String::from(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s0-1, namespace: default, labels: {kubernetes.io/service-name: s0}}
addressType: IPv4
ports: [{name: '', port: 80, protocol: TCP}]
endpoints:
",
    );
    for number in 0..MANY {
        writeln!(text, "- {{addresses: [198.18.{}.{}]}}", number / 200, number % 200 + 1).unwrap();
    }
    for number in 0..MANY {
        write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: default}}
spec: {{clusterIP: 10.97.{}.{}, ports: [{{port: 80}}]}}
",
            number / 200,
            number % 200 + 1
        )
        .unwrap();
    }
    let mut world = world();
    world.take(&text);
    for number in 0..pods {
        let name = format!("p{number}");
        let address = std::net::Ipv4Addr::from(0x0af4_4000 + number);
        let pod = Pod {
            name: ObjectName::new("default", &name),
            node: Some("node1".into()),
            addresses: vec![address.into()],
            ..Pod::default()
        };
        world.index.apply(Event::Upsert(Object::Pod(pod)));
        world.attach(&format!("default/{name}"), &address.to_string());
    }
    world.index
}

/// What the search takes of this thread's time, the least of a few.
fn cost(index: &Index, to: &str) -> Duration {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let (question, local) = (Question::parse("default/friend", to, "80", "tcp").unwrap(), BTreeSet::new());
    let once = || {
        let before = now();
        assert!(!Resolver::new(index, &local, None).ways(&question).unwrap().ways.is_empty());
        now().saturating_sub(before)
    };
    std::iter::repeat_with(once).take(5).min().unwrap()
}

/// The task that owns the index stands still meanwhile.
#[test]
fn what_a_search_among_many_services_costs_does_not_grow_with_the_pods() {
    let (few, many) = (crowded(1), crowded(2000));
    for to in ["192.0.2.2", "svc/default/s0"] {
        let (few, many) = (cost(&few, to), cost(&many, to));
        assert!(many < few * 20, "{to}: {few:?} with one pod more, {many:?} with 2000");
    }
}
