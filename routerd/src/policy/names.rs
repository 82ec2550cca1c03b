//! Names of the plane's objects in the kernel.
//!
//! A name that comes from the cluster could be too long or hold what nf_tables does not allow, so names end with a hash
//! of it and the text stands in the object's comment. The hash is wide enough that nobody can make two of his objects
//! share one.

use std::fmt::Write;

use prefix::Family;
use sha2::{Digest, Sha256};

use super::key::{NamedPorts, PeerClass, PeerGroup};
use super::refusal::Reason;
use super::value::Direction;
use crate::cluster::Side;
use crate::cluster::objects::ObjectName;

/// What begins so is ours.
pub(super) const PREFIX: &str = "policy-";
/// Base chains.
pub(super) const PREROUTING: &str = "policy-prerouting";
pub(super) const FORWARD: &str = "policy-forward";
pub(super) const INPUT: &str = "policy-input";
pub(super) const OUTPUT: &str = "policy-output";
/// Where packets from the middle of connections that are not tracked end.
pub(super) const MIDDLE: &str = "policy-middle";
/// ICMPv6 types without which no address is found.
pub(super) const NEIGHBOUR_TYPES: &str = "policy-neighbour-types";

const HASH_BYTES: usize = 16;

/// A hash of the parts; where one ends and the next begins counts.
fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize()[..HASH_BYTES].iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn letter(direction: Direction) -> char {
    match direction {
        Direction::Ingress => 'i',
        Direction::Egress => 'e',
    }
}

fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}

/// The chain that all packets of a direction go through.
pub(super) fn dispatch(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "policy-ingress",
        Direction::Egress => "policy-egress",
    }
}

/// The verdict map from a pod's address to what judges it.
pub(super) fn verdicts(direction: Direction, family: Family) -> String {
    format!("{}{}", dispatch(direction), digit(family))
}

/// The set with a counter for each address of this node's pods.
pub(super) fn drops(direction: Direction, family: Family) -> String {
    format!("policy-drops-{}{}", direction.word(), digit(family))
}

/// The chain of packets that are refused for a reason.
pub(super) fn refusal(reason: Reason, direction: Direction) -> String {
    let kind = match reason {
        Reason::NotAdmitted => "refused",
        Reason::Unknown => "unknown",
        Reason::Failed => "failed",
        Reason::Orphan => "orphan",
        Reason::Middle => "middle",
    };
    format!("policy-{kind}-{}", direction.word())
}

/// The set of this node's pod networks.
pub(super) fn networks(family: Family) -> String {
    format!("policy-pods{}", digit(family))
}

/// The set of pairs of a pod with itself.
pub(super) fn selves(family: Family) -> String {
    format!("policy-self{}", digit(family))
}

/// The chain with the rules of one direction of a policy.
pub(super) fn policy(name: &ObjectName, direction: Direction) -> String {
    format!("policy-{}-{}", letter(direction), hash(&[&name.namespace, &name.name]))
}

/// The chain of pods that the same policies judge.
pub(super) fn judgement<'a>(
    policies: impl IntoIterator<Item = &'a ObjectName>,
    crowds: impl IntoIterator<Item = &'a Side>,
    direction: Direction,
) -> String {
    let mut parts: Vec<&str> =
        policies.into_iter().flat_map(|name| [&*name.namespace, &*name.name]).collect();
    // No namespace has an empty name, so a crowd is none of the pairs before.
    parts.extend(crowds.into_iter().flat_map(|side| ["", side.subject.id()]));
    format!("policy-pod-{}-{}", letter(direction), hash(&parts))
}

/// The chain of policies that are taken together.
pub(super) fn crowd(side: &Side) -> String {
    format!("policy-many-{}-{}", letter(side.direction), hash(&[side.subject.id()]))
}

/// The map from the address of a pod to the ports that such policies admit it to.
pub(super) fn crowd_peers(side: &Side, family: Family) -> String {
    format!("policy-peer{}-{}-{}", digit(family), letter(side.direction), hash(&[side.subject.id()]))
}

/// The map from ranges of addresses to the ports that such policies admit them to.
pub(super) fn crowd_ranges(side: &Side, family: Family) -> String {
    format!("policy-range{}-{}-{}", digit(family), letter(side.direction), hash(&[side.subject.id()]))
}

/// The chain of the ports that such policies admit a class of peers to.
pub(super) fn class(side: &Side, class: &PeerClass) -> String {
    format!("policy-class-{}-{}", letter(side.direction), class_hash(side, class))
}

/// The set of the numbers of these ports.
pub(super) fn class_numbers(side: &Side, class: &PeerClass) -> String {
    format!("policy-classports-{}-{}", letter(side.direction), class_hash(side, class))
}

fn class_hash(side: &Side, class: &PeerClass) -> String {
    let groups = class.groups().iter().map(PeerGroup::id);
    hash(&[side.subject.id()].into_iter().chain(groups).collect::<Vec<_>>())
}

/// The chain that admits some ports, named by its rules.
pub(super) fn ports(direction: Direction, rules: &str) -> String {
    format!("policy-ports-{}-{}", letter(direction), hash(&[rules]))
}

/// The set of the addresses of a group.
pub(super) fn group(id: &str, family: Family) -> String {
    format!("policy-group{}-{}", digit(family), hash(&[id]))
}

/// The set of the places of the ports that a rule names.
pub(super) fn named_ports(ports: &NamedPorts, family: Family) -> String {
    let texts: Vec<String> = ports.each().map(ToString::to_string).collect();
    format!("policy-port{}-{}", digit(family), hash(&texts.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// A set whose name is its content.
pub(super) fn content(kind: &str, content: &str) -> String {
    format!("policy-{kind}-{}", hash(&[content]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_namespace_ends_makes_another_name() {
        let name =
            |namespace: &str, name: &str| policy(&ObjectName::new(namespace, name), Direction::Ingress);
        assert_ne!(name("a", "bc"), name("ab", "c"));
        assert_eq!(name("a", "b").len(), "policy-i-".len() + 32);
        assert_ne!(
            policy(&ObjectName::new("a", "b"), Direction::Egress)[9..],
            policy(&ObjectName::new("b", "a"), Direction::Egress)[9..]
        );
    }
}
