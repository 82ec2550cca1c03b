//! The host end of a pod's interface, for a plugin that did not make it.

use kernel::NetNs;
use kernel::rtnl::{Link, LinkKind, Rtnl};

use crate::error::{CniError, Code};
use crate::request::Request;
use crate::result::AddResult;

/// The host end of the request's interface. It must be named in `prev` as an interface of the node: what is not part
/// of the attachment is not shaped.
pub(super) fn host_end(host: &mut Rtnl, request: &Request, prev: &AddResult) -> Result<Link, CniError> {
    if prev.interfaces.is_empty() {
        return Err(CniError::config("no interfaces provided")
            .with_details("prevResult must name the host end of the pod's interface"));
    }
    let far = pod_end(request)?;
    let index = far.peer_index.unwrap_or_default();
    let near = host.link_by_index(index)?.filter(|near| near.kind == LinkKind::Veth);
    // An index of another namespace may be in use here too; only the right one leads back.
    let near = near.filter(|near| near.peer_index == Some(far.index)).ok_or_else(|| {
        CniError::config(format!("veth peer with index {index} of {} is not in host ns", far.name))
    })?;
    if prev.interfaces.iter().any(|one| one.sandbox.is_empty() && one.name == near.name) {
        return Ok(near);
    }
    Err(CniError::config("no veth peer of container interface found in host ns")
        .with_details(format!("prevResult does not name {} as an interface of the node", near.name)))
}

fn pod_end(request: &Request) -> Result<Link, CniError> {
    let pod = NetNs::open(request.env.require_netns()?)
        .map_err(|error| CniError::new(Code::NETNS, format!("failed to open netns: {error}")))?;
    let ifname = request.env.ifname.as_str();
    let none =
        |reason: &str| CniError::config(format!("container interface {ifname} has no veth peer: {reason}"));
    let link = pod.visit(Rtnl::open)??.link_by_name(ifname)?.ok_or_else(|| none("it does not exist"))?;
    if link.kind != LinkKind::Veth {
        return Err(none(&format!("it is a {}", link.kind)));
    }
    Ok(link)
}
