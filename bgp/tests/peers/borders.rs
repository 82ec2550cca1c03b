//! Rules for what goes out and comes in, changed on running sessions.

use bgp::{Announcement, Audience, Communities, ExportRules, ImportRules, PeerConfig, Prepend};

use crate::exchange::peer;
use crate::kit::{ASN, Kind, Lan, OTHER, Ours, Setup, v4, wait_for};

#[test]
fn export_rules_change_what_a_router_sees_without_a_new_session() {
    for (kind, asn) in [(Kind::Bird, OTHER), (Kind::Frr, OTHER), (Kind::Gobgp, OTHER), (Kind::Frr, ASN)] {
        let lan = Lan::new();
        let setup = Setup::new(kind, asn);
        let router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let ours = Ours::start(1);
            let far = Announcement { med: Some(33), ..Announcement::via(v4(2)) };
            ours.announce("10.50.0.1/32", Announcement { audience: Audience::External, ..far.clone() });
            ours.announce("10.51.0.1/32", Announcement { audience: Audience::Internal, ..far });
            ours.set_peer(peer(&setup));
            let (there, absent) = if setup.internal() {
                ("10.51.0.1/32", "10.50.0.1/32")
            } else {
                ("10.50.0.1/32", "10.51.0.1/32")
            };
            let seen = router.learns(there);
            assert_eq!((seen.med, seen.next_hop), (Some(33), v4(2).to_string()), "{kind:?}");
            assert_eq!(router.seen(absent), None, "{kind:?}: not for this audience");
            let export = ExportRules {
                next_hop_self: true,
                communities: Communities {
                    standard: vec![0xfc00_0063],
                    large: vec![(ASN, 9, 9)],
                    extended: Vec::new(),
                },
                prepend: Some(Prepend { asn: ASN, times: 2 }),
                ..ExportRules::default()
            };
            ours.set_peer(PeerConfig { export, ..peer(&setup) });
            wait_for(&format!("the new rules in {kind:?}"), || {
                let seen = router.seen(there).unwrap_or_default();
                let path = if setup.internal() { vec![] } else { vec![ASN; 3] };
                seen.next_hop == v4(1).to_string()
                    && seen.communities == ["64512:99"]
                    && seen.large == ["64512:9:9"]
                    && seen.as_path == path
            });
            assert_eq!(ours.status(&setup).established, 1);
        });
    }
}

#[test]
fn import_rules_refuse_and_take_again_without_a_new_session() {
    for (kind, over_v6) in [(Kind::Bird, false), (Kind::Frr, true), (Kind::Gobgp, false)] {
        let lan = Lan::new();
        let setup = Setup { over_v6, ..Setup::new(kind, OTHER) };
        let _router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let mut ours = Ours::start(1);
            ours.set_peer(peer(&setup));
            ours.has(&setup.routes());
            let [first, second] = setup.prefixes();
            let refuse = ImportRules { refuse: [first.parse().unwrap()].into(), ..ImportRules::default() };
            ours.set_peer(PeerConfig { import: refuse, ..peer(&setup) });
            ours.has(&setup.routes()[1..]);
            assert!(ours.paths(&first)[0].refused.is_some(), "it is shown why");
            let speaker = ours.handle.blocking();
            speaker.protect(second.parse().unwrap(), true).unwrap();
            ours.has(&[]);
            speaker.protect(second.parse().unwrap(), false).unwrap();
            ours.set_peer(peer(&setup));
            ours.has(&setup.routes());
            assert_eq!(ours.status(&setup).established, 1);
        });
    }
}

#[test]
fn equal_routes_of_two_routers_share_the_traffic_until_one_is_gone() {
    let lan = Lan::new();
    let setups = [Setup::new(Kind::Bird, OTHER), Setup::new(Kind::Gobgp, OTHER)];
    let mut routers: Vec<_> = setups.iter().map(|setup| lan.start(setup.clone())).collect();
    routers[1].command(
        "gobgp",
        &["global", "rib", "add", &setups[0].prefixes()[0], "origin", "igp", "nexthop", "192.0.2.13"],
    );
    lan.ours.run_in(|| {
        let mut ours = Ours::start(1);
        for setup in &setups {
            ours.set_peer(PeerConfig { graceful_restart: None, ..peer(setup) });
        }
        let mut expected: Vec<_> = setups.iter().flat_map(Setup::routes).collect();
        expected[0].1.push(v4(13));
        ours.has(&expected);
        routers[0].kill();
        let mut left = setups[1].routes();
        left.push((setups[0].prefixes()[0].clone(), vec![v4(13)]));
        ours.has(&left);
    });
}
