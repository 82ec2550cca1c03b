//! Reflectors (RFC 4456): we are one, and we are clients of one.

use std::net::Ipv4Addr;

use bgp::{ExportRules, PeerConfig};

use crate::exchange::peer;
use crate::kit::{ASN, Kind, Lan, Ours, Setup, v4};

const CLUSTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

#[test]
fn our_clients_learn_each_others_routes_with_originator_and_cluster() {
    let lan = Lan::new();
    let setups: Vec<Setup> = Kind::ALL.into_iter().map(|kind| Setup::new(kind, ASN)).collect();
    let routers: Vec<_> = setups.iter().map(|setup| lan.start(setup.clone())).collect();
    lan.ours.run_in(|| {
        let ours = Ours::start(1);
        for setup in &setups {
            ours.set_peer(PeerConfig {
                reflector_client: Some(CLUSTER),
                export: ExportRules::transit(),
                ..peer(setup)
            });
        }
        for router in &routers {
            for other in setups.iter().filter(|setup| setup.kind != router.setup.kind) {
                let [prefix, _] = other.prefixes();
                let seen = router.learns(&prefix);
                let names = format!("{:?} of {:?}", router.setup.kind, other.kind);
                assert_eq!(seen.next_hop, v4(other.kind.last()).to_string(), "{names}");
                assert_eq!(seen.originator, Some(v4(other.kind.last()).to_string()), "{names}");
                assert_eq!(seen.clusters, [CLUSTER.to_string()], "{names}");
                assert_eq!(seen.communities, ["64512:5"], "{names}: kept");
                assert_eq!(seen.extended, Some(77), "{names}: kept");
            }
            assert_eq!(router.seen(&router.setup.prefixes()[0]).and_then(|seen| seen.originator), None);
        }
    });
}

#[test]
fn two_of_us_learn_each_others_routes_from_a_reflector() {
    for kind in [Kind::Frr, Kind::Gobgp] {
        let lan = Lan::new();
        let setup = Setup { reflector: true, neighbours: vec![1, 2], ..Setup::new(kind, ASN) };
        let _router = lan.start(setup.clone());
        lan.ours.run_in(|| {
            let mut speakers = [Ours::start(1), Ours::start(2)];
            for (speaker, last) in speakers.iter().zip([1, 2]) {
                speaker.set_peer(PeerConfig { local_address: Some(v4(last)), ..peer(&setup) });
            }
            for (speaker, other) in speakers.iter_mut().zip([2_u8, 1]) {
                let mut expected = setup.routes();
                expected.push((format!("10.{other}.0.0/24"), vec![v4(other)]));
                expected.push((format!("fd00:{other}::/64"), vec![crate::kit::v6(other)]));
                speaker.has(&expected);
                let path = speaker.paths(&format!("10.{other}.0.0/24")).remove(0);
                assert_eq!(path.attributes.originator_id, Some(Ipv4Addr::new(192, 0, 2, other)), "{kind:?}");
                assert_eq!(path.attributes.cluster_list, [Ipv4Addr::new(192, 0, 2, 250)], "{kind:?}");
            }
        });
    }
}
