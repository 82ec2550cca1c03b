//! How the reference plugins name chains and rules (`pkg/utils/utils.go`, `pkg/ip/ipmasq_nftables_linux.go`).

use sha2::{Digest, Sha512};

use crate::ipam::Owner;

/// Names of chains are cut to this many bytes (`maxChainLength`).
const CHAIN: usize = 28;
/// Hexadecimal digits of a hash in a comment.
const SHORT: usize = 16;

fn hash(text: &str) -> String {
    let digest = Sha512::digest(text.as_bytes());
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The chain of a container: `CNI-`, a prefix (empty for ipMasq, `DN-` and `SN-` for portmap) and a hash.
pub(super) fn chain(prefix: &str, network: &str, container_id: &str) -> String {
    let mut name = format!("CNI-{prefix}{}", hash(&format!("{network}{container_id}")));
    name.truncate(CHAIN);
    name
}

/// Network and container in the comment of a rule of iptables: `name: "net" id: "c1"`, of portmap after `dnat `.
/// Neither has a character that would be written with a backslash.
pub(super) fn in_comment(comment: &str) -> Option<(&str, &str)> {
    let rest = comment.strip_prefix("dnat ").or_else(|| comment.strip_prefix("snat ")).unwrap_or(comment);
    rest.strip_prefix("name: \"")?.strip_suffix('"')?.split_once("\" id: \"")
}

fn short(text: &str) -> String {
    let mut digits = hash(text);
    digits.truncate(SHORT);
    digits
}

/// What the comments of all rules of a network begin with in `cni_plugins_masquerade`.
pub(super) fn of_network(network: &str) -> String {
    format!("{}-", short(network))
}

/// What the comment of an attachment's rule begins with there.
pub(super) fn of_attachment(network: &str, owner: &Owner) -> String {
    format!("{}{}", of_network(network), short(&format!("{}:{}", owner.ifname, owner.container_id)))
}

/// The whole comment, which nf_tables may cut: hashes come first because of that.
pub(super) fn comment(network: &str, owner: &Owner) -> String {
    let prefix = of_attachment(network, owner);
    format!("{prefix}, net: {network}, if: {}, id: {}", owner.ifname, owner.container_id)
}

/// The interface in such a comment.
pub(super) fn interface_in(comment: &str) -> Option<&str> {
    let (_, rest) = comment.split_once(", if: ")?;
    Some(rest.split_once(',').map_or(rest, |(ifname, _)| ifname))
}

#[cfg(test)]
mod tests {
    use super::*;

    // As plugins 1.1.1 and 1.9.1 made them.
    #[test]
    fn chains_and_comments_are_named_as_the_reference_plugins_name_them() {
        assert_eq!(chain("", "net", "c1"), "CNI-623e1c388032b20529218ecc");
        assert_eq!(chain("DN-", "net", "c1"), "CNI-DN-623e1c388032b20529218");
        assert_eq!(
            comment("net", &Owner::new("c1", "eth0")),
            "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1"
        );
    }

    #[test]
    fn comments_are_read_and_those_of_others_are_not_taken_for_one() {
        assert_eq!(in_comment("name: \"net\" id: \"c1\""), Some(("net", "c1")));
        assert_eq!(in_comment("dnat name: \"net\" id: \"c1\""), Some(("net", "c1")));
        for other in ["CNI portfwd requiring masquerade", "name: \"net\"", "name: net id: c1", ""] {
            assert_eq!(in_comment(other), None, "{other}");
        }
        assert_eq!(interface_in(&comment("net", &Owner::new("c1", "eth0"))), Some("eth0"));
        assert_eq!(interface_in("a-b, net: net, if: et"), Some("et"));
        assert_eq!(interface_in("mine"), None);
    }
}
