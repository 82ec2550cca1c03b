//! The plane that keeps the CNI network configuration current: the node's pod ranges, and the MTU of its network.

mod former;
mod mtu;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use kernel::monitor::Event;
use kernel::rtnl::Rtnl;
use prefix::{Family, Prefix};

use super::monitor::is_pods;
use crate::cluster::{Change, Index};
use crate::conflist;
use crate::routing::{self, Overlay};
use crate::runner::{Apply, Plane, Problem, Report, Scope};

/// The plane's name.
pub(super) const NAME: &str = "cni";
/// What the status counts the bridge's MTU as; the monitor compares with it.
const BRIDGE_MTU: &str = "bridge MTU";
/// The pods' bridge where the user has not chosen another.
const BRIDGE: &str = "kube-bridge";
/// RFC 8200, section 5: what every link must carry for IPv6.
const LEAST_FOR_IPV6: u32 = 1280;

/// The pure half.
pub(super) struct Network {
    /// Families in use.
    pub(super) families: Vec<Family>,
}

/// What the configuration is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The node's pod ranges.
    ranges: Vec<Prefix>,
    /// The node's addresses of the families in use; the MTU is that of their devices.
    addresses: Vec<IpAddr>,
    /// The addresses of other nodes that tunnels may lead to, the first of each family in use.
    peers: BTreeSet<IpAddr>,
}

impl Plane for Network {
    const NAME: &'static str = NAME;
    type Key = ();
    type Value = Wanted;

    fn keys(&self, _: &Index) -> BTreeSet<()> {
        BTreeSet::from([()])
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<()> {
        match change {
            Change::Node(_) => self.keys(index),
            _ => BTreeSet::new(),
        }
    }

    fn desired(&self, index: &Index, (): &()) -> Option<Wanted> {
        let node = index.own_node()?;
        let ranges = node.pod_cidrs.iter().filter(|range| self.families.contains(&range.family()));
        let addresses = node.addresses().filter(|address| self.families.contains(&Family::of(*address)));
        let others = index.nodes().values().filter(|other| other.name != node.name);
        let peers = others.flat_map(|other| self.families.iter().filter_map(|family| other.address(*family)));
        Some(Wanted {
            ranges: ranges.copied().collect(),
            addresses: addresses.collect(),
            peers: peers.collect(),
        })
    }
}

/// The half that writes the file.
pub(super) struct Writer {
    /// The configuration.
    pub(super) path: PathBuf,
    /// `--auto-mtu`.
    pub(super) auto_mtu: bool,
    /// `--run-firewall`: a pod that the daemon does not know yet is closed.
    pub(super) policy: bool,
    /// Tunnels between nodes, which carry less than the devices they go by.
    pub(super) overlay: Overlay,
}

impl Apply for Writer {
    type Key = ();
    type Value = Wanted;

    fn apply(&mut self, desired: &BTreeMap<(), Wanted>, _: &Scope<()>) -> Report {
        let mut report = Report::default();
        let Some(wanted) = desired.get(&()) else {
            report.problems.push(problem("the Node object of this node is not known, so neither are its pod ranges; see --hostname-override"));
            return report;
        };
        report.counts.insert("pod ranges", wanted.ranges.len() as u64);
        if wanted.ranges.is_empty() {
            report.problems.push(problem(
                "the node has no pod range; the controller manager gives one with --allocate-node-cidrs, or set spec.podCIDR",
            ));
        }
        let path = if self.auto_mtu { self.path_mtu(wanted, &mut report) } else { None };
        match conflist::update(&self.path, &wanted.ranges, path) {
            Ok(done) => {
                if done.outcome == conflist::Outcome::Written {
                    self.tell(wanted, &done);
                    report.writes += 1;
                }
                judge_mtu(&done, path, wanted, &mut report);
                if self.policy && !done.tells_daemon {
                    report.problems.push(problem(
                        "a plugin of type bridge wires pods, which does not tell routerd of them: what they send is dropped until the API server knows their addresses; make its type routerd-cni in the network configuration (routerd-init does)",
                    ));
                }
                self.leave_former(&done, &mut report);
                self.judge_place(&mut report);
                follow_bridge(&done.bridge, &mut report);
            }
            Err(error) => report.problems.push(Problem { retry: true, ..problem(&error.to_string()) }),
        }
        report
    }

