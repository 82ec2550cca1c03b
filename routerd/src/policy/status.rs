//! What the plane says of itself.

use std::collections::BTreeMap;

use kernel::KernelError;

use super::key::PolicyKey;
use super::value::{Isolation, PolicyValue};
use crate::runner::Problem;

/// How many of what the plane holds.
pub(super) fn counts(desired: &BTreeMap<PolicyKey, PolicyValue>) -> BTreeMap<&'static str, u64> {
    let mut counts: BTreeMap<&'static str, u64> = [
        "pods",
        "isolated_ingress",
        "isolated_egress",
        "closed_addresses",
        "policies",
        "invalid_policies",
        "groups",
        "named_ports",
        "crowds",
        "crowd_peers",
    ]
    .map(|name| (name, 0))
    .into();
    let mut count = |name, by: usize| {
        *counts.entry(name).or_default() += u64::try_from(by).unwrap_or(u64::MAX);
    };
    for value in desired.values() {
        match value {
            PolicyValue::Base(_) => {}
            PolicyValue::Pod(pod) => {
                count("pods", 1);
                count("isolated_ingress", usize::from(pod.ingress != Isolation::Open));
                count("isolated_egress", usize::from(pod.egress != Isolation::Open));
                count("closed_addresses", pod.closed.len());
            }
            PolicyValue::Policy(rules) => {
                count("policies", 1);
                count("invalid_policies", usize::from(rules.invalid.is_some()));
            }
            PolicyValue::Group(_) => count("groups", 1),
            PolicyValue::Ports(_) => count("named_ports", 1),
            PolicyValue::Crowd(_) => count("crowds", 1),
            PolicyValue::Member(_) => count("crowd_peers", 1),
            PolicyValue::Class(_) => count("crowd_classes", 1),
        }
    }
    counts
}

/// The object that a key's problems are reported under.
pub(super) fn item(key: &PolicyKey) -> String {
    match key {
        PolicyKey::Base => "Node of this host".to_owned(),
        PolicyKey::Pod(name) => format!("Pod {name}"),
        PolicyKey::Policy(name) => format!("NetworkPolicy {name}"),
        PolicyKey::Group(group) => format!("policy peers {group}"),
        PolicyKey::Ports(port) => format!("policy {port}"),
        PolicyKey::Crowd(side) => format!("NetworkPolicies for {side}"),
        PolicyKey::Member(side, address) => format!("policy peer {address} for {side}"),
        PolicyKey::Class(side, class) => format!("policy peers {class} for {side}"),
    }
}

/// What is wrong with a value before the kernel sees it.
pub(super) fn problem_of(key: &PolicyKey, value: &PolicyValue) -> Option<Problem> {
    let message = match value {
        PolicyValue::Policy(rules) => {
            let why = rules.invalid.as_ref()?;
            format!("the policy cannot be enforced as written, so its pods are isolated: {why}")
        }
        PolicyValue::Base(None) => "no source has shown the Node object of this node, so its pod networks are \
             unknown; those that the kernel has are kept. Check the node's name (--hostname-override) and the \
             right to read nodes"
            .to_owned(),
        PolicyValue::Base(Some(networks)) if networks.is_empty() => {
            "the Node object has no podCIDR, so a pod address without a verdict cannot be told from others and is \
             not dropped. Let the controller manager allocate node CIDRs (--allocate-node-cidrs)"
                .to_owned()
        }
        _ => return None,
    };
    Some(Problem { item: item(key), message, retry: false })
}

/// What the kernel refused.
pub(super) fn refusal(key: &PolicyKey, why: &str) -> Problem {
    let message = format!("the kernel refused it, so its pods are isolated and the rest goes on: {why}");
    Problem { item: item(key), message, retry: true }
}

/// A policy names a group or a port that the kernel refused.
pub(super) fn lacks(policy: &PolicyKey, named: &PolicyKey, why: &str) -> Problem {
    let message = format!("nobody is admitted as {}, because the kernel refused that: {why}", item(named));
    // What was refused is tried again for itself.
    Problem { item: item(policy), message, retry: false }
}

/// The kernel does not let go what nobody needs any more.
pub(super) fn stuck(name: &str, why: &str) -> Problem {
    let message = format!(
        "nothing of ours needs it any more, but the kernel does not let it go, so it stays, empty: {why}. Somebody \
         else's rule leads to it; see `nft list table inet routerd`"
    );
    Problem { item: format!("nf_tables {name}"), message, retry: true }
}

/// Tracked flows could not be forgotten.
pub(super) fn flows(error: &KernelError) -> Problem {
    let message = format!(
        "flows of addresses whose pods are gone, or that policies admit no longer, go on until they end: {error}"
    );
    Problem { item: "tracked flows".to_owned(), message, retry: true }
}
