//! GC: the devices of a network's attachments that are no more.

use std::collections::BTreeSet;

use kernel::rtnl::{LinkKind, Rtnl};

use super::segment::remove;
use crate::error::CniError;
use crate::ipam::Owner;
use crate::tag::Tag;

/// Removes every pair of `network` in the calling thread's namespace whose attachment is none of `valid`, and tells
/// whose they were. One that cannot be removed does not stop the others; the first such failure is the error.
pub fn collect(network: &str, valid: &BTreeSet<Owner>) -> Result<Vec<Tag>, CniError> {
    let mut host = Rtnl::open()?;
    let valid: BTreeSet<Tag> = valid.iter().map(|owner| Tag::of(network, owner)).collect();
    let (mut removed, mut failure) = (Vec::new(), None);
    for link in host.links_of_kind(&LinkKind::Veth)? {
        let Ok(tag) = link.alias.parse::<Tag>() else { continue };
        if !tag.is_in(network) || valid.contains(&tag) {
            continue;
        }
        match remove(&mut host, link.index) {
            Ok(()) => removed.push(tag),
            Err(error) => failure = failure.or(Some(error.context(format!("GC of {}", link.name)))),
        }
    }
    failure.map_or(Ok(removed), Err)
}

/// Whose the pairs of `network` are in the calling thread's namespace.
pub fn tags(network: &str) -> Result<Vec<Tag>, CniError> {
    let links = Rtnl::open()?.links_of_kind(&LinkKind::Veth)?;
    let tags = links.iter().filter_map(|link| link.alias.parse::<Tag>().ok());
    Ok(tags.filter(|tag| tag.is_in(network)).collect())
}
