//! The BGP identifier of a node.

use std::net::{IpAddr, Ipv4Addr};

use crate::cluster::objects::Node;
use crate::config::RouterId;
use prefix::Family;

/// The identifier of the speaker on `node`, or why there is none.
pub(super) fn choose(setting: RouterId, node: &Node) -> Result<Ipv4Addr, String> {
    match setting {
        RouterId::Fixed(id) => Ok(id),
        RouterId::NodeAddress => match node.address(Family::V4) {
            Some(IpAddr::V4(address)) => Ok(address),
            _ => Err(format!(
                "node {} has no IPv4 address to take the BGP router ID from; set --router-id to an ID or to generate",
                node.name
            )),
        },
        RouterId::Generate => match node.primary_address() {
            Some(address) => Ok(generate(address)),
            None => {
                Err(format!("node {} has no address in its status to make a BGP router ID from", node.name))
            }
        },
    }
}

/// FNV-1a with 32 bits over the address in its 16-octet form, as kube-router has it: a cluster that changes over node
/// by node keeps the identifiers it had.
fn generate(address: IpAddr) -> Ipv4Addr {
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let hash = octets
        .iter()
        .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
    let id = Ipv4Addr::from(hash);
    // No unicast address, no identifier (RFC 4271 §4.2): one other bit makes it one.
    if id.octets()[0] >= 224 || id.is_unspecified() { Ipv4Addr::from(hash ^ 0x8000_0000) } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_identifiers_are_unicast_and_differ() {
        let ids: std::collections::BTreeSet<_> =
            (0..2000_u16).map(|number| generate(format!("2001:db8::{number:x}").parse().unwrap())).collect();
        assert_eq!(ids.len(), 2000);
        assert!(ids.iter().all(|id| !id.is_multicast() && !id.is_broadcast() && !id.is_unspecified()));
        // Computed with an implementation of its own that gives FNV-1a's published e40c292c for "a".
        assert_eq!(generate("192.0.2.1".parse().unwrap()).to_string(), "202.181.182.150");
    }

    #[test]
    fn a_node_without_ipv4_is_told_what_to_set() {
        let node = Node {
            name: "node1".into(),
            internal_addresses: vec!["2001:db8::1".parse().unwrap()],
            ..Node::default()
        };
        assert!(choose(RouterId::NodeAddress, &node).unwrap_err().contains("--router-id"));
        assert!(choose(RouterId::Generate, &node).is_ok());
        let id = Ipv4Addr::new(1, 2, 3, 4);
        assert_eq!(choose(RouterId::Fixed(id), &Node::default()), Ok(id));
    }
}
