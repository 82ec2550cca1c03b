//! Network, cluster and daemon together, and the comparison of kernel and oracle.

use std::fmt::Write as _;
use std::net::IpAddr;

use routerd::cluster::Event;
use routerd::services::Settings;
use serde_json::Value;

use crate::cluster::{Cluster, given, namespace, pod};
use crate::net::{NODE, Net, ip, place, remote};
use crate::oracle::{Flow, Transport};
use crate::plane::Daemon;
use crate::probe::Prober;

/// Flows between two flushes of the kernel's memory of them.
const FLOWS_KEPT: usize = 40_000;
/// How many differences a message shows.
const SHOWN: usize = 12;

/// One node with its pods, its daemon and the world around it.
pub(crate) struct Scene {
    pub(crate) daemon: Option<Daemon>,
    pub(crate) prober: Prober,
    pub(crate) cluster: Cluster,
    services: Option<Settings>,
    kept: usize,
    pub(crate) net: Net,
}

/// How many flows were compared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) admitted: usize,
    pub(crate) refused: usize,
}

impl Scene {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self::with(Net::new(), cluster, None)
    }

    /// With Services, if their settings are given.
    pub(crate) fn with(net: Net, cluster: Cluster, services: Option<Settings>) -> Self {
        let prober = Prober::new(&net);
        let daemon = Some(Daemon::start(&net.node, &cluster, services.clone()));
        Self { daemon, prober, cluster, services, kept: 0, net }
    }

    /// Tells the daemon what the cluster was told.
    pub(crate) fn tell(&mut self, events: Vec<Event>) {
        self.daemon.as_mut().unwrap().tell(events);
    }

    pub(crate) fn put(&mut self, document: Value) {
        let event = self.cluster.put(document);
        self.tell(vec![event]);
    }

    pub(crate) fn delete(&mut self, kind: &str, name: &str) {
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        let event = self.cluster.delete(&(kind.to_owned(), namespace.to_owned(), name.to_owned()));
        self.tell(vec![event]);
    }

    /// A new daemon with nothing but the kernel and the cluster, as after SIGKILL.
    pub(crate) fn restart(&mut self) {
        self.daemon = None;
        self.daemon = Some(Daemon::start(&self.net.node, &self.cluster, self.services.clone()));
    }

    /// Another cluster altogether, with a new daemon that finds the rules of the old one.
    pub(crate) fn replace(&mut self, cluster: Cluster) {
        self.cluster = cluster;
        self.restart();
    }

    /// Compares what the kernel does with each flow to what the oracle says; the differences, for a person.
    pub(crate) fn differences(&mut self, flows: &[Flow]) -> Result<Tally, String> {
        let direct: Vec<(Flow, Flow)> = flows.iter().map(|flow| (*flow, *flow)).collect();
        self.differences_by_service(&direct)
    }

    /// The same of flows that are dialled in one way and lead somewhere else, which is what counts.
    pub(crate) fn differences_by_service(&mut self, flows: &[(Flow, Flow)]) -> Result<Tally, String> {
        self.kept += flows.len();
        if self.kept > FLOWS_KEPT {
            self.net.node.run("conntrack", &["-F"]);
            self.kept = flows.len();
        }
        let oracle = self.cluster.oracle();
        let outcomes = self.prober.try_all(flows);
        let (mut tally, mut wrong, mut text) = (Tally::default(), 0, String::new());
        for ((dialled, real), outcome) in flows.iter().zip(outcomes) {
            let verdict = oracle.judge(real);
            let open = verdict.is_ok();
            if open {
                tally.admitted += 1;
            } else {
                tally.refused += 1;
            }
            let answer = open && real.transport == Transport::Tcp;
            if (outcome.arrived, outcome.answered) != (open, answer) {
                wrong += 1;
                if wrong <= SHOWN {
                    let way = if dialled == real { String::new() } else { format!(" dialled as {dialled}") };
                    writeln!(text, "  {real}{way}: oracle {verdict:?}, kernel {outcome:?}").unwrap();
                }
            }
        }
        if wrong == 0 { Ok(tally) } else { Err(format!("{wrong} of {} flows differ:\n{text}", flows.len())) }
    }

    /// The same, and they must agree.
    pub(crate) fn agree(&mut self, what: &str, flows: &[Flow]) -> Tally {
        match self.differences(flows) {
            Ok(tally) => tally,
            Err(text) => {
                let rules = self.net.node.run("nft", &["list", "table", "inet", "routerd"]);
                panic!("{what}\n{text}{}{rules}", self.cluster)
            }
        }
    }

    /// The flow is what it should be by the oracle *and* by the test that names it.
    pub(crate) fn expect(&mut self, expected: &[(Flow, bool)]) {
        let flows: Vec<Flow> = expected.iter().map(|(flow, _)| *flow).collect();
        let oracle = self.cluster.oracle();
        for (flow, open) in expected {
            assert_eq!(
                oracle.judge(flow).is_ok(),
                *open,
                "the oracle says of {flow}: {:?}",
                oracle.judge(flow)
            );
        }
        self.agree("a case of its own", &flows);
    }
}

