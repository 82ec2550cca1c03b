//! What should be, for clusters written down.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::fixture::{World, attachment, elsewhere, ip, name, pod, with_port};
use crate::cluster::objects::{Labels, Namespace, Node};
use crate::cluster::{Event, Object};
use crate::policy::{Isolation, Peers, PodVerdict, PolicyKey, PolicyValue, Rules};

fn verdict(world: &World, of: &str) -> Option<PodVerdict> {
    match world.value(&PolicyKey::Pod(name(of)))? {
        PolicyValue::Pod(verdict) => Some(verdict),
        other => panic!("{other:?}"),
    }
}

fn rules(world: &World, of: &str) -> Option<Rules> {
    match world.value(&PolicyKey::Policy(name(of)))? {
        PolicyValue::Policy(rules) => Some(rules),
        other => panic!("{other:?}"),
    }
}

/// The members of all groups together.
fn admitted(world: &World) -> BTreeSet<IpAddr> {
    let groups = world.desired().into_values().filter_map(|value| match value {
        PolicyValue::Group(addresses) => Some(addresses.as_ref().clone()),
        _ => None,
    });
    groups.flatten().collect()
}

fn by(policies: &[&str]) -> Isolation {
    Isolation::By(policies.iter().map(|text| name(text)).collect())
}

#[test]
fn each_direction_is_isolated_by_the_policies_that_speak_of_it() {
    let mut world = World::new();
    world.pod(pod("default/web", "app=web", "10.244.1.2 fd00:244:1::2"));
    world.policy("default/in", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress]");
    world.policy("default/both", "podSelector: {}\npolicyTypes: [Ingress, Egress]");
    world.policy("default/none", "podSelector: {matchLabels: {app: db}}\npolicyTypes: [Ingress]");
    world.policy("other/in", "podSelector: {}\npolicyTypes: [Ingress]");
    let verdict = verdict(&world, "default/web").unwrap();
    assert_eq!(verdict.ingress, by(&["default/in", "default/both"]));
    assert_eq!(verdict.egress, by(&["default/both"]));
    assert_eq!(verdict.addresses, [ip("10.244.1.2"), ip("fd00:244:1::2")].into());
}

#[test]
fn pods_without_policy_are_open_and_pods_without_network_here_have_no_verdict() {
    let mut world = World::new();
    world.pod(pod("default/open", "", "10.244.1.2"));
    world.pod(elsewhere(pod("default/remote", "", "10.244.2.2")));
    let mut on_host = pod("default/host", "", "192.0.2.1");
    on_host.host_network = true;
    world.pod(on_host);
    let mut done = pod("default/done", "", "10.244.1.9");
    done.finished = true;
    world.pod(done);
    world.pod(pod("default/pending", "", ""));
    assert_eq!(verdict(&world, "default/open").unwrap().ingress, Isolation::Open);
    for of in ["default/remote", "default/host", "default/done", "default/pending"] {
        assert_eq!(verdict(&world, of), None, "{of}");
    }
    let keys: Vec<PolicyKey> = world.desired().into_keys().collect();
    assert_eq!(keys, [PolicyKey::Base, PolicyKey::Pod(name("default/open"))]);
}

#[test]
fn the_plugin_knows_a_pods_address_before_the_cluster_does() {
    let mut world = World::new();
    world.policy("default/deny", "podSelector: {}\npolicyTypes: [Ingress]");
    world.event(Event::Attach(attachment("default/new", "c1", "10.244.1.7")));
    let unknown = verdict(&world, "default/new").unwrap();
    assert_eq!((unknown.addresses, unknown.closed), (BTreeSet::new(), [ip("10.244.1.7")].into()));
    // Its labels are known as soon as the object is; the address still is the plugin's.
    world.pod(pod("default/new", "", ""));
    let known = verdict(&world, "default/new").unwrap();
    assert_eq!((known.addresses, known.closed), ([ip("10.244.1.7")].into(), BTreeSet::new()));
    assert_eq!(known.ingress, by(&["default/deny"]));
}

#[test]
fn a_recycled_address_belongs_to_whom_the_plugin_gave_it() {
    let mut world = World::new();
    world.pod(pod("default/server", "", "10.244.1.2"));
    world.policy(
        "default/p",
        "podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]",
    );
    world.pod(pod("default/old", "app=friend", "10.244.1.7"));
    assert_eq!(admitted(&world), [ip("10.244.1.7")].into());
    world.event(Event::Attach(attachment("default/new", "c2", "10.244.1.7")));
    assert_eq!(admitted(&world), BTreeSet::new(), "the new holder is no friend");
    assert_eq!(verdict(&world, "default/old"), None);
    assert_eq!(verdict(&world, "default/new").unwrap().closed, [ip("10.244.1.7")].into());
}

