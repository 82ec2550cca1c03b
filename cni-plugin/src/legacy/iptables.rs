//! Chains of ipMasq and portmap in the tables of iptables-nft, and the rules that lead to them.
//!
//! Such rules have matches of their own kind (`xt`), which need not be understood: a rule is known by the chain it
//! jumps to, and deleted by its handle.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kernel::nft::{ChainName, ListedRule, Nft, TableFamily, TableName, Transaction};
use prefix::Family;

use super::{Attachment, Part, Stay, names};
use crate::error::CniError;

/// A container's chains by the prefix of their names, and where rules lead to them from.
const CHAINS: [(&str, &str); 3] =
    [("", "POSTROUTING"), ("DN-", "CNI-HOSTPORT-DNAT"), ("SN-", "CNI-HOSTPORT-SNAT")];

pub(super) fn remove(
    nft: &mut Nft,
    table: &TableName,
    part: Part,
    attachment: &Attachment<'_>,
    out: &mut Transaction,
) -> Result<(), CniError> {
    let known = of_family(table, attachment.addresses);
    for (prefix, entry) in CHAINS.into_iter().filter(|(prefix, _)| part == Part::All || !prefix.is_empty()) {
        let chain = table.chain(names::chain(prefix, attachment.network, &attachment.owner.container_id));
        if nft.find_chain(&chain)?.is_none() {
            continue;
        }
        let entry = table.chain(entry);
        let rules = nft.list_rules_of(&entry)?;
        let (go, stay) = leading_to(&rules, &chain, if prefix.is_empty() { &known } else { &[] });
        for rule in go {
            out.delete_rule(&entry, rule.handle);
        }
        // Two attachments of a container to one network share a chain.
        if stay.is_empty() {
            out.delete_chain(chain);
        }
    }
    Ok(())
}

/// The rules that lead to a chain: those for one of the addresses (all if none is known), and the others.
fn leading_to<'a>(
    rules: &'a [ListedRule],
    chain: &ChainName,
    addresses: &[Vec<u8>],
) -> (Vec<&'a ListedRule>, Vec<&'a ListedRule>) {
    let leading = rules.iter().filter(|listed| listed.rule.target() == Some(chain.name.as_str()));
    leading.partition(|listed| {
        addresses.is_empty() || addresses.iter().any(|address| listed.rule.has_value(address))
    })
}

/// The addresses of the table's family as rules hold them.
pub(super) fn of_family(table: &TableName, addresses: &[IpAddr]) -> Vec<Vec<u8>> {
    let family = if table.family == TableFamily::Ip6 { Family::V6 } else { Family::V4 };
    addresses.iter().filter(|address| Family::of(**address) == family).map(octets).collect()
}

pub(super) fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(super) fn collect(
    nft: &mut Nft,
    table: &TableName,
    stay: &Stay<'_>,
    out: &mut Transaction,
) -> Result<(), CniError> {
    for (prefix, entry) in CHAINS {
        let entry = table.chain(entry);
        let mut chains = BTreeSet::new();
        for listed in nft.list_rules_of(&entry)? {
            let comment = listed.rule.any_comment().unwrap_or_default();
            let Some((network, container)) = names::in_comment(&comment) else { continue };
            // The name is a check of the comment, which anybody may write.
            let chain = names::chain(prefix, network, container);
            let ours = network == stay.network && listed.rule.target() == Some(chain.as_str());
            if ours && !stay.has_container(container) {
                out.delete_rule(&entry, listed.handle);
                chains.insert(chain);
            }
        }
        for chain in chains {
            out.delete_chain(table.chain(chain));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::nft::Rule;

    #[test]
    fn of_two_attachments_that_share_a_chain_only_the_one_with_the_address_goes() {
        let table = TableName::new(TableFamily::Ip4, "nat");
        let rule = |address: &str, handle| {
            let rule = Rule::new().source(&address.parse().unwrap()).jump("CNI-1");
            ListedRule { chain: table.chain("POSTROUTING"), handle, rule, counter: None }
        };
        let rules = [rule("10.0.0.2/32", 1), rule("10.0.0.3/32", 2)];
        let handles = |rules: Vec<&ListedRule>| rules.iter().map(|listed| listed.handle).collect::<Vec<_>>();
        let known = of_family(&table, &["10.0.0.3".parse().unwrap(), "fd00::3".parse().unwrap()]);
        let (go, stay) = leading_to(&rules, &table.chain("CNI-1"), &known);
        assert_eq!((handles(go), handles(stay)), (vec![2], vec![1]));
        let (go, stay) = leading_to(&rules, &table.chain("CNI-1"), &[]);
        assert_eq!((handles(go), handles(stay)), (vec![1, 2], vec![]));
        let (go, _) = leading_to(&rules, &table.chain("CNI-2"), &[]);
        assert!(go.is_empty());
    }
}
