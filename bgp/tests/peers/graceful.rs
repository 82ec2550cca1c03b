//! Graceful restart in both roles, and clean ends.

use bgp::rib::Age;
use bgp::{GracefulRestart, PeerConfig, Shutdown, SpeakerConfig, Start};

use crate::exchange::peer;
use crate::kit::{ASN, Kind, Lan, OTHER, Ours, Router, Setup, wait_for};

/// What we announce.
const OURS: [&str; 2] = ["10.1.0.0/24", "fd00:1::/64"];

fn restartable(kind: Kind, asn: u32) -> Setup {
    Setup { graceful: Some(60), ..Setup::new(kind, asn) }
}

/// A speaker of ours that has learnt what the router tells, and the router what we do.
fn acquainted(setup: &Setup, router: &Router) -> Ours {
    let mut ours = Ours::start(1);
    ours.set_peer(peer(setup));
    ours.has(&setup.routes());
    for prefix in OURS {
        router.learns(prefix);
    }
    ours
}

#[test]
fn a_router_keeps_our_routes_while_we_restart_and_drops_them_when_we_cease() {
    for (kind, asn, over_v6) in
        [(Kind::Bird, ASN, false), (Kind::Frr, OTHER, true), (Kind::Gobgp, OTHER, false)]
    {
        let lan = Lan::new();
        let setup = Setup { over_v6, ..restartable(kind, asn) };
        let keeps = |router: &Router| OURS.iter().all(|prefix| router.seen(prefix).is_some());
        let router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let ours = acquainted(&setup, &router);
            ours.shutdown(Shutdown::Quiet);
            // Longer than any of them takes to notice.
            std::thread::sleep(std::time::Duration::from_secs(3));
            assert!(keeps(&router), "{kind:?} keeps the routes:\n{}", router.log());
            let again = SpeakerConfig {
                listen: vec![std::net::SocketAddr::new(setup.side(1), 179)],
                start: Start::Restart,
                ..SpeakerConfig::new(ASN, "192.0.2.1".parse().unwrap())
            };
            let mut ours = Ours::with(again);
            ours.set_peer(peer(&setup));
            ours.has(&setup.routes());
            ours.established(&setup);
            assert!(keeps(&router), "{kind:?} has them without a gap");
            ours.shutdown(Shutdown::Cease("the node is drained".to_owned()));
            for prefix in OURS {
                router.loses(prefix);
            }
        });
    }
}

#[test]
fn a_changed_setting_of_ours_is_a_new_session_and_costs_neither_a_router_nor_us_a_route() {
    for (kind, asn) in [(Kind::Bird, OTHER), (Kind::Frr, ASN), (Kind::Gobgp, OTHER)] {
        let lan = Lan::new();
        let setup = restartable(kind, asn);
        let router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let mut ours = acquainted(&setup, &router);
            wait_for("its End-of-RIB", || ours.status(&setup).complete.len() == 2);
            ours.set_peer(PeerConfig { hold_time: Some(30), ..peer(&setup) });
            wait_for("all of the new session", || {
                let kept = OURS.iter().all(|prefix| router.seen(prefix).is_some());
                assert!(kept, "{kind:?} has a gap:\n{}", router.log());
                let status = ours.status(&setup);
                let has = ours.routes().len();
                assert_eq!(has, setup.routes().len(), "we have a gap: {status:?}\n{}", router.log());
                status.established == 2 && status.complete.len() == 2
            });
            // Longer than a router takes to drop what was not told again.
            std::thread::sleep(std::time::Duration::from_secs(1));
            assert!(OURS.iter().all(|prefix| router.seen(prefix).is_some()), "{kind:?}:\n{}", router.log());
        });
    }
}

#[test]
fn the_routes_of_a_router_that_is_killed_stay_until_it_is_back() {
    for (kind, asn, over_v6) in
        [(Kind::Bird, OTHER, true), (Kind::Frr, ASN, false), (Kind::Gobgp, ASN, false)]
    {
        let lan = Lan::new();
        let setup = Setup { over_v6, ..restartable(kind, asn) };
        let mut router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let mut ours = Ours::start(1);
            ours.set_peer(peer(&setup));
            ours.has(&setup.routes());
            wait_for("its End-of-RIB", || ours.status(&setup).complete.len() == 2);
            router.kill();
            wait_for("the end of the session", || ours.status(&setup).stale);
            ours.has(&setup.routes());
            assert_eq!(ours.paths(&setup.prefixes()[0])[0].age, Age::Stale, "{kind:?}");
            router.run();
            wait_for("fresh routes", || {
                ours.paths(&setup.prefixes()[0]).first().is_some_and(|path| path.age == Age::Fresh)
            });
            wait_for("the end of keeping", || !ours.status(&setup).stale);
            ours.has(&setup.routes());
        });
    }
}

#[test]
fn behind_the_restart_time_routes_live_on_as_a_last_resort() {
    for kind in Kind::ALL {
        let lan = Lan::new();
        let setup = Setup { graceful: Some(2), long_lived: Some(600), ..Setup::new(kind, ASN) };
        let mut router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let mut ours = Ours::start(1);
            let long =
                GracefulRestart { restart_time: 2, long_lived: Some(600), ..GracefulRestart::default() };
            let config = PeerConfig { graceful_restart: Some(long), ..peer(&setup) };
            ours.set_peer(config.clone());
            ours.has(&setup.routes());
            router.learns("10.1.0.0/24");
            // Theirs in us.
            router.kill();
            wait_for("the last resort", || {
                ours.paths(&setup.prefixes()[0]).first().is_some_and(|path| path.age == Age::LongLived)
            });
            ours.has(&setup.routes());
            router.run();
            wait_for("fresh routes", || {
                ours.paths(&setup.prefixes()[0]).first().is_some_and(|path| path.age == Age::Fresh)
            });
            // Ours in them.
            router.learns("10.1.0.0/24");
            ours.shutdown(Shutdown::Quiet);
            // FRR shows it by its name.
            let is_stale = |community: &String| ["65535:6", "llgrStale"].contains(&community.as_str());
            wait_for(&format!("LLGR_STALE in {kind:?}"), || {
                router.seen("10.1.0.0/24").is_some_and(|seen| seen.communities.iter().any(is_stale))
            });
        });
    }
}

#[test]
fn a_notification_does_not_end_what_both_want_to_keep_and_a_hard_reset_does() {
    for kind in [Kind::Gobgp, Kind::Frr] {
        keeps_over_notifications(&Setup { keeps_over_notifications: true, ..restartable(kind, ASN) });
    }
}

fn keeps_over_notifications(setup: &Setup) {
    let lan = Lan::new();
    let router = lan.start(setup.clone());
    lan.ours.run_in(|| {
        let mut ours = Ours::start(1);
        let keep = GracefulRestart { restart_time: 60, notification: true, ..GracefulRestart::default() };
        let config = PeerConfig { graceful_restart: Some(keep), ..peer(setup) };
        ours.set_peer(config.clone());
        ours.has(&setup.routes());
        router.learns("10.1.0.0/24");
        // Another hold time needs another session, which Cease ends; both keep what they have meanwhile.
        ours.set_peer(PeerConfig { hold_time: Some(30), ..config });
        ours.has(&setup.routes());
        wait_for("the new session", || ours.status(setup).established == 2);
        ours.has(&setup.routes());
        router.learns("10.1.0.0/24");
        ours.shutdown(Shutdown::Cease("for good".to_owned()));
        router.loses("10.1.0.0/24");
    });
}
