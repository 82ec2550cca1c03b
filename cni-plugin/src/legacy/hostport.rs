//! Port mappings of portmap's backend `nftables`. The comment of its rules is the container's id and nothing else, so
//! the address tells networks and interfaces of one container apart.

use std::net::IpAddr;

use kernel::nft::{Nft, Rule, TableName, Transaction};

use super::iptables::{octets, of_family};
use super::{Attachment, Stay};
use crate::error::CniError;

/// Chains with a rule for each mapping or address.
const CHAINS: [&str; 3] = ["hostports", "hostip_hostports", "masquerading"];

pub(super) fn remove(
    nft: &mut Nft,
    table: &TableName,
    attachment: &Attachment<'_>,
    out: &mut Transaction,
) -> Result<(), CniError> {
    let known = of_family(table, attachment.addresses);
    delete(nft, table, out, |rule, container| {
        let its = known.is_empty() || known.iter().any(|address| rule.has_value(address));
        container == attachment.owner.container_id && its
    })
}

pub(super) fn collect(
    nft: &mut Nft,
    table: &TableName,
    stay: &Stay<'_>,
    out: &mut Transaction,
) -> Result<(), CniError> {
    delete(nft, table, out, |rule, container| {
        !container.is_empty()
            && !stay.has_container(container)
            && addresses(rule).any(|address| (stay.inside)(address) && rule.has_value(&octets(&address)))
    })
}

fn delete(
    nft: &mut Nft,
    table: &TableName,
    out: &mut Transaction,
    goes: impl Fn(&Rule, &str) -> bool,
) -> Result<(), CniError> {
    for chain in CHAINS.map(|name| table.chain(name)) {
        for listed in nft.list_rules_of(&chain)? {
            if listed.rule.comment.as_deref().is_some_and(|comment| goes(&listed.rule, comment)) {
                out.delete_rule(&chain, listed.handle);
            }
        }
    }
    Ok(())
}

/// What may be an address among the constants of a rule.
fn addresses(rule: &Rule) -> impl Iterator<Item = IpAddr> {
    rule.values().filter_map(|value| {
        let four = <[u8; 4]>::try_from(value).map(IpAddr::from);
        four.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
    })
}
