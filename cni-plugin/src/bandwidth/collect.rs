//! GC: blocks of attachments that are not there any more.

use std::collections::BTreeSet;

use kernel::rtnl::{Link, LinkKind, Rtnl};

use super::block;
use crate::error::CniError;
use crate::ipam::Owner;
use crate::tag::Tag;

/// Removes the blocks of `network` that none of `valid` has, and tells how many. All are tried; the first error is
/// returned.
pub fn collect(network: &str, valid: &BTreeSet<Owner>) -> Result<usize, CniError> {
    let mut host = Rtnl::open()?;
    let valid_tags: BTreeSet<Tag> = valid.iter().map(|owner| Tag::of(network, owner)).collect();
    let (marked, others): (Vec<Link>, Vec<Link>) =
        host.links_of_kind(&LinkKind::Ifb)?.into_iter().partition(|block| block.alias.parse::<Tag>().is_ok());
    let is_stale = |block: &Link| {
        block.alias.parse::<Tag>().is_ok_and(|tag| tag.is_in(network) && !valid_tags.contains(&tag))
    };
    let mut stale: Vec<Link> = marked.into_iter().filter(is_stale).collect();
    stale.extend(unused(&mut host, others, network, valid)?);
    let indexes: Vec<u32> = stale.iter().map(|block| block.index).collect();
    host.delete_links(&indexes)?;
    Ok(indexes.len())
}

/// Blocks of the reference plugin carry no note. One that no link sends packets to is what is left of a pod that is
/// gone, whatever its network was.
fn unused(
    host: &mut Rtnl,
    blocks: Vec<Link>,
    network: &str,
    valid: &BTreeSet<Owner>,
) -> Result<Vec<Link>, CniError> {
    let names: BTreeSet<String> =
        valid.iter().map(|owner| block::block_name(network, &owner.container_id)).collect();
    let mut left: Vec<Link> = blocks
        .into_iter()
        .filter(|one| one.alias.is_empty() && is_block_name(&one.name) && !names.contains(&one.name))
        .collect();
    if left.is_empty() {
        return Ok(left);
    }
    let used = host.redirect_targets()?;
    left.retain(|block| !used.contains(&block.index));
    Ok(left)
}

fn is_block_name(name: &str) -> bool {
    name.strip_prefix(block::PREFIX)
        .is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
