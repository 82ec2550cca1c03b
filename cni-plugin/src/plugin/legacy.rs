//! The reference plugins' own rules, as far as a pod of ours has to do with them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kernel::nft::Nft;

use crate::address::Cidr;
use crate::config::{BridgeConf, MasqueradeBackend};
use crate::error::CniError;
use crate::ipam::{self, HostLocalConf, Owner};
pub(super) use crate::legacy::Part;
use crate::legacy::{self, Attachment, Stay, masquerade};
use crate::netfilter::Entry;
use crate::request::Request;
use crate::result::IpConfig;
use crate::undo::Undo;

/// Removes what a reference plugin made for the attachment; `leased` are its addresses as far as leases tell.
pub(super) fn remove(
    nft: &mut Nft,
    request: &Request,
    part: Part,
    leased: &[IpAddr],
) -> Result<(), CniError> {
    let owner = ipam::owner(&request.env);
    let mut known = leased.to_vec();
    // After a second DEL, or with another IPAM plugin, only the result of the ADD knows them.
    if let Ok(Some(prev)) = request.conf.prev_result() {
        known.extend(prev.ips.iter().map(|ip| ip.address.address));
    }
    let attachment = Attachment { network: &request.conf.name, owner: &owner, addresses: &known };
    legacy::remove(nft, part, &attachment)
}

/// GC: the same for all attachments of the network but these.
pub(super) fn collect(request: &Request, valid: &BTreeSet<Owner>) -> Result<(), CniError> {
    // Without readable ranges no address is known to be of this network.
    let sets = HostLocalConf::parse(&request.conf).map(|conf| conf.sets).unwrap_or_default();
    let inside = |address| sets.iter().any(|set| set.range_of(address).is_some());
    let stay = Stay { network: &request.conf.name, valid, inside: &inside };
    legacy::collect(&mut Nft::open()?, &stay).map(|_| ())
}

/// `ipMasqBackend` names the table of the reference plugin: then, and only then, we write it.
pub(super) fn asks_for_table(bridge: &BridgeConf) -> bool {
    bridge.ip_masq && bridge.ip_masq_backend == Some(MasqueradeBackend::Nftables)
}

fn addresses(ips: &[IpConfig]) -> Vec<Cidr> {
    ips.iter().map(|ip| ip.address).collect()
}

/// ADD: the rules of `ipMasq` in that table, if they are asked for.
pub(super) fn masquerade(
    request: &Request,
    bridge: &BridgeConf,
    ips: &[IpConfig],
    undo: &mut Undo,
) -> Result<(), CniError> {
    if !asks_for_table(bridge) || ips.is_empty() {
        return Ok(());
    }
    let (network, owner) = (request.conf.name.clone(), ipam::owner(&request.env));
    let mut nft = Nft::open()?;
    let of_undo = owner.clone();
    undo.push("the masquerade rules", move || {
        let attachment = Attachment { network: &network, owner: &of_undo, addresses: &[] };
        legacy::remove(&mut Nft::open()?, Part::All, &attachment)
    });
    masquerade::add(&mut nft, &request.conf.name, &owner, &addresses(ips))
}

/// CHECK of a pod that was there before we took the reference plugins' place: their rules do what `entries` ask for.
pub(super) fn holds(request: &Request, entries: &[Entry]) -> Result<bool, CniError> {
    legacy::holds(&mut Nft::open()?, &request.conf.name, &ipam::owner(&request.env), entries)
}

/// CHECK: they are there.
pub(super) fn check(request: &Request, bridge: &BridgeConf, ips: &[IpConfig]) -> Result<(), CniError> {
    if !asks_for_table(bridge) || ips.is_empty() {
        return Ok(());
    }
    let owner = ipam::owner(&request.env);
    masquerade::check(&mut Nft::open()?, &request.conf.name, &owner, &addresses(ips))
}
