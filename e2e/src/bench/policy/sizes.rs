//! How large the measured clusters are.

use std::time::Duration;

use super::Options;
use super::objects::Cluster;
use super::packets::{Clock, Effort};
use super::scale;
use crate::guest::NodeKind;

/// One namespace, and policies that select by one of several labels.
const PLAIN: Cluster =
    Cluster { pods: 0, local: 0, policies: 0, rules: 1, namespaces: 1, labels: 50, all: false };

impl Options {
    /// Whose kernel the figures are of.
    pub(in crate::bench) const fn kind(&self) -> NodeKind {
        if self.host { NodeKind::Host } else { NodeKind::Uml }
    }

    /// What ours and the peer are compared in.
    pub(super) fn compared(&self) -> Cluster {
        let [pods, local, policies] = if self.quick { [100, 10, 20] } else { [1000, 100, 200] };
        Cluster {
            pods: self.pods.unwrap_or(pods),
            local: self.local.unwrap_or(local),
            policies: self.policies.unwrap_or(policies),
            ..PLAIN
        }
    }

    /// A cluster whose namespaces have policies of their own, and one of policies that all select everything.
    pub(super) fn large(&self) -> [Cluster; 2] {
        let spread =
            Cluster { pods: 10_000, local: 110, policies: 2_000, namespaces: 100, labels: 20, ..PLAIN };
        let crowded = Cluster { pods: 10_000, local: 110, policies: 10_000, all: true, ..PLAIN };
        if self.quick {
            let spread = Cluster { pods: 1_000, local: 50, policies: 200, namespaces: 10, ..spread };
            return [spread, Cluster { pods: 500, local: 50, policies: 500, ..crowded }];
        }
        [spread, crowded]
    }

    /// Nodes whose packets are compared: pods on them, policies and rules of each that have nothing to do with the packets.
    pub(super) fn crossed(&self) -> Vec<Cluster> {
        let sizes: &[[usize; 3]] = if self.quick {
            &[[10, 10, 1], [100, 10, 1], [10, 100, 10]]
        } else {
            &[[10, 10, 1], [1000, 10, 1], [10, 1000, 10], [1000, 1000, 10]]
        };
        let cluster = |[local, policies, rules]: &[usize; 3]| Cluster {
            pods: *local,
            local: *local,
            policies: *policies,
            rules: *rules,
            labels: 10,
            ..PLAIN
        };
        sizes.iter().map(cluster).collect()
    }

    /// How often ours is measured in large clusters.
    pub(super) fn many(&self) -> scale::Effort {
        let (starts, changes, seconds) = if self.quick { (2, 40, 8) } else { (3, 300, 40) };
        let changes = self.changes.unwrap_or(changes);
        scale::Effort { starts, changes, time: Duration::from_secs(seconds) }
    }

    /// Starts and label changes of ours, of the peer with iptables and with nftables: ours is over soon, the others take seconds
    /// or minutes for each.
    pub(super) const fn compared_effort(&self) -> [(usize, usize); 3] {
        if self.quick { [(2, 5), (1, 1), (1, 1)] } else { [(3, 20), (1, 2), (1, 1)] }
    }

    /// By which clock the cost of a packet is told.
    pub(super) fn clock(&self) -> Clock {
        if self.host { Clock::Processor } else { Clock::Wall }
    }

    /// How many packets.
    pub(super) fn effort(&self) -> Effort {
        let rounds = if self.quick { 5 } else { 25 };
        Effort { rounds, established: 20_000, new: 4_000 }
    }
}
