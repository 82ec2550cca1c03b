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
    let names: BTreeSet<String> =
        valid.iter().map(|owner| block::block_name(network, &owner.container_id)).collect();
    stale.extend(unused(&mut host, &others)?.into_iter().filter(|one| !names.contains(&one.name)));
    let indexes: Vec<u32> = stale.iter().map(|block| block.index).collect();
    host.delete_links(&indexes)?;
    Ok(indexes.len())
}

/// The blocks without a note that no link sends packets to. Those are the reference plugin's, and left of pods that are
/// gone, whatever their network was; or one that an ADD is just making.
pub fn unused(host: &mut Rtnl, links: &[Link]) -> Result<Vec<Link>, CniError> {
    let is_theirs =
        |one: &&Link| one.kind == LinkKind::Ifb && one.alias.is_empty() && is_block_name(&one.name);
    let mut left: Vec<Link> = links.iter().filter(is_theirs).cloned().collect();
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