#[test]
fn an_address_that_two_pods_hold_by_the_plugins_word_is_closed_for_both() {
    let mut world = World::new();
    for (of, container) in [("default/a", "c1"), ("default/b", "c2")] {
        world.pod(pod(of, "", "10.244.1.9"));
        world.event(Event::Attach(attachment(of, container, "10.244.1.7")));
    }
    for of in ["default/a", "default/b"] {
        assert_eq!(verdict(&world, of).unwrap().closed, [ip("10.244.1.7")].into(), "{of}");
    }
    let touched = world.event(Event::Detach("c2".into(), "eth0".into()));
    assert!(touched.contains(&PolicyKey::Pod(name("default/a"))));
    assert_eq!(verdict(&world, "default/a").unwrap().addresses, [ip("10.244.1.7")].into());
}

#[test]
fn a_pod_made_anew_under_the_same_name_inherits_nothing() {
    let mut world = World::new();
    let mut old = pod("default/db-0", "", "10.244.1.7");
    old.uid = "first".into();
    world.pod(old.clone());
    let mut anew = attachment("default/db-0", "c2", "10.244.1.8");
    anew.uid = Some("second".into());
    world.event(Event::Attach(anew));
    let verdict = verdict(&world, "default/db-0").unwrap();
    assert_eq!(verdict.addresses, [ip("10.244.1.7")].into());
    assert_eq!(verdict.closed, [ip("10.244.1.8")].into());
}

#[test]
fn peers_are_chosen_by_pod_by_namespace_and_by_both() {
    let mut world = World::new();
    world.pod(pod("default/server", "app=server", "10.244.1.2"));
    world.pod(pod("default/near", "app=a", "10.244.1.3"));
    world.pod(elsewhere(pod("other/far", "app=a", "10.244.2.3")));
    world.pod(elsewhere(pod("other/else", "app=b", "10.244.2.4")));
    let peers = |world: &mut World, from: &str| {
        world.policy(
            "default/p",
            &format!("podSelector: {{matchLabels: {{app: server}}}}\ningress: [{{from: [{from}]}}]"),
        );
        admitted(world)
    };
    let a = "podSelector: {matchLabels: {app: a}}";
    assert_eq!(peers(&mut world, &format!("{{{a}}}")), [ip("10.244.1.3")].into());
    let team = "namespaceSelector: {matchLabels: {team: other}}";
    assert_eq!(peers(&mut world, &format!("{{{team}}}")), [ip("10.244.2.3"), ip("10.244.2.4")].into());
    assert_eq!(peers(&mut world, &format!("{{{team}, {a}}}")), [ip("10.244.2.3")].into());
    assert_eq!(
        peers(&mut world, &format!("{{namespaceSelector: {{}}, {a}}}")),
        [ip("10.244.1.3"), ip("10.244.2.3")].into()
    );
    assert_eq!(
        peers(&mut world, "{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}"),
        [ip("10.244.1.2"), ip("10.244.1.3")].into()
    );
}

#[test]
fn pods_in_the_hosts_network_are_peers_only_where_the_flag_says_so() {
    for (flag, expected) in [(false, [].into()), (true, [ip("192.0.2.7")].into())] {
        let mut world = World::new();
        world.index = std::mem::take(&mut world.index).with_host_pods_as_peers(flag);
        world.pod(pod("default/server", "app=server", "10.244.1.2"));
        let mut on_host = elsewhere(pod("default/agent", "app=agent", "192.0.2.7"));
        on_host.host_network = true;
        world.policy(
            "default/p",
            "podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: agent}}}]}]",
        );
        let touched = world.pod(on_host.clone());
        assert_eq!(admitted(&world), expected);
        assert!(touched.iter().any(|key| matches!(key, PolicyKey::Group(_))));
        on_host.finished = true;
        world.pod(on_host);
        assert_eq!(admitted(&world), BTreeSet::new(), "it has finished");
    }
}

#[test]
fn a_namespace_that_nobody_has_shown_matches_no_selector() {
    let mut world = World::new();
    world.pod(pod("default/server", "app=server", "10.244.1.2"));
    world.pod(elsewhere(pod("unseen/far", "", "10.244.2.3")));
    let everywhere = "{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}";
    world.policy(
        "default/p",
        &format!("podSelector: {{matchLabels: {{app: server}}}}\ningress: [{{from: [{everywhere}]}}]"),
    );
    assert_eq!(admitted(&world), [ip("10.244.1.2")].into());
    world.put(Object::Namespace(Namespace { name: "unseen".into(), labels: Labels::new() }));
    assert!(admitted(&world).contains(&ip("10.244.2.3")));
}

#[test]
fn a_policy_that_judges_no_pod_of_this_node_is_not_in_its_kernel() {
    let mut world = World::new();
    world.pod(elsewhere(pod("default/remote", "app=web", "10.244.2.2")));
    world.policy(
        "default/p",
        "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {}}], ports: [{port: http}]}]",
    );
    assert_eq!(world.desired().len(), 1);
    world.pod(pod("default/here", "app=web", "10.244.1.2"));
    let kinds = world.desired().len();
    assert_eq!(kinds, 5, "base, pod, policy, group, named port");
}

