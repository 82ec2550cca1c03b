//! The chains of macspoofchk: one for each attachment, and one inside it for the MAC.

use kernel::nft::{Nft, Rule, TableName, Transaction};
use kernel::rtnl::Rtnl;

use super::{Attachment, Stay};
use crate::error::CniError;
use crate::ipam::Owner;

/// The chain where frames enter.
const ENTRY: &str = "PREROUTING";
/// What an attachment's chain begins with.
const PREFIX: &str = "cni-br-iface-";
/// What the name of the chain inside it ends with.
const INNER: &str = "-mac";
/// `IFNAMSIZ`: as long is the name of a device in a rule, filled up with zeros.
const NAME: usize = 16;

fn chain(owner: &Owner) -> String {
    format!("{PREFIX}{}-{}", owner.container_id, owner.ifname)
}

pub(super) fn remove(
    nft: &mut Nft,
    table: &TableName,
    attachment: &Attachment<'_>,
    out: &mut Transaction,
) -> Result<(), CniError> {
    delete(nft, table, &chain(attachment.owner), out)
}

/// Deletes a chain, what leads to it and what it leads to, as far as they are there.
fn delete(nft: &mut Nft, table: &TableName, name: &str, out: &mut Transaction) -> Result<(), CniError> {
    let (outer, inner) = (table.chain(name), table.chain(format!("{name}{INNER}")));
    let (has_outer, has_inner) = (nft.find_chain(&outer)?.is_some(), nft.find_chain(&inner)?.is_some());
    if has_outer {
        let entry = table.chain(ENTRY);
        for listed in nft.list_rules_of(&entry)? {
            if listed.rule.target() == Some(name) {
                out.delete_rule(&entry, listed.handle);
            }
        }
        out.delete_chain(outer);
    }
    if has_inner {
        out.delete_chain(inner);
    }
    Ok(())
}

/// The names have no network in them, so a device that is still there keeps its chains.
pub(super) fn collect(
    nft: &mut Nft,
    table: &TableName,
    stay: &Stay<'_>,
    out: &mut Transaction,
) -> Result<(), CniError> {
    let mut links = None;
    for listed in nft.list_rules_of(&table.chain(ENTRY))? {
        let Some(name) = listed.rule.target().filter(|name| name.starts_with(PREFIX)) else { continue };
        if stay.valid.iter().any(|owner| is_of(name, owner)) {
            continue;
        }
        let rtnl = match &mut links {
            Some(rtnl) => rtnl,
            none => none.insert(Rtnl::open()?),
        };
        if let Some(device) = device(&listed.rule)
            && rtnl.link_by_name(&device)?.is_none()
        {
            delete(nft, table, name, out)?;
        }
    }
    Ok(())
}

fn is_of(name: &str, owner: &Owner) -> bool {
    if owner.ifname.is_empty() { name.starts_with(&chain(owner)) } else { name == chain(owner) }
}

/// The device whose frames a rule is about.
fn device(rule: &Rule) -> Option<String> {
    let value = rule.values().find(|value| value.len() == NAME)?;
    let name = value.split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::nft::Field;

    #[test]
    fn the_device_of_a_rule_is_read_and_an_owner_without_interface_means_all_of_its_container() {
        let rule = Rule::new().equals(Field::InputName, "veth1").jump("cni-br-iface-c1-eth0");
        assert_eq!(device(&rule).unwrap(), "veth1");
        let name = rule.target().unwrap();
        assert!(is_of(name, &Owner::new("c1", "eth0")) && is_of(name, &Owner::new("c1", "")));
        assert!(!is_of(name, &Owner::new("c1", "eth1")) && !is_of(name, &Owner::new("c", "")));
    }
}
