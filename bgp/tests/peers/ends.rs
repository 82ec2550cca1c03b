//! How sessions end: by limits, by administrators, by silence.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bgp::fsm::State;
use bgp::{PeerConfig, PrefixLimit, ResetCause};

use crate::exchange::peer;
use crate::kit::{ASN, Kind, Lan, OTHER, Ours, Router, Setup, v4, wait_for};

#[test]
fn a_router_that_tells_too_much_stays_away_for_the_pause_and_comes_back_when_it_may() {
    for kind in Kind::ALL {
        let lan = Lan::new();
        let setup = Setup::new(kind, OTHER);
        let _router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let mut ours = Ours::start(1);
            let limit = |most| Some(PrefixLimit { most, pause: Duration::from_secs(3) });
            ours.set_peer(PeerConfig { prefix_limit: limit(0), ..peer(&setup) });
            wait_for("the limit", || {
                let error = ours.status(&setup).last_error.unwrap_or_default();
                error.contains("allowed are 0")
            });
            wait_for("a second attempt", || ours.status(&setup).established > 1);
            ours.set_peer(PeerConfig { prefix_limit: limit(1), ..peer(&setup) });
            ours.has(&setup.routes());
        });
    }
}

#[test]
fn the_words_of_an_administrator_are_shown() {
    for (kind, over_v6) in [(Kind::Bird, true), (Kind::Frr, false), (Kind::Gobgp, false)] {
        let lan = Lan::new();
        let setup = Setup { over_v6, ..Setup::new(kind, ASN) };
        let router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let mut ours = Ours::start(1);
            ours.set_peer(peer(&setup));
            ours.has(&setup.routes());
            router.shut_session("maintenance");
            wait_for(&format!("the words of {kind:?}"), || {
                ours.status(&setup).last_error.unwrap_or_default().contains("maintenance")
            });
            ours.has(&[]);
        });
    }
}

#[test]
fn our_own_words_and_the_end_by_bfd_come_over_and_the_session_comes_back() {
    for kind in [Kind::Bird, Kind::Frr] {
        let lan = Lan::new();
        let setup = Setup::new(kind, ASN);
        let router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let ours = Ours::start(1);
            ours.set_peer(peer(&setup));
            ours.established(&setup);
            for (number, cause) in
                [ResetCause::BfdDown, ResetCause::Administrator("new cable".to_owned())].iter().enumerate()
            {
                ours.handle
                    .blocking()
                    .reset_peer(setup.address(), cause.clone(), Duration::from_secs(1))
                    .unwrap();
                wait_for("the end", || ours.status(&setup).lost == number as u64 + 1);
                ours.established(&setup);
            }
            wait_for(&format!("our words in {kind:?}"), || router.log().contains("new cable"));
        });
    }
}

#[test]
fn a_cut_cable_and_a_router_that_hangs_show_by_the_hold_time() {
    for (kind, over_v6) in [(Kind::Bird, false), (Kind::Frr, true), (Kind::Gobgp, false)] {
        let lan = Lan::new();
        let setup = Setup { over_v6, ..Setup::new(kind, ASN) };
        let router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let mut ours = Ours::start(1);
            ours.set_peer(PeerConfig { hold_time: Some(3), ..peer(&setup) });
            ours.has(&setup.routes());
            router.signal("-STOP");
            ours.has(&[]);
            assert!(ours.status(&setup).last_error.unwrap().contains("hold time"), "{kind:?}");
            router.signal("-CONT");
            ours.has(&setup.routes());
            let port = format!("port{}", kind.last());
            lan.ours.run("ip", &["link", "set", &port, "down"]);
            ours.has(&[]);
            lan.ours.run("ip", &["link", "set", &port, "up"]);
            ours.has(&setup.routes());
        });
    }
}

#[test]
fn half_open_connections_and_junk_at_our_port_leave_sessions_alone() {
    for kind in Kind::ALL {
        let lan = Lan::new();
        let router = lan.start(Setup::new(kind, ASN));
        half_open(&lan, &router);
    }
}

fn half_open(lan: &Lan, router: &Router) {
    let setup = router.setup.clone();
    let stranger = lan.join(66);
    lan.ours.run_in(|| {
        let mut ours = Ours::start(1);
        ours.set_peer(peer(&setup));
        ours.has(&setup.routes());
        let port = SocketAddr::new(v4(1), 179);
        stranger.run_in(|| {
            let mut stream = TcpStream::connect(port).unwrap();
            let _ = stream.write_all(&[0xff; 64]);
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)), "a stranger is turned away");
        });
        // From the router's own address, as after a crash that it does not know of.
        let silent: Vec<TcpStream> =
            router.ns.run_in(|| (0..5).map(|_| TcpStream::connect(port).unwrap()).collect());
        std::thread::sleep(Duration::from_secs(3));
        let status = ours.status(&setup);
        assert_eq!((status.state, status.established), (State::Established, 1));
        assert!(ours.handle.blocking().status().unwrap().refused_connections > 0);
        drop(silent);
        ours.has(&setup.routes());
    });
}
