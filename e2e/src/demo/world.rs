//! What the scenes of the demo share: nodes, daemons, manifests and pods.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::daemon::{Daemon, Programs};
use crate::guest::client::Node;
use crate::lab::Lab;
use crate::manifests::{Manifests, Service};
use crate::pods::{Pod, Spec};
use crate::process::wait_for;

/// The port that pods serve on.
pub(super) const PORT: u16 = 8080;

/// The state of the demo.
#[derive(Debug)]
pub(super) struct World {
    /// The nodes.
    pub(super) lab: Lab,
    /// The folder of manifests.
    pub(super) manifests: Manifests,
    /// `routerd` on each node, in order.
    pub(super) daemons: Vec<Daemon>,
    /// Every pod that was made.
    pub(super) pods: Vec<Pod>,
    /// The Service of the pods `web-*`.
    pub(super) web: Service,
    /// Planes that this kernel cannot carry.
    pub(super) absent: Vec<&'static str>,
    lost: Vec<u8>,
}

impl World {
    /// Installs and starts the product on every node.
    pub(super) fn start(lab: Lab, programs: &Programs) -> Result<Self> {
        let manifests = Manifests::new(&lab.nodes);
        manifests.cluster(&lab.nodes)?;
        let ipvs = lab.node(1)?.list("/proc/sys/net/ipv4/vs")?;
        let absent = if ipvs.is_empty() { vec!["services"] } else { Vec::new() };
        let mut daemons = Vec::new();
        for node in &lab.nodes {
            programs.install(node)?;
            daemons.push(Daemon::start(node, programs, &lab.folder, &["--bgp-holdtime=3s"])?);
        }
        let web = Service {
            name: "web".into(),
            address: IpAddr::from([10, 96, 0, 80]),
            port: 80,
            target: PORT,
            node_port: Some(30080),
        };
        Ok(Self { lab, manifests, daemons, pods: Vec::new(), web, absent, lost: Vec::new() })
    }

    /// A pod from nothing to serving, as the cluster would make it: in the API, wired, running. It serves from
    /// before it has a network, so that the first packet that could reach it would be answered.
    pub(super) fn make_pod(&mut self, spec: Spec) -> Result<&Pod> {
        let node = self.lab.node(spec.node)?.clone();
        let mut pod = Pod::new(&node, spec)?;
        self.manifests.pod(&pod)?;
        let log = self.lab.folder.join(format!("{}.log", pod.spec.name));
        let words = format!("serve --tcp {PORT} --udp {PORT} --name {}", pod.spec.name);
        node.background(pod.tool(&words)?, &log.to_string_lossy())?;
        wait_for("a pod's server", Duration::from_secs(5), || Ok(served(&log)))?;
        pod.add(&node)?;
        self.manifests.pod(&pod)?;
        self.pods.push(pod);
        self.pods.last().context("no pod")
    }

    /// The pod of that name.
    pub(super) fn pod(&self, name: &str) -> Result<&Pod> {
        self.pods
            .iter()
            .find(|pod| pod.spec.name == name)
            .with_context(|| format!("the pod {name} was not made"))
    }

    /// The node of a pod.
    pub(super) fn node_of(&self, pod: &Pod) -> Result<&Node> {
        self.lab.node(pod.spec.node)
    }

    /// Is this node one of those that were not killed?
    pub(super) fn lives(&self, index: u8) -> bool {
        !self.lost.contains(&index)
    }

    /// A node is gone for good.
    pub(super) fn forget_node(&mut self, index: u8) {
        self.lost.push(index);
        self.manifests.without(index);
    }

    /// Asks a server from inside a pod; the microseconds and the answers of those that came.
    pub(super) fn ask(&self, from: &str, server: &str, options: &str) -> Result<Vec<(u64, String)>> {
        let pod = self.pod(from)?;
        let ended = self.node_of(pod)?.output(pod.tool(&format!("ask {server} {options}"))?)?;
        Ok(answers(&ended.stdout))
    }

    /// Writes the Service `web` with those of its pods whose node lives.
    pub(super) fn publish_web(&self, nodes: &[u8]) -> Result<()> {
        let pods = self
            .pods
            .iter()
            .filter(|pod| pod.spec.name.starts_with("web-") && nodes.contains(&pod.spec.node));
        self.manifests.service(&self.web, &pods.collect::<Vec<_>>())
    }

    /// Waits until every node's kernel has a route to the pods of every other; how long it took.
    pub(super) fn wait_for_routes(&self, since: Instant) -> Result<Duration> {
        for node in self.lab.nodes.iter().filter(|node| self.lives(node.index)) {
            wait_for(&format!("routes on {}", node.name), Duration::from_secs(20), || {
                let table = node.run(crate::guest::client::Cmd::new("ip").words("-4 route"))?;
                let others = self
                    .lab
                    .nodes
                    .iter()
                    .filter(|other| other.index != node.index && self.lives(other.index));
                let missing = others.filter(|other| !has_route(&table, other.index)).count();
                Ok((missing == 0).then_some(()))
            })?;
        }
        Ok(since.elapsed())
    }
}

fn served(log: &Path) -> Option<()> {
    std::fs::read_to_string(log).ok().filter(|text| text.contains("ready")).map(|_| ())
}

/// Does a table of `ip route` lead to the pods of a node by way of it?
pub(super) fn has_route(table: &str, index: u8) -> bool {
    let start = format!("{} via {}", crate::net::pod_range(index), crate::net::node_address(index));
    table.lines().any(|line| line.starts_with(&start))
}

/// The lines of `lab tool ask` that are answers.
pub(super) fn answers(text: &str) -> Vec<(u64, String)> {
    let answer = |line: &str| {
        let (micros, answer) = line.split_once(' ')?;
        Some((micros.parse().ok()?, answer.to_owned()))
    };
    text.lines().filter_map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_count() {
        let got = answers("120 web-1 10.244.1.2\n- timed out\n90 web-2 10.244.1.2\n");
        assert_eq!(got, [(120, "web-1 10.244.1.2".to_owned()), (90, "web-2 10.244.1.2".to_owned())]);
    }

    #[test]
    fn a_route_counts_when_it_leads_to_its_own_node() {
        let table = "default via 192.0.2.1 dev vec0\n10.244.2.0/24 via 192.0.2.12 dev vec0 proto 179\n";
        assert!(has_route(table, 2));
        assert!(!has_route(table, 3));
        assert!(!has_route("10.244.2.0/24 via 192.0.2.13 dev vec0", 2));
    }
}
