//! The nodes of the bench, each a network namespace, so that the rules of one plugin are not in the way of another;
//! and the other pods on them.

use std::ops::Range;

use anyhow::{Result, anyhow};

use super::plugin::{Chain, Pod, on};
use crate::guest::agent;
use crate::progress::Step;

/// A bridge has at most 1023 ports; the other pods above this many are in a second network of their node.
const IN_ONE: usize = 900;

/// How many of the other pods are made at the same time.
const WORKERS: usize = 4;

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    /// The name of its namespace.
    pub(super) name: &'static str,
    /// What the other pods' interfaces on it are called; they are on every node with the same namespaces.
    ifname: &'static str,
    /// The first two bytes of its networks' ranges.
    range: &'static str,
}

/// A network of a node.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// The bridge's name, also the network's.
    pub(super) bridge: String,
    /// Its range.
    pub(super) subnet: String,
    /// Pods get a default route. The other pods do not, as they are on several nodes.
    pub(super) default_route: bool,
}

/// Ours, without the daemon.
pub(super) const OURS: Node = Node { name: "ours", ifname: "eth1", range: "10.250" };
/// Debian's reference plugins.
pub(super) const DEBIAN: Node = Node { name: "debian", ifname: "eth2", range: "10.251" };
/// The reference plugins of the current release.
pub(super) const RELEASE: Node = Node { name: "release", ifname: "eth3", range: "10.252" };
/// Ours with the daemon, which knows this range.
pub(super) const DAEMON: Node = Node { name: "daemon", ifname: "eth4", range: "10.253" };

/// All of them.
pub(super) const ALL: [&Node; 4] = [&OURS, &DEBIAN, &RELEASE, &DAEMON];

impl Node {
    /// The network in which is measured.
    pub(super) fn network(&self) -> Network {
        Network {
            bridge: format!("br-{}", self.name),
            subnet: format!("{}.0.0/17", self.range),
            default_route: true,
        }
    }

    fn network_of_other(&self, number: usize) -> Network {
        let first = Network { default_route: false, ..self.network() };
        if number < IN_ONE {
            return first;
        }
        Network { bridge: format!("br2-{}", self.name), subnet: format!("{}.128.0/17", self.range), ..first }
    }

    fn other(&self, number: usize) -> Result<Pod> {
        let pod = Pod::new(other(number), u16::try_from(10_000 + number)?);
        Ok(Pod { ifname: self.ifname.into(), ..pod })
    }

    /// Makes the other pods of these numbers with a chain, several at the same time.
    pub(super) fn fill(&self, chain: &Chain, numbers: Range<usize>, step: &mut Step) -> Result<()> {
        let all: Vec<usize> = numbers.collect();
        for (done, some) in all.chunks(WORKERS * 5).enumerate() {
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..WORKERS)
                    .map(|worker| {
                        let mine = some.iter().skip(worker).step_by(WORKERS);
                        scope.spawn(move || {
                            on(self, || mine.copied().try_for_each(|number| self.make(chain, number)))
                        })
                    })
                    .collect();
                workers.into_iter().try_for_each(|worker| {
                    worker.join().map_err(|_| anyhow!("a thread of the bench ended badly"))?
                })
            })?;
            step.update(u64::try_from(done * WORKERS * 5)?, u64::try_from(all.len())?, "pods");
        }
        Ok(())
    }

    fn make(&self, chain: &Chain, number: usize) -> Result<()> {
        chain.run("ADD", &self.other(number)?, &self.network_of_other(number), None).map(|_| ())
    }
}

/// The name of another pod.
pub(super) fn other(number: usize) -> String {
    format!("other{number}")
}

/// Makes the namespaces of the other pods of these numbers.
pub(super) fn make_others(numbers: Range<usize>) -> Result<()> {
    numbers.map(other).try_for_each(|name| agent::make_netns(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_not_asked_for_more_ports_than_it_can_have() {
        let of = |number| OURS.network_of_other(number).bridge;
        assert_eq!((of(0), of(IN_ONE)), ("br-ours".to_owned(), "br2-ours".to_owned()));
        let at_once = 100;
        assert!(IN_ONE + at_once < 1023);
    }
}
