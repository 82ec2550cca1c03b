//! Daemons that find each other by BGP: pods of one node reach those of another, whatever happens to daemons, routes
//! and cables.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod external;
#[path = "../../../bgp/tests/peers/kit/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::format_push_string,
    reason = "the routers of the speaker's own tests, of which others show less here"
)]
mod kit;
mod lab;
mod leaving;
mod overlay;
mod restarts;
mod routers;
mod secrets;
mod served;
mod settings;
mod watch;

use std::time::Duration;

use nix::sys::signal::Signal;

use lab::Lab;
use watch::Watch;

fn running(count: u8) -> Lab {
    let mut lab = Lab::new(count);
    for node in &mut lab.nodes {
        node.start();
    }
    for (node, own) in lab.nodes.iter().zip(1..) {
        for other in (1..=count).filter(|other| *other != own) {
            node.until("the routes of all others", |node| node.reaches(other));
        }
    }
    lab
}

#[test]
fn pods_of_three_nodes_reach_each_other_and_keep_their_addresses() {
    let lab = running(3);
    for (from, to) in [(0, 1), (0, 2), (1, 2), (2, 0)] {
        // The asker is seen by its own address: the masquerade is not for pods of the cluster.
        lab.nodes[from].until("an answer", |node| node.asks(&lab.nodes[to]) == Ok(()));
    }
}

#[test]
fn a_flushed_route_is_back_long_before_the_next_look_at_everything_and_counted() {
    let lab = running(2);
    for family in ["-4", "-6"] {
        let repairs = lab.nodes[0].repairs();
        lab.nodes[0].ns.run("ip", &[family, "route", "flush", "proto", "179"]);
        let took = lab.nodes[0].until("its routes again", |node| node.reaches(2));
        println!("{family}: back after {took:?}");
        lab.nodes[0].until("the count", |node| node.repairs() > repairs);
    }
}

#[test]
fn a_lost_node_is_forgotten_by_the_hold_time_and_found_again() {
    let lab = running(3);
    lab.cable(3, false);
    lab.nodes[0].until("no route to node3", |node| !node.routes().contains(".3.0/24"));
    lab.nodes[0].until("the reason", |node| {
        let status = node.status();
        let peers = status["bgp"]["peers"].as_array().cloned().unwrap_or_default();
        let lost = peers.iter().find(|peer| peer["address"] == "192.0.2.3");
        lost.is_some_and(|peer| peer["last_error"].to_string().contains("hold time"))
    });
    lab.nodes[0].until("the other's routes", |node| node.reaches(2));
    lab.cable(3, true);
    lab.nodes[0].until("node3 again", |node| node.reaches(3));
}

#[test]
fn a_daemon_that_is_killed_and_started_again_loses_no_route_anywhere() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut lab = running(2);
        let watches: Vec<Watch> = lab.nodes.iter().map(Watch::start).collect();
        lab.nodes[1].signal(signal);
        std::thread::sleep(Duration::from_millis(700));
        let asked = lab.nodes[0].asks(&lab.nodes[1]);
        assert_eq!(
            asked,
            Ok(()),
            "pods live on without their daemon; {} {}",
            lab.nodes[0].story(),
            lab.nodes[1].story()
        );
        lab.nodes[1].start();
        // Longer than routes of an earlier run and of an absent peer are kept.
        std::thread::sleep(Duration::from_secs(8));
        for (node, watch) in lab.nodes.iter().zip(watches) {
            let deleted = watch.deleted();
            assert!(deleted.is_empty(), "{signal}: {deleted:?}");
            assert!(!node.routes().is_empty());
        }
        assert!(lab.nodes[0].reaches(2) && lab.nodes[1].reaches(1));
    }
}

#[test]
fn a_node_that_leaves_the_cluster_loses_its_routes_at_once() {
    let lab = running(3);
    lab.know([1, 2]);
    // Its daemon runs on and would keep the session.
    lab.nodes[0].until("no route to node3", |node| !node.routes().contains(".3.0/24"));
    assert!(lab.nodes[0].reaches(2));
    lab.know([1, 2, 3]);
    lab.nodes[0].until("node3 again", |node| node.reaches(3));
}

#[test]
fn a_new_node_is_no_outside_also_before_it_has_a_route() {
    let mut lab = Lab::new(2);
    lab.know([1]);
    lab.nodes[0].start();
    let sets = |node: &lab::Node| {
        let list = |set: &str| node.ns.run("nft", &["list", "set", "inet", "routerd", set]);
        ["routing-pods4", "routing-nodes4", "routing-pods6", "routing-nodes6"].map(list).concat()
    };
    lab.nodes[0].until("its own range", |node| {
        node.ns.succeeds("nft", &["list", "set", "inet", "routerd", "routing-pods4"])
    });
    lab.know([1, 2]);
    let took = lab.nodes[0].until("the new node's ranges and addresses", |node| {
        let all = sets(node);
        ["10.244.2.", "192.0.2.2", "fd00:244:2::", "2001:db8::2"].iter().all(|text| all.contains(text))
    });
    println!("known after {took:?}");
}

#[test]
fn nodes_whose_addresses_come_late_and_change_find_each_other() {
    let mut lab = Lab::new(2);
    let without = |number| {
        lab.object(number).lines().filter(|line| !line.starts_with("status")).collect::<Vec<_>>().join("\n")
    };
    lab.tell(&format!("{}\n{}\n", without(1), without(2)));
    for node in &mut lab.nodes {
        node.start();
    }
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(lab.nodes[0].routes(), "");
    lab.know([1, 2]);
    lab.nodes[0].until("the routes of the other", |node| node.reaches(2));
    // Node 2 moves: on its device first, then in its object, without a restart of anybody.
    let moved = lab.object(2).replace("192.0.2.2", "192.0.2.102").replace("2001:db8::2", "2001:db8::102");
    // The old one goes first: later it would take the new one of its subnet along.
    lab.nodes[1].ns.run("ip", &["address", "delete", "192.0.2.2/24", "dev", "eth0"]);
    lab.nodes[1].ns.run("ip", &["address", "add", "192.0.2.102/24", "dev", "eth0"]);
    lab.nodes[1].ns.run("ip", &["address", "add", "2001:db8::102/64", "dev", "eth0", "nodad"]);
    lab.tell(&format!("{}{moved}", lab.object(1)));
    lab.nodes[0].until("routes by the new addresses", |node| {
        let routes = node.routes();
        routes.contains("via 192.0.2.102 ") && routes.contains("via 2001:db8::102 ")
    });
    // The way back is learnt by the other one, in its own time.
    lab.nodes[0].until("an answer", |node| node.asks(&lab.nodes[1]) == Ok(()));
}
