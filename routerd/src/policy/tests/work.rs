//! What a change costs, counted by how often a pod is held against a group, follows the size of the cluster.

use std::collections::BTreeSet;

use super::fixture::{World, elsewhere, labels, pod};
use crate::cluster::Object;
use crate::cluster::group::LOOKS;
use crate::cluster::objects::Namespace;
use crate::policy::{PolicyKey, PolicyPlane};
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
    touched.iter().for_each(|key| _ = world.value(key));
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
