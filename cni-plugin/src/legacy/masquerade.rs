//! The table of ipMasq's backend `nftables`. It is the only one of these layouts that we also write: when
//! `ipMasqBackend` asks for it by name, either side can then remove what the other made.

use std::net::{Ipv4Addr, Ipv6Addr};

use kernel::nft::{
    Chain, ChainType, CommitError, Hook, Nft, Rule, Table, TableFamily, TableName, Transaction, priority,
};
use nix::errno::Errno;
use prefix::Prefix;

use super::iptables::octets;
use super::{Attachment, Stay, TRIES, names};
use crate::address::Cidr;
use crate::error::{CniError, Code};
use crate::ipam::Owner;

/// The table's name; its family is `inet`.
pub(super) const TABLE: &str = "cni_plugins_masquerade";
/// A rule for each address.
const CHECKS: &str = "masq_checks";
/// The chain where packets enter.
const ENTRY: &str = "postrouting";

fn table() -> TableName {
    TableName::new(TableFamily::Inet, TABLE)
}

/// Masquerades what an attachment sends out of the networks of its addresses, multicast excepted. Table and chains are
/// made if they are missing; what others have there stays.
///
/// [`super::remove`] takes it back.
pub fn add(nft: &mut Nft, network: &str, owner: &Owner, addresses: &[Cidr]) -> Result<(), CniError> {
    let mut last = None;
    for _ in 0..TRIES {
        match try_add(nft, network, owner, addresses)? {
            Ok(()) => return Ok(()),
            // Somebody else made, or removed, the table at the same time.
            Err(error) if is_overtaken(&error) => last = Some(error),
            Err(error) => return Err(failed(error)),
        }
    }
    last.map_or(Ok(()), |error| Err(failed(error)))
}

fn failed(error: CommitError) -> CniError {
    CniError::from(error.error).context(format!("masquerade with table inet {TABLE}"))
}

fn is_overtaken(error: &CommitError) -> bool {
    error.error.is_not_found() || error.error.is_transient() || error.error.errno == Errno::ERESTART
}

fn try_add(
    nft: &mut Nft,
    network: &str,
    owner: &Owner,
    addresses: &[Cidr],
) -> Result<Result<(), CommitError>, CniError> {
    let generation = nft.generation()?;
    let mut out = Transaction::new();
    let ready = is_ready(nft)?;
    if !ready {
        make(&mut out);
    }
    let comment = names::comment(network, owner);
    for address in addresses.iter().filter(|address| !address.is_default()) {
        let rule = Rule::new().source(&Prefix::host(address.address)).not_to(&address.prefix());
        let rule = rule.masquerade(kernel::nft::NatFlags::default());
        out.add_rule(&table().chain(CHECKS), rule.comment(&comment));
    }
    if ready {
        return Ok(nft.commit(&out));
    }
    // Two who make it at the same time would both add the rules that lead to the pods' rules.
    Ok(nft.commit_if(&out, generation))
}

/// True if packets get to the rules of pods.
fn is_ready(nft: &mut Nft) -> Result<bool, CniError> {
    let rules = nft.list_rules_of(&table().chain(ENTRY))?;
    Ok(rules.iter().any(|listed| listed.rule.target() == Some(CHECKS)))
}

fn make(out: &mut Transaction) {
    let entry = table().chain(ENTRY);
    let about = "Masquerading for plugins from github.com/containernetworking/plugins";
    out.add_table(Table::new(TableFamily::Inet, TABLE).comment(about));
    out.add_chain(
        Chain::new(table().chain(CHECKS))
            .comment("Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet"),
    );
    out.add_chain(Chain::base(entry.clone(), ChainType::Nat, Hook::Postrouting, priority::SRCNAT));
    out.flush_chain(entry.clone());
    let multicast = [
        Prefix::new(Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        Prefix::new(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    ];
    for multicast in multicast.into_iter().flatten() {
        out.add_rule(&entry, Rule::new().destination(&multicast).return_());
    }
    out.add_rule(&entry, Rule::new().goto(CHECKS));
}

/// CHECK: every address of the attachment has its rule, and packets get there.
pub fn check(nft: &mut Nft, network: &str, owner: &Owner, addresses: &[Cidr]) -> Result<(), CniError> {
    let changed = |what: String| Err(CniError::new(Code::CHECK_FAILED, what));
    if !is_ready(nft)? {
        return changed(format!("no rule of table inet {TABLE} leads from {ENTRY} to {CHECKS}"));
    }
    let prefix = names::of_attachment(network, owner);
    let rules = nft.list_rules_of(&table().chain(CHECKS))?;
    for address in addresses.iter().filter(|address| !address.is_default()) {
        let its = rules.iter().any(|listed| {
            let comment = listed.rule.comment.as_deref().unwrap_or_default();
            comment.starts_with(&prefix) && listed.rule.has_value(&octets(&address.address))
        });
        if !its {
            return changed(format!("table inet {TABLE} does not masquerade {}", address.address));
        }
    }
    Ok(())
}

pub(super) fn remove(
    nft: &mut Nft,
    table: &TableName,
    attachment: &Attachment<'_>,
    out: &mut Transaction,
) -> Result<(), CniError> {
    let prefix = names::of_attachment(attachment.network, attachment.owner);
    delete(nft, table, out, |comment| comment.starts_with(&prefix))
}

pub(super) fn collect(
    nft: &mut Nft,
    table: &TableName,
    stay: &Stay<'_>,
    out: &mut Transaction,
) -> Result<(), CniError> {
    let network = names::of_network(stay.network);
    delete(nft, table, out, |comment| {
        comment.starts_with(&network)
            && !stay.valid.iter().any(|owner| {
                let ifname = if owner.ifname.is_empty() { names::interface_in(comment) } else { None };
                let owner = Owner::new(&owner.container_id, ifname.unwrap_or(&owner.ifname));
                comment.starts_with(&names::of_attachment(stay.network, &owner))
            })
    })
}

fn delete(
    nft: &mut Nft,
    table: &TableName,
    out: &mut Transaction,
    goes: impl Fn(&str) -> bool,
) -> Result<(), CniError> {
    let chain = table.chain(CHECKS);
    for listed in nft.list_rules_of(&chain)? {
        if listed.rule.comment.as_deref().is_some_and(&goes) {
            out.delete_rule(&chain, listed.handle);
        }
    }
    Ok(())
}
