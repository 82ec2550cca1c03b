//! Addresses of Services that a node really serves, and what an outside router hears of them and when.

use crate::external::{Bird, objects, service};
use crate::lab::{Lab, Node};

/// What is wrong in itself: a Service without an EndpointSlice, one with a community that is none, and one whose address is
/// the node's own.
const BROKEN: &str = "---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: default, annotations: {kube-router.io/service.advertise.externalip: 'true'}}
spec: {clusterIP: 10.96.0.11, clusterIPs: [10.96.0.11], externalIPs: [203.0.113.8], ports: [{port: 80, protocol: TCP}]}
---
apiVersion: v1
kind: Service
metadata: {name: what, namespace: default, annotations: {kube-router.io/service.advertise.externalip: 'true', kube-router.io/service.bgp.communities: what}}
spec: {clusterIP: 10.96.0.12, clusterIPs: [10.96.0.12], externalIPs: [203.0.113.9], ports: [{port: 80, protocol: TCP}]}
---
apiVersion: v1
kind: Service
metadata: {name: own, namespace: default, annotations: {kube-router.io/service.advertise.externalip: 'true'}}
spec: {clusterIP: 10.96.0.13, clusterIPs: [10.96.0.13], externalIPs: [192.0.2.1], ports: [{port: 80, protocol: TCP}]}
";

fn running(lab: &mut Lab) -> Bird {
    for node in &mut lab.nodes {
        node.flags = vec!["--strict-external-ip-validation=false", "--run-service-proxy"];
        node.start();
    }
    Bird::start(lab, "on")
}

/// True if IPVS has the address with a backend.
fn balances(node: &Node) -> bool {
    let table = node.ns.run("cat", &["/proc/net/ip_vs"]);
    let of_vip = table.split("TCP").find(|part| part.trim_start().starts_with("CB007107:0050"));
    of_vip.is_some_and(|part| part.contains("->") && part.contains("1F90"))
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn an_address_is_announced_when_the_kernel_has_it_and_withdrawn_at_once_and_broken_services_touch_no_other() {
    let mut lab = Lab::new(2);
    let bird = running(&mut lab);
    lab.tell(&(objects(&lab) + BROKEN + &service(1, true)));
    bird.until("the Service's address", |bird| bird.ways() == [1]);
    assert!(balances(&lab.nodes[0]), "announced before the kernel has it: {}", bird.story());
    for round in 0..3 {
        lab.tell(&(objects(&lab) + BROKEN + &service(1, false)));
        let start = std::time::Instant::now();
        bird.until("it is withdrawn", |bird| bird.ways().is_empty());
        println!("round {round}: withdrawn in BIRD {:?} after the file was written", start.elapsed());
        lab.tell(&(objects(&lab) + BROKEN + &service(1, true)));
        bird.until("it is back", |bird| bird.ways() == [1]);
        assert!(balances(&lab.nodes[0]));
    }
    // Only the good one's.
    let all = bird.ask("show route");
    assert_eq!(all.matches("203.0.113.").count(), 1, "{all}");
    let said = lab.nodes[0].status().to_string();
    assert!(said.contains("\\\"what\\\" is no community"), "{said}");
}

#[test]
fn a_node_whose_kernel_cannot_serve_announces_no_address_and_its_pods_all_the_same() {
    // Of a kernel that can there is nothing to be seen but the opposite.
    let serves = kernel::ipvs::Ipvs::open().is_ok();
    let mut lab = Lab::new(2);
    let bird = running(&mut lab);
    lab.tell(&(objects(&lab) + &service(1, true)));
    bird.until("the pods", |bird| bird.ask("show route").contains("10.244.1.0/24"));
    let complete = |bird: &Bird| bird.ask("show protocols all n1").contains("Established");
    bird.until("the session", complete);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(bird.ways().is_empty(), !serves, "{}", bird.story());
    // The same without the proxy, which is somebody else's then: announced as kube-router does.
    lab.nodes[0].signal(nix::sys::signal::Signal::SIGTERM);
    lab.nodes[0].flags = vec!["--strict-external-ip-validation=false"];
    lab.nodes[0].start();
    bird.until("the address", |bird| bird.ways() == [1]);
}
