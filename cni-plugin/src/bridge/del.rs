//! DEL: whatever is left of the attachment goes; nothing left is success.

use kernel::NetNs;
use kernel::netns::is_not_a_namespace;
use kernel::rtnl::{Among, Link, LinkKind, Rtnl};

use super::names::{self, Whose};
use super::segment::remove;
use crate::error::CniError;
use crate::request::Request;
use crate::tag::Tag;

pub(super) fn del(request: &Request) -> Result<(), CniError> {
    // Either end takes the other with it. The near one needs no namespace, which may be gone or not be named.
    let mut host = Rtnl::open()?;
    if let Some(index) = by_name(&mut host, request)? {
        return remove(&mut host, index);
    }
    if let Some(pod) = open_if_there(request)?
        && delete_inside(&pod, &mut host, request)?
    {
        return Ok(());
    }
    delete_by_alias(&mut host, request)
}

/// The host end under one of the names it can have.
fn by_name(host: &mut Rtnl, request: &Request) -> Result<Option<u32>, CniError> {
    for name in names::candidates(&request.env) {
        match host.link_by_name(&name)? {
            // Another attachment has that name; ours may have the next one.
            Some(link) if names::whose(&link, &request.env) == Whose::Anothers => {}
            Some(link) => return Ok(Some(link.index)),
            None => break,
        }
    }
    Ok(None)
}

/// The pod's namespace; `None` if it is not named, gone, or only the file that was its mount point.
fn open_if_there(request: &Request) -> Result<Option<NetNs>, CniError> {
    let Some(path) = &request.env.netns else { return Ok(None) };
    match NetNs::open(path) {
        Err(error) if error.is_not_found() || is_not_a_namespace(&error) => Ok(None),
        pod => Ok(Some(pod?)),
    }
}

/// With no namespace to look in, a host end that somebody renamed is still known by its alias.
fn delete_by_alias(host: &mut Rtnl, request: &Request) -> Result<(), CniError> {
    let is_ours = |link: &Link| names::whose(link, &request.env) == Whose::Ours;
    let found = host.find_link(Among::Kind(&LinkKind::Veth), is_ours)?;
    found.map_or(Ok(()), |link| remove(host, link.index))
}

/// Pairs that the reference plugin made have random names at the near end and are found in the pod. `false` if the
/// namespace is another container's by now, as a path `/proc/<pid>/ns/net` may become.
fn delete_inside(pod: &NetNs, host: &mut Rtnl, request: &Request) -> Result<bool, CniError> {
    let mut inside = pod.visit(Rtnl::open)??;
    match inside.link_by_name(&request.env.ifname)? {
        Some(link) if is_anothers(host, &link, request)? => Ok(false),
        // A device of another kind under this name was never made by a bridge plugin.
        Some(link) if link.kind == LinkKind::Veth => remove(&mut inside, link.index).map(|()| true),
        _ => Ok(true),
    }
}

/// The near end says that it is another attachment's.
fn is_anothers(host: &mut Rtnl, far: &Link, request: &Request) -> Result<bool, CniError> {
    let near = far.peer_index.map(|index| host.link_by_index(index)).transpose()?.flatten();
    // An index of another namespace may be in use here too; only the right one leads back.
    let near = near.filter(|near| near.peer_index == Some(far.index));
    Ok(near.is_some_and(|near| {
        near.alias.parse::<Tag>().is_ok() && names::whose(&near, &request.env) == Whose::Anothers
    }))
}
