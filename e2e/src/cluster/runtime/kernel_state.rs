//! What a node holds for its pods: leases, devices, namespaces, elements of rules. Read with other programs than ours.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::super::http::Api;
use super::batch::on_node;
use super::patience::until_all;
use crate::guest::client::{Cmd, Node};
use crate::process::wait_for;

/// Where host-local keeps its leases.
const LEASES: &str = "/var/lib/cni/networks";

/// What the plugin's own entries in nf_tables are marked with.
const TAG: &str = "routerd-cni:";

/// An address that is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lease {
    /// The address.
    pub(super) address: IpAddr,
    /// By which container; empty in a torn file.
    pub(super) container: String,
}

/// What a node holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Addresses.
    pub(super) leases: Vec<Lease>,
    /// veth devices on the node's side.
    pub(super) veths: Vec<String>,
    /// Devices that shape what pods send.
    pub(super) ifbs: Vec<String>,
    /// Lines of nf_tables that name a pod's network.
    pub(super) elements: Vec<String>,
    /// Attachments that routerd remembers.
    pub(super) attachments: Vec<String>,
}

impl Held {
    /// Reads a node.
    pub(super) fn read(node: &Node) -> Result<Self> {
        let rules = node.run(Cmd::new("nft").words("list ruleset"))?;
        Ok(Self {
            leases: leases(node)?,
            veths: devices(node, "veth")?,
            ifbs: devices(node, "ifb")?,
            elements: rules
                .lines()
                .filter(|line| line.contains(TAG))
                .map(|line| line.trim().into())
                .collect(),
            attachments: node.list("/run/routerd/attachments")?,
        })
    }

    /// Nothing at all is held for pods, and no rule knows any of these addresses.
    pub(super) fn nothing(node: &Node, addresses: &BTreeSet<IpAddr>) -> Result<()> {
        let held = Self::read(node)?;
        let namespaces = namespaces_in_use(node)?;
        let lists: [(&str, usize); 6] = [
            ("leases", held.leases.len()),
            ("veth devices", held.veths.len()),
            ("ifb devices", held.ifbs.len()),
            ("network namespaces in use", namespaces.len()),
            ("entries in nf_tables", held.elements.len()),
            ("attachments", held.attachments.len()),
        ];
        let left: Vec<String> = lists
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        ensure!(left.is_empty(), "left on {}: {}: {held:?}", node.name, left.join(", "));
        unnamed(node, addresses)
    }
}

/// No rule of a node knows any of these addresses.
pub(super) fn unnamed(node: &Node, addresses: &BTreeSet<IpAddr>) -> Result<()> {
    let rules = node.run(Cmd::new("nft").words("list ruleset"))?;
    let words: BTreeSet<&str> =
        rules.split([' ', '\t', '\n', ',', '{', '}']).filter(|word| !word.is_empty()).collect();
    match addresses.iter().find(|address| words.contains(address.to_string().as_str())) {
        Some(address) => bail!("a rule of {} still names {address}", node.name),
        None => Ok(()),
    }
}

/// What a node holds is what its pods need, and not a thing more.
pub(super) fn exact(api: &Api, node: &Node) -> Result<usize> {
    let pods = on_node(api, node.index)?;
    if let Some(pod) = pods.iter().find(|pod| !pod.is_up()) {
        bail!("{} is not up with both addresses: {:?}", pod.name, pod.addresses);
    }
    let wanted: Vec<IpAddr> = pods.iter().flat_map(|pod| pod.addresses.clone()).collect();
    let distinct: BTreeSet<IpAddr> = wanted.iter().copied().collect();
    ensure!(distinct.len() == wanted.len(), "pods share addresses: {wanted:?}");
    let held = Held::read(node)?;
    let leased: BTreeSet<IpAddr> = held.leases.iter().map(|lease| lease.address).collect();
    let missing: Vec<&IpAddr> = distinct.difference(&leased).collect();
    let stale: Vec<&Lease> = held.leases.iter().filter(|lease| !distinct.contains(&lease.address)).collect();
    ensure!(missing.is_empty(), "pods have addresses without a lease: {missing:?}");
    ensure!(stale.is_empty(), "leases of no pod: {stale:?}");
    let counts = [held.veths.len(), held.attachments.len()];
    ensure!(
        counts == [pods.len(); 2],
        "{} pods, but {} veth devices and {} attachments",
        pods.len(),
        counts[0],
        counts[1]
    );
    Ok(wanted.len())
}

