//! Reflectors (RFC 4456).

use super::*;

const CLUSTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);

fn peer(last: u8, client: bool) -> PeerConfig {
    PeerConfig {
        reflector_client: client.then_some(CLUSTER),
        export: ExportRules::transit(),
        ..PeerConfig::new(ip(last), 64512)
    }
}

fn told_by(last: u8, client: bool) -> Path {
    let mut path = path(last, |_, _| {});
    Arc::make_mut(&mut path.common).client = client.then_some(CLUSTER);
    path
}

#[test]
fn clients_hear_everything_and_others_only_of_clients() {
    let agreed = agreed();
    for (from_client, to_client) in [(true, true), (true, false), (false, true), (false, false)] {
        let config = peer(9, to_client);
        let route = export(&view(&config, &agreed), Family::V4, &told_by(8, from_client));
        assert_eq!(route.is_some(), from_client || to_client, "{from_client} {to_client}");
        if let Some(route) = route {
            assert_eq!(route.next_hop, ip(8), "a reflector is not on the way");
            assert_eq!(route.attributes.originator_id, Some(Ipv4Addr::new(192, 0, 2, 8)));
            assert_eq!(route.attributes.cluster_list, [CLUSTER]);
        }
    }
}

#[test]
fn a_reflected_route_keeps_its_originator_and_never_goes_back_to_it() {
    let agreed = agreed();
    let config = peer(9, true);
    let mut known = told_by(8, true);
    let common = Arc::make_mut(&mut known.common);
    common.attributes.originator_id = Some(Ipv4Addr::new(192, 0, 2, 77));
    common.attributes.cluster_list = vec![Ipv4Addr::new(1, 1, 1, 1)];
    let route = export(&view(&config, &agreed), Family::V4, &known).unwrap();
    assert_eq!(route.attributes.originator_id, Some(Ipv4Addr::new(192, 0, 2, 77)));
    assert_eq!(route.attributes.cluster_list, [CLUSTER, Ipv4Addr::new(1, 1, 1, 1)]);
    // The peer of `agreed` is 192.0.2.9.
    Arc::make_mut(&mut known.common).attributes.originator_id = Some(agreed.router_id);
    assert_eq!(export(&view(&config, &agreed), Family::V4, &known), None);
}

#[test]
fn a_route_that_has_been_in_our_cluster_is_refused() {
    let agreed = agreed();
    let config = peer(9, false);
    let clusters = BTreeSet::from([CLUSTER]);
    let view = PeerView { clusters: &clusters, ..view(&config, &agreed) };
    let been = |cluster| Attributes { cluster_list: vec![cluster], ..Attributes::default() };
    let taken = |cluster| import(&view, update(ip(9), been(cluster)), |_| false).paths.len();
    assert_eq!(
        (taken(CLUSTER), taken(Ipv4Addr::new(1, 1, 1, 1))),
        (0, 1),
        "other clusters are others' clients"
    );
}
