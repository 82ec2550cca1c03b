//! Nodes that become others while their daemons run: what that costs of their routes.

use std::time::Duration;

use crate::lab::Lab;
use crate::watch::Watch;

#[test]
fn a_node_that_gets_and_loses_an_address_of_the_second_family_costs_no_route_of_the_first() {
    let mut lab = Lab::new(2);
    let [v4, v6] = lab.nodes[1].addresses();
    let poor = lab.object(2).replace(&format!(", {{type: InternalIP, address: '{v6}'}}"), "");
    assert!(poor.contains(&v4) && !poor.contains(&v6), "{poor}");
    let without = || lab.object(1) + &poor;
    lab.tell(&without());
    let [both, poor_only] = [lab.object(1) + &lab.object(2), without()];
    for node in &mut lab.nodes {
        // The time for which routes are kept, on a busy machine.
        node.flags = vec!["--bgp-holdtime=20s"];
        node.start();
    }
    let first = |number: usize| format!("10.244.{number}.0/24 via ");
    let second = |number: usize| format!("fd00:244:{number}::/64 via ");
    for (node, other) in lab.nodes.iter().zip([2, 1]) {
        node.until("the route of the first family", |node| node.routes().contains(&first(other)));
    }
    let watches: Vec<Watch> = lab.nodes.iter().map(Watch::start).collect();
    for (objects, has) in [(&both, true), (&poor_only, false), (&both, true)] {
        lab.tell(objects);
        // Each of the two makes its session anew, and the later one ends what the other has just made.
        for (node, other) in lab.nodes.iter().zip([2, 1]) {
            node.until("the change of the second family", |node| {
                node.routes().contains(&second(other)) == has
            });
        }
        std::thread::sleep(Duration::from_secs(3));
    }
    for (node, watch) in lab.nodes.iter().zip(watches) {
        let deleted: Vec<String> =
            watch.deleted().into_iter().filter(|line| line.contains("10.244.")).collect();
        assert!(deleted.is_empty(), "{deleted:?}; {}", node.story());
    }
}
