//! Pods that end and addresses that are given again.

use serde_json::Value;

use crate::cluster::{given, pod, policy};
use crate::net::NODE;
use crate::oracle::Transport::Tcp;
use crate::oracle::{Flow, Wired};
use crate::scene::{Scene, colours, flow};

const WEB: [&str; 2] = ["10.244.1.10", "fd00:244:1::a"];
const DB: [&str; 2] = ["10.244.1.11", "fd00:244:1::b"];
const FAR: [&str; 2] = ["10.244.2.10", "fd00:244:2::a"];
const BLUE_FAR: [&str; 2] = ["10.244.2.11", "fd00:244:2::b"];

fn both(from: [&str; 2], to: [&str; 2], open: bool) -> [(Flow, bool); 2] {
    [0, 1].map(|family| (flow(from[family], to[family], Tcp, 80), open))
}

fn finished(mut document: Value) -> Value {
    document["status"]["phase"] = "Succeeded".into();
    document
}

/// Pods of `red` take in pods of `red` with app=web, and no others.
fn scene() -> Scene {
    let mut scene = Scene::new(colours());
    scene.put(policy(
        "red/p",
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
    ));
    scene.expect(&[both(WEB, DB, true), both(FAR, DB, true), both(DB, WEB, false)].concat());
    scene
}

#[test]
fn a_completed_pod_is_a_peer_no_more_and_its_address_is_closed() {
    let mut scene = scene();
    scene.put(finished(scene.cluster.document("Pod", "red/far").clone()));
    scene.expect(&[both(FAR, DB, false), both(WEB, DB, true)].concat());
    scene.put(finished(scene.cluster.document("Pod", "red/web").clone()));
    scene.expect(&[both(WEB, DB, false), both(FAR, WEB, false), both(WEB, FAR, false)].concat());
    // Its interface goes as well; the address stays closed, whoever takes it without the plugin.
    let event = scene.cluster.detach("container-0");
    scene.tell(vec![event]);
    scene.expect(&[both(WEB, DB, false), both(WEB, FAR, false), both(DB, WEB, false)].concat());
    scene.restart();
    scene.expect(&[both(WEB, DB, false), both(WEB, FAR, false), both(DB, WEB, false)].concat());
}

#[test]
fn a_recycled_address_inherits_nothing_from_the_completed_pod_that_still_names_it() {
    let mut scene = scene();
    scene.put(finished(scene.cluster.document("Pod", "red/web").clone()));
    let event = scene.cluster.detach("container-0");
    scene.tell(vec![event]);
    // A pod of another namespace gets the address. Until the cluster shows it, the address is closed.
    let event = scene.cluster.attach("new", "green/new", &given(0));
    scene.tell(vec![event]);
    scene.expect(&[both(WEB, DB, false), both(WEB, FAR, false), both(FAR, WEB, false)].concat());
    let mut document = pod("green/new", "app=web", NODE, &[], "");
    document["status"]["phase"] = "Pending".into();
    scene.put(document);
    // The label alone does not make it a peer, and no policy of the old namespace judges it.
    scene.expect(&[both(WEB, DB, false), both(WEB, FAR, true), both(BLUE_FAR, WEB, true)].concat());
    scene.delete("Pod", "red/web");
    scene.expect(&[both(WEB, DB, false), both(WEB, FAR, true), both(BLUE_FAR, WEB, true)].concat());
}

#[test]
fn a_recycled_address_of_another_node_inherits_nothing() {
    let mut scene = scene();
    scene.put(finished(scene.cluster.document("Pod", "red/far").clone()));
    let addresses = FAR.map(|text| text.parse().unwrap());
    scene.put(pod("green/next", "app=web", "node2", &addresses, ""));
    scene.expect(&both(FAR, DB, false));
    scene.put(pod("red/next", "app=web", "node2", &addresses, ""));
    scene.delete("Pod", "green/next");
    scene.expect(&both(FAR, DB, true));
    scene.delete("Pod", "red/far");
    scene.expect(&both(FAR, DB, true));
}

#[test]
fn the_plugin_is_believed_before_a_late_status() {
    let mut scene = scene();
    // The pod of before was deleted and its status comes late, with the address that is another's by now.
    scene.put(pod("red/late", "app=web", NODE, &given(5), ""));
    let free = ["10.244.1.15", "fd00:244:1::f"];
    scene.expect(&both(free, DB, true));
    let event = scene.cluster.attach("new", "green/new", &given(5));
    scene.tell(vec![event]);
    scene.expect(&both(free, DB, false));
    scene.put(pod("green/new", "app=web", NODE, &given(5), ""));
    scene.expect(&[both(free, DB, false), both(free, FAR, true), both(FAR, free, true)].concat());
}

#[test]
fn labels_move_pods_in_and_out_at_once() {
    let mut scene = scene();
    let mut document = scene.cluster.document("Pod", "red/far").clone();
    document["metadata"]["labels"] = serde_json::json!({"app": "other"});
    scene.put(document.clone());
    scene.expect(&both(FAR, DB, false));
    document["metadata"]["labels"] = serde_json::json!({"app": "web"});
    scene.put(document);
    scene.expect(&both(FAR, DB, true));
    scene.delete("NetworkPolicy", "red/p");
    scene.expect(&[both(BLUE_FAR, DB, true), both(DB, WEB, true)].concat());
}

#[test]
fn pods_that_a_policy_begins_to_judge_all_at_once_are_judged_by_its_rules() {
    let mut scene = scene();
    scene.put(policy(
        "red/later",
        "{podSelector: {matchLabels: {app: later}}, ingress: [{ports: [{port: 80}]}]}",
    ));
    // One batch: in what the daemon then sees each of the two is not the only one.
    let mut documents = ["red/web", "red/db"].map(|name| scene.cluster.document("Pod", name).clone());
    let events = documents.each_mut().map(|document| {
        document["metadata"]["labels"] = serde_json::json!({"app": "later"});
        scene.cluster.put(document.clone())
    });
    scene.tell(events.into());
    scene.expect(&[both(BLUE_FAR, WEB, true), both(BLUE_FAR, DB, true)].concat());
}

#[test]
fn a_pod_made_again_under_its_name_does_not_lend_its_rights_to_the_interface_of_the_old_one() {
    let mut scene = scene();
    let free = ["10.244.1.15", "fd00:244:1::f"];
    let wired = |uid: &str| Wired { pod: "red/db-0".to_owned(), uid: Some(uid.to_owned()) };
    let document = |uid: &str, of: &str| {
        let mut document = pod("red/db-0", of, NODE, &[], "");
        document["metadata"]["uid"] = uid.into();
        document
    };
    scene.put(document("one", "app=other"));
    let event = scene.cluster.attach_as("old", wired("one"), &given(5));
    scene.tell(vec![event]);
    scene.expect(&[both(free, DB, false), both(free, FAR, true)].concat());
    // The new one would be admitted; it has no interface yet, and the old one is nobody's.
    scene.put(document("two", "app=web"));
    scene.expect(&[both(free, DB, false), both(free, FAR, false), both(WEB, free, false)].concat());
    let event = scene.cluster.detach("old");
    scene.tell(vec![event]);
    let event = scene.cluster.attach_as("new", wired("two"), &given(5));
    scene.tell(vec![event]);
    scene.expect(&[both(free, DB, true), both(free, FAR, true), both(WEB, free, true)].concat());
}
