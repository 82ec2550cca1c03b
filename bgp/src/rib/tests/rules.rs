//! Import and export rules, audiences, prepending, communities.

use super::*;
use crate::config::{Audience, Communities};
use crate::packet::LongLived;
use crate::policy::{ImportRules, Prepend};

fn local(change: impl FnOnce(&mut Common)) -> Path {
    let mut path = path(5, |_, source| *source = Source::Local);
    change(Arc::make_mut(&mut path.common));
    path
}

#[test]
fn what_the_rules_refuse_is_kept_apart_and_comes_back_with_other_rules() {
    let agreed = agreed();
    let config = PeerConfig::new(ip(9), 64512);
    let mut message = update(ip(9), Attributes::default());
    message.reach[0].prefixes = vec![net("0.0.0.0/0"), net("10.1.0.0/16"), net("10.2.0.0/16")];
    let imported = import(&view(&config, &agreed), message, |prefix| *prefix == net("10.1.0.0/16"));
    let verdicts: Vec<Verdict> = imported.paths.iter().map(|(_, path)| path.verdict).collect();
    assert_eq!(verdicts, [Verdict::Default, Verdict::Own, Verdict::Taken]);
    let mut rib = Rib::default();
    for (prefix, path) in imported.paths {
        rib.put(prefix, path);
    }
    assert!(rib.selected(&net("10.1.0.0/16")).is_none());
    let everything = ImportRules::everything();
    let changed = rib.judge(ip(9), |prefix| everything.judge(prefix, false));
    assert_eq!(prefixes(changed), [net("0.0.0.0/0"), net("10.1.0.0/16")]);
    assert!(rib.judge_prefix(&net("10.2.0.0/16"), |_| Verdict::Configured).is_some());
    assert!(rib.selected(&net("10.2.0.0/16")).is_none());
}

#[test]
fn a_router_that_is_about_to_go_is_the_last_choice_only_across_the_border() {
    let agreed = agreed();
    let leaving = |asns: &[u32]| Attributes {
        as_path: by(asns),
        communities: vec![community::GRACEFUL_SHUTDOWN],
        local_pref: Some(100),
        ..Attributes::default()
    };
    let local_pref = |config: &PeerConfig, asns: &[u32]| {
        let imported = import(&view(config, &agreed), update(ip(9), leaving(asns)), |_| false);
        imported.paths[0].1.common.attributes.local_pref
    };
    assert_eq!(local_pref(&PeerConfig::new(ip(9), 65001), &[65001]), Some(0));
    assert_eq!(local_pref(&PeerConfig::new(ip(9), 64512), &[]), Some(100), "the border has said it already");
}

#[test]
fn an_announcement_reaches_its_audience_only() {
    let agreed = agreed();
    for (audience, inside, outside) in [
        (Audience::Everybody, true, true),
        (Audience::Internal, true, false),
        (Audience::External, false, true),
    ] {
        let best = local(|common| common.local.audience = audience);
        for (asn, expected) in [(64512, inside), (65001, outside)] {
            let config = PeerConfig::new(ip(9), asn);
            assert_eq!(
                export(&view(&config, &agreed), Family::V4, &best).is_some(),
                expected,
                "{audience:?} {asn}"
            );
        }
    }
}

#[test]
fn prepending_is_for_other_ases_and_behind_our_own() {
    let agreed = agreed();
    let best = local(|common| common.local.prepend = Some(Prepend { asn: 7, times: 1 }));
    let rules = ExportRules { prepend: Some(Prepend { asn: 64999, times: 2 }), ..ExportRules::default() };
    let path_to = |asn| {
        let config = PeerConfig { export: rules.clone(), ..PeerConfig::new(ip(9), asn) };
        export(&view(&config, &agreed), Family::V4, &best).unwrap().attributes.as_path
    };
    assert_eq!(path_to(65001), by(&[64512, 64999, 64999, 7]));
    assert_eq!(path_to(64512), AsPath::default());
}

#[test]
fn communities_of_announcement_and_peer_are_joined_and_private_ones_stay_inside() {
    let agreed = agreed();
    let communities = Communities {
        standard: vec![1, 2],
        large: vec![(64512, 1, 1)],
        extended: vec![[0, 2, 0, 0, 0, 0, 0, 1]],
    };
    let rules = ExportRules { communities, ..ExportRules::transit() };
    let config = PeerConfig { export: rules, ..PeerConfig::new(ip(9), 65001) };
    let ours = local(|common| common.attributes.communities = vec![2, 3]);
    let route = export(&view(&config, &agreed), Family::V4, &ours).unwrap();
    assert_eq!(route.attributes.communities, [2, 3, 1], "each once");
    assert_eq!(route.attributes.large_communities, [(64512, 1, 1)]);
    assert_eq!(route.attributes.extended_communities, [[0, 2, 0, 0, 0, 0, 0, 1]]);
    let inside = [0x40, 2, 0, 0, 0, 0, 0, 9];
    let mut learnt = external(8, &[70]);
    Arc::make_mut(&mut learnt.common).attributes.extended_communities = vec![inside];
    let route = export(&view(&config, &agreed), Family::V4, &learnt).unwrap();
    assert!(!route.attributes.extended_communities.contains(&inside));
}

#[test]
fn a_speaker_that_goes_is_the_last_choice_inside_its_as_too() {
    let agreed = agreed();
    let going = Communities { standard: vec![community::GRACEFUL_SHUTDOWN], ..Communities::default() };
    for (communities, asn, expected) in
        [(Communities::default(), 64512, Some(100)), (going.clone(), 64512, Some(0)), (going, 65001, None)]
    {
        let rules = ExportRules { communities, outside: true, ..ExportRules::default() };
        let config = PeerConfig { export: rules, ..PeerConfig::new(ip(9), asn) };
        let route = export(&view(&config, &agreed), Family::V4, &local(|_| {})).unwrap();
        assert_eq!(route.attributes.local_pref, expected, "AS {asn}");
    }
}

#[test]
fn what_is_kept_as_a_last_resort_is_told_with_its_mark_to_those_who_know_it() {
    let config = PeerConfig { export: ExportRules::transit(), ..PeerConfig::new(ip(9), 65001) };
    let best = Path { age: Age::LongLived, ..external(8, &[70]) };
    assert_eq!(export(&view(&config, &agreed()), Family::V4, &best), None);
    let long_lived = vec![LongLived { family: Family::V4, forwarding: true, seconds: 60 }];
    let knows = Agreed { long_lived, ..agreed() };
    let route = export(&view(&config, &knows), Family::V4, &best).unwrap();
    assert_eq!(route.attributes.communities, [community::LLGR_STALE]);
}

#[test]
fn a_last_resort_is_marked_after_the_restart_time_unless_it_declines() {
    let mut rib = Rib::default();
    rib.put(net("10.1.0.0/16"), path(1, |_, _| {}));
    rib.put(net("10.2.0.0/16"), path(1, |a, _| a.communities = vec![community::NO_LLGR]));
    rib.mark_stale(ip(1));
    rib.mark_long_lived(ip(1), &[Family::V4].into());
    assert_eq!(rib.paths(&net("10.1.0.0/16"))[0].age, Age::LongLived);
    assert_eq!(rib.paths(&net("10.2.0.0/16")), []);
}
