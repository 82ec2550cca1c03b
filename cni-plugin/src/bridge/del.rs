//! DEL: whatever is left of the attachment goes; nothing left is success.

use kernel::NetNs;
use kernel::netns::is_not_a_namespace;
use kernel::rtnl::{Link, LinkKind, Rtnl};

use super::names;
use crate::error::CniError;
use crate::request::Request;

pub(super) fn del(request: &Request) -> Result<(), CniError> {
    // Either end takes the other with it. The near one needs no namespace, which may be gone or not be named.
    let mut host = Rtnl::open()?;
    for name in names::candidates(&request.env) {
        match host.link_by_name(&name)? {
            Some(link) if is_ours(&link, request) => return remove(&mut host, link.index),
            // Another attachment has that name; ours may have the next one.
            Some(_) => {}
            None => break,
        }
    }
    delete_inside(request)
}

/// True if the host end is this attachment's. A plugin that was killed right after making it wrote no note yet.
fn is_ours(link: &Link, request: &Request) -> bool {
    link.kind == LinkKind::Veth && (link.alias.is_empty() || link.alias == names::alias(&request.env))
}

fn remove(rtnl: &mut Rtnl, index: u32) -> Result<(), CniError> {
    match rtnl.delete_link(index) {
        // It went with its namespace meanwhile.
        Err(error) if error.is_not_found() => Ok(()),
        removed => Ok(removed?),
    }
}

/// Pairs that the reference plugin made have random names at the near end and are found in the pod.
fn delete_inside(request: &Request) -> Result<(), CniError> {
    let Some(path) = &request.env.netns else { return Ok(()) };
    let pod = match NetNs::open(path) {
        Err(error) if error.is_not_found() || is_not_a_namespace(&error) => return Ok(()),
        pod => pod?,
    };
    let mut inside = pod.visit(Rtnl::open)??;
    match inside.link_by_name(&request.env.ifname)? {
        // A device of another kind under this name was never made by a bridge plugin.
        Some(link) if link.kind == LinkKind::Veth => remove(&mut inside, link.index),
        _ => Ok(()),
    }
}