/// A flow from text.
pub(crate) fn flow(from: &str, to: &str, transport: Transport, port: u16) -> Flow {
    Flow { from: ip(from), to: ip(to), transport, port }
}

/// Addresses of IPv4 and IPv6 that belong to one place, pod, host or network.
type Pair = [IpAddr; 2];

/// Everybody who may speak with a pod of this node: places, pods of the other node, hosts; the last is the node.
pub(crate) fn others(remotes: usize) -> Vec<Pair> {
    let hosts = [
        ["192.0.2.2", "2001:db8::2"],
        ["203.0.113.9", "64:ff9b::cb00:7109"],
        ["198.51.100.77", "2001:db8:f::9"],
        ["100.64.3.4", "fd12:3456::9"],
        ["192.0.2.1", "2001:db8::1"],
    ];
    (0..remotes).map(remote).chain(hosts.map(|pair| pair.map(ip))).collect()
}

/// Every pair of a place with another place or somebody else, in both directions and families, to each of the ports.
pub(crate) fn matrix(places: usize, others: &[Pair], ports: &[(Transport, u16)]) -> Vec<Flow> {
    let local: Vec<Pair> = (0..places).map(place).collect();
    let mut pairs = Vec::new();
    for (number, one) in local.iter().enumerate() {
        let neighbours = local.iter().enumerate().filter(|(other, _)| *other != number);
        pairs.extend(neighbours.map(|(_, other)| (*one, *other)));
        pairs.extend(others.iter().flat_map(|other| [(*one, *other), (*other, *one)]));
    }
    let mut flows = Vec::new();
    for (from, to) in pairs {
        for family in 0..2 {
            let flow = |&(transport, port)| Flow { from: from[family], to: to[family], transport, port };
            flows.extend(ports.iter().map(flow));
        }
    }
    flows
}

/// Three namespaces; pods of `red` and `blue` at the places, one address without a pod, others on the other node. Names
/// of ports mean different numbers in different pods.
pub(crate) fn colours() -> Cluster {
    let mut cluster = Cluster::new();
    for (name, of) in
        [("red", "team=red,env=prod"), ("blue", "team=blue,env=prod"), ("green", "team=green,env=dev")]
    {
        cluster.put(namespace(name, of));
    }
    let ports = |number: u16| format!("t=TCP:{number},u=UDP:{number},s=SCTP:{number}");
    for (number, (name, of, port)) in [
        ("red/web", "app=web,tier=front", 80),
        ("red/db", "app=db", 8080),
        ("blue/web", "app=web", 8080),
        ("blue/api", "app=api,tier=front", 80),
        ("green/job", "app=job", 9090),
    ]
    .into_iter()
    .enumerate()
    {
        cluster.put(pod(name, of, NODE, &place(number), &ports(port)));
        cluster.attach(&format!("container-{number}"), name, &given(number));
    }
    for (number, (name, of, port)) in [
        ("red/far", "app=web", 8080),
        ("blue/far", "app=api", 80),
        ("green/far", "app=web", 80),
        ("red/done", "app=web", 80),
    ]
    .into_iter()
    .enumerate()
    {
        let mut document = pod(name, of, "node2", &remote(number), &ports(port));
        if name == "red/done" {
            document["status"]["phase"] = "Succeeded".into();
        }
        cluster.put(document);
    }
    for (node, pair) in [(NODE, ["192.0.2.1", "2001:db8::1"]), ("node2", ["192.0.2.2", "2001:db8::2"])] {
        let mut document = pod(&format!("red/host-{node}"), "app=web", node, &pair.map(ip), &ports(80));
        document["spec"]["hostNetwork"] = true.into();
        cluster.put(document);
    }
    cluster
}
