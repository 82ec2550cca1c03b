//! Against the table of a namespace, with `conntrack` making and seeing entries.

use std::net::SocketAddr;

use prefix::Family;
use proptest::prelude::*;

use super::{Conntrack, Filter, Flow};
use crate::testing::TestNs;

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Makes an entry as a load-balanced flow has it: to `virtual_` and answered by `backend`.
fn insert(namespace: &TestNs, protocol: &str, client: &str, virtual_: &str, backend: &str) {
    let (client, virtual_, backend) = (socket(client), socket(virtual_), socket(backend));
    let mut arguments = vec!["-I".to_owned(), "-p".into(), protocol.into()];
    for (flag, value) in [
        ("-s", client.ip().to_string()),
        ("-d", virtual_.ip().to_string()),
        ("--sport", client.port().to_string()),
        ("--dport", virtual_.port().to_string()),
        ("-r", backend.ip().to_string()),
        ("-q", client.ip().to_string()),
        ("--reply-port-src", backend.port().to_string()),
        ("--reply-port-dst", client.port().to_string()),
        ("-t", "100".into()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    if protocol == "tcp" {
        arguments.extend(["--state".into(), "ESTABLISHED".into()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    namespace.run("conntrack", &arguments);
}

fn count(namespace: &TestNs, family: &str) -> usize {
    namespace.run("conntrack", &["-L", "-f", family]).lines().count()
}

fn sample(namespace: &TestNs) {
    insert(namespace, "udp", "10.9.0.1:4000", "10.96.0.10:53", "10.1.0.2:5353");
    insert(namespace, "udp", "10.9.0.2:4000", "10.96.0.10:53", "10.1.0.3:5353");
    insert(namespace, "udp", "10.9.0.1:4001", "10.96.0.11:53", "10.1.0.2:5353");
    insert(namespace, "tcp", "10.9.0.1:4000", "10.96.0.10:53", "10.1.0.2:5353");
    insert(namespace, "udp", "[fd00:9::1]:4000", "[fd00:96::10]:53", "[fd00:1::2]:5353");
}

#[test]
fn flows_are_read_with_both_directions() {
    let namespace = TestNs::new("ct-read");
    sample(&namespace);
    let mut conntrack = Conntrack::open_in(namespace.namespace()).unwrap();
    let found = conntrack.flows(&Filter::protocol(Family::V6, 17)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].original.source, socket("[fd00:9::1]:4000"));
    assert_eq!(found[0].original.destination, socket("[fd00:96::10]:53"));
    assert_eq!(found[0].reply.source, socket("[fd00:1::2]:5353"));
    assert_eq!(conntrack.flows(&Filter::protocol(Family::V4, 17)).unwrap().len(), 3);
}

#[test]
fn the_kernels_filter_admits_what_ours_admits() {
    let namespace = TestNs::new("ct-filter");
    sample(&namespace);
    let mut conntrack = Conntrack::open_in(namespace.namespace()).unwrap();
    for filter in [
        Filter::protocol(Family::V4, 17).to(socket("10.96.0.10:53")),
        Filter::protocol(Family::V4, 17).answered_by(socket("10.1.0.2:5353")),
        Filter::protocol(Family::V4, 17).to(socket("10.96.0.10:53")).answered_by(socket("10.1.0.2:5353")),
        Filter::protocol(Family::V4, 17).to(socket("10.96.0.10:54")),
        Filter::protocol(Family::V6, 17).to(socket("[fd00:96::10]:53")),
        Filter::protocol(Family::V6, 17).to(socket("[fd00:96::11]:53")),
        Filter::protocol(Family::V6, 17).answered_by(socket("[fd00:1::2]:5353")),
    ] {
        let all = conntrack.flows(&Filter::protocol(filter.family, 17)).unwrap();
        let expected: Vec<&Flow> = all.iter().filter(|flow| filter.admits(flow)).collect();
        let found = conntrack.flows(&filter).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>().len(), expected.len(), "{filter}");
        assert!(expected.iter().all(|flow| found.contains(flow)), "{filter}");
    }
}

#[test]
fn only_the_flows_of_one_backend_of_one_service_are_forgotten() {
    let namespace = TestNs::new("ct-delete");
    sample(&namespace);
    let mut conntrack = Conntrack::open_in(namespace.namespace()).unwrap();
    let filter = Filter::protocol(Family::V4, 17).to(socket("10.96.0.10:53"));
    let gone = socket("10.1.0.2:5353");
    assert_eq!(conntrack.delete_matching(&filter, |flow| flow.reply.source == gone).unwrap(), 1);
    let left = namespace.run("conntrack", &["-L", "-f", "ipv4"]);
    assert_eq!(left.lines().count(), 3, "{left}");
    assert!(left.contains("tcp") && left.contains("10.1.0.3") && left.contains("10.96.0.11"), "{left}");
    assert_eq!(conntrack.delete_matching(&filter, |flow| flow.reply.source == gone).unwrap(), 0);
    assert_eq!(count(&namespace, "ipv6"), 1);
}

#[test]
fn a_flow_that_took_the_place_of_another_is_not_forgotten() {
    let namespace = TestNs::new("ct-id");
    sample(&namespace);
    let mut conntrack = Conntrack::open_in(namespace.namespace()).unwrap();
    let mut flow = conntrack.flows(&Filter::protocol(Family::V6, 17)).unwrap()[0];
    flow.id ^= 1;
    assert!(!conntrack.delete(&flow).unwrap());
    flow.id ^= 1;
    assert!(conntrack.delete(&flow).unwrap());
    assert!(!conntrack.delete(&flow).unwrap());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Flow::parse(&bytes);
    }
}

#[test]
fn all_flows_that_a_filter_admits_are_forgotten_in_one_request_and_no_others() {
    let namespace = TestNs::new("ct-forget");
    sample(&namespace);
    let mut conntrack = Conntrack::open_in(namespace.namespace()).unwrap();
    let of_port = Filter { original_port: Some(53), ..Filter::protocol(Family::V4, 17) };
    conntrack.forget(&of_port.answered_by(socket("10.1.0.2:5353"))).unwrap();
    let left = conntrack.flows(&of_port).unwrap();
    assert_eq!(left.iter().map(|flow| flow.reply.source).collect::<Vec<_>>(), [socket("10.1.0.3:5353")]);
    assert_eq!((count(&namespace, "ipv4"), count(&namespace, "ipv6")), (2, 1));
    conntrack
        .forget(&Filter { original_destination: Some("10.96.0.10".parse().unwrap()), ..of_port })
        .unwrap();
    assert_eq!(
        (count(&namespace, "ipv4"), count(&namespace, "ipv6")),
        (1, 1),
        "the TCP flow and the IPv6 one stay"
    );
    conntrack.forget(&of_port).unwrap();
    assert_eq!(count(&namespace, "ipv4"), 1, "none left is no error");
    let of_port = Filter { family: Family::V6, ..of_port };
    for (other, what) in [
        (of_port.to(socket("[fd00:96::11]:53")), "another destination"),
        (of_port.answered_by(socket("[fd00:1::3]:5353")), "another pod"),
    ] {
        conntrack.forget(&other).unwrap();
        assert_eq!(count(&namespace, "ipv6"), 1, "{what}");
    }
    conntrack.forget(&of_port.answered_by(socket("[fd00:1::2]:5353"))).unwrap();
    assert_eq!(count(&namespace, "ipv6"), 0);
}

#[test]
fn the_flows_that_an_address_has_begun_or_answers_are_forgotten_and_no_others() {
    let namespace = TestNs::new("ct-with");
    sample(&namespace);
    insert(&namespace, "tcp", "10.1.0.2:999", "192.0.2.9:80", "192.0.2.9:80");
    let mut conntrack = Conntrack::open_in(namespace.namespace()).unwrap();
    let address = |text: &str| -> std::net::IpAddr { text.parse().unwrap() };
    conntrack.forget_each(&Filter::family(Family::V4), &Filter::with(address("10.1.0.2"))).unwrap();
    let left = namespace.run("conntrack", &["-L", "-f", "ipv4"]);
    assert!(left.lines().count() == 1 && left.contains("10.1.0.3"), "{left}");
    assert_eq!(count(&namespace, "ipv6"), 1);
    conntrack.forget_each(&Filter::family(Family::V6), &Filter::with(address("fd00:1::3"))).unwrap();
    assert_eq!(count(&namespace, "ipv6"), 1);
    conntrack.forget_each(&Filter::family(Family::V6), &Filter::with(address("fd00:9::1"))).unwrap();
    assert_eq!(count(&namespace, "ipv6"), 0);
    assert_eq!(count(&namespace, "ipv4"), 1);
}
