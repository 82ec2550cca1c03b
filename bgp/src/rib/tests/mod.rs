//! Choice, import, export and what is told, as tables.

mod laws;
mod news;
mod out;
mod reflection;
mod rules;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use prefix::{Family, Prefix};

use super::{
    AdjOut, Age, Change, Common, Exports, Imported, Local, Path, PeerView, Rib, Source, community, export,
    import, select,
};
use crate::config::PeerConfig;
use crate::fsm::Agreed;
use crate::packet::{AsPath, Attributes, Context, Origin, Reach, Segment, Update};
use crate::policy::{ExportRules, Verdict};

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn net(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn path(last: u8, change: impl FnOnce(&mut Attributes, &mut Source)) -> Path {
    let mut attributes = Attributes::default();
    let mut source = Source::Internal(ip(last));
    change(&mut attributes, &mut source);
    Path::new(Arc::new(Common {
        source,
        router_id: Ipv4Addr::new(192, 0, 2, last),
        next_hop: ip(last),
        attributes,
        client: None,
        local: Local::default(),
    }))
}

fn prefixes(changes: Vec<Change>) -> Vec<Prefix> {
    changes.into_iter().map(|change| change.prefix).collect()
}

fn by(asns: &[u32]) -> AsPath {
    AsPath(vec![Segment::Sequence(asns.to_vec())])
}

fn external(last: u8, asns: &[u32]) -> Path {
    path(last, |attributes, source| {
        attributes.as_path = by(asns);
        *source = Source::External(ip(last));
    })
}

#[test]
fn paths_are_judged_in_the_order_of_the_rfc() {
    type Case = (&'static str, Vec<Path>, Vec<usize>);
    let cases: Vec<Case> = vec![
        ("nothing", vec![], vec![]),
        (
            "ours first",
            vec![path(1, |a, _| a.local_pref = Some(900)), path(2, |_, s| *s = Source::Local)],
            vec![1],
        ),
        (
            "LOCAL_PREF before the length of AS_PATH",
            vec![
                external(1, &[7]),
                path(2, |a, _| {
                    a.local_pref = Some(200);
                    a.as_path = by(&[1, 2, 3]);
                }),
            ],
            vec![1],
        ),
        (
            "a missing LOCAL_PREF is 100",
            vec![path(1, |a, _| a.local_pref = Some(99)), path(2, |_, _| {})],
            vec![1],
        ),
        ("the shorter AS_PATH", vec![external(1, &[7, 8]), external(2, &[9])], vec![1]),
        ("the better ORIGIN", vec![path(1, |a, _| a.origin = Origin::Egp), path(2, |_, _| {})], vec![1]),
        (
            "MED within one neighbour",
            vec![
                external(1, &[7]),
                path(2, |a, s| {
                    a.as_path = by(&[7]);
                    a.med = Some(1);
                    *s = Source::External(ip(2));
                }),
            ],
            vec![0],
        ),
        (
            "MED of different neighbours does not count",
            vec![
                path(1, |a, s| {
                    a.as_path = by(&[7]);
                    a.med = Some(5);
                    *s = Source::External(ip(1));
                }),
                external(2, &[8]),
            ],
            vec![0, 1],
        ),
        ("external before internal", vec![path(1, |a, _| a.as_path = by(&[7])), external(2, &[7])], vec![1]),
        ("equal paths, the lower identifier first", vec![path(9, |_, _| {}), path(3, |_, _| {})], vec![1, 0]),
        (
            "the originator counts instead of the reflector",
            vec![path(3, |a, _| a.originator_id = Some(Ipv4Addr::new(192, 0, 2, 99))), path(9, |_, _| {})],
            vec![1, 0],
        ),
        (
            "a living path before a stale one",
            vec![Path { age: Age::Stale, ..path(1, |_, _| {}) }, path(2, |_, _| {})],
            vec![1, 0],
        ),
        (
            "a last resort behind the worst of the others",
            vec![
                Path { age: Age::LongLived, ..path(1, |_, _| {}) },
                path(2, |a, _| a.communities = vec![community::LLGR_STALE]),
                path(3, |a, _| a.local_pref = Some(0)),
            ],
            vec![2],
        ),
        (
            "what is refused takes no part",
            vec![
                Path { verdict: Verdict::Own, ..path(1, |_, _| {}) },
                path(2, |a, _| a.local_pref = Some(0)),
            ],
            vec![1],
        ),
    ];
    for (name, paths, expected) in cases {
        assert_eq!(select(&paths), expected, "{name}");
    }
}

#[test]
fn the_choice_does_not_depend_on_the_order_of_arrival() {
    let paths = [
        external(1, &[7, 8]),
        external(2, &[9, 8]),
        path(3, |a, _| a.as_path = by(&[1, 2])),
        path(4, |a, _| a.med = Some(3)),
        path(5, |_, _| {}),
    ];
    let mut outcomes = BTreeSet::new();
    for turn in 0..paths.len() {
        let mut rib = Rib::default();
        for at in 0..paths.len() {
            rib.put(net("10.0.0.0/8"), paths[(turn + at) % paths.len()].clone());
        }
        let selected = rib.selected(&net("10.0.0.0/8")).unwrap();
        outcomes.insert((selected.best.common.source, selected.next_hops.to_vec()));
    }
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
}

#[test]
fn equal_paths_share_and_a_lost_peer_takes_only_its_own() {
    let mut rib = Rib::default();
    let prefix = net("10.0.0.0/8");
    assert!(rib.put(prefix, path(1, |_, _| {})).is_some());
    assert!(rib.put(prefix, path(2, |_, _| {})).is_some());
    assert!(rib.put(prefix, path(2, |_, _| {})).is_none(), "the same again is no change");
    assert_eq!(rib.selected(&prefix).unwrap().next_hops[..], [ip(1), ip(2)]);
    assert_eq!(prefixes(rib.remove_peer(ip(1))), [prefix]);
    assert_eq!(rib.selected(&prefix).unwrap().next_hops[..], [ip(2)]);
    assert_eq!(rib.remove_peer(ip(1)), []);
    assert_eq!(prefixes(rib.remove_peer(ip(2))), [prefix]);
    assert!(rib.selected(&prefix).is_none() && rib.prefixes().next().is_none());
}

#[test]
fn what_a_returning_peer_does_not_repeat_is_swept_by_family() {
    let mut rib = Rib::default();
    for prefix in ["10.1.0.0/16", "10.2.0.0/16", "fd00::/64"] {
        rib.put(net(prefix), path(1, |_, _| {}));
    }
    rib.mark_stale(ip(1));
    rib.put(net("10.1.0.0/16"), path(1, |_, _| {}));
    assert_eq!(prefixes(rib.sweep(ip(1), &[Family::V4].into())), [net("10.2.0.0/16")]);
    assert_eq!(rib.count_of(ip(1)).all(), 2);
    assert_eq!(prefixes(rib.sweep(ip(1), &[Family::V6].into())), [net("fd00::/64")]);
}

fn agreed() -> Agreed {
    Agreed {
        router_id: Ipv4Addr::new(192, 0, 2, 9),
        hold_time: 90,
        families: [Family::V4].into(),
        context: Context::default(),
        route_refresh: true,
        enhanced_refresh: true,
        graceful_restart: None,
        long_lived: Vec::new(),
    }
}

static NO_CLUSTERS: BTreeSet<Ipv4Addr> = BTreeSet::new();

fn view<'a>(config: &'a PeerConfig, agreed: &'a Agreed) -> PeerView<'a> {
    PeerView {
        asn: 64512,
        router_id: Ipv4Addr::new(192, 0, 2, 5),
        clusters: &NO_CLUSTERS,
        config,
        agreed,
        local_address: Some(ip(5)),
    }
}

fn update(next_hop: IpAddr, attributes: Attributes) -> Update {
    let prefixes = vec![net("10.0.0.0/8")];
    Update { reach: vec![Reach { next_hop, prefixes }], attributes, ..Update::default() }
}

#[test]
fn routes_that_loop_or_lead_nowhere_are_refused() {
    let agreed = agreed();
    let inside = PeerConfig::new(ip(9), 64512);
    let outside = PeerConfig::new(ip(9), 65001);
    let path_of = |asns: &[u32]| Attributes { as_path: by(asns), ..Attributes::default() };
    let originated = Attributes { originator_id: Some(Ipv4Addr::new(192, 0, 2, 5)), ..Attributes::default() };
    let cases = [
        ("a plain route", &inside, ip(9), Attributes::default(), true),
        ("a third party's next hop", &inside, ip(77), Attributes::default(), true),
        ("our own AS on the way", &inside, ip(9), path_of(&[7, 64512]), false),
        ("our own route reflected", &inside, ip(9), originated, false),
        ("our own address as next hop", &inside, ip(5), Attributes::default(), false),
        ("loopback as next hop", &inside, "127.0.0.1".parse().unwrap(), Attributes::default(), false),
        ("a link-local next hop", &inside, "fe80::1".parse().unwrap(), Attributes::default(), false),
        ("from its own AS", &outside, ip(9), path_of(&[65001, 7]), true),
        ("a neighbour that hides itself", &outside, ip(9), path_of(&[7]), false),
        ("from outside without a path", &outside, ip(9), Attributes::default(), false),
    ];
    for (name, config, next_hop, attributes, expected) in cases {
        let imported = import(&view(config, &agreed), update(next_hop, attributes), |_| false);
        assert_eq!(imported.paths.len() == 1, expected, "{name}");
        assert_eq!(
            imported.withdrawn.len() == 1,
            !expected,
            "{name}: a refused route replaces the earlier one"
        );
    }
    let mut v6 = update(ip(9), Attributes::default());
    v6.reach[0].prefixes = vec![net("fd00::/64")];
    assert_eq!(import(&view(&inside, &agreed), v6, |_| false), Imported::default(), "a family not agreed");
}

#[test]
fn who_is_told_what() {
    let agreed = agreed();
    let inside = PeerConfig::new(ip(9), 64512);
    let outside = PeerConfig::new(ip(9), 65001);
    let ours = path(5, |_, source| *source = Source::Local);
    let secret = |value: u32| {
        path(5, move |a, s| {
            a.communities = vec![value];
            *s = Source::Local;
        })
    };
    let cases = [
        ("ours to inside", &inside, ours.clone(), true),
        ("ours to outside", &outside, ours, true),
        ("inside to inside", &inside, path(8, |_, _| {}), false),
        ("inside to outside", &outside, path(8, |_, _| {}), true),
        ("outside to inside", &inside, external(8, &[7]), true),
        ("back to its source", &outside, external(9, &[65001]), false),
        ("no-export to inside", &inside, secret(0xffff_ff01), true),
        ("no-export to outside", &outside, secret(0xffff_ff01), false),
        ("no-advertise", &inside, secret(0xffff_ff02), false),
    ];
    for (name, config, best, expected) in cases {
        let transit = PeerConfig { export: ExportRules::transit(), ..config.clone() };
        let route = export(&view(&transit, &agreed), Family::V4, &best);
        assert_eq!(route.is_some(), expected, "{name}");
        let nodes_view = export(&view(config, &agreed), Family::V4, &best);
        assert_eq!(
            nodes_view.is_some(),
            expected && best.common.source == Source::Local,
            "{name}: a node is no transit"
        );
    }
}

#[test]
fn attributes_change_at_the_border_of_the_as() {
    let agreed = agreed();
    let transit = |asn| PeerConfig { export: ExportRules::transit(), ..PeerConfig::new(ip(9), asn) };
    let (outside, inside) = (transit(65001), transit(64512));
    let learnt = path(8, |a, _| {
        a.local_pref = Some(300);
        a.med = Some(7);
        a.as_path = by(&[70]);
    });
    let route = export(&view(&outside, &agreed), Family::V4, &learnt).unwrap();
    assert_eq!(route.attributes.as_path, by(&[64512, 70]));
    assert_eq!((route.attributes.local_pref, route.attributes.med), (None, None));
    assert_eq!(route.next_hop, ip(5), "we are on the way");
    let route = export(&view(&inside, &agreed), Family::V4, &external(8, &[70])).unwrap();
    assert_eq!((route.attributes.local_pref, route.next_hop), (Some(100), ip(8)));
    let export_rules = ExportRules { next_hop_self: true, ..ExportRules::transit() };
    let through_us = PeerConfig { export: export_rules, ..inside };
    let route = export(&view(&through_us, &agreed), Family::V4, &external(8, &[70])).unwrap();
    assert_eq!(route.next_hop, ip(5));
}
