//! Routes of both families go both ways, with all that belongs to them.

use std::time::Duration;

use bgp::{GracefulRestart, PeerConfig};

use crate::kit::{ASN, Kind, Lan, OTHER, Ours, Seen, Setup, v4, v6, wait_for};

/// Our configuration of the router.
pub fn peer(setup: &Setup) -> PeerConfig {
    PeerConfig {
        local_address: Some(setup.side(1)),
        graceful_restart: Some(GracefulRestart { restart_time: 30, ..GracefulRestart::default() }),
        ..PeerConfig::new(setup.address(), setup.asn)
    }
}

fn check_theirs(seen: &Seen, setup: &Setup) {
    let kind = setup.kind;
    assert_eq!(seen.next_hop, v4(1).to_string(), "{kind:?}");
    assert_eq!(seen.communities, ["64512:7"], "{kind:?}");
    assert_eq!(seen.large, ["64512:7:8"], "{kind:?}");
    assert_eq!(seen.extended, Some(9), "{kind:?}");
    if setup.internal() {
        assert_eq!((seen.local_pref, seen.as_path.len()), (Some(100), 0), "{kind:?}");
    } else {
        assert_eq!(seen.as_path, [ASN], "{kind:?}");
    }
}

pub fn check_ours(ours: &Ours, setup: &Setup) {
    for prefix in setup.prefixes() {
        let path = ours.paths(&prefix).remove(0);
        let attributes = &path.attributes;
        assert_eq!(attributes.communities, [ASN << 16 | 5], "{:?} {prefix}", setup.kind);
        assert_eq!(attributes.large_communities, [(ASN, 1, 2)]);
        assert_eq!(attributes.extended_communities, [[0, 2, 0xfc, 0, 0, 0, 0, 77]]);
        assert_eq!(path.as_path, if setup.internal() { vec![] } else { vec![OTHER] });
    }
}

/// Both learn the other's routes; what either withdraws goes; the router's death shows at once.
fn exchange(setup: &Setup) {
    let lan = Lan::new();
    let mut router = lan.start(setup.clone());
    lan.ours.run_in(|| {
        let mut ours = Ours::start(1);
        ours.set_peer(PeerConfig { graceful_restart: None, ..peer(setup) });
        ours.has(&setup.routes());
        check_ours(&ours, setup);
        check_theirs(&router.learns("10.1.0.0/24"), setup);
        assert_eq!(router.learns("fd00:1::/64").next_hop, v6(1).to_string());
        // Longer than the hold time: keepalives go both ways.
        std::thread::sleep(Duration::from_secs(10));
        // ROUTE-REFRESH in both directions: everything is told again, and the session lives on.
        assert!(router.knows_marks(), "{}", router.log());
        let updates = ours.status(setup).updates;
        router.refresh();
        ours.runtime.block_on(ours.handle.refresh_peer(setup.address())).unwrap();
        wait_for("routes told again", || ours.status(setup).updates > updates);
        ours.handle.blocking().withdraw("10.1.0.0/24".parse().unwrap()).unwrap();
        router.loses("10.1.0.0/24");
        router.learns("fd00:1::/64");
        let status = ours.status(setup);
        assert_eq!((status.established, status.sent.v4, status.sent.v6), (1, 0, 1), "{}", router.log());
        router.kill();
        ours.has(&[]);
        assert_eq!(ours.status(setup).lost, 1);
        // It comes back by itself.
        router.run();
        ours.has(&setup.routes());
        router.learns("fd00:1::/64");
    });
}

fn with_all(asn: u32, over_v6: bool) {
    for kind in Kind::ALL {
        exchange(&Setup { over_v6, ..Setup::new(kind, asn) });
    }
}

#[test]
fn routes_are_exchanged_over_ipv4_inside_the_as() {
    with_all(ASN, false);
}

#[test]
fn routes_are_exchanged_over_ipv6_inside_the_as() {
    with_all(ASN, true);
}

#[test]
fn routes_are_exchanged_over_ipv4_with_another_as() {
    with_all(OTHER, false);
}

#[test]
fn routes_are_exchanged_over_ipv6_with_another_as() {
    with_all(OTHER, true);
}

#[test]
fn ipv4_routes_have_ipv6_next_hops_where_both_can() {
    for kind in [Kind::Bird, Kind::Frr] {
        let lan = Lan::new();
        let setup = Setup { over_v6: true, ..Setup::new(kind, ASN) };
        let router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let ours = Ours::start(1);
            ours.announce("10.9.0.0/24", bgp::Announcement::via(v6(1)));
            ours.set_peer(peer(&setup));
            let seen = router.learns("10.9.0.0/24");
            assert_eq!(seen.next_hop, v6(1).to_string(), "{kind:?}");
        });
    }
}
