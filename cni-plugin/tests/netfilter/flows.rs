//! UDP flows that were there before a change of mappings.

use serde_json::json;

use crate::support::{NODE4, NODE6, OUTSIDE4, Pod, World, port, with_ports};
use crate::traffic::{Client, Server};

/// Ports of this test; a client keeps its own port all the time.
const HOST: u16 = 8053;

fn nodes() -> [String; 2] {
    [format!("{NODE4}:{HOST}"), format!("[{NODE6}]:{HOST}")]
}

#[test]
fn a_client_that_spoke_to_the_node_is_led_to_the_pod_and_back() {
    for node in nodes() {
        let world = World::new();
        let v6 = node.starts_with('[');
        let on_node = Server::new(&world.node, HOST, v6);
        let client = Client::new(&world.outside, &node);
        assert_eq!(client.ask(&[&on_node]).unwrap().0, 0);
        let conf = world.one_run(&with_ports(&json!([port("udp", HOST, 53)])));
        let pod = Pod::new();
        world.add(&pod, &conf).result();
        let in_pod = Server::new(&pod.ns, 53, v6);
        assert_eq!(client.ask(&[&on_node, &in_pod]).unwrap().0, 1, "{node} after ADD");
        world.del(&pod, &conf).result();
        assert_eq!(client.ask(&[&on_node, &in_pod]).unwrap().0, 0, "{node} after DEL");
    }
}

#[test]
fn a_client_of_a_pod_that_went_is_led_to_the_next_one_with_another_address() {
    let world = World::new();
    let conf = world.one_run(&with_ports(&json!([port("udp", HOST, 53)])));
    let client = Client::new(&world.outside, &format!("{NODE4}:{HOST}"));
    for _ in 0..3 {
        let pod = Pod::new();
        world.add(&pod, &conf).result();
        let server = Server::new(&pod.ns, 53, false);
        assert!(client.ask(&[&server]).is_some());
        world.del(&pod, &conf).result();
    }
}

#[test]
fn flows_that_are_not_by_the_mapping_stay() {
    let world = World::new();
    let source = "192.0.2.9";
    let flow = |to: &str, answered: &str, port: u16| {
        let port = port.to_string();
        let fixed = ["-I", "-p", "udp", "-t", "100", "--sport", "4000", "--reply-port-dst", "4000"];
        let own = ["-s", source, "-q", source, "-d", to, "-r", answered, "--dport", &port];
        let mut arguments = fixed.to_vec();
        arguments.extend(own);
        arguments.extend(["--reply-port-src", port.as_str()]);
        world.node.run("conntrack", &arguments);
    };
    let count = || world.node.run("conntrack", &["-L", "-p", "udp", "--sport", "4000"]).lines().count();
    // Through the node, to the node on another port, and by another mapping's pod.
    flow("198.51.100.9", "198.51.100.9", HOST);
    flow(NODE4, NODE4, HOST + 1);
    flow(NODE4, "10.9.0.77", HOST);
    let at = json!({"hostPort": HOST, "containerPort": 53, "protocol": "udp", "hostIP": OUTSIDE4});
    let pod = Pod::new();
    let conf = world.one_run(&with_ports(&json!([at, port("tcp", HOST, 53)])));
    world.add(&pod, &conf).result();
    assert_eq!(count(), 3, "neither of another address nor of another protocol");
    world.del(&pod, &conf).result();
    assert_eq!(count(), 3);
    let conf = world.one_run(&with_ports(&json!([port("udp", HOST, 53)])));
    world.add(&pod, &conf).result();
    assert_eq!(count(), 2, "what went to this port of the node goes to the pod now");
    flow(NODE4, "10.9.0.77", HOST);
    world.del(&pod, &conf).result();
    assert_eq!(count(), 3, "DEL forgets only what the pod answered");
}
