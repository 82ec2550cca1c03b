//! What the annotations of a Node say of BGP: pure, and read anew at every change of the object.
//!
//! Each item is judged alone: one that is wrong is a problem with its name, and the others hold.

mod communities;
mod lists;
mod peers;
#[cfg(test)]
mod tests;
mod yaml;

use std::net::{IpAddr, Ipv4Addr};

use bgp::{Communities, Prepend};
use prefix::Prefix;

use crate::cluster::objects::{Labels, Node};

pub(super) use communities::parse as parse_communities;
pub(super) use peers::External;

const ASN: &str = "kube-router.io/node.asn";
const SERVER: &str = "kube-router.io/rr.server";
const CLIENT: &str = "kube-router.io/rr.client";
const LOCAL_ADDRESSES: &str = "kube-router.io/bgp-local-addresses";
const COMMUNITIES: &str = "kube-router.io/node.bgp.communities";
const IMPORT_REJECT: &str = "kube-router.io/node.bgp.customimportreject";
const PREPEND_AS: &str = "kube-router.io/path-prepend.as";
const PREPEND_TIMES: &str = "kube-router.io/path-prepend.repeat-n";

/// The part of a node in route reflection (RFC 4456), with its cluster's identifier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// None: it peers with all.
    #[default]
    None,
    /// It reflects.
    Server(Ipv4Addr),
    /// It peers with reflectors only.
    Client(Ipv4Addr),
}

/// The settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Annotations {
    /// The node's AS.
    pub(super) asn: Option<u32>,
    /// Its part in route reflection.
    pub(super) role: Role,
    /// Where it listens, instead of its addresses.
    pub(super) local_addresses: Vec<IpAddr>,
    /// What all that external peers are told gets.
    pub(super) communities: Communities,
    /// Nothing in these is taken from external peers.
    pub(super) refuse: Vec<Prefix>,
    /// What is put in front of the path for external peers.
    pub(super) prepend: Option<Prepend>,
    /// External peers.
    pub(super) peers: Vec<External>,
    /// What of it is wrong, with the annotation's name.
    pub(super) problems: Vec<String>,
}

impl Annotations {
    /// Reads all of them.
    pub(super) fn of(node: &Node) -> Self {
        let mut found = Self::between_nodes(node);
        let annotations = &node.annotations;
        let problems = &mut found.problems;
        found.local_addresses = lists::parsed(annotations, LOCAL_ADDRESSES, "an IP address", problems);
        for item in lists::items(annotations, COMMUNITIES) {
            if let Err(reason) = communities::parse(item, &mut found.communities) {
                problems.push(format!("{COMMUNITIES}: {reason}"));
            }
        }
        found.prepend = prepend(annotations, problems);
        found.peers = peers::of(annotations, problems);
        found
    }

    /// Reads what sessions between nodes are made from, of either end. There is one such session for each node, so the list of
    /// external peers is not read for it.
    pub(super) fn between_nodes(node: &Node) -> Self {
        let mut found = Self::default();
        let annotations = &node.annotations;
        let problems = &mut found.problems;
        found.asn = lists::single(annotations, ASN, "an AS number", problems);
        found.role = role(annotations, problems);
        found.refuse = lists::parsed(annotations, IMPORT_REJECT, "a prefix as 10.0.0.0/8", problems);
        found
    }
}

fn role(annotations: &Labels, problems: &mut Vec<String>) -> Role {
    let id = |key: &str, problems: &mut Vec<String>| {
        let text = annotations.get(key)?.trim();
        // A number, or the same written as an address, as kube-router has it.
        let id = text.parse().map(Ipv4Addr::from_bits).ok().or_else(|| text.parse().ok());
        if id.is_none() {
            problems.push(format!("{key}: {text:?} is no cluster ID; write a number or an IPv4 address"));
        }
        id
    };
    let server = id(SERVER, problems).map(Role::Server);
    server.or_else(|| id(CLIENT, problems).map(Role::Client)).unwrap_or_default()
}

fn prepend(annotations: &Labels, problems: &mut Vec<String>) -> Option<Prepend> {
    let asn = lists::single(annotations, PREPEND_AS, "an AS number", problems);
    let times = lists::single(annotations, PREPEND_TIMES, "a number from 1 to 255", problems);
    match (asn, times) {
        (Some(asn), Some(times)) => Some(Prepend { asn, times }),
        (None, None) => None,
        _ => {
            problems.push(format!("{PREPEND_AS} and {PREPEND_TIMES} have effect together only; set both"));
            None
        }
    }
}
