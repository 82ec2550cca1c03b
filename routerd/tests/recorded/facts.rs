//! What became of the recording at node `a`: each fact with all it was, one after the other.

use std::fmt::Debug;
use std::net::IpAddr;

use routerd::advertise;
use routerd::cluster::objects::ObjectName;
use routerd::policy::{Isolation, PolicyKey, PolicyValue};
use routerd::services::desired::{Key, Value};

use super::Node;

#[derive(Default)]
pub(super) struct Facts {
    /// Other nodes and external routers that it peers with, by the last octet of their IPv4 addresses.
    peers: Vec<Vec<u8>>,
    /// Whether something of its own annotations is wrong.
    wrong: Vec<String>,
    /// What it announces of the Service `web`, IPv4 alone.
    announced: Vec<Vec<String>>,
    /// The IPv4 backends of its cluster address that get new connections.
    backends: Vec<Vec<String>>,
    /// Whether its pod `web-a` is isolated.
    isolated: Vec<bool>,
}

/// Notes what is another now.
fn note<T: PartialEq + Debug>(all: &mut Vec<T>, now: T) {
    if all.last() != Some(&now) {
        all.push(now);
    }
}

fn web() -> ObjectName {
    ObjectName::new("shop", "web")
}

fn last(address: IpAddr) -> u8 {
    let IpAddr::V4(address) = address else { panic!("{address}") };
    address.octets()[3]
}

impl Facts {
    pub(super) fn look(&mut self, node: &Node) {
        let told = &node.advertise.values;
        let mut peers: Vec<u8> = told
            .values()
            .filter_map(|value| match value {
                advertise::Value::Peer(peer) => Some(last(peer.config.address)),
                _ => None,
            })
            .collect();
        peers.sort_unstable();
        note(&mut self.peers, peers);
        let own = told.get(&advertise::Key::Node("a".to_owned()));
        let wrong = match own {
            Some(advertise::Value::Wrong(reasons)) => reasons.clone(),
            _ => String::new(),
        };
        note(&mut self.wrong, wrong);
        let announced = match told.get(&advertise::Key::Service(web())) {
            Some(advertise::Value::Announce(all)) => all
                .iter()
                .filter(|(prefix, told)| prefix.address().is_ipv4() && told.is_some())
                .map(|(prefix, _)| prefix.to_string())
                .collect(),
            _ => Vec::new(),
        };
        note(&mut self.announced, announced);
        let backends = match node.services.values.get(&Key::Service(web())) {
            Some(Value::Service(wish)) => wish
                .virtuals
                .first()
                .map(|one| one.backends.by_socket.iter())
                .into_iter()
                .flatten()
                .filter(|(_, backend)| backend.weight > 0)
                .map(|(socket, _)| socket.to_string())
                .collect(),
            _ => Vec::new(),
        };
        note(&mut self.backends, backends);
        let pod = node.policy.values.get(&PolicyKey::Pod(ObjectName::new("shop", "web-a")));
        let isolated =
            matches!(pod, Some(PolicyValue::Pod(verdict)) if matches!(verdict.ingress, Isolation::By(_)));
        note(&mut self.isolated, isolated);
    }

    pub(super) fn check(&self) {
        // Nodes join, routers are annotated, `c` gets another address; while `b` is a reflector's client only, it is no peer.
        let peers = [
            &[][..],
            &[2],
            &[2, 3],
            &[2, 3, 200],
            &[2, 3, 200, 201],
            &[2, 33, 200, 201],
            &[33, 200, 201],
            &[2, 33, 200, 201],
            &[2, 200, 201],
        ];
        assert_eq!(self.peers, peers);
        // The node has no address yet when it is made, and one item of its annotation is wrong for a while.
        let [made, item] = ["node a has no IPv4 address", "kube-router.io/peers: item 2"];
        let wrong: Vec<&str> = self.wrong.iter().map(String::as_str).collect();
        assert!(
            matches!(wrong[..], ["", first, "", second, ""] if first.starts_with(made) && second.starts_with(item)),
            "{wrong:?}"
        );
        // By an annotation its cluster address, two external ones and at last that of a load balancer.
        let [cluster, balancer, one, two] =
            ["10.96.102.235/32", "198.51.100.5/32", "203.0.113.7/32", "203.0.113.8/32"];
        let announced = [&[][..], &[cluster, one], &[cluster, one, two], &[cluster, balancer, one, two]];
        assert_eq!(self.announced, announced);
        // A pod is not ready and ready again, one of the other Service has its label for a while; in the end that of node `b`,
        // which is silent, is not ready, and the other one ends but still serves.
        let [here, there, guest] = ["10.244.0.10:8080", "10.244.1.10:8080", "10.244.1.11:8080"];
        let backends = [
            &[][..],
            &[here, there],
            &[there],
            &[here, there],
            &[here, there, guest],
            &[here, there],
            &[here],
        ];
        assert_eq!(self.backends, backends);
        assert_eq!(self.isolated, [false, true, false], "there was a policy for a while");
    }
}
