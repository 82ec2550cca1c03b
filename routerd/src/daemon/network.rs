//! The plane that keeps the CNI network configuration current: the node's pod ranges, and the MTU of its network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use kernel::Rtnl;
use prefix::{Family, Prefix};

use crate::cluster::{Change, Index};
use crate::conflist;
use crate::runner::{Apply, Plane, Problem, Report, Scope};

/// The plane's name.
pub(super) const NAME: &str = "cni";

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
    /// The node's address; the MTU is that of its interface.
    address: Option<IpAddr>,
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
            Change::Node(delta) if delta.any().is_some_and(|node| node.name == index.node_name()) => {
                self.keys(index)
            }
            _ => BTreeSet::new(),
        }
    }

    fn desired(&self, index: &Index, (): &()) -> Option<Wanted> {
        let node = index.own_node()?;
        let ranges = node.pod_cidrs.iter().filter(|range| self.families.contains(&range.family()));
        Some(Wanted { ranges: ranges.copied().collect(), address: node.primary_address() })
    }
}

/// The half that writes the file.
pub(super) struct Writer {
    /// The configuration.
    pub(super) path: PathBuf,
    /// `--auto-mtu`.
    pub(super) auto_mtu: bool,
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
        let mtu = wanted.address.filter(|_| self.auto_mtu).and_then(|address| {
            mtu_towards(address)
                .map_err(|error| report.problems.push(problem(&error.to_string())))
                .ok()
                .flatten()
        });
        match conflist::update(&self.path, &wanted.ranges, mtu) {
            Ok(conflist::Outcome::Written) => {
                let ranges: Vec<String> = wanted.ranges.iter().map(Prefix::to_string).collect();
                let ranges = ranges.join(", ");
                tracing::info!(path = %self.path.display(), ranges, mtu, "wrote the CNI network configuration");
                report.writes = 1;
            }
            Ok(conflist::Outcome::Current | conflist::Outcome::Waiting) => {}
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

/// The MTU of the interface that has the node's address.
fn mtu_towards(address: IpAddr) -> kernel::Result<Option<u32>> {
    let mut rtnl = Rtnl::open()?;
    let found =
        rtnl.addresses(None, Some(Family::of(address)))?.into_iter().find(|one| one.address == address);
    let Some(link) = found.map(|one| one.link) else { return Ok(None) };
    Ok(rtnl.link_by_index(link)?.map(|link| link.mtu))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kernel::testing::TestNs;

    use super::*;
    use crate::cluster::objects::Node;
    use crate::cluster::{Event, Object};

    const TEMPLATE: &str = r#"{"name":"n","plugins":[{"type":"routerd-cni","ipam":{"type":"host-local"}}]}"#;

    fn wanted(ranges: &[&str]) -> BTreeMap<(), Wanted> {
        let mut index = Index::new("n1");
        index.apply(Event::Upsert(Object::Node(Node {
            name: "n1".into(),
            pod_cidrs: ranges.iter().map(|text| text.parse().unwrap()).collect(),
            internal_addresses: vec!["192.0.2.1".parse().unwrap()],
            ..Node::default()
        })));
        let plane = Network { families: vec![Family::V4] };
        plane.desired(&index, &()).map(|value| ((), value)).into_iter().collect()
    }

    #[test]
    fn ranges_of_the_families_in_use_and_the_mtu_of_the_nodes_interface_are_written() {
        let namespace = TestNs::new("cni");
        namespace.run("ip", &["link", "add", "up0", "type", "bridge"]);
        namespace.run("ip", &["link", "set", "up0", "mtu", "1404", "up"]);
        namespace.run("ip", &["address", "add", "192.0.2.1/24", "dev", "up0"]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.conflist");
        fs::write(folder.path().join("x.conflist.template"), TEMPLATE).unwrap();
        let mut writer = Writer { path: path.clone(), auto_mtu: true };
        let desired = wanted(&["10.244.1.0/24", "fd00::/64"]);
        let report = namespace.run_in(|| writer.apply(&desired, &Scope::Everything));
        assert_eq!((report.problems, report.writes), (Vec::new(), 1));
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("10.244.1.0/24") && text.contains("1404") && !text.contains("fd00::"),
            "{text}"
        );
    }

    #[test]
    fn a_node_without_object_or_range_is_a_problem_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer { path: folder.path().join("x.conflist"), auto_mtu: false };
        let unknown = writer.apply(&BTreeMap::new(), &Scope::Everything);
        assert!(unknown.problems[0].message.contains("--hostname-override"));
        let bare = writer.apply(&wanted(&[]), &Scope::Everything);
        assert!(bare.problems[0].message.contains("spec.podCIDR"), "{bare:?}");
    }
}
