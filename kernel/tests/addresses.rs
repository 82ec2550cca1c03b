//! Addresses as `ip address` sees them.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::IpAddr;

use kernel::rtnl::{NewAddress, NewLink, Rtnl, Scope, VethPeer};
use kernel::testing::TestNs;
use prefix::Family;

fn pair(namespace: &TestNs) -> (Rtnl, u32) {
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    let peer = VethPeer { name: "b", ..VethPeer::default() };
    rtnl.create_link(&NewLink { up: true, ..NewLink::veth("a", peer) }).unwrap();
    let (a, b) =
        (rtnl.link_by_name("a").unwrap().unwrap().index, rtnl.link_by_name("b").unwrap().unwrap().index);
    rtnl.set_up(b).unwrap();
    (rtnl, a)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_address_is_given_seen_and_taken_away() {
    let namespace = TestNs::new("address");
    let (mut rtnl, link) = pair(&namespace);
    let broadcast = Some("10.9.0.255".parse().unwrap());
    let address = NewAddress { broadcast, ..NewAddress::new(link, ip("10.9.0.1"), 24) };
    rtnl.add_address(&address).unwrap();
    assert!(rtnl.add_address(&address).unwrap_err().is_exists());
    rtnl.replace_address(&address).unwrap();
    let text = namespace.run("ip", &["-4", "address", "show", "dev", "a"]);
    assert!(text.contains("inet 10.9.0.1/24 brd 10.9.0.255 scope global a"), "{text}");

    let read = rtnl.addresses(Some(link), Some(Family::V4)).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].address, read[0].prefix_length, read[0].broadcast), (ip("10.9.0.1"), 24, broadcast));
    assert_eq!(read[0].prefix().unwrap().to_string(), "10.9.0.0/24");
    rtnl.delete_address(link, ip("10.9.0.1"), 24).unwrap();
    let error = rtnl.delete_address(link, ip("10.9.0.1"), 24).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(rtnl.addresses(Some(link), Some(Family::V4)).unwrap().is_empty());
}

#[test]
fn an_ipv6_address_without_duplicate_detection_can_be_used_at_once() {
    let namespace = TestNs::new("nodad");
    let (mut rtnl, link) = pair(&namespace);
    let quick =
        NewAddress { no_dad: true, no_prefix_route: true, ..NewAddress::new(link, ip("fd09::1"), 64) };
    rtnl.add_address(&quick).unwrap();
    rtnl.add_address(&NewAddress::new(link, ip("fd09::2"), 64)).unwrap();
    let read = rtnl.addresses(Some(link), Some(Family::V6)).unwrap();
    let find = |text: &str| read.iter().find(|one| one.address == ip(text)).unwrap();
    assert!(!find("fd09::1").tentative && find("fd09::1").no_prefix_route && find("fd09::1").permanent);
    assert!(find("fd09::2").tentative && !find("fd09::2").no_prefix_route);
    let routes = namespace.run("ip", &["-6", "route", "show", "fd09::/64"]);
    assert_eq!(routes.lines().count(), 1, "only one of the two makes a route: {routes}");
}

#[test]
fn the_filters_of_the_list_hold() {
    let namespace = TestNs::new("filter");
    let (mut rtnl, link) = pair(&namespace);
    rtnl.add_address(&NewAddress { scope: Some(Scope::Link), ..NewAddress::new(link, ip("10.9.0.1"), 32) })
        .unwrap();
    let all = rtnl.addresses(None, None).unwrap();
    assert!(all.iter().any(|one| one.address == ip("127.0.0.1") && one.scope == Scope::Host));
    assert!(all.iter().any(|one| one.address == ip("::1")));
    let four = rtnl.addresses(None, Some(Family::V4)).unwrap();
    assert_eq!(four.len(), 2);
    assert!(four.iter().any(|one| one.link == link && one.scope == Scope::Link));
    assert!(rtnl.addresses(Some(9999), None).unwrap().is_empty());
}