/// The network namespaces with more than a loopback device. containerd, when it is killed, forgets the names of some that
/// it has just made; with nothing in them they are none of the plugin's.
fn namespaces_in_use(node: &Node) -> Result<Vec<String>> {
    let mut used = Vec::new();
    for name in node.list("/run/netns")? {
        let devices = node.run(Cmd::new("ip").arg("-n").arg(&name).words("-o link show"))?;
        if devices.lines().count() > 1 {
            used.push(name);
        }
    }
    Ok(used)
}

/// Waits until a node has wired so many pods. After a boot the API still says what was true before.
pub(super) fn wired(node: &Node, pods: u16, quiet: Duration) -> Result<()> {
    let what = format!("pods that {} has wired", node.name);
    until_all(&what, pods.into(), quiet, || Ok(devices(node, "veth")?.len()))
}

/// Waits until what a node holds is exact. Returns how many addresses its pods have, and how long it took.
pub(super) fn becomes_exact(api: &Api, node: &Node, limit: Duration) -> Result<(usize, Duration)> {
    let begin = Instant::now();
    let what = format!("{} to hold what its pods need and nothing else", node.name);
    let addresses = wait_for(&what, limit, || exact(api, node).map(Some))?;
    Ok((addresses, begin.elapsed()))
}

/// The leases of a node; `last_reserved_ip.0` and `lock` are none.
pub(super) fn leases(node: &Node) -> Result<Vec<Lease>> {
    // The first line of every file is the container; grep says nothing of an empty one, find does.
    let files = node.run(Cmd::new("find").arg(LEASES).words("-type f -printf %f\\n"))?;
    let lines = node.output(Cmd::new("grep").words("-r -H -m1 .").arg(LEASES))?.stdout;
    Ok(join(&files, &lines))
}

fn join(files: &str, lines: &str) -> Vec<Lease> {
    let owner = |file: &str| -> String {
        let found = lines.lines().find_map(|line| {
            let (_, rest) = line.split_once(&format!("/{file}:"))?;
            Some(rest.trim().to_owned())
        });
        found.unwrap_or_default()
    };
    let mut leases: Vec<Lease> = files
        .lines()
        .filter_map(|file| Some(Lease { address: file.parse().ok()?, container: owner(file) }))
        .collect();
    leases.sort();
    leases
}

/// The names of a node's devices of a kind.
pub(super) fn devices(node: &Node, kind: &str) -> Result<Vec<String>> {
    let text = node.run(Cmd::new("ip").words("-j link show type").arg(kind))?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let devices: Value = serde_json::from_str(&text).with_context(|| format!("ip link on {}", node.name))?;
    let names = devices.as_array().into_iter().flatten();
    Ok(names.filter_map(|device| device["ifname"].as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_read_with_their_containers_and_a_torn_one_without() {
        let files = "10.244.0.2\nlock\nlast_reserved_ip.0\nfd00:10:244::2\n10.244.0.3\n";
        let lines = "/var/lib/cni/networks/mynet/10.244.0.2:aa\r\n\
                     /var/lib/cni/networks/mynet/fd00:10:244::2:bb\r\n\
                     /var/lib/cni/networks/mynet/last_reserved_ip.0:10.244.0.2\n";
        let leases: Vec<(String, String)> = join(files, lines)
            .into_iter()
            .map(|lease| (lease.address.to_string(), lease.container))
            .collect();
        let wanted = [("10.244.0.2", "aa"), ("10.244.0.3", ""), ("fd00:10:244::2", "bb")];
        assert_eq!(leases, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
