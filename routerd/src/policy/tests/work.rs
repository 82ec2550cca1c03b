//! What a change costs, counted by how often a pod is held against a group, follows the size of the cluster; what a new
//! connection costs, counted in rules, does not follow the number of ports.

use std::collections::BTreeSet;

use super::fixture::{World, elsewhere, labels, pod, with_port};
use crate::cluster::Object;
use crate::cluster::group::LOOKS;
use crate::cluster::objects::Namespace;
use crate::policy::{PolicyKey, PolicyPlane, render};
use crate::runner::Plane;

/// Pods that share a label and have one of their own each.
fn cluster(size: usize) -> World {
    let mut world = World::new();
    for number in 0..size {
        let address = format!("10.{}.{}.{}", 1 + number / 62_500, number / 250 % 250, number % 250 + 2);
        let of = format!("app=x,pod-name=pod-{number}");
        let one = pod(&format!("default/pod-{number}"), &of, &address);
        world.pod(if number == 0 { one } else { elsewhere(one) });
    }
    world
}

/// One policy that admits all by the label they share, and so many of them by their own.
fn many_peers(count: usize, more: &str) -> String {
    let one = |number| format!("{{{more}podSelector: {{matchLabels: {{pod-name: pod-{number}}}}}}}");
    let peers: Vec<String> = (0..count).map(one).collect();
    let all = format!("{{{more}podSelector: {{matchLabels: {{app: x}}}}}}");
    format!("podSelector: {{}}\ningress: [{{from: [{all}, {}], ports: [{{port: 80}}]}}]", peers.join(", "))
}

/// The looks that `change` takes, with those for the values that it touches.
fn looks(world: &mut World, change: impl FnOnce(&mut World) -> BTreeSet<PolicyKey>) -> usize {
    LOOKS.set(0);
    let touched = change(world);
    for key in &touched {
        world.value(key);
    }
    LOOKS.get()
}

/// The looks of each step in the life of such a policy, in a cluster of so many pods.
fn life(size: usize) -> Vec<(&'static str, usize)> {
    let mut world = cluster(size);
    let every = "namespaceSelector: {matchLabels: {team: a}}, ";
    let namespace = |of| Object::Namespace(Namespace { name: "default".into(), labels: labels(of) });
    vec![
        ("it comes", looks(&mut world, |world| world.policy("default/p", &many_peers(size, "")))),
        ("it changes", looks(&mut world, |world| world.policy("default/p", &many_peers(size / 2, "")))),
        ("a start", looks(&mut world, |world| PolicyPlane.keys(&world.index))),
        ("it is gone", looks(&mut world, |world| world.remove_policy("default/p"))),
        ("one by namespace", looks(&mut world, |world| world.policy("default/p", &many_peers(size, every)))),
        ("its namespace comes", looks(&mut world, |world| world.put(namespace("team=a")))),
    ]
}

#[test]
fn a_policy_with_a_peer_for_each_pod_costs_twice_as_much_in_a_cluster_of_twice_the_size() {
    for ((what, small), (_, large)) in life(200).into_iter().zip(life(400)) {
        assert!(small > 0 && large <= 3 * small, "{what}: {small} looks with 200 pods, {large} with 400");
    }
}

/// A list of so many named ports and a number.
fn names(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|number| format!("{{port: name-{number}}}")).collect();
    format!("[{}, {{port: 80}}]", names.join(", "))
}

/// The rules in each chain that the values of such keys fill, the longest first, and the sets with their elements.
fn filled(world: &World, is_meant: impl Fn(&PolicyKey) -> bool) -> (Vec<usize>, Vec<usize>) {
    let (mut chains, mut sets) = (Vec::new(), Vec::new());
    for (key, value) in world.desired().iter().filter(|(key, _)| is_meant(key)) {
        let objects = render::fragment(key, value).objects;
        chains.extend(objects.chains.values().map(|chain| chain.rules.len()));
        sets.extend(objects.sets.values().map(|set| set.elements.len()));
    }
    chains.sort_by_key(|rules| std::cmp::Reverse(*rules));
    (chains, sets)
}

#[test]
fn hundreds_of_named_ports_of_a_rule_are_one_set_for_each_family() {
    let mut world = World::new();
    let web = (0..100).fold(pod("default/web", "app=x", "10.1.0.2 fd00::2"), |pod, number| {
        with_port(pod, &format!("name-{number}"), 1000 + number)
    });
    world.pod(web);
    let from: Vec<String> = (0..15)
        .map(|number| format!("{{podSelector: {{matchLabels: {{pod-name: pod-{number}}}}}}}"))
        .collect();
    let rule = format!("from: [{}], ports: {}", from.join(", "), names(400));
    world.policy("default/few", &format!("podSelector: {{}}\ningress: [{{{rule}}}]"));
    let (chains, _) = filled(&world, |key| matches!(key, PolicyKey::Policy(_)));
    assert_eq!(chains, [15 * 2 * 2], "each peer, of both families, to the number and to the names");
    let (_, sets) = filled(&world, |key| matches!(key, PolicyKey::Ports(_)));
    assert_eq!(sets, [100, 100], "where the names are, in both families");
}

#[test]
fn hundreds_of_named_ports_cost_a_class_of_a_crowd_as_many_rules_as_one() {
    for count in [1, 400] {
        let mut world = cluster(40);
        world.policy("default/p", &many_peers(40, "").replace("[{port: 80}]", &names(count)));
        let (chains, _) = filled(&world, |key| matches!(key, PolicyKey::Class(..)));
        assert_eq!(chains, [3; 40], "the number, and the names of either family");
    }
}
