//! The backends' nodes judge what the dialled node sends them.

use super::*;

const CLUSTER: &str = include_str!("balanced.yaml");

fn world(masquerade: Masquerade) -> World {
    let mut world = World { masquerade: Some(masquerade), ..super::world() };
    world.take(CLUSTER);
    world
}

/// The address that the one backend sees, and whether it takes the packet.
fn seen(world: &World, from: &str, to: &str, port: u16) -> (String, bool) {
    let answer = world.ask(from, to, port).unwrap();
    assert_eq!(answer.ways.len(), 1, "{answer:?}");
    let way = &answer.ways[0];
    (way.seen.unwrap_or(way.source).to_string(), way.ingress.outcome == Outcome::Admitted)
}

const OUTSIDE: &str = "203.0.113.5";

/// The backend is on node2, and admits either the outside client or node1.
#[test]
fn a_backend_on_another_node_sees_the_dialled_node_and_one_there_the_client() {
    let world = world(Masquerade::default());
    for (to, service, port, sees, admitted) in [
        ("192.0.2.1", "for-client", 30081, "192.0.2.1", false),
        ("192.0.2.1", "for-node", 30082, "192.0.2.1", true),
        ("192.0.2.2", "for-client", 30081, OUTSIDE, true),
        ("192.0.2.2", "for-node", 30082, OUTSIDE, false),
        ("198.51.100.1", "for-client", 80, "192.0.2.1", false),
        ("198.51.100.2", "for-node", 80, "192.0.2.1", true),
        ("198.51.100.3", "local", 80, OUTSIDE, true),
        ("198.51.100.4", "direct", 80, OUTSIDE, true),
    ] {
        assert_eq!(seen(&world, OUTSIDE, to, port), (sees.to_owned(), admitted), "{service} at {to}");
    }
    let answer = world.ask(OUTSIDE, "198.51.100.1", 80).unwrap();
    let text = crate::explain::render(&answer);
    assert!(text.contains("seen as 192.0.2.1"), "{text}");
    for said in ["see its address 192.0.2.1 and not 203.0.113.5", "the answer is for node1"] {
        assert!(answer.notes.iter().any(|note| note.contains(said)), "{said}: {:?}", answer.notes);
    }
}

#[test]
fn the_source_of_a_nodes_own_pods_stays_unless_all_are_rewritten() {
    let (own, all) = (world(Masquerade::default()), world(Masquerade { all: true, ..Masquerade::default() }));
    for (from, to, port, sees, sees_of_all) in [
        ("default/friend", "10.96.0.31", 80, "10.244.1.3", "192.0.2.1"),
        ("default/friend", "198.51.100.1", 80, "10.244.1.3", "192.0.2.1"),
        ("default/friend", "svc/default/for-client", 80, "10.244.1.3", "192.0.2.1"),
        ("default/friend", "192.0.2.2", 30081, "10.244.1.3", "10.244.1.3"),
        ("default/far", "10.96.0.31", 80, "10.244.2.2", "10.244.2.2"),
        ("default/far", "192.0.2.1", 30081, "192.0.2.1", "192.0.2.1"),
        ("10.244.1.1", "10.96.0.31", 80, "10.244.1.1", "192.0.2.1"),
    ] {
        assert_eq!(seen(&own, from, to, port).0, sees, "{from} to {to}");
        assert_eq!(seen(&all, from, to, port).0, sees_of_all, "{from} to {to}, all rewritten");
    }
}