    fn item(&self, (): &()) -> Option<String> {
        Some(NAME.to_owned())
    }
}

/// Something wrong with all of the plane, which only a change of the Node object mends.
fn problem(message: &str) -> Problem {
    Problem { item: NAME.to_owned(), message: message.to_owned(), retry: false }
}

impl Writer {
    fn path_mtu(&self, wanted: &Wanted, report: &mut Report) -> Option<u32> {
        let found = Rtnl::open().and_then(|mut rtnl| {
            let path = mtu::of_path(&mut rtnl, &wanted.addresses)?;
            let tunnels = routing::carried(&mut rtnl, &self.overlay, &wanted.addresses, &wanted.peers)?;
            Ok(path.map(|path| tunnels.map_or(path, |least| least.min(path))))
        });
        match &found {
            Ok(None) if !wanted.addresses.is_empty() => report.problems.push(problem(
                "no device of this node has one of the addresses of its Node object, so the MTU of pods stays as it is",
            )),
            Err(error) => report.problems.push(Problem { retry: true, ..problem(&error.to_string()) }),
            Ok(_) => {}
        }
        found.ok().flatten()
    }

    fn leave_former(&self, done: &conflist::Done, report: &mut Report) {
        if done.former.is_empty() {
            return;
        }
        report.counts.insert("former pod ranges", done.former.len() as u64);
        if done.outcome != conflist::Outcome::Current {
            return;
        }
        match former::leave(&self.path, done) {
            Ok(left) => {
                report.counts.insert("former pod ranges", (done.former.len() - left.len()) as u64);
                report.writes += left.len() as u64;
            }
            Err(error) => report.problems.push(Problem { retry: true, ..problem(&error) }),
        }
    }

    /// Nothing of what this plane writes is used where another configuration comes first.
    fn judge_place(&self, report: &mut Report) {
        if let Some(first) = conflist::preferred(&self.path) {
            let (first, path) = (first.display(), self.path.display());
            let message = format!(
                "runtimes use the network configuration {first} and not {path}, because its name sorts before, so new pods are not ours; move it away (one of kube-router's for the same network routerd-init takes away when the pod of routerd starts)"
            );
            report.problems.push(Problem { retry: true, ..problem(&message) });
        }
    }

    fn tell(&self, wanted: &Wanted, done: &conflist::Done) {
        let ranges: Vec<String> = wanted.ranges.iter().map(Prefix::to_string).collect();
        let (ranges, mtu) = (ranges.join(", "), done.mtu);
        tracing::info!(path = %self.path.display(), ranges, mtu, "wrote the CNI network configuration");
    }
}

/// Says what new pods get, and what is wrong with it on a path of MTU `path`.
fn judge_mtu(done: &conflist::Done, path: Option<u32>, wanted: &Wanted, report: &mut Report) {
    let Some(mtu) = done.mtu else { return };
    report.counts.insert("pod MTU", mtu.into());
    if let Some(path) = path.filter(|path| *path < mtu) {
        report.problems.push(problem(&format!(
            "the network configuration sets the MTU of pods to {mtu}, but no more than {path} bytes leave this node; delete the key \"mtu\" there and routerd sets it"
        )));
    }
    let ipv6 = wanted.ranges.iter().any(|range| range.family() == Family::V6);
    if ipv6 && mtu < LEAST_FOR_IPV6 {
        report.problems.push(problem(&format!(
            "the MTU of pods is {mtu}; below {LEAST_FOR_IPV6} the kernel gives them no IPv6; raise the MTU of the node's network"
        )));
    }
}

fn follow_bridge(name: &str, report: &mut Report) {
    match Rtnl::open().and_then(|mut rtnl| mtu::follow(&mut rtnl, name)) {
        Ok(Some(bridge)) => {
            report.writes += u64::from(bridge.changed);
            report.counts.insert(BRIDGE_MTU, bridge.mtu.into());
        }
        Ok(None) => {}
        Err(error) => report.problems.push(Problem { retry: true, ..problem(&error.to_string()) }),
    }
}

/// True if `event` may change what the plane wants; `counts` are those of its status.
pub(super) fn concerns(counts: &BTreeMap<&'static str, u64>, event: &Event) -> bool {
    let bridge = counts.get(BRIDGE_MTU);
    let odd = |mtu: u32| bridge.is_some_and(|bridge| *bridge != u64::from(mtu));
    match event {
        // Pods come and go all the time; only one of another size is of interest, as the bridge follows the smallest.
        Event::Link(link) | Event::LinkGone(link) if is_pods(&link.name) => odd(link.mtu),
        // It speaks of itself whenever a pod comes or goes.
        Event::Link(link) | Event::LinkGone(link) if link.name == BRIDGE => bridge.is_none() || odd(link.mtu),
        Event::Resync | Event::Link(_) | Event::LinkGone(_) => true,
        Event::Address(address) | Event::AddressGone(address) => match address.address {
            IpAddr::V4(_) => true,
            // Every pod's device has one.
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        },
        Event::Route(_) | Event::RouteGone(_) | Event::Rule(_) | Event::RuleGone(_) => false,
    }
}
