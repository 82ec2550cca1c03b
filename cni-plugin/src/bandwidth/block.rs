//! The block (ifb) that a pod's packets are shaped in.

use kernel::rtnl::{Batch, Link, LinkChange, LinkKind, NewLink, Rtnl};
use sha2::{Digest, Sha512};

use super::refused;
use crate::bridge::{host_interface, without_link_local};
use crate::error::{CniError, Code};
use crate::request::Request;
use crate::tag::Tag;
use crate::undo::Undo;

/// How every block's name begins.
pub(super) const PREFIX: &str = "bwp";
/// The longest name of an interface.
const NAME_LENGTH: usize = 15;

/// The block's name in the reference plugin: it follows from network and container alone.
pub fn block_name(network: &str, container_id: &str) -> String {
    hashed(&format!("{network}{container_id}"))
}

/// The name for a container's further attachment to the same network, for which the reference plugin has none.
fn further_name(network: &str, container_id: &str, ifname: &str) -> String {
    hashed(&format!("{network}{container_id}/{ifname}"))
}

fn hashed(text: &str) -> String {
    let digest = Sha512::digest(text);
    let mut name = digest.iter().fold(PREFIX.to_owned(), |name, byte| format!("{name}{byte:02x}"));
    name.truncate(NAME_LENGTH);
    name
}

fn names(request: &Request) -> [String; 2] {
    let (network, id) = (&request.conf.name, &request.env.container_id);
    [block_name(network, id), further_name(network, id, &request.env.ifname)]
}

/// Whose a block is, by its note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    Ours,
    /// The reference plugin writes none.
    None,
    Another,
}

fn note(link: &Link, request: &Request) -> Note {
    if link.kind != LinkKind::Ifb {
        return Note::Another;
    }
    match link.alias.parse::<Tag>() {
        Ok(tag) if tag == Tag::of_request(request) => Note::Ours,
        Err(_) if link.alias.is_empty() => Note::None,
        _ => Note::Another,
    }
}

/// The attachment's block, if it has one.
pub(super) fn find(host: &mut Rtnl, request: &Request) -> Result<Option<Link>, CniError> {
    let mut unmarked = None;
    for name in names(request) {
        let Some(link) = host.link_by_name(&name)? else { continue };
        match note(&link, request) {
            Note::Ours => return Ok(Some(link)),
            Note::None => unmarked = unmarked.or(Some(link)),
            Note::Another => {}
        }
    }
    Ok(unmarked)
}

/// Makes the block for `port`, still down. Its note comes with it: whatever ends this process, GC will know it.
pub(super) fn make(
    host: &mut Rtnl,
    request: &Request,
    port: &Link,
    undo: &mut Undo,
) -> Result<Link, CniError> {
    let name = free_name(host, request)?;
    let back = name.clone();
    undo.push(format!("the block {name}"), move || Ok(Rtnl::open()?.delete_link_by_name(&back).map(drop)?));
    let tag = Tag::of_request(request).to_string();
    let change = LinkChange { alias: Some(&tag), ..LinkChange::default() };
    // No queue: the token bucket is all the queue it has.
    let block = NewLink { mtu: Some(port.mtu), queue_length: Some(0), ..NewLink::ifb(&name) };
    let mut batch = Batch::new();
    batch.create_link(&block)?.change_link_named(&name, &change)?.look_up(&name)?;
    let link = host.run_for_link(&batch).map_err(|error| refused(error, port))?;
    // What is redirected to it is the pod's: it has nothing to say itself.
    without_link_local(&LinkChange::default(), |change| host.change_link(link.index, change))?;
    Ok(link)
}

pub(super) fn up() -> LinkChange<'static> {
    LinkChange { up: Some(true), ..LinkChange::default() }
}

/// A name that is free. What an ADD of the same attachment left that nobody took away is removed for it.
fn free_name(host: &mut Rtnl, request: &Request) -> Result<String, CniError> {
    for name in names(request) {
        match host.link_by_name(&name)? {
            None => return Ok(name),
            Some(link) if note(&link, request) == Note::Ours => {
                delete(host, &link)?;
                return Ok(name);
            }
            Some(_) => {}
        }
    }
    let [first, second] = names(request);
    Err(CniError::new(
        Code::EXISTS,
        format!("both names for the block of this pod are taken: {first}, {second}"),
    )
    .with_details("remove one with `ip link delete` if it is of a pod that is gone"))
}

pub(super) fn delete(host: &mut Rtnl, link: &Link) -> Result<(), CniError> {
    match host.delete_link(link.index) {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Removes the attachment's block; none is success.
pub fn remove(request: &Request) -> Result<(), CniError> {
    let mut host = Rtnl::open()?;
    match find(&mut host, request)? {
        Some(block) => delete(&mut host, &block),
        None => Ok(()),
    }
}

/// Removes the attachment's block, and the host end of its pair, which this plugin made, in the same go; none is
/// success.
///
/// The kernel lets go of a link only after a pause in which no processor may still look at it (about 17 ms). Together
/// they need one such pause.
pub fn remove_with_pair(request: &Request) -> Result<(), CniError> {
    let mut host = Rtnl::open()?;
    let Some(block) = find(&mut host, request)? else { return Ok(()) };
    let mut indexes = vec![block.index];
    let name = host_interface(&request.env.container_id, &request.env.ifname, 0);
    let pair = host.link_by_name(&name)?.filter(|link| is_host_end(link, request));
    indexes.extend(pair.map(|link| link.index));
    Ok(host.delete_links(&indexes)?)
}

/// Only with its tag: what is under another name or has none is found by who made it.
fn is_host_end(link: &Link, request: &Request) -> bool {
    let tag = link.alias.parse::<Tag>();
    link.kind == LinkKind::Veth && tag.is_ok_and(|tag| tag == Tag::of_request(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocks_name_is_the_reference_plugins() {
        // printf nc1 | sha512sum
        assert_eq!(block_name("n", "c1"), "bwp9b00b9b7c279");
        assert_eq!(block_name("n", "c1").len(), NAME_LENGTH);
        assert_ne!(further_name("n", "c1", "eth0"), further_name("n", "c1", "eth1"));
    }
}
