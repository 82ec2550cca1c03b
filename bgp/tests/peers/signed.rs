//! The TCP Authentication Option between two speakers of ours: of the routers here none has it.

use bgp::ao::{Algorithm, Key};
use bgp::fsm::State;
use bgp::{Password, PeerConfig, PeerStatus, Signature, SpeakerConfig};

use crate::kit::{ASN, Lan, OTHER, Ours, v4, wait_for};

const KEY: Key = Key { send_id: 7, receive_id: 9, algorithm: Algorithm::HmacSha1 };
const MIRRORED: Key = Key { send_id: 9, receive_id: 7, ..KEY };

fn md5(secret: &str) -> Password {
    Password::new(secret).unwrap()
}

fn signed(secret: &str, key: Key) -> Password {
    md5(secret).signing(Signature::Ao(key))
}

fn peer(last: u8, asn: u32, password: Password) -> PeerConfig {
    PeerConfig { password: Some(password), ..PeerConfig::new(v4(last), asn) }
}

fn status(of: &Ours, last: u8) -> PeerStatus {
    let status = of.handle.blocking().status().unwrap();
    status.peers.into_iter().find(|peer| peer.address == v4(last)).unwrap()
}

/// Two speakers on one link; the second one is in a namespace of its own.
fn pair(with: impl FnOnce(&Ours, &Ours) + Send) {
    let lan = Lan::new();
    let there = lan.join(5);
    let theirs = there.run_in(|| {
        Ours::with(SpeakerConfig {
            listen: vec![std::net::SocketAddr::new(v4(5), 179)],
            ..SpeakerConfig::new(OTHER, "192.0.2.5".parse().unwrap())
        })
    });
    lan.ours.run_in(|| with(&Ours::start(1), &theirs));
}

#[test]
#[ignore = "needs a kernel with TCP-AO: run in a lab guest by cargo verify"]
fn a_session_with_tcp_ao_comes_up_with_the_same_key_from_either_side_and_a_new_key_takes_effect_live() {
    pair(|ours, theirs| {
        let up = |what: &str| {
            wait_for(what, || {
                [status(ours, 5), status(theirs, 1)].iter().all(|peer| peer.state == State::Established)
            });
        };
        let down = |what: &str| {
            wait_for(&format!("{what} refused"), || status(ours, 5).state != State::Established);
            std::thread::sleep(std::time::Duration::from_secs(4));
            assert_ne!(status(ours, 5).state, State::Established, "{what}");
        };
        theirs.set_peer(peer(1, ASN, signed("s3cret", MIRRORED)));
        ours.set_peer(peer(5, OTHER, signed("other", KEY)));
        down("another secret");
        ours.set_peer(peer(5, OTHER, signed("s3cret", KEY)));
        up("a session with TCP-AO");
        // Each side makes the connection once.
        for passive in [true, false] {
            let before = status(ours, 5).established;
            ours.set_peer(PeerConfig { passive, ..peer(5, OTHER, signed("s3cret", KEY)) });
            theirs.set_peer(PeerConfig { passive: !passive, ..peer(1, ASN, signed("s3cret", MIRRORED)) });
            wait_for("a session made by one side", || status(ours, 5).established > before);
            up("a session made by one side");
        }
        ours.set_peer(peer(5, OTHER, signed("s3cret", MIRRORED)));
        down("other identifiers");
        ours.set_peer(peer(5, OTHER, md5("s3cret")));
        down("MD5");
        theirs.set_peer(peer(1, ASN, md5("s3cret")));
        up("MD5 on both sides");
        for (side, config) in
            [(ours, peer(5, OTHER, signed("new", KEY))), (theirs, peer(1, ASN, signed("new", MIRRORED)))]
        {
            side.set_peer(config);
        }
        up("a new key in place of MD5");
    });
}

/// Whatever kernel this is: it has TCP-AO, or the peer's status says that it has not; another session runs.
#[test]
fn a_kernel_without_tcp_ao_is_named_and_touches_no_other_session() {
    pair(|ours, theirs| {
        theirs.set_peer(PeerConfig::new(v4(1), ASN));
        ours.set_peer(PeerConfig::new(v4(5), OTHER));
        wait_for("a session", || status(ours, 5).state == State::Established);
        // AES-CMAC is what the lab's kernel lacks, too.
        let key = Key { algorithm: Algorithm::Aes128Cmac, ..KEY };
        ours.set_peer(peer(77, OTHER, signed("s3cret", key)));
        wait_for("why there is no session", || {
            let reason = status(ours, 77).last_error.unwrap_or_default();
            reason.contains("CONFIG_TCP_AO")
                || reason.contains("cmac(aes128)")
                || reason.contains("No route to host")
        });
        assert_eq!(status(ours, 5).established, 1);
    });
}