#[test]
fn a_named_port_is_looked_up_where_the_packet_goes() {
    let mut world = World::new();
    world.pod(with_port(pod("default/a", "", "10.244.1.2"), "http", 80));
    world.pod(with_port(pod("default/b", "", "10.244.1.3"), "http", 8080));
    world.pod(elsewhere(with_port(pod("default/c", "", "10.244.2.4"), "http", 8888)));
    world.policy("default/in", "podSelector: {}\ningress: [{ports: [{port: http}]}]");
    let ports = |world: &World| {
        let values = world.desired().into_values();
        values.filter_map(|value| match value {
            PolicyValue::Ports(ports) => Some(ports.iter().map(|(.., number)| *number).collect::<Vec<_>>()),
            _ => None,
        })
    };
    assert_eq!(ports(&world).collect::<Vec<_>>(), [[80, 8080]]);
    world.remove_policy("default/in");
    world.policy("default/out", "podSelector: {}\npolicyTypes: [Egress]\negress: [{ports: [{port: http}]}]");
    assert_eq!(ports(&world).collect::<Vec<_>>(), [[80, 8080, 8888]]);
}

#[test]
fn an_invalid_policy_closes_its_directions() {
    let mut world = World::new();
    world.pod(pod("default/web", "", "10.244.1.2"));
    world.policy("default/bad", "podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}, {}]");
    let rules = rules(&world, "default/bad").unwrap();
    assert!(rules.invalid.unwrap().contains("10.0.0.0/33"));
    assert_eq!(rules.ingress, Some(Vec::new()));
    assert_eq!(verdict(&world, "default/web").unwrap().ingress, by(&["default/bad"]));
}

#[test]
fn an_empty_rule_admits_everybody_and_an_empty_list_nobody() {
    let mut world = World::new();
    world.pod(pod("default/web", "", "10.244.1.2"));
    world.policy("default/all", "podSelector: {}\ningress: [{}]");
    world.policy("default/none", "podSelector: {}\ningress: []");
    let all = rules(&world, "default/all").unwrap().ingress.unwrap();
    assert_eq!(all[0].peers, Peers::Everybody);
    assert_eq!(rules(&world, "default/none").unwrap().ingress, Some(Vec::new()));
}

#[test]
fn without_the_node_object_its_networks_are_unknown_and_not_none() {
    let mut world = World::new();
    assert!(
        matches!(world.value(&PolicyKey::Base), Some(PolicyValue::Base(Some(networks))) if networks.len() == 2)
    );
    world.event(Event::Delete(crate::cluster::ObjectKey::Node("node1".into())));
    assert_eq!(world.value(&PolicyKey::Base), Some(PolicyValue::Base(None)));
    world.put(Object::Node(Node { name: "node1".into(), ..Node::default() }));
    assert_eq!(world.value(&PolicyKey::Base), Some(PolicyValue::Base(Some(BTreeSet::new()))));
}

#[test]
fn a_block_is_read_as_the_api_server_reads_it() {
    let mut world = World::new();
    world.pod(pod("default/web", "", "10.244.1.2"));
    let ranges = |world: &mut World, cidr: &str| {
        let spec = format!("podSelector: {{}}\ningress: [{{from: [{{ipBlock: {{cidr: '{cidr}'}}}}]}}]");
        world.policy("default/p", &spec);
        let rules = rules(world, "default/p").unwrap();
        match rules.ingress.unwrap().pop().map(|rule| rule.peers) {
            Some(Peers::Any { ranges, .. }) => Ok((ranges[0].first.to_string(), ranges[0].last.to_string())),
            _ => Err(rules.invalid.unwrap()),
        }
    };
    let is = |first: &str, last: &str| Ok((first.to_owned(), last.to_owned()));
    assert_eq!(ranges(&mut world, "010.008.0.0/016"), is("10.8.0.0", "10.8.255.255"));
    assert_eq!(ranges(&mut world, "000.0.0.0/0"), is("0.0.0.0", "255.255.255.255"));
    assert_eq!(ranges(&mut world, "10.1.2.3/08"), is("10.0.0.0", "10.255.255.255"));
    assert_eq!(ranges(&mut world, "2001:0db8::00/127"), is("2001:db8::", "2001:db8::1"));
    for (cidr, why) in [
        ("::ffff:10.0.0.0/104", "in the form of IPv6"),
        ("10.0.0.0", "is not a prefix"),
        ("10..0.0/8", "is not a prefix"),
        ("/8", "is not a prefix"),
    ] {
        assert!(ranges(&mut world, cidr).unwrap_err().contains(why), "{cidr}");
    }
}
