//! CHECK of a pod that the reference plugins made: their rules still do what the configuration asks for.

use std::net::IpAddr;

use kernel::nft::{ChainName, Nft, TableFamily, TableName};
use prefix::Family;

use super::iptables::octets;
use super::{masquerade, names};
use crate::address::Cidr;
use crate::error::CniError;
use crate::ipam::Owner;
use crate::netfilter::{Entry, HostPort};

/// True if rules of the reference plugins are there for all `entries` of the pod. What their rules need besides, and we
/// have of our own, is not looked for.
pub fn holds(nft: &mut Nft, network: &str, owner: &Owner, entries: &[Entry]) -> Result<bool, CniError> {
    for family in Family::BOTH {
        let of_family = |entry: &&Entry| entry.pod_address().is_some_and(|pod| Family::of(pod) == family);
        let its: Vec<&Entry> = entries.iter().filter(of_family).collect();
        let ports: Vec<&HostPort> = its.iter().filter_map(|entry| host_port(entry)).collect();
        let mapped = ports.is_empty()
            || has_port_chain(nft, family, network, owner, ports.len())?
            || has_port_rules(nft, family, owner, &ports)?;
        if !mapped {
            return Ok(false);
        }
        for entry in its {
            let Entry::Masquerade { address, .. } = entry else { continue };
            if !masquerades(nft, family, network, owner, address)? {
                return Ok(false);
            }
        }
    }
    // A spoof check of theirs is on a device whose name we did not give, so no entry asks for it.
    Ok(!entries.iter().any(|entry| matches!(entry, Entry::SpoofCheck { .. })))
}

fn host_port(entry: &Entry) -> Option<&HostPort> {
    if let Entry::HostPort(port) = entry { Some(port) } else { None }
}

fn table(family: Family, name: &str) -> TableName {
    let family = if family == Family::V4 { TableFamily::Ip4 } else { TableFamily::Ip6 };
    TableName::new(family, name)
}

/// True if a rule of `entry` leads to `chain`, about `address` if one is given.
fn leads(nft: &mut Nft, entry: &ChainName, chain: &str, address: Option<&IpAddr>) -> Result<bool, CniError> {
    let rules = nft.list_rules_of(entry)?;
    Ok(rules.iter().any(|listed| {
        let about = address.is_none_or(|address| listed.rule.has_value(&octets(address)));
        listed.rule.target() == Some(chain) && about
    }))
}

/// iptables: the container's chain is entered and has a rule for each of its mappings at least. The rules themselves
/// are in a form of iptables' own.
fn has_port_chain(
    nft: &mut Nft,
    family: Family,
    network: &str,
    owner: &Owner,
    mappings: usize,
) -> Result<bool, CniError> {
    let nat = table(family, "nat");
    let name = names::chain("DN-", network, &owner.container_id);
    let entered = leads(nft, &nat.chain("CNI-HOSTPORT-DNAT"), &name, None)?;
    Ok(entered && nft.list_rules_of(&nat.chain(name))?.len() >= mappings)
}

/// portmap's backend `nftables`: a rule for each mapping.
fn has_port_rules(
    nft: &mut Nft,
    family: Family,
    owner: &Owner,
    ports: &[&HostPort],
) -> Result<bool, CniError> {
    let rules = nft.list_rules_of(&table(family, "cni_hostport").chain("hostports"))?;
    Ok(ports.iter().all(|port| {
        let mut values = vec![
            octets(&port.target.ip()),
            port.port.to_be_bytes().into(),
            port.target.port().to_be_bytes().into(),
        ];
        values.extend(port.address.iter().map(octets));
        rules.iter().any(|listed| {
            listed.rule.comment.as_deref() == Some(owner.container_id.as_str())
                && values.iter().all(|value| listed.rule.has_value(value))
        })
    }))
}

fn masquerades(
    nft: &mut Nft,
    family: Family,
    network: &str,
    owner: &Owner,
    address: &IpAddr,
) -> Result<bool, CniError> {
    let chain = names::chain("", network, &owner.container_id);
    if leads(nft, &table(family, "nat").chain("POSTROUTING"), &chain, Some(address))? {
        return Ok(true);
    }
    let address = Cidr::new(*address, family.bits());
    Ok(masquerade::check(nft, network, owner, address.as_slice()).is_ok())
}
