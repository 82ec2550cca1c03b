//! Passwords and distance.

use std::time::Duration;

use bgp::fsm::State;
use bgp::{Password, PeerConfig, Ttl};

use crate::exchange::peer;
use crate::kit::{ASN, Kind, Lan, OTHER, Ours, Router, Setup, v4, wait_for};

fn with_password(setup: &Setup, password: &str) -> PeerConfig {
    PeerConfig { password: Some(Password::new(password).unwrap()), ..peer(setup) }
}

#[test]
fn a_session_with_a_password_comes_up_from_either_side_and_a_new_password_takes_effect_live() {
    for (kind, over_v6) in [(Kind::Bird, false), (Kind::Bird, true), (Kind::Frr, true), (Kind::Gobgp, false)]
    {
        let lan = Lan::new();
        let setup = Setup { password: Some("s3cret"), over_v6, ..Setup::new(kind, OTHER) };
        let router = lan.start(setup.clone());
        // Another session that must not notice.
        let bystander = Setup::new(if kind == Kind::Bird { Kind::Frr } else { Kind::Bird }, ASN);
        let _other = lan.start(bystander.clone());
        lan.ours.run_in(|| {
            let ours = Ours::start(1);
            ours.set_peer(peer(&bystander));
            ours.established(&bystander);
            ours.set_peer(with_password(&setup, "wrong"));
            std::thread::sleep(Duration::from_secs(4));
            assert_ne!(ours.status(&setup).state, State::Established, "{kind:?}: another password");
            ours.set_peer(with_password(&setup, "s3cret"));
            ours.established(&setup);
            router.learns("10.1.0.0/24");
            ours.set_peer(PeerConfig { passive: true, ..with_password(&setup, "s3cret") });
            wait_for("a session that the router makes", || {
                let status = ours.status(&setup);
                status.state == State::Established && status.established > 1
            });
            ours.set_peer(peer(&setup));
            wait_for("the end without a password", || ours.status(&setup).state != State::Established);
            std::thread::sleep(Duration::from_secs(4));
            assert_ne!(ours.status(&setup).state, State::Established, "{kind:?}: no password");
            assert_eq!(ours.status(&bystander).established, 1, "other sessions are not touched");
        });
    }
}

#[test]
fn a_session_with_ttl_security_comes_up_and_one_without_on_one_side_does_not() {
    for (kind, over_v6) in [(Kind::Bird, false), (Kind::Bird, true), (Kind::Frr, true), (Kind::Gobgp, false)]
    {
        let setup = Setup { ttl_security: true, over_v6, ..Setup::new(kind, OTHER) };
        let lan = Lan::new();
        let router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let ours = Ours::start(1);
            ours.set_peer(peer(&setup));
            std::thread::sleep(Duration::from_secs(4));
            // What it sends reaches us; what we send has a TTL of 1 and is dropped.
            assert_eq!(router.seen("10.1.0.0/24"), None, "{kind:?}");
        });
        // Both anew: neither can end connections of before in the other, and a router may wait minutes for them.
        drop(router);
        let lan = Lan::new();
        let router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let ours = Ours::start(1);
            ours.set_peer(PeerConfig { ttl: Ttl::Security(1), ..peer(&setup) });
            ours.established(&setup);
            router.learns("10.1.0.0/24");
            // And made by the router.
            ours.set_peer(PeerConfig { ttl: Ttl::Security(1), passive: true, ..peer(&setup) });
            wait_for("a session that the router makes", || {
                let status = ours.status(&setup);
                status.state == State::Established && status.established > 1
            });
        });
    }
}

#[test]
fn a_router_behind_another_one_is_reached_with_multihop_only() {
    for kind in [Kind::Bird, Kind::Frr] {
        // The router's address is on its loopback, behind a namespace that forwards.
        let lan = Lan::new();
        let middle = lan.join(99);
        middle.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        let setup = Setup::new(kind, OTHER);
        let theirs = kernel::testing::TestNs::new("far");
        middle.run(
            "ip",
            &["link", "add", "far", "type", "veth", "peer", "name", "near", "netns", theirs.name()],
        );
        middle.run("ip", &["address", "add", "198.51.100.1/24", "dev", "far"]);
        middle.run("ip", &["link", "set", "far", "up"]);
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["address", "add", "198.51.100.2/24", "dev", "near"],
            &["link", "set", "near", "up"],
            &["address", "add", &format!("{}/32", setup.address()), "dev", "lo"],
            &["route", "add", "192.0.2.0/24", "via", "198.51.100.1"],
        ] {
            theirs.run("ip", arguments);
        }
        let host = format!("{}/32", setup.address());
        middle.run("ip", &["route", "add", &host, "via", "198.51.100.2"]);
        lan.ours.run("ip", &["route", "add", &host, "via", &v4(99).to_string()]);
        let mut router = Router::start(theirs, setup.clone());
        router.allow_multihop();
        lan.ours.run_in(|| {
            let ours = Ours::start(1);
            ours.set_peer(peer(&setup));
            std::thread::sleep(Duration::from_secs(4));
            assert_ne!(
                ours.status(&setup).state,
                State::Established,
                "{kind:?}: a TTL of 1 does not reach it"
            );
            ours.set_peer(PeerConfig { ttl: Ttl::Multihop(4), ..peer(&setup) });
            ours.established(&setup);
            // GTSM for the same link drops what has passed a router.
            ours.set_peer(PeerConfig { ttl: Ttl::Security(1), ..peer(&setup) });
            wait_for("the end of the session", || ours.status(&setup).state != State::Established);
        });
    }
}
